//! Supervisor, launcher and pid 1: how a plan becomes processes.

pub mod state;
