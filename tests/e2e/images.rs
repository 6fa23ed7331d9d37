//! Images from a registry to their removal.

use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::{Feature, needs};
use crate::common::registry::Registry;
use serde_json::Value;

fn push(registry: &Registry, fixture: &str, name: &str) -> String {
    registry.push(&format!("oci:{}:latest", fixture::layout(fixture).display()), name)
}

fn images(coracle: &Coracle) -> Vec<Value> {
    let listed = coracle.run(["images", "--json"]).expect_code(0);
    serde_json::from_slice(&listed.stdout).unwrap_or_else(|error| panic!("{error}\n{listed}"))
}

#[test]
fn an_image_is_pulled_shown_run_and_removed() {
    if !needs(Feature::Registry) {
        return;
    }
    let registry = Registry::start();
    let reference = push(&registry, "toolbox", "team/toolbox:v1");
    let coracle = Coracle::new();
    let missing = coracle.image_command(&reference, &["--pull", "never"], &["true"]);
    coracle.finish(missing).expect_error(125, &[&reference, "never"]);

    let pulled = coracle.run(["pull", &reference]).expect_code(0);
    let by_digest = pulled.stdout().trim_end().to_owned();
    let (name, digest) = by_digest.split_once('@').unwrap_or_else(|| panic!("{pulled}"));
    assert_eq!(format!("{name}:v1"), reference);
    for image in [&reference, &by_digest] {
        let run = coracle.image_command(image, &["--pull", "never"], &["echo", "hi"]);
        coracle.finish(run).expect_code(0).expect_stdout("hi\n");
    }

    let all = images(&coracle);
    let image = &all[0];
    assert_eq!((&image["reference"], &image["digest"]), (&Value::from(&*reference), &Value::from(digest)));
    assert_eq!((&image["problem"], &image["in_use"]), (&Value::Null, &serde_json::json!([])));
    assert!(image["unpacked_bytes"].as_u64() > image["size_bytes"].as_u64(), "{image:#}");
    assert!(image["platforms"][0].as_str().is_some_and(|platform| platform.starts_with("linux/")), "{image:#}");
    let table = coracle.run(["images"]).expect_code(0);
    let row = table.lines()[1].clone();
    let short = &digest["sha256:".len()..][..12];
    assert!(row.starts_with(&reference) && row.contains(short) && row.ends_with('-'), "{table}");
    let quiet = coracle.run(["image", "ls", "-q", "--no-trunc"]).expect_code(0);
    assert_eq!(quiet.lines(), [digest]);

    for name in [&reference, short, digest] {
        let inspected = coracle.run(["image", "inspect", "--json", name]).expect_code(0);
        let document: Value = serde_json::from_slice(&inspected.stdout).expect("JSON");
        assert_eq!(document[0]["reference"], *reference, "{inspected}");
        assert_eq!(document[0]["config"]["os"], "linux", "{inspected}");
        let layer = &document[0]["layers"][0];
        assert!(layer["present"] == true && layer["unpacked_bytes"].as_u64() > Some(0), "{inspected}");
        assert!(layer["path"].as_str().is_some_and(|path| std::path::Path::new(path).is_dir()), "{inspected}");
    }
    let text = coracle.run(["image", "inspect", &reference]).expect_code(0);
    assert!(text.lines().iter().any(|line| *line == format!("reference:    {reference}")), "{text}");

    let removed = coracle.run(["rmi", &reference]).expect_code(0);
    assert!(removed.stdout().contains(&format!("untagged: {reference}\n")), "{removed}");
    assert_eq!(images(&coracle).len(), all.len() - 1, "the other name stays");
    assert_eq!(coracle.layers().len(), 1, "another name needs it");
    coracle.run(["image", "rm", &by_digest]).expect_code(0);
    assert_eq!((images(&coracle), coracle.layers()), (Vec::new(), Vec::new()));
}

#[test]
fn one_that_cannot_be_pulled_does_not_keep_the_others_from_it() {
    if !needs(Feature::Registry) {
        return;
    }
    let registry = Registry::start();
    let reference = push(&registry, "toolbox", "toolbox:v1");
    let missing = registry.reference("nowhere:v1");
    let coracle = Coracle::new();
    let pulled = coracle.run(["pull", "-q", &missing, &reference]);
    let pulled = pulled.expect_error(125, &["error: failed to get", &missing, "1 of 2 failed"]);
    assert_eq!(pulled.lines().len(), 1, "{pulled}");
    assert_eq!(images(&coracle).len(), 1);
}

