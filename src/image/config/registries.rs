//! All files of registries.conf together, and what they make of a name.

use super::error::ConfigError;
use super::places::{Named, Places};
use super::registries_conf::{Entry, RegistriesConf, ShortNameMode};
use super::{Endpoint, Serves};
use crate::image::reference::{ReferenceError, RegistryName};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The name among `credential-helpers` that stands for the files of containers-auth.json(5).
const AUTH_FILES: &str = "containers-auth.json";

/// The merged configuration.
#[derive(Debug, Default)]
pub(super) struct Registries {
    entries: Vec<Entry>,
    /// `unqualified-search-registries`.
    search: Vec<String>,
    helpers: Vec<String>,
    /// With the file that sets it.
    mode: (ShortNameMode, PathBuf),
    aliases: BTreeMap<String, Option<String>>,
}

/// Where credentials come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CredentialSource<'a> {
    /// auth.json and its kin.
    Files,
    /// `docker-credential-NAME`.
    Helper(&'a str),
}

impl Registries {
    /// Reads every file that counts. The user's own main file hides the system's files; one that is
    /// named hides both main files and no drop-ins.
    pub fn load(places: &Places) -> Result<Registries, ConfigError> {
        let of = &places.registries;
        let mut drop_ins = [of.system_drop_ins.as_deref(), of.personal_drop_ins.as_deref()];
        let main = if let Some(Named { path, variable }) = &of.named {
            let conf = read(places, path)?.ok_or_else(|| ConfigError::Missing { path: path.clone(), variable })?;
            Some((path.as_path(), conf))
        } else if let Some(personal) = read_any(places, of.personal.as_deref())? {
            drop_ins[0] = None;
            Some(personal)
        } else {
            read_any(places, of.system.as_deref())?
        };
        let mut registries = Registries::default();
        if let Some((path, conf)) = main {
            registries.merge(path, conf);
        }
        for directory in drop_ins.into_iter().flatten() {
            for path in conf_files(places, directory)? {
                // It may have been removed since the directory was read.
                if let Some(conf) = read(places, &path)? {
                    registries.merge(&path, conf);
                }
            }
        }
        if let Some(path) = &of.recorded_aliases
            && let Some(conf) = read(places, path)?
        {
            registries.aliases.extend(conf.aliases);
        }
        Ok(registries)
    }

    /// One text alone.
    pub fn from_toml(path: &Path, text: &str) -> Result<Registries, ConfigError> {
        let mut registries = Registries::default();
        registries.merge(path, RegistriesConf::parse(path, text)?);
        Ok(registries)
    }

    /// A later file replaces entries of the same prefix and each list as a whole.
    fn merge(&mut self, path: &Path, conf: RegistriesConf) {
        self.entries.retain(|old| conf.entries.iter().all(|new| new.prefix != old.prefix));
        self.entries.extend(conf.entries);
        if let Some(search) = conf.search {
            self.search = search;
        }
        if let Some(helpers) = conf.helpers {
            self.helpers = helpers;
        }
        if let Some(mode) = conf.mode {
            self.mode = (mode, path.to_owned());
        }
        self.aliases.extend(conf.aliases);
    }

    /// See [`super::HostConfig::endpoints`].
    pub fn endpoints(&self, name: &RegistryName) -> Result<Vec<Endpoint>, ConfigError> {
        let text = name.to_string();
        let matches = self.entries.iter().filter_map(|entry| Some((entry, matched(&text, &entry.prefix)?)));
        // Of a host itself and a wildcard of the same length the host is nearer.
        let nearest = matches.max_by_key(|(entry, _)| (entry.prefix.len(), !entry.prefix.starts_with("*.")));
        let Some((entry, matched)) = nearest else {
            return Ok(vec![endpoint(name, name.is_loopback(), Serves::All)]);
        };
        if entry.blocked {
            let (prefix, file) = (entry.prefix.clone(), entry.file.clone());
            return Err(ConfigError::Blocked { name: text, prefix, file });
        }
        let rest = &text[matched..];
        let mut endpoints = Vec::new();
        for mirror in &entry.mirrors {
            let place = relocated(name, &mirror.location, rest, &entry.file)?;
            endpoints.push(endpoint(&place, mirror.insecure, mirror.serves));
        }
        let place = entry.location.as_ref().map(|location| relocated(name, location, rest, &entry.file)).transpose()?;
        endpoints.push(endpoint(place.as_ref().unwrap_or(name), entry.insecure, Serves::All));
        Ok(endpoints)
    }

