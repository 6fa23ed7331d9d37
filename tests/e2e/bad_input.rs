//! Bad input gets a clear error and loses nothing. (Registries: tests of the image module.)

use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::{Feature, is_root, needs};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn malformed_yaml_is_named_with_its_line() {
    let coracle = Coracle::new();
    let file = coracle.file("bad.yaml", "version: v1\ndeployment: test\nservices: {job: [\n");
    coracle.run(["run".as_ref(), file.as_os_str()]).expect_error(125, &["bad.yaml"]);
    coracle.run(["validate".as_ref(), file.as_os_str()]).expect_error(125, &["bad.yaml"]);
}

#[test]
fn a_missing_image_is_named() {
    let coracle = Coracle::new();
    coracle.run(["run", "--image", "oci:/no/such/layout:latest", "--", "x"]).expect_error(125, &["/no/such/layout"]);
    let layout = fixture::layout("toolbox");
    let wrong_tag = format!("oci:{}:no-such-tag", layout.display());
    coracle.run(["run", "--image", &wrong_tag, "--", "x"]).expect_error(125, &["no-such-tag"]);
    coracle.run(["run", "--image", "Not A Reference", "--", "x"]).expect_error(125, &["Not A Reference"]);
    assert!(ended_as_failed_or_never_began(&coracle));
}

