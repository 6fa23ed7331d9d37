//! Spec.

mod job;

pub use job::*;
