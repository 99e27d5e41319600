//! The durable list: an embedded store (redb) in the state folder, synced before an answer is given.
//!
//! Nothing is acknowledged that a power loss could take back, and a write that fails changes nothing.
//! A store that cannot be read is set aside under another name, never silently ignored; that it was
//! lost is remembered in the new one until an operator has said what is to be done.

mod opening;

use std::io;
use std::path::PathBuf;

use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use uuid::Uuid;

use opening::{make_tables, open};

use super::stored::Stored;
use super::{Revocation, SelectorDigest};
use crate::clock::UnixTime;

/// By id, which begins with the time: the order of the list.
const BY_ID: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("revocations");
/// The id of a selector with its cut, so that the same is not added twice.
const BY_SELECTOR: TableDefinition<'_, &[u8], u128> = TableDefinition::new("selectors");
/// What runs out when, in seconds.
const BY_END: TableDefinition<'_, (i64, u128), ()> = TableDefinition::new("ends");
/// What was set aside, and when.
const LOST: TableDefinition<'_, &str, i64> = TableDefinition::new("lost");
/// Revocations that run out in one step.
const FORGOTTEN_MAX: usize = 1000;

/// Why the list could not be changed or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the list of revocations is full ({0})")]
    Full(usize),
    #[error("the list of revocations is damaged: {0}")]
    Damaged(String),
    #[error("the list of revocations cannot be written or read: {0}")]
    Store(String),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match error.into() {
            redb::Error::Corrupted(why) => Self::Damaged(why),
            redb::Error::Io(error) if matches!(error.kind(), InvalidData | UnexpectedEof) => {
                Self::Damaged(error.to_string())
            }
            error => Self::Store(error.to_string()),
        }
    }
}

/// Whether a revocation was new.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Added {
    New(Revocation),
    /// The same selector and cut stood there already; its `id` is kept.
    Known(Revocation),
}

/// A part of the list.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The newest first.
    pub(crate) revocations: Vec<Revocation>,
    /// More follow after the last one's id.
    pub(crate) more: bool,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Journal {
    /// `None`: in memory.
    path: Option<PathBuf>,
    /// `None` after a write that failed: it is opened again before the next.
    database: Option<Database>,
}

impl Journal {
    /// A list that ends with the process.
    ///
    /// # Errors
    /// There is no memory.
    pub(crate) fn in_memory() -> Result<Self, StoreError> {
        let backend = InMemoryBackend::new();
        let database = Database::builder().create_with_backend(backend)?;
        make_tables(&database)?;
        Ok(Self {
            path: None,
            database: Some(database),
        })
    }

    const fn at(path: PathBuf, database: Database) -> Self {
        Self {
            path: Some(path),
            database: Some(database),
        }
    }

    /// Whether it survives this process.
    pub(crate) const fn is_durable(&self) -> bool {
        self.path.is_some()
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        if self.database.is_none()
            && let Some(path) = &self.path
        {
            self.database = Some(open(path)?);
        }
        let gone = || StoreError::Store("the store is closed".to_owned());
        self.database.as_ref().ok_or_else(gone)
    }

    /// Does something in one transaction, synced before this returns. After a failure nothing of it
    /// is there.
    fn change<T>(
        &mut self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let durable = self.is_durable();
        let database = self.database()?;
        let done = (|| {
            let transaction = database.begin_write()?;
            let done = change(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })();
        if matches!(done, Err(StoreError::Store(_))) && durable {
            // After a failed write the store wants to be opened again.
            self.database = None;
        }
        done
    }

    /// Adds revocations, all or none.
    ///
    /// # Errors
    /// The list is full, or cannot be written.
    pub(crate) fn add(
        &mut self,
        revocations: Vec<Revocation>,
        max: usize,
    ) -> Result<Vec<Added>, StoreError> {
        self.change(|transaction| {
            let mut by_id = transaction.open_table(BY_ID)?;
            let mut by_selector = transaction.open_table(BY_SELECTOR)?;
            let mut by_end = transaction.open_table(BY_END)?;
            let mut added = Vec::new();
            for revocation in revocations {
                let place = place_of(&revocation);
                let known = by_selector.get(place.as_slice())?.map(|id| id.value());
                let known = match known {
                    Some(id) => by_id
                        .get(id)?
                        .map(|bytes| Stored::read(id, bytes.value()))
                        .transpose()?,
                    None => None,
                };
                let (now, before, answer): (Revocation, Option<Revocation>, _) = match known {
                    Some(known) => {
                        // The longer life wins: `None` is for ever.
                        let until = match (known.until, revocation.until) {
                            (Some(a), Some(b)) => Some(a.max(b)),
                            _ => None,
                        };
                        let longer = Revocation {
                            until,
                            ..known.clone()
                        };
                        (longer.clone(), Some(known), Added::Known(longer))
                    }
                    None => {
                        if by_id.len()? >= max as u64 {
                            return Err(StoreError::Full(max));
                        }
                        let mut revocation = revocation;
                        if by_id.get(revocation.id.as_u128())?.is_some() {
                            // Another one bears it, from another list.
                            revocation.id = Uuid::now_v7();
                        }
                        (revocation.clone(), None, Added::New(revocation))
                    }
                };
                let id = now.id.as_u128();
                if let Some(until) = before.and_then(|before| before.until) {
                    by_end.remove((until.secs(), id))?;
                }
                if let Some(until) = now.until {
                    by_end.insert((until.secs(), id), ())?;
                }
                let bytes = serde_json::to_vec(&Stored::of(&now))
                    .map_err(|error| StoreError::Store(error.to_string()))?;
                by_id.insert(id, bytes.as_slice())?;
                by_selector.insert(place.as_slice(), id)?;
                added.push(answer);
            }
            Ok(added)
        })
    }

    /// The revocation of an id.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn find(&mut self, id: Uuid) -> Result<Option<Revocation>, StoreError> {
        let id = id.as_u128();
        let by_id = self.database()?.begin_read()?.open_table(BY_ID)?;
        let bytes = by_id.get(id)?;
        bytes
            .map(|bytes| Stored::read(id, bytes.value()))
            .transpose()
    }

