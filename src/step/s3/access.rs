//! Where the store is, and with which keys it is asked.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>

use super::super::request::Addressing;
use reqwest::Url;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// Where a store is when nothing says so, as for object_store and most SDKs.
const DEFAULT_REGION: &str = "us-east-1";
const DEFAULT_PROFILE: &str = "default";

const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const TOKEN: &str = "AWS_SESSION_TOKEN";
const PROFILE: &str = "AWS_PROFILE";

/// The most bytes of a credentials file.
const LONGEST_FILE: u64 = 1 << 20;

/// All that is needed to ask a store.
pub struct Access {
    /// `None`: AWS.
    pub endpoint: Option<Url>,
    pub region: String,
    /// `None`: requests are not signed.
    pub keys: Option<Keys>,
    /// The only ones to vouch for the store, as PEM, and where they come from. `None`: those of the host.
    pub authorities: Option<(PathBuf, Vec<u8>)>,
    pub addressing: Addressing,
}

/// A file of the host.
#[derive(Debug)]
pub struct Source {
    pub path: PathBuf,
    /// Opened by one who may read it.
    pub passed: Option<File>,
}

impl Source {
    fn read(self, what: &'static str) -> Result<(PathBuf, Vec<u8>), AccessError> {
        let Source { path, passed } = self;
        let mut content = Vec::new();
        let read = passed.map_or_else(|| File::open(&path), Ok);
        let read = read.and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut content));
        match read {
            Ok(_) if content.len() as u64 > LONGEST_FILE => Err(AccessError::Content { what, path }),
            Ok(_) => Ok((path, content)),
            Err(source) => Err(AccessError::File { what, path, source }),
        }
    }
}

/// What requests are signed with.
pub struct Signing(Option<Keys>);

impl Signing {
    /// Keys of the environment, else of the file; for `anonymous` ones none.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn find(env: &[(String, String)], file: Option<Source>, anonymous: bool) -> Result<Signing, AccessError> {
        if anonymous {
            return Ok(Signing(None));
        }
        let get = |name: &str| variable(env, name);
        let in_env = keys("the environment", get(KEY_ID), get(SECRET), get(TOKEN))?;
        let keys = match (in_env, file) {
            (Some(keys), _) => keys,
            (None, Some(file)) => from_file(file, &get(PROFILE).unwrap_or_else(|| DEFAULT_PROFILE.into()))?,
            (None, None) => return Err(AccessError::NoKeys),
        };
        Ok(Signing(Some(keys)))
    }
}

/// Access keys; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

