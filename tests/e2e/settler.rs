//! What settlers do while nobody else opens the store: nothing here looks through the binary, which would help.

use super::lifecycle::until_running;
use super::queue::{register, trigger};
use super::record::{of_each, statuses, statuses_in_the_end};
use crate::common::cli::Coracle;
use nix::sys::signal::Signal;

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
        coracle.until("the first one's end", || {
            statuses(&coracle)[0] != "active" || !supervisor.try_signal(Signal::SIGTERM)
        });
        assert_eq!(statuses_in_the_end(&coracle), ["cancelled", "completed"]);
    }
}

#[test]
fn what_a_job_does_not_keep_is_forgotten_when_it_has_ended() {
    let coracle = Coracle::new();
    let spec = coracle.job("job: { retention: { keep_last: 1 } }\ncommand: [\"true\"]");
    let both = [(); 2].map(|()| coracle.detach(&[spec.to_str().expect("a plain name")]));
    assert_eq!(statuses_in_the_end(&coracle), ["completed"]);
    assert_eq!(of_each::<String>(&coracle, "id"), both[1..]);
    let directories = std::fs::read_dir(coracle.root().join("executions")).expect("a root");
    let names: Vec<_> = directories.map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names, [both[1].as_str()]);
}
