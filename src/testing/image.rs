//! Small images in OCI layouts.
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use crate::sys::file::write_atomic_volatile;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

/// The tag of every image made here.
const TAG: &str = "latest";

/// Types of <https://github.com/opencontainers/image-spec/blob/main/media-types.md>.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image to be made: files and a configuration. The same content has the same digest, wherever and whenever it
/// is made.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use coracle::testing::FixtureImage;
///
/// let directory = tempfile::tempdir()?;
/// let image = FixtureImage::new()
///     .file("/etc/greeting", 0o644, "hello\n")
///     .link("/bin/sh", "busybox")
///     .entrypoint(&["/bin/sh", "-c"])
///     .env("LANG", "C")
///     .write(&directory.path().join("image"))?;
/// assert!(image.reference.starts_with("oci:"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct FixtureImage {
    /// By path, so that a directory comes before what is in it.
    entries: BTreeMap<String, Entry>,
    architecture: Option<String>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Vec<String>,
    user: Option<String>,
    workdir: Option<String>,
    stop_signal: Option<String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
struct Entry {
    content: Content,
    /// As in chmod(1).
    mode: u32,
    owner: (u32, u32),
}

#[derive(Debug, Clone)]
enum Content {
    Directory,
    Bytes(Vec<u8>),
    /// A file of the host.
    Host(PathBuf),
    Link(String),
}

/// An image that is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixtureLayout {
    /// As a spec names it: `oci:PATH:latest`.
    pub reference: String,
    /// Digest of the manifest, `sha256:…`.
    pub digest: String,
}

/// An image could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixtureError {
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("failed to put {name:?} into an image: its path has to begin with / and go straight on")]
    BadPath { name: String },
}

impl FixtureImage {
    /// One without files for this host's architecture, with `PATH=/bin`.
    pub fn new() -> FixtureImage {
        FixtureImage { env: vec!["PATH=/bin".into()], ..FixtureImage::default() }
    }

