//! Collecting images: what is still needed, by which references and executions, and the automatic collection.

use super::OciRuntime;
use super::prepare::own_mappings;
use super::references::complete_names;
use crate::engine::RuntimeError;
use crate::image::{
    Digest, DroppedReference, Exclusive, Fate, GcPolicy, GcReport, GcRequest, HeldReference, ImageError, ImageStore,
    LiveUse,
};
use crate::state_dir::ContainerDir;
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// How long a removal waits for pulls and starts to end before it leaves the rest to a later collection.
const PATIENCE: Duration = Duration::from_secs(2);

/// An execution that has not ended, and what it needs of the store.
#[derive(Debug)]
pub(super) struct LiveExecution {
    id: String,
    /// The complete names that its image may have. Those of a local path may be wrong: it counts from its
    /// front's current directory, and that front shares the store until the image is resolved.
    references: Vec<String>,
    manifest_digest: Option<Digest>,
    layers: Option<Vec<PathBuf>>,
}

impl LiveExecution {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// True when it uses the image of `reference`, which leads to the manifests `images`.
    pub fn uses(&self, reference: &str, images: &BTreeSet<&Digest>) -> bool {
        match &self.manifest_digest {
            Some(digest) => images.contains(digest),
            // It has not been resolved yet.
            None => self.references.iter().any(|name| name == reference),
        }
    }
}

/// Which references a collection drops besides those that its policy chooses, and which it spares.
#[derive(Debug, Clone, Default)]
struct Selection {
    drop: BTreeSet<String>,
    spare: BTreeSet<String>,
}