#[test]
fn an_image_without_a_command_needs_one() {
    let coracle = Coracle::new();
    let layout = copy_layout(&coracle);
    rewrite_config(&layout, |config| config.replace(r#","Cmd":["/bin/toolbox"]"#, ""));
    let reference = format!("oci:{}:latest", layout.display());
    let finished = coracle.run(["run", "--image", &reference]).expect_code(125);
    assert!(finished.stderr().contains("command") || finished.stderr().contains("entrypoint"), "{finished}");
    coracle.run(["run", "--image", &reference, "--", "echo", "ok"]).expect_code(0).expect_stdout("ok\n");
}

#[test]
fn every_blob_of_an_image_is_verified() {
    let blobs: Vec<PathBuf> = blobs_of(&fixture::layout("toolbox"));
    assert_eq!(blobs.len(), 3, "manifest, config and layer");
    for blob in blobs {
        let name = blob.file_name().expect("a name").to_string_lossy().into_owned();
        for damage in [Damage::Flip, Damage::Truncate, Damage::Remove, Damage::Empty] {
            let coracle = Coracle::new();
            let layout = copy_layout(&coracle);
            damage.apply(&layout.join("blobs/sha256").join(&name));
            let reference = format!("oci:{}:latest", layout.display());
            coracle.run(["run", "--image", &reference, "--", "true"]).expect_error(125, &[&name]);
            let layers = coracle.layers();
            assert!(layers.is_empty(), "{damage:?} of {name} left {layers:?}");
        }
    }
}

#[test]
fn a_damaged_image_does_not_harm_a_good_one() {
    let coracle = Coracle::new();
    let layout = copy_layout(&coracle);
    let largest = blobs_of(&layout).into_iter().max_by_key(|path| path.metadata().expect("a file").len());
    Damage::Truncate.apply(&largest.expect("blobs"));
    let reference = format!("oci:{}:latest", layout.display());
    coracle.run(["run", "--image", &reference, "--", "true"]).expect_code(125);
    coracle.toolbox(&[], &["echo", "fine"]).expect_code(0).expect_stdout("fine\n");
}

#[test]
fn an_unwritable_root_is_named() {
    let coracle = Coracle::new();
    // Root may write anywhere but below what is no directory.
    let file = coracle.file("occupied", "");
    let root = file.join("root");
    let mut command = coracle.command(["ps"]);
    command.env("CORACLE_ROOT", &root);
    coracle.finish(command).expect_error(125, &[root.to_str().expect("a plain name")]);
    if !is_root() {
        let mut command = coracle.command(["run", "--image", "oci:/no/such/image", "--", "true"]);
        command.env("CORACLE_ROOT", "/proc/1/coracle");
        coracle.finish(command).expect_error(125, &["/proc/1/coracle"]);
    }
}

#[test]
fn a_root_of_another_user_is_refused() {
    if !needs(Feature::Root) {
        return;
    }
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["true"]).expect_code(0);
    std::os::unix::fs::chown(coracle.root(), Some(12345), Some(12345)).expect("root may");
    coracle.run(["ps"]).expect_error(125, &["12345", "CORACLE_ROOT"]);
    std::os::unix::fs::chown(coracle.root(), Some(0), Some(0)).expect("root may");
    coracle.run(["ps"]).expect_code(0);
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let coracle = Coracle::new();
    coracle.toolbox(&[], &["true"]).expect_code(0);
    let version = coracle.root().join("VERSION");
    let before = std::fs::read_to_string(&version).expect("a version");
    std::fs::write(&version, "999\n").expect("it is ours");
    coracle.run(["ps"]).expect_error(125, &["999", "newer"]);
    coracle.toolbox(&[], &["true"]).expect_code(125);
    std::fs::write(&version, before).expect("it is ours");
    assert_eq!(coracle.executions().len(), 1, "nothing was lost");
}

#[test]
fn a_full_disk_fails_cleanly_and_what_was_there_stays() {
    if !needs(Feature::Root) {
        return;
    }
    let coracle = Coracle::new();
    // Too small for the image; mounted in a namespace of its own, which ends with the shell.
    let script = format!(
        "set -e; mkdir -p '{root}'; mount -t tmpfs -o size=1m tmpfs '{root}'; set +e; \
         '{binary}' run --image '{image}' -- true; code=$?; ls -A '{root}/staging' '{root}'/layers/*; exit $code",
        root = coracle.root().display(),
        binary = Coracle::binary().display(),
        image = fixture::toolbox(),
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).env("CORACLE_ROOT", coracle.root());
    let finished = coracle.finish(command).expect_error(125, &["No space left on device"]);
    let left: Vec<String> =
        finished.lines().into_iter().filter(|line| !line.is_empty() && !line.ends_with(':')).collect();
    assert!(left.is_empty(), "half-made: {left:?} {finished}");
    std::fs::remove_dir(coracle.root()).expect("the mount point is empty again");
}

#[test]
fn on_a_full_disk_what_gives_room_back_works() {
    if !needs(Feature::Root) {
        return;
    }
    for command in ["rm $(cat id)", "prune --all", "rmi $IMAGE"] {
        let coracle = Coracle::new();
        // The cat fills the last page; nothing is left, not even for the record's log.
        let script = format!(
            "set -e; mkdir -p '{root}'; mount -t tmpfs -o size=6m tmpfs '{root}'; cd '{root}/..'\n\
             for job in 1 2 3; do '{binary}' run -q --image \"$IMAGE\" -- true; done; '{binary}' ps -aq | tail -n 1 > id\n\
             set +e; dd if=/dev/zero of='{root}/fill' bs=64k 2>/dev/null; cat /dev/zero > '{root}/fill2' 2>/dev/null\n\
             '{binary}' run -q --image \"$IMAGE\" -- true 2>&1; echo \"run $?\"\n\
             '{binary}' {command}; code=$?; '{binary}' ps -aq | wc -l; exit $code",
            root = coracle.root().display(),
            binary = Coracle::binary().display(),
        );
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", &script]);
        shell.env("CORACLE_ROOT", coracle.root()).env("IMAGE", fixture::busybox());
        let finished = coracle.finish(shell).expect_code(0);
        assert!(finished.stdout().contains("run 125\n"), "{command}: {finished}");
        let left = if command.starts_with("rm ") {
            "2\n"
        } else if command.starts_with("rmi") {
            "3\n"
        } else {
            "0\n"
        };
        assert!(finished.stdout().ends_with(left), "{command}: {finished}");
    }
}

#[test]
fn on_a_full_disk_an_end_is_recorded() {
    if !needs(Feature::Root) {
        return;
    }
    let coracle = Coracle::new();
    // The job waits until the disk is full, which waits for the job.
    let script = format!(
        "set -e; mkdir -p '{root}' go; mount -t tmpfs -o size=6m tmpfs '{root}'\n\
         id=$('{binary}' run -q -d --image '{image}' --mount type=bind,src=\"$PWD/go\",dst=/go -- \
         sh -c ': > /go/begun; while [ ! -e /go/on ]; do sleep 0.1; done; exit 3')\n\
         set +e; while [ ! -e go/begun ]; do sleep 0.1; done\n\
         dd if=/dev/zero of='{root}/fill' bs=64k 2>/dev/null; cat /dev/zero > '{root}/fill2' 2>/dev/null\n\
         : > go/on; timeout 60 '{binary}' wait $id",
        root = coracle.root().display(),
        binary = Coracle::binary().display(),
        image = fixture::busybox(),
    );
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", &script]).current_dir(coracle.scratch()).env("CORACLE_ROOT", coracle.root());
    coracle.finish(shell).expect_code(3);
}

#[test]
fn a_disk_that_fills_up_under_the_log_does_not_stop_the_job() {
    if !needs(Feature::Root) {
        return;
    }
    let coracle = Coracle::new();
    let script = format!(
        "set -e; mkdir -p '{root}'; mount -t tmpfs -o size=8m tmpfs '{root}'; set +e; \
         '{binary}' run --image '{image}' -- sh -c 'dd if=/dev/zero of=/fill bs=64k 2>/dev/null; seq 1 200000' | tail -n 1",
        root = coracle.root().display(),
        binary = Coracle::binary().display(),
        image = fixture::busybox(),
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).env("CORACLE_ROOT", coracle.root());
    let finished = coracle.finish(command).expect_code(0);
    assert_eq!(finished.stdout(), "200000\n", "{finished}");
    std::fs::remove_dir(coracle.root()).expect("the mount point is empty again");
}

/// A failed preparation may leave a failed record, never a live one.
fn ended_as_failed_or_never_began(coracle: &Coracle) -> bool {
    coracle.executions().iter().all(|row| row["status"] == "failed")
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip,
    Truncate,
    Remove,
    Empty,
}

impl Damage {
    fn apply(self, path: &Path) {
        let mut bytes = std::fs::read(path).expect("a blob");
        let middle = bytes.len() / 2;
        match self {
            Damage::Flip => bytes[middle] ^= 0x40,
            Damage::Truncate => bytes.truncate(middle),
            Damage::Empty => bytes.clear(),
            Damage::Remove => return std::fs::remove_file(path).expect("it is there"),
        }
        std::fs::write(path, bytes).expect("the copy is ours");
    }
}

fn blobs_of(layout: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(layout.join("blobs/sha256")).expect("an OCI layout");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn copy_layout(coracle: &Coracle) -> PathBuf {
    let (from, to) = (fixture::layout("toolbox"), coracle.scratch().join("layout"));
    std::fs::create_dir_all(to.join("blobs/sha256")).expect("a new directory");
    for name in ["oci-layout", "index.json"] {
        std::fs::copy(from.join(name), to.join(name)).expect("a file");
    }
    for blob in blobs_of(&from) {
        std::fs::copy(&blob, to.join("blobs/sha256").join(blob.file_name().expect("a name"))).expect("a file");
    }
    to
}

/// Changes the image config and everything that names it by digest.
fn rewrite_config(layout: &Path, change: impl Fn(String) -> String) {
    use sha2::{Digest, Sha256};
    let blobs = layout.join("blobs/sha256");
    let put = |text: &str| {
        let hex: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(blobs.join(&hex), text).expect("the copy is ours");
        (format!("sha256:{hex}"), text.len())
    };
    let json = |path: PathBuf| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
    };
    let hex = |digest: &serde_json::Value| digest.as_str().expect("a digest")["sha256:".len()..].to_owned();
    let mut index = json(layout.join("index.json"));
    let mut manifest = json(blobs.join(hex(&index["manifests"][0]["digest"])));
    let config = std::fs::read_to_string(blobs.join(hex(&manifest["config"]["digest"]))).expect("a config");
    let changed = change(config.clone());
    assert_ne!(config, changed, "the change changes something");
    let (digest, size) = put(&changed);
    manifest["config"]["digest"] = digest.into();
    manifest["config"]["size"] = size.into();
    let (digest, size) = put(&manifest.to_string());
    index["manifests"][0]["digest"] = digest.into();
    index["manifests"][0]["size"] = size.into();
    std::fs::write(layout.join("index.json"), index.to_string()).expect("the copy is ours");
}
