//! Keeping one issuer's keys fresh: in the background, when a token names an unknown key, when a
//! file changes, and when an operator asks.
//!
//! A failed fetch, garbage, or a set without a usable key leaves the last good set in place until
//! its hard limit; but a key that lies somewhere with its private part goes at once, and never comes
//! back. What the provider confirmed is written to disk, so that a restart can begin with it.
//!
//! A fetch runs beside the keeper, which goes on taking orders: whoever asks meanwhile waits for it,
//! and the hard limit holds however long it takes.

mod held;
mod pace;
mod unknown;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::fetch::FetchError;
use super::gate::Gate;
use super::key_source::{Fetched, KeySource};
use super::saved::Record;
use super::status::KeyStatus;
use crate::clock::{Clock, UnixTime};
use crate::config::FreshnessSettings;
use crate::keys::{KeyRequest, KeySet, Thumbprint};
use crate::observe::Audit;
use crate::policy::{Issuer, IssuerKeys};
use crate::published::Published;

pub(crate) use held::DISTRUSTED_MAX;
use held::Held;
use pace::Pace;
use unknown::Unknown;

/// Requests that wait for one fetch; more are answered at once by what is known.
const WAITING_MAX: usize = 16_384;
/// Operators that wait for one fetch.
const TOLD_MAX: usize = 64;
/// The same failure is written to the log again after this.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// An operator's answer waits for the disk at most this long.
const SAVE_WAIT_MAX: Duration = Duration::from_secs(2);

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

/// A fetch that runs, and who waits for it.
#[derive(Debug)]
struct Running {
    fetch: JoinHandle<Result<Fetched, FetchError>>,
    started: Instant,
    /// They asked before it began: it is their answer.
    waiting: Vec<KeyRequest>,
    /// They asked after it began: it may have what they want, or they may have another.
    joined: Vec<KeyRequest>,
    told: Vec<oneshot::Sender<Result<(), FetchError>>>,
    /// Another fetch is wanted after it, by an operator or because the file changed again.
    again: bool,
    told_next: Vec<oneshot::Sender<Result<(), FetchError>>>,
}

/// What all keepers share.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) gate: Arc<Gate>,
}

/// Keeps the keys of one issuer.
pub(crate) struct Keeper<S> {
    around: Around,
    rules: Arc<Issuer>,
    /// Where requests find the set in use.
    keys: Arc<Published<IssuerKeys>>,
    status: Arc<KeyStatus>,
    stale_max: Option<Duration>,
    place: String,
    source: Arc<Mutex<S>>,
    running: Option<Running>,
    held: Option<Held>,
    /// The set in use is the document that the source gave last: only then is "the same as the last
    /// time" good news.
    newest_in_use: bool,
    distrusted: HashSet<Thumbprint>,
    /// Names of keys that the provider took back, the oldest first.
    gone: Vec<Box<str>>,
    pace: Pace,
    /// `None`: not before somebody asks.
    next: Option<Instant>,
    unknown: Unknown,
    /// The failure that was last written to the log, and when.
    told: Option<(FetchError, Instant)>,
    /// Numbers the records that are to be written.
    serial: u64,
    save: Saving,
}

/// The way to the writer of records.
#[derive(Debug)]
pub(crate) struct Saving {
    pub(crate) newest: watch::Sender<Record>,
    /// The serial of the last record that was written.
    pub(crate) done: watch::Receiver<u64>,
}

