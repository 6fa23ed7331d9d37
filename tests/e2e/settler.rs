//! What settlers do while nobody else opens the store: nothing here looks through the binary, which would help.

use super::lifecycle::until_running;
use super::queue::{register, trigger};
use crate::common::cli::Coracle;
use crate::common::leftovers;
use nix::sys::signal::Signal;

/// The statuses of all executions, oldest first.
fn statuses(coracle: &Coracle) -> Vec<String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let database = rusqlite::Connection::open_with_flags(coracle.root().join("coracle.db"), flags).expect("it opens");
    let mut statement = database.prepare("SELECT status FROM executions ORDER BY id").expect("the tables are known");
    let rows = statement.query_map([], |row| row.get(0)).expect("the query is one");
    rows.map(|status| status.expect("a text")).collect()
}

/// The same when the last process of the root is gone.
fn statuses_in_the_end(coracle: &Coracle) -> Vec<String> {
    let mut quiet = 0;
    // One that starts another and ends may be missed together with it, but not again and again.
    while quiet < 3 {
        quiet = if leftovers::processes(&coracle.root()).is_empty() { quiet + 1 } else { 0 };
    }
    statuses(coracle)
}

#[test]
fn what_cannot_be_prepared_holds_nobody_up() {
    let coracle = Coracle::new();
    register(&coracle, "max_concurrent: 1", "command: [\"true\"]");
    let first = trigger(&coracle, &["--", "sleep", "1000"]);
    until_running(&coracle, &first);
    let missing = coracle.scratch().join("missing");
    register(
        &coracle,
        "max_concurrent: 1",
        &format!("image: {{ name: {:?} }}", format!("oci:{}:latest", missing.display())),
    );
    for _ in 0..3 {
        trigger(&coracle, &[]);
    }
    register(&coracle, "max_concurrent: 1", "command: [\"true\"]");
    trigger(&coracle, &[]);
    coracle.run(["cancel", &first]).expect_code(0);
    assert_eq!(statuses_in_the_end(&coracle), ["cancelled", "failed", "failed", "failed", "completed"]);
}

/// The settler has the process id that everybody knows as the supervisor's.
#[test]
fn one_that_is_cancelled_again_goes_on() {
    for _ in 0..10 {
        let coracle = Coracle::new();
        register(&coracle, "max_concurrent: 1", "command: [\"true\"]");
        let first = trigger(&coracle, &["--", "sleep", "1000"]);
        until_running(&coracle, &first);
        trigger(&coracle, &[]);
        let supervisor = coracle.supervisor(&first);
        coracle.run(["cancel", &first]).expect_code(0);
        // As another `cancel` does; the supervisor becomes the settler meanwhile.
        while statuses(&coracle)[0] == "active" && supervisor.try_signal(Signal::SIGTERM) {}
        assert_eq!(statuses_in_the_end(&coracle), ["cancelled", "completed"]);
    }
}
