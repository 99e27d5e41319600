//! The list as one of several replicas': how far behind the others it may be, and how it hears and
//! tells. The feed itself is control's.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::journal::{Applied, Since};
use super::{Change, Place, Position, REVOCATIONS_MAX, Revocations, StoreError, Untold};
use crate::clock::UnixTime;

/// A clock that was set back by more than this may hide how old the list is.
const SET_BACK_MAX: Duration = Duration::from_secs(5);

/// How the feed of revocations does.
#[derive(Debug)]
pub(crate) struct Feed {
    /// How long the list may go without a word of the feed, where a route demands it.
    staleness_max: Duration,
    /// When this replica first listened, or when everything was known at the latest before it started.
    since: Since,
    /// When everything that was in the feed was known here, in microseconds; 0 is never.
    heard_at: AtomicI64,
    connected: AtomicBool,
    /// The server takes nothing that is told.
    refuses: AtomicBool,
    /// Whether the first attempt is over: well, or because the server is not there.
    tried: AtomicBool,
    /// States that the others do not know.
    untold: AtomicU64,
    /// Entries that could not be read.
    pub(crate) unreadable: AtomicU64,
    /// Why the link was interrupted last.
    interrupted_by: Mutex<Option<Box<str>>>,
}

impl Feed {
    const fn new(staleness_max: Duration, since: Since) -> Self {
        Self {
            staleness_max,
            since,
            heard_at: AtomicI64::new(0),
            connected: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            tried: AtomicBool::new(false),
            untold: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            interrupted_by: Mutex::new(None),
        }
    }

    /// Everything that was in the feed at this time is known here.
    pub(crate) fn heard(&self, at: UnixTime) {
        self.heard_at.store(at.micros(), Ordering::Relaxed);
        self.connected.store(true, Ordering::Relaxed);
        self.tried.store(true, Ordering::Relaxed);
    }

    /// The link is down, and why. `known`: the list may be served as it is known here.
    pub(crate) fn disconnected(&self, known: bool, why: &str) {
        *self.why() = Some(why.into());
        self.connected.store(false, Ordering::Relaxed);
        self.tried.fetch_or(known, Ordering::Relaxed);
    }

    fn why(&self) -> MutexGuard<'_, Option<Box<str>>> {
        let why = self.interrupted_by.lock();
        why.unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the link is down, if it is.
    pub(crate) fn down_because(&self) -> Option<Box<str>> {
        self.why().clone().filter(|_| !self.is_connected())
    }

    /// Whether what others change comes here, and what is changed here goes to them.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed) && !self.refuses.load(Ordering::Relaxed)
    }

    /// The server takes nothing more, and why; or it takes all again.
    pub(crate) fn refuses(&self, why: Option<&str>) {
        self.refuses.store(why.is_some(), Ordering::Relaxed);
        if let Some(why) = why {
            *self.why() = Some(why.into());
        }
    }

    /// Whether the first attempt is over: until then more may be known in a moment.
    pub(crate) fn was_tried(&self) -> bool {
        self.tried.load(Ordering::Relaxed)
    }

    pub(crate) fn untold(&self) -> u64 {
        self.untold.load(Ordering::Relaxed)
    }

    fn heard_at(&self) -> Option<UnixTime> {
        let at = self.heard_at.load(Ordering::Relaxed);
        (at != 0).then(|| UnixTime::from_micros(at))
    }

    /// How long ago everything in the feed was known here; without that, how long ago this replica
    /// first started.
    pub(crate) fn lag(&self, now: UnixTime) -> Duration {
        now.since(self.heard_at().unwrap_or(self.since.at))
    }

    /// Whether the list is young enough.
    pub(super) fn is_current(&self, now: UnixTime) -> bool {
        let before = self.since.heard.then_some(self.since.at);
        self.heard_at()
            .or(before)
            .is_some_and(|at| now.since(at) <= self.staleness_max && at <= now.plus(SET_BACK_MAX))
    }
}

/// What was made of the changes of others.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) added: usize,
    pub(crate) removed: usize,
    /// Versions that nobody needs any more.
    pub(crate) over: Vec<Uuid>,
}

impl Revocations {
    /// The same list, shared with other replicas by a stream, or with nobody. Blocks.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn shared(
        mut self,
        feed: Option<(&str, Duration)>,
        now: UnixTime,
    ) -> Result<Self, StoreError> {
        let since = self.journal().share(feed.map(|(stream, _)| stream), now)?;
        self.feed = feed.map(|(_, staleness_max)| Feed::new(staleness_max, since));
        self.count_untold(&mut self.journal());
        Ok(self)
    }

    /// How the feed does, where there is one.
    pub(crate) const fn feed(&self) -> Option<&Feed> {
        self.feed.as_ref()
    }

    pub(super) fn count_untold(&self, journal: &mut super::Journal) {
        if let (Some(feed), Ok(untold)) = (&self.feed, journal.untold_count()) {
            feed.untold.store(untold, Ordering::Relaxed);
        }
    }

    /// Remembers over a restart when everything in the feed was known. Blocks.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn note_heard(&self) -> Result<(), StoreError> {
        match self.feed.as_ref().and_then(Feed::heard_at) {
            Some(at) => self.journal().note_heard(at),
            None => Ok(()),
        }
    }

    /// How far the stream was read. Blocks.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn cursor(&self) -> Result<Option<String>, StoreError> {
        self.journal().cursor()
    }

    /// Takes over what other replicas have changed, and remembers how far the stream was read. It is
    /// durable and bites when this returns. Blocks.
    ///
    /// # Errors
    /// The list is full, or cannot be written: then nothing of it is taken over.
    pub(crate) fn merge(
        &self,
        changes: Vec<Change>,
        cursor: Option<&str>,
        now: UnixTime,
    ) -> Result<Merged, StoreError> {
        let mut journal = self.journal();
        let applied = journal.apply(changes, cursor, now, REVOCATIONS_MAX)?;
        let mut merged = Merged::default();
        let mut changed = false;
        for (applied, over) in &applied {
            merged.over.extend(over);
            match applied {
                Applied::Added(revocation) => {
                    self.bite(revocation);
                    merged.added += 1;
                }
                Applied::Removed(revocation) => {
                    self.index.remove(revocation);
                    merged.removed += 1;
                }
                Applied::Changed => changed = true,
                Applied::Nothing => {}
            }
        }
        self.count_untold(&mut journal);
        if changed || merged.added + merged.removed > 0 {
            self.changed();
        }
        Ok(merged)
    }

    /// Some of what the others do not know, from a place on, and the place from which to go on; `None`
    /// is the end. Blocks.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn untold(
        &self,
        from: &[u8],
        max: usize,
    ) -> Result<(Vec<Untold>, Option<Place>), StoreError> {
        self.journal().untold(from, max)
    }

    /// How many states there are that do not end before a time, with those that were taken back, if
    /// the others know all of them. Blocks.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn told_states(&self, after: UnixTime) -> Result<Option<u64>, StoreError> {
        let mut journal = self.journal();
        Ok(match journal.untold_count()? {
            0 => Some(journal.states(after)?),
            _ => None,
        })
    }

    /// Has the others told of all states that are not among the `known` versions. Blocks.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn tell_unknown(&self, known: &HashSet<Uuid>) -> Result<(), StoreError> {
        let mut position = Position::Live(0);
        while !matches!(position, Position::End) {
            // The lock is given back between the steps: who revokes meanwhile must not wait.
            position = self.journal().tell_unknown(position, known)?;
        }
        self.count_untold(&mut self.journal());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
