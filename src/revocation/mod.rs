//! Revocations: tokens that were taken back before they expired.
//!
//! Exact: a revoked token is refused on its next request, and no other is. Revocations are not part
//! of the policy: they are many, change often, and must bite at once. What a request asks is an
//! index in memory that no writer can hold up; behind it lies a durable list, which is written first.

mod index;
mod journal;
mod replica;
mod selector;
mod stored;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use crate::clock::UnixTime;
use index::Index;
use journal::Journal;

use journal::Position;
pub(crate) use journal::{Added, Again, Page, Place, StoreError, Untold};
pub(crate) use replica::{Feed, Merged};
use selector::SelectorDigest;
pub(crate) use selector::{Kind, Question, Selector, fingerprint};
pub(crate) use stored::{Change, Unreadable};

/// Revocations that one list holds: at about 200 bytes of memory each, 400 MiB.
const REVOCATIONS_MAX: usize = 2_000_000;

/// One revocation as an operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Revocation {
    /// UUIDv7: the order of the list.
    pub(crate) id: Uuid,
    pub(crate) selector: Selector,
    /// Only tokens with `iat` at this time or earlier; a token without `iat` too.
    pub(crate) issued_before: Option<UnixTime>,
    /// When it may be forgotten; `None` is never.
    pub(crate) until: Option<UnixTime>,
    pub(crate) reason: Option<Box<str>>,
    pub(crate) author: Box<str>,
    pub(crate) at: UnixTime,
}

/// The longest issuer, value, reason or author.
const TEXT_BYTES_MAX: usize = 1024;

impl Revocation {
    /// Whether it may stand in a list: nothing in it is longer than allowed, and its value can be a
    /// token's.
    pub(crate) fn is_sound(&self) -> bool {
        let Selector {
            issuer,
            kind,
            value,
        } = &self.selector;
        let texts = [issuer, value, &self.author];
        let short = |text: &str| text.len() <= TEXT_BYTES_MAX;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let fits = match kind {
            Kind::Issuer => value.is_empty(),
            Kind::Token => value.len() == 64 && value.bytes().all(is_hex),
            _ => !value.is_empty(),
        };
        fits && texts.into_iter().all(|text| short(text))
            && self.reason.as_deref().is_none_or(short)
    }

    /// One that is made now.
    pub(crate) fn made(
        selector: Selector,
        issued_before: Option<UnixTime>,
        until: Option<UnixTime>,
        author: &str,
        now: UnixTime,
    ) -> Self {
        let millis = now.millis();
        let nanos = u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
        let timestamp = uuid::Timestamp::from_unix(uuid::NoContext, millis / 1000, nanos);
        Self {
            id: Uuid::new_v7(timestamp),
            selector,
            issued_before,
            until,
            reason: None,
            author: author.into(),
            at: now,
        }
    }
}

/// The index's answer for a dead token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Revoked {
    pub(crate) by: Kind,
    pub(crate) at: UnixTime,
    /// Only tokens that were issued up to then are meant.
    pub(crate) cut: Option<UnixTime>,
}

impl Revoked {
    /// Whether a token that is made now would not be meant.
    pub(crate) fn spares_new(&self, now: UnixTime) -> bool {
        self.by.is_of_one_token() || self.cut.is_some_and(|cut| cut <= now)
    }
}

/// The list and its index.
#[derive(Debug)]
pub(crate) struct Revocations {
    index: Index,
    /// One change at a time, so that index and journal agree. No request takes this lock.
    journal: Mutex<Journal>,
    durable: bool,
    /// A list was lost, and no operator has said yet what is to be done.
    lost: AtomicBool,
    /// Other replicas have the same list.
    feed: Option<Feed>,
    /// Told of every change.
    changes: watch::Sender<()>,
    /// A gateway that this one has taken over from, as long as it ends.
    elder: Mutex<Option<Elder>>,
}

/// Has an elder know a revocation; whether it is still there.
type Tell = dyn Fn(&Revocation) -> bool + Send;

/// A gateway that still serves its last connections, by the list that it had.
struct Elder(Box<Tell>);

impl std::fmt::Debug for Elder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Elder")
    }
}

impl Revocations {
    /// A list that ends with the process.
    ///
    /// # Errors
    /// There is no memory.
    pub(crate) fn in_memory() -> Result<Self, StoreError> {
        Ok(Self::of(Index::default(), Journal::in_memory()?, false))
    }