    /// Takes one back; gives it.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn remove(&mut self, id: Uuid) -> Result<Option<Revocation>, StoreError> {
        self.change(|transaction| take(transaction, id.as_u128()))
    }

    /// Forgets what has run out, some at a time; gives it.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn forget(&mut self, now: UnixTime) -> Result<Vec<Revocation>, StoreError> {
        let over = {
            let database = self.database()?;
            let ends = database.begin_read()?.open_table(BY_END)?;
            let over = ends.range(..(now.secs(), 0))?.take(FORGOTTEN_MAX);
            over.map(|entry| Ok(entry?.0.value().1))
                .collect::<Result<Vec<_>, StoreError>>()?
        };
        if over.is_empty() {
            return Ok(Vec::new());
        }
        self.change(|transaction| {
            let mut gone = Vec::new();
            for id in over {
                gone.extend(take(transaction, id)?);
            }
            Ok(gone)
        })
    }

    /// Revocations from the newest, or from those before an id.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn page(
        &mut self,
        before: Option<Uuid>,
        limit: usize,
        fits: impl Fn(&Revocation) -> bool,
    ) -> Result<Page, StoreError> {
        let database = self.database()?;
        let by_id = database.begin_read()?.open_table(BY_ID)?;
        let entries = match before {
            Some(id) => by_id.range(..id.as_u128())?,
            None => by_id.iter()?,
        };
        let mut page = Page::default();
        for entry in entries.rev() {
            let (id, bytes) = entry?;
            let revocation = Stored::read(id.value(), bytes.value())?;
            if !fits(&revocation) {
                continue;
            }
            if page.revocations.len() == limit {
                page.more = true;
                break;
            }
            page.revocations.push(revocation);
        }
        Ok(page)
    }

    /// The lists that were set aside and not yet given up.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn lost(&mut self) -> Result<Vec<String>, StoreError> {
        let database = self.database()?;
        let lost = database.begin_read()?.open_table(LOST)?;
        let names = lost.iter()?.map(|entry| Ok(entry?.0.value().to_owned()));
        names.collect()
    }

    /// An operator has decided: what was set aside is given up, or was brought back.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn accept_loss(&mut self) -> Result<(), StoreError> {
        self.change(|transaction| {
            transaction.open_table(LOST)?.retain(|_, _| false)?;
            Ok(())
        })
    }
}

/// Where a selector with its cut is looked up.
fn place_of(revocation: &Revocation) -> Vec<u8> {
    let SelectorDigest(digest) = revocation.selector.digest();
    let mut place = digest.to_vec();
    if let Some(cut) = revocation.issued_before {
        place.extend_from_slice(&cut.micros().to_be_bytes());
    }
    place
}

fn take(transaction: &redb::WriteTransaction, id: u128) -> Result<Option<Revocation>, StoreError> {
    let mut by_id = transaction.open_table(BY_ID)?;
    let Some(bytes) = by_id.remove(id)?.map(|bytes| bytes.value().to_vec()) else {
        return Ok(None);
    };
    let revocation = Stored::read(id, &bytes)?;
    let place = place_of(&revocation);
    transaction
        .open_table(BY_SELECTOR)?
        .remove(place.as_slice())?;
    if let Some(until) = revocation.until {
        transaction.open_table(BY_END)?.remove((until.secs(), id))?;
    }
    Ok(Some(revocation))
}
