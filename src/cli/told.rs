//! Results of work that goes on whether or not they can be told.

use super::error::CliError;
use crate::outcome::EXIT_ENGINE;

/// Whether all that was printed got out.
#[derive(Debug, Default)]
pub(super) struct Told {
    was_reported: bool,
    /// For another reason than that nobody reads any more.
    is_lost: bool,
}

impl Told {
    /// Takes what became of a result on standard output, and says whether it got there. The first failure is reported.
    ///
    /// # Errors
    /// Those that are not of standard output.
    pub(super) fn take(&mut self, printed: Result<(), CliError>) -> Result<bool, CliError> {
        let error = match printed {
            Ok(()) => return Ok(true),
            Err(error @ (CliError::Output { .. } | CliError::OutputClosed)) => error,
            Err(error) => return Err(error),
        };
        if !std::mem::replace(&mut self.was_reported, true) {
            error.report();
        }
        self.is_lost |= matches!(error, CliError::Output { .. });
        Ok(false)
    }

    /// The job's own output did not get to the caller; a note says so.
    pub(super) fn lose(&mut self) {
        self.is_lost = true;
    }

    /// `code`, or that of a failure of coracle where all went well and that could not be told.
    pub(super) fn code(&self, code: u8) -> u8 {
        if code == 0 && self.is_lost { EXIT_ENGINE } else { code }
    }
}
