//! Names of entries, made safe to use below the layer's root.

use super::error::{Refusal, UnpackError};

/// Longest name and component that Linux takes (`PATH_MAX` with its NUL, `NAME_MAX`).
const LONGEST_NAME: usize = 4095;
const LONGEST_COMPONENT: usize = 255;

/// Prefix of whiteouts, and the name of the marker of an opaque directory.
/// <https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts>
const WHITEOUT: &[u8] = b".wh.";
/// Names with this prefix are AUFS's own; only the opaque marker among them has a meaning.
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The name of an entry relative to the layer's root: components joined by single slashes, none of
/// them `.`, `..` or empty. The root itself has no component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPath(Vec<u8>);

/// What an entry's name makes of it, whatever its type.
#[derive(Debug, PartialEq, Eq)]
pub enum Marker {
    /// An entry to be applied.
    None,
    /// Hides this name in the layers below.
    Whiteout(LayerPath),
    /// Hides everything that the layers below have in this directory.
    Opaque(LayerPath),
    /// Left over from AUFS; means nothing.
    Ignored,
}

impl LayerPath {
    /// Cleans `name` as Docker does: by its text alone, before any link is followed. Absolute names
    /// count from the layer's root.
    ///
    /// # Errors
    /// A [`Refusal`] when it climbs above the root or the kernel would not take it.
    pub fn parse(name: &[u8]) -> Result<LayerPath, UnpackError> {
        let refused = |why| Err(UnpackError::refused(name, why));
        if name.is_empty() {
            return refused(Refusal::EmptyName);
        }
        if name.contains(&0) {
            return refused(Refusal::NulInName);
        }
        let mut clean = Vec::with_capacity(name.len());
        for component in name.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => {
                    // An absolute name cannot climb: `/..` is `/`.
                    if clean.is_empty() && name[0] != b'/' {
                        return refused(Refusal::LeavesTheLayer);
                    }
                    clean.truncate(clean.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                }
                component if component.len() > LONGEST_COMPONENT => return refused(Refusal::NameTooLong),
                component => {
                    if !clean.is_empty() {
                        clean.push(b'/');
                    }
                    clean.extend_from_slice(component);
                }
            }
        }
        if clean.len() > LONGEST_NAME {
            return refused(Refusal::NameTooLong);
        }
        Ok(LayerPath(clean))
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Relative to the root; `.` for the root itself.
    pub fn as_bytes(&self) -> &[u8] {
        if self.0.is_empty() { b"." } else { &self.0 }
    }

    /// The directory that holds it, and its name there. The root is `.` in itself.
    pub fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (b"", self.as_bytes()),
        }
    }

    /// What the name itself means.
    ///
    /// # Errors
    /// [`Refusal::Whiteout`] for one of nothing, of the directory itself or of its parent.
    pub fn marker(&self) -> Result<Marker, UnpackError> {
        let (parent, name) = self.split();
        // Also what is in its directories, as Docker and podman have it.
        if parent.starts_with(AUFS) {
            return Ok(Marker::Ignored);
        }
        let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(Marker::None) };
        if name == OPAQUE {
            return Ok(Marker::Opaque(LayerPath(parent.to_owned())));
        }
        if name.starts_with(AUFS) {
            return Ok(Marker::Ignored);
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(UnpackError::refused(&self.0, Refusal::Whiteout));
        }
        let mut path = parent.to_owned();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(hidden);
        Ok(Marker::Whiteout(LayerPath(path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clean(name: &str) -> Result<String, Refusal> {
        match LayerPath::parse(name.as_bytes()) {
            Ok(path) => Ok(String::from_utf8(path.as_bytes().to_owned()).unwrap()),
            Err(UnpackError::Refused { why, .. }) => Err(why),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn names_are_cleaned_as_docker_cleans_them() {
        for (name, expected) in [
            ("./", "."),
            ("/", "."),
            ("a//b/./c/", "a/b/c"),
            ("/etc/x", "etc/x"),
            ("a/../b", "b"),
            ("/../x", "x"),
            ("a/..", "."),
        ] {
            assert_eq!(clean(name).as_deref(), Ok(expected), "{name}");
        }
        for name in ["..", "../x", "a/../../x", "./../x"] {
            assert_eq!(clean(name), Err(Refusal::LeavesTheLayer), "{name}");
        }
        assert_eq!(clean(""), Err(Refusal::EmptyName));
        assert_eq!(clean("a\0b"), Err(Refusal::NulInName));
        assert_eq!(clean(&"x".repeat(256)), Err(Refusal::NameTooLong));
        assert_eq!(clean(&"x/".repeat(3000)), Err(Refusal::NameTooLong));
    }

    #[test]
    fn whiteouts_name_a_sibling_and_nothing_else() {
        let marker = |name: &str| LayerPath::parse(name.as_bytes()).unwrap().marker();
        let path = |name: &str| LayerPath(name.as_bytes().to_owned());
        assert_eq!(marker("a/.wh.b"), Ok(Marker::Whiteout(path("a/b"))));
        assert_eq!(marker(".wh.b"), Ok(Marker::Whiteout(path("b"))));
        assert_eq!(marker("a/.wh..wh..opq"), Ok(Marker::Opaque(path("a"))));
        assert_eq!(marker(".wh..wh..opq"), Ok(Marker::Opaque(path(""))));
        assert_eq!(marker(".wh..wh.plnk"), Ok(Marker::Ignored));
        assert_eq!(marker(".wh..wh.plnk/1.2"), Ok(Marker::Ignored));
        assert_eq!(marker("a/b.wh.c"), Ok(Marker::None));
        for name in ["a/.wh.", "a/.wh..", "a/.wh..."] {
            assert!(marker(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leaves_the_layer(name in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..60)) {
            if let Ok(path) = LayerPath::parse(&name) {
                let bytes = path.as_bytes();
                prop_assert!(!bytes.starts_with(b"/") && !bytes.contains(&0));
                prop_assert!(path.is_root() || bytes.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b"..")));
            }
        }
    }
}
