//! A blob as one stream, from as many connections as it takes.

use super::body::Body;
use super::connection::Connection;
use super::error::RegistryError;
use super::retry::Attempts;
use super::{Inner, Trail};
use crate::image::digest::Digest;
use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap};
use reqwest::{Response, StatusCode};
use std::sync::Arc;

/// An attempt that brought so many bytes was worth it, and the count of failures starts anew. Less
/// would let a server hold a reader up for ever with many short answers.
const PROGRESS: u64 = 256 << 10;

/// A blob under way.
pub struct Download {
    registry: Arc<Inner>,
    digest: Digest,
    size: u64,
    what: String,
    /// Index of the endpoint in use.
    endpoint: usize,
    /// The endpoint to stay with.
    only: bool,
    trail: Trail,
    /// Bytes handed out.
    received: u64,
    body: Option<Body>,
    /// Bytes of the body that have been handed out before.
    skip: u64,
    /// False after an answer to a request for a part that was another part.
    asks_for_parts: bool,
    failures: u32,
    /// What had been received at the last failure.
    received_before: u64,
    ended: bool,
}

impl Download {
    /// Begins with `endpoint` and goes on with those after it, unless `only` that one is to be used.
    pub fn new(registry: Arc<Inner>, digest: &Digest, size: u64, endpoint: usize, only: bool) -> Download {
        Download {
            registry,
            digest: digest.clone(),
            size,
            what: format!("the blob {digest}"),
            endpoint,
            only,
            trail: Trail::default(),
            received: 0,
            body: None,
            skip: 0,
            asks_for_parts: true,
            failures: 0,
            received_before: 0,
            ended: false,
        }
    }

    /// The next bytes; `None` when all have come. Nothing comes after an error.
    ///
    /// # Errors
    /// When no endpoint goes on; when there are more bytes than `size`.
    pub async fn next(&mut self) -> Option<Result<Bytes, RegistryError>> {
        while !self.ended {
            match self.step().await {
                Ok(Some(bytes)) => return Some(Ok(bytes)),
                Ok(None) => self.ended = self.received == self.size && self.body.is_none(),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// All of it, which must fit into memory.
    ///
    /// # Errors
    /// As [`Download::next`].
    pub async fn whole(&mut self) -> Result<Vec<u8>, RegistryError> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.next().await {
            whole.extend_from_slice(&bytes?);
        }
        Ok(whole)
    }

    /// Some bytes, or one step nearer to them.
    async fn step(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let got = match &mut self.body {
            None if self.received == self.size && self.size > 0 => return Ok(None),
            None => match self.open().await {
                Ok(body) => {
                    self.body = Some(body);
                    return Ok(None);
                }
                Err(error) => Err(error),
            },
            Some(body) => body.chunk().await,
        };
        match got {
            Ok(Some(mut bytes)) => {
                let skipped = self.skip.min(bytes.len() as u64);
                self.skip -= skipped;
                let bytes = bytes.split_off(skipped as usize);
                self.received += bytes.len() as u64;
                if self.received > self.size {
                    let (what, registry) = (self.what.clone(), self.connection().endpoint.registry.clone());
                    return Err(RegistryError::TooLarge { what, registry, limit: self.size });
                }
                Ok((!bytes.is_empty()).then_some(bytes))
            }
            // How a body ends that is all there does not matter.
            _ if self.received == self.size && self.body.take().is_some() => Ok(None),
            Ok(None) => {
                let (what, registry) = (self.what.clone(), self.connection().endpoint.registry.clone());
                let (received, size) = (self.received, self.size);
                self.failed(RegistryError::TooShort { what, registry, received, size }).await
            }
            Err(error) => self.failed(error).await,
        }
    }

    /// Returns when it is to be tried again, here or at the next endpoint.
    async fn failed(&mut self, error: RegistryError) -> Result<Option<Bytes>, RegistryError> {
        self.body = None;
        if self.received - self.received_before >= PROGRESS {
            self.failures = 0;
        }
        self.received_before = self.received;
        let registry = self.registry.clone();
        let attempts = Attempts::new(&registry.network, registry.observer.as_ref());
        let mut attempts = attempts.after(self.failures);
        let given_up = attempts.failed(&self.what, error).await;
        self.failures = attempts.failures();
        let Err(error) = given_up else { return Ok(None) };
        let trail = std::mem::take(&mut self.trail);
        if self.only || self.endpoint + 1 == self.registry.connections.len() {
            return Err(trail.end(&self.registry, error));
        }
        self.trail = trail.passed(&self.connection().endpoint, &error);
        self.endpoint += 1;
        self.failures = 0;
        self.asks_for_parts = true;
        Ok(None)
    }

    fn connection(&self) -> &Connection {
        &self.registry.connections[self.endpoint]
    }

    async fn open(&mut self) -> Result<Body, RegistryError> {
        let from = if self.asks_for_parts { self.received } else { 0 };
        let path = format!("blobs/{}", self.digest);
        let registry = self.registry.clone();
        let connection = &registry.connections[self.endpoint];
        let response = connection.get(&self.what, &path, |request| request.from = from).await;
        let range =
            || RegistryError::Range { what: self.what.clone(), registry: connection.endpoint.registry.clone(), from };
        let is_whole = |response: &Response| response.status() != StatusCode::PARTIAL_CONTENT;
        let skip = match &response {
            Ok(response) if is_whole(response) => Ok(self.received),
            Ok(response) if from > 0 && is_part(response.headers(), from, self.size) => Ok(0),
            Ok(_) => Err(range()),
            Err(RegistryError::Status { source, .. }) if source.status == 416 && from > 0 => Err(range()),
            Err(_) => Ok(0),
        };
        match (response, skip) {
            (Err(error), Ok(_)) => Err(error),
            (_, Err(error)) => {
                // Not again: the whole serves as well.
                self.asks_for_parts = false;
                Err(error)
            }
            (Ok(response), Ok(skip)) => {
                self.skip = skip;
                let length =
                    response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
                let expected = self.size - if skip == self.received { 0 } else { self.received };
                match length {
                    Some(found) if found != expected => {
                        let (what, registry) = (self.what.clone(), connection.endpoint.registry.clone());
                        Err(RegistryError::Size { what, registry, expected, found })
                    }
                    _ => Ok(connection.body(&self.what, response)),
                }
            }
        }
    }
}

/// True for the part that begins at `from`, of a whole of `size` bytes.
/// <https://www.rfc-editor.org/rfc/rfc9110#field.content-range>
fn is_part(headers: &HeaderMap, from: u64, size: u64) -> bool {
    let first_and_size = || {
        let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
        let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
        Some((range.split_once('-')?.0, size))
    };
    let is = |text: &str, number: u64| text.parse() == Ok(number);
    first_and_size().is_some_and(|(first, whole)| is(first, from) && (whole == "*" || is(whole, size)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn only_the_part_that_was_asked_for_will_do() {
        let fits = |text: &str| {
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_str(text).unwrap())]);
            is_part(&headers, 100, 200)
        };
        assert!(fits("bytes 100-199/200") && fits("bytes 100-199/*"));
        for text in
            ["", "bytes 0-199/200", "bytes 100-199/201", "bytes */200", "100-199/200", "bytes 100", "bytes x-y/z"]
        {
            assert!(!fits(text), "{text}");
        }
        assert!(!is_part(&HeaderMap::new(), 100, 200));
    }
}
