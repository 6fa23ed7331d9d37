//! The only home of `unsafe`: thin, safe wrappers over what the kernel offers and no crate does.

pub mod file;
pub mod seccomp;
