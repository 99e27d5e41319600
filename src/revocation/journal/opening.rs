//! Opening the store: reading it back, and what is done with one that is damaged.
//!
//! A damaged list is moved aside under a name of its own and never written to again; a new one is made
//! whole before it is moved to its place. At no moment of a crash is a loss forgotten: while something
//! is set aside and the list is not there, the next start counts it as lost too.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable};
use uuid::Uuid;

use super::shared::FEED;
use super::tables::{BURIED, BURIED_END, BY_END, BY_ID, BY_PLACE, OUTBOX};
use super::{Journal, LOST, Revocation, StoreError, Stored};

/// The file in the state folder.
const FILE: &str = "revocations.redb";
/// A store that is being made.
const NEW: &str = "revocations.redb.new";
/// How names of what was set aside begin.
const ASIDE: &str = "revocations.damaged-";
/// Pages that the store keeps in memory; what a request asks lies in the index.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

impl Journal {
    /// The list in the state folder; `each` is called with every revocation in it. One that is
    /// damaged is set aside and a new one begins, which remembers that: then what `each` was called
    /// with does not count, and `false` is given.
    ///
    /// # Errors
    /// The folder or the file cannot be read or written. A list that is there and cannot be reached
    /// is no damaged one.
    pub(crate) fn open(
        state_dir: &Path,
        mut each: impl FnMut(&Revocation),
    ) -> Result<(Self, bool), StoreError> {
        let path = state_dir.join(FILE);
        let length = match std::fs::metadata(&path) {
            Ok(found) => Some(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let why = match length {
            None => None,
            // It is moved to its place with something in it.
            Some(0) => Some("it is empty".to_owned()),
            Some(_) => {
                // The store must not take the program down, whatever lies in its file.
                let opened = catch_unwind(AssertUnwindSafe(|| {
                    let mut database = open(&path)?;
                    if !database.check_integrity()? {
                        tracing::warn!("the list of revocations was repaired");
                    }
                    // One of an earlier version lacks some.
                    make_tables(&database)?;
                    for entry in database.begin_read()?.open_table(BY_ID)?.iter()? {
                        let (id, bytes) = entry?;
                        each(&Stored::read(Some(id.value()), bytes.value())?.revocation);
                    }
                    Ok::<_, StoreError>(database)
                }));
                match opened {
                    Ok(Ok(database)) => return Ok((Self::at(path, database), true)),
                    Ok(Err(StoreError::Damaged(why))) => Some(why),
                    Ok(Err(error)) => return Err(error),
                    Err(_) => Some("the store gave up on it".to_owned()),
                }
            }
        };
        if let Some(why) = &why {
            // A name of its own: what was set aside before is not touched.
            let aside = state_dir.join(format!("{ASIDE}{}", Uuid::now_v7()));
            std::fs::rename(&path, &aside)?;
            let shown = aside.display().to_string();
            tracing::error!(
                set_aside = shown,
                why,
                "the list of revocations is damaged; routes with `revocations_required` refuse until `bearward revocations accept-loss`"
            );
        }
        // Whatever was set aside counts as lost until somebody decides, also after a crash just now.
        let mut lost = Vec::new();
        for entry in std::fs::read_dir(state_dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(ASIDE) {
                lost.push(entry.path().display().to_string());
            }
        }
        let database = begin(state_dir, &path, &lost)?;
        Ok((Self::at(path, database), false))
    }
}

pub(super) fn open(path: &Path) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    Ok(builder.set_cache_size(CACHE_BYTES).open(path)?)
}

/// Makes a new store, which knows what was lost, and moves it to its place.
fn begin(state_dir: &Path, path: &Path, lost: &[String]) -> Result<Database, StoreError> {
    let new = state_dir.join(NEW);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Who was revoked, and why, is nobody else's to read.
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let mut builder = Database::builder();
    let database = builder.set_cache_size(CACHE_BYTES).create(&new)?;
    make_tables(&database)?;
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(LOST)?;
        for name in lost {
            table.insert(name.as_str(), 0)?;
        }
    }
    transaction.commit()?;
    std::fs::rename(&new, path)?;
    File::open(state_dir)?.sync_all()?;
    Ok(database)
}

pub(super) fn make_tables(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    transaction.open_table(BY_ID)?;
    transaction.open_table(BY_PLACE)?;
    transaction.open_table(BY_END)?;
    transaction.open_table(BURIED)?;
    transaction.open_table(BURIED_END)?;
    transaction.open_table(OUTBOX)?;
    transaction.open_table(FEED)?;
    transaction.open_table(LOST)?;
    transaction.commit()?;
    Ok(())
}
