//! The set in use: taking in what a source gave, giving up what may not be used any more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{FetchError, Fetched, Keeper, KeySource, Record};
use crate::clock::UnixTime;
use crate::keys::jwks::{self, Published};
use crate::keys::{KeySet, Thumbprint};
use crate::observe::audit::KeyEvent;
use crate::policy::IssuerKeys;

/// Exposed keys that are remembered of one issuer. With so many nothing of it is trusted any more.
pub(crate) const DISTRUSTED_MAX: usize = 1024;

/// Keys that were taken back whose names are remembered, so that a refusal can say so.
const GONE_MAX: usize = 32;

/// The set in use.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) keys: Arc<KeySet>,
    pub(super) document: Bytes,
    pub(super) seen_at: UnixTime,
    /// The hard limit; a file has none.
    pub(super) expires: Option<Instant>,
}

impl<S: KeySource> Keeper<S> {
    /// Takes what the source gave; how long to wait before the next fetch.
    pub(super) fn take_in(&mut self, fetched: Fetched) -> Result<Duration, FetchError> {
        let now = self.around.clock.now();
        if let Some(date) = fetched.date {
            self.status.note_clock(date, now);
        }
        if let Some(document) = fetched.document {
            self.newest_in_use = false;
            self.distrust(&document)?;
            let published = self.read(&document)?;
            self.status.note_skipped(&published.skipped);
            let (keys, _) = published.into_set()?;
            self.replace(keys, document);
            self.newest_in_use = true;
        }
        // "The same as the last time", and that was given up meanwhile: it is to be sent once more.
        let held = self.held.as_mut().ok_or(FetchError::Status(304))?;
        held.seen_at = now;
        held.expires = self.stale_max.map(|limit| Instant::now() + limit);
        self.publish();
        self.save_record();
        Ok(self.pace.after_success(fetched.fresh_for))
    }

    fn read(&self, document: &[u8]) -> Result<Published, jwks::JwksError> {
        jwks::read(document, self.rules.algorithms, &self.distrusted)
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
                // The provider has just taken these out: their last tokens must not use up the
                // fetches that the next rotation needs.
                let gone = last.into_iter().flat_map(KeySet::iter);
                let gone = gone.filter_map(|key| key.kid());
                for kid in gone.filter(|kid| !keys.has_kid(kid)) {
                    self.unknown.note_gone(kid.into());
                    self.gone.retain(|gone| **gone != *kid);
                    if self.gone.len() >= GONE_MAX {
                        self.gone.remove(0);
                    }
                    self.gone.push(kid.into());
                }
                let action = if last.is_some() { "replaced" } else { "loaded" };
                self.tell(action, last, Some(&keys));
                Arc::new(keys)
            }
        };
        self.held = Some(Held {
            keys,
            document,
            seen_at: self.around.clock.now(),
            expires: None,
        });
    }

    /// Keys that lie in the open are never trusted again, wherever they stand: not even in a
    /// document that is no JWK set.
    fn distrust(&mut self, document: &[u8]) -> Result<(), FetchError> {
        let exposed = jwks::exposed(document);
        let of_held = |kid: &str| {
            let keys = self.held.iter().flat_map(|held| held.keys.iter());
            let named = keys.filter(move |key| key.kid() == Some(kid));
            named.filter_map(|key| key.thumbprint()).collect::<Vec<_>>()
        };
        let by_name = exposed.kids.iter().flat_map(|kid| of_held(kid));
        let in_set = self.read(document).map(|published| published.exposed);
        let news: HashSet<Thumbprint> = by_name
            .chain(exposed.keys.iter().copied())
            .chain(in_set.unwrap_or_default())
            .filter(|print| !self.distrusted.contains(print))
            .collect();
        if !news.is_empty() {
            tracing::error!(issuer = %self.status.name, from = self.place, keys = news.len(), "the issuer publishes private keys; they are never trusted again");
        }
        let any_news = !news.is_empty();
        let room = DISTRUSTED_MAX.saturating_sub(self.distrusted.len());
        let too_many = news.len() > room || room == 0;
        self.distrusted.extend(news.into_iter().take(room));
        if let Some(held) = self.held.take() {
            let rest = self.read(&held.document).and_then(Published::into_set);
            match rest.ok().filter(|_| !too_many) {
                Some((keys, _)) if keys.same_keys(&held.keys) => self.held = Some(held),
                rest => {
                    let keys = rest.map(|(keys, _)| Arc::new(keys));
                    self.tell("exposed", Some(&held.keys), keys.as_deref());
                    self.held = keys.map(|keys| Held { keys, ..held });
                    self.publish();
                }
            }
        }
        if any_news {
            self.save_record();
        }
        if too_many {
            return Err(FetchError::TooManyExposed);
        }
        Ok(())
    }

    /// Past the hard limit the last good set is not good any more. The monotonic clock wakes us; it
    /// stands still while a machine sleeps, so the wall clock is asked too.
    pub(super) fn expire(&mut self) {
        let now = self.around.clock.now();
        let limit = self.stale_max;
        let over = |held: &mut Held| {
            held.expires.is_some_and(|at| Instant::now() >= at)
                || limit.is_some_and(|limit| now.since(held.seen_at) >= limit)
        };
        if let Some(held) = self.held.take_if(over) {
            tracing::error!(issuer = %self.status.name, from = self.place, "the issuer's keys are too old to be used");
            self.tell("expired", Some(&held.keys), None);
            self.publish();
            self.note();
        }
    }

    fn publish(&self) {
        let held = self.held.as_ref();
        self.keys.publish(IssuerKeys {
            set: held.map(|held| Arc::clone(&held.keys)),
            checked_at: held.map(|held| held.seen_at),
            gone: self.gone.iter().cloned().collect(),
            clock_offset: self.status.clock_offset(),
        });
    }

    fn save_record(&mut self) {
        // A file is its own copy.
        let held = self.held.as_ref().filter(|_| self.stale_max.is_some());
        let set = held.map(|held| (held.seen_at, &*held.document));
        let mut record = Record::new(&self.rules.issuer, &self.place, set, &self.distrusted);
        self.serial += 1;
        record.serial = self.serial;
        // The writer takes the newest.
        let _ = self.save.newest.send(record);
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
        self.around.audit.keys(self.around.clock.now(), &event);
    }
}
