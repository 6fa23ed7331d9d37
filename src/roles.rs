//! The hidden roles of the binary, and telling them apart before anything else happens.

use crate::causes::with_causes;
use crate::engine::{self, ImageConfig, OciRuntime};
use crate::exec::{ExecError, JobExecutor};
use crate::id::ContainerId;
use crate::image::unpack;
use crate::remove_tree;
use crate::runtime::{launcher, role, supervisor};
use crate::state_dir::StateDir;
use crate::step;
use crate::sys::process as sys_process;
use std::ffi::OsString;
use std::io;

/// Must be the first call in `main` of every program that starts jobs: when the program was started
/// as a supervisor, launcher, settler, unpacker or step, this does that work and does not return.
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
    engine::set_initialised();
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

/// What a supervisor whose front has gone becomes, and what a front that ends leaves behind for timers; that one
/// has no execution to settle.
fn settle(arguments: &[OsString]) -> i32 {
    let (root, runtime, id) = match arguments {
        [root, runtime] => (root, runtime, None),
        [root, runtime, id] => (root, runtime, Some(id)),
        _ => return 125,
    };
    if let Err(error) = detach_from_starter() {
        tracing::error!(%error, "failed to detach from the process that started it");
        return 1;
    }
    let state = StateDir::from_parts(root.into(), runtime.into());
    let id = match id.map(|id| id.to_str().map(|id| ContainerId(id.to_owned()))) {
        Some(None) => return 125,
        id => id.flatten(),
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(tokio) => match tokio.block_on(settle_and_attend(state, id)) {
            Ok(()) => 0,
            Err(error) => {
                // Nobody listens; the next process that opens the store does it again.
                tracing::error!(error = with_causes(&error), "failed to settle");
                1
            }
        },
        Err(error) => {
            tracing::error!(%error, "failed to settle");
            1
        }
    }
}

/// A settler may stay for long: it holds no directory of its starter's, and nothing that was open there but the
/// standard streams, which lead nowhere.
#[expect(clippy::disallowed_methods, reason = "a settler has one thread so far and must hold no directory")]
fn detach_from_starter() -> io::Result<()> {
    std::env::set_current_dir("/")?;
    sys_process::close_all_except(&[])
}

async fn settle_and_attend(state: StateDir, id: Option<ContainerId>) -> Result<(), ExecError> {
    let open = async || {
        let runtime = OciRuntime::on(state.clone(), engine::OWN_BINARY.into(), ImageConfig::default())?;
        JobExecutor::for_settler(runtime)
    };
    JobExecutor::settle_and_attend(&state, open, id.as_ref()).await
}