    /// What `name`, written as `short`, may stand for: see [`super::HostConfig::candidates`].
    pub fn candidates(&self, name: &RegistryName, short: &str) -> Result<Vec<RegistryName>, ConfigError> {
        let failed = |source| ConfigError::ShortName { name: short.to_owned(), source: Box::new(source) };
        if let Some(Some(full)) = self.aliases.get(short) {
            return Ok(vec![name.at(full).map_err(failed)?]);
        }
        let candidates = self.search.iter().map(|host| name.with_registry(host)).collect::<Result<Vec<_>, _>>();
        let candidates = candidates.map_err(failed)?;
        match (candidates.len(), &self.mode) {
            // As Docker has it.
            (0, _) => Ok(vec![name.with_registry(name.registry()).map_err(failed)?]),
            (2.., (ShortNameMode::Enforcing, file)) => {
                let candidates = candidates.iter().map(RegistryName::to_string).collect();
                Err(ConfigError::Ambiguous { name: short.to_owned(), candidates, file: file.clone() })
            }
            _ => Ok(candidates),
        }
    }

    /// Where to look for credentials, in this order.
    pub fn credential_sources(&self) -> Vec<CredentialSource<'_>> {
        if self.helpers.is_empty() {
            return vec![CredentialSource::Files];
        }
        let sources = self.helpers.iter().map(|name| match name.as_str() {
            AUTH_FILES => CredentialSource::Files,
            name => CredentialSource::Helper(name),
        });
        sources.collect()
    }
}

fn read(places: &Places, path: &Path) -> Result<Option<RegistriesConf>, ConfigError> {
    let text = places.read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    text.map(|text| RegistriesConf::parse(path, &text)).transpose()
}

fn read_any<'a>(places: &Places, path: Option<&'a Path>) -> Result<Option<(&'a Path, RegistriesConf)>, ConfigError> {
    let Some(path) = path else { return Ok(None) };
    Ok(read(places, path)?.map(|conf| (path, conf)))
}

/// The files of a drop-in directory, in the order of their names.
fn conf_files(places: &Places, directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read { path: directory.to_owned(), source };
    let entries = places.unless_missing(directory, std::fs::read_dir(directory)).map_err(failed)?;
    let mut paths = Vec::new();
    for entry in entries.into_iter().flatten() {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// How much of a complete name a prefix covers. As in other tools a host without a port also covers
/// the same host with one.
fn matched(name: &str, prefix: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        Some(domain) => {
            let authority = name.split('/').next().unwrap_or_default();
            let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
            host.ends_with(domain).then_some(host.len())?
        }
        None => name.starts_with(prefix).then_some(prefix.len())?,
    };
    matches!(name.as_bytes().get(end), None | Some(b'/' | b':' | b'@')).then_some(end)
}

/// `name` with `location` in the place of what was matched.
fn relocated(name: &RegistryName, location: &str, rest: &str, file: &Path) -> Result<RegistryName, ConfigError> {
    let (location, file) = (location.to_owned(), file.to_owned());
    let text = format!("{location}{rest}");
    let place = RegistryName::parse(&text).and_then(|place| match place.is_short() {
        true => Err(ReferenceError::Form(text)),
        false => Ok(place),
    });
    match place {
        Err(source) => {
            let source = Box::new(source);
            Err(ConfigError::Location { name: name.to_string(), location, file, source })
        }
        Ok(place) if (place.tag(), place.digest()) != (name.tag(), name.digest()) => {
            Err(ConfigError::OtherVersion { name: name.to_string(), location, file })
        }
        Ok(place) => Ok(place),
    }
}

fn endpoint(place: &RegistryName, insecure: bool, serves: Serves) -> Endpoint {
    Endpoint { registry: place.registry().to_owned(), repository: place.repository().to_owned(), insecure, serves }
}
