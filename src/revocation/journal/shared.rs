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
/// When it was first listened to, in microseconds.
const FIRST: &str = "first";
/// When everything in it was known at the latest, in microseconds.
const HEARD: &str = "heard";
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
}

/// Since when nothing may have been heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since {
    pub(crate) at: UnixTime,
    /// Everything was known then; else it is when the stream was first listened to.
    pub(crate) heard: bool,
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
    /// far another stream was read counts nothing. Gives when everything in it was known at the
    /// latest: now, if it is first heard of now.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn share(
        &mut self,
        stream: Option<&str>,
        now: UnixTime,
    ) -> Result<Since, StoreError> {
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
            let read = |name| {
                let text = feed.get(name)?.map(|it| it.value().to_owned());
                let micros = text.and_then(|text| text.parse().ok());
                Ok::<_, StoreError>(micros.map(UnixTime::from_micros))
            };
            if let Some(at) = read(HEARD)? {
                let at = at.min(now);
                return Ok(Since { at, heard: true });
            }
            let first = read(FIRST)?.unwrap_or(now).min(now);
            feed.insert(FIRST, &*first.micros().to_string())?;
            Ok(Since {
                at: first,
                heard: false,
            })
        })
    }

    /// Remembers when everything in the stream was known.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn note_heard(&mut self, at: UnixTime) -> Result<(), StoreError> {
        self.change(|transaction| {
            let mut feed = transaction.open_table(FEED)?;
            feed.insert(HEARD, &*at.micros().to_string())?;
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

    /// Takes over what other replicas have changed, and remembers how far the stream was read. Gives
    /// what came of each change, and which version nobody needs any more.
    ///
    /// # Errors
    /// The list is full, or cannot be written: then nothing of it is taken over.
    pub(crate) fn apply(
        &mut self,
        changes: Vec<Change>,
        cursor: Option<&str>,
        now: UnixTime,
        max: usize,
    ) -> Result<Vec<(Applied, Option<Uuid>)>, StoreError> {
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

    /// Some of what the others do not know, from a place on, and the place from which to go on; `None`
    /// is the end. So whatever is in the way of one keeps no other back.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn untold(
        &mut self,
        from: &[u8],
        max: usize,
    ) -> Result<(Vec<Untold>, Option<Place>), StoreError> {
        let reading = self.database()?.begin_read()?;
        let (outbox, by_id) = (reading.open_table(OUTBOX)?, reading.open_table(BY_ID)?);
        let by_place = reading.open_table(BY_PLACE)?;
        let buried = reading.open_table(BURIED)?;
        let mut untold = Vec::new();
        for entry in outbox.range(from..)? {
            let (place, known) = entry?;
            if untold.len() == max {
                return Ok((untold, Some(place.value().to_vec())));
            }
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
        }
        Ok((untold, None))
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

/// Merges the change of another replica into the state of its place. Gives the version, if any, that
/// nobody needs any more: a later state is known, or it has run out.
fn apply(
    tables: &mut Tables<'_>,
    change: Change,
    now: UnixTime,
    max: usize,
) -> Result<(Applied, Option<Uuid>), StoreError> {
    let Change { held: new, removed } = change;
    let place = place_of(&new.revocation);
    let own = tables.state(&place)?;
    let own_version = own.as_ref().map(|own| own.held().version);
    if own_version == Some(new.version) {
        // It was read back: all have it.
        tables.told(&place)?;
        return Ok((Applied::Nothing, None));
    }
    let end = match removed {
        true => Some(buried_until(&new)),
        false => new.revocation.until,
    };
    if end.is_some_and(|end| end < now) && !matches!(own, Some(State::Live(_))) {
        return Ok((Applied::Nothing, Some(new.version)));
    }
    let is_later = own_version.is_none_or(|own| own < new.version);
    match own {
        Some(State::Live(own)) if !removed => {
            let later = if is_later { &new } else { &own };
            // What was said before it was taken back counts nothing any more.
            let until = match own.after == new.after {
                true => later_end(own.revocation.until, new.revocation.until),
                false => later.revocation.until,
            };
            if !is_later && until == own.revocation.until {
                return Ok((Applied::Nothing, Some(new.version)));
            }
            tables.told(&place)?;
            if later.revocation.until == until {
                tables.put(&place, later.clone())?;
            } else {
                // Neither says what both together say.
                let both = later.followed_by(Revocation {
                    until,
                    ..later.revocation.clone()
                });
                tables.put(&place, both)?;
                tables.tell(&place, Some(new.version.max(own.version)))?;
            }
            Ok((Applied::Changed, Some(new.version.min(own.version))))
        }
        _ if !is_later => Ok((Applied::Nothing, Some(new.version))),
        own if removed => {
            tables.told(&place)?;
            tables.bury(&place, &new)?;
            let applied = match own {
                Some(State::Live(held)) => Applied::Removed(held.revocation),
                _ => Applied::Nothing,
            };
            Ok((applied, own_version))
        }
        _ => {
            if tables.live_count()? >= max as u64 {
                return Err(StoreError::Full(max));
            }
            tables.told(&place)?;
            let held = tables.put(&place, new)?;
            Ok((Applied::Added(held.revocation), own_version))
        }
    }
}
