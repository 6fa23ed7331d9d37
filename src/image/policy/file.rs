//! The policy file.

use super::error::{PolicyError, Refusal, RefusalReason};
use super::identity::Named;
use super::json;
use super::key::PublicKey;
use super::parse::{self, Misplaced, Transports};
use super::requirement::{KeySource, Requirement, SigstoreSigned};
use super::scope::Origin;
use super::verify::{Demand, Demands};
use crate::image::surroundings::Surroundings;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The policy of the host.
const SYSTEM: &str = "/etc/containers/policy.json";
/// The policy of a user, below the home directory. containers/image does not look at XDG_CONFIG_HOME.
const USER: &str = ".config/containers/policy.json";

/// More than any policy's or key's; a bound on memory.
const LARGEST_FILE: u64 = 4 << 20;

/// Requirements by where images come from.
#[derive(Debug)]
pub struct Policy {
    /// Empty when there is no file.
    path: PathBuf,
    default: Vec<Requirement>,
    transports: Transports,
}

impl Policy {
    /// Reads `file`, or without one the user's or the host's policy. Blocks.
    ///
    /// # Errors
    /// [`PolicyError::Read`], [`PolicyError::Json`], [`PolicyError::Malformed`].
    pub fn load(file: Option<&Path>, surroundings: &Surroundings) -> Result<Policy, PolicyError> {
        if let Some(path) = file {
            let bytes = read(path).map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
            return Policy::parse(path, &bytes);
        }
        let home = surroundings.get("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        Policy::first_of(home.map(|home| home.join(USER)).as_deref(), Path::new(SYSTEM))
    }

    /// The user's policy, else the host's. Without any, everything is accepted.
    pub(super) fn first_of(user: Option<&Path>, system: &Path) -> Result<Policy, PolicyError> {
        for path in user.into_iter().chain([system]) {
            match read(path) {
                Ok(bytes) => return Policy::parse(path, &bytes),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                // In a home that this user cannot look into: HOME is another user's, as after su(1).
                Err(_) if user == Some(path) && is_hidden(path) => {}
                // A policy that is there and cannot be read must not give way to a laxer one.
                Err(source) => return Err(PolicyError::Read { path: path.to_owned(), source }),
            }
        }
        let default = vec![Requirement::InsecureAcceptAnything];
        Ok(Policy { path: PathBuf::new(), default, transports: Transports::new() })
    }

    /// `path` is for messages.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Policy, PolicyError> {
        let document = json::parse(bytes).map_err(|source| PolicyError::Json { path: path.to_owned(), source })?;
        let (default, transports) = parse::policy(&document).map_err(|Misplaced { place, problem }| {
            PolicyError::Malformed { path: path.to_owned(), place, problem: Box::new(problem) }
        })?;
        Ok(Policy { path: path.to_owned(), default, transports })
    }

    /// The requirements for an image, from the most specific scope that there are any for, and how
    /// messages name their place.
    pub(super) fn requirements(&self, origin: &Origin) -> (String, &[Requirement]) {
        let transport = origin.transport();
        let entries = self.transports.get(transport);
        for scope in origin.scopes() {
            if let Some(found) = entries.and_then(|entries| entries.get(&scope)) {
                return (parse::scope_place(transport, &scope), found);
            }
        }
        ("default".to_owned(), &self.default)
    }

    /// Decides what can be decided before the image's manifest is known, and returns what remains to
    /// be verified: nothing, if the image is accepted as it is, and always nothing for a local one.
    /// Reads the keys that are needed, so it blocks. `image` is for messages.
    ///
    /// # Errors
    /// [`PolicyError::Refused`]; [`PolicyError::Read`] and [`PolicyError::Key`] for a key.
    pub fn demands(&self, image: &str, origin: &Origin) -> Result<Demands, PolicyError> {
        let (place, requirements) = self.requirements(origin);
        let mut demands = Vec::new();
        for (at, requirement) in requirements.iter().enumerate() {
            let place = format!("{place}[{at}]");
            let reason = match (requirement, origin) {
                (Requirement::InsecureAcceptAnything, _) => continue,
                (Requirement::SigstoreSigned(signed), Origin::Registry(name)) => {
                    let keys = self.keys(&place, signed)?;
                    demands.push(Demand { place, keys, signed: signed.identity.clone(), identity: Named::of(name) });
                    continue;
                }
                (Requirement::SigstoreSigned(_), Origin::Local { transport, .. }) => RefusalReason::Local(transport),
                (Requirement::Reject, _) => RefusalReason::Rejected,
                (Requirement::Uncheckable(what), _) => RefusalReason::Uncheckable(what.clone()),
            };
            let (image, path) = (image.to_owned(), self.path.clone());
            return Err(PolicyError::Refused(Box::new(Refusal { image, path, place, reason })));
        }
        Ok(Demands { image: image.to_owned(), path: self.path.clone(), demands })
    }

    /// All keys of a requirement. One that cannot be used is an error even if another would do: it
    /// would be missed on the day that it is needed.
    fn keys(&self, place: &str, signed: &SigstoreSigned) -> Result<Vec<PublicKey>, PolicyError> {
        let parse = |pem: &[u8], key: String| {
            PublicKey::parse(pem).map_err(|source| {
                let (path, place) = (self.path.clone(), place.to_owned());
                PolicyError::Key { path, place, key, source: Box::new(source) }
            })
        };
        match &signed.keys {
            KeySource::Data(data) => {
                data.iter().enumerate().map(|(at, pem)| parse(pem, format!("the key data {}", at + 1))).collect()
            }
            KeySource::Paths(paths) => {
                let load = |path: &PathBuf| {
                    let pem = read(path).map_err(|source| PolicyError::Read { path: path.clone(), source })?;
                    parse(&pem, path.display().to_string())
                };
                paths.iter().map(load).collect()
            }
        }
    }
}

fn is_hidden(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {LARGEST_FILE} bytes")));
    }
    Ok(bytes)
}
