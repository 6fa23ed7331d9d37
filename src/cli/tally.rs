//! Doing something to several things, whatever becomes of each.

use super::error::CliError;

/// How many of them failed.
pub(super) struct Tally {
    all: usize,
    failed: usize,
}

impl Tally {
    pub(super) fn of(all: usize) -> Tally {
        Tally { all, failed: 0 }
    }

    /// Reports the error of one; the only one's is the command's own.
    ///
    /// # Errors
    /// Those after which nothing is left to be done.
    pub(super) fn add(&mut self, result: Result<(), CliError>) -> Result<(), CliError> {
        match result {
            Ok(()) => Ok(()),
            Err(error @ (CliError::Output { .. } | CliError::OutputClosed)) => Err(error),
            Err(error) if self.all == 1 => Err(error),
            Err(error) => {
                self.failed += 1;
                error.report();
                Ok(())
            }
        }
    }

    pub(super) fn finish(self) -> Result<u8, CliError> {
        match self.failed {
            0 => Ok(0),
            failed => Err(CliError::Some { failed, all: self.all }),
        }
    }
}
