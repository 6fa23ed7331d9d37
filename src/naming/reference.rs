//! References to images in registries, as Docker reads them.

use super::digest::{Digest, DigestError};
use crate::quote::quoted;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

/// `REGISTRY/REPOSITORY[:TAG][@DIGEST]`, complete: at least one of tag and digest is there, and the
/// digest decides when both are.
/// <https://github.com/distribution/reference/blob/main/reference.go>
///
/// A name that was written without a registry stands for the one on Docker Hub and is equal to it,
/// but remembers how it was written: see [`RegistryName::short_name`].
#[derive(Debug, Clone)]
pub struct RegistryName {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
    /// The repository as it was written, when no registry was.
    short: Option<String>,
}

/// Text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("failed to read the image name: it is empty")]
    Empty,
    #[error(
        "failed to read {}: the transport {transport}: is not supported; use oci:PATH[:TAG], oci-archive:FILE[:TAG], \
         docker-archive:FILE[:REFERENCE] or a registry",
        quoted(name)
    )]
    Transport { name: String, transport: &'static str },
    #[error("failed to read {}: a path comes first, and what follows its colon is not empty, as in oci:PATH:TAG", quoted(.0))]
    LocalPath(String),
    #[error(
        "failed to make the path of {} absolute: the current directory is gone, or has a colon or what is not UTF-8 in \
         its path, which no image's name can hold; start from another directory",
        quoted(.0)
    )]
    NoAbsolutePath(String),
    #[error("failed to read {}: what follows @ is the place of an image in the archive, a number from 0 on", quoted(.0))]
    ArchiveIndex(String),
    #[error("failed to read {}: images of a docker-archive are named by tag, or as @0, @1, …, not by digest", quoted(.0))]
    ArchiveDigest(String),
    #[error("failed to read {}: names of repositories are in lower case", quoted(.0))]
    UpperCase(String),
    #[error(
        "failed to read {}: this is not an image reference like debian:12 or registry.example/team/image@sha256:…", quoted(.0)
    )]
    Form(String),
    #[error("failed to read {}: a tag has at most 128 letters, digits, dots, dashes and underscores", quoted(.0))]
    Tag(String),
    #[error("failed to read {}: the name is longer than {LONGEST_NAME} characters", quoted(.0))]
    TooLong(String),
    #[error("failed to read {}: {source}", quoted(name))]
    Digest { name: String, source: DigestError },
}

/// As in Docker's reference package (`RepositoryNameTotalLengthMax`).
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;
const DOCKER_HUB: &str = "docker.io";

impl RegistryName {
    /// # Errors
    /// See [`ReferenceError`].
    pub fn parse(text: &str) -> Result<RegistryName, ReferenceError> {
        let form = || ReferenceError::Form(text.to_owned());
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse();
                let digest = digest.map_err(|source| ReferenceError::Digest { name: text.to_owned(), source })?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        // What is before the first slash is a registry if it looks like a host.
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" || host != host.to_lowercase() => {
                (Some(host), path)
            }
            _ => (None, name),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        let short = registry.is_none().then(|| path.to_owned());
        let registry = registry.unwrap_or(DOCKER_HUB);
        if !is_host(registry) {
            return Err(form());
        }
        if path.chars().any(|character| character.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCase(text.to_owned()));
        }
        if !path.split('/').all(is_component) {
            return Err(form());
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag(text.to_owned()));
        }
        let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
        let repository =
            if registry == DOCKER_HUB && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        if registry.len() + 1 + repository.len() > LONGEST_NAME {
            return Err(ReferenceError::TooLong(text.to_owned()));
        }
        let tag = tag.or(if digest.is_none() { Some("latest") } else { None }).map(str::to_owned);
        Ok(RegistryName { registry: registry.to_owned(), repository, tag, digest, short })
    }

    /// The same repository, tag and digest at another registry, as if the name had been written with
    /// it: `debian` becomes `registry.example/debian`, not `registry.example/library/debian`.
    ///
    /// # Errors
    /// [`ReferenceError`] when `registry` is not a host with or without a port, or the name becomes too long.
    pub fn with_registry(&self, registry: &str) -> Result<RegistryName, ReferenceError> {
        let path = self.short.as_ref().unwrap_or(&self.repository);
        self.at(&format!("{registry}/{path}"))
    }

    /// `name`, a registry and a repository, with this name's tag and digest.
    ///
    /// # Errors
    /// [`ReferenceError`], also when `name` has no registry.
    pub(crate) fn at(&self, name: &str) -> Result<RegistryName, ReferenceError> {
        let mut text = name.to_owned();
        if let Some(tag) = &self.tag {
            text += &format!(":{tag}");
        }
        if let Some(digest) = &self.digest {
            text += &format!("@{digest}");
        }
        match RegistryName::parse(&text)? {
            RegistryName { short: Some(_), .. } => Err(ReferenceError::Form(text)),
            name => Ok(name),
        }
    }

    /// True when the name was written without a registry.
    pub fn is_short(&self) -> bool {
        self.short.is_some()
    }

    /// The repository as it was written, when the name was written without a registry: what
    /// short-name aliases are looked up by.
    pub fn short_name(&self) -> Option<&str> {
        self.short.as_deref()
    }

    /// Host and port, `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// True for a registry on this machine, which is spoken to without TLS.
    pub fn is_loopback(&self) -> bool {
        let host = host_of(&self.registry);
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// What makes two names the same, however they were written.
    fn identity(&self) -> (&str, &str, Option<&str>, Option<&Digest>) {
        (&self.registry, &self.repository, self.tag(), self.digest())
    }
}

