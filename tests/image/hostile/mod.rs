//! Layers made to reach what is not theirs, to fill the disk or the memory, or to confuse. Each is
//! refused, or applied inside the layer.

mod bombs;
mod confinement;
mod corpus;
mod extensions;
mod names;
mod tree;

use crate::layout::{Layer, LayoutBuilder, digest};
use crate::store::{Home, chain, homes};
use corpus::{Case, Outcome};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes that neither the process that pulls nor an unpacker may have in memory, whatever the image.
const MEMORY: u64 = 64 << 20;

#[test]
fn every_layer_of_the_corpus_is_refused_or_stays_inside() {
    in_a_process_of_its_own("hostile::the_corpus");
}

/// Not a test of its own: memory can be measured of a whole process only.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn the_corpus() {
    let mut found = Vec::new();
    for home in homes() {
        for Case { name, tar, outcome } in corpus::cases() {
            let diff_id = digest(&tar);
            let media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
            let layer = Layer { blob: tar, media_type, diff_id };
            found.extend(check(&home, name, layer, &outcome));
        }
        for (name, layer, outcome) in bombs::cases() {
            found.extend(check(&home, name, layer, &outcome));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    assert_memory();
}

/// Not a test of its own, as above: layers that are good, and large in every way that takes memory.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn large_layers() {
    for home in homes() {
        for (name, layer) in bombs::large() {
            assert_eq!(check(&home, name, layer, &Outcome::Applied), None);
        }
        let mut layout = LayoutBuilder::new(&home.path("windows"));
        let layers = bombs::large_windows();
        layout.image(&layers);
        let image = home.resolve(&format!("oci:{}", layout.path().display())).unwrap();
        assert_eq!(image.layers.len(), layers.len());
    }
    assert_memory();
}

/// Unpacks a layer and compares what becomes of it; says what is different. Nothing else may be touched.
fn check(home: &Home, name: &str, layer: Layer, outcome: &Outcome) -> Option<String> {
    // Two steps up from a layer's root, and beside the store.
    for directory in [home.state.staging().join("victims"), home.path("victims")] {
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("victim"), "untouched").unwrap();
    }
    let mut layout = LayoutBuilder::new(&home.path("layout"));
    layout.image(&[layer]);
    let before = outside(home);
    let resolved = home.resolve(&format!("oci:{}", layout.path().display()));
    fs::remove_dir_all(layout.path()).unwrap();
    assert_eq!(outside(home), before, "{name}: something outside of the layer changed");
    assert_eq!(unpackers(home), Vec::<String>::new(), "{name}: the unpacker is still there");
    let result = resolved.map(|image| image.layers[0].clone()).map_err(|error| chain(&error));
    let different = match (outcome, result) {
        (Outcome::Refused(reason), Err(error)) if error.contains(reason) => {
            assert_eq!(home.layers(), Vec::<String>::new(), "{name}");
            None
        }
        (Outcome::Tree(expected), Ok(root)) => {
            let mut expected: Vec<String> = expected.iter().map(|&line| line.to_owned()).collect();
            if !home.is_rootful() {
                expected.retain(|line| !line.starts_with(['b', 'c']));
            }
            let found = tree::lines(&root, home.is_rootful());
            (found != expected).then(|| format!("{name}: {found:?}, not {expected:?}"))
        }
        (Outcome::Applied, Ok(_)) => None,
        (expected, found) => Some(format!("{name}: {found:?}, not {expected:?}")),
    };
    // The next layer may be the same in another form.
    let binary = Path::new(env!("CARGO_BIN_EXE_coracle"));
    coracle::remove_tree::remove_tree(binary, &home.state.layers(), home.mappings.as_ref()).unwrap();
    fs::create_dir(home.state.layers()).unwrap();
    different
}

/// Everything of this home but what images legitimately become: metadata of all files and directories.
fn outside(home: &Home) -> Vec<String> {
    let kept = [home.state.layers(), home.state.blobs(), home.state.images_lock()];
    let skipped: Vec<PathBuf> = kept.into_iter().chain([home.path("layout")]).collect();
    tree::metadata(&home.path("."), &skipped)
}

/// Command lines of the unpackers of this home.
fn unpackers(home: &Home) -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    let staging = home.state.staging().display().to_string();
    lines.filter(|line| line.contains("--role=unpack") && line.contains(&staging)).collect()
}

/// Runs an ignored test of this file and passes on how it ends.
fn in_a_process_of_its_own(test: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{test}: {}\n{text}", output.status);
}

fn assert_memory() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let own = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
    let unpacker = u64::try_from(usage.max_rss()).unwrap() << 10;
    println!("peak memory: {} MiB here, {} MiB in an unpacker", own >> 20, unpacker >> 20);
    assert!(own <= MEMORY && unpacker <= MEMORY, "{own} bytes here, {unpacker} bytes in an unpacker");
}
