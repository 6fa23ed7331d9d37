//! Registries that misbehave, in this process.