impl<S: KeySource> Keeper<S> {
    pub(crate) fn new(
        around: Around,
        (rules, keys): (Arc<Issuer>, Arc<Published<IssuerKeys>>),
        status: Arc<KeyStatus>,
        (settings, on_demand): (&FreshnessSettings, bool),
        source: S,
        beginning: Beginning,
        save: Saving,
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
            around,
            rules,
            keys,
            status,
            stale_max: settings.stale_max,
            place: source.place().to_owned(),
            source: Arc::new(Mutex::new(source)),
            running: None,
            held,
            newest_in_use: false,
            distrusted: beginning.distrusted,
            gone: Vec::new(),
            pace: Pace::new(settings.refresh, settings.unknown_kid_gap),
            next: (begun || !on_demand).then_some(now),
            unknown: Unknown::new(settings.unknown_kid_gap),
            told: None,
            serial: 0,
            save,
        };
        keeper.note();
        keeper
    }

    /// Keeps the keys until nobody can ask any more.
    pub(crate) async fn keep(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let expires = self.held.as_ref().and_then(|held| held.expires);
            let next = self.next.filter(|_| self.running.is_none());
            tokio::select! {
                biased;
                () = sleep_until(expires) => self.expire(),
                fetched = finished(&mut self.running) => self.finish(fetched),
                () = sleep_until(next) => self.start(Vec::new(), Vec::new(), false),
                order = orders.recv() => match order {
                    Some(Order::Find(question)) => self.find(question),
                    Some(Order::Look) => self.again(None),
                    Some(Order::Refresh(answer)) => self.again(Some(answer)),
                    None => return,
                },
            }
        }
    }

    fn knows(&self, question: &KeyRequest) -> bool {
        let keys = self.held.as_ref().map(|held| &held.keys);
        let kid = question.kid.as_deref();
        keys.is_some_and(|keys| kid.is_some_and(|kid| keys.has_kid(kid)))
    }

    fn find(&mut self, question: KeyRequest) {
        if self.knows(&question) {
            // A fetch for somebody else has brought it.
            return answer(question);
        }
        if self.held.is_some() {
            self.status.unknown_kids.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(running) = &mut self.running {
            if running.waiting.len() + running.joined.len() < WAITING_MAX {
                running.joined.push(question);
            }
            return;
        }
        let may_ask = match &self.held {
            Some(_) => self.unknown.may_ask(&question.kid),
            // The first set, or the one after the hard limit: failures set the pace, not tokens.
            None => self.next.is_none_or(|next| Instant::now() >= next),
        };
        if may_ask {
            self.start(vec![question], Vec::new(), false);
        } else {
            answer(question);
        }
    }

    /// A fetch that begins after this moment.
    fn again(&mut self, told: Option<oneshot::Sender<Result<(), FetchError>>>) {
        match &mut self.running {
            None => self.start(Vec::new(), told.into_iter().collect(), true),
            Some(running) => {
                running.again = true;
                if running.told_next.len() < TOLD_MAX {
                    running.told_next.extend(told);
                }
            }
        }
    }

    fn start(
        &mut self,
        waiting: Vec<KeyRequest>,
        told: Vec<oneshot::Sender<Result<(), FetchError>>>,
        anew: bool,
    ) {
        let in_use = self.newest_in_use && self.held.is_some();
        let (gate, source) = (Arc::clone(&self.around.gate), Arc::clone(&self.source));
        let fetch = tokio::spawn(async move {
            let mut source = source.lock().await;
            let _pass = gate.enter(source.origin()).await;
            source.fetch(in_use, anew).await
        });
        self.running = Some(Running {
            fetch,
            started: Instant::now(),
            waiting,
            joined: Vec::new(),
            told,
            again: false,
            told_next: Vec::new(),
        });
    }

    fn finish(&mut self, fetched: Result<Fetched, FetchError>) {
        let Some(running) = self.running.take() else {
            return;
        };
        self.status.durations.observe(running.started.elapsed());
        let result = fetched.and_then(|fetched| self.take_in(fetched));
        let now = self.around.clock.now();
        match &result {
            Ok(wait) => {
                self.next = Some(Instant::now() + *wait);
                self.told = None;
                self.status.succeeded(now);
            }
            Err(error) => {
                let wait = self.pace.after_failure();
                self.next = Some(Instant::now() + wait);
                self.status.failed(now, error);
                if self.is_news(error) {
                    tracing::warn!(issuer = %self.status.name, from = self.place, %error, "the issuer's keys were not renewed; trying again");
                }
            }
        }
        self.expire();
        self.note();
        let result = result.map(drop);
        for question in running.waiting {
            // A failed fetch says nothing about the key id.
            if result.is_ok() && self.held.is_some() && !self.knows(&question) {
                self.unknown.remember(question.kid.clone());
            }
            answer(question);
        }
        self.tell_when_saved(running.told, result.clone());
        if running.again {
            self.start(Vec::new(), running.told_next, true);
        }
        for question in running.joined {
            if self.held.is_none() || self.knows(&question) {
                answer(question);
            } else if let Some(next) = self.running.as_mut().filter(|_| result.is_ok()) {
                next.waiting.push(question);
            } else if result.is_err() || !self.unknown.may_ask(&question.kid) {
                answer(question);
            } else {
                self.start(vec![question], Vec::new(), false);
            }
        }
    }

    /// Answers operators once what came is on disk too: a key that they were told is burnt must be
    /// so after a crash.
    fn tell_when_saved(
        &self,
        told: Vec<oneshot::Sender<Result<(), FetchError>>>,
        result: Result<(), FetchError>,
    ) {
        let (serial, mut done) = (self.serial, self.save.done.clone());
        tokio::spawn(async move {
            if !told.is_empty() {
                let written = done.wait_for(|done| *done >= serial);
                // A disk that does not take it is shown as `save_error`.
                let _ = tokio::time::timeout(SAVE_WAIT_MAX, written).await;
            }
            for told in told {
                // Whoever asked may have gone.
                let _ = told.send(result.clone());
            }
        });
    }

    /// Whether a failure is to be told: another one than the last, or again after a while.
    fn is_news(&mut self, error: &FetchError) -> bool {
        let told = self.told.as_ref();
        if told.is_some_and(|(last, at)| last == error && at.elapsed() < TELL_AGAIN) {
            return false;
        }
        self.told = Some((error.clone(), Instant::now()));
        true
    }

    /// What readiness and the admin listener show.
    fn note(&self) {
        let now = self.around.clock.now();
        // In whole seconds, as they are shown.
        let at = |moment: Option<Instant>| {
            let left = moment?.saturating_duration_since(Instant::now());
            Some(now.plus(Duration::from_secs(left.as_secs_f64().round() as u64)))
        };
        let expires = self.held.as_ref().and_then(|held| held.expires);
        self.status
            .note_times(at(self.next), at(expires), self.distrusted.len());
    }
}

fn answer(question: KeyRequest) {
    // The asker may have given up waiting.
    let _ = question.answer.send(());
}

/// What the running fetch gave; never, if none runs. A fetch that panics is one that failed.
async fn finished(running: &mut Option<Running>) -> Result<Fetched, FetchError> {
    match running {
        Some(running) => match (&mut running.fetch).await {
            Ok(fetched) => fetched,
            Err(_) => Err(FetchError::Broken),
        },
        None => std::future::pending().await,
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
