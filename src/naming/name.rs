//! Names of images as users write them: where an image comes from.

use super::digest::Digest;
use super::reference::{ReferenceError, RegistryName};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where an image comes from, spelled as in containers-transports(5)
/// (<https://github.com/containers/image/blob/main/docs/containers-transports.5.md>). What
/// `Display` writes parses to the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImageName {
    /// `oci:PATH[:TAG]`: an OCI layout directory.
    Layout { path: PathBuf, tag: Option<String> },
    /// `oci-archive:FILE[:TAG]`: an OCI layout in a tar archive, plain or compressed as a whole.
    OciArchive { path: PathBuf, tag: Option<String> },
    /// `docker-archive:FILE[:REFERENCE]` or `docker-archive:FILE:@INDEX`: what `docker save`, `podman
    /// save` and `skopeo copy` write, plain or compressed as a whole.
    DockerArchive { path: PathBuf, image: Option<ArchivedImage> },
    /// `sha256:HEX`: the digest of a manifest that the local store has. Never pulled.
    Stored(Digest),
    /// A reference as Docker reads it, with or without `docker://`.
    Registry(RegistryName),
}

/// One of several images of a docker-archive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ArchivedImage {
    /// By a name that the archive gives it; has a tag and no digest.
    Reference(RegistryName),
    /// By its place in the archive's `manifest.json`, the first being 0.
    Index(usize),
}

/// The other transports of containers-transports(5).
const OTHER_TRANSPORTS: [&str; 7] =
    ["docker-daemon", "dir", "containers-storage", "ostree", "sif", "tarball", "atomic"];

impl ImageName {
    /// # Errors
    /// See [`ReferenceError`].
    pub fn parse(text: &str) -> Result<ImageName, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, tag) = local(text, rest)?;
            return Ok(ImageName::Layout { path, tag });
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            let (path, tag) = local(text, rest)?;
            return Ok(ImageName::OciArchive { path, tag });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (path, image) = local(text, rest)?;
            let image = image.map(|image| archived(text, &image)).transpose()?;
            return Ok(ImageName::DockerArchive { path, image });
        }
        if text.starts_with("sha256:") {
            let digest = text.parse().map_err(|source| ReferenceError::Digest { name: text.to_owned(), source })?;
            return Ok(ImageName::Stored(digest));
        }
        for transport in OTHER_TRANSPORTS {
            if text.strip_prefix(transport).is_some_and(|rest| rest.starts_with(':')) {
                return Err(ReferenceError::Transport { name: text.to_owned(), transport });
            }
        }
        let reference = text.strip_prefix("docker://").unwrap_or(text);
        if reference.is_empty() {
            return Err(ReferenceError::Form(text.to_owned()));
        }
        RegistryName::parse(reference).map(ImageName::Registry)
    }

    /// The name of the transport in containers-transports(5), by which signature policies tell images
    /// apart; for an image of the local store that of podman's own.
    pub fn transport(&self) -> &'static str {
        match self {
            ImageName::Layout { .. } => "oci",
            ImageName::OciArchive { .. } => "oci-archive",
            ImageName::DockerArchive { .. } => "docker-archive",
            ImageName::Stored(_) => "containers-storage",
            ImageName::Registry(_) => "docker",
        }
    }

    /// The file or directory of a local image.
    pub fn path(&self) -> Option<&Path> {
        match self {
            ImageName::Layout { path, .. }
            | ImageName::OciArchive { path, .. }
            | ImageName::DockerArchive { path, .. } => Some(path),
            ImageName::Stored(_) | ImageName::Registry(_) => None,
        }
    }

    /// The same image whatever the current directory: with an absolute path. A directory whose name has
    /// a colon cannot be written in an image's name; what lies there keeps its relative path.
    ///
    /// # Errors
    /// The current directory cannot be determined.
    pub fn absolute(mut self) -> std::io::Result<ImageName> {
        if let ImageName::Layout { path, .. }
        | ImageName::OciArchive { path, .. }
        | ImageName::DockerArchive { path, .. } = &mut self
        {
            let absolute = std::path::absolute(&*path)?;
            if absolute.to_str().is_some_and(|text| !text.contains(':')) {
                *path = absolute;
            }
        }
        Ok(self)
    }
}

/// `PATH[:REST]`; the first colon ends the path, as in containers-transports(5).
fn local(text: &str, rest: &str) -> Result<(PathBuf, Option<String>), ReferenceError> {
    let (path, image) = rest.split_once(':').map_or((rest, None), |(path, image)| (path, Some(image)));
    if path.is_empty() || image == Some("") {
        return Err(ReferenceError::LocalPath(text.to_owned()));
    }
    Ok((path.into(), image.map(str::to_owned)))
}

