//! What control knows of each issuer's keys, for readiness, metrics and the admin listener.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::fetch::FetchError;
use super::saved::NoSet;
use crate::clock::UnixTime;
use crate::config::{IssuerSettings, KeySourceSettings};
use crate::keys::jwks::Skipped;
use crate::observe::metrics::Durations;

/// Skipped keys that the admin listener shows of one set.
const SKIPPED_SHOWN_MAX: usize = 64;
/// And that the log names.
const SKIPPED_LOGGED_MAX: usize = 16;
/// No answer of the provider had a `Date`.
const UNKNOWN: i64 = i64::MIN;

/// How an issuer's tokens are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceKind {
    Discovery,
    Introspection,
    JwksFile,
    JwksUrl,
    Keys,
}

impl SourceKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Introspection => "introspection",
            Self::JwksFile => "jwks_file",
            Self::JwksUrl => "jwks_url",
            Self::Keys => "configuration",
        }
    }

    /// The keys are looked after, and are not just what the configuration held.
    pub(crate) const fn is_kept(self) -> bool {
        matches!(self, Self::Discovery | Self::JwksFile | Self::JwksUrl)
    }
}

/// What is known of one issuer's keys.
#[derive(Debug)]
pub(crate) struct KeyStatus {
    pub(crate) name: Arc<str>,
    pub(crate) source: SourceKind,
    /// The URL or file; empty for keys of the configuration.
    pub(crate) place: String,
    /// Nothing is fetched before a token needs it.
    pub(crate) on_demand: bool,
    /// Seconds since the epoch; 0 is never.
    pub(crate) last_success: AtomicI64,
    pub(crate) skipped: AtomicU64,
    pub(crate) unknown_kids: AtomicU64,
    pub(crate) successes: AtomicU64,
    pub(crate) failures: [AtomicU64; FetchError::KINDS.len()],
    pub(crate) durations: Durations,
    /// The provider's clock less ours, in seconds, or [`UNKNOWN`].
    clock_offset: AtomicI64,
    notes: Mutex<Notes>,
    /// Whether keys were once asked for.
    tried: watch::Sender<bool>,
}

/// What changes, for people.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// The last fetch failed: when and why.
    pub(crate) failed: Option<(UnixTime, FetchError)>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) next_fetch: Option<UnixTime>,
    pub(crate) stale_at: Option<UnixTime>,
    /// Keys that were once published with their private part.
    pub(crate) distrusted: usize,
    /// Why the run began without a set of an earlier one.
    pub(crate) begun_without: Option<NoSet>,
    /// When the set was last written to disk, or why it was not.
    pub(crate) saved: Option<Result<UnixTime, String>>,
}

impl KeyStatus {
    pub(crate) fn new(issuer: &IssuerSettings) -> Self {
        let (source, place) = match &issuer.source {
            KeySourceSettings::Discovery(_) => {
                (SourceKind::Discovery, issuer.rules.issuer.to_string())
            }
            KeySourceSettings::File(file) => {
                (SourceKind::JwksFile, file.path.display().to_string())
            }
            KeySourceSettings::Fixed(_) => (SourceKind::Keys, String::new()),
            KeySourceSettings::Introspection(settings) => {
                (SourceKind::Introspection, settings.endpoint.clone())
            }
            KeySourceSettings::Url(url, _) => (SourceKind::JwksUrl, url.clone()),
        };
        let on_demand = match &issuer.source {
            KeySourceSettings::Url(_, jwks) | KeySourceSettings::Discovery(jwks) => jwks.on_demand,
            _ => false,
        };
        Self {
            name: Arc::clone(&issuer.rules.name),
            source,
            place,
            on_demand,
            last_success: AtomicI64::new(0),
            skipped: AtomicU64::new(0),
            unknown_kids: AtomicU64::new(0),
            successes: AtomicU64::new(0),
            failures: Default::default(),
            durations: Durations::default(),
            clock_offset: AtomicI64::new(UNKNOWN),
            notes: Mutex::default(),
            tried: watch::Sender::new(false),
        }
    }

    /// What is to be shown now.
    pub(crate) fn notes(&self) -> Notes {
        self.lock().clone()
    }

    /// The provider's clock less ours, in seconds.
    pub(crate) fn clock_offset(&self) -> Option<i64> {
        let offset = self.clock_offset.load(Ordering::Relaxed);
        (offset != UNKNOWN).then_some(offset)
    }

    pub(super) fn succeeded(&self, now: UnixTime) {
        self.successes.fetch_add(1, Ordering::Relaxed);
        self.last_success.store(now.secs(), Ordering::Relaxed);
        self.lock().failed = None;
        self.tried.send_replace(true);
    }

    /// Waits for the end of the first fetch.
    pub(super) async fn tried(&self) {
        let mut tried = self.tried.subscribe();
        // The sender is ours.
        let _ = tried.wait_for(|tried| *tried).await;
    }

    pub(super) fn failed(&self, now: UnixTime, error: &FetchError) {
        let kind = FetchError::KINDS
            .iter()
            .position(|kind| *kind == error.kind());
        if let Some(counter) = kind.and_then(|kind| self.failures.get(kind)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.lock().failed = Some((now, error.clone()));
        self.tried.send_replace(true);
    }

    /// Keys of a set that are not used. Each set is told once in the log, not at every fetch.
    pub(super) fn note_skipped(&self, skipped: &[Skipped]) {
        self.skipped.store(skipped.len() as u64, Ordering::Relaxed);
        let shown = skipped.get(..SKIPPED_SHOWN_MAX).unwrap_or(skipped);
        let mut notes = self.lock();
        if notes.skipped == shown {
            return;
        }
        notes.skipped = shown.to_vec();
        drop(notes);
        if skipped.len() > SKIPPED_LOGGED_MAX {
            tracing::warn!(issuer = %self.name, keys = skipped.len(), "many keys of the set are not used; the first are");
        }
        for key in shown.iter().take(SKIPPED_LOGGED_MAX) {
            tracing::warn!(issuer = %self.name, index = key.index, kid = key.shown_kid(), why = key.why, "a key of the set is not used");
        }
    }

    pub(super) fn note_begun(&self, why: &NoSet) {
        self.lock().begun_without = Some(why.clone());
    }

    pub(super) fn note_clock(&self, theirs: UnixTime, ours: UnixTime) {
        let offset = theirs.secs().saturating_sub(ours.secs());
        self.clock_offset.store(offset, Ordering::Relaxed);
    }

    pub(super) fn note_times(
        &self,
        next_fetch: Option<UnixTime>,
        stale_at: Option<UnixTime>,
        distrusted: usize,
    ) {
        let mut notes = self.lock();
        notes.next_fetch = next_fetch;
        notes.stale_at = stale_at;
        notes.distrusted = distrusted;
    }

    pub(super) fn note_saved(&self, saved: Result<UnixTime, String>) {
        let mut notes = self.lock();
        let before = notes.saved.replace(saved.clone());
        drop(notes);
        if let Err(error) = saved
            && !matches!(before, Some(Err(_)))
        {
            tracing::error!(issuer = %self.name, error, "the issuer's keys cannot be written to the state folder; a restart during an outage would be without them");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