    /// A file; directories above it are made with mode 755. As all others it belongs to root.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> FixtureImage {
        self.entry(path, mode, Content::Bytes(content.into()))
    }

    /// A program of the host, read when the image is made. It has to be linked statically, or the image needs its
    /// libraries too.
    #[must_use]
    pub fn program(self, path: &str, host: impl Into<PathBuf>) -> FixtureImage {
        self.entry(path, 0o755, Content::Host(host.into()))
    }

    #[must_use]
    pub fn directory(self, path: &str, mode: u32) -> FixtureImage {
        self.entry(path, mode, Content::Directory)
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> FixtureImage {
        self.entry(path, 0o777, Content::Link(target.to_owned()))
    }

    /// What was added under this path belongs to this user and group.
    #[must_use]
    pub fn owned(mut self, path: &str, user: u32, group: u32) -> FixtureImage {
        if let Some(entry) = self.entries.get_mut(path) {
            entry.owner = (user, group);
        }
        self
    }

    fn entry(mut self, path: &str, mode: u32, content: Content) -> FixtureImage {
        self.entries.insert(path.to_owned(), Entry { content, mode, owner: (0, 0) });
        self
    }

    /// Another architecture than the host's, as images name it: `amd64`, `arm64`, …
    #[must_use]
    pub fn architecture(mut self, name: &str) -> FixtureImage {
        self.architecture = Some(name.to_owned());
        self
    }

    #[must_use]
    pub fn entrypoint(mut self, words: &[&str]) -> FixtureImage {
        self.entrypoint = Some(words.iter().map(|word| (*word).to_owned()).collect());
        self
    }

    #[must_use]
    pub fn cmd(mut self, words: &[&str]) -> FixtureImage {
        self.cmd = Some(words.iter().map(|word| (*word).to_owned()).collect());
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> FixtureImage {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// `UID[:GID]`, or names of the image's `/etc/passwd` and `/etc/group`.
    #[must_use]
    pub fn user(mut self, user: &str) -> FixtureImage {
        self.user = Some(user.to_owned());
        self
    }

    #[must_use]
    pub fn workdir(mut self, path: &str) -> FixtureImage {
        self.workdir = Some(path.to_owned());
        self
    }

    #[must_use]
    pub fn stop_signal(mut self, name: &str) -> FixtureImage {
        self.stop_signal = Some(name.to_owned());
        self
    }

    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> FixtureImage {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Makes the layout in `directory`, which is made where there is none. An image that it held before is not
    /// named any more.
    ///
    /// # Errors
    /// A path that is none, a file of the host that cannot be read, a directory that cannot be written.
    pub fn write(&self, directory: &Path) -> Result<FixtureLayout, FixtureError> {
        let blobs = directory.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).map_err(failed("make the directory", &blobs))?;
        let directory = directory.canonicalize().map_err(failed("resolve", directory))?;
        let layer = self.layer()?;
        let config = self.config(&digest(&layer));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config.as_bytes()),
            "layers": [descriptor(LAYER, &layer)],
        })
        .to_string();
        for bytes in [&layer[..], config.as_bytes(), manifest.as_bytes()] {
            let hex = digest(bytes);
            let path = blobs.join(hex.trim_start_matches("sha256:"));
            write_atomic_volatile(&path, bytes).map_err(failed("write", &path))?;
        }
        let mut named = descriptor(MANIFEST, manifest.as_bytes());
        named["annotations"] = json!({"org.opencontainers.image.ref.name": TAG});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}).to_string();
        // The index last: with it, all that it names is there.
        for (name, text) in [("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#), ("index.json", &index)] {
            let path = directory.join(name);
            write_atomic_volatile(&path, text.as_bytes()).map_err(failed("write", &path))?;
        }
        Ok(FixtureLayout {
            reference: format!("oci:{}:{TAG}", directory.display()),
            digest: digest(manifest.as_bytes()),
        })
    }

    fn config(&self, diff_id: &str) -> String {
        let architecture = self.architecture.as_deref().unwrap_or(match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        });
        let mut config = json!({"Env": self.env, "Labels": self.labels});
        let words = [("Entrypoint", &self.entrypoint), ("Cmd", &self.cmd)];
        for (name, words) in words.into_iter().filter_map(|(name, words)| Some((name, words.as_ref()?))) {
            config[name] = json!(words);
        }
        let texts = [("User", &self.user), ("WorkingDir", &self.workdir), ("StopSignal", &self.stop_signal)];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
            config[name] = json!(text);
        }
        json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        })
        .to_string()
    }

    /// The one layer, uncompressed.
    fn layer(&self) -> Result<Vec<u8>, FixtureError> {
        let mut all: BTreeMap<&str, Entry> = BTreeMap::new();
        for (path, entry) in &self.entries {
            let name = name_in_layer(path)?;
            for (at, _) in name.match_indices('/') {
                let above = Entry { content: Content::Directory, mode: 0o755, owner: (0, 0) };
                all.entry(&name[..at]).or_insert(above);
            }
            all.insert(name, entry.clone());
        }
        let mut archive = tar::Builder::new(Vec::new());
        for (name, entry) in all {
            append(&mut archive, name, &entry)?;
        }
        archive.into_inner().map_err(failed("write", Path::new("a layer")))
    }
}

/// The path without its slash, if it has nothing that would lead elsewhere.
fn name_in_layer(path: &str) -> Result<&str, FixtureError> {
    let name = path.strip_prefix('/').unwrap_or_default();
    let is_straight = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    is_straight.then_some(name).ok_or_else(|| FixtureError::BadPath { name: path.to_owned() })
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, entry: &Entry) -> Result<(), FixtureError> {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.0.into());
    header.set_gid(entry.owner.1.into());
    header.set_mtime(0);
    header.set_size(0);
    let added = failed("put into a layer", Path::new(name));
    match &entry.content {
        Content::Directory => {
            header.set_entry_type(EntryType::Directory);
            archive.append_data(&mut header, format!("{name}/"), io::empty()).map_err(added)
        }
        Content::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            archive.append_link(&mut header, name, target).map_err(added)
        }
        Content::Bytes(bytes) => {
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, name, &bytes[..]).map_err(added)
        }
        Content::Host(path) => {
            let bytes = std::fs::read(path).map_err(failed("read", path))?;
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, name, &bytes[..]).map_err(added)
        }
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FixtureError {
    let path = path.to_owned();
    move |source| FixtureError::Io { action, path, source }
}
