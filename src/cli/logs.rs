//! `coracle logs`.

use super::args::{LogsArgs, Stream};
use super::error::CliError;
use super::human;
use super::output::{self, output_error};
use crate::exec::{ExecError, JobExecution, JobExecutor, JobStatus, LogEntry, LogEvent, LogQuery};
use crate::log::{Line, Lines, LogStream, Tail};
use crate::quote::quoted;
use futures_util::StreamExt;
use serde_json::Value;
use std::io::{self, BufWriter, StdoutLock, Write};

pub(super) async fn logs(executor: &JobExecutor, args: &LogsArgs) -> Result<u8, CliError> {
    let id = executor.resolve(&args.id).await?;
    let mut step = None;
    if args.step.is_some() || args.attempt.is_some() {
        let execution = executor.execution(&id).await?;
        args.attempt.map(|number| check_attempt(&execution, number)).transpose()?;
        step = args.step.as_ref().map(|step| step_index(&execution, step)).transpose()?;
    }
    let query = LogQuery { follow: args.follow, ..LogQuery::default() };
    let found = match args.attempt {
        Some(number) => executor.logs_of_attempt(&id, number, query).await,
        None => executor.logs(&id, query).await,
    };
    let mut log = match found {
        Ok(log) => log,
        Err(ExecError::NoLog { .. }) => {
            if let JobStatus::Failed { reason, .. } = executor.execution(&id).await?.status {
                output::message("note", &format!("it has no log: {reason}"));
            }
            return Ok(0);
        }
        Err(error) => return Err(error.into()),
    };
    let mut view = View::new(args, step);
    while let Some(event) = log.next().await {
        match event.map_err(ExecError::from)? {
            LogEvent::Entry(entry) => view.show(&entry).map_err(output_error)?,
            LogEvent::CaughtUp { missed } => view.settle(missed).map_err(output_error)?,
        }
    }
    Ok(0)
}

/// There is a log of it, or will be.
fn check_attempt(execution: &JobExecution, number: u32) -> Result<(), CliError> {
    if number <= execution.attempt {
        return Ok(());
    }
    let message = format!("execution {} has no attempt {number}", execution.id);
    Err(CliError::usage(message, format!("the newest one is {}", execution.attempt)))
}

/// The index of an init step, from 0, as the log has it.
fn step_index(execution: &JobExecution, step: &str) -> Result<u16, CliError> {
    let steps = execution.spec.get("init_steps").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let ids: Vec<&str> = steps.iter().filter_map(|step| step.get("id").and_then(Value::as_str)).collect();
    let index = ids.iter().position(|id| *id == step).and_then(|index| u16::try_from(index).ok());
    index.ok_or_else(|| {
        let known =
            if ids.is_empty() { "it has none".to_owned() } else { format!("its steps are: {}", ids.join(", ")) };
        CliError::usage(format!("execution {} has no init step {}", execution.id, quoted(step)), known)
    })
}

/// What is shown of a log.
struct View {
    stream: Option<Stream>,
    /// Only this init step, by its index.
    step: Option<u16>,
    printer: Printer,
    lines: Lines,
    /// Until the end of the first reading: the lines to start with.
    tail: Option<Tail>,
    /// How many lines `tail` may keep, and how many bytes were missed meanwhile.
    tail_limit: usize,
    missed_by_tail: u64,
    /// Bytes that the log keeps, as far as that is known.
    capacity: u64,
}

impl View {
    fn new(args: &LogsArgs, step: Option<u16>) -> View {
        let printer = Printer { out: BufWriter::new(io::stdout().lock()), timestamps: args.timestamps };
        View {
            stream: args.stream,
            step,
            printer,
            lines: Lines::new(),
            tail: args.tail.map(Tail::new),
            tail_limit: args.tail.unwrap_or_default(),
            missed_by_tail: 0,
            capacity: 0,
        }
    }

    fn show(&mut self, entry: &LogEntry) -> io::Result<()> {
        self.capacity = entry.capacity;
        self.missed(entry.missed_before)?;
        if !self.shows(entry.stream) || self.step.is_some_and(|step| entry.step != Some(step)) {
            return Ok(());
        }
        if self.tail.is_none() && !self.printer.timestamps {
            return self.printer.bytes(entry.stream, &entry.bytes);
        }
        let View { lines, tail, printer, .. } = self;
        let mut result = Ok(());
        lines.push(&entry.as_record(), &mut |line| match tail {
            Some(tail) => tail.push(&line),
            None if result.is_ok() => result = printer.line(&line),
            None => {}
        });
        result
    }

    /// After a reading. Unfinished lines are shown too, so that a prompt is seen.
    fn settle(&mut self, missed: u64) -> io::Result<()> {
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
                self.missed(self.missed_by_tail)?;
            }
            for line in &lines {
                self.printer.line(&line.as_line())?;
            }
        }
        self.missed(missed)?;
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
    fn missed(&mut self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        if self.tail.is_some() {
            self.missed_by_tail += bytes;
            return Ok(());
        }
        self.printer.out.flush()?;
        let (missed, kept) = (human::bytes(bytes), human::bytes(self.capacity));
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
