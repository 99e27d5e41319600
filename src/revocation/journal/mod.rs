//! The durable list: an embedded store (redb) in the state folder, synced before an answer is given.
//!
//! Nothing is acknowledged that a power loss could take back, and a write that fails changes nothing.
//! A store that cannot be read is set aside under another name, never silently ignored; that it was
//! lost is remembered in the new one until an operator has said what is to be done.

mod opening;
mod shared;
mod tables;

use std::io;
use std::path::PathBuf;

use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use uuid::Uuid;

use opening::{make_tables, open};
use tables::{BURIED_END, BY_END, BY_ID, State, Tables, place_of};

use super::Revocation;
use super::stored::{Held, Stored};
use crate::clock::UnixTime;

pub(crate) use shared::{Applied, Position, Since, Untold};
pub(crate) use tables::Place;

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
    #[error("another gateway takes the list of revocations over; try again in a moment")]
    LetGo,
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

/// What it means where other replicas have the same list that somebody adds what stands there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// He says it now: it counts more than another's word from before that is still on its way, and
    /// that it was taken back.
    Says,
    /// He has said it before, as a file does that is read once more.
    Said,
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
    /// Other replicas have the same list.
    shared: bool,
    /// Another process has the store.
    let_go: bool,
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
            shared: false,
            let_go: false,
        })
    }

    const fn at(path: PathBuf, database: Database) -> Self {
        Self {
            path: Some(path),
            database: Some(database),
            shared: false,
            let_go: false,
        }
    }

    /// Whether it survives this process.
    pub(crate) const fn is_durable(&self) -> bool {
        self.path.is_some()
    }

    /// Closes the store of the state folder for another process. Until it is taken back nothing can be
    /// changed or read here.
    pub(crate) fn let_go(&mut self) {
        self.let_go = true;
        if self.is_durable() {
            self.database = None;
        }
    }

    /// Has the store again, and gives `each` revocation in it.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn take_back(
        &mut self,
        mut each: impl FnMut(&Revocation),
    ) -> Result<(), StoreError> {
        self.let_go = false;
        let reading = self.database()?.begin_read()?;
        for entry in reading.open_table(BY_ID)?.iter()? {
            let (id, bytes) = entry?;
            each(&Stored::read(Some(id.value()), bytes.value())?.revocation);
        }
        Ok(())
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        if self.let_go {
            return Err(StoreError::LetGo);
        }
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
        again: Again,
    ) -> Result<Vec<Added>, StoreError> {
        let shared = self.shared.then_some(again);
        self.change(|transaction| {
            let mut tables = Tables::open(transaction)?;
            let mut added = Vec::new();
            for revocation in revocations {
                added.push(add(&mut tables, revocation, max, shared)?);
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
            .map(|bytes| Ok(Stored::read(Some(id), bytes.value())?.revocation))
            .transpose()
    }

    /// Takes one back; gives it.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn remove(&mut self, id: Uuid) -> Result<Option<Revocation>, StoreError> {
        let shared = self.shared;
        self.change(|transaction| {
            let mut tables = Tables::open(transaction)?;
            let Some(held) = tables.find(id.as_u128())? else {
                return Ok(None);
            };
            let place = place_of(&held.revocation);
            if shared {
                let buried = held.followed_by(held.revocation.clone());
                tables.bury(&place, &buried)?;
                tables.tell(&place, Some(held.version))?;
            } else {
                tables.clear(&place)?;
            }
            Ok(Some(held.revocation))
        })
    }

    /// Forgets what has run out, some at a time; gives it. What was taken back is forgotten too.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn forget(&mut self, now: UnixTime) -> Result<Vec<Held>, StoreError> {
        let (over, buried) = {
            let reading = self.database()?.begin_read()?;
            let ends = reading.open_table(BY_END)?;
            let over = ends.range(..(now.secs(), 0))?.take(FORGOTTEN_MAX);
            let over = over
                .map(|entry| Ok(entry?.0.value().1))
                .collect::<Result<Vec<_>, StoreError>>()?;
            let ends = reading.open_table(BURIED_END)?;
            let none: &[u8] = &[];
            let buried = ends.range(..(now.secs(), none))?.take(FORGOTTEN_MAX);
            let buried = buried
                .map(|entry| Ok(entry?.0.value().1.to_vec()))
                .collect::<Result<Vec<Place>, StoreError>>()?;
            (over, buried)
        };
        if over.is_empty() && buried.is_empty() {
            return Ok(Vec::new());
        }
        self.change(|transaction| {
            let mut tables = Tables::open(transaction)?;
            let mut gone = Vec::new();
            for id in over {
                if let Some(held) = tables.find(id)? {
                    let place = place_of(&held.revocation);
                    tables.clear(&place)?;
                    tables.told(&place)?;
                    gone.push(held);
                }
            }
            for place in buried {
                if let Some(state) = tables.state(&place)? {
                    tables.clear(&place)?;
                    tables.told(&place)?;
                    gone.push(state.held().clone());
                }
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
            let revocation = Stored::read(Some(id.value()), bytes.value())?.revocation;
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

/// Adds one revocation, or lets the one that stands there live as long as the longer.
fn add(
    tables: &mut Tables<'_>,
    revocation: Revocation,
    max: usize,
    shared: Option<Again>,
) -> Result<Added, StoreError> {
    let place = place_of(&revocation);
    let before = tables.state(&place)?;
    if let Some(State::Live(known)) = before {
        let until = later_end(known.revocation.until, revocation.until);
        if until == known.revocation.until && shared != Some(Again::Says) {
            return Ok(Added::Known(known.revocation));
        }
        let longer = known.followed_by(Revocation {
            until,
            ..known.revocation.clone()
        });
        let longer = tables.put(&place, longer)?;
        if shared.is_some() {
            tables.tell(&place, Some(known.version))?;
        }
        return Ok(Added::Known(longer.revocation));
    }
    if tables.live_count()? >= max as u64 {
        return Err(StoreError::Full(max));
    }
    let known = before.as_ref().map(|state| state.held().version);
    let held = match before {
        Some(State::Buried(buried)) => Held {
            after: Some(buried.version),
            ..buried.followed_by(revocation)
        },
        _ => Held::new(revocation),
    };
    let held = tables.put(&place, held)?;
    if shared.is_some() {
        tables.tell(&place, known)?;
    }
    Ok(Added::New(held.revocation))
}

/// The later of two ends; `None` is never.
fn later_end(a: Option<UnixTime>, b: Option<UnixTime>) -> Option<UnixTime> {
    Some(a?.max(b?))
}
