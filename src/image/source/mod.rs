//! Images that lie in files on this machine.

pub mod layout;
