//! `coracle logs`.

use super::args::{LogsArgs, Stream};
use super::error::CliError;
use super::human;
use super::output::{self, output_error};
use crate::exec::{ExecError, JobExecutionId, JobExecutor, JobStatus};
use crate::log::{Line, Lines, LogStream, LogWatch, Progress, Reader, Record, Tail};
use crate::sys::readable;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// How often `--follow` looks whether an execution that waits has got a log.
const WAITING_INTERVAL: Duration = Duration::from_millis(100);

pub(super) async fn logs(executor: &JobExecutor, args: &LogsArgs) -> Result<u8, CliError> {
    let id = executor.resolve(&args.id).await?;
    let Some(mut reader) = open(executor, &id, args.follow).await? else { return Ok(0) };
    let mut view = View::new(args);
    if !args.follow {
        view.read(&mut reader)?;
        return Ok(0);
    }
    // First the watch, then the first reading: nothing is written unseen between them.
    let watch = reader.watch().map_err(ExecError::from)?;
    let events = watch.as_fd().try_clone_to_owned().and_then(readable::watch).map_err(unwatchable)?;
    let mut end = std::pin::pin!(executor.wait(&id));
    let mut execution_ended = false;
    loop {
        let progress = view.read(&mut reader)?;
        if progress.ended || execution_ended {
            break;
        }
        tokio::select! {
            grown = grown(&watch, &events) => grown?,
            // The supervisor may have died without ending the log. What it wrote is read once more.
            ended = &mut end => {
                ended?;
                execution_ended = true;
            }
        }
    }
    Ok(0)
}

/// The log, or `None` when there is none. Following waits until there is one or will be none.
async fn open(executor: &JobExecutor, id: &JobExecutionId, follow: bool) -> Result<Option<Reader>, CliError> {
    loop {
        // Asked first: an execution that has ended by now writes no log any more.
        let status = executor.get(id).await?.status;
        match executor.log_reader(id).await {
            Ok(reader) => return Ok(Some(reader)),
            Err(ExecError::NoLog { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match status {
            JobStatus::Pending | JobStatus::Initializing | JobStatus::Running if follow => {
                tokio::time::sleep(WAITING_INTERVAL).await;
            }
            JobStatus::Failed { reason, .. } => {
                output::message("note", &format!("it has no log: {reason}"));
                return Ok(None);
            }
            _ => return Ok(None),
        }
    }
}

/// Waits for a wake. `events` is the descriptor of `watch`.
async fn grown(watch: &LogWatch, events: &AsyncFd<OwnedFd>) -> Result<(), CliError> {
    let mut guard = events.readable().await.map_err(unwatchable)?;
    guard.clear_ready();
    watch.drain().map_err(ExecError::from)?;
    Ok(())
}

fn unwatchable(source: io::Error) -> CliError {
    CliError::Io { action: "watch the log", source }
}

/// What is shown of a log.
struct View {
    stream: Option<Stream>,
    printer: Printer,
    lines: Lines,
    /// Until the end of the first reading: the lines to start with.
    tail: Option<Tail>,
    /// How many lines `tail` may keep, and how many bytes were missed meanwhile.
    tail_limit: usize,
    missed_by_tail: u64,
}

impl View {
    fn new(args: &LogsArgs) -> View {
        let printer = Printer { out: BufWriter::new(io::stdout().lock()), timestamps: args.timestamps };
        View {
            stream: args.stream,
            printer,
            lines: Lines::new(),
            tail: args.tail.map(Tail::new),
            tail_limit: args.tail.unwrap_or_default(),
            missed_by_tail: 0,
        }
    }

    /// Shows what is new.
    fn read(&mut self, reader: &mut Reader) -> Result<Progress, CliError> {
        let capacity = reader.capacity();
        let mut told = 0;
        let mut result = Ok(());
        let progress = reader
            .read_new(&mut |record| {
                told += record.missed_before;
                if result.is_ok() {
                    result = self.show(&record, capacity);
                }
            })
            .map_err(ExecError::from)?;
        result.and_then(|()| self.settle(progress.missed_bytes - told, capacity)).map_err(output_error)?;
        Ok(progress)
    }

    fn show(&mut self, record: &Record<'_>, capacity: u64) -> io::Result<()> {
        self.missed(record.missed_before, capacity)?;
        if !self.shows(record.stream) {
            return Ok(());
        }
        if self.tail.is_none() && !self.printer.timestamps {
            return self.printer.bytes(record.stream, record.bytes);
        }
        let View { lines, tail, printer, .. } = self;
        let mut result = Ok(());
        lines.push(record, &mut |line| match tail {
            Some(tail) => tail.push(&line),
            None if result.is_ok() => result = printer.line(&line),
            None => {}
        });
        result
    }

    /// After a reading. Unfinished lines are shown too, so that a prompt is seen.
    fn settle(&mut self, missed: u64, capacity: u64) -> io::Result<()> {
        let View { lines, tail, printer, .. } = self;
        let mut result = Ok(());
        lines.flush(&mut |line| match tail {
            Some(tail) => tail.push(&line),
            None if result.is_ok() => result = printer.line(&line),
            None => {}
        });
        result?;
        if let Some(tail) = self.tail.take() {
            let lines: Vec<_> = tail.into_lines().collect();
            // Enough lines: what is missing is older than what was asked for.
            if lines.iter().filter(|line| line.starts).count() < self.tail_limit {
                self.missed(self.missed_by_tail, capacity)?;
            }
            for line in &lines {
                self.printer.line(&line.as_line())?;
            }
        }
        self.missed(missed, capacity)?;
        self.printer.out.flush()
    }

    fn shows(&self, stream: LogStream) -> bool {
        match self.stream {
            None => true,
            Some(Stream::Stdout) => stream == LogStream::Stdout,
            Some(Stream::Stderr) => stream == LogStream::Stderr,
        }
    }

    /// Tells that output is missing at this place.
    fn missed(&mut self, bytes: u64, capacity: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        if self.tail.is_some() {
            self.missed_by_tail += bytes;
            return Ok(());
        }
        self.printer.out.flush()?;
        let (missed, kept) = (human::bytes(bytes), human::bytes(capacity));
        output::message("note", &format!("{missed} of output are missing here; the log keeps the newest {kept}"));
        Ok(())
    }
}

/// Sends each stream where it came from.
struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    timestamps: bool,
}

impl Printer {
    fn bytes(&mut self, stream: LogStream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            LogStream::Stdout => self.out.write_all(bytes),
            LogStream::Stderr | LogStream::System => {
                // Both may be the same terminal, where their order is seen.
                self.out.flush()?;
                io::stderr().lock().write_all(bytes)
            }
        }
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(line.bytes.len() + 32);
        line.write_to(&mut bytes, self.timestamps)?;
        self.bytes(line.stream, &bytes)
    }
}
