//! Keeping one issuer's keys fresh: in the background, when a token names an unknown key, when a
//! file changes, and when an operator asks.
//!
//! A failed fetch, garbage, or a set without a usable key leaves the last good set in place until
//! its hard limit; but a key that lies somewhere with its private part goes at once, and never comes
//! back. What the provider confirmed is written to disk, so that a restart can begin with it.

mod pace;
mod unknown;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::fetch::FetchError;
use super::gate::Gate;
use super::key_source::{Fetched, KeySource};
use super::saved::Record;
use super::status::KeyStatus;
use crate::clock::UnixTime;
use crate::config::FreshnessSettings;
use crate::gateway::Gateway;
use crate::keys::{KeyRequest, KeySet, Thumbprint, jwks};
use crate::observe::audit::KeyEvent;
use crate::policy::{Issuer, IssuerId};

use pace::Pace;
use unknown::Unknown;

/// Exposed keys that are remembered of one issuer. Beyond that it gets no new keys at all.
const DISTRUSTED_MAX: usize = 1024;

/// What a keeper is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// A token names a key that is not in the set.
    Find(KeyRequest),
    /// The file that the keys come from may have changed.
    Look,
    /// Fetch now, and say what came of it.
    Refresh(oneshot::Sender<Result<(), FetchError>>),
}

/// What a keeper begins with.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    pub(crate) keys: Option<BegunKeys>,
    /// Keys that were exposed before.
    pub(crate) distrusted: HashSet<Thumbprint>,
}

/// A set of an earlier run, or of the configuration.
#[derive(Debug)]
pub(crate) struct BegunKeys {
    pub(crate) keys: Arc<KeySet>,
    pub(crate) document: Bytes,
    pub(crate) seen_at: UnixTime,
    /// How long ago that was.
    pub(crate) age: Duration,
}

/// The set in use.
#[derive(Debug)]
struct Held {
    keys: Arc<KeySet>,
    document: Bytes,
    seen_at: UnixTime,
    /// The hard limit; a file has none.
    expires: Option<Instant>,
}

/// Keeps the keys of one issuer.
pub(crate) struct Keeper<S> {
    gateway: Arc<Gateway>,
    gate: Arc<Gate>,
    id: IssuerId,
    rules: Arc<Issuer>,
    status: Arc<KeyStatus>,
    stale_max: Option<Duration>,
    source: S,
    held: Option<Held>,
    /// The set in use is the document that the source gave last: only then is "the same as the last
    /// time" good news.
    newest_in_use: bool,
    distrusted: HashSet<Thumbprint>,
    pace: Pace,
    /// `None`: not before somebody asks.
    next: Option<Instant>,
    unknown: Unknown,
    save: watch::Sender<Option<Record>>,
}

