//! The record as SQLite shows it. A command of ours would help what waits, and this does not.

use crate::common::cli::Coracle;
use crate::common::leftovers;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};

/// The value of an SQL expression for every execution, oldest first; none as long as there is no record.
pub fn of_each<T: FromSql>(coracle: &Coracle, expression: &str) -> Vec<T> {
    let path = coracle.root().join("coracle.db");
    if !path.exists() {
        return Vec::new();
    }
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("it opens");
    let query = format!("SELECT {expression} FROM executions ORDER BY id");
    let mut statement = database.prepare(&query).expect("the tables are known");
    let rows = statement.query_map([], |row| row.get(0)).expect("the query is one");
    rows.map(|value| value.expect("a value of this type")).collect()
}

/// The statuses of all executions, oldest first.
pub fn statuses(coracle: &Coracle) -> Vec<String> {
    of_each(coracle, "status")
}

/// The same when the last process of the root is gone.
#[track_caller]
pub fn statuses_in_the_end(coracle: &Coracle) -> Vec<String> {
    let mut quiet = 0;
    // One that starts another and ends may be missed together with it, but not again and again.
    coracle.until("the end of the last process", || {
        quiet = if leftovers::processes(&coracle.root()).is_empty() { quiet + 1 } else { 0 };
        quiet == 3
    });
    statuses(coracle)
}

/// Returns when there are this many executions.
#[track_caller]
pub fn until_count(coracle: &Coracle, count: usize) {
    coracle.until("a further execution", || statuses(coracle).len() >= count);
}

/// Returns when the execution waits for its next attempt.
#[track_caller]
pub fn until_backoff(coracle: &Coracle, id: &str) {
    let is_waiting = format!("id = '{id}' AND retry_at IS NOT NULL");
    coracle.until("a wait for the next attempt", || of_each(coracle, &is_waiting).contains(&true));
}
