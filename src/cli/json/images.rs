//! Images and collections as JSON; the documentation of [`super`] describes them.

use crate::engine::{
    Digest, DropReason, DroppedReference, GcReport, ImageDetails, ImageSummary, KeepReason, KeptReference,
    LayerDetails, RemovedKind,
};
use crate::exec::JobExecutionId;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

/// An image of the store.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ImageDocument<'a> {
    reference: &'a str,
    digest: &'a Digest,
    manifest_digest: Option<&'a Digest>,
    platforms: Vec<String>,
    created_at: Option<Timestamp>,
    pulled_at: Timestamp,
    used_at: Timestamp,
    size_bytes: u64,
    unpacked_bytes: u64,
    in_use: Vec<&'a str>,
    problem: Option<&'a str>,
}

impl<'a> ImageDocument<'a> {
    pub(in crate::cli) fn new(image: &'a ImageSummary) -> ImageDocument<'a> {
        ImageDocument {
            reference: &image.reference,
            digest: &image.digest,
            manifest_digest: image.manifest_digest.as_ref(),
            platforms: image.platforms.iter().map(ToString::to_string).collect(),
            created_at: image.created,
            pulled_at: image.pulled_at,
            used_at: image.used_at,
            size_bytes: image.size,
            unpacked_bytes: image.unpacked_size,
            in_use: image.in_use.iter().map(JobExecutionId::as_str).collect(),
            problem: image.problem.as_deref(),
        }
    }
}

/// An image with its config and layers.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ImageDetailsDocument<'a> {
    #[serde(flatten)]
    summary: ImageDocument<'a>,
    config: &'a Value,
    layers: Vec<LayerDocument<'a>>,
}

