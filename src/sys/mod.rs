//! The only home of `unsafe`: thin, safe wrappers over what the kernel offers and no crate does.

pub mod capabilities;
pub mod file;
pub mod keyring;
pub mod mount;
pub mod network;
pub mod pipe;
pub mod process;
pub mod range_lock;
pub mod readable;
pub mod seccomp;
pub mod sink;
pub mod tree;
pub mod userns;
