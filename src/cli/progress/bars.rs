//! Progress in bars: the image's name, a bar per layer, and a total with rate and time left.

use super::plain::{finished, retrying};
use super::short;
use crate::cli::{human, output};
use crate::engine::{Digest, LayerProgress, PullEvent};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Most layers that each have a bar of their own from beginning to end. Of more, only those that
/// something happens to are shown.
const MOST_BARS: usize = 20;

/// Terminals with fewer columns get numbers without bars.
const NARROW: u16 = 60;

/// What is on the terminal: nothing, or the bars of one pull.
#[derive(Default)]
pub(super) struct Bars {
    pull: Option<Pull>,
}

/// A pull under way.
struct Pull {
    area: MultiProgress,
    #[expect(dead_code, reason = "a bar that is dropped disappears")]
    title: ProgressBar,
    layers: Vec<Layer>,
    total: ProgressBar,
    styles: Styles,
    /// Every layer has a bar for as long as the pull goes on.
    all: bool,
    started: Instant,
}

/// A layer that is to be got.
struct Layer {
    digest: Digest,
    size: u64,
    /// Bytes that count for the total.
    received: u64,
    bar: Option<ProgressBar>,
}

struct Styles {
    title: ProgressStyle,
    layer: ProgressStyle,
    total: ProgressStyle,
}

impl Bars {
    pub(super) fn event(&mut self, event: &PullEvent) {
        match event {
            PullEvent::Started { image, layers, .. } => {
                self.clear();
                self.pull = Pull::new(image, layers);
            }
            PullEvent::Retrying { what, attempt, pause, reason } => {
                self.message(&retrying(what, *attempt, *pause, reason));
            }
            PullEvent::Waiting { layer } => self.layer(layer, None, "waiting"),
            PullEvent::Advanced { layer, received } => self.layer(layer, Some(*received), "pulling"),
            PullEvent::Done { layer } => self.done(layer),
            PullEvent::Finished { image, .. } => {
                let started = self.pull.as_ref().map(|pull| pull.started);
                self.clear();
                if let Some(started) = started {
                    output::complain(&format!("coracle: {}\n", output::printable(&finished(image, started))));
                }
            }
        }
    }

    /// Writes whole lines above the bars.
    pub(super) fn message(&self, text: &str) {
        match &self.pull {
            Some(pull) => pull.area.suspend(|| output::complain(text)),
            None => output::complain(text),
        }
    }

