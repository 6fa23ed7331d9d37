//! What is shown of a pull while it goes on, on standard error.
//!
//! A thread of its own draws, so that a slow terminal holds up no pull. It lives from the first event of
//! a pull to its last, or to [`Progress::close`]: a command that pulls nothing starts none. When either
//! has returned, the terminal is as it was found, below what was printed.
//!
//! With `--progress json` each event is one line that begins with `{`, in the form of
//! [`PullEvent`]; every other line is a message, `coracle: …` as ever. Standard output is left to results.

mod bars;
mod plain;

use super::args::{FetchArgs, ProgressMode};
use super::output;
use crate::engine::{OciRuntime, PullEvent};
use bars::Bars;
use plain::Plain;
use std::io::IsTerminal;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often bars are drawn anew when nothing comes: rate and time left change all the same.
const REDRAW: Duration = Duration::from_millis(250);

/// Shows the pulls of one command. Closed when dropped.
pub(super) struct Progress(Option<Arc<Shared>>);

struct Shared {
    style: Style,
    drawer: Mutex<Option<Drawer>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Bars,
    Plain,
    Json,
}

/// Where the messages of this process go.
#[derive(Debug, Clone, Copy)]
struct Target {
    is_terminal: bool,
    /// No cursor can be moved there, or the user wants none moved.
    is_dumb: bool,
    /// Diagnostics are written there too, past the bars.
    has_diagnostics: bool,
}

impl Progress {
    /// `has_diagnostics`: something else writes to standard error, so that bars would be torn.
    pub(super) fn new(args: &FetchArgs, has_diagnostics: bool) -> Progress {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let target = Target {
            is_terminal: std::io::stderr().is_terminal(),
            // https://no-color.org asks for no colours; who sets it seldom wants a moving cursor either.
            is_dumb: variable("TERM").is_none_or(|term| term == "dumb") || variable("NO_COLOR").is_some(),
            has_diagnostics,
        };
        let style = style(args, target);
        Progress(style.map(|style| Arc::new(Shared { style, drawer: Mutex::new(None) })))
    }

    /// The runtime, watched.
    pub(super) fn watch(&self, runtime: &OciRuntime) -> OciRuntime {
        match self.0.clone() {
            Some(shared) => runtime.clone().with_observer(Arc::new(move |event| shared.event(event))),
            None => runtime.clone(),
        }
    }

    /// As [`output::message`], above the bars.
    pub(super) fn message(&self, kind: &str, text: &str) {
        let message = output::formatted(kind, text);
        match self.0.as_ref().map(|shared| shared.lock()).as_deref() {
            Some(Some(drawer)) => drawer.tell(Step::Message(message)),
            _ => output::complain(&message),
        }
    }

    /// Ends a display that is up. True when there was one: the pull was not over.
    pub(super) fn close(&self) -> bool {
        let drawer = self.0.as_ref().and_then(|shared| shared.lock().take());
        drawer.map(Drawer::finish).is_some()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Drawer>> {
        self.drawer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, event: &PullEvent) {
        let mut drawer = self.lock();
        // What comes late of a pull that was given up opens nothing.
        let opens = matches!(event, PullEvent::Started { .. } | PullEvent::Retrying { .. });
        if drawer.is_none() && opens {
            *drawer = Drawer::start(self.style);
        }
        if let Some(drawer) = &*drawer {
            drawer.tell(Step::Event(event.clone()));
        }
        // What comes next, the job's own output above all, is to find the terminal free.
        if matches!(event, PullEvent::Finished { .. })
            && let Some(drawer) = drawer.take()
        {
            drawer.finish();
        }
    }
}

enum Step {
    Event(PullEvent),
    Message(String),
}

/// The thread that draws.
struct Drawer {
    steps: Sender<Step>,
    thread: JoinHandle<()>,
}

impl Drawer {
    /// `None` when no thread can be had; then nothing is shown.
    fn start(style: Style) -> Option<Drawer> {
        let (steps, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new().name("progress".into()).spawn(move || match style {
            Style::Bars => draw_bars(&receiver),
            Style::Plain => write_lines(&receiver),
            Style::Json => write_json(&receiver),
        });
        thread.ok().map(|thread| Drawer { steps, thread })
    }

    fn tell(&self, step: Step) {
        // The thread ends after its sender only, unless it panicked; then there is no display any more.
        let _ = self.steps.send(step);
    }

    fn finish(self) {
        drop(self.steps);
        let _ = self.thread.join();
    }
}

fn draw_bars(steps: &Receiver<Step>) {
    let mut bars = Bars::default();
    loop {
        match steps.recv_timeout(REDRAW) {
            Ok(Step::Event(event)) => bars.event(&event),
            Ok(Step::Message(message)) => bars.message(&message),
            Err(RecvTimeoutError::Timeout) => bars.redraw(),
            Err(RecvTimeoutError::Disconnected) => return bars.clear(),
        }
    }
}

fn write_lines(steps: &Receiver<Step>) {
    let mut plain = Plain::default();
    for step in steps {
        match step {
            Step::Event(event) => plain.line(&event).iter().for_each(|line| output::complain(line)),
            Step::Message(message) => output::complain(&message),
        }
    }
}

fn write_json(steps: &Receiver<Step>) {
    for step in steps {
        match step {
            Step::Event(event) => match serde_json::to_string(&event) {
                Ok(line) => output::complain(&format!("{line}\n")),
                Err(error) => tracing::warn!(%error, ?event, "event not written"),
            },
            Step::Message(message) => output::complain(&message),
        }
    }
}

fn style(args: &FetchArgs, target: Target) -> Option<Style> {
    let bars = |can: bool| Some(if can { Style::Bars } else { Style::Plain });
    match args.progress {
        _ if args.quiet => None,
        ProgressMode::None => None,
        ProgressMode::Plain => Some(Style::Plain),
        ProgressMode::Json => Some(Style::Json),
        ProgressMode::Bar => bars(target.is_terminal && !target.is_dumb),
        ProgressMode::Auto => bars(target.is_terminal && !target.is_dumb && !target.has_diagnostics),
    }
}

/// The first twelve digits of a digest, as every engine shortens it.
pub(super) fn short(digest: &crate::engine::Digest) -> &str {
    &digest.hex()[..12]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_for_terminals() {
        let args = |quiet, progress| FetchArgs { platform: None, signature_policy: None, quiet, progress };
        let terminal = Target { is_terminal: true, is_dumb: false, has_diagnostics: false };
        for (mode, target, expected) in [
            (ProgressMode::Auto, terminal, Some(Style::Bars)),
            (ProgressMode::Auto, Target { is_terminal: false, ..terminal }, Some(Style::Plain)),
            (ProgressMode::Auto, Target { is_dumb: true, ..terminal }, Some(Style::Plain)),
            (ProgressMode::Auto, Target { has_diagnostics: true, ..terminal }, Some(Style::Plain)),
            (ProgressMode::Bar, Target { has_diagnostics: true, ..terminal }, Some(Style::Bars)),
            (ProgressMode::Bar, Target { is_terminal: false, ..terminal }, Some(Style::Plain)),
            (ProgressMode::Plain, terminal, Some(Style::Plain)),
            (ProgressMode::Json, terminal, Some(Style::Json)),
            (ProgressMode::None, terminal, None),
        ] {
            assert_eq!(style(&args(false, mode), target), expected, "{mode:?} {target:?}");
            assert_eq!(style(&args(true, mode), target), None);
        }
    }
}