impl PartialEq for RegistryName {
    fn eq(&self, other: &RegistryName) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for RegistryName {}

impl Hash for RegistryName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// The part before the port.
fn host_of(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => registry,
    }
}

fn is_host(registry: &str) -> bool {
    let host = host_of(registry);
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    if registry.len() != host.len() && !matches!(registry.len() - host.len(), 2..=6) {
        return false;
    }
    host.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// Lower-case letters and digits, in groups joined by one dot, one or two underscores, or dashes.
fn is_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    is_word(*first)
        && is_word(*last)
        && bytes.chunk_by(|left, right| is_word(*left) == is_word(*right)).all(|group| {
            is_word(group[0]) || matches!(group, b"." | b"_" | b"__") || group.iter().all(|byte| *byte == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !tag.is_empty()
        && tag.len() <= LONGEST_TAG
        && tag.bytes().enumerate().all(|(at, byte)| is_word(byte) || (at > 0 && matches!(byte, b'.' | b'-')))
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naming::name::ImageName;

    fn full(text: &str) -> String {
        ImageName::parse(text).unwrap().to_string()
    }

    #[test]
    fn references_are_completed_as_docker_does() {
        let digest = format!("sha256:{}", "f".repeat(64));
        for (text, expected) in [
            ("debian:12", "docker.io/library/debian:12".to_owned()),
            ("debian", "docker.io/library/debian:latest".into()),
            ("docker://debian:12", "docker.io/library/debian:12".into()),
            ("foo/bar", "docker.io/foo/bar:latest".into()),
            ("index.docker.io/debian", "docker.io/library/debian:latest".into()),
            ("test.com:tag", "docker.io/library/test.com:tag".into()),
            ("test.com:5000", "docker.io/library/test.com:5000".into()),
            ("localhost/x", "localhost/x:latest".into()),
            ("test:5000/a/b-c/d__e.f:T_a-g.1", "test:5000/a/b-c/d__e.f:T_a-g.1".into()),
            ("[::1]:5000/x", "[::1]:5000/x:latest".into()),
            (&format!("quay.io/a/b@{digest}"), format!("quay.io/a/b@{digest}")),
            (&format!("quay.io/a/b:t@{digest}"), format!("quay.io/a/b:t@{digest}")),
        ] {
            assert_eq!(full(text), expected);
            assert_eq!(full(&expected), expected, "a complete name stays as it is");
        }
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_reason() {
        assert_eq!(ImageName::parse(""), Err(ReferenceError::Empty));
        assert!(matches!(ImageName::parse("Debian"), Err(ReferenceError::UpperCase(_))));
        assert!(matches!(ImageName::parse("debian:-x"), Err(ReferenceError::Tag(_))));
        assert!(matches!(ImageName::parse(&"a".repeat(300)), Err(ReferenceError::TooLong(_))));
        assert!(matches!(ImageName::parse("debian@sha256:12"), Err(ReferenceError::Digest { .. })));
        assert!(matches!(ImageName::parse("debian@md5:12"), Err(ReferenceError::Digest { .. })));
        for text in
            ["/x", "x/", "a//b", "a..b", "a___b", "-a", "a b", "-h.com/x", "h.com:port/x", "a/../b", "[::g]:1/x"]
        {
            assert!(matches!(ImageName::parse(text), Err(ReferenceError::Form(_) | ReferenceError::Tag(_))), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let loopback = |text: &str| match ImageName::parse(text).unwrap() {
            ImageName::Registry(name) => name.is_loopback(),
            _ => panic!("{text}"),
        };
        for text in ["localhost/x", "localhost:5000/x", "127.0.0.1:5000/x", "127.9.9.9/x", "[::1]:5000/x", "[::1]/x"] {
            assert!(loopback(text), "{text}");
        }
        for text in
            ["debian", "example.com/x", "localhost.example.com/x", "128.0.0.1:5000/x", "127.0.0.1.example.com/x"]
        {
            assert!(!loopback(text), "{text}");
        }
    }

    #[test]
    fn a_name_without_a_registry_remembers_that_and_is_the_same_name() {
        let name = |text: &str| RegistryName::parse(text).unwrap();
        let (short, full) = (name("debian:12"), name("docker.io/library/debian:12"));
        assert_eq!((short.short_name(), full.short_name()), (Some("debian"), None));
        assert!(short.is_short() && !full.is_short() && !name("localhost/debian").is_short());
        assert_eq!(short, full);
        assert!(std::collections::HashSet::from([short.clone()]).contains(&full));
        assert_ne!(short, name("debian:13"));
        assert_eq!(name("library/debian").short_name(), Some("library/debian"));
    }

    #[test]
    fn a_name_moves_to_another_registry_as_it_was_written() {
        let digest = format!("@sha256:{}", "f".repeat(64));
        for (text, registry, expected) in [
            ("debian:12", "registry.example:5000", "registry.example:5000/debian:12".to_owned()),
            ("library/debian", "registry.example", "registry.example/library/debian:latest".into()),
            ("debian:12", "docker.io", "docker.io/library/debian:12".into()),
            ("quay.io/a/b:1", "localhost", "localhost/a/b:1".into()),
            (&format!("debian:12{digest}"), "registry.example", format!("registry.example/debian:12{digest}")),
            (&format!("debian{digest}"), "registry.example", format!("registry.example/debian{digest}")),
        ] {
            let moved = RegistryName::parse(text).unwrap().with_registry(registry).unwrap();
            assert_eq!(moved.to_string(), expected);
            assert!(!moved.is_short());
        }
        for registry in ["", "no-host", "a/b", "https://registry.example", "-x.example"] {
            RegistryName::parse("debian").unwrap().with_registry(registry).unwrap_err();
        }
    }
}
