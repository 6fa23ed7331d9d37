//! Platforms and the choice among those of an index.

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
    /// The platform that this program was built for.
    pub fn host() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: variant.map(str::to_owned) }
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
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        let wanted = level(&self.architecture, self.variant.as_deref())?;
        let offered = level(&offered.architecture, offered.variant.as_deref())?;
        // Variants of one architecture are levels: what is made for a lower one runs on a higher.
        wanted.checked_sub(offered)
    }

    /// True when an image for `offered` runs here.
    pub fn accepts(&self, offered: &Platform) -> bool {
        self.preference(offered).is_some()
    }
}

/// The number in a variant; `None` for one that is no level, which then matches nothing.
fn level(architecture: &str, variant: Option<&str>) -> Option<u32> {
    match variant.filter(|variant| !variant.is_empty()) {
        Some(variant) => variant.strip_prefix('v')?.parse().ok(),
        // The defaults of containerd's platform package.
        None => Some(match architecture {
            "arm" => 7,
            "arm64" => 8,
            _ => 1,
        }),
    }
}

/// The manifest of an index that serves `wanted` best.
///
/// # Errors
/// The platforms that there are, when none does.
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
    let mut offered: Vec<String> = manifests
        .iter()
        .filter_map(Platform::of_descriptor)
        // Attestations of BuildKit are listed as unknown/unknown.
        .filter(|platform| platform.os != "unknown")
        .map(|platform| platform.to_string())
        .collect();
    offered.dedup();
    Err(offered)
}

fn is_manifest_or_index(media_type: &MediaType) -> bool {
    super::manifest::is_manifest(media_type.as_ref()) || super::manifest::is_index(media_type.as_ref())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
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
    fn what_does_not_fit_is_listed() {
        let offered = ["linux/amd64", "windows/amd64", "unknown/unknown"];
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
