//! State roots whose makers are killed.

use crate::common::cli::Coracle;
use crate::verdict;
use fastrand::Rng;
use nix::sys::signal::Signal;
use std::time::Duration;

/// Roots, each made by so many commands at once.
const ROOTS: usize = 8;
const MAKERS: usize = 4;

/// How long one maker lives on when the one before is gone, milliseconds: making a root takes a few of them.
const LIVES: u64 = 15;

/// Returns what is found wrong when one more command has come to its end.
pub fn examine(rng: &mut Rng) -> Vec<String> {
    let mut wrong = Vec::new();
    for _ in 0..ROOTS {
        let coracle = Coracle::new();
        let makers: Vec<_> = (0..MAKERS).map(|_| coracle.start(coracle.command(["ps"]))).collect();
        for maker in makers {
            if !maker.process.ends_within(Duration::from_millis(rng.u64(..LIVES))) {
                maker.process.try_signal(Signal::SIGKILL);
            }
            maker.finish();
        }
        coracle.run(["ps"]).expect_code(0);
        verdict::left_in_the_root(&coracle.root(), &mut wrong);
    }
    wrong
}
