//! Traces: a request's place in a trace (W3C Trace Context), and the spans of those that are sampled.
//!
//! Without a collector nothing is made: what a client sends passes on as it came. With one, a request costs a
//! draw; only a sampled one has spans, which go to the exporter through a bounded queue and are counted where
//! they are lost.

mod context;
mod span;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use tokio::sync::mpsc;

pub(crate) use context::{Context, trace_id};
pub(crate) use span::{Span, Spans, document};

/// Traces that wait for the exporter.
const QUEUE_MAX: usize = 2048;

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct TraceCounts {
    pub(crate) sent: AtomicU64,
    /// For which there was no room, or whose collector took none.
    pub(crate) dropped: AtomicU64,
}

/// Begins traces.
#[derive(Debug)]
pub(crate) struct Tracer {
    /// One trace in so many.
    one_in: u64,
    queue: mpsc::Sender<Spans>,
    counts: Arc<TraceCounts>,
}

/// A sampled request.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) trace: [u8; 16],
    /// Of whoever sent the request.
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) span: [u8; 8],
    /// Of the request to the upstream.
    pub(crate) upstream_span: [u8; 8],
    /// When the token was verified, and for how long.
    pub(crate) verified: Option<(Instant, Duration)>,
    /// When keys were waited for.
    pub(crate) waited: Option<(Instant, Duration)>,
    pub(crate) forwarded: Option<(Instant, Duration)>,
}

impl Tracer {
    /// A tracer of one in so many, and where its spans come out.
    pub(crate) fn channel(one_in: u64) -> (Self, mpsc::Receiver<Spans>) {
        let (queue, spans) = mpsc::channel(QUEUE_MAX);
        let tracer = Self {
            one_in: one_in.max(1),
            queue,
            counts: Arc::default(),
        };
        (tracer, spans)
    }

    pub(crate) fn counts(&self) -> &Arc<TraceCounts> {
        &self.counts
    }

    /// Begins a trace, or goes on with the one that the request belongs to; `None`: it is not sampled. A proxy
    /// that is trusted has decided that already; a client has not.
    pub(crate) fn begin(&self, headers: &HeaderMap, by_proxy: bool) -> Option<Box<Traced>> {
        let context = Context::of(headers);
        let sampled = match &context {
            Some(context) if by_proxy => context.is_sampled,
            _ => drawn().is_multiple_of(self.one_in),
        };
        if !sampled {
            return None;
        }
        let (trace, parent) = match context {
            Some(context) => (context.trace, Some(context.parent)),
            None => (random()?, None),
        };
        Some(Box::new(Traced {
            trace,
            parent,
            span: random()?,
            upstream_span: random()?,
            verified: None,
            waited: None,
            forwarded: None,
        }))
    }

    /// Hands spans to the exporter, or counts them as lost.
    pub(crate) fn send(&self, spans: Spans) {
        let count = spans.0.len() as u64;
        if self.queue.try_send(spans).is_err() {
            self.counts.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Traced {
    /// What the upstream is sent (W3C Trace Context section 3.2).
    pub(crate) fn traceparent(&self) -> Option<HeaderValue> {
        let context = Context {
            trace: self.trace,
            parent: self.upstream_span,
            is_sampled: true,
        };
        HeaderValue::from_str(&context.to_string()).ok()
    }
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    // All zeros is no id.
    bytes.iter().any(|byte| *byte != 0).then_some(bytes)
}

/// A number by chance, for nothing that anybody must not guess.
fn drawn() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(u64::from_le_bytes(random().unwrap_or([1; 8])));
    }
    // Marsaglia's xorshift64.
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        x
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-";

    fn headers(flags: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("{CONTEXT}{flags}")).expect("a value");
        headers.insert("traceparent", value);
        headers
    }

    #[test]
    fn a_trace_goes_on_and_the_share_is_as_configured() {
        let (all, _spans) = Tracer::channel(1);
        let traced = all.begin(&headers("00"), false).expect("sampled");
        assert_eq!(
            traced.parent,
            Some([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7])
        );
        let sent = traced.traceparent().expect("a value");
        let sent = sent.to_str().expect("text");
        assert!(sent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && sent.ends_with("-01"));
        // A trusted proxy has decided.
        assert!(all.begin(&headers("00"), true).is_none());
        let (few, _spans) = Tracer::channel(100);
        assert!(few.begin(&headers("01"), true).is_some());
        let sampled = (0..100_000).filter(|_| few.begin(&HeaderMap::new(), false).is_some());
        assert!((500..2_000).contains(&sampled.count()));
    }
}
