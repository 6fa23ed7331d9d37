//! Roots that cannot be used: each with a clear message, and left as they were.

use crate::harness::{Host, can_mount, unshare};
use coracle::outcome::End;
use std::path::Path;
use std::process::Command;

const ID: &str = "0199aaaa-0000-7000-8000-000000000001";

/// The binary on `root`, in a mount namespace in which `prepare` ran before.
fn in_namespace(root: &Path, prepare: &str, arguments: &str) -> Command {
    let mut command = unshare();
    let script = format!(
        "set -e\n{prepare}\nset +e\n\"$BINARY\" --root \"$ROOT\" {arguments}\ncode=$?\nls -A \"$ROOT\"\nexit $code"
    );
    command.args(["sh", "-c", &script]).env("BINARY", env!("CARGO_BIN_EXE_coracle")).env("ROOT", root);
    command
}

#[test]
fn a_root_that_cannot_be_made_is_named() {
    let host = Host::new();
    let file = host.write("file", "");
    let before = host.tree();
    let root = file.join("root");
    host.run(["--root", root.to_str().expect("UTF-8"), "ps"]).exits(125).prints("").complains(&[
        "coracle: error: failed to create the directory",
        root.to_str().expect("UTF-8"),
        "Not a directory",
    ]);
    assert_eq!(host.tree(), before);
}

#[test]
fn a_directory_with_other_things_does_not_become_a_root() {
    let host = Host::new();
    std::fs::create_dir(host.root()).expect("a writable directory");
    host.write("root/holiday.jpg", "");
    let before = host.tree();
    for command in [&["ps"][..], &["prune", "--all"], &["images"]] {
        host.run(command).exits(125).prints("").complains(&["cannot become a state root", "holiday.jpg", "empty"]);
    }
    assert_eq!(host.tree(), before);
    // What somebody left who died while he made one does no harm, and neither does a file system's own directory.
    std::fs::remove_file(host.path("root/holiday.jpg")).expect("it is there");
    for name in ["lost+found", "blobs", "executions"] {
        std::fs::create_dir(host.root().join(name)).expect("a writable directory");
    }
    host.write("root/.VERSION.0199aaaa00007000800000000000000a.tmp", "1");
    host.run(["ps", "-q"]).exits(0).prints("");
    // One that has lost its version is one all the same.
    std::fs::remove_file(host.path("root/VERSION")).expect("it is there");
    host.run(["ps", "-q"]).exits(0).prints("").is_quiet();
    assert!(host.path("root/VERSION").exists());
}

#[test]
fn the_option_wins_over_the_variable() {
    let host = Host::new();
    let other = host.path("other");
    std::fs::create_dir(&other).expect("a writable directory");
    host.run(["ps", "--root", other.to_str().expect("UTF-8")]).exits(0);
    assert!(other.join("coracle.db").exists() && !host.root().exists(), "{:?}", host.tree());
}

#[test]
fn a_root_of_someone_else_is_refused() {
    let host = Host::new();
    let root = if nix::unistd::geteuid().is_root() {
        std::fs::create_dir(host.root()).expect("a writable directory");
        std::os::unix::fs::chown(host.root(), Some(54321), None).expect("root may");
        host.root()
    } else {
        "/usr".into()
    };
    let before = host.tree();
    host.run(["ps", "--root", root.to_str().expect("UTF-8")]).exits(125).prints("").complains(&[
        "coracle: error: the state root",
        root.to_str().expect("UTF-8"),
        "belongs to uid",
        "--root",
    ]);
    assert_eq!(host.tree(), before);
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let host = Host::new();
    host.ended(ID, "job", End::Exited { code: 0 });
    std::fs::write(host.root().join("VERSION"), "99\n").expect("a writable root");
    host.run(["ps"]).exits(125).prints("").complains(&["written by a newer coracle", "99", "another root"]);
    std::fs::write(host.root().join("VERSION"), "something else").expect("a writable root");
    host.run(["ps"]).exits(125).prints("").complains(&["VERSION does not hold a store version"]);
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let host = Host::new();
    host.ended(ID, "job", End::Exited { code: 0 });
    let path = host.root().join("coracle.db");
    rusqlite::Connection::open(&path).and_then(|db| db.execute_batch("PRAGMA user_version = 99")).expect("a database");
    let before = std::fs::read(&path).expect("a file");
    host.run(["ps"]).exits(125).prints("").complains(&["coracle.db was written by a newer coracle", "another root"]);
    assert_eq!(std::fs::read(&path).expect("a file"), before);
}

#[test]
fn a_damaged_database_is_named_and_left_alone() {
    let host = Host::new();
    host.ended(ID, "job", End::Exited { code: 0 });
    for name in ["coracle.db-wal", "coracle.db-shm"] {
        std::fs::remove_file(host.root().join(name)).expect("a file");
    }
    let path = host.root().join("coracle.db");
    for damage in
        [&b"rubbish, and enough of it to be taken for a whole header of a database file.....".repeat(60)[..], b""]
    {
        std::fs::write(&path, damage).expect("a writable root");
        for command in [&["ps"][..], &["inspect", ID], &["run", "--image", "oci:x", "--", "true"]] {
            host.run(command).exits(125).prints("").complains(&["the database", "coracle.db is damaged", "move"]);
        }
        assert_eq!(std::fs::read(&path).expect("a file"), damage);
    }
}

#[test]
fn a_read_only_root_is_an_error() {
    if !can_mount("a_read_only_root_is_an_error") {
        return;
    }
    let host = Host::new();
    host.ended(ID, "job", End::Exited { code: 0 });
    let before = host.tree();
    let prepare = "mount --bind \"$ROOT\" \"$ROOT\"\nmount -o remount,bind,ro \"$ROOT\"";
    host.finish(in_namespace(&host.root(), prepare, "ps"), b"").exits(125).complains(&[
        "coracle: error:",
        "coracle.db cannot be written",
        "another root",
    ]);
    assert_eq!(host.tree(), before);
    // One that is still empty.
    let empty = host.path("empty");
    std::fs::create_dir(&empty).expect("a writable directory");
    host.finish(in_namespace(&empty, prepare, "ps"), b"").exits(125).prints("").complains(&["Read-only file system"]);
}

#[test]
fn a_full_disk_leaves_nothing_half_made() {
    if !can_mount("a_full_disk_leaves_nothing_half_made") {
        return;
    }
    let host = Host::new();
    std::fs::create_dir(host.root()).expect("a writable directory");
    // Room for the version file and a part of the database.
    let prepare = "mount -t tmpfs -o size=12k,mode=700 none \"$ROOT\"";
    let ran = host.finish(in_namespace(&host.root(), prepare, "ps"), b"");
    ran.exits(125).complains(&["coracle: error:", "pace left", "coracle.db"]);
    assert!(!ran.text().contains("coracle.db"), "{}", ran.text());
}
