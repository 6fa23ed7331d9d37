//! Platforms and the choice among those of an index.
//!
//! As in containerd (<https://github.com/containerd/platforms/blob/main/compare.go>) the variants of an
//! architecture are levels: what is made for a lower one runs on a higher, and the highest that runs is
//! chosen. Two rules are podman's instead. An image for another architecture is not chosen by itself even
//! if the processor can run it (arm on arm64, 386 on amd64): many arm64 processors cannot any more, and
//! whether the kernel lets it is not known before; it is there for those who name its platform. And the
//! host's own variant counts from the start, so that what is made for amd64/v3 is chosen on a host that has
//! it and never on one that has not.

use super::foreign::shown;
use super::host_cpu;
use oci_spec::image::{Arch, Descriptor, ImageConfiguration, MediaType, Os};
use std::fmt;
use std::str::FromStr;

/// `os/architecture[/variant]` in the words of Go (`linux/amd64`, `linux/arm/v7`).
/// <https://github.com/opencontainers/image-spec/blob/main/image-index.md#platform-variants>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

/// Text that is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read the platform {0:?}: it is not of the form os/architecture or os/architecture/variant")]
pub struct PlatformError(String);

impl Platform {
    /// The platform of this machine, with the variant of its processor.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: host_cpu::variant() }
    }

    fn of(os: &Os, architecture: &Arch, variant: Option<&String>) -> Platform {
        Platform { os: os.to_string(), architecture: architecture.to_string(), variant: variant.cloned() }
    }

    /// What an image's config says it is for.
    pub fn of_config(config: &ImageConfiguration) -> Platform {
        Platform::of(config.os(), config.architecture(), config.variant().as_ref())
    }

    /// What an entry of an index says it is for.
    pub fn of_descriptor(descriptor: &Descriptor) -> Option<Platform> {
        let platform = descriptor.platform().as_ref()?;
        Some(Platform::of(platform.os(), platform.architecture(), platform.variant().as_ref()))
    }

    /// How well `offered` serves this platform: `None` not at all, else smaller is better.
    fn preference(&self, offered: &Platform) -> Option<u32> {
        let (wanted, offered) = (self.canonical(), offered.canonical());
        if wanted.os != offered.os || wanted.architecture != offered.architecture {
            return None;
        }
        let (wanted, offered) = (wanted.level()?, offered.level()?);
        match (wanted, offered) {
            // ARMv9.0 has all of ARMv8.5, v9.1 all of v8.6, and so on; the other way round it does not hold.
            (Level(9, wanted), Level(8, offered)) => (wanted + 5).checked_sub(offered).map(|steps| wanted + 1 + steps),
            (Level(major, wanted), Level(same, offered)) if major == same => wanted.checked_sub(offered),
            _ => None,
        }
    }

    /// True when an image for `offered` runs here. A config that names no variant is taken at its
    /// architecture: many are made so, and the index that led to it said more.
    pub fn accepts(&self, offered: &Platform) -> bool {
        let (wanted, canonical) = (self.canonical(), offered.canonical());
        let is_plain = offered.variant.as_deref().unwrap_or_default().is_empty();
        (is_plain && wanted.os == canonical.os && wanted.architecture == canonical.architecture)
            || self.preference(offered).is_some()
    }

    /// With the architecture in Go's word, and its variant where an older word means one.
    fn canonical(&self) -> Platform {
        let variant = self.variant.as_deref().filter(|variant| !variant.is_empty());
        let (architecture, variant) = match (self.architecture.as_str(), variant) {
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("i386" | "i686", variant) => ("386", variant),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            (architecture, variant) => (architecture, variant),
        };
        Platform {
            os: self.os.to_ascii_lowercase(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// Of a canonical platform; `None` for a variant that is no level, which then matches nothing.
    fn level(&self) -> Option<Level> {
        let Some(variant) = &self.variant else {
            // The defaults of containerd's platform package.
            return Some(match self.architecture.as_str() {
                "arm" => Level(0, 7),
                "arm64" => Level(8, 0),
                _ => Level(0, 1),
            });
        };
        let number = variant.strip_prefix('v').unwrap_or(variant);
        if self.architecture != "arm64" {
            return Some(Level(0, small(number)?));
        }
        let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
        Some(Level(small(major)?, small(minor)?))
    }
}

/// Generation and step within it. Only arm64 has generations that matter.
#[derive(Clone, Copy)]
struct Level(u32, u32);

/// One or two digits.
fn small(number: &str) -> Option<u32> {
    let is_small = matches!(number.len(), 1 | 2) && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| is_small)
}

/// Platforms of an index that are listed when none fits. Those of real images have up to twenty.
const MOST_OFFERED: usize = 64;

/// The manifest of an index that serves `wanted` best.
///
/// # Errors
/// The platforms that there are, when none does, up to a bound.
pub fn choose<'a>(manifests: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor, Vec<String>> {
    let best = manifests
        .iter()
        .filter_map(|descriptor| Some((wanted.preference(&Platform::of_descriptor(descriptor)?)?, descriptor)))
        // Of several that fit equally the first counts, as in every other engine.
        .min_by_key(|(preference, _)| *preference);
    if let Some((_, descriptor)) = best {
        return Ok(descriptor);
    }
    // An index without platforms makes no difference between its entries; then it may have only one.
    let mut unnamed = manifests.iter().filter(|descriptor| {
        Platform::of_descriptor(descriptor).is_none() && is_manifest_or_index(descriptor.media_type())
    });
    if let (Some(only), None) = (unnamed.next(), unnamed.next()) {
        return Ok(only);
    }
    let mut offered = Vec::new();
    // Attestations of BuildKit are listed as unknown/unknown.
    for platform in manifests.iter().filter_map(Platform::of_descriptor).filter(|platform| platform.os != "unknown") {
        let platform = platform.to_string();
        if offered.len() < MOST_OFFERED && !offered.contains(&platform) {
            offered.push(platform);
        }
    }
    Err(offered)
}