fn archived(text: &str, image: &str) -> Result<ArchivedImage, ReferenceError> {
    if let Some(index) = image.strip_prefix('@') {
        // Digits alone: `parse` would take a sign as well.
        let index = index.parse().ok().filter(|_| index.bytes().all(|byte| byte.is_ascii_digit()));
        return index.map(ArchivedImage::Index).ok_or_else(|| ReferenceError::ArchiveIndex(text.to_owned()));
    }
    let reference = RegistryName::parse(image)?;
    if reference.digest().is_some() {
        return Err(ReferenceError::ArchiveDigest(text.to_owned()));
    }
    Ok(ArchivedImage::Reference(reference))
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tagged = |f: &mut fmt::Formatter<'_>, tag: &Option<String>| match tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        };
        match self {
            ImageName::Layout { path, tag } => {
                write!(f, "oci:{}", path.display())?;
                tagged(f, tag)
            }
            ImageName::OciArchive { path, tag } => {
                write!(f, "oci-archive:{}", path.display())?;
                tagged(f, tag)
            }
            ImageName::DockerArchive { path, image } => {
                write!(f, "docker-archive:{}", path.display())?;
                match image {
                    Some(ArchivedImage::Reference(reference)) => write!(f, ":{reference}"),
                    Some(ArchivedImage::Index(index)) => write!(f, ":@{index}"),
                    None => Ok(()),
                }
            }
            ImageName::Stored(digest) => digest.fmt(f),
            ImageName::Registry(name) => name.fmt(f),
        }
    }
}

impl FromStr for ImageName {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<ImageName, ReferenceError> {
        ImageName::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layouts_are_paths_with_a_tag() {
        let layout =
            |path: &str, tag: Option<&str>| ImageName::Layout { path: path.into(), tag: tag.map(str::to_owned) };
        assert_eq!(ImageName::parse("oci:a/b").unwrap(), layout("a/b", None));
        assert_eq!(ImageName::parse("oci:/a:v1").unwrap(), layout("/a", Some("v1")));
        assert_eq!(ImageName::parse("oci:/a:host/name:v1").unwrap(), layout("/a", Some("host/name:v1")));
        let archive = ImageName::OciArchive { path: "a.tar".into(), tag: Some("v1".into()) };
        assert_eq!(ImageName::parse("oci-archive:a.tar:v1").unwrap(), archive);
        for transport in ["oci", "oci-archive", "docker-archive"] {
            for rest in ["", ":v1", "/a:"] {
                let text = format!("{transport}:{rest}");
                assert_eq!(ImageName::parse(&text), Err(ReferenceError::LocalPath(text)));
            }
        }
    }

    #[test]
    fn an_image_of_a_docker_archive_has_a_reference_or_a_place() {
        let image = |text: &str| match ImageName::parse(&format!("docker-archive:/a.tar:{text}")) {
            Ok(ImageName::DockerArchive { image, .. }) => Ok(image.unwrap()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        for (text, full) in
            [("box", "docker.io/library/box:latest"), ("x.org:5000/team/box:v1", "x.org:5000/team/box:v1")]
        {
            let ArchivedImage::Reference(name) = image(text).unwrap() else { panic!("{text}") };
            assert_eq!(name.to_string(), full);
        }
        assert_eq!(image("@12").unwrap(), ArchivedImage::Index(12));
        for text in ["@", "@-1", "@+1", "@x", "@99999999999999999999999"] {
            assert!(matches!(image(text), Err(ReferenceError::ArchiveIndex(_))), "{text}");
        }
        let digest = format!("box@sha256:{}", "f".repeat(64));
        assert!(matches!(image(&digest), Err(ReferenceError::ArchiveDigest(_))));
        assert!(matches!(image("Box"), Err(ReferenceError::UpperCase(_))));
    }

    #[test]
    fn a_digest_alone_is_an_image_of_the_store() {
        let text = format!("sha256:{}", "f".repeat(64));
        assert_eq!(ImageName::parse(&text).unwrap(), ImageName::Stored(text.parse().unwrap()));
        assert!(matches!(ImageName::parse("sha256:12"), Err(ReferenceError::Digest { .. })));
    }

    #[test]
    fn other_transports_are_refused_with_those_that_there_are() {
        for transport in OTHER_TRANSPORTS {
            let error = ImageName::parse(&format!("{transport}:x")).unwrap_err();
            assert!(matches!(error, ReferenceError::Transport { .. }), "{error}");
            assert!(error.to_string().contains("oci-archive:"), "{error}");
        }
    }

    #[test]
    fn local_paths_become_absolute() {
        let here = std::env::current_dir().unwrap();
        for (text, expected) in [
            ("oci:a/b:v1", format!("oci:{}/a/b:v1", here.display())),
            ("oci-archive:./a", format!("oci-archive:{}/a", here.display())),
            ("docker-archive:a:@0", format!("docker-archive:{}/a:@0", here.display())),
            ("oci:/a", "oci:/a".into()),
            ("debian", "docker.io/library/debian:latest".into()),
        ] {
            assert_eq!(ImageName::parse(text).unwrap().absolute().unwrap().to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_reads_back_the_same(
            prefix in "(|oci:|oci-archive:|docker-archive:|sha256:|docker://)",
            text in "[a-z0-9A-Z./:@_\\[\\]-]{0,40}",
        ) {
            if let Ok(name) = ImageName::parse(&format!("{prefix}{text}")) {
                prop_assert_eq!(&ImageName::parse(&name.to_string()).unwrap(), &name);
                let absolute = name.absolute().unwrap();
                prop_assert_eq!(&ImageName::parse(&absolute.to_string()).unwrap(), &absolute);
            }
        }

        #[test]
        fn no_text_makes_parsing_panic(text in "\\PC{0,40}") {
            let _ = ImageName::parse(&text);
            let _ = ImageName::parse(&format!("docker-archive:{text}"));
        }
    }
}
