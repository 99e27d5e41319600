//! Keeping one issuer's keys fresh: in the background, and when a token names an unknown key.
//!
//! A failed fetch leaves the last good set in place until its hard limit. An unknown `kid` fetches
//! once for all who wait, from a bucket of two that fills at a floor's rate, so that forged `kid`s
//! cannot hammer the provider and one of them cannot hold a rotation back; kids that a fetch did
//! not find are remembered for the gap, within a bound, or until a new set comes: not longer, since a
//! guessed kid of the next rotation must not keep that out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{KeySource, KeyStatus};
use crate::clock::UnixTime;
use crate::config::JwksSettings;
use crate::gateway::Gateway;
use crate::keys::{KeyRequest, KeySet};
use crate::policy::{Issuer, IssuerId};

/// Fetches for unknown kids in hand.
const BUCKET: u32 = 2;
/// Unknown kids that are remembered.
const UNKNOWN_MAX: usize = 1024;
/// After a failure the next try comes after this, doubled each time...
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// ...up to this.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Keeps the keys of one issuer.
pub(crate) struct Keeper<S> {
    gateway: Arc<Gateway>,
    id: IssuerId,
    rules: Arc<Issuer>,
    status: Arc<KeyStatus>,
    settings: JwksSettings,
    source: S,
    current: Option<Arc<KeySet>>,
    /// When the current set was last seen at the provider: for its hard limit, and for people.
    seen: Option<Instant>,
    checked_at: Option<UnixTime>,
    failures: u32,
    next: Instant,
    /// Key ids that a fetch did not find, and when: not asked for again within the gap.
    unknown: HashMap<Option<Box<str>>, Instant>,
    tokens: u32,
    filled: Instant,
}

impl<S: KeySource> Keeper<S> {
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        id: IssuerId,
        rules: Arc<Issuer>,
        status: Arc<KeyStatus>,
        settings: JwksSettings,
        source: S,
    ) -> Self {
        let now = Instant::now();
        Self {
            gateway,
            id,
            rules,
            status,
            settings,
            source,
            current: None,
            seen: None,
            checked_at: None,
            failures: 0,
            next: now,
            unknown: HashMap::new(),
            tokens: BUCKET,
            filled: now,
        }
    }

    /// Keeps the keys until nobody can ask any more.
    pub(crate) async fn keep(mut self, mut questions: mpsc::Receiver<KeyRequest>) {
        loop {
            let wake = self
                .expiry()
                .map_or(self.next, |expiry| self.next.min(expiry));
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(wake) => {
                    self.expire();
                    if Instant::now() >= self.next {
                        self.fetch().await;
                    }
                }
                question = questions.recv() => match question {
                    Some(question) => self.answer(question).await,
                    None => return,
                },
            }
        }
    }

    async fn answer(&mut self, question: KeyRequest) {
        let known = |current: &Option<Arc<KeySet>>| {
            let kid = question.kid.as_deref();
            current
                .as_ref()
                .is_some_and(|keys| kid.is_some_and(|kid| keys.has_kid(kid)))
        };
        let gap = self.settings.unknown_kid_gap;
        self.unknown.retain(|_, since| since.elapsed() < gap);
        // A fetch for somebody else may have brought it.
        if !known(&self.current) && !self.unknown.contains_key(&question.kid) {
            self.status.unknown_kids.fetch_add(1, Ordering::Relaxed);
            if self.take_token() {
                let fetched = self.fetch().await;
                // A failed fetch says nothing about the key id.
                if fetched && !known(&self.current) && self.unknown.len() < UNKNOWN_MAX {
                    self.unknown.insert(question.kid, Instant::now());
                }
            }
        }
        // The asker may have given up waiting.
        let _ = question.answer.send(());
    }

    fn take_token(&mut self) -> bool {
        let gap = self.settings.unknown_kid_gap;
        while self.tokens < BUCKET && self.filled.elapsed() >= gap {
            self.tokens += 1;
            self.filled += gap;
        }
        if self.tokens == BUCKET {
            self.filled = Instant::now();
        }
        let taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        taken
    }

    /// Fetches once; whether that succeeded.
    async fn fetch(&mut self) -> bool {
        let started = Instant::now();
        let fetched = self.source.fetch(self.rules.algorithms).await;
        self.status.durations.observe(started.elapsed());
        match fetched {
            Ok((keys, skipped)) => {
                self.status.successes.fetch_add(1, Ordering::Relaxed);
                let now = self.gateway.clock.now();
                self.checked_at = Some(now);
                self.status
                    .last_success
                    .store(now.secs(), Ordering::Relaxed);
                self.status
                    .skipped
                    .store(skipped.len() as u64, Ordering::Relaxed);
                for key in skipped {
                    let kid = key
                        .kid
                        .as_deref()
                        .unwrap_or_default()
                        .escape_default()
                        .to_string();
                    tracing::warn!(issuer = %self.status.name, index = key.index, %kid, why = key.why, "a key of the set is not used");
                }
                self.failures = 0;
                self.seen = Some(Instant::now());
                self.next = Instant::now() + self.settings.refresh;
                self.take_in(keys);
                true
            }
            Err(error) => {
                self.status.failed(&error);
                let retry = RETRY_FIRST
                    .saturating_mul(1 << self.failures.min(8))
                    .min(RETRY_MAX);
                self.failures = self.failures.saturating_add(1);
                self.next = Instant::now() + retry;
                tracing::warn!(issuer = %self.status.name, from = self.source.place(), %error, "the issuer's keys were not fetched; trying again");
                false
            }
        }
    }

    /// Takes a set that the provider gave. An equal one keeps its place, and with it everything
    /// that was verified by it.
    fn take_in(&mut self, keys: KeySet) {
        let same = self
            .current
            .as_ref()
            .is_some_and(|current| current.same_keys(&keys));
        if !same {
            tracing::info!(issuer = %self.status.name, keys = keys.len(), "the issuer's keys changed");
            self.unknown.clear();
            self.current = Some(Arc::new(keys));
        }
        self.publish();
    }

    fn expiry(&self) -> Option<Instant> {
        self.current.as_ref()?;
        Some(self.seen? + self.settings.stale_max)
    }

    /// Past the hard limit the last good set is not good any more.
    fn expire(&mut self) {
        if self.expiry().is_some_and(|expiry| Instant::now() >= expiry) {
            tracing::error!(issuer = %self.status.name, "the issuer's keys are too old to be used");
            self.current = None;
            self.publish();
        }
    }

    fn publish(&self) {
        let policy =
            self.gateway
                .policy
                .load()
                .with_keys(self.id, self.current.clone(), self.checked_at);
        self.gateway.policy.publish(policy);
    }
}