#[test]
fn what_an_execution_uses_is_not_removed() {
    if !needs(Feature::Registry) {
        return;
    }
    let registry = Registry::start();
    let reference = push(&registry, "toolbox", "toolbox:v1");
    let coracle = Coracle::new();
    let id = coracle.detach(&["--image", &reference, "--", "sleep", "1000"]);
    coracle.run(["rmi", &reference]).expect_error(125, &[&reference, &id, "cancel it first"]);
    let table = coracle.run(["images"]).expect_code(0);
    assert!(table.lines()[1].ends_with("in use"), "{table}");
    assert_eq!(images(&coracle)[0]["in_use"], serde_json::json!([&id]));
    let kept = coracle.run(["image", "gc", "--max-unused", "0s", "--max-size", "0"]).expect_code(0);
    assert!(kept.stdout().contains(&format!("kept: {reference}, used by {id}\n")), "{kept}");
    coracle.run(["rmi", "--force", &reference]).expect_code(0);
    assert_eq!((images(&coracle).len(), coracle.layers().len()), (0, 1), "the layer stays");
    coracle.run(["cancel", "--grace", "0s", &id]).expect_code(0);
    coracle.run(["wait", &id]);
    let freed = coracle.run(["image", "gc"]).expect_code(0);
    assert!(freed.stdout().contains("removed: layer sha256:"), "{freed}");
    assert_eq!(coracle.layers().len(), 0);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_not() {
    if !needs(Feature::Registry) {
        return;
    }
    let registry = Registry::start();
    let reference = push(&registry, "toolbox", "toolbox:v1");
    let coracle = Coracle::new();
    coracle.run(["pull", "-q", &reference]).expect_code(0);
    let told = coracle.run(["image", "gc", "--dry-run", "--max-size", "1"]).expect_code(0);
    for text in [&*format!("would untag: {reference}, to keep to the size\n"), "would remove: layer ", "would free "] {
        assert!(told.stdout().contains(text), "{text:?}: {told}");
    }
    let document = coracle.run(["image", "gc", "--dry-run", "--max-size", "1", "--json"]).expect_code(0);
    let document: Value = serde_json::from_slice(&document.stdout).expect("JSON");
    assert_eq!((&document["dry_run"], &document["remaining_bytes"]), (&Value::Bool(true), &Value::from(0)));
    assert_eq!(document["dropped"][0]["reason"], serde_json::json!({"kind": "over_budget"}));
    assert_eq!((images(&coracle).len(), coracle.layers().len()), (1, 1));
    coracle.run(["image", "gc", "--max-size", "1"]).expect_code(0);
    assert_eq!((images(&coracle).len(), coracle.layers().len()), (0, 0));
}

#[test]
fn an_unknown_image_is_named_with_the_nearest() {
    let coracle = Coracle::new();
    let image = fixture::toolbox();
    coracle.run(["pull", "-q", &image]).expect_code(0);
    let misspelt = image.replace("toolbox", "tolbox");
    let hint = format!("did you mean {image}?");
    for command in [&["rmi"][..], &["image", "inspect"]] {
        let arguments = [command, &[&misspelt]].concat();
        coracle.run(arguments).expect_error(125, &["no image", &misspelt, &hint, "`coracle images`"]);
    }
}

#[test]
fn a_platform_that_there_is_not_is_an_error_that_lists_those_there_are() {
    let coracle = Coracle::new();
    let image = fixture::toolbox();
    let pulled = coracle.run(["pull", "--platform", "linux/s390x", &image]);
    pulled.expect_error(125, &["linux/s390x", "linux/"]);
    let run = coracle.image_command(&image, &["--platform", "linux/s390x"], &["true"]);
    coracle.finish(run).expect_error(125, &["linux/s390x"]);
    assert_eq!(images(&coracle).len(), 0);
}

#[test]
fn a_signature_policy_can_be_named() {
    let coracle = Coracle::new();
    let image = fixture::toolbox();
    let policy = |kind: &str| {
        let path = coracle.file(kind, format!(r#"{{"default": [{{"type": "{kind}"}}]}}"#));
        format!("--signature-policy={}", path.display())
    };
    let (reject, accept) = (policy("reject"), policy("insecureAcceptAnything"));
    coracle.run(["pull", &reject, &image]).expect_error(125, &["reject"]);
    coracle.finish(coracle.image_command(&image, &[&reject], &["true"])).expect_error(125, &["reject"]);
    assert_eq!(coracle.layers().len(), 0);
    coracle.finish(coracle.image_command(&image, &[&accept], &["true"])).expect_code(0);
}
