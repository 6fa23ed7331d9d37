//! Shared by the integration tests.

#![allow(dead_code, reason = "each test crate uses its own part")]

pub mod cli;
pub mod fixture;
pub mod host;
pub mod leftovers;
pub mod moments;
pub mod podman;
pub mod registry;
pub mod terminal;
