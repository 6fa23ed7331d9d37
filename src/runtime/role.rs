//! Hidden roles of the binary: the first argument that `main` looks for before anything else.

/// Arguments: state root, runtime root, execution id. Standard input: the control socket.
pub const SUPERVISE: &str = "--role=supervise";
/// Arguments: execution directory, numbers (process index, then inherited descriptors).
pub const LAUNCH: &str = "--role=launch";
/// Arguments: state root, runtime root, execution id.
pub const SETTLE: &str = "--role=settle";
/// No arguments. Standard input: one `StepRequest`.
pub const STEP: &str = "--role=step";
