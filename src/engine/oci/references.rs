//! Image references: resolving them with what the record knows, and keeping the record of them.

use super::settings::Settings;
use super::{ImageConfig, OciRuntime};
use crate::engine::RuntimeError;
use crate::image::{
    self, Digest, HostConfig, Image, ImageName, ImageRequest, ImageStore, Limits, Platform, Surroundings,
};
use crate::plan::IdMappings;
use crate::record::{ImageReference, Record};
use crate::spec::PullPolicy;
use jiff::{SignedDuration, Timestamp};

/// How old the recorded time of a use may become before a further use is recorded: a run is not to wait for
/// the disk because of it.
const USE_PRECISION: SignedDuration = SignedDuration::from_mins(1);

/// A row of the record, understood.
#[derive(Debug, Clone)]
pub(super) struct KnownReference {
    pub reference: String,
    pub digest: Digest,
    pub pulled_at: Timestamp,
    pub used_at: Timestamp,
}

/// What is asked for besides the name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub policy: PullPolicy,
    pub platform: Option<&'a Platform>,
}

impl OciRuntime {
    /// The store as this user uses it, with what the configuration says, observed.
    pub(super) fn image_store(&self, mappings: Option<IdMappings>) -> ImageStore {
        self.store_with(mappings, self.image_config())
    }

    /// The store as the process used it whose settings these are; `None`: this one.
    ///
    /// # Errors
    /// Settings that are none of this version: it is not known what they forbid.
    pub(super) fn image_store_as(
        &self,
        mappings: Option<IdMappings>,
        settings: Option<&serde_json::Value>,
    ) -> Result<ImageStore, RuntimeError> {
        let Some(settings) = settings else { return Ok(self.image_store(mappings)) };
        let settings = Settings::read(settings)?;
        if settings == Settings::of_this_process(self.image_config()) {
            // It knows more than is recorded: the passwords of proxies.
            return Ok(self.image_store(mappings));
        }
        let (config, surroundings) = settings.apply(self.image_config());
        Ok(self.store_with(mappings, &config).with_surroundings(surroundings))
    }

    fn store_with(&self, mappings: Option<IdMappings>, config: &ImageConfig) -> ImageStore {
        let store = ImageStore::open(self.state_dir(), mappings, self.binary().to_owned());
        let mut store = store.with_work(self.pull_under_way());
        let defaults = Limits::default();
        store = store.with_limits(Limits {
            max_layer_bytes: config.max_layer_bytes.or(defaults.max_layer_bytes),
            max_ratio: config.max_ratio.or(defaults.max_ratio),
        });
        if let Some(count) = config.parallel_layers {
            store = store.with_parallel_layers(count);
        }
        if let Some(file) = &config.signature_policy {
            store = store.with_signature_policy(file.clone());
        }
        if let Some(observer) = self.observer() {
            store = store.with_observer(observer.clone());
        }
        store
    }

    /// Resolves an image and records its reference. While the caller has the image, no collection touches
    /// it.
    ///
    /// # Errors
    /// When it cannot be resolved, or the record cannot be used.
    pub(super) async fn resolve_image(
        &self,
        store: &ImageStore,
        text: &str,
        wanted: Wanted<'_>,
    ) -> Result<Image, RuntimeError> {
        let name = ImageName::parse(text)?;
        respell(self.record(), text, &name)?;
        let known = |reference: &str| {
            let row = self.record().image(reference)?;
            // A digest that an older version wrote in another form is looked up again.
            Ok(row.and_then(|row| row.digest.parse().ok()))
        };
        let policy = match wanted.policy {
            PullPolicy::Always => image::PullPolicy::Always,
            PullPolicy::Newer => image::PullPolicy::Newer,
            PullPolicy::IfNotPresent => image::PullPolicy::IfNotPresent,
            PullPolicy::Never => image::PullPolicy::Never,
        };
        let request = ImageRequest { name: &name, policy, platform: wanted.platform, references: &known };
        let image = store.resolve(&request).await?;
        match name {
            // A digest names nothing that could change; what was loaded without a name is recorded by `load`.
            ImageName::Stored(_) if self.record().image(&image.reference)?.is_none() => {}
            _ => self.remember(&image.reference, &image.digest, image.pulled)?,
        }
        Ok(image)
    }

    /// Records what a reference names now, and that it is used. Writes only what is news.
    ///
    /// # Errors
    /// When the record cannot be used.
    pub(super) fn remember(&self, reference: &str, digest: &Digest, pulled: bool) -> Result<(), RuntimeError> {
        let now = Timestamp::now();
        let digest = digest.to_string();
        let before = self.record().image(reference)?.filter(|row| row.digest == digest);
        let pulled_at = match &before {
            Some(row) if !pulled && now.duration_since(row.used_at) < USE_PRECISION => return Ok(()),
            Some(row) if !pulled => row.pulled_at,
            _ => now,
        };
        let row = ImageReference { reference: reference.to_owned(), digest, pulled_at, used_at: now };
        Ok(self.record().set_image(&row)?)
    }

    /// All references, in alphabetical order.
    ///
    /// # Errors
    /// When the record cannot be used.
    pub(super) fn known_references(&self) -> Result<Vec<KnownReference>, RuntimeError> {
        let mut rows = self.record().images()?;
        let mut is_old = false;
        for row in &rows {
            if let Ok(name) = ImageName::parse(&row.reference) {
                is_old |= respell(self.record(), &row.reference, &name)?;
            }
        }
        if is_old {
            rows = self.record().images()?;
        }
        let mut found = Vec::new();
        for row in rows {
            let Ok(digest) = row.digest.parse() else {
                // It says nothing that could be shown or kept.
                tracing::warn!(reference = row.reference, digest = row.digest, "reference without a usable digest");
                self.record().remove_image(&row.reference)?;
                continue;
            };
            let ImageReference { reference, pulled_at, used_at, .. } = row;
            found.push(KnownReference { reference, digest, pulled_at, used_at });
        }
        Ok(found)
    }
}

/// The complete names that `text` may stand for, in the order to try. None for what is no name; a relative
/// path counts from the current directory. Blocks.
pub(super) fn complete_names(text: &str) -> Vec<String> {
    match ImageName::parse(text) {
        Ok(ImageName::Registry(name)) => {
            let candidates = HostConfig::load(&Surroundings::default()).and_then(|config| config.candidates(&name));
            // A configuration that cannot be used is no reason not to find what is here.
            candidates.unwrap_or_else(|_| vec![name]).iter().map(ToString::to_string).collect()
        }
        Ok(name) => name.absolute().map(|name| name.to_string()).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

/// Versions with schema 1 recorded registry references as the user typed them. True when that was so here.
fn respell(record: &Record, text: &str, name: &ImageName) -> Result<bool, RuntimeError> {
    let complete = name.to_string();
    let is_old = matches!(name, ImageName::Registry(_)) && complete != text && record.image(text)?.is_some();
    if is_old {
        record.respell_image(text, &complete)?;
    }
    Ok(is_old)
}
