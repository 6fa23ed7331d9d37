//! The `init` field: our pid 1, and the steps before the main process; and `errors.on_init_failure`, what
//! happens when they fail.
//!
//! The format has two uses of the word, and both are taken: `init: false` leaves out our pid 1, and
//! `init: {steps: […]}` gives the steps. A mapping can say both with `enabled: false`.
//!
//! `steps` reads what all kinds of steps have; `run`, `wait` and `s3` read the parameters of each kind.

mod failure;
mod run;
mod s3;
mod steps;
mod wait;

pub(super) use failure::read_errors;
pub use steps::DEFAULT_STEP_TIMEOUT;
pub(super) use steps::{Init, read_init};
