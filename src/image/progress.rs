//! What a pull tells those who watch it.

use super::digest::Digest;
use serde::{Serialize, Serializer};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between two [`PullEvent::Advanced`] of one layer, as often as a person can follow.
const PACE: Duration = Duration::from_millis(100);

/// A step of a pull. In JSON: `{"event": "…", …}`, sizes in bytes, durations as numbers of seconds.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PullEvent {
    /// The manifest is known; these are the layers of the image, base first, each once.
    Started { image: String, digest: Digest, layers: Vec<LayerProgress> },
    /// Another process makes this layer; this one waits for it.
    Waiting { layer: Digest },
    /// `received` bytes of the blob have come so far. Comes with 0 when work on the layer begins, then
    /// at most ten times per second.
    Advanced { layer: Digest, received: u64 },
    /// A request failed and is made again after a pause.
    Retrying {
        what: String,
        attempt: u32,
        #[serde(rename = "pause_seconds", serialize_with = "seconds")]
        pause: Duration,
        reason: String,
    },
    /// The layer is in the store.
    Done { layer: Digest },
    /// The image is complete.
    Finished { image: String, digest: Digest },
}

/// A layer as it stands when a pull begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerProgress {
    /// Of the blob, as in the manifest; what other events call `layer`.
    pub layer: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// True when the store has it already.
    pub present: bool,
}

/// Is called from any thread, often, and must not block.
pub type Observer = Arc<dyn Fn(&PullEvent) + Send + Sync>;

/// Tells an observer, if there is one; else nothing is computed for it.
#[derive(Clone, Default)]
pub struct Reporter(Option<Observer>);

impl Reporter {
    pub fn new(observer: Observer) -> Reporter {
        Reporter(Some(observer))
    }

    pub fn observer(&self) -> Option<Observer> {
        self.0.clone()
    }

    pub fn tell(&self, event: impl FnOnce() -> PullEvent) {
        if let Some(observer) = &self.0 {
            observer(&event());
        }
    }

    /// Says that work on a layer begins, and what is to be told of the bytes that come.
    pub fn begin(&self, layer: &Digest) -> Meter {
        self.tell(|| PullEvent::Advanced { layer: layer.clone(), received: 0 });
        Meter { reporter: self.clone(), layer: layer.clone(), told: self.0.as_ref().map(|_| Instant::now()) }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Reporter(observed)" } else { "Reporter(unobserved)" })
    }
}

/// Reports how much of one layer has come.
#[derive(Debug)]
pub struct Meter {
    reporter: Reporter,
    layer: Digest,
    /// When it last did; `None` when nobody listens.
    told: Option<Instant>,
}

impl Meter {
    /// `received` bytes of the blob have come in all.
    pub fn advance(&mut self, received: u64) {
        if self.told.is_some() {
            self.advance_at(received, Instant::now());
        }
    }

    fn advance_at(&mut self, received: u64, now: Instant) {
        if self.told.is_some_and(|told| now.saturating_duration_since(told) >= PACE) {
            self.told = Some(now);
            self.reporter.tell(|| PullEvent::Advanced { layer: self.layer.clone(), received });
        }
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn recorder() -> (Reporter, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = told.clone();
        let observer = move |event: &PullEvent| sink.lock().unwrap().push(serde_json::to_string(event).unwrap());
        (Reporter::new(Arc::new(observer)), told)
    }

    #[test]
    fn a_layer_is_told_of_ten_times_a_second() {
        let (reporter, told) = recorder();
        let layer = Digest::of(b"x");
        let mut meter = reporter.begin(&layer);
        let start = meter.told.unwrap();
        for milliseconds in 0..1000 {
            meter.advance_at(milliseconds + 1, start + Duration::from_millis(milliseconds));
        }
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 10);
        assert_eq!(told[0], format!(r#"{{"event":"advanced","layer":"{layer}","received":0}}"#));
        assert_eq!(told[1], format!(r#"{{"event":"advanced","layer":"{layer}","received":101}}"#));
    }

    #[test]
    fn nobody_is_told_nothing() {
        let reporter = Reporter::default();
        reporter.tell(|| unreachable!("an event that nobody hears is not made"));
        let mut meter = reporter.begin(&Digest::of(b"x"));
        meter.advance(1);
        assert!(meter.told.is_none());
    }

    /// What programs read; see [`PullEvent`].
    #[test]
    fn the_form_of_the_events_is_stable() {
        let digest = Digest::of(b"");
        let hash = digest.to_string();
        let layers = vec![LayerProgress { layer: digest.clone(), size: 7, present: true }];
        let events = [
            PullEvent::Started { image: "x".into(), digest: digest.clone(), layers },
            PullEvent::Waiting { layer: digest.clone() },
            PullEvent::Retrying {
                what: "w".into(),
                attempt: 2,
                pause: Duration::from_millis(1500),
                reason: "r".into(),
            },
            PullEvent::Done { layer: digest.clone() },
            PullEvent::Finished { image: "x".into(), digest },
        ];
        let lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        insta::assert_snapshot!(lines.join("\n").replace(&hash, "DIGEST"), @r#"
        {"event":"started","image":"x","digest":"DIGEST","layers":[{"layer":"DIGEST","size":7,"present":true}]}
        {"event":"waiting","layer":"DIGEST"}
        {"event":"retrying","what":"w","attempt":2,"pause_seconds":1.5,"reason":"r"}
        {"event":"done","layer":"DIGEST"}
        {"event":"finished","image":"x","digest":"DIGEST"}
        "#);
    }
}
