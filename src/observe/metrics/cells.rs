//! What one worker counts.

use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;

use super::minutes::Minutes;
use crate::observe::exchange::{CacheLabel, Exchange, MethodLabel, StreamEnd, UpstreamNotes};
use crate::observe::histogram::{Histogram, OWN_BOUNDS, REQUEST_BOUNDS};
use crate::verdict::Reason;

/// The cells of one worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerCells(pub(super) Mutex<Cells>);

/// A route's place; `None` is a request without one.
pub(super) type RouteIndex = Option<usize>;

/// Maps with few entries, each looked up on every request: the hash is the cheap one, and the keys
/// are of closed lists.
#[derive(Debug)]
pub(super) struct Cells {
    /// By everything that a verdict and its answer are counted by; the families add up from here.
    pub(super) answers: HashMap<AnswerKey, u64>,
    pub(super) durations: HashMap<RouteIndex, Histogram>,
    pub(super) overhead: Histogram,
    pub(super) verifications: HashMap<&'static str, Histogram>,
    pub(super) cache: [u64; CacheLabel::ALL.len()],
    pub(super) revocation_hits: HashMap<&'static str, u64>,
    /// What routes that only report would have refused.
    pub(super) would_deny: HashMap<(RouteIndex, Reason), u64>,
    pub(super) streams_ended: [u64; StreamEnd::ALL.len()],
    pub(super) upstreams: HashMap<usize, UpstreamCells>,
    pub(super) minutes: Minutes,
}

/// What an answer is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AnswerKey {
    pub(super) route: RouteIndex,
    pub(super) issuer: Option<usize>,
    pub(super) method: MethodLabel,
    pub(super) status: u16,
    pub(super) reason: Option<Reason>,
}

/// What one upstream's requests came to.
#[derive(Debug)]
pub(super) struct UpstreamCells {
    pub(super) by_class: [u64; STATUS_CLASSES.len()],
    pub(super) durations: Histogram,
    pub(super) retries: u64,
}

/// The classes of a response; the first is for none.
pub(super) const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl Default for Cells {
    fn default() -> Self {
        Self {
            answers: HashMap::new(),
            durations: HashMap::new(),
            overhead: Histogram::new(OWN_BOUNDS),
            verifications: HashMap::new(),
            cache: [0; CacheLabel::ALL.len()],
            revocation_hits: HashMap::new(),
            would_deny: HashMap::new(),
            streams_ended: [0; StreamEnd::ALL.len()],
            upstreams: HashMap::new(),
            minutes: Minutes::default(),
        }
    }
}

impl Default for UpstreamCells {
    fn default() -> Self {
        Self {
            by_class: [0; STATUS_CLASSES.len()],
            durations: Histogram::new(REQUEST_BOUNDS),
            retries: 0,
        }
    }
}

impl UpstreamCells {
    fn record(&mut self, upstream: &UpstreamNotes) {
        let class = upstream
            .status
            .map_or(0, |status| usize::from(status / 100));
        if let Some(count) = self.by_class.get_mut(class.min(STATUS_CLASSES.len() - 1)) {
            *count += 1;
        }
        self.durations.observe(upstream.took);
        self.retries += u64::from(upstream.retries);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.by_class.iter_mut().zip(other.by_class) {
            *mine += theirs;
        }
        self.durations.add(&other.durations);
        self.retries += other.retries;
    }
}

impl WorkerCells {
    /// Adds an exchange that is over.
    pub(crate) fn record(&self, exchange: &Exchange) {
        let took = exchange.started.elapsed();
        let route = exchange.route;
        let issuer = exchange.issuer;
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cells = &mut *cells;
        let answer = AnswerKey {
            route,
            issuer,
            method: exchange.method,
            status: exchange.status,
            reason: exchange.reason,
        };
        *cells.answers.entry(answer).or_default() += 1;
        cells.minutes.record(exchange.at, exchange.reason);
        cells
            .durations
            .entry(route)
            .or_insert_with(|| Histogram::new(REQUEST_BOUNDS))
            .observe(took);
        if let Some(cache) = exchange.cache
            && let Some(count) = cells.cache.get_mut(cache as usize)
        {
            *count += 1;
        }
        if let Some(reason) = exchange.would_deny {
            *cells.would_deny.entry((route, reason)).or_default() += 1;
        }
        if let Some(selector) = exchange.revoked_by {
            *cells.revocation_hits.entry(selector).or_default() += 1;
        }
        if let Some(end) = exchange.stream_ended
            && let Some(count) = cells.streams_ended.get_mut(end as usize)
        {
            *count += 1;
        }
        if let Some((alg, took)) = exchange.verified_in {
            cells
                .verifications
                .entry(alg)
                .or_insert_with(|| Histogram::new(OWN_BOUNDS))
                .observe(took);
        }
        let mut own = took;
        if let Some(upstream) = &exchange.upstream {
            own = own.saturating_sub(upstream.took);
            cells
                .upstreams
                .entry(upstream.index)
                .or_default()
                .record(upstream);
        }
        cells.overhead.observe(own);
    }
}