impl<'a> ImageDetailsDocument<'a> {
    pub(in crate::cli) fn new(details: &'a ImageDetails) -> ImageDetailsDocument<'a> {
        ImageDetailsDocument {
            summary: ImageDocument::new(&details.summary),
            config: &details.config,
            layers: details.layers.iter().map(LayerDocument::new).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct LayerDocument<'a> {
    digest: &'a Digest,
    diff_id: &'a Digest,
    media_type: &'a str,
    size_bytes: u64,
    unpacked_bytes: Option<u64>,
    path: &'a Path,
    present: bool,
}

impl<'a> LayerDocument<'a> {
    fn new(layer: &'a LayerDetails) -> LayerDocument<'a> {
        LayerDocument {
            digest: &layer.digest,
            diff_id: &layer.diff_id,
            media_type: &layer.media_type,
            size_bytes: layer.size,
            unpacked_bytes: layer.unpacked_size,
            path: &layer.path,
            present: layer.present,
        }
    }
}

/// What a collection did.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct GcDocument<'a> {
    dry_run: bool,
    dropped: Vec<Value>,
    removed: Vec<Value>,
    kept: Vec<Value>,
    problems: &'a [String],
    freed_bytes: u64,
    remaining_bytes: u64,
}

impl<'a> GcDocument<'a> {
    pub(in crate::cli) fn new(report: &'a GcReport) -> GcDocument<'a> {
        let removed = report
            .removed
            .iter()
            .map(|removed| json!({"kind": kind(removed.kind), "name": removed.name, "bytes": removed.bytes}));
        GcDocument {
            dry_run: report.dry_run,
            dropped: report.dropped.iter().map(dropped).collect(),
            removed: removed.collect(),
            kept: report.kept.iter().map(kept).collect(),
            problems: &report.problems,
            freed_bytes: report.freed,
            remaining_bytes: report.remaining,
        }
    }
}

fn dropped(image: &DroppedReference) -> Value {
    let reason = match image.reason {
        DropReason::Asked => json!({"kind": "asked"}),
        DropReason::Unused(length) => json!({"kind": "unused", "for_seconds": length.as_secs_f64()}),
        DropReason::OverBudget => json!({"kind": "over_budget"}),
    };
    json!({"reference": image.reference, "digest": image.digest, "reason": reason})
}

fn kept(image: &KeptReference) -> Value {
    let reason = match &image.reason {
        KeepReason::InUse(executions) => json!({"kind": "in_use", "executions": executions}),
        KeepReason::Policy => json!({"kind": "policy"}),
    };
    json!({"reference": image.reference, "digest": image.digest, "reason": reason})
}

fn kind(kind: RemovedKind) -> &'static str {
    match kind {
        RemovedKind::Layer => "layer",
        RemovedKind::Document => "document",
        RemovedKind::Leftover => "leftover",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Removed;
    use std::time::Duration;

    fn summary(digest: &Digest) -> ImageSummary {
        let at = |text: &str| text.parse().expect("a time");
        ImageSummary {
            reference: "docker.io/library/debian:12".into(),
            digest: digest.clone(),
            manifest_digest: None,
            platforms: vec!["linux/arm/v7".parse().expect("a platform")],
            created: None,
            pulled_at: at("2026-01-02T03:04:05Z"),
            used_at: at("2026-01-02T03:04:06.000000007Z"),
            size: 5,
            unpacked_size: 7,
            in_use: vec![JobExecutionId("0199".into())],
            problem: Some("a problem".into()),
        }
    }

    /// The promise of this module, literally.
    #[test]
    fn the_form_of_an_image_is_stable() {
        let digest = Digest::of(b"");
        let layer = LayerDetails {
            digest: digest.clone(),
            diff_id: digest.clone(),
            media_type: "m".into(),
            size: 5,
            unpacked_size: None,
            path: "/x".into(),
            present: false,
        };
        let details = ImageDetails { summary: summary(&digest), config: json!({"os": "linux"}), layers: vec![layer] };
        let text = serde_json::to_string_pretty(&ImageDetailsDocument::new(&details)).expect("serializable");
        insta::assert_snapshot!(text.replace(&digest.to_string(), "DIGEST"), @r#"
        {
          "reference": "docker.io/library/debian:12",
          "digest": "DIGEST",
          "manifest_digest": null,
          "platforms": [
            "linux/arm/v7"
          ],
          "created_at": null,
          "pulled_at": "2026-01-02T03:04:05Z",
          "used_at": "2026-01-02T03:04:06.000000007Z",
          "size_bytes": 5,
          "unpacked_bytes": 7,
          "in_use": [
            "0199"
          ],
          "problem": "a problem",
          "config": {
            "os": "linux"
          },
          "layers": [
            {
              "digest": "DIGEST",
              "diff_id": "DIGEST",
              "media_type": "m",
              "size_bytes": 5,
              "unpacked_bytes": null,
              "path": "/x",
              "present": false
            }
          ]
        }
        "#);
    }

    #[test]
    fn the_form_of_a_collection_is_stable() {
        let digest = Digest::of(b"");
        let dropped = |reason| DroppedReference { reference: "a".into(), digest: digest.clone(), reason };
        let kept = |reason| KeptReference { reference: "b".into(), digest: digest.clone(), reason };
        let report = GcReport {
            dry_run: true,
            dropped: vec![dropped(DropReason::Unused(Duration::from_millis(1500))), dropped(DropReason::Asked)],
            removed: vec![Removed { kind: RemovedKind::Layer, name: "n".into(), bytes: 3 }],
            kept: vec![kept(KeepReason::InUse(vec!["0199".into()])), kept(KeepReason::Policy)],
            problems: vec!["p".into()],
            freed: 3,
            remaining: 4,
        };
        let value = serde_json::to_value(GcDocument::new(&report)).expect("serializable");
        let image = |name: &str, reason: Value| json!({"reference": name, "digest": digest, "reason": reason});
        assert_eq!(
            value,
            json!({
                "dry_run": true,
                "dropped": [
                    image("a", json!({"kind": "unused", "for_seconds": 1.5})),
                    image("a", json!({"kind": "asked"})),
                ],
                "removed": [{"kind": "layer", "name": "n", "bytes": 3}],
                "kept": [
                    image("b", json!({"kind": "in_use", "executions": ["0199"]})),
                    image("b", json!({"kind": "policy"})),
                ],
                "problems": ["p"],
                "freed_bytes": 3,
                "remaining_bytes": 4,
            })
        );
    }
}
