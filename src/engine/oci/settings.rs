//! What a process has been told about images, as it is recorded with the executions that it triggers: whoever
//! prepares one, pulls by these and not by its own.

use super::ImageConfig;
use crate::engine::RuntimeError;
use crate::image::Surroundings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variables that say where files are, one path each.
const PATHS: &[&str] = &[
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "DOCKER_CONFIG",
    "REGISTRY_AUTH_FILE",
    "CONTAINERS_REGISTRIES_CONF",
    "REGISTRIES_CONFIG_PATH",
    "SSL_CERT_FILE",
];

/// The XDG base directory specification wants relative paths in its variables ignored, and so is that of HOME.
const ABSOLUTE_ONLY: &[&str] = &["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"];

/// Variables that are kept as they are.
const PLAIN: &[&str] = &["PATH", "NO_PROXY", "no_proxy"];

/// URLs of proxies, which are kept without user and password.
const PROXIES: &[&str] = &["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// No secrets: paths and switches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_layer_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_ratio: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parallel_layers: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature_policy: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<String, String>,
}

impl Settings {
    pub fn of_this_process(config: &ImageConfig) -> Settings {
        Settings::of(config, |name| std::env::var(name).ok())
    }

    /// What is no UTF-8 is no setting that anybody else could use.
    fn of(config: &ImageConfig, variable: impl Fn(&str) -> Option<String>) -> Settings {
        let set = |name: &&'static str| variable(name).filter(|value| !value.is_empty()).map(|value| (*name, value));
        let paths = PATHS.iter().filter_map(set).filter_map(|(name, value)| {
            let path = Path::new(&value);
            match path.is_absolute() {
                true => Some((name, value)),
                false if ABSOLUTE_ONLY.contains(&name) => None,
                false => absolute(path).into_os_string().into_string().ok().map(|path| (name, path)),
            }
        });
        let plain = PLAIN.iter().filter_map(set);
        let proxies = PROXIES.iter().filter_map(set).filter_map(|(name, url)| Some((name, without_user(&url)?)));
        let variables = paths.chain(plain).chain(proxies).map(|(name, value)| (name.to_owned(), value)).collect();
        Settings {
            max_layer_bytes: config.max_layer_bytes,
            max_ratio: config.max_ratio,
            parallel_layers: config.parallel_layers,
            signature_policy: config.signature_policy.as_deref().map(absolute),
            variables,
        }
    }

    /// # Errors
    /// What a newer version recorded: it may forbid what this one would do.
    pub fn read(settings: &serde_json::Value) -> Result<Settings, RuntimeError> {
        Settings::deserialize(settings).map_err(|error| RuntimeError::Other {
            message: "the settings recorded with the execution are not ones of this version".to_owned(),
            source: Some(Box::new(error)),
        })
    }

    /// These instead of those of this process; what is removed after a pull stays its own.
    pub fn apply(self, own: &ImageConfig) -> (ImageConfig, Surroundings) {
        let config = ImageConfig {
            gc: own.gc.clone(),
            max_layer_bytes: self.max_layer_bytes,
            max_ratio: self.max_ratio,
            parallel_layers: self.parallel_layers,
            signature_policy: self.signature_policy,
        };
        (config, Surroundings::recorded(self.variables))
    }
}

/// A path that cannot be made absolute, for want of a current directory, means nothing to anybody.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// `None` for what is no URL: what it holds is not known.
fn without_user(url: &str) -> Option<String> {
    // Go's programs and curl take a host and port for a proxy's URL.
    let text = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let mut url = url::Url::parse(&text).ok()?;
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Settings {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let signature_policy = Some("strict.json".into());
        Settings::of(&ImageConfig { signature_policy, max_ratio: Some(7), ..ImageConfig::default() }, find)
    }

    #[test]
    fn paths_become_absolute_and_passwords_are_left_out() {
        let settings = of(&[
            ("HOME", "/home/a"),
            ("XDG_CONFIG_HOME", "relative"),
            ("REGISTRY_AUTH_FILE", "auth.json"),
            ("https_proxy", "http://user:secret@proxy.example:3128"),
            ("ALL_PROXY", "user:secret@proxy.example:3128"),
            ("HTTP_PROXY", ""),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ]);
        let here = std::env::current_dir().unwrap();
        assert_eq!(settings.signature_policy, Some(here.join("strict.json")));
        let text = serde_json::to_string(&settings).unwrap();
        assert!(!text.contains("secret") && !text.contains("user"), "{text}");
        let variables: Vec<(&str, &str)> =
            settings.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let auth = here.join("auth.json");
        assert_eq!(
            variables,
            [
                ("ALL_PROXY", "http://proxy.example:3128/"),
                ("HOME", "/home/a"),
                ("REGISTRY_AUTH_FILE", auth.to_str().unwrap()),
                ("https_proxy", "http://proxy.example:3128/"),
            ]
        );
    }

    #[test]
    fn they_are_read_as_written_and_unknown_ones_are_refused() {
        let settings = of(&[("HOME", "/home/a")]);
        let mut json = serde_json::to_value(&settings).unwrap();
        assert_eq!(Settings::read(&json).unwrap(), settings);
        json["forbid_everything"] = true.into();
        Settings::read(&json).unwrap_err();
        let (config, _) = settings.apply(&ImageConfig { max_ratio: Some(9), ..ImageConfig::default() });
        assert_eq!(config.max_ratio, Some(7));
    }
}
