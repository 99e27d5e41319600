//! Sends spans to a collector: OTLP over HTTP, in JSON (OpenTelemetry protocol 1.x).
//!
//! What the collector does not take within its time is lost and counted: a collector that is down or slow
//! makes nobody wait, and fills nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::FetchError;
use super::fetch::{FetchLimits, Fetcher, Trust};
use crate::config::TracingSettings;
use crate::observe::trace::{Span, Spans, TraceCounts, document};

/// Spans that go at once, and how long the first of them waits for others.
const BATCH_MAX: usize = 512;
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// For one request to the collector.
const LIMITS: FetchLimits = FetchLimits {
    timeout: Duration::from_secs(5),
    bytes_max: 64 * 1024,
};

/// Whoever sends.
#[derive(Debug)]
pub(crate) struct Exporter {
    url: String,
    fetcher: Fetcher,
    counts: Arc<TraceCounts>,
    is_failing: bool,
}

impl Exporter {
    /// # Errors
    /// Its roots cannot be used.
    pub(crate) fn new(
        settings: &TracingSettings,
        counts: Arc<TraceCounts>,
    ) -> Result<Self, FetchError> {
        let connector = Trust::default().collector(settings.ca.as_deref())?;
        Ok(Self {
            url: settings.url.to_string(),
            fetcher: Fetcher::new(connector, LIMITS),
            counts,
            is_failing: false,
        })
    }

    /// Sends what comes, until nobody can send any more.
    pub(crate) async fn keep(mut self, mut spans: mpsc::Receiver<Spans>) {
        while let Some(first) = spans.recv().await {
            let mut batch = first.0;
            let until = Instant::now() + BATCH_WAIT;
            while batch.len() < BATCH_MAX {
                match tokio::time::timeout_at(until, spans.recv()).await {
                    Ok(Some(more)) => batch.extend(more.0),
                    Ok(None) | Err(_) => break,
                }
            }
            self.send(batch).await;
        }
    }

    async fn send(&mut self, batch: Vec<Span>) {
        let count = batch.len() as u64;
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(document(batch)));
        let sent = match request {
            Err(error) => Err(error.to_string()),
            Ok(request) => match self.fetcher.send(request).await {
                Ok(answer) if answer.status().is_success() => Ok(()),
                Ok(answer) => Err(format!("it answers {}", answer.status())),
                Err(error) => Err(error.to_string()),
            },
        };
        match (&sent, self.is_failing) {
            // Once for all that fail in a row.
            (Err(why), false) => {
                tracing::warn!(
                    collector = self.url,
                    why,
                    "spans are lost: the collector does not take them"
                );
            }
            (Ok(()), true) => {
                tracing::info!(collector = self.url, "the collector takes spans again")
            }
            _ => {}
        }
        self.is_failing = sent.is_err();
        let counter = match sent {
            Ok(()) => &self.counts.sent,
            Err(_) => &self.counts.dropped,
        };
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