impl OciRuntime {
    /// Executions that have not ended.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(super) fn live_executions(&self) -> Result<Vec<LiveExecution>, RuntimeError> {
        let live = self.record().non_terminal()?.into_iter().map(|row| {
            Ok(LiveExecution {
                references: if row.image_digest.is_none() { complete_names(&row.image) } else { Vec::new() },
                manifest_digest: row.image_digest.and_then(|digest| digest.parse().ok()),
                layers: self.planned_layers(&row.id)?,
                id: row.id,
            })
        });
        live.collect()
    }

    /// The layers that plans of an execution name; `None` before there is a plan.
    fn planned_layers(&self, id: &str) -> Result<Option<Vec<PathBuf>>, RuntimeError> {
        let execution = self.state_dir().execution(id);
        let mut containers = self.containers_of(&execution)?;
        containers.push(ContainerDir::from_path(execution));
        let planned: Vec<_> = containers.iter().filter_map(planned_layers).collect();
        Ok((!planned.is_empty()).then(|| planned.into_iter().flatten().collect()))
    }

    /// Drops the references that `policy` chooses, then removes what nothing needs any more. With
    /// `dry_run` nothing is changed, and the report says what would be. Waits until pulls and starts that
    /// are under way have what they need.
    ///
    /// # Errors
    /// When the record or the store cannot be read. What cannot be removed is in the report.
    pub async fn collect_images(&self, policy: &GcPolicy, dry_run: bool) -> Result<GcReport, RuntimeError> {
        let (mappings, _) = own_mappings()?;
        let store = self.image_store(mappings);
        let lock = store.exclusive().await?;
        self.collect(store, lock, policy.clone(), Selection::default(), dry_run).await
    }

    /// Drops these references and removes what nothing else needs.
    ///
    /// # Errors
    /// As [`OciRuntime::collect_images`].
    pub(super) async fn collect_dropped(&self, drop: BTreeSet<String>) -> Result<GcReport, RuntimeError> {
        let (mappings, _) = own_mappings()?;
        let store = self.image_store(mappings);
        match tokio::time::timeout(PATIENCE, store.exclusive()).await {
            Ok(lock) => {
                let selection = Selection { drop, spare: BTreeSet::new() };
                self.collect(store, lock?, GcPolicy::default(), selection, false).await
            }
            Err(_) => self.forget_for_now(&drop),
        }
    }

    /// Drops the references; the rest is for the next collection.
    fn forget_for_now(&self, drop: &BTreeSet<String>) -> Result<GcReport, RuntimeError> {
        let mut report = GcReport::default();
        for known in self.known_references()?.into_iter().filter(|known| drop.contains(&known.reference)) {
            self.record().remove_image(&known.reference)?;
            let reason = crate::image::DropReason::Asked;
            report.dropped.push(DroppedReference { reference: known.reference, digest: known.digest, reason });
        }
        report.problems.push(
            "images are being pulled or started, so no file was removed yet; the next collection does it, or \
             `coracle image gc`"
                .to_owned(),
        );
        Ok(report)
    }

    async fn collect(
        &self,
        store: ImageStore,
        lock: Exclusive,
        policy: GcPolicy,
        selection: Selection,
        dry_run: bool,
    ) -> Result<GcReport, RuntimeError> {
        let this = self.clone();
        let collecting =
            tokio::task::spawn_blocking(move || this.collect_now(&store, lock, &policy, &selection, dry_run));
        collecting.await.map_err(|_| ImageError::Worker { name: "the collection".to_owned() })?
    }

    fn collect_now(
        &self,
        store: &ImageStore,
        lock: Exclusive,
        policy: &GcPolicy,
        selection: &Selection,
        dry_run: bool,
    ) -> Result<GcReport, RuntimeError> {
        let live = self.live_executions()?;
        let mut references = Vec::new();
        for known in self.known_references()? {
            let inventory = store.inventory(&known.digest)?;
            let images: BTreeSet<&Digest> = inventory.images.iter().map(|image| &image.manifest_digest).collect();
            let users = live.iter().filter(|live| live.uses(&known.reference, &images));
            let used_by = users.map(|live| live.id.clone()).collect();
            let fate = if selection.drop.contains(&known.reference) {
                Fate::Drop
            } else if selection.spare.contains(&known.reference) {
                Fate::Keep
            } else {
                Fate::ByPolicy
            };
            let (reference, digest, used_at) = (known.reference, known.digest, known.used_at);
            references.push(HeldReference { reference, digest, used_at, used_by, fate });
        }
        let live = live.into_iter().map(|live| LiveUse {
            execution: live.id,
            digest: live.manifest_digest,
            layers: live.layers,
        });
        let request = GcRequest { references, live: live.collect(), policy, now: Timestamp::now(), dry_run };
        store.collect(lock, &request, |dropped| {
            for dropped in dropped {
                self.record().remove_image(&dropped.reference)?;
            }
            // A reference that came back after a crash would lead to what is gone.
            Ok(self.record().make_durable()?)
        })
    }

    /// Begins the automatic collection, if the configuration asks for one: after something was pulled, while
    /// whoever pulled it goes on. What is in `spare` stays.
    pub(super) fn collect_in_background(&self, spare: BTreeSet<String>) {
        let policy = self.image_config().gc.clone();
        if policy == GcPolicy::default() {
            return;
        }
        let this = self.clone();
        let task = tokio::spawn(async move {
            match this.collect_if_free(policy, spare).await {
                Ok(report) => {
                    for problem in report.iter().flat_map(|report| &report.problems) {
                        tracing::warn!(problem, "images not collected");
                    }
                }
                // The job has nothing to do with it, and the next pull tries again.
                Err(error) => tracing::warn!(%error, "images not collected"),
            }
        });
        // One that is still under way ends by itself.
        self.collection().replace(task);
    }

    /// `None` when others use the store at this moment: they collect when they have pulled.
    async fn collect_if_free(
        &self,
        policy: GcPolicy,
        spare: BTreeSet<String>,
    ) -> Result<Option<GcReport>, RuntimeError> {
        let (mappings, _) = own_mappings()?;
        let store = self.image_store(mappings);
        let Some(lock) = store.try_exclusive()? else { return Ok(None) };
        let selection = Selection { drop: BTreeSet::new(), spare };
        self.collect(store, lock, policy, selection, false).await.map(Some)
    }

    /// Waits for the automatic collection that a pull of this executor may have begun. A program that ends
    /// without it loses nothing: the next collection finishes the work.
    pub async fn finish_collection(&self) {
        let task = self.collection().take();
        if let Some(task) = task {
            // It reports its own failures; a panic has been reported by the panic hook.
            let _ = task.await;
        }
    }
}

/// The layers in the plan of a container; `None` before there is one.
fn planned_layers(directory: &ContainerDir) -> Option<Vec<PathBuf>> {
    /// The part of a plan that every version has.
    #[derive(Deserialize)]
    struct Planned {
        rootfs: Rootfs,
        /// Of steps on other images.
        #[serde(default)]
        step_roots: BTreeMap<usize, Rootfs>,
    }
    #[derive(Deserialize)]
    struct Rootfs {
        layers: Vec<PathBuf>,
    }
    let bytes = std::fs::read(directory.plan()).ok()?;
    let plan = serde_json::from_slice::<Planned>(&bytes).ok()?;
    Some(plan.step_roots.into_values().chain([plan.rootfs]).flat_map(|root| root.layers).collect())
}
