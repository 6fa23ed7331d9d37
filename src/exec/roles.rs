//! The hidden roles of the binary, and telling them apart before anything else happens.

use super::settle::Settler;
use crate::image::unpack;
use crate::record::Record;
use crate::remove_tree;
use crate::runtime::{launcher, role, supervisor};
use crate::state_dir::StateDir;
use crate::step;
use crate::sys::process as sys_process;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};

/// The running binary, also after its file was replaced by an upgrade.
pub(super) const OWN_BINARY: &str = "/proc/self/exe";

/// Whether [`init`] has run, so that this program may start itself as a supervisor.
static INITIALISED: AtomicBool = AtomicBool::new(false);

/// Must be the first call in `main` of every program that starts jobs: when the program was started
/// as a supervisor, launcher, settler or unpacker, this does that work and does not return.
///
/// Call it before any thread is started and before anything is printed. It costs nothing otherwise.
pub fn init() {
    sys_process::make_children_waitable();
    let mut arguments = std::env::args_os().skip(1);
    if let Some(first) = arguments.next()
        && first.as_encoded_bytes().starts_with(b"--role=")
    {
        abort_on_panic();
        let rest: Vec<OsString> = arguments.collect();
        std::process::exit(run(&first, &rest));
    }
    INITIALISED.store(true, Ordering::Relaxed);
}

pub(super) fn is_initialised() -> bool {
    INITIALISED.load(Ordering::Relaxed)
}

/// A panic must not unwind from a forked child into its parent's frames.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}

fn run(name: &OsString, arguments: &[OsString]) -> i32 {
    match name.to_str() {
        Some(role::SUPERVISE) => supervisor::main(arguments),
        Some(role::LAUNCH) => launcher::main(arguments),
        Some(role::SETTLE) => settle(arguments),
        Some(role::STEP) => step::main(arguments),
        Some(unpack::ROLE) => unpack::main(arguments.iter().cloned()),
        Some(remove_tree::ROLE) => remove_tree::main(arguments.iter().cloned()),
        _ => {
            eprintln!("coracle: {} is no role of this version", name.to_string_lossy());
            125
        }
    }
}

/// What a supervisor whose front has gone becomes.
fn settle(arguments: &[OsString]) -> i32 {
    let [root, runtime, id] = arguments else { return 125 };
    let state = StateDir::from_parts(root.into(), runtime.into());
    let settled = id.to_str().map(|id| {
        let record = Record::open(&state)?;
        let settler = Settler { state: &state, record: &record, binary: OWN_BINARY.as_ref() };
        settler.settle(id)
    });
    match settled {
        Some(Ok(())) => 0,
        Some(Err(error)) => {
            // Nobody listens; the next process that opens the store does it again.
            tracing::error!(%error, "failed to settle");
            1
        }
        None => 125,
    }
}
