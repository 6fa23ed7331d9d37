//! Garbage collection with real processes: beside running jobs and pulls, twice at once, killed half-way.

use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::{Feature, needs};
use crate::common::registry::Registry;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The database, for what no command can do.
fn database(coracle: &Coracle) -> rusqlite::Connection {
    rusqlite::Connection::open(coracle.root().join("coracle.db")).expect("the database opens")
}

fn references(coracle: &Coracle) -> Vec<String> {
    let output = coracle.run(["images", "--json"]).expect_code(0);
    let images: Vec<serde_json::Value> = serde_json::from_str(&output.stdout()).expect("a JSON array");
    images.iter().map(|image| image["reference"].as_str().expect("a reference").to_owned()).collect()
}

fn staged(coracle: &Coracle) -> usize {
    std::fs::read_dir(coracle.root().join("staging")).expect("the staging area").count()
}

#[test]
fn what_a_job_needs_is_kept_until_it_ends() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["sleep", "1000"]);
    let reference = fixture::toolbox();
    let before = coracle.layers();
    assert!(!before.is_empty());
    coracle.run(["rmi", &reference]).expect_error(125, &[&id, "has not ended"]);
    coracle.run(["image", "gc", "--max-size", "0", "--max-unused", "0"]).expect_code(0);
    assert_eq!((coracle.layers(), references(&coracle)), (before.clone(), vec![reference.clone()]));

    coracle.run(["rmi", "--force", &reference]).expect_code(0);
    assert_eq!((coracle.layers(), references(&coracle)), (before, vec![]));
    let status = coracle.inspect(&id)["status"].clone();
    assert!(status == "running" || status == "initializing", "{status}");

    coracle.run(["cancel", &id]).expect_code(0);
    coracle.run(["wait", &id]);
    coracle.run(["image", "gc"]).expect_code(0);
    assert_eq!(coracle.layers(), Vec::<PathBuf>::new());
    coracle.toolbox(&[], &["exit", "7"]).expect_code(7);
}

#[test]
fn an_image_goes_with_its_reference_and_comes_again() {
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["true"]).expect_code(0);
    let kept = coracle.layers();
    coracle.shell(&[], "exit 0").expect_code(0);
    let all = coracle.layers();
    assert!(all.len() > kept.len());
    coracle.run(["image", "gc"]).expect_code(0);
    assert_eq!(coracle.layers().len(), all.len(), "every reference is kept");
    coracle.run(["rmi", &fixture::busybox()]).expect_code(0);
    assert_eq!((coracle.layers(), staged(&coracle)), (kept, 0));
    coracle.shell(&["--pull", "never"], "exit 0").expect_error(125, &["pull policy is never"]);
    coracle.shell(&[], "exit 3").expect_code(3);
}

#[test]
fn collections_beside_starts_take_nothing_from_them() {
    let coracle = Coracle::new();
    std::thread::scope(|scope| {
        let starts = [0, 1].map(|number| {
            let coracle = &coracle;
            scope.spawn(move || {
                for _ in 0..6 {
                    if number == 0 {
                        coracle.toolbox(&[], &["exit", "7"]).expect_code(7);
                    } else {
                        coracle.shell(&[], "exit 7").expect_code(7);
                    }
                }
            })
        });
        let collections = [(); 2].map(|()| {
            scope.spawn(|| {
                for _ in 0..8 {
                    coracle.run(["image", "gc", "--max-size", "0"]).expect_code(0);
                }
            })
        });
        starts.into_iter().chain(collections).for_each(|thread| thread.join().expect("no panic"));
    });
    coracle.run(["image", "gc", "--max-size", "0"]).expect_code(0);
    assert_eq!((coracle.layers(), references(&coracle), staged(&coracle)), (vec![], vec![], 0));
}

