//! Making a database beside processes that die while they make one.

use super::state;
use crate::record::Record;
use nix::fcntl::{Flock, FlockArg};
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

/// As a process that is killed leaves them, before and after it has begun to write.
const UNFINISHED: [&str; 3] = ["coracle.db.1.tmp", "coracle.db.1.tmp-wal", "coracle.db.1.tmp-shm"];

fn names(directory: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn what_a_killed_maker_left_goes_with_the_next_one() {
    for is_made in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        if is_made {
            drop(Record::open(&state(directory.path())).unwrap());
        }
        UNFINISHED.iter().for_each(|name| std::fs::write(directory.path().join(name), "half").unwrap());
        // Files of others.
        let others = ["coracle.db.bak", "notes.tmp"];
        others.iter().for_each(|name| std::fs::write(directory.path().join(name), "whole").unwrap());
        drop(Record::open(&state(directory.path())).unwrap());
        let left = names(directory.path());
        assert_eq!(left, ["coracle.db", "coracle.db-shm", "coracle.db-wal", "coracle.db.bak", "notes.tmp", "reserve"]);
    }
}

#[test]
fn what_a_live_maker_holds_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coracle.db.1.tmp");
    let held = Flock::lock(File::create(&path).unwrap(), FlockArg::LockExclusive).unwrap();
    drop(Record::open(&state(directory.path())).unwrap());
    assert!(path.exists());
    drop(held);
    drop(Record::open(&state(directory.path())).unwrap());
    assert!(!path.exists());
}
