//! The `--role=step` process: one init step that needs the network and nothing else of the job.
//!
//! It is started by the supervisor, in the network that the job has and without privileges. It reads one
//! [`StepRequest`] as one line of JSON from its standard input, does it and exits with 0, or says why not in
//! one line on standard error and exits with 1. It knows no timeout: whoever started it ends it. A check goes
//! on for ever, and writes a line whenever what it waits for changes, so that the last line tells what a check
//! that was ended had been waiting for.
//!
//! A transfer moves one object between the store and the pipe [`DATA_FD`]. Exit status 0 means that the store's
//! whole object was written to the pipe, or that the store has acknowledged the whole of what came through it.
//! A push ends only after [`COMMIT`] has come on standard input behind the request: the end of the data alone
//! does not tell a complete file from one whose reader was killed.

mod request;

pub use request::{COMMIT, DATA_FD, Direction, Resolve, StepRequest};
