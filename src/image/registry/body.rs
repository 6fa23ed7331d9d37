//! What comes after the head of an answer: bounded in size, in silence and in slowness.

use super::error::{Answer, RegistryError};
use crate::image::foreign::shown;
use bytes::Bytes;
use oci_distribution::errors::{OciEnvelope, OciErrorCode};
use reqwest::Response;
use std::time::{Duration, Instant};

/// Fewer bytes than this within the time of a stall are a stall: 273 bytes per second by default, of
/// which no link that is of use is incapable, and which a server must spend to hold a reader up.
pub const SLOWEST: u64 = 16 << 10;

/// More of a refusal is not read.
const LONGEST_ANSWER: u64 = 16 << 10;

/// A body under way.
pub struct Body {
    response: Response,
    pace: Pace,
    what: String,
    registry: String,
}

impl Body {
    pub fn new(response: Response, stall: Duration, what: &str, registry: &str) -> Body {
        let (what, registry) = (what.to_owned(), registry.to_owned());
        Body { response, pace: Pace::new(stall), what, registry }
    }

    /// The bytes as they come; `None` at the end.
    ///
    /// # Errors
    /// [`RegistryError::Broken`], [`RegistryError::Stalled`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let asked = Instant::now();
        let chunk = tokio::time::timeout(self.pace.stall, self.response.chunk()).await;
        let length = match &chunk {
            Ok(Ok(Some(chunk))) => chunk.len() as u64,
            _ => 0,
        };
        let keeps_up = self.pace.keeps_up(asked.elapsed(), length);
        match chunk {
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(chunk))) if keeps_up => Ok(Some(chunk)),
            Ok(Err(error)) => {
                let (what, registry) = (self.what.clone(), self.registry.clone());
                Err(RegistryError::Broken { what, registry, source: error.without_url() })
            }
            Err(_) | Ok(Ok(Some(_))) => {
                let (what, registry) = (self.what.clone(), self.registry.clone());
                let (waited, received) = (self.pace.waited, self.pace.received);
                Err(RegistryError::Stalled { what, registry, received, waited })
            }
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// As [`Body::chunk`]; [`RegistryError::TooLarge`] as soon as there are more than `limit` bytes.
    pub async fn whole(mut self, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let too_large = |what: &str, registry: &str| {
            let (what, registry) = (what.to_owned(), registry.to_owned());
            Err(RegistryError::TooLarge { what, registry, limit })
        };
        if self.response.content_length().is_some_and(|length| length > limit) {
            return too_large(&self.what, &self.registry);
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() as u64 + chunk.len() as u64 > limit {
                return too_large(&self.what, &self.registry);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// Finds a sender that keeps a reader waiting. Only the time spent waiting counts: a reader that is
/// itself slow does not make the sender so.
#[derive(Debug)]
struct Pace {
    stall: Duration,
    waited: Duration,
    received: u64,
}

impl Pace {
    fn new(stall: Duration) -> Pace {
        Pace { stall, waited: Duration::ZERO, received: 0 }
    }

    /// Adds a wait and what it brought; false when too little came for too long.
    fn keeps_up(&mut self, waited: Duration, received: u64) -> bool {
        self.waited += waited;
        self.received += received;
        if self.received >= SLOWEST {
            (self.waited, self.received) = (Duration::ZERO, 0);
        }
        self.waited < self.stall
    }
}

impl Answer {
    /// Reads a refusal. What cannot be read of it is left out.
    pub async fn read(mut response: Response, stall: Duration) -> Answer {
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        let reading = async {
            while let Ok(Some(chunk)) = response.chunk().await {
                bytes.extend_from_slice(&chunk);
                if bytes.len() as u64 >= LONGEST_ANSWER {
                    break;
                }
            }
        };
        // The status alone says enough.
        let _ = tokio::time::timeout(stall, reading).await;
        bytes.truncate(LONGEST_ANSWER as usize);
        Answer { status, message: message(&bytes) }
    }
}

/// What an error document says, or a text if it is no page for a browser.
fn message(bytes: &[u8]) -> String {
    let text = match serde_json::from_slice::<OciEnvelope>(bytes) {
        Ok(envelope) => {
            let errors = envelope.errors.iter().map(|error| match (&error.code, error.message.as_str()) {
                (OciErrorCode::Other(code), "") => code.clone(),
                (code, "") => format!("{code:?}"),
                (_, message) => message.to_owned(),
            });
            errors.collect::<Vec<_>>().join("; ")
        }
        Err(_) => String::from_utf8_lossy(bytes).trim().to_owned(),
    };
    if text.starts_with('<') {
        return String::new();
    }
    shown(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_sender_must_not_keep_a_reader_waiting() {
        let mut silent = Pace::new(MINUTE);
        assert!(silent.keeps_up(MINUTE / 2, 0));
        assert!(!silent.keeps_up(MINUTE / 2, 0));

        let mut dripping = Pace::new(MINUTE);
        let dripped = (0..1000).take_while(|_| dripping.keeps_up(Duration::from_secs(1), 1)).count();
        assert_eq!(dripped, 59);
    }

    #[test]
    fn a_slow_link_and_a_slow_reader_are_no_stall() {
        let mut slow = Pace::new(MINUTE);
        assert!((0..10_000).all(|_| slow.keeps_up(Duration::from_secs(1), 300)));
        let mut fast = Pace::new(MINUTE);
        assert!((0..10_000).all(|_| fast.keeps_up(Duration::ZERO, 1)));
    }

    #[test]
    fn a_message_is_what_the_registry_means_to_say() {
        let both = br#"{"errors":[{"code":"DENIED","message":"not yours"},{"code":"X_OWN"},{"code":"UNAUTHORIZED"}]}"#;
        assert_eq!(message(both), "not yours; X_OWN; Unauthorized");
        assert_eq!(message(b" slow down\n"), "slow down");
        assert_eq!(message(b"<html>long</html>"), "");
        assert_eq!(message(b""), "");
    }
}