#[test]
fn a_killed_collection_has_lost_nothing_and_the_next_one_ends_it() {
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["true"]).expect_code(0);
    let kept: BTreeSet<PathBuf> = coracle.layers().into_iter().collect();
    let layers = kept.iter().next().and_then(|layer| layer.parent()).expect("a layer").to_owned();
    for number in 0..400 {
        let root = layers.join(format!("{number:064x}")).join("diff");
        std::fs::create_dir_all(&root).expect("a new layer");
        for name in 0..5 {
            std::fs::write(root.join(name.to_string()), "x").expect("a new file");
        }
    }
    let mut collection = coracle.command(["image", "gc"]).spawn().expect("the binary starts");
    // It is killed as soon as it is seen to do something.
    while coracle.layers().len() == kept.len() + 400 {
        assert!(collection.try_wait().expect("a child").is_none(), "it ended without doing anything");
        std::thread::yield_now();
    }
    collection.kill().expect("a child");
    collection.wait().expect("a child");
    assert!(kept.is_subset(&coracle.layers().into_iter().collect()));
    coracle.toolbox(&["--pull", "never"], &["exit", "7"]).expect_code(7);
    coracle.run(["image", "gc"]).expect_code(0);
    assert_eq!((coracle.layers().into_iter().collect::<BTreeSet<_>>(), staged(&coracle)), (kept, 0));
}

#[test]
fn what_was_long_unused_goes_and_a_run_counts_as_use() {
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["true"]).expect_code(0);
    coracle.shell(&[], "exit 0").expect_code(0);
    let age = |seconds: i64| {
        let then = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds);
        let nanoseconds = i64::try_from(then.as_nanosecond()).expect("a time of this century");
        database(&coracle).execute("UPDATE images SET used_at = ?1", [nanoseconds]).expect("the table is there");
        nanoseconds
    };
    let used_at = || -> Vec<i64> {
        let database = database(&coracle);
        let mut rows = database.prepare("SELECT used_at FROM images ORDER BY used_at").expect("the table is there");
        rows.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("numbers")
    };
    // A use is recorded to the minute, and a time ahead of the clock is left alone.
    let recent = age(-3600);
    coracle.toolbox(&[], &["true"]).expect_code(0);
    assert_eq!(used_at(), [recent, recent]);

    let old = age(600);
    coracle.toolbox(&[], &["true"]).expect_code(0);
    let times = used_at();
    assert!(times[0] == old && times[1] > old, "{times:?}");

    let old = age(100_000);
    coracle.toolbox(&[], &["true"]).expect_code(0);
    let times = used_at();
    assert!(times[0] == old && times[1] > old, "{times:?}");
    coracle.run(["image", "gc", "--max-unused", "1d", "--dry-run"]).expect_code(0);
    assert_eq!(references(&coracle).len(), 2);
    coracle.run(["image", "gc", "--max-unused", "1d"]).expect_code(0);
    assert_eq!(references(&coracle), [fixture::toolbox()]);
}

#[test]
fn the_configured_budget_is_kept_after_a_pull() {
    let coracle = Coracle::new();
    let config = coracle.file("config.yaml", "images: {gc: {max_size: 1}}");
    let run = |image: &str| {
        let mut command = coracle.image_command(image, &[], &["true"]);
        command.env("CORACLE_CONFIG", &config);
        coracle.finish(command).expect_code(0);
    };
    run(&fixture::busybox());
    assert_eq!(references(&coracle), [fixture::busybox()], "what was just pulled stays");
    // Its execution has ended: there is room for one only.
    run(&fixture::toolbox());
    assert_eq!(references(&coracle), [fixture::toolbox()]);
    coracle.toolbox(&["--pull", "never"], &["exit", "7"]).expect_code(7);
}

#[test]
fn references_that_were_recorded_as_typed_are_found() {
    if !needs(Feature::Registry) {
        return;
    }
    let coracle = Coracle::new();
    let registry = Registry::start();
    let complete = registry.push(&fixture::toolbox(), "toolbox:latest");
    let typed = complete.strip_suffix(":latest").expect("it ends so");
    let run = |flags: &[&str]| coracle.finish(coracle.image_command(typed, flags, &["exit", "7"]));
    run(&[]).expect_code(7);
    assert_eq!(references(&coracle), std::slice::from_ref(&complete));
    let respell = || {
        let changed = database(&coracle).execute("UPDATE images SET reference = ?1", [typed]);
        assert_eq!(changed.expect("the table is there"), 1);
    };
    respell();
    run(&["--pull", "never"]).expect_code(7);
    assert_eq!(references(&coracle), std::slice::from_ref(&complete));
    respell();
    coracle.run(["rmi", typed]).expect_code(0);
    assert_eq!((references(&coracle), coracle.layers()), (vec![], vec![]));
}
