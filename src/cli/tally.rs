//! Doing something to several things, whatever becomes of each.

use super::error::CliError;
use super::told::Told;

/// How many of them failed.
pub(super) struct Tally {
    all: usize,
    failed: usize,
    told: Told,
}

impl Tally {
    pub(super) fn of(all: usize) -> Tally {
        Tally { all, failed: 0, told: Told::default() }
    }

    /// Reports the error of one; the only one's is the command's own. That one could not be told is none: it is done.
    ///
    /// # Errors
    /// The only one's.
    pub(super) fn add(&mut self, result: Result<(), CliError>) -> Result<(), CliError> {
        match self.told.take(result) {
            Ok(_) => Ok(()),
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
            0 => Ok(self.told.code(0)),
            failed => Err(CliError::Some { failed, all: self.all }),
        }
    }
}
