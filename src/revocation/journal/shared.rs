//! The list as one of several replicas': what the others have changed, and what they do not know yet.
//!
//! Every change has a version, and of two states of one selector the later counts, whichever comes
//! first: so replicas that have heard the same hold the same, in whatever order they heard it. Of two
//! ends the later counts, so that no acknowledged revocation ends early. What the others do not know
//! stands in the outbox, written in the same transaction as the change itself, until it was read back.

use std::collections::HashSet;

use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use uuid::Uuid;

use super::super::stored::{Change, Held, Stored};
use super::tables::{
    BURIED, BURIED_END, BY_END, BY_ID, BY_PLACE, OUTBOX, Place, State, Tables, buried_until,
    place_of,
};
use super::{Journal, StoreError, later_end};
use crate::clock::UnixTime;
use crate::revocation::Revocation;

/// How far the feed was read: the stream, and the id of its last entry.
pub(super) const FEED: TableDefinition<'_, &str, &str> = TableDefinition::new("feed");
const STREAM: &str = "stream";
const CURSOR: &str = "cursor";
/// States that are looked at in one step.
const STEP: usize = 5000;

/// What came of the change of another replica.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Applied {
    Added(Revocation),
    Removed(Revocation),
    /// It stood there already, in other words.
    Changed,
    /// It was known, or says nothing that is not known.
    Nothing,
    /// A later state is known, or it has run out: nobody needs it any more.
    Over,
}

/// One state that the others do not know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Untold {
    pub(crate) change: Change,
    /// In which version they know the selector.
    pub(crate) known: Option<Uuid>,
}

/// Where a look over all states stands.
#[derive(Clone, Debug)]
pub(crate) enum Position {
    Live(u128),
    Buried(Vec<u8>),
    End,
}

