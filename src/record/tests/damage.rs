//! Databases that cannot be used.

use super::{ID, insert, new_execution, preparer, state, wait};
use crate::record::{Query, Record, RecordError};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(Record::open(&state(directory.path())).unwrap());
    let path = directory.path().join("coracle.db");
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(newer);
    let error = Record::open(&state(directory.path())).unwrap_err();
    assert!(matches!(error, RecordError::Newer { found: 99, known: 4, .. }), "{error:?}");
    assert!(error.to_string().contains("newer coracle"), "{error}");
}

#[test]
fn another_programs_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coracle.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
    let error = Record::open(&state(directory.path())).unwrap_err();
    assert!(matches!(error, RecordError::NotOurs { .. }), "{error:?}");
}

#[test]
fn damage_is_reported_with_the_file_and_what_to_do() {
    for damage in [&b""[..], b"not a database at all, but long enough to hold the header of one".repeat(20).as_slice()]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("coracle.db");
        std::fs::write(&path, damage).unwrap();
        let error = Record::open(&state(directory.path())).unwrap_err();
        assert!(matches!(error, RecordError::Corrupt { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("move"), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), damage, "what is damaged is left alone");
    }
}

#[test]
fn damage_inside_is_reported_when_it_is_met() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    for number in 0..200 {
        insert(&record, &format!("{number:04}"), "job");
    }
    drop(record);
    let path = directory.path().join("coracle.db");
    // Fold the WAL in, so that the damage hits what is read.
    rusqlite::Connection::open(&path).unwrap().close().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let error = Record::open(&state(directory.path())).and_then(|record| record.list(&Query::default())).unwrap_err();
    assert!(matches!(error, RecordError::Corrupt { .. }), "{error:?}");
}

#[test]
fn an_unreadable_row_names_the_execution_and_the_column() {
    let directory = tempfile::tempdir().unwrap();
    let record = Record::open(&state(directory.path())).unwrap();
    insert(&record, ID, "job");
    let other = rusqlite::Connection::open(directory.path().join("coracle.db")).unwrap();
    other.execute("UPDATE executions SET labels = 'x'", []).unwrap();
    let error = record.get(ID).unwrap_err();
    assert_eq!(error.to_string(), format!("the record of execution {ID} holds an unreadable labels"));
}

/// Root may write everywhere; `tests/cli.rs` has the same with a read-only mount.
#[test]
fn a_directory_that_cannot_be_written_is_reported() {
    if nix::unistd::geteuid().is_root() {
        eprintln!("skipped: root may write into a directory without write permission");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    let error = Record::open(&state(directory.path())).unwrap_err();
    assert!(matches!(error, RecordError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("coracle.db"), "{error}");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(Record::open(&state(directory.path())).unwrap());
    std::fs::set_permissions(directory.path().join("coracle.db"), std::fs::Permissions::from_mode(0o400)).unwrap();
    let error = Record::open(&state(directory.path())).unwrap_err();
    assert!(matches!(error, RecordError::ReadOnly { .. }), "{error:?}");
}

#[test]
fn an_unreadable_row_leaves_the_others_attended() {
    let record = Record::open_in_memory().unwrap();
    insert(&record, ID, "job");
    insert(&record, "other", "job");
    record.tamper(&format!("UPDATE executions SET owner = '{{}}' WHERE id = '{ID}'"));
    let attended: Vec<String> = record.attended().unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(attended, ["other"]);
    wait(&record, &new_execution("third", "job"));
    assert_eq!(record.keepers().unwrap(), [preparer()]);
}
