//! Carrying a collection out.

use super::catalog::Inventory;
use super::choose::{self, Usage};
use super::report::{
    DropReason, DroppedReference, GcPolicy, GcReport, KeepReason, KeptReference, Removed, RemovedKind,
};
use crate::causes::with_causes;
use crate::image::digest::Digest;
use crate::image::store::layers::DiskLayer;
use crate::image::store::lease::Exclusive;
use crate::image::store::{ImageError, ImageStore};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What is to be collected. The store knows no references and no executions: the caller lists them all,
/// while it has the store alone.
#[derive(Debug)]
pub struct GcRequest<'a> {
    pub references: Vec<HeldReference>,
    pub live: Vec<LiveUse>,
    pub policy: &'a GcPolicy,
    pub now: Timestamp,
    /// Change nothing and report what would be.
    pub dry_run: bool,
}

/// A reference that there is.
#[derive(Debug, Clone)]
pub struct HeldReference {
    pub reference: String,
    pub digest: Digest,
    pub used_at: Timestamp,
    /// Executions that have not ended and use it; the policy then does not apply to it.
    pub used_by: Vec<String>,
    pub fate: Fate,
}

/// What is to become of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    ByPolicy,
    Keep,
    Drop,
}

/// What an execution that has not ended needs.
#[derive(Debug, Clone)]
pub struct LiveUse {
    pub execution: String,
    /// Of its image's manifest.
    pub digest: Option<Digest>,
    /// Roots of its layers; `None` when they are not known yet.
    pub layers: Option<Vec<PathBuf>>,
}

/// One of the things that take space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Layer(Digest),
    Document(Digest),
}

/// All that takes space, and what needs it.
struct Survey {
    layers: Vec<DiskLayer>,
    documents: BTreeMap<Digest, u64>,
    items: BTreeMap<Item, usize>,
    /// By the number of the item.
    sizes: Vec<u64>,
    inventories: Vec<Inventory>,
    /// What live executions need.
    always: BTreeSet<usize>,
    /// Why it is not known what a live execution needs.
    unknown: Vec<String>,
}

impl ImageStore {
    /// Collects. `forget` must make the end of these references durable; it is not called for a dry run.
    /// Blocks.
    ///
    /// # Errors
    /// When the store cannot be read or `forget` fails: then nothing was removed. What cannot be removed is
    /// in the report.
    pub fn collect<E: From<ImageError>>(
        &self,
        lock: Exclusive,
        request: &GcRequest<'_>,
        forget: impl FnOnce(&[DroppedReference]) -> Result<(), E>,
    ) -> Result<GcReport, E> {
        let survey = self.survey(request)?;
        let mut report = GcReport { dry_run: request.dry_run, problems: survey.unknown.clone(), ..GcReport::default() };
        let dropped = survey.choose(request, &mut report.problems);
        for (held, reason) in request.references.iter().zip(&dropped) {
            let (reference, digest) = (held.reference.clone(), held.digest.clone());
            match *reason {
                Some(reason) => report.dropped.push(DroppedReference { reference, digest, reason }),
                None => {
                    let is_used = !held.used_by.is_empty();
                    let reason = if is_used { KeepReason::InUse(held.used_by.clone()) } else { KeepReason::Policy };
                    report.kept.push(KeptReference { reference, digest, reason });
                }
            }
        }
        if !request.dry_run && !report.dropped.is_empty() {
            forget(&report.dropped)?;
        }
        let leftovers = self.staging.leftovers().map_err(ImageError::from)?;
        if report.problems.is_empty() {
            self.take_out(&survey, &survey.needed(&dropped), request, &mut report);
        }
        report.freed = report.removed.iter().map(|removed| removed.bytes).sum();
        report.remaining = survey.sizes.iter().sum::<u64>().saturating_sub(report.freed);
        for (name, bytes) in leftovers {
            report.freed += bytes;
            report.removed.push(Removed { kind: RemovedKind::Leftover, name, bytes });
        }
        // From here on it is only files that nobody sees any more.
        drop(lock);
        if !request.dry_run
            && let Err(error) = self.staging.sweep()
        {
            report.problems.push(format!("{}; the next collection tries again", with_causes(&error)));
        }
        Ok(report)
    }

    fn survey(&self, request: &GcRequest<'_>) -> Result<Survey, ImageError> {
        let layers = self.layers.all()?;
        let documents = self.blobs.all()?;
        let mut sized: BTreeMap<Item, u64> = BTreeMap::new();
        for layer in &layers {
            // One layer may be there under several id mappings.
            *sized.entry(Item::Layer(layer.diff_id.clone())).or_default() += layer.bytes;
        }
        sized.extend(documents.iter().map(|(digest, bytes)| (Item::Document(digest.clone()), *bytes)));
        let sizes = sized.values().copied().collect();
        let items: BTreeMap<Item, usize> = sized.into_keys().enumerate().map(|(index, item)| (item, index)).collect();
        let inventories = request.references.iter().map(|held| self.inventory(&held.digest));
        let inventories = inventories.collect::<Result<Vec<_>, _>>()?;
        let mut survey =
            Survey { layers, documents, items, sizes, inventories, always: BTreeSet::new(), unknown: Vec::new() };
        for live in &request.live {
            self.add_live(&mut survey, live)?;
        }
        Ok(survey)
    }

