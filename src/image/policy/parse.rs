//! From JSON to requirements. Strict where a mistake could make a policy laxer than it looks: unknown
//! keys outside of requirements, wrong types and empty lists make the whole policy unusable. What a
//! requirement asks beyond our knowledge makes that requirement uncheckable.

use super::error::MalformedPolicy;
use super::identity::{Named, SignedIdentity};
use super::requirement::{KeySource, Requirement, SigstoreSigned};
use super::scope;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Requirements by transport and scope.
pub type Transports = BTreeMap<String, BTreeMap<String, Vec<Requirement>>>;

/// What is wrong, and where.
#[derive(Debug)]
pub struct Misplaced {
    pub place: String,
    pub problem: MalformedPolicy,
}

/// The default requirements and those of each transport.
///
/// # Errors
/// The first thing that is wrong.
pub fn policy(document: &Value) -> Result<(Vec<Requirement>, Transports), Misplaced> {
    let top = Object::of(document, "the document")?;
    top.has_only(&["default", "transports"])?;
    let default = requirements(top.required("default")?, "default")?;
    let mut transports = Transports::new();
    if let Some(value) = top.fields.get("transports") {
        for (transport, scopes) in Object::of(value, "transports")?.fields {
            let place = format!("transports.{transport}");
            let mut parsed = BTreeMap::new();
            for (scope, value) in Object::of(scopes, &place)?.fields {
                let place = scope_place(transport, scope);
                if !scope.is_empty() && !scope::is_valid(transport, scope) {
                    let has_scopes = scope::is_valid(transport, "/some/path");
                    let problem =
                        if has_scopes { MalformedPolicy::ScopePath } else { MalformedPolicy::ScopeNotAllowed };
                    return Err(Misplaced { place, problem });
                }
                parsed.insert(scope.clone(), requirements(value, &place)?);
            }
            transports.insert(transport.clone(), parsed);
        }
    }
    Ok((default, transports))
}

/// How messages name a scope's requirements.
pub fn scope_place(transport: &str, scope: &str) -> String {
    format!("transports.{transport}[{scope:?}]")
}

fn requirements(value: &Value, place: &str) -> Result<Vec<Requirement>, Misplaced> {
    let wrong = |problem| Misplaced { place: place.to_owned(), problem };
    let list = value.as_array().ok_or_else(|| wrong(MalformedPolicy::Not("a list of requirements")))?;
    if list.is_empty() {
        return Err(wrong(MalformedPolicy::Empty));
    }
    list.iter().enumerate().map(|(at, value)| requirement(value, &format!("{place}[{at}]"))).collect()
}

fn requirement(value: &Value, place: &str) -> Result<Requirement, Misplaced> {
    let object = Object::of(value, place)?;
    let kind = object.required_string("type")?;
    let known: &[&str] = match kind {
        "insecureAcceptAnything" | "reject" => &["type"],
        "sigstoreSigned" => &["type", "keyPath", "keyPaths", "keyData", "keyDatas", "signedIdentity"],
        _ => return Ok(Requirement::Uncheckable(format!("a requirement of the type {kind:?}"))),
    };
    if kind == "sigstoreSigned" {
        let sources = ["keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki"];
        if sources.iter().filter(|key| object.fields.contains_key(**key)).count() != 1 {
            return Err(object.wrong(MalformedPolicy::KeySources));
        }
    }
    if let Some(unknown) = object.unknown(known) {
        return Ok(Requirement::Uncheckable(format!("a requirement {kind} with {unknown:?}")));
    }
    match kind {
        "insecureAcceptAnything" => Ok(Requirement::InsecureAcceptAnything),
        "reject" => Ok(Requirement::Reject),
        _ => sigstore_signed(&object),
    }
}

fn sigstore_signed(object: &Object<'_>) -> Result<Requirement, Misplaced> {
    let identity = match object.fields.get("signedIdentity") {
        Some(value) => signed_identity(value, &format!("{}.signedIdentity", object.place))?,
        None => Identity::Known(SignedIdentity::MatchRepoDigestOrExact),
    };
    let paths = object.strings("keyPath", "keyPaths", |text| {
        let path = PathBuf::from(text);
        // Which file that is would depend on where the user stands.
        if path.is_absolute() { Ok(path) } else { Err(MalformedPolicy::RelativePath(path)) }
    })?;
    let data = object.strings("keyData", "keyDatas", |text| {
        let text: String = text.chars().filter(|character| !matches!(character, '\r' | '\n')).collect();
        STANDARD.decode(text).map_err(MalformedPolicy::Base64)
    })?;
    let keys = if paths.is_empty() { KeySource::Data(data) } else { KeySource::Paths(paths) };
    Ok(match identity {
        Identity::Known(identity) => Requirement::SigstoreSigned(SigstoreSigned { keys, identity }),
        Identity::Unknown(what) => Requirement::Uncheckable(what),
    })
}

