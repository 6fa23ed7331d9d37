//! Progress in lines: one when the state of a layer changes, and no more.

use super::short;
use crate::cli::{human, output};
use crate::engine::{Digest, PullEvent};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What has been said of the pull under way.
#[derive(Default)]
pub(super) struct Plain {
    /// Layers to be got and not known to be done, with what was last said of them.
    layers: HashMap<Digest, Layer>,
    started: Option<Instant>,
}

struct Layer {
    size: u64,
    said: Said,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Waiting,
    Pulling,
}

impl Plain {
    /// The line to be written for this event, if it is worth one.
    pub(super) fn line(&mut self, event: &PullEvent) -> Option<String> {
        let text = match event {
            PullEvent::Started { image, layers, .. } => {
                let missing = layers.iter().filter(|layer| !layer.present);
                self.layers = missing
                    .map(|layer| (layer.layer.clone(), Layer { size: layer.size, said: Said::Nothing }))
                    .collect();
                // Nothing to get: the command's result says all there is to say.
                self.started = (!self.layers.is_empty()).then(Instant::now);
                self.started?;
                let size = human::bytes(self.layers.values().map(|layer| layer.size).sum());
                format!("{image}: pulling {} of {} layers, {size}", self.layers.len(), layers.len())
            }
            PullEvent::Waiting { layer } => {
                self.says(layer, Said::Waiting)?;
                format!("{}: waiting for another process to get it", short(layer))
            }
            PullEvent::Advanced { layer, .. } => {
                let size = self.says(layer, Said::Pulling)?;
                format!("{}: pulling {}", short(layer), human::bytes(size))
            }
            PullEvent::Retrying { what, attempt, pause, reason } => {
                return Some(retrying(what, *attempt, *pause, reason));
            }
            PullEvent::Done { layer } => {
                self.layers.remove(layer)?;
                format!("{}: done", short(layer))
            }
            PullEvent::Finished { image, .. } => finished(image, self.started.take()?),
        };
        Some(format!("coracle: {}\n", output::printable(&text)))
    }

    /// The size of the layer when this is news of it.
    fn says(&mut self, layer: &Digest, now: Said) -> Option<u64> {
        let layer = self.layers.get_mut(layer)?;
        (layer.said != now).then(|| {
            layer.said = now;
            layer.size
        })
    }
}

/// What is said of a retry, whatever the style.
pub(super) fn retrying(what: &str, attempt: u32, pause: Duration, reason: &str) -> String {
    let pause = human::duration(pause);
    output::formatted("note", &format!("{what}: {reason}; attempt {attempt} in {pause}"))
}

/// What stays of a pull that is over.
pub(super) fn finished(image: &str, started: Instant) -> String {
    format!("{image}: pulled in {}", human::duration(started.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::LayerProgress;

    #[test]
    fn a_layer_has_a_line_for_each_state() {
        let [base, top] = ["base", "top"].map(|text| Digest::of(text.as_bytes()));
        let layer = |layer: &Digest, present| LayerProgress { layer: layer.clone(), size: 3 << 20, present };
        let layers = vec![layer(&base, true), layer(&top, false)];
        let events = [
            PullEvent::Advanced { layer: top.clone(), received: 0 },
            PullEvent::Started { image: "a:b\u{1b}".into(), digest: base.clone(), layers },
            PullEvent::Waiting { layer: top.clone() },
            PullEvent::Advanced { layer: top.clone(), received: 0 },
            PullEvent::Retrying {
                what: "get x".into(),
                attempt: 2,
                pause: Duration::from_secs(2),
                reason: "no".into(),
            },
            PullEvent::Advanced { layer: top.clone(), received: 5 },
            PullEvent::Advanced { layer: base.clone(), received: 5 },
            PullEvent::Done { layer: top.clone() },
            PullEvent::Done { layer: top.clone() },
        ];
        let mut plain = Plain::default();
        let lines: String = events.iter().filter_map(|event| plain.line(event)).collect();
        let top = short(&top);
        assert_eq!(
            lines,
            format!(
                "coracle: a:b\\u{{1b}}: pulling 1 of 2 layers, 3.0 MiB\n\
                 coracle: {top}: waiting for another process to get it\n\
                 coracle: {top}: pulling 3.0 MiB\n\
                 coracle: note: get x: no; attempt 2 in 2.0s\n\
                 coracle: {top}: done\n"
            )
        );
        let last = plain.line(&PullEvent::Finished { image: "a:b".into(), digest: base }).expect("a last line");
        assert!(last.starts_with("coracle: a:b: pulled in "), "{last}");
    }

    #[test]
    fn nothing_to_get_is_nothing_to_say() {
        let mut plain = Plain::default();
        let digest = Digest::of(b"x");
        let layers = vec![LayerProgress { layer: digest.clone(), size: 1, present: true }];
        let started = PullEvent::Started { image: "a".into(), digest: digest.clone(), layers };
        assert_eq!(plain.line(&started), None);
        assert_eq!(plain.line(&PullEvent::Finished { image: "a".into(), digest }), None);
    }
}