impl<S: KeySource> Keeper<S> {
    #[expect(clippy::too_many_arguments, reason = "one place makes it")]
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        gate: Arc<Gate>,
        (id, rules): (IssuerId, Arc<Issuer>),
        status: Arc<KeyStatus>,
        (settings, on_demand): (&FreshnessSettings, bool),
        source: S,
        beginning: Beginning,
        save: watch::Sender<Option<Record>>,
    ) -> Self {
        let now = Instant::now();
        let begun = beginning.keys.is_some();
        let held = beginning.keys.map(|begun| Held {
            keys: begun.keys,
            document: begun.document,
            seen_at: begun.seen_at,
            expires: settings
                .stale_max
                .map(|limit| now + limit.saturating_sub(begun.age)),
        });
        let keeper = Self {
            gateway,
            gate,
            id,
            rules,
            status,
            stale_max: settings.stale_max,
            source,
            held,
            newest_in_use: false,
            distrusted: beginning.distrusted,
            pace: Pace::new(settings.refresh, settings.unknown_kid_gap),
            next: (begun || !on_demand).then_some(now),
            unknown: Unknown::new(settings.unknown_kid_gap),
            save,
        };
        keeper.note();
        keeper
    }

    /// Keeps the keys until nobody can ask any more.
    pub(crate) async fn keep(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let expires = self.held.as_ref().and_then(|held| held.expires);
            let wake = [self.next, expires].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = sleep_until(wake) => {
                    self.expire();
                    if self.next.is_some_and(|next| Instant::now() >= next) {
                        let _ = self.fetch().await;
                    }
                }
                order = orders.recv() => match order {
                    Some(Order::Find(question)) => self.find(question).await,
                    Some(Order::Look) => _ = self.fetch().await,
                    Some(Order::Refresh(answer)) => {
                        let result = self.fetch().await;
                        // Whoever asked may have gone.
                        let _ = answer.send(result);
                    }
                    None => return,
                },
            }
        }
    }

    async fn find(&mut self, question: KeyRequest) {
        let known = |held: &Option<Held>| {
            let kid = question.kid.as_deref();
            let keys = held.as_ref().map(|held| &held.keys);
            keys.is_some_and(|keys| kid.is_some_and(|kid| keys.has_kid(kid)))
        };
        // A fetch for somebody else may have brought it.
        if self.held.is_none() {
            // The first set, or the one after the hard limit: failures set the pace, not tokens.
            if self.next.is_none_or(|next| Instant::now() >= next) {
                let _ = self.fetch().await;
            }
        } else if !known(&self.held) {
            self.status.unknown_kids.fetch_add(1, Ordering::Relaxed);
            if self.unknown.may_ask(&question.kid) {
                let fetched = self.fetch().await.is_ok();
                // A failed fetch says nothing about the key id.
                if fetched && !known(&self.held) {
                    self.unknown.remember(question.kid);
                }
            }
        }
        // The asker may have given up waiting.
        let _ = question.answer.send(());
    }

    /// Fetches once.
    async fn fetch(&mut self) -> Result<(), FetchError> {
        let pass = self.gate.enter(self.source.origin()).await;
        let started = Instant::now();
        let in_use = self.newest_in_use && self.held.is_some();
        let fetched = self.source.fetch(in_use).await;
        self.status.durations.observe(started.elapsed());
        drop(pass);
        let result = fetched.and_then(|fetched| self.take_in(fetched));
        match &result {
            Ok(wait) => {
                self.next = Some(Instant::now() + *wait);
                self.status.succeeded(self.gateway.clock.now());
            }
            Err(error) => {
                let wait = self.pace.after_failure();
                self.next = Some(Instant::now() + wait);
                self.status.failed(self.gateway.clock.now(), error);
                tracing::warn!(issuer = %self.status.name, from = self.source.place(), %error, "the issuer's keys were not fetched; trying again");
            }
        }
        self.expire();
        self.note();
        result.map(drop)
    }

    /// Takes what the source gave; how long to wait before the next fetch.
    fn take_in(&mut self, fetched: Fetched) -> Result<Duration, FetchError> {
        let now = self.gateway.clock.now();
        if let Some(date) = fetched.date {
            self.status.note_clock(date, now);
        }
        if let Some(document) = fetched.document {
            self.newest_in_use = false;
            let published = jwks::read(&document, self.rules.algorithms, &self.distrusted)?;
            self.status.note_skipped(&published.skipped);
            self.distrust(&published.exposed)?;
            let (keys, _) = published.into_set()?;
            self.replace(keys, document);
            self.newest_in_use = true;
        }
        if let Some(held) = &mut self.held {
            held.seen_at = now;
            held.expires = self.stale_max.map(|limit| Instant::now() + limit);
        }
        self.publish();
        self.save_record();
        Ok(self.pace.after_success(fetched.fresh_for))
    }

    /// Puts a set in the place of the last. An equal one keeps its place, and with it everything
    /// that was verified by it.
    fn replace(&mut self, keys: KeySet, document: Bytes) {
        let last = self.held.take();
        let keys = match last {
            Some(last) if last.keys.same_keys(&keys) => last.keys,
            last => {
                self.unknown.forget();
                let last = last.as_ref().map(|held| &*held.keys);
                self.tell("replaced", last, Some(&keys));
                Arc::new(keys)
            }
        };
        self.held = Some(Held {
            keys,
            document,
            seen_at: self.gateway.clock.now(),
            expires: None,
        });
    }

    /// Keys that lie in the open are never trusted again, wherever they stand.
    fn distrust(&mut self, exposed: &[Thumbprint]) -> Result<(), FetchError> {
        let before = self.distrusted.len();
        if before + exposed.len() > DISTRUSTED_MAX {
            return Err(FetchError::TooManyExposed);
        }
        self.distrusted.extend(exposed);
        if self.distrusted.len() == before {
            return Ok(());
        }
        tracing::error!(issuer = %self.status.name, from = self.source.place(), keys = self.distrusted.len() - before, "the issuer publishes private keys; they are never trusted again");
        if let Some(held) = self.held.take() {
            let rest = jwks::read(&held.document, self.rules.algorithms, &self.distrusted);
            let rest = rest.ok().and_then(|published| published.into_set().ok());
            match rest {
                Some((keys, _)) if keys.same_keys(&held.keys) => self.held = Some(held),
                rest => {
                    let keys = rest.map(|(keys, _)| Arc::new(keys));
                    self.tell("exposed", Some(&held.keys), keys.as_deref());
                    self.held = keys.map(|keys| Held { keys, ..held });
                }
            }
            self.publish();
        }
        self.save_record();
        Ok(())
    }

    /// Past the hard limit the last good set is not good any more.
    fn expire(&mut self) {
        let over = |held: &mut Held| {
            held.expires
                .is_some_and(|expires| Instant::now() >= expires)
        };
        if let Some(held) = self.held.take_if(over) {
            tracing::error!(issuer = %self.status.name, from = self.source.place(), "the issuer's keys are too old to be used");
            self.tell("expired", Some(&held.keys), None);
            self.publish();
            self.note();
        }
    }

    fn publish(&self) {
        let store = &self.gateway.policy;
        let keys = self.held.as_ref().map(|held| Arc::clone(&held.keys));
        let seen_at = self.held.as_ref().map(|held| held.seen_at);
        store.publish(store.load().with_keys(self.id, keys, seen_at));
    }

    fn save_record(&self) {
        let held = self.held.as_ref();
        let record = Record::new(
            &self.rules.issuer,
            self.source.place(),
            held.map(|held| (held.seen_at, &*held.document)),
            &self.distrusted,
        );
        // The writer takes the newest; without one nothing is kept.
        let _ = self.save.send(record);
    }

    /// What readiness and the admin listener show.
    fn note(&self) {
        let now = self.gateway.clock.now();
        // In whole seconds, as they are shown.
        let at = |moment: Option<Instant>| {
            let left = moment?.saturating_duration_since(Instant::now());
            Some(now.plus(Duration::from_secs(left.as_secs_f64().round() as u64)))
        };
        let expires = self.held.as_ref().and_then(|held| held.expires);
        self.status
            .note_times(at(self.next), at(expires), self.distrusted.len());
    }

    /// Writes which keys came and went to log and audit.
    fn tell(&self, action: &'static str, last: Option<&KeySet>, next: Option<&KeySet>) {
        let names = |of: Option<&KeySet>, not_in: Option<&KeySet>| -> Vec<String> {
            let keys = of.into_iter().flat_map(KeySet::iter);
            keys.filter(|key| !not_in.is_some_and(|other| other.holds(key)))
                .map(|key| key.kid().unwrap_or("without kid").to_owned())
                .collect()
        };
        let (came, went) = (names(next, last), names(last, next));
        let keys = next.map_or(0, KeySet::len);
        tracing::info!(issuer = %self.status.name, action, keys, came = came.len(), went = went.len(), "the issuer's keys changed");
        let event = KeyEvent::new(&self.status.name, action, keys, &came, &went);
        self.gateway.audit.keys(self.gateway.clock.now(), &event);
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
