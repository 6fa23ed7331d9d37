//! The `--role=step` process: one init step that needs the network and nothing else of the job.
//!
//! It is started by the supervisor without privileges: a check in the network that the job has, a transfer in the
//! host's. It reads one [`StepRequest`] as one line of JSON from its standard input, does it and exits with 0, or says
//! why not in one line on standard error and exits with 1. It knows no timeout: whoever started it ends it, and it does
//! not outlive its starter. A check goes on for ever, and writes a line whenever what it waits for changes, so that the
//! last line tells what a check that was ended had been waiting for. Nothing that it writes holds a secret of the
//! request.
//!
//! # Transfers
//! One object moves between the store and the pipe [`DATA_FD`], in bounded memory. Exit status 0 means that the
//! store's whole object was written to the pipe, or that the store has acknowledged the whole of what came
//! through it. A push ends only after [`COMMIT`] has come on standard input behind the request: the end of the
//! data alone does not tell a complete file from one whose reader was killed. The end of standard input before
//! that, at any time, undoes what was uploaded. Standard input (of a push) and [`DATA_FD`] must be pipes whose
//! end here no other process reads, writes or polls: both are made non-blocking.
//!
//! # Files of the host
//! Whoever starts a role may open the files that its request names, and pass them on: `NAME=DESCRIPTOR` as arguments,
//! see [`HostFile`]. The role has no rights to read what belongs to others. What it was not passed it opens by its
//! path.
//!
//! # The network
//! Names are looked up among the job's own hosts first, then as on the host or at the job's name servers. No
//! proxy is used: a check asks the named host itself. Certificates are verified with the host's own
//! authorities.

mod error;
mod http;
mod names;
mod request;
mod role;
#[cfg(feature = "s3")]
mod s3;
mod tcp;
mod wait;

pub use request::{Addressing, COMMIT, DATA_FD, Direction, HostFile, Resolve, StepRequest};
pub use role::main;
