//! Collections, with the references and executions that the test says there are.

use crate::layout::{Compression, Layer, LayoutBuilder, Tar};
use crate::store::{Home, block_on, chain, homes};
use coracle::image::{
    Digest, DropReason, DroppedReference, Fate, GcPolicy, GcReport, GcRequest, HeldReference, ImageError, LiveUse,
    RemovedKind,
};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

fn layer(name: &str) -> Layer {
    Layer::new(Tar::new().file(name, &b"x".repeat(10_000)), Compression::Gzip)
}

fn hex(layer: &Layer) -> String {
    layer.diff_id.strip_prefix("sha256:").unwrap().to_owned()
}

/// An image of a layout of its own, resolved; its digest and the roots of its layers.
fn image(home: &Home, name: &str, layers: &[Layer]) -> (HeldReference, Vec<PathBuf>) {
    let mut layout = LayoutBuilder::new(&home.path(name));
    layout.image(layers);
    let image = home.resolve(&format!("oci:{}", layout.path().display())).unwrap();
    let held = HeldReference {
        reference: image.reference.clone(),
        digest: image.digest.clone(),
        used_at: jiff::Timestamp::from_second(1000).unwrap(),
        used_by: Vec::new(),
        fate: Fate::ByPolicy,
    };
    (held, image.layers)
}

struct Collection {
    references: Vec<HeldReference>,
    live: Vec<LiveUse>,
    policy: GcPolicy,
    dry_run: bool,
}

impl Collection {
    fn of(references: &[&HeldReference]) -> Collection {
        let references = references.iter().map(|held| (*held).clone()).collect();
        Collection { references, live: Vec::new(), policy: GcPolicy::default(), dry_run: false }
    }

    fn run(self, home: &Home) -> GcReport {
        let store = home.store();
        let lock = store.try_exclusive().unwrap().expect("nobody uses the store");
        let now = jiff::Timestamp::from_second(2000).unwrap();
        let request = GcRequest {
            references: self.references,
            live: self.live,
            policy: &self.policy,
            now,
            dry_run: self.dry_run,
        };
        let mut forgotten = Vec::new();
        let report = store.collect(lock, &request, |dropped: &[DroppedReference]| {
            forgotten = dropped.to_vec();
            Ok::<(), ImageError>(())
        });
        let report = report.unwrap();
        assert_eq!(forgotten, if self.dry_run { Vec::new() } else { report.dropped.clone() });
        assert_eq!(report.freed, report.removed.iter().map(|removed| removed.bytes).sum::<u64>());
        report
    }
}

fn documents(home: &Home) -> usize {
    fs::read_dir(home.state.blobs().join("sha256")).unwrap().count()
}

fn damage(home: &Home, digest: &Digest) -> PathBuf {
    let path = home.state.blobs().join("sha256").join(digest.hex());
    fs::write(&path, "damaged").unwrap();
    path
}

#[test]
fn what_no_reference_needs_goes_and_what_is_shared_stays() {
    for home in homes() {
        let (base, one, two) = (layer("base"), layer("one"), layer("two"));
        let (first, _) = image(&home, "first", &[base.clone(), one.clone()]);
        let (second, second_layers) = image(&home, "second", &[base.clone(), two]);
        assert_eq!((home.layers().len(), documents(&home)), (3, 4));
        let report = Collection::of(&[&first, &second]).run(&home);
        assert_eq!((report.removed, report.freed), (vec![], 0));

        let dry = Collection { dry_run: true, ..Collection::of(&[&second]) }.run(&home);
        assert_eq!((home.layers().len(), documents(&home)), (3, 4), "nothing was changed");
        let report = Collection::of(&[&second]).run(&home);
        assert_eq!((&report.removed, report.remaining), (&dry.removed, dry.remaining));
        assert!(report.freed > 10_000 && report.problems.is_empty(), "{report:?}");
        let layers = report.removed.iter().filter(|removed| removed.kind == RemovedKind::Layer);
        assert_eq!(layers.map(|removed| removed.name.as_str()).collect::<Vec<_>>(), [one.diff_id.as_str()]);
        assert_eq!((home.layers().len(), documents(&home)), (2, 2));
        assert!(second_layers.iter().all(|root| root.is_dir()));
        assert_eq!(home.staged(), Vec::<String>::new());

        Collection::of(&[]).run(&home);
        home.assert_empty();
        assert_eq!(documents(&home), 0);
    }
}

#[test]
fn the_policy_drops_references_and_spares_those_in_use() {
    for home in homes() {
        let (mut old, _) = image(&home, "old", &[layer("old")]);
        let (mut used, _) = image(&home, "used", &[layer("used")]);
        let (mut new, _) = image(&home, "new", &[layer("new")]);
        for (held, second) in [(&mut old, 0), (&mut used, 0), (&mut new, 1999)] {
            held.used_at = jiff::Timestamp::from_second(second).unwrap();
        }
        used.used_by = vec!["some execution".into()];
        let policy = GcPolicy { max_unused: Some(Duration::from_secs(1000)), max_bytes: None };
        let report = Collection { policy, ..Collection::of(&[&old, &used, &new]) }.run(&home);
        let dropped: Vec<_> = report.dropped.iter().map(|dropped| (&dropped.reference, dropped.reason)).collect();
        assert_eq!(dropped, [(&old.reference, DropReason::Unused(Duration::from_secs(2000)))]);
        assert_eq!(home.layers().len(), 2);

        let policy = GcPolicy { max_unused: None, max_bytes: Some(report.remaining - 1) };
        let report = Collection { policy, ..Collection::of(&[&used, &new]) }.run(&home);
        assert_eq!(report.dropped[0].reason, DropReason::OverBudget);
        assert_eq!((report.dropped.len(), &report.dropped[0].reference), (1, &new.reference));
        assert_eq!(home.layers(), [hex(&layer("used"))]);
    }
}

