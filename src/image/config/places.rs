//! Where the files are, for this user.

use super::error::ConfigError;
use crate::image::surroundings::Surroundings;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Every file and directory that is looked at. A path that a variable names comes with the variable,
/// because a file that is named must be there.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    pub registries: RegistriesPlaces,
    pub auth: AuthPlaces,
    /// `certs.d` directories; the first that has one for a registry counts.
    pub certificates: Vec<PathBuf>,
    /// Where programs are looked for, as PATH has them.
    pub programs: Vec<PathBuf>,
    /// The user's home and runtime directory: what lies there and cannot be seen is another user's.
    personal: Vec<PathBuf>,
    /// For the programs.
    pub surroundings: Surroundings,
}

/// <https://github.com/containers/image/blob/main/docs/containers-registries.conf.5.md>,
/// <https://github.com/containers/image/blob/main/docs/containers-registries.conf.d.5.md>
#[derive(Debug, Clone, Default)]
pub(super) struct RegistriesPlaces {
    pub named: Option<Named>,
    /// The user's own file. Where it exists, the system's file and drop-ins do not count.
    pub personal: Option<PathBuf>,
    pub system: Option<PathBuf>,
    pub personal_drop_ins: Option<PathBuf>,
    pub system_drop_ins: Option<PathBuf>,
    /// Aliases that other tools recorded when their user chose.
    pub recorded_aliases: Option<PathBuf>,
}

/// <https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md>
#[derive(Debug, Clone, Default)]
pub(super) struct AuthPlaces {
    /// The only file when it is set.
    pub named: Option<Named>,
    /// In the order to look.
    pub usual: Vec<PathBuf>,
    /// The oldest format, looked at last.
    pub dockercfg: Option<PathBuf>,
}

/// A file that an environment variable names.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub path: PathBuf,
    pub variable: &'static str,
}

impl Places {
    pub fn in_surroundings(surroundings: &Surroundings) -> Result<Places, ConfigError> {
        let uid = nix::unistd::geteuid().as_raw();
        let places = Places::locate(Path::new("/"), uid, |name| surroundings.get(name))?;
        Ok(Places { surroundings: surroundings.clone(), ..places })
    }

    /// The pure part: `root` holds `etc`, `run` and `var`, `variable` looks up the environment.
    pub fn locate(root: &Path, uid: u32, variable: impl Fn(&str) -> Option<OsString>) -> Result<Places, ConfigError> {
        let value = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // The XDG base directory specification wants relative paths in its variables ignored.
        let absolute = |name: &str| value(name).filter(|path| path.is_absolute());
        // Made absolute now: the files are read later, and the working directory is the caller's.
        let resolved = |path: PathBuf| {
            std::path::absolute(&path).map_err(|source| ConfigError::Place { path: path.clone(), source })
        };
        let named = |names: &[&'static str]| {
            let found = names.iter().find_map(|variable| Some((*variable, value(variable)?)));
            found.map(|(variable, path)| resolved(path).map(|path| Named { path, variable })).transpose()
        };
        let home = absolute("HOME");
        let in_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let config_home = absolute("XDG_CONFIG_HOME").or_else(|| in_home(".config"));
        let cache_home = absolute("XDG_CACHE_HOME").or_else(|| in_home(".cache"));
        let runtime = match absolute("XDG_RUNTIME_DIR") {
            Some(directory) => directory.join("containers"),
            None => root.join("run/containers").join(uid.to_string()),
        };
        let docker = value("DOCKER_CONFIG").map(resolved).transpose()?.or_else(|| in_home(".docker"));
        let recorded = "containers/short-name-aliases.conf";
        Ok(Places {
            registries: RegistriesPlaces {
                // The second is an older name that podman still reads.
                named: named(&["CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH"])?,
                // Not below XDG_CONFIG_HOME: other tools read these two from here alone.
                personal: in_home(".config/containers/registries.conf"),
                system: Some(root.join("etc/containers/registries.conf")),
                personal_drop_ins: in_home(".config/containers/registries.conf.d"),
                system_drop_ins: Some(root.join("etc/containers/registries.conf.d")),
                recorded_aliases: match uid {
                    0 => Some(root.join("var/cache").join(recorded)),
                    _ => cache_home.map(|cache| cache.join(recorded)),
                },
            },
            surroundings: Surroundings::default(),
            personal: home.iter().cloned().chain([runtime.clone()]).collect(),
            auth: AuthPlaces {
                named: named(&["REGISTRY_AUTH_FILE"])?,
                usual: [
                    Some(runtime.join("auth.json")),
                    config_home.map(|directory| directory.join("containers/auth.json")),
                    docker.map(|directory| directory.join("config.json")),
                ]
                .into_iter()
                .flatten()
                .collect(),
                dockercfg: in_home(".dockercfg"),
            },
            certificates: [
                in_home(".config/containers/certs.d"),
                Some(root.join("etc/containers/certs.d")),
                Some(root.join("etc/docker/certs.d")),
            ]
            .into_iter()
            .flatten()
            .collect(),
            // A program from the working directory is never meant.
            programs: value("PATH")
                .map(|path| std::env::split_paths(&path).filter(|directory| directory.is_absolute()).collect())
                .unwrap_or_default(),
        })
    }

    /// Reads a file that may be missing. One in a home or runtime directory that this user cannot look
    /// into (HOME is another user's, as after `su`; `/run/containers` is root's alone) counts as missing.
    pub fn read(&self, path: &Path) -> io::Result<Option<String>> {
        self.unless_missing(path, std::fs::read_to_string(path))
    }

    /// `None` for a file or directory that is missing, or hidden in another user's directory.
    pub fn unless_missing<T>(&self, path: &Path, result: io::Result<T>) -> io::Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.is_hidden(path) => {
                tracing::debug!(path = %path.display(), "passed over: this user cannot look there");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn is_hidden(&self, path: &Path) -> bool {
        let is_personal = self.personal.iter().any(|directory| path.starts_with(directory));
        is_personal && path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }
}
