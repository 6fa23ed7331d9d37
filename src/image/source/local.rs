//! From the name of a local image, or from a file of images, to documents and layers.

use super::docker_archive::DockerArchive;
use super::error::{ArchiveProblem, BlobProblem, Place, SourceError};
use super::files::{FileSlice, Files};
use super::layout::{self, Layout};
use super::spool;
use super::tarball::Tarball;
use crate::image::digest::Digest;
use crate::image::manifest;
use crate::image::name::ImageName;
use crate::image::platform::Platform;
use crate::image::reference::RegistryName;
use oci_spec::image::ImageManifest;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An image of a file: manifest and config, and where its layers are. Only what the manifest's own
/// digest covers has been verified; layers are when they are read.
#[derive(Debug)]
pub struct LocalImage {
    pub manifest_digest: Digest,
    pub manifest_bytes: Vec<u8>,
    pub manifest: ImageManifest,
    pub config: Vec<u8>,
    pub layers: LayerFiles,
}

/// An image with the names that its file gives it; there may be none.
#[derive(Debug)]
pub struct NamedImage {
    pub references: Vec<RegistryName>,
    pub image: LocalImage,
}

/// Where the layers of an image are.
#[derive(Debug, Clone)]
pub enum LayerFiles {
    Layout(Files),
    /// In the archive `path`, by the digests of their blobs.
    Members {
        path: PathBuf,
        slices: HashMap<Digest, FileSlice>,
    },
}

impl LayerFiles {
    /// The blob of a layer, not yet verified.
    ///
    /// # Errors
    /// [`BlobProblem::Missing`], [`SourceError::Read`].
    pub fn layer(&self, blob: &Digest) -> Result<FileSlice, SourceError> {
        match self {
            LayerFiles::Layout(files) => layout::blob(files, blob),
            LayerFiles::Members { path, slices } => slices.get(blob).cloned().ok_or_else(|| SourceError::Blob {
                place: Place { path: path.clone(), member: Some(format!("layer {blob}")) },
                problem: BlobProblem::Missing,
            }),
        }
    }
}

/// A file of images to be loaded.
#[derive(Debug)]
pub enum LoadInput {
    /// An archive, or the directory of an OCI layout.
    Path(PathBuf),
    /// An archive from here on, as from standard input.
    Stream(OwnedFd),
}

/// Where to put what cannot be read in place, and whether anybody still waits for it.
#[derive(Debug, Clone)]
pub struct Scratch {
    directory: PathBuf,
    cancelled: Arc<AtomicBool>,
}

impl Scratch {
    /// Temporary files go to `directory`; work stops soon after `cancelled` becomes true.
    pub fn new(directory: PathBuf, cancelled: Arc<AtomicBool>) -> Scratch {
        Scratch { directory, cancelled }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// The image that `name` names; `None` if that is no local file's.
///
/// # Errors
/// See [`SourceError`].
pub fn find(name: &ImageName, platform: &Platform, scratch: &Scratch) -> Result<Option<LocalImage>, SourceError> {
    match name {
        ImageName::Layout { path, tag } => Layout::directory(path)?.image(tag.as_deref(), platform),
        ImageName::OciArchive { path, tag } => Layout::archive(open(path, scratch)?)?.image(tag.as_deref(), platform),
        ImageName::DockerArchive { path, image } => {
            DockerArchive::open(open(path, scratch)?)?.image(image.as_ref(), scratch)
        }
        ImageName::Stored(_) | ImageName::Registry(_) => return Ok(None),
    }
    .map(Some)
}

/// All images of a file, at least one, and the transport of containers-transports(5) that it is for.
///
/// # Errors
/// See [`SourceError`]; one bad image takes the others with it.
pub fn load(
    input: LoadInput,
    platform: &Platform,
    scratch: &Scratch,
) -> Result<(&'static str, Vec<NamedImage>), SourceError> {
    let (path, (transport, images)) = match input {
        LoadInput::Path(path) if path.is_dir() => {
            let images = Layout::directory(&path)?.images(platform)?;
            (path, ("oci", images))
        }
        LoadInput::Path(path) => {
            let images = load_archive(open(&path, scratch)?, platform, scratch)?;
            (path, images)
        }
        LoadInput::Stream(input) => {
            let path = PathBuf::from("standard input");
            let file = spool::in_place(File::from(input), &path, scratch)?;
            let images = load_archive(Tarball::open(file, &path)?, platform, scratch)?;
            (path, images)
        }
    };
    if images.is_empty() {
        return Err(SourceError::Archive { path, problem: ArchiveProblem::None });
    }
    Ok((transport, images))
}

fn load_archive(
    tarball: Tarball,
    platform: &Platform,
    scratch: &Scratch,
) -> Result<(&'static str, Vec<NamedImage>), SourceError> {
    if !DockerArchive::is_in(&tarball) {
        return match Layout::is_in(&tarball) {
            true => Ok(("oci-archive", Layout::archive(tarball)?.images(platform)?)),
            false => Err(SourceError::Archive { path: tarball.path().to_owned(), problem: ArchiveProblem::NoImages }),
        };
    }
    // Docker has written both forms since 25. The OCI one has the digests that registries know, but in
    // some versions lacks the layers (https://github.com/moby/moby/issues/47065), the images without a name
    // (https://github.com/moby/moby/issues/47210), or some of several (https://github.com/moby/moby/issues/51389).
    let images = Layout::archive(tarball.clone()).and_then(|layout| layout.images(platform));
    let archive = DockerArchive::open(tarball)?;
    let images = match images {
        Ok(images) if images.len() >= archive.count() && images.iter().all(has_its_layers) => images,
        _ => archive.images(scratch)?,
    };
    Ok(("docker-archive", images))
}

fn has_its_layers(named: &NamedImage) -> bool {
    manifest::parse_config(&named.image.manifest, &named.image.config).is_ok()
}

fn open(path: &Path, scratch: &Scratch) -> Result<Tarball, SourceError> {
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => SourceError::NoFile { path: path.to_owned() },
        _ => SourceError::Read { place: Place::file(path), source },
    })?;
    Tarball::open(spool::in_place(file, path, scratch)?, path)
}