fn is_manifest_or_index(media_type: &MediaType) -> bool {
    super::manifest::is_manifest(media_type.as_ref()) || super::manifest::is_index(media_type.as_ref())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", shown(&self.os), shown(&self.architecture))?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{}", shown(variant)))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        match *parts.as_slice() {
            [os, architecture] if !os.is_empty() && !architecture.is_empty() => {
                Ok(Platform { os: os.into(), architecture: architecture.into(), variant: None })
            }
            [os, architecture, variant] if !os.is_empty() && !architecture.is_empty() && !variant.is_empty() => {
                Ok(Platform { os: os.into(), architecture: architecture.into(), variant: Some(variant.into()) })
            }
            _ => Err(PlatformError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::ImageIndex;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let manifests: Vec<serde_json::Value> = platforms
            .iter()
            .enumerate()
            .map(|(size, platform)| {
                let mut descriptor = serde_json::json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": format!("sha256:{}", "0".repeat(64)),
                    "size": size,
                });
                if let Ok(platform) = platform.parse::<Platform>() {
                    descriptor["platform"] =
                        serde_json::json!({"os": platform.os, "architecture": platform.architecture});
                    if let Some(variant) = platform.variant {
                        descriptor["platform"]["variant"] = variant.into();
                    }
                }
                descriptor
            })
            .collect();
        let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
        serde_json::from_value::<ImageIndex>(index).unwrap().manifests().clone()
    }

    fn chosen(platforms: &[&str], wanted: &str) -> Result<u64, Vec<String>> {
        choose(&index(platforms), &wanted.parse().unwrap()).map(Descriptor::size)
    }

    #[test]
    fn the_best_variant_is_chosen() {
        let arm = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "linux/amd64"];
        assert_eq!(chosen(&arm, "linux/arm/v7"), Ok(2));
        assert_eq!(chosen(&arm, "linux/arm"), Ok(2));
        assert_eq!(chosen(&arm, "linux/arm/v6"), Ok(1));
        assert_eq!(chosen(&arm[..2], "linux/arm/v7"), Ok(1));
        assert_eq!(chosen(&arm, "linux/arm64"), Ok(3));
        assert_eq!(chosen(&["linux/arm64", "linux/arm64/v8"], "linux/arm64/v8"), Ok(0));
        assert_eq!(chosen(&["linux/amd64/v3", "linux/amd64"], "linux/amd64"), Ok(1));
    }

    #[test]
    fn levels_are_those_of_containerd() {
        // What runs on each, best first; nothing else does. From the tables in containerd's compare_test.go.
        for (wanted, runs) in [
            ("linux/arm/v8", &["linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"][..]),
            ("linux/arm/v5", &["linux/arm/v5"]),
            ("linux/armhf", &["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
            ("linux/armel", &["linux/arm/v6", "linux/arm/v5"]),
            ("linux/aarch64", &["linux/arm64"]),
            ("linux/arm64/8", &["linux/arm64/v8"]),
            ("linux/arm64/v8.2", &["linux/arm64/v8.2", "linux/arm64/v8.1", "linux/arm64"]),
            (
                "linux/arm64/v9.1",
                &["linux/arm64/v9.1", "linux/arm64/v9", "linux/arm64/v8.6", "linux/arm64/v8.5", "linux/arm64/v8"],
            ),
            ("linux/arm64/v9", &["linux/arm64/v9", "linux/arm64/v8.5", "linux/arm64/v8.2", "linux/arm64"]),
            ("linux/amd64/v3", &["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"]),
            ("linux/x86_64", &["linux/amd64/v1"]),
        ] {
            for from in 0..runs.len() {
                let mut rest = runs[from..].to_vec();
                rest.reverse();
                assert_eq!(chosen(&rest, wanted), Ok(rest.len() as u64 - 1), "{wanted} among {rest:?}");
            }
        }
        for (wanted, other) in [
            ("linux/arm64/v8", "linux/arm64/v9"),
            ("linux/arm64/v8.9", "linux/arm64/v9"),
            ("linux/arm64/v9", "linux/arm64/v8.6"),
            ("linux/arm64", "linux/arm64/v8.1"),
            ("linux/arm64", "linux/arm/v7"),
            ("linux/amd64", "linux/amd64/v2"),
            ("linux/amd64/v2", "linux/amd64/v3"),
            ("linux/amd64", "linux/386"),
            ("linux/amd64", "linux/amd64/fast"),
            ("linux/amd64", "linux/amd64/v4294967296"),
        ] {
            assert!(chosen(&[other], wanted).is_err(), "{wanted} {other}");
        }
    }

    #[test]
    fn a_config_without_a_variant_is_not_held_against_the_index() {
        let accepts =
            |wanted: &str, offered: &str| wanted.parse::<Platform>().unwrap().accepts(&offered.parse().unwrap());
        assert!(accepts("linux/arm/v6", "linux/arm"));
        assert!(!accepts("linux/arm/v6", "linux/arm/v7"));
        assert!(!accepts("linux/arm64", "linux/arm"));
        assert!(!accepts("linux/amd64", "linux/amd64/v3"));
    }

    #[test]
    fn the_host_runs_images_for_itself_and_for_its_plain_architecture() {
        let host = Platform::host();
        assert!(host.accepts(&host));
        assert!(host.accepts(&Platform { variant: None, ..host.clone() }));
        assert!(!host.accepts(&Platform { architecture: "s390x".into(), ..host.clone() }));
    }

    #[test]
    fn what_does_not_fit_is_listed() {
        let offered = ["linux/amd64", "windows/amd64", "linux/amd64", "unknown/unknown"];
        assert_eq!(chosen(&offered, "linux/s390x"), Err(vec!["linux/amd64".into(), "windows/amd64".into()]));
        assert_eq!(chosen(&["linux/arm/v7"], "linux/arm/v6"), Err(vec!["linux/arm/v7".into()]));
        assert_eq!(chosen(&[], "linux/amd64"), Err(vec![]));
    }

    #[test]
    fn an_only_entry_without_platform_is_taken() {
        assert_eq!(chosen(&["none"], "linux/amd64"), Ok(0));
        assert_eq!(chosen(&["linux/s390x", "none"], "linux/amd64"), Ok(1));
        assert_eq!(chosen(&["none", "none"], "linux/amd64"), Err(vec![]));
    }

    #[test]
    fn platforms_are_written_with_slashes() {
        assert!(
            ["", "linux", "linux/", "/amd64", "linux/arm/", "a/b/c/d"]
                .iter()
                .all(|text| text.parse::<Platform>().is_err())
        );
        assert_eq!("linux/arm/v7".parse::<Platform>().unwrap().to_string(), "linux/arm/v7");
    }
}
