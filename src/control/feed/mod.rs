//! The feed: one list of revocations on every replica, through a stream of Redis or Valkey.
//!
//! The server is a way between the replicas and never the owner of the list: each replica keeps all
//! of it on its own disk, and what the server has lost the replicas bring back. A change is written to
//! a stream, which tells those who listen, and to a hash, which tells those who were away, at once
//! (MULTI). It counts as told when it was read back from the stream.
//!
//! A reader asks for what comes behind the last entry that it read, and for that entry too. If it is
//! no longer there, the stream was trimmed, lost or is another one: then the whole list is compared by
//! the hash ([`resync`]). So there is no silent gap, whatever became of the server in between.

mod entry;
mod link;
mod listen;
mod resp;
mod resync;
mod tell;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use crate::clock::UnixTime;
use crate::config::FeedSettings;
use crate::control::fetch::Trust;
use crate::gateway::Gateway;
use crate::revocation::{Change, Feed, Merged, Revocations, StoreError};
use entry::EntryId;
use link::{FeedError, Link};

/// How long the server holds a question about new entries back.
const HELD_BACK: Duration = Duration::from_secs(1);
/// Entries or fields that are asked for at once. A reply has its time: a slow link gets fewer.
const AT_ONCE_MAX: usize = 500;
/// Between two attempts to connect, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// How often it is said that the link is still down for the same reason.
const SAID_EVERY: Duration = Duration::from_secs(300);
/// Versions that nobody needs any more and whose fields may wait to be removed from the hash.
pub(super) const OVER_MAX: usize = 10_000;

/// Everything that the feed works with.
struct Keeper {
    settings: FeedSettings,
    tls: Option<TlsConnector>,
    gateway: Arc<Gateway>,
    list: Arc<Revocations>,
    /// The hash of all states. Its name lies in the same slot as the stream's.
    all: String,
    /// Versions whose fields of the hash nobody needs any more.
    over: mpsc::Sender<Uuid>,
    /// How many entries or fields are asked for at once: fewer where the link is too slow for more.
    at_once: AtomicUsize,
    /// A mark of another was read: whether the hash is whole is to be looked at now.
    marked: AtomicBool,
    mark_seen: Notify,
}

/// Keeps the list the same on all replicas, for as long as the runtime lives.
pub(super) async fn keep(
    settings: FeedSettings,
    tls: Option<TlsConnector>,
    gateway: Arc<Gateway>,
    list: Arc<Revocations>,
    (over, mut are_over): (mpsc::Sender<Uuid>, mpsc::Receiver<Uuid>),
) {
    let stream = &settings.stream;
    let all = match stream.contains('{') {
        true => format!("{stream}:all"),
        false => format!("{{{stream}}}:all"),
    };
    let keeper = Keeper {
        settings,
        tls,
        gateway,
        list,
        all,
        over,
        at_once: AtomicUsize::new(AT_ONCE_MAX),
        marked: AtomicBool::new(false),
        mark_seen: Notify::new(),
    };
    let mut wait = AGAIN.0;
    let mut whole = false;
    let (mut last, mut said_at) = (String::new(), None);
    loop {
        let Err(error) = keeper.session(&mut whole, &mut are_over).await;
        if let Some(feed) = keeper.list.feed() {
            feed.refuses(None);
            if feed.is_connected() {
                (wait, last) = (AGAIN.0, String::new());
            }
            // Whoever has never read the list, although the server is there, would serve what is revoked.
            let barred = !error.is_absence();
            let has_read = keeper.with_list(Revocations::cursor).await;
            if feed.is_connected() {
                let _ = keeper.with_list(Revocations::note_heard).await;
            }
            let known = !barred || matches!(has_read, Ok(Some(_)));
            feed.disconnected(known, &error.to_string());
        }
        whole |= matches!(
            error,
            FeedError::Gap | FeedError::Damaged | FeedError::Differs
        );
        if matches!(error, FeedError::Timeout) {
            keeper.slower();
        }
        let shown = error.to_string();
        let now = keeper.now();
        let again = said_at.is_none_or(|at| now.since(at) >= SAID_EVERY);
        if again || shown != last {
            said_at = Some(now);
            let serves = keeper.list.feed().is_some_and(Feed::was_tried);
            let list = if serves {
                "the known list serves"
            } else {
                "no list was ever read"
            };
            tracing::warn!(
                error = shown,
                list,
                "the feed of revocations is interrupted"
            );
            last = shown;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN.1);
    }
}

/// Connects and logs in once.
///
/// # Errors
/// Why that does not work, in words for the operator.
pub(super) async fn try_out(settings: &FeedSettings, trust: &mut Trust) -> Result<(), String> {
    let words = |error: FeedError| error.to_string();
    let tls = settings.tls.then(|| trust.tls(settings.ca.as_deref()));
    let tls = tls.transpose().map_err(|error| words(error.into()))?;
    Link::connect(settings, tls.as_ref())
        .await
        .map(drop)
        .map_err(words)
}

/// What never comes.
enum Never {}

impl Keeper {
    /// Connects, compares if it must, then reads and tells until something fails. `whole` says that
    /// everything has to be compared.
    async fn session(
        &self,
        whole: &mut bool,
        over: &mut mpsc::Receiver<Uuid>,
    ) -> Result<Never, FeedError> {
        let mut reader = Link::connect(&self.settings, self.tls.as_ref()).await?;
        let mut writer = Link::connect(&self.settings, self.tls.as_ref()).await?;
        let cursor = match self.with_list(Revocations::cursor).await? {
            Some(cursor) if !*whole => cursor,
            _ => {
                let cursor = self.resync(&mut writer).await?;
                *whole = false;
                cursor
            }
        };
        let (passed, behind) = watch::channel(EntryId::default());
        tokio::select! {
            end = self.listen(&mut reader, cursor, passed) => end,
            end = self.tell(&mut writer, behind, over) => end,
        }
    }

    /// An answer did not come in time.
    fn slower(&self) {
        let less = self.at_once.load(Ordering::Relaxed) / 2;
        self.at_once.store(less.max(1), Ordering::Relaxed);
    }

    /// All that there was has come in time.
    fn faster(&self) {
        let more = self.at_once.load(Ordering::Relaxed) * 2;
        self.at_once.store(more.min(AT_ONCE_MAX), Ordering::Relaxed);
    }

    fn feed(&self) -> Result<&Feed, FeedError> {
        self.list.feed().ok_or(FeedError::Senseless)
    }

    /// Does something with the list on a thread that may wait for the disk.
    async fn with_list<T: Send + 'static>(
        &self,
        does: impl FnOnce(&Revocations) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, FeedError> {
        let list = Arc::clone(&self.list);
        let done = tokio::task::spawn_blocking(move || does(&list)).await;
        let done = done.map_err(|error| StoreError::Store(error.to_string()))?;
        Ok(done?)
    }

    async fn merge(
        &self,
        changes: Vec<Change>,
        cursor: Option<String>,
    ) -> Result<Merged, FeedError> {
        let now = self.gateway.clock.now();
        let merging = self.with_list(move |list| list.merge(changes, cursor.as_deref(), now));
        let merged = merging.await?;
        if merged.added + merged.removed > 0 {
            let (added, removed) = (merged.added, merged.removed);
            tracing::info!(added, removed, "revocations came by the feed");
        }
        Ok(merged)
    }

    fn now(&self) -> UnixTime {
        self.gateway.clock.now()
    }
}
