//! One file with credentials: auth.json, Docker's config.json, or the older .dockercfg.
//! <https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md>

use super::Credentials;
use super::credentials::AuthError;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What Docker calls Docker Hub in its files, and to its credential helpers.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Tools differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a file has for a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Credentials(Credentials),
    /// Ask this helper about this server.
    Helper {
        name: String,
        server: String,
    },
    Nothing,
}

/// A file that has been read. Other keys of Docker's config.json are of no interest here.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthFile {
    #[serde(skip)]
    path: PathBuf,
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    /// The base64 of `USER:PASSWORD`.
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl AuthFile {
    /// # Errors
    /// [`AuthError::Malformed`], which shows nothing of the text.
    pub fn parse(path: &Path, text: &str) -> Result<AuthFile, AuthError> {
        if text.trim().is_empty() {
            return Ok(AuthFile::default());
        }
        let file: AuthFile = serde_json::from_str(text).map_err(|error| malformed(path, &error))?;
        Ok(AuthFile { path: path.to_owned(), ..file })
    }

    /// The format of .dockercfg, which is the map of `auths` alone.
    ///
    /// # Errors
    /// As [`AuthFile::parse`].
    pub fn parse_dockercfg(path: &Path, text: &str) -> Result<AuthFile, AuthError> {
        if text.trim().is_empty() {
            return Ok(AuthFile::default());
        }
        let auths = serde_json::from_str(text).map_err(|error| malformed(path, &error))?;
        Ok(AuthFile { path: path.to_owned(), auths: Some(auths), ..AuthFile::default() })
    }

    /// The helper of the registry; else the entry of the repository, the nearest namespace or the
    /// registry; else the store for everything.
    ///
    /// # Errors
    /// [`AuthError::Entry`].
    pub fn find(&self, registry: &str, repository: &str) -> Result<Found, AuthError> {
        if let Some((server, name)) = self.cred_helpers.as_ref().and_then(|helpers| of_registry(helpers, registry))
            && !name.is_empty()
        {
            return Ok(Found::Helper { name: name.clone(), server: server.to_owned() });
        }
        if let Some(auths) = &self.auths {
            let full = format!("{registry}/{repository}");
            // The whole name, then one component less each time, down to the first namespace.
            let ends = full.match_indices('/').map(|(at, _)| at).skip(1).collect::<Vec<_>>();
            let names = std::iter::once(full.as_str()).chain(ends.iter().rev().map(|end| &full[..*end]));
            let of_repository = names.into_iter().find_map(|name| auths.get_key_value(name));
            let entry =
                of_repository.map(|(key, entry)| (key.as_str(), entry)).or_else(|| of_registry(auths, registry));
            if let Some((key, entry)) = entry
                && let Some(credentials) = self.credentials(key, entry)?
            {
                return Ok(Found::Credentials(credentials));
            }
        }
        match self.creds_store.as_deref() {
            Some(name) if !name.is_empty() => {
                let server = if registry == "docker.io" { DOCKER_HUB_KEY } else { registry };
                Ok(Found::Helper { name: name.to_owned(), server: server.to_owned() })
            }
            _ => Ok(Found::Nothing),
        }
    }

    /// `None` for an entry that only says where somebody logged in.
    fn credentials(&self, key: &str, entry: &Entry) -> Result<Option<Credentials>, AuthError> {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&entry.identitytoken) {
            return Ok(Some(Credentials::IdentityToken(token)));
        }
        let (user, password) = match given(&entry.auth) {
            Some(auth) => {
                let decoded = decode(&auth);
                let pair = decoded.ok_or_else(|| AuthError::Entry { path: self.path.clone(), key: key.to_owned() })?;
                (Some(pair.0), Some(pair.1))
            }
            None => (entry.username.clone(), entry.password.clone()),
        };
        Ok(match (user, password) {
            (Some(user), Some(password)) if !user.is_empty() && !password.is_empty() => {
                Some(Credentials::Basic { user, password })
            }
            _ => None,
        })
    }
}

/// User and password.
fn decode(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(BASE64.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    // Old versions of docker pad the password with NUL.
    Some((user.to_owned(), password.trim_matches('\0').to_owned()))
}

/// The entry of a registry itself, under its own name or in one of the ways that docker has written it.
fn of_registry<'a, T>(entries: &'a BTreeMap<String, T>, registry: &str) -> Option<(&'a str, &'a T)> {
    let exact = entries.get_key_value(registry);
    let exact = exact.or_else(|| entries.get_key_value(DOCKER_HUB_KEY).filter(|_| registry == "docker.io"));
    let wanted = without_alias(registry);
    let similar = || entries.iter().find(|(key, _)| host_of(key) == wanted);
    exact.or_else(similar).map(|(key, entry)| (key.as_str(), entry))
}

/// The host of a key that may be a URL. A key that is no URL may name a namespace, and then has no host.
fn host_of(key: &str) -> &str {
    let url = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let host = url.map_or(key, |rest| rest.split('/').next().unwrap_or_default());
    without_alias(host)
}

/// Docker Hub goes by several names.
fn without_alias(host: &str) -> &str {
    if matches!(host, "docker.io" | "registry-1.docker.io") { "index.docker.io" } else { host }
}

/// The parser's own message may quote a password.
fn malformed(path: &Path, error: &serde_json::Error) -> AuthError {
    let problem = match error.classify() {
        serde_json::error::Category::Data => "a value has another type than containers-auth.json(5) gives it",
        _ => "this is not JSON",
    };
    AuthError::Malformed { path: path.to_owned(), line: error.line(), column: error.column(), problem }
}
