//! For the tests of programs that embed this crate: containers that are none, and images made on the spot. Nothing
//! here needs a network, a registry, or rights. With the feature `testing` only.

mod image;

pub use crate::engine::mock::{MockCall, MockContainer, MockMethod, MockRuntime, Script};
pub use image::{FixtureError, FixtureImage, FixtureLayout};
