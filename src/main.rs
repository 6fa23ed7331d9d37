//! The `coracle` binary: one of the hidden roles, or the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    coracle::init();
    coracle::cli::main()
}
