//! Ctrl-C and SIGTERM. A hang-up stays what it is: it ends this process, and the job goes on.

use super::error::CliError;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a foreground run to end. From its creation on they do not end this process.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    pub(super) fn new() -> Result<Interrupts, CliError> {
        let listen = |kind| signal(kind).map_err(|source| CliError::Io { action: "listen for signals", source });
        Ok(Interrupts { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for `work`, but no longer than to the next signal.
    pub(super) async fn unless(&mut self, work: impl Future<Output = ()>) {
        tokio::select! {
            () = work => {}
            _ = self.next() => {}
        }
    }

    /// The number of the next one. None is lost when this is dropped while waiting.
    pub(super) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => libc::SIGINT,
            _ = self.terminate.recv() => libc::SIGTERM,
        }
    }
}
