//! Keeping messages apart from what a job wrote to the same place.

use super::output;
use crate::exec::{JobExecutionId, JobExecutor, LogEvent, LogQuery};
use crate::log::LogStream;
use futures_util::StreamExt;

/// Bytes at the end of a log in which an unfinished line is looked for: what is written after it where no messages go
/// may be more, and is not worth the wait.
const LOOKED_AT: u64 = 1 << 20;

/// Ends the line that a job of the foreground has left unfinished where messages go, if it has. What cannot be known
/// of that is no reason to keep a message back.
pub(super) async fn end_line(executor: &JobExecutor, id: &JobExecutionId) {
    let query = LogQuery { last_bytes: Some(LOOKED_AT), ..LogQuery::default() };
    let Ok(mut log) = executor.logs(id, query).await else { return };
    let mut last = b'\n';
    while let Some(event) = log.next().await {
        let Ok(event) = event else { return };
        if let LogEvent::Entry(entry) = event
            && goes_where_messages_go(entry.stream)
            && let Some(byte) = entry.bytes.last()
        {
            last = *byte;
        }
    }
    if last != b'\n' {
        output::complain("\n");
    }
}

fn goes_where_messages_go(stream: LogStream) -> bool {
    match stream {
        LogStream::Stdout => output::streams_are_one(),
        LogStream::Stderr => true,
        LogStream::System => false,
    }
}
