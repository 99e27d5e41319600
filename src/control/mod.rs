//! Control: the single writer of the policy, on a runtime of its own.
//!
//! Each issuer with a remote source has a task that fetches its keys; all tasks run on one thread,
//! and reading the policy, changing it and publishing it is one step without a wait in between, so
//! no change is lost and readers never lock. What control knows of each issuer is in [`KeyStatus`].

pub(crate) mod fetch;
mod key_source;
mod refresh;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::{IssuerSettings, KeySourceSettings};
use crate::gateway::Gateway;
use crate::keys::KeyRequest;
use crate::observe::metrics::Durations;
use crate::policy::IssuerId;
use crate::revocation::Revocations;

pub(crate) use key_source::{FetchError, KeySource, RemoteKeys};

/// Questions for one issuer that may wait while its keys are fetched.
const QUESTIONS_MAX: usize = 256;
/// How often revocations that have run out are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// What is known of one issuer's keys, for readiness and metrics.
#[derive(Debug)]
pub(crate) struct KeyStatus {
    pub(crate) name: Arc<str>,
    /// Seconds since the epoch; 0 is never.
    pub(crate) last_success: AtomicI64,
    pub(crate) skipped: AtomicU64,
    pub(crate) unknown_kids: AtomicU64,
    pub(crate) successes: AtomicU64,
    pub(crate) failures: [AtomicU64; FetchError::KINDS.len()],
    pub(crate) durations: Durations,
    /// Keys come from a provider and not from the configuration.
    pub(crate) remote: bool,
}

impl KeyStatus {
    pub(crate) fn new(issuer: &IssuerSettings) -> Self {
        Self {
            name: Arc::clone(&issuer.rules.name),
            last_success: AtomicI64::new(0),
            skipped: AtomicU64::new(0),
            unknown_kids: AtomicU64::new(0),
            successes: AtomicU64::new(0),
            failures: Default::default(),
            durations: Durations::default(),
            remote: !matches!(issuer.source, KeySourceSettings::Fixed(_)),
        }
    }

    fn failed(&self, error: &FetchError) {
        let kind = FetchError::KINDS
            .iter()
            .position(|kind| *kind == error.kind());
        if let Some(counter) = kind.and_then(|kind| self.failures.get(kind)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Runs control for as long as its runtime lives.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    issuers: Vec<(IssuerSettings, Arc<KeyStatus>)>,
    revocations: Arc<Revocations>,
    mut requests: mpsc::Receiver<KeyRequest>,
) {
    let mut keepers: HashMap<Arc<str>, mpsc::Sender<KeyRequest>> = HashMap::new();
    for (index, (issuer, status)) in issuers.into_iter().enumerate() {
        let (source, settings) = match issuer.source {
            KeySourceSettings::Fixed(_) => continue,
            KeySourceSettings::Url(url, settings) => (RemoteKeys::at(url, &settings), settings),
            KeySourceSettings::Discovery(settings) => (
                RemoteKeys::discovered(&issuer.rules.issuer, &settings),
                settings,
            ),
        };
        let source = match source {
            Ok(source) => source,
            Err(error) => {
                tracing::error!(issuer = %status.name, %error, "the keys of an issuer cannot be fetched");
                continue;
            }
        };
        let (asked, questions) = mpsc::channel(QUESTIONS_MAX);
        keepers.insert(Arc::clone(&issuer.rules.name), asked);
        let keeper = refresh::Keeper::new(
            Arc::clone(&gateway),
            IssuerId(index),
            issuer.rules,
            status,
            settings,
            source,
        );
        tokio::spawn(keeper.keep(questions));
    }
    let clock = Arc::clone(&gateway.clock);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(FORGET_EVERY);
        loop {
            tick.tick().await;
            revocations.forget_expired(clock.now());
        }
    });
    while let Some(request) = requests.recv().await {
        // An issuer with fixed keys, or one whose queue is full: the answer is dropped, which says
        // that there is nothing to wait for.
        if let Some(keeper) = keepers.get(&request.issuer) {
            let _ = keeper.try_send(request);
        }
    }
}