/// A store that cannot even be asked. No variant holds the value of a key.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(
        "failed to use the endpoint: it must be http://HOST[:PORT] or https://HOST[:PORT], without a user, \
         a password or a query"
    )]
    Endpoint,
    #[error("failed to use the region {region:?}: it may have letters, digits and hyphens, as us-east-1")]
    Region { region: String },
    #[error(
        "failed to find keys for S3: set {KEY_ID} and {SECRET} in the env of the step or of the job, \
         name a credentials_file, or say anonymous: true for a bucket that is open to everyone"
    )]
    NoKeys,
    #[error("failed to use the keys for S3 in {place}: {given} is there, but {missing} is not")]
    Half { place: String, given: &'static str, missing: &'static str },
    #[error("failed to use the keys for S3 in {place}: {name} holds a character that no key has")]
    Character { place: String, name: &'static str },
    #[error("failed to read the {what} {}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("failed to read the {what} {}: it is longer than {LONGEST_FILE} bytes or no text", path.display())]
    Content { what: &'static str, path: PathBuf },
    #[error("failed to find keys for S3: {} has no profile [{profile}] with keys; {PROFILE} names another", path.display())]
    Profile { path: PathBuf, profile: String },
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Access {
    /// Takes the region from the step's environment where none is given.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn find(
        endpoint: Option<String>,
        region: Option<String>,
        env: &[(String, String)],
        signing: Signing,
        ca_bundle: Option<Source>,
        addressing: Addressing,
    ) -> Result<Access, AccessError> {
        let get = |name: &str| variable(env, name);
        let endpoint = endpoint.map(|text| parse_endpoint(&text).ok_or(AccessError::Endpoint)).transpose()?;
        let region = region.or_else(|| get("AWS_REGION")).or_else(|| get("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| DEFAULT_REGION.into());
        if !is_word(&region) {
            return Err(AccessError::Region { region });
        }
        let authorities = ca_bundle.map(|file| file.read("CA bundle")).transpose()?;
        Ok(Access { endpoint, region, keys: signing.0, authorities, addressing })
    }
}

/// The first with this name; empty is as good as none.
fn variable(env: &[(String, String)], name: &str) -> Option<String> {
    let (_, value) = env.iter().find(|(known, _)| known == name)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn parse_endpoint(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    let is_bare = url.query().is_none() && url.fragment().is_none() && url.has_host();
    (matches!(url.scheme(), "http" | "https") && is_plain && is_bare).then_some(url)
}

/// It becomes part of a host's name.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn keys(
    place: &str,
    id: Option<String>,
    secret: Option<String>,
    token: Option<String>,
) -> Result<Option<Keys>, AccessError> {
    let half = |given, missing| AccessError::Half { place: place.to_owned(), given, missing };
    let keys = match (id, secret) {
        (Some(id), Some(secret)) => Keys { id, secret, token },
        (Some(_), None) => return Err(half(KEY_ID, SECRET)),
        (None, Some(_)) => return Err(half(SECRET, KEY_ID)),
        (None, None) => return Ok(None),
    };
    for (name, value) in [(KEY_ID, Some(&keys.id)), (SECRET, Some(&keys.secret)), (TOKEN, keys.token.as_ref())] {
        if value.is_some_and(|value| !value.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(AccessError::Character { place: place.to_owned(), name });
        }
    }
    Ok(Some(keys))
}

fn from_file(file: Source, profile: &str) -> Result<Keys, AccessError> {
    let what = "credentials file";
    let (path, text) = file.read(what)?;
    let Ok(text) = String::from_utf8(text) else { return Err(AccessError::Content { what, path }) };
    let section = section(&text, profile);
    let get = |name: &str| variable(&section, name);
    let found = keys(&path.display().to_string(), get(KEY_ID), get(SECRET), get(TOKEN))?;
    found.ok_or_else(|| AccessError::Profile { path, profile: profile.to_owned() })
}

/// What stands below `[profile]`, with names in upper case as in the environment.
fn section(text: &str, profile: &str) -> Vec<(String, String)> {
    let (mut found, mut is_ours) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_ours = name.trim() == profile;
        } else if let Some((name, value)) = line.split_once('=')
            && is_ours
            && !line.starts_with(['#', ';'])
        {
            found.push((name.trim().to_ascii_uppercase(), value.trim().to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn source(path: &Path) -> Source {
        Source { path: path.to_owned(), passed: None }
    }

    fn find(pairs: &[(&str, &str)], file: Option<&Path>) -> Result<Keys, AccessError> {
        Ok(Signing::find(&env(pairs), file.map(source), false)?.0.unwrap())
    }

    #[test]
    fn keys_of_the_environment_win_over_those_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials");
        std::fs::write(
            &path,
            "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=B=\n\n[ other ]\r\n\
             AWS_ACCESS_KEY_ID=C\r\naws_secret_access_key = D\r\naws_session_token = E\n;x = y\n[empty]\n",
        )
        .unwrap();
        let found = find(&[], Some(&path)).unwrap();
        assert!(found == Keys { id: "A".into(), secret: "B=".into(), token: None });
        let found = find(&[(PROFILE, "other")], Some(&path)).unwrap();
        assert!(found == Keys { id: "C".into(), secret: "D".into(), token: Some("E".into()) });
        let found = find(&[(KEY_ID, "X"), (SECRET, "Y\n"), (TOKEN, ""), (KEY_ID, "Z")], Some(&path)).unwrap();
        assert!(found == Keys { id: "X".into(), secret: "Y".into(), token: None });
        for profile in ["empty", "absent"] {
            let error = find(&[(PROFILE, profile)], Some(&path)).err().unwrap();
            assert!(matches!(error, AccessError::Profile { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_no_value_is() {
        let message = |pairs: &[(&str, &str)]| find(pairs, None).err().unwrap().to_string();
        assert!(message(&[]).contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
        assert!(message(&[(KEY_ID, "hidden")]).contains("AWS_SECRET_ACCESS_KEY is not"));
        assert!(message(&[(SECRET, "hidden"), (KEY_ID, " ")]).contains("AWS_ACCESS_KEY_ID is not"));
        let odd = message(&[(KEY_ID, "a"), (SECRET, "hidden\nx-amz: 1")]);
        assert!(odd.contains("AWS_SECRET_ACCESS_KEY holds") && !odd.contains("hidden"), "{odd}");
        assert!(find(&[], Some(Path::new("/nowhere"))).err().unwrap().to_string().contains("/nowhere"));
    }

    #[test]
    fn what_was_passed_is_read_in_place_of_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials");
        std::fs::write(&path, "[default]\naws_access_key_id = A\naws_secret_access_key = B\n").unwrap();
        let passed = Some(File::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let Signing(keys) = Signing::find(&[], Some(Source { path, passed }), false).unwrap();
        assert!(keys.unwrap().id == "A");
        assert!(Signing::find(&env(&[(KEY_ID, "half")]), None, true).unwrap().0.is_none());
    }

    #[test]
    fn the_region_is_asked_for_in_order() {
        let keys = [(KEY_ID, "a"), (SECRET, "b")];
        let region = |own: Option<&str>, pairs: &[(&str, &str)]| {
            let pairs = [&keys[..], pairs].concat();
            let signing = Signing::find(&env(&pairs), None, false)?;
            let own = own.map(str::to_owned);
            Access::find(None, own, &env(&pairs), signing, None, Addressing::Auto).map(|access| access.region)
        };
        let both = [("AWS_DEFAULT_REGION", "eu-west-1"), ("AWS_REGION", "eu-west-2")];
        assert_eq!(region(Some("eu-west-3"), &both).unwrap(), "eu-west-3");
        assert_eq!(region(None, &both).unwrap(), "eu-west-2");
        assert_eq!(region(None, &both[..1]).unwrap(), "eu-west-1");
        assert_eq!(region(None, &[]).unwrap(), "us-east-1");
        assert!(region(Some("evil.example/"), &[]).is_err());
    }

    #[test]
    fn endpoints_say_how_they_are_spoken_to() {
        for text in ["http://127.0.0.1:9000", "https://s3.example", "https://s3.example/prefix/", "http://[::1]:1"] {
            assert!(parse_endpoint(text).is_some(), "{text}");
        }
        for text in ["s3.example", "ftp://a", "https://u:p@a", "https://u@a", "https://a?b", "https://a#b", "https://"]
        {
            assert!(parse_endpoint(text).is_none(), "{text}");
        }
    }
}
