//! A check, again and again until it succeeds.

use super::error::{say, shown};
use std::time::Duration;

/// A host that takes no connection for so long, or for the check's interval if that is longer, is asked anew.
const CONNECT: Duration = Duration::from_secs(5);
/// The same for the answer to a request.
const ANSWER: Duration = Duration::from_secs(30);

/// How long one try may take to connect.
pub fn connect_timeout(interval: Duration) -> Duration {
    interval.max(CONNECT)
}

/// How long one try may wait for an answer, connecting included.
pub fn answer_timeout(interval: Duration) -> Duration {
    interval.max(ANSWER)
}

/// Returns when `check` has succeeded, which it is asked every `interval`. What it is waiting for is written to
/// standard error when it changes.
pub async fn until(what: &str, interval: Duration, mut check: impl AsyncFnMut() -> Result<(), String>) {
    let mut last = String::new();
    while let Err(cause) = check().await {
        let line = shown(&format!("waiting for {what}: {cause}"));
        if line != last {
            say(&line);
            last = line;
        }
        tokio::time::sleep(interval).await;
    }
}
