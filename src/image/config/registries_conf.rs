//! One file in version 2 of the format of registries.conf.
//! <https://github.com/containers/image/blob/main/docs/containers-registries.conf.5.md>

use super::Serves;
use super::error::ConfigError;
use crate::image::reference::RegistryName;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// What one file says. A key that is absent leaves what earlier files say.
#[derive(Debug, Default)]
pub(super) struct RegistriesConf {
    pub entries: Vec<Entry>,
    pub search: Option<Vec<String>>,
    pub helpers: Option<Vec<String>>,
    pub mode: Option<ShortNameMode>,
    /// By short name; `None` erases an alias of an earlier file.
    pub aliases: BTreeMap<String, Option<String>>,
}

/// One `[[registry]]`.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Names that begin so are meant; `*.example.com` means the hosts below example.com.
    pub prefix: String,
    /// What takes the prefix's place; `None` leaves the name as it is.
    pub location: Option<String>,
    pub insecure: bool,
    pub blocked: bool,
    pub mirrors: Vec<Mirror>,
    /// The file that says so.
    pub file: PathBuf,
}

#[derive(Debug, Clone)]
pub(super) struct Mirror {
    pub location: String,
    pub insecure: bool,
    pub serves: Serves,
}

/// What to do about a short name that no alias settles. Nobody is asked here, so permissive and
/// disabled mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ShortNameMode {
    Enforcing,
    #[default]
    Permissive,
}

/// Unknown keys are gathered: newer versions of the tools that own the file may have added them.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawConf {
    #[serde(default)]
    registry: Vec<Spanned<RawRegistry>>,
    unqualified_search_registries: Option<Vec<Spanned<String>>>,
    credential_helpers: Option<Vec<Spanned<String>>>,
    short_name_mode: Option<Spanned<String>>,
    #[serde(default)]
    aliases: BTreeMap<String, Spanned<String>>,
    /// Version 1 of the format.
    registries: Option<Spanned<IgnoredAny>>,
    #[serde(flatten)]
    unknown: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawRegistry {
    prefix: Option<Spanned<String>>,
    location: Option<Spanned<String>>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Spanned<RawMirror>>,
    pull_from_mirror: Option<Spanned<String>>,
    #[serde(flatten)]
    unknown: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawMirror {
    location: Option<Spanned<String>>,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<Spanned<String>>,
    #[serde(flatten)]
    unknown: BTreeMap<String, IgnoredAny>,
}

impl RegistriesConf {
    /// Reads the text of a file; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<RegistriesConf, ConfigError> {
        let reader = Reader { path, text };
        let raw: RawConf = toml::from_str(text).map_err(|error| reader.toml(&error))?;
        if let Some(registries) = raw.registries {
            return Err(ConfigError::Version1 { path: path.to_owned(), line: reader.line(registries.span()) });
        }
        reader.pass_over(&raw.unknown);
        let mut entries: Vec<Entry> = Vec::new();
        for registry in raw.registry {
            let line = reader.line(registry.span());
            let entry = reader.entry(line, registry.into_inner())?;
            reader.check_against(line, &entry, &entries)?;
            // As other tools do: the first of several with one prefix counts.
            if entries.iter().all(|other| other.prefix != entry.prefix) {
                entries.push(entry);
            }
        }
        let search = raw.unqualified_search_registries.map(|hosts| {
            let hosts = hosts.iter().map(|host| reader.search_registry(host));
            hosts.collect::<Result<Vec<_>, _>>()
        });
        let helpers = raw.credential_helpers.map(|helpers| helpers.into_iter().map(Spanned::into_inner).collect());
        let mode = raw.short_name_mode.filter(|mode| !mode.as_ref().is_empty());
        let mode = mode.map(|mode| reader.short_name_mode(&mode)).transpose()?;
        let aliases = raw.aliases.into_iter().map(|(name, value)| reader.alias(name, &value));
        Ok(RegistriesConf {
            entries,
            search: search.transpose()?,
            helpers,
            mode,
            aliases: aliases.collect::<Result<_, _>>()?,
        })
    }
}