    /// The list in the state folder, read back before this returns.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let mut index = Index::default();
        let (mut journal, whole) = Journal::open(state_dir, |revocation| index.insert(revocation))?;
        if !whole {
            index = Index::default();
        }
        let lost = !journal.lost()?.is_empty();
        Ok(Self::of(index, journal, lost))
    }

    fn of(index: Index, journal: Journal, lost: bool) -> Self {
        Self {
            index,
            durable: journal.is_durable(),
            journal: Mutex::new(journal),
            lost: AtomicBool::new(lost),
            feed: None,
            changes: watch::Sender::new(()),
            elder: Mutex::new(None),
        }
    }

    /// The number of the present state; another one after every change.
    pub(crate) fn generation(&self) -> u64 {
        self.index.generation()
    }

    /// Whether a token is dead, and through what. Takes no lock.
    pub(crate) fn ask(&self, question: &Question<'_>) -> Option<Revoked> {
        self.index.ask(question)
    }

    /// How many there are of a kind.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.index.count(kind)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether the list survives this process.
    pub(crate) const fn is_durable(&self) -> bool {
        self.durable
    }

    /// Whether a list was lost of which no operator has said what is to be done.
    pub(crate) fn has_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether the list is all that was ever acknowledged, here and by the other replicas, as far as
    /// can be known.
    pub(crate) fn is_whole(&self, now: UnixTime) -> bool {
        !self.has_lost() && self.feed.as_ref().is_none_or(|feed| feed.is_current(now))
    }

    /// Whoever holds this is told of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.index.changed();
        self.changes.send_replace(());
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds revocations, all or none. They are durable and bite when this returns. Blocks.
    ///
    /// # Errors
    /// The list is full, or cannot be written: then none of them bites, but for those of which the
    /// error says so.
    pub(crate) fn add(&self, revocations: Vec<Revocation>) -> Result<Vec<Added>, StoreError> {
        self.add_again(revocations, Again::Says)
    }

    /// The same, where it may have been added before.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn add_again(
        &self,
        revocations: Vec<Revocation>,
        again: Again,
    ) -> Result<Vec<Added>, StoreError> {
        let mut journal = self.journal();
        let ids: Vec<_> = revocations.iter().map(|it| it.id).collect();
        let added = match journal.add(revocations, REVOCATIONS_MAX, again) {
            Ok(added) => added,
            Err(error) => return Err(self.undo(&mut journal, &ids, error)),
        };
        for added in &added {
            let (Added::New(revocation) | Added::Known(revocation)) = added;
            self.bite(revocation);
        }
        self.count_untold(&mut journal);
        self.changed();
        Ok(added)
    }

    /// A write that failed may have happened all the same. It is taken back; where that fails too, it
    /// bites, so that the list in memory is never less than the one on disk.
    fn undo(&self, journal: &mut Journal, ids: &[Uuid], error: StoreError) -> StoreError {
        let mut kept = 0;
        for id in ids {
            match journal.find(*id) {
                Ok(None) => {}
                Ok(Some(revocation)) if self.index.holds(&revocation) => {}
                Ok(Some(revocation)) => {
                    if journal.remove(*id).is_err() {
                        self.bite(&revocation);
                        kept += 1;
                    }
                }
                Err(_) => {}
            }
        }
        self.changed();
        match kept {
            0 => error,
            _ => StoreError::Store(format!(
                "{error}; {kept} of them bite all the same, and may be there after a restart"
            )),
        }
    }

    /// Takes one back; whether there was one. Blocks.
    ///
    /// # Errors
    /// The list cannot be written: then it still bites, unless the store has lost it.
    pub(crate) fn remove(&self, id: Uuid) -> Result<Option<Revocation>, StoreError> {
        let mut journal = self.journal();
        let found = journal.find(id)?;
        let removed = journal.remove(id);
        if let Some(revocation) = &found
            && matches!(journal.find(id), Ok(None))
        {
            self.index.remove(revocation);
            self.count_untold(&mut journal);
            self.changed();
        }
        removed
    }

    /// Forgets some of what has run out, and gives its versions; none where there is no more.
    /// Blocks.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn forget_expired(&self, now: UnixTime) -> Result<Vec<Uuid>, StoreError> {
        let mut journal = self.journal();
        let gone = journal.forget(now)?;
        for held in &gone {
            self.index.remove(&held.revocation);
        }
        if !gone.is_empty() {
            self.changed();
        }
        Ok(gone.iter().map(|held| held.version).collect())
    }

    /// From here on a revocation bites, here and at a gateway that still ends.
    fn bite(&self, revocation: &Revocation) {
        self.index.insert(revocation);
        let mut elder = self.elder.lock().unwrap_or_else(PoisonError::into_inner);
        if elder.as_ref().is_some_and(|Elder(tell)| !tell(revocation)) {
            *elder = None;
        }
    }

    /// Has an elder know what is revoked from here on, before it is acknowledged.
    pub(crate) fn tell_elder(&self, tell: impl Fn(&Revocation) -> bool + Send + 'static) {
        // Under the lock of the journal, so that no change is half told.
        let _journal = self.journal();
        let mut elder = self.elder.lock().unwrap_or_else(PoisonError::into_inner);
        *elder = Some(Elder(Box::new(tell)));
    }

    /// Lets a revocation of another gateway bite, which has the store.
    pub(crate) fn bite_too(&self, revocation: &Revocation) {
        self.index.insert(revocation);
        self.changed();
    }

    /// Lets another process have the store. What is in the index goes on to bite, and changes fail with
    /// [`StoreError::LetGo`]. Blocks.
    pub(crate) fn let_go(&self) {
        self.journal().let_go();
    }

    /// Has the store again, with what that process changed in it. Blocks.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn take_back(&self) -> Result<(), StoreError> {
        let theirs = Index::default();
        let mut journal = self.journal();
        journal.take_back(|it| theirs.insert(it))?;
        self.index.become_like(&theirs);
        drop(journal);
        self.changed();
        Ok(())
    }

    /// A part of the list, the newest first. Blocks.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn page(
        &self,
        before: Option<Uuid>,
        limit: usize,
        fits: impl Fn(&Revocation) -> bool,
    ) -> Result<Page, StoreError> {
        self.journal().page(before, limit, fits)
    }

    /// The lists that were set aside. Blocks.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn lost(&self) -> Result<Vec<String>, StoreError> {
        self.journal().lost()
    }

    /// What was lost is given up, or was brought back. Blocks.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn accept_loss(&self) -> Result<(), StoreError> {
        self.journal().accept_loss()?;
        self.lost.store(false, Ordering::Relaxed);
        self.changed();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