impl Journal {
    /// From now on other replicas have the same list, by the stream of this name; or nobody has. How
    /// far another stream was read counts nothing.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn share(&mut self, stream: Option<&str>) -> Result<(), StoreError> {
        self.shared = stream.is_some();
        self.change(|transaction| {
            let mut feed = transaction.open_table(FEED)?;
            let same = feed.get(STREAM)?.as_ref().map(|it| it.value()) == stream;
            if !same {
                feed.retain(|_, _| false)?;
            }
            if let Some(stream) = stream {
                feed.insert(STREAM, stream)?;
            }
            Ok(())
        })
    }

    /// How far the stream was read.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn cursor(&mut self) -> Result<Option<String>, StoreError> {
        let feed = self.database()?.begin_read()?.open_table(FEED)?;
        Ok(feed.get(CURSOR)?.map(|it| it.value().to_owned()))
    }

    /// Takes over what other replicas have changed, and remembers how far the stream was read.
    ///
    /// # Errors
    /// The list is full, or cannot be written: then nothing of it is taken over.
    pub(crate) fn apply(
        &mut self,
        changes: Vec<Change>,
        cursor: Option<&str>,
        now: UnixTime,
        max: usize,
    ) -> Result<Vec<Applied>, StoreError> {
        self.change(|transaction| {
            let mut tables = Tables::open(transaction)?;
            let mut applied = Vec::new();
            for change in changes {
                applied.push(apply(&mut tables, change, now, max)?);
            }
            if let Some(cursor) = cursor {
                transaction.open_table(FEED)?.insert(CURSOR, cursor)?;
            }
            Ok(applied)
        })
    }

    /// Some of what the others do not know.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn untold(&mut self, max: usize) -> Result<Vec<Untold>, StoreError> {
        let reading = self.database()?.begin_read()?;
        let (outbox, by_id) = (reading.open_table(OUTBOX)?, reading.open_table(BY_ID)?);
        let by_place = reading.open_table(BY_PLACE)?;
        let buried = reading.open_table(BURIED)?;
        let mut untold = Vec::new();
        for entry in outbox.iter()? {
            let (place, known) = entry?;
            let live = by_place.get(place.value())?.map(|id| id.value());
            let live = match live {
                Some(id) => by_id
                    .get(id)?
                    .map(|bytes| Stored::read(Some(id), bytes.value())),
                None => None,
            };
            let (held, removed) = match live {
                Some(held) => (held?, false),
                None => match buried.get(place.value())? {
                    Some(bytes) => (Stored::read(None, bytes.value())?, true),
                    None => continue,
                },
            };
            let known = Some(known.value())
                .filter(|known| *known != 0)
                .map(Uuid::from_u128);
            let change = Change { held, removed };
            untold.push(Untold { change, known });
            if untold.len() == max {
                break;
            }
        }
        Ok(untold)
    }

    /// How many states the others do not know.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn untold_count(&mut self) -> Result<u64, StoreError> {
        Ok(self.database()?.begin_read()?.open_table(OUTBOX)?.len()?)
    }

    /// How many states there are that do not end before a time, with those that were taken back.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn states(&mut self, after: UnixTime) -> Result<u64, StoreError> {
        let reading = self.database()?.begin_read()?;
        let all = reading.open_table(BY_ID)?.len()? + reading.open_table(BURIED)?.len()?;
        let none: &[u8] = &[];
        let ends = reading.open_table(BY_END)?;
        let ending = ends.range(..(after.secs(), 0))?.count();
        let ends = reading.open_table(BURIED_END)?;
        let ending = ending + ends.range(..(after.secs(), none))?.count();
        Ok(all.saturating_sub(ending as u64))
    }

    /// Has the others told of some of the states that are not among the `known` versions; gives where
    /// to go on.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn tell_unknown(
        &mut self,
        from: Position,
        known: &HashSet<Uuid>,
    ) -> Result<Position, StoreError> {
        let (unknown, next) = {
            let reading = self.database()?.begin_read()?;
            let mut unknown: Vec<(Place, Uuid)> = Vec::new();
            let mut note = |held: &Held| {
                if !known.contains(&held.version) {
                    unknown.push((place_of(&held.revocation), held.version));
                }
            };
            let mut seen = 0;
            let next = match from {
                Position::Live(from) => {
                    let mut next = Position::Buried(Vec::new());
                    for entry in reading.open_table(BY_ID)?.range(from..)? {
                        let (id, bytes) = entry?;
                        if seen == STEP {
                            next = Position::Live(id.value());
                            break;
                        }
                        seen += 1;
                        note(&Stored::read(Some(id.value()), bytes.value())?);
                    }
                    next
                }
                Position::Buried(from) => {
                    let mut next = Position::End;
                    for entry in reading.open_table(BURIED)?.range(from.as_slice()..)? {
                        let (place, bytes) = entry?;
                        if seen == STEP {
                            next = Position::Buried(place.value().to_vec());
                            break;
                        }
                        seen += 1;
                        note(&Stored::read(None, bytes.value())?);
                    }
                    next
                }
                Position::End => Position::End,
            };
            (unknown, next)
        };
        if !unknown.is_empty() {
            self.change(|transaction| {
                let mut tables = Tables::open(transaction)?;
                for (place, version) in unknown {
                    let state = tables.state(&place)?;
                    if state.is_some_and(|state| state.held().version == version) {
                        tables.tell(&place, None)?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(next)
    }
}

/// Merges the change of another replica into the state of its place.
fn apply(
    tables: &mut Tables<'_>,
    change: Change,
    now: UnixTime,
    max: usize,
) -> Result<Applied, StoreError> {
    let Change { held: new, removed } = change;
    let place = place_of(&new.revocation);
    let own = tables.state(&place)?;
    if own
        .as_ref()
        .is_some_and(|own| own.held().version == new.version)
    {
        // It was read back: all have it.
        tables.told(&place)?;
    }
    let over = |held: &Held| held.revocation.until.is_some_and(|until| until < now);
    match own {
        None if removed => {
            if buried_until(&new) < now {
                return Ok(Applied::Over);
            }
            tables.bury(&place, &new)?;
            Ok(Applied::Nothing)
        }
        None if over(&new) => Ok(Applied::Over),
        Some(own) if own.held().version == new.version => Ok(Applied::Nothing),
        Some(State::Buried(own)) if own.version > new.version || over(&new) => Ok(Applied::Over),
        Some(own) if removed => {
            if own.held().version > new.version {
                return Ok(Applied::Over);
            }
            tables.told(&place)?;
            tables.bury(&place, &new)?;
            Ok(match own {
                State::Live(held) => Applied::Removed(held.revocation),
                State::Buried(_) => Applied::Nothing,
            })
        }
        Some(State::Live(own)) => {
            let (later, is_own) = if new.version > own.version {
                (&new, false)
            } else {
                (&own, true)
            };
            // What was said before it was taken back counts nothing any more.
            let until = match own.after == new.after {
                true => later_end(own.revocation.until, new.revocation.until),
                false => later.revocation.until,
            };
            if is_own && until == own.revocation.until {
                return Ok(Applied::Over);
            }
            if later.revocation.until == until {
                tables.told(&place)?;
                tables.put(&place, later.clone())?;
                Ok(Applied::Changed)
            } else {
                // Neither says what both together say.
                let both = later.followed_by(Revocation {
                    until,
                    ..later.revocation.clone()
                });
                tables.put(&place, both)?;
                tables.told(&place)?;
                tables.tell(&place, Some(new.version.max(own.version)))?;
                Ok(Applied::Over)
            }
        }
        None | Some(State::Buried(_)) => {
            if tables.live_count()? >= max as u64 {
                return Err(StoreError::Full(max));
            }
            tables.told(&place)?;
            let held = tables.put(&place, new)?;
            Ok(Applied::Added(held.revocation))
        }
    }
}