/// A text under way, for the places in messages.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn entry(&self, line: usize, raw: RawRegistry) -> Result<Entry, ConfigError> {
        self.pass_over(&raw.unknown);
        let location = raw.location.as_ref().map(|value| self.location("location", value)).transpose()?;
        let location = location.filter(|location| !location.is_empty());
        let prefix = raw.prefix.as_ref().map(|value| self.prefix(value)).transpose()?;
        let prefix = prefix.filter(|prefix| !prefix.is_empty()).or_else(|| location.clone()).unwrap_or_default();
        if location.is_none() && !prefix.starts_with("*.") {
            const EXPECTED: &str = "a [[registry]] needs a location, unless its prefix is like *.example.com";
            return Err(self.setting(line, "location", "", EXPECTED));
        }
        if let Some(value) = &raw.pull_from_mirror {
            return Err(self.bad("pull-from-mirror", value, "it belongs into a [[registry.mirror]]"));
        }
        let mirrors = raw.mirror.into_iter().map(|mirror| {
            let line = self.line(mirror.span());
            self.mirror(line, mirror.into_inner(), raw.mirror_by_digest_only)
        });
        Ok(Entry {
            prefix,
            location,
            insecure: raw.insecure,
            blocked: raw.blocked,
            mirrors: mirrors.collect::<Result<_, _>>()?,
            file: self.path.to_owned(),
        })
    }

    fn mirror(&self, line: usize, raw: RawMirror, by_digest_only: bool) -> Result<Mirror, ConfigError> {
        self.pass_over(&raw.unknown);
        let location = raw.location.as_ref().map(|value| self.location("location", value)).transpose()?;
        let location = location
            .filter(|location| !location.is_empty())
            .ok_or_else(|| self.setting(line, "location", "", "a [[registry.mirror]] needs a location"))?;
        let serves = match raw.pull_from_mirror.as_ref().filter(|value| !value.as_ref().is_empty()) {
            None if by_digest_only => Serves::DigestOnly,
            None => Serves::All,
            Some(value) if by_digest_only => {
                const EXPECTED: &str = "it cannot be set where the [[registry]] sets mirror-by-digest-only";
                return Err(self.bad("pull-from-mirror", value, EXPECTED));
            }
            Some(value) => match value.as_ref().as_str() {
                "all" => Serves::All,
                "digest-only" => Serves::DigestOnly,
                "tag-only" => Serves::TagOnly,
                _ => return Err(self.bad("pull-from-mirror", value, "use all, digest-only or tag-only")),
            },
        };
        Ok(Mirror { location, insecure: raw.insecure, serves })
    }

    /// Two entries that lead to one place must agree on what is allowed there.
    fn check_against(&self, line: usize, entry: &Entry, others: &[Entry]) -> Result<(), ConfigError> {
        const EXPECTED: &str = "another [[registry]] with the same location says otherwise";
        let place = |entry: &Entry| entry.location.clone().unwrap_or_else(|| entry.prefix.clone());
        for other in others.iter().filter(|other| place(other) == place(entry)) {
            if other.insecure != entry.insecure {
                return Err(self.setting(line, "insecure", &entry.insecure.to_string(), EXPECTED));
            }
            if other.blocked != entry.blocked {
                return Err(self.setting(line, "blocked", &entry.blocked.to_string(), EXPECTED));
            }
        }
        Ok(())
    }

    fn prefix(&self, value: &Spanned<String>) -> Result<String, ConfigError> {
        let prefix = self.location("prefix", value)?;
        let hosts_below = prefix.strip_prefix("*.");
        // Elsewhere a star would match nothing, and what the entry forbids would be allowed.
        if hosts_below.unwrap_or(&prefix).contains('*')
            || hosts_below.is_some_and(|host| host.contains(['/', '@', ':']))
        {
            return Err(self.bad("prefix", value, "a star stands only before a host, as in *.example.com"));
        }
        Ok(prefix)
    }

    fn location(&self, key: &'static str, value: &Spanned<String>) -> Result<String, ConfigError> {
        let location = value.as_ref().trim_end_matches('/');
        if location.contains("://") {
            return Err(self.bad(key, value, "write it without http:// or https://"));
        }
        Ok(location.to_owned())
    }

    fn search_registry(&self, value: &Spanned<String>) -> Result<String, ConfigError> {
        let host = value.as_ref().trim_end_matches('/');
        let is_host =
            !host.contains('/') && RegistryName::parse(&format!("{host}/name")).is_ok_and(|name| !name.is_short());
        if !is_host {
            const EXPECTED: &str = "use a host like registry.example or registry.example:5000";
            return Err(self.bad("unqualified-search-registries", value, EXPECTED));
        }
        Ok(host.to_owned())
    }

    fn short_name_mode(&self, value: &Spanned<String>) -> Result<ShortNameMode, ConfigError> {
        match value.as_ref().as_str() {
            "enforcing" => Ok(ShortNameMode::Enforcing),
            "permissive" | "disabled" => Ok(ShortNameMode::Permissive),
            _ => Err(self.bad("short-name-mode", value, "use enforcing, permissive or disabled")),
        }
    }

    fn alias(&self, name: String, value: &Spanned<String>) -> Result<(String, Option<String>), ConfigError> {
        let plain = |text: &str| {
            let has_version = text.contains('@') || text.rsplit('/').next().is_some_and(|last| last.contains(':'));
            RegistryName::parse(text).ok().filter(|_| !has_version)
        };
        if !plain(&name).is_some_and(|name| name.is_short()) {
            const EXPECTED: &str = "the name of an alias has no registry, no tag and no digest";
            return Err(self.bad(&format!("aliases.{name}"), value, EXPECTED));
        }
        if value.as_ref().is_empty() {
            return Ok((name, None));
        }
        match plain(value.as_ref()) {
            Some(full) if !full.is_short() => {
                let full = format!("{}/{}", full.registry(), full.repository());
                Ok((name, Some(full)))
            }
            _ => {
                const EXPECTED: &str = "an alias stands for a name with its registry, without a tag or digest";
                Err(self.bad(&format!("aliases.{name}"), value, EXPECTED))
            }
        }
    }

    fn pass_over(&self, unknown: &BTreeMap<String, IgnoredAny>) {
        for key in unknown.keys() {
            tracing::debug!(file = %self.path.display(), key, "passed over an unknown key");
        }
    }

    fn bad(&self, key: &str, value: &Spanned<String>, expected: &'static str) -> ConfigError {
        self.setting(self.line(value.span()), key, value.as_ref(), expected)
    }

    fn setting(&self, line: usize, key: &str, value: &str, expected: &'static str) -> ConfigError {
        let (key, value) = (key.to_owned(), value.to_owned());
        ConfigError::Setting { path: self.path.to_owned(), line, key, value, expected }
    }

    fn toml(&self, error: &toml::de::Error) -> ConfigError {
        let start = error.span().map_or(0, |span| span.start);
        let line = self.line(start..start);
        let before = self.text.get(..start).unwrap_or_default();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        // Its Display quotes the text over several lines; without the text it names the key.
        let mut error = error.clone();
        error.set_input(None);
        let message = error.to_string().trim().replace('\n', " ");
        ConfigError::Toml { path: self.path.to_owned(), line, column, message }
    }

    fn line(&self, span: Range<usize>) -> usize {
        self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
    }
}