    fn add_live(&self, survey: &mut Survey, live: &LiveUse) -> Result<(), ImageError> {
        if let Some(digest) = &live.digest {
            let inventory = self.inventory(digest)?;
            survey.always.extend(survey.needs(&inventory));
            if let (Some(problem), None) = (inventory.problem, &live.layers) {
                survey.unknown.push(format!(
                    "nothing was removed: execution {} needs the image {digest}, but {problem}; wait for its end, or \
                     cancel it",
                    live.execution
                ));
            }
        }
        let roots: BTreeSet<&PathBuf> = live.layers.iter().flatten().collect();
        let used = survey.layers.iter().filter(|layer| roots.contains(&layer.root()));
        let used: Vec<usize> = used.filter_map(|layer| survey.number(&Item::Layer(layer.diff_id.clone()))).collect();
        survey.always.extend(used);
        Ok(())
    }

    /// Removes documents, and moves layers to where the sweep removes them.
    fn take_out(&self, survey: &Survey, needed: &BTreeSet<usize>, request: &GcRequest<'_>, report: &mut GcReport) {
        let is_needed = |item: &Item| survey.number(item).is_some_and(|number| needed.contains(&number));
        for layer in survey.layers.iter().filter(|layer| !is_needed(&Item::Layer(layer.diff_id.clone()))) {
            let removed = if request.dry_run {
                Ok(())
            } else {
                self.staging.take_out(layer.diff_id.hex(), &layer.path).map(drop).map_err(|error| with_causes(&error))
            };
            let (name, bytes) = (layer.diff_id.to_string(), layer.bytes);
            match removed {
                Ok(()) => report.removed.push(Removed { kind: RemovedKind::Layer, name, bytes }),
                Err(problem) => report.problems.push(problem),
            }
        }
        for (digest, bytes) in
            survey.documents.iter().filter(|(digest, _)| !is_needed(&Item::Document((*digest).clone())))
        {
            let removed = if request.dry_run { Ok(()) } else { self.blobs.remove(digest) };
            match removed {
                Ok(()) => {
                    let (kind, name) = (RemovedKind::Document, digest.to_string());
                    report.removed.push(Removed { kind, name, bytes: *bytes });
                }
                Err(error) => report.problems.push(with_causes(&error)),
            }
        }
        if !request.dry_run
            && let Err(error) = self.blobs.remove_temporaries()
        {
            report.problems.push(with_causes(&error));
        }
    }
}

impl Survey {
    fn number(&self, item: &Item) -> Option<usize> {
        self.items.get(item).copied()
    }

    fn needs(&self, inventory: &Inventory) -> BTreeSet<usize> {
        let layers = inventory.layers().into_iter().map(|diff_id| Item::Layer(diff_id.clone()));
        let documents = inventory.documents.keys().map(|digest| Item::Document(digest.clone()));
        layers.chain(documents).filter_map(|item| self.number(&item)).collect()
    }

    /// What becomes of each reference. Adds to `problems` when a reference that stays leads to what is not
    /// known; no reference is then dropped to make room, for nothing would be gained.
    fn choose(&self, request: &GcRequest<'_>, problems: &mut Vec<String>) -> Vec<Option<DropReason>> {
        let usages: Vec<Usage> = request
            .references
            .iter()
            .zip(&self.inventories)
            .map(|(held, inventory)| Usage {
                used_at: held.used_at,
                is_pinned: held.fate != Fate::ByPolicy || !held.used_by.is_empty(),
                needs: self.needs(inventory),
            })
            .collect();
        let mut dropped = choose::by_age(&usages, request.policy, request.now);
        for (held, reason) in request.references.iter().zip(&mut dropped) {
            if held.fate == Fate::Drop {
                *reason = Some(DropReason::Asked);
            }
        }
        for ((held, inventory), reason) in request.references.iter().zip(&self.inventories).zip(&dropped) {
            if let (Some(problem), None) = (&inventory.problem, reason) {
                problems.push(format!(
                    "nothing was removed: it is not known what {} needs, for {problem}; pull it again, or remove it",
                    held.reference
                ));
            }
        }
        if problems.is_empty() {
            choose::by_size(&usages, &self.sizes, &self.always, request.policy, &mut dropped);
        }
        dropped
    }

    /// What the references that stay, and live executions, need.
    fn needed(&self, dropped: &[Option<DropReason>]) -> BTreeSet<usize> {
        let kept = self.inventories.iter().zip(dropped).filter(|(_, reason)| reason.is_none());
        let mut needed = self.always.clone();
        needed.extend(kept.flat_map(|(inventory, _)| self.needs(inventory)));
        needed
    }
}
