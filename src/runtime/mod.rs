//! How a plan becomes processes.
//!
//! ```text
//! front ──spawns──▶ supervisor ──forks──▶ launcher ──libcontainer──▶ pid 1 ──forks──▶ the job
//!   │  control socket  │  ▲  reports (seqpacket)  │                    │
//!   └──────────────────┘  └───────────────────────┴────────────────────┘
//! ```
//!
//! The front may die at any time: the supervisor goes on. When the supervisor dies, everything in
//! the container dies with it, and its mounts with their namespace. Nothing here knows specs, the
//! record or the network.

pub mod cancel;
pub mod cgroup;
pub mod cleanup;
mod container;
pub mod control;
pub mod launcher;
pub mod outcome_file;
mod pid1;
mod report;
mod rlimit;
pub mod role;
mod rootfs;
pub mod state;
pub mod supervisor;
mod transfer;
mod volume;