    pub(super) fn redraw(&self) {
        if let Some(pull) = &self.pull {
            pull.total.tick();
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn clear(&mut self) {
        if let Some(pull) = self.pull.take() {
            // A terminal that is gone needs no clearing.
            let _ = pull.area.clear();
            // Bars that end would draw the others once more.
            pull.area.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    fn layer(&mut self, digest: &Digest, received: Option<u64>, state: &'static str) {
        let Some(pull) = &mut self.pull else { return };
        let Some(layer) = pull.layers.iter_mut().find(|layer| layer.digest == *digest) else { return };
        let (area, styles, total) = (&pull.area, &pull.styles, &pull.total);
        let bar = layer.bar.get_or_insert_with(|| layer_bar(area, styles, total, digest, layer.size));
        if let Some(received) = received {
            layer.received = received.min(layer.size);
            bar.set_position(layer.received);
        }
        if bar.message() != state {
            bar.set_message(state);
        }
        pull.count();
    }

    fn done(&mut self, digest: &Digest) {
        let Some(pull) = &mut self.pull else { return };
        let Some(layer) = pull.layers.iter_mut().find(|layer| layer.digest == *digest) else { return };
        layer.received = layer.size;
        if pull.all {
            if let Some(bar) = &layer.bar {
                bar.set_position(layer.size);
                bar.set_message("done");
            }
        } else if let Some(bar) = layer.bar.take() {
            bar.finish_and_clear();
            pull.area.remove(&bar);
        }
        pull.count();
    }
}

impl Pull {
    /// `None` when there is nothing to get.
    fn new(image: &str, layers: &[LayerProgress]) -> Option<Pull> {
        let missing: Vec<_> = layers.iter().filter(|layer| !layer.present).collect();
        if missing.is_empty() {
            return None;
        }
        let (columns, rows) = size();
        // Title, total, and the line that the cursor is in.
        let most = MOST_BARS.min(usize::from(rows).saturating_sub(3));
        let all = missing.len() <= most;
        let styles = Styles::new(columns);
        let area = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let title = ProgressBar::new(0).with_style(styles.title.clone()).with_message(output::printable(image));
        let title = area.add(title);
        let total = ProgressBar::new(missing.iter().map(|layer| layer.size).sum());
        let total = area.add(total.with_style(styles.total.clone()).with_prefix("total"));
        title.tick();
        let layers = missing
            .into_iter()
            .map(|layer| {
                let bar = all.then(|| layer_bar(&area, &styles, &total, &layer.layer, layer.size));
                Layer { digest: layer.layer.clone(), size: layer.size, received: 0, bar }
            })
            .collect();
        let pull = Pull { area, title, layers, total, styles, all, started: Instant::now() };
        pull.count();
        Some(pull)
    }

    fn count(&self) {
        let done = self.layers.iter().filter(|layer| layer.received == layer.size).count();
        self.total.set_position(self.layers.iter().map(|layer| layer.received).sum());
        let layers = format!("{done}/{}", self.layers.len());
        if self.total.message() != layers {
            self.total.set_message(layers);
        }
    }
}

fn layer_bar(area: &MultiProgress, styles: &Styles, total: &ProgressBar, digest: &Digest, size: u64) -> ProgressBar {
    let bar = ProgressBar::new(size).with_style(styles.layer.clone());
    let bar = area.insert_before(total, bar.with_prefix(short(digest).to_owned()).with_message("queued"));
    bar.tick();
    bar
}

/// Those of the title, a layer and the total.
fn templates(columns: u16) -> [&'static str; 3] {
    if columns < NARROW {
        ["{wide_msg}", "{prefix:12} {msg:7} {percent:>3}%", "{prefix:5} {msg} {percent:>3}% {left}"]
    } else {
        [
            "{wide_msg}",
            "{prefix:12}  {msg:7} [{wide_bar}] {done:>9} / {all:>9}",
            "{prefix:5}  {msg:>7} layers [{wide_bar}] {done:>9} / {all:>9} {rate:>11} {left:>5} left",
        ]
    }
}

impl Styles {
    fn new(columns: u16) -> Styles {
        let [title, layer, total] = templates(columns).map(styled);
        Styles { title, layer, total }
    }
}

fn styled(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a test reads them all.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style
        .progress_chars("=> ")
        .with_key("done", |state: &ProgressState, w: &mut dyn Write| write(w, &human::bytes(state.pos())))
        .with_key("all", |state: &ProgressState, w: &mut dyn Write| {
            write(w, &human::bytes(state.len().unwrap_or_default()));
        })
        .with_key("rate", |state: &ProgressState, w: &mut dyn Write| {
            write(w, &format!("{}/s", human::bytes(state.per_sec() as u64)));
        })
        .with_key("left", |state: &ProgressState, w: &mut dyn Write| {
            write(w, &time_left(state.per_sec(), state.eta()));
        })
}

fn write(line: &mut dyn Write, text: &str) {
    line.write_str(text).expect("writing to a string cannot fail");
}

/// Without a rate there is no telling.
fn time_left(rate: f64, eta: Duration) -> String {
    match eta.as_secs_f64().ceil() as u64 {
        _ if rate < 1.0 => "-".to_owned(),
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => human::duration(Duration::from_secs(seconds)),
    }
}

/// Columns and rows of the terminal; those of a VT100 where it does not say.
fn size() -> (u16, u16) {
    match terminal_size::terminal_size_of(std::io::stderr()) {
        Some((terminal_size::Width(columns), terminal_size::Height(rows))) => (columns, rows),
        None => (80, 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_can_be_read() {
        for columns in [20, 59, 60, 200] {
            let templates = templates(columns);
            assert!(templates.iter().all(|template| ProgressStyle::with_template(template).is_ok()), "{templates:?}");
        }
    }

    #[test]
    fn time_left_is_told_from_a_rate() {
        assert_eq!(time_left(0.0, Duration::ZERO), "-");
        assert_eq!(time_left(5.0, Duration::from_millis(1200)), "2s");
        assert_eq!(time_left(5.0, Duration::from_secs(245)), "4m05s");
    }
}
