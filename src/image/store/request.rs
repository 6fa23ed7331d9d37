//! What is asked of the store.

use crate::image::digest::Digest;
use crate::image::name::ImageName;
use crate::image::platform::Platform;
use std::error::Error;

/// When to ask the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Every time; the registry must answer. Layers that are here are not fetched again.
    Always,
    /// Every time; when the registry cannot be reached, what is here serves, with a note.
    Newer,
    /// When the image is not here.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// Looks up what a reference, in its complete form, was last resolved to ([`Image::digest`](super::Image)).
pub type References<'a> = dyn Fn(&str) -> Result<Option<Digest>, Box<dyn Error + Send + Sync>> + Send + Sync + 'a;

/// An image to be resolved.
#[derive(Clone, Copy)]
pub struct ImageRequest<'a> {
    pub name: &'a ImageName,
    pub policy: PullPolicy,
    /// `None`: the host's, and any other with a note when the image has no choice.
    pub platform: Option<&'a Platform>,
    pub references: &'a References<'a>,
}

impl<'a> ImageRequest<'a> {
    /// For the host's platform, pulled when it is not here, with nothing known of earlier pulls.
    pub fn new(name: &'a ImageName) -> ImageRequest<'a> {
        ImageRequest { name, policy: PullPolicy::IfNotPresent, platform: None, references: &|_| Ok(None) }
    }
}
