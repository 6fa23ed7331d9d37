//! Images through the library's public API, with the built binary as unpacker: layouts built in code, a
//! real registry, and one that misbehaves. Root runs everything twice, as itself and in a user namespace.

#![expect(clippy::disallowed_methods, reason = "tests write files and start programs")]

#[path = "../common/mod.rs"]
mod common;

mod archive;
mod config;
mod damage;
mod documents;
mod estargz;
mod faulty;
mod gc;
mod hostile;
mod interrupt;
mod layout;
mod load;
mod places;
mod policy;
mod proxy;
mod registry;
mod repair;
mod resolve;
mod saved;
mod server;
mod store;
mod tarball;
mod unpack;
