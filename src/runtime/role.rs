//! Hidden roles of the binary: the first argument that `main` looks for before anything else.

/// Arguments: state root, runtime root, container id. Standard input: the control socket.
pub const SUPERVISE: &str = "--role=supervise";
/// Arguments: execution directory, numbers (process index, then inherited descriptors).
pub const LAUNCH: &str = "--role=launch";
/// Arguments: state root, runtime root, id of the container to settle, if any.
pub const SETTLE: &str = "--role=settle";
/// No arguments. Standard input: one `StepRequest`.
pub const STEP: &str = "--role=step";
