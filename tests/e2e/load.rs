//! Many launches at once: no hang, no failure, no leak.

use crate::common::cli::Coracle;
use std::sync::atomic::{AtomicUsize, Ordering};

const LAUNCHES: usize = 300;
const AT_A_TIME: usize = 8;

#[test]
fn three_hundred_launches_eight_at_a_time() {
    let coracle = Coracle::new();
    // The image is there before the clock of anything starts; the rest is about launches.
    coracle.toolbox(&[], &["true"]).expect_code(0);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= LAUNCHES {
                        return;
                    }
                    let code = (n % 3) as i32;
                    let finished = coracle.shell(&[], &format!("echo out {n}; exit {code}")).expect_code(code);
                    assert_eq!(finished.stdout(), format!("out {n}\n"), "{finished}");
                }
            });
        }
    });
    let executions = coracle.run(["ps", "-a", "--json", "--limit", "1000"]).expect_code(0);
    let rows: serde_json::Value = serde_json::from_slice(&executions.stdout).expect("JSON");
    let rows = rows.as_array().expect("a list");
    assert_eq!(rows.len(), LAUNCHES + 1);
    let ended = |status: &str| rows.iter().filter(|row| row["status"] == status).count();
    assert_eq!((ended("completed"), ended("failed")), (LAUNCHES / 3 + 1, LAUNCHES / 3 * 2));
    // `Coracle` looks for mounts, cgroups, processes and directories when it is dropped.
}

#[test]
fn fronts_that_pull_the_same_image_at_once_share_it() {
    let coracle = Coracle::new();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| coracle.toolbox(&[], &["echo", "hi"]).expect_code(0).expect_stdout("hi\n"));
        }
    });
    assert_eq!(coracle.layers().len(), 1);
}