enum Identity {
    Known(SignedIdentity),
    Unknown(String),
}

fn signed_identity(value: &Value, place: &str) -> Result<Identity, Misplaced> {
    let object = Object::of(value, place)?;
    let kind = object.required_string("type")?;
    let known: &[&str] = match kind {
        "matchExact" | "matchRepoDigestOrExact" | "matchRepository" => &["type"],
        "exactReference" => &["type", "dockerReference"],
        "exactRepository" => &["type", "dockerRepository"],
        "remapIdentity" => &["type", "prefix", "signedPrefix"],
        _ => return Ok(Identity::Unknown(format!("a signedIdentity of the type {kind:?}"))),
    };
    if let Some(unknown) = object.unknown(known) {
        return Ok(Identity::Unknown(format!("a signedIdentity {kind} with {unknown:?}")));
    }
    let reference = |key| {
        let text = object.required_string(key)?;
        let failed = |source| object.wrong(MalformedPolicy::Reference { text: text.to_owned(), source });
        Named::parse(text).map_err(failed)
    };
    Ok(Identity::Known(match kind {
        "matchExact" => SignedIdentity::MatchExact,
        "matchRepoDigestOrExact" => SignedIdentity::MatchRepoDigestOrExact,
        "matchRepository" => SignedIdentity::MatchRepository,
        "exactReference" => {
            let reference = reference("dockerReference")?;
            if reference.is_name_only() {
                return Err(object.wrong(MalformedPolicy::NameOnly(reference.to_string())));
            }
            SignedIdentity::ExactReference(reference)
        }
        "exactRepository" => SignedIdentity::ExactRepository(reference("dockerRepository")?.name().to_owned()),
        _ => SignedIdentity::RemapIdentity {
            prefix: prefix(&object, "prefix")?,
            signed_prefix: prefix(&object, "signedPrefix")?,
        },
    }))
}

/// A registry, a namespace or a repository: what makes a name with one more component.
fn prefix(object: &Object<'_>, key: &'static str) -> Result<String, Misplaced> {
    let text = object.required_string(key)?;
    match Named::parse(&format!("{text}/component")) {
        Ok(named) if named.is_name_only() => Ok(text.to_owned()),
        _ => Err(object.wrong(MalformedPolicy::Prefix(text.to_owned()))),
    }
}

/// An object and where it stands.
struct Object<'a> {
    place: &'a str,
    fields: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    fn of(value: &'a Value, place: &'a str) -> Result<Object<'a>, Misplaced> {
        let not = || Misplaced { place: place.to_owned(), problem: MalformedPolicy::Not("an object") };
        value.as_object().map(|fields| Object { place, fields }).ok_or_else(not)
    }

    fn wrong(&self, problem: MalformedPolicy) -> Misplaced {
        Misplaced { place: self.place.to_owned(), problem }
    }

    /// A key that is not among `known`.
    fn unknown(&self, known: &[&str]) -> Option<&'a String> {
        self.fields.keys().find(|key| !known.contains(&key.as_str()))
    }

    fn has_only(&self, known: &[&str]) -> Result<(), Misplaced> {
        self.unknown(known).map_or(Ok(()), |key| Err(self.wrong(MalformedPolicy::UnknownKey(key.clone()))))
    }

    fn required(&self, key: &'static str) -> Result<&'a Value, Misplaced> {
        self.fields.get(key).ok_or_else(|| self.wrong(MalformedPolicy::Missing(key)))
    }

    fn required_string(&self, key: &'static str) -> Result<&'a str, Misplaced> {
        let value = self.required(key)?;
        value.as_str().ok_or_else(|| Misplaced {
            place: format!("{}.{key}", self.place),
            problem: MalformedPolicy::Not("a string"),
        })
    }

    /// The strings under a key for one and a key for several, of which at most one is there, read with
    /// `read`. None when neither is.
    fn strings<T>(
        &self,
        one: &str,
        several: &str,
        read: impl Fn(&str) -> Result<T, MalformedPolicy>,
    ) -> Result<Vec<T>, Misplaced> {
        let (key, values) = match (self.fields.get(one), self.fields.get(several)) {
            (Some(value), _) => (one, std::slice::from_ref(value)),
            (None, Some(Value::Array(values))) => (several, values.as_slice()),
            (None, Some(_)) => {
                let problem = MalformedPolicy::Not("a list of strings");
                return Err(Misplaced { place: format!("{}.{several}", self.place), problem });
            }
            (None, None) => return Ok(Vec::new()),
        };
        let wrong = |problem| Misplaced { place: format!("{}.{key}", self.place), problem };
        if values.is_empty() {
            return Err(wrong(MalformedPolicy::Not("a list of at least one string")));
        }
        let read = |value: &Value| value.as_str().ok_or(MalformedPolicy::Not("a string")).and_then(&read);
        values.iter().map(read).collect::<Result<_, _>>().map_err(wrong)
    }
}