#[test]
fn live_executions_keep_their_image_without_a_reference() {
    for home in homes() {
        let (known, _) = image(&home, "known", &[layer("known")]);
        let (planned, roots) = image(&home, "planned", &[layer("planned")]);
        let live = |digest: Option<&Digest>, layers: Option<Vec<PathBuf>>| LiveUse {
            execution: "it".into(),
            digest: digest.cloned(),
            layers,
        };
        let uses = vec![live(Some(&known.digest), None), live(None, Some(roots))];
        Collection { live: uses, ..Collection::of(&[]) }.run(&home);
        assert_eq!(home.layers().len(), 2);
        assert_eq!(documents(&home), 2, "those of the one that is known by its digest");

        // Nothing says what it needs.
        let path = damage(&home, &known.digest);
        let uses = vec![live(Some(&known.digest), None)];
        let report = Collection { live: uses, ..Collection::of(&[]) }.run(&home);
        assert!(report.problems[0].contains(path.to_str().unwrap()), "{report:?}");
        assert_eq!(home.layers().len(), 2);
        drop(planned);
    }
}

#[test]
fn an_image_in_hand_keeps_collections_away() {
    for home in homes() {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        layout.image(&[layer("a")]);
        let image = home.resolve(&format!("oci:{}", layout.path().display())).unwrap();
        let store = home.store();
        assert!(store.try_exclusive().unwrap().is_none());
        block_on(async {
            let mut waiting = std::pin::pin!(store.exclusive());
            let again = home.store();
            tokio::select! {
                biased;
                lock = &mut waiting => panic!("{lock:?}"),
                lease = again.lease() => drop(lease.unwrap()),
            }
            drop(image);
            drop(waiting.await.unwrap());
        });
        assert!(store.try_exclusive().unwrap().is_some());
    }
}

#[test]
fn while_it_is_not_known_what_is_needed_nothing_goes() {
    for home in homes() {
        let (damaged, _) = image(&home, "damaged", &[layer("needed")]);
        let (other, _) = image(&home, "other", &[layer("other")]);
        let path = damage(&home, &damaged.digest);
        let policy = GcPolicy { max_unused: None, max_bytes: Some(0) };
        let report = Collection { policy, ..Collection::of(&[&damaged]) }.run(&home);
        assert_eq!((report.removed.len(), report.dropped.len(), home.layers().len()), (0, 0, 2), "{report:?}");
        let problem = &report.problems[0];
        assert!(problem.contains(path.to_str().unwrap()) && problem.contains(&damaged.reference), "{problem}");
        assert!(problem.contains("pull it again"), "{problem}");

        image(&home, "damaged", &[layer("needed")]);
        let report = Collection::of(&[&damaged]).run(&home);
        assert_eq!((report.problems.len(), home.layers()), (0, vec![hex(&layer("needed"))]));
        drop(other);
    }
}

#[test]
fn leftovers_are_removed_and_reported() {
    for home in homes() {
        let (kept, _) = image(&home, "kept", &[layer("kept")]);
        let name = format!("{}.0123456789abcdef", "a".repeat(64));
        let leftover = home.state.staging().join(&name);
        fs::create_dir_all(leftover.join("diff")).unwrap();
        fs::write(leftover.join("diff/file"), "12345").unwrap();
        let temporary = home.state.blobs().join("sha256/.abc.0123.tmp");
        fs::write(&temporary, "half").unwrap();
        let report = Collection::of(&[&kept]).run(&home);
        let removed: Vec<_> =
            report.removed.iter().map(|removed| (removed.kind, &removed.name, removed.bytes)).collect();
        assert_eq!(removed, [(RemovedKind::Leftover, &name, 5)]);
        assert!(!leftover.exists() && !temporary.exists());
        assert_eq!(home.layers().len(), 1);
    }
}

#[test]
fn a_reference_that_cannot_be_forgotten_loses_nothing() {
    let home = crate::store::home();
    let (mut held, _) = image(&home, "image", &[layer("a")]);
    held.fate = Fate::Drop;
    let store = home.store();
    let lock = store.try_exclusive().unwrap().unwrap();
    let (policy, now) = (GcPolicy::default(), jiff::Timestamp::UNIX_EPOCH);
    let request = GcRequest { references: vec![held], live: vec![], policy: &policy, now, dry_run: false };
    let refuse = |_: &[DroppedReference]| Err(ImageError::Worker { name: "the test".into() });
    let error = store.collect(lock, &request, refuse).unwrap_err();
    assert!(chain(&error).contains("the test"));
    assert_eq!((home.layers().len(), documents(&home)), (1, 2));
}
