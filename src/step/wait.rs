//! A check, again and again until it succeeds.

use super::error::{say, shown};
use std::time::Duration;

/// A host that takes no connection for so long, or for the check's interval if that is longer, is asked anew.
const CONNECT: Duration = Duration::from_secs(5);
/// The same for the answer to a request.
const ANSWER: Duration = Duration::from_secs(30);

/// A first try that takes longer is told of.
const QUIET: Duration = Duration::from_millis(500);

/// How long one try may take to connect.
pub fn connect_timeout(interval: Duration) -> Duration {
    interval.max(CONNECT)
}

/// How long one try may wait for an answer, connecting included.
pub fn answer_timeout(interval: Duration) -> Duration {
    interval.max(ANSWER)
}

/// Returns when `check` has succeeded, which it is asked every `interval`. What it is waiting for is written to
/// standard error when it changes, and when the first try takes long: it may be ended before it has a result.
pub async fn until(what: &str, interval: Duration, mut check: impl AsyncFnMut() -> Result<(), String>) {
    let mut said = Said { what, last: String::new() };
    loop {
        let result = {
            let mut tried = std::pin::pin!(check());
            match tokio::time::timeout(QUIET, tried.as_mut()).await {
                Ok(result) => result,
                Err(_) => {
                    if said.last.is_empty() {
                        said.waiting("there is no answer yet");
                    }
                    tried.await
                }
            }
        };
        match result {
            Ok(()) => return,
            Err(cause) => said.waiting(&cause),
        }
        tokio::time::sleep(interval).await;
    }
}

/// What a check has told.
struct Said<'a> {
    what: &'a str,
    last: String,
}

impl Said<'_> {
    fn waiting(&mut self, cause: &str) {
        let line = shown(&format!("waiting for {}: {cause}", self.what));
        if line != self.last {
            say(&line);
            self.last = line;
        }
    }
}
