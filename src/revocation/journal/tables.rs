//! The tables of the store, within one change: what is in force, what was taken back, what is still
//! to be told.
//!
//! A place is a selector with its cut; each holds one state at a time. What was taken back is kept
//! for a while where the list is shared: a replica that was away still has it, and must learn that.

use std::time::Duration;

use redb::{ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};
use uuid::Uuid;

use super::super::stored::{Held, Stored};
use super::super::{Revocation, SelectorDigest};
use super::StoreError;
use crate::clock::UnixTime;

/// By id, which begins with the time: the order of the list.
pub(super) const BY_ID: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("revocations");
/// The id of a place, so that the same is not added twice.
pub(super) const BY_PLACE: TableDefinition<'_, &[u8], u128> = TableDefinition::new("selectors");
/// What runs out when, in seconds.
pub(super) const BY_END: TableDefinition<'_, (i64, u128), ()> = TableDefinition::new("ends");
/// What was taken back, by its place.
pub(super) const BURIED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("buried");
/// And when that may be forgotten.
pub(super) const BURIED_END: TableDefinition<'_, (i64, &[u8]), ()> =
    TableDefinition::new("buried_ends");
/// Places whose state the other replicas do not know yet, with the version that they know or 0.
pub(super) const OUTBOX: TableDefinition<'_, &[u8], u128> = TableDefinition::new("outbox");

/// That something was taken back is remembered for this long at least. A replica that was away
/// for longer brings it back.
const BURIED_FOR: Duration = Duration::from_secs(90 * 86_400);

/// How many of them are remembered; beyond, the first that ends is forgotten.
const BURIED_MAX: u64 = 1_000_000;

/// Where a selector with its cut is looked up.
pub(crate) type Place = Vec<u8>;

pub(super) fn place_of(revocation: &Revocation) -> Place {
    let SelectorDigest(digest) = revocation.selector.digest();
    let mut place = digest.to_vec();
    if let Some(cut) = revocation.issued_before {
        place.extend_from_slice(&cut.micros().to_be_bytes());
    }
    place
}

/// The state of a place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Live(Held),
    Buried(Held),
}

impl State {
    pub(super) const fn held(&self) -> &Held {
        match self {
            Self::Live(held) | Self::Buried(held) => held,
        }
    }
}

/// The tables of one change.
pub(super) struct Tables<'t> {
    by_id: Table<'t, u128, &'static [u8]>,
    by_place: Table<'t, &'static [u8], u128>,
    by_end: Table<'t, (i64, u128), ()>,
    buried: Table<'t, &'static [u8], &'static [u8]>,
    buried_end: Table<'t, (i64, &'static [u8]), ()>,
    outbox: Table<'t, &'static [u8], u128>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            by_id: transaction.open_table(BY_ID)?,
            by_place: transaction.open_table(BY_PLACE)?,
            by_end: transaction.open_table(BY_END)?,
            buried: transaction.open_table(BURIED)?,
            buried_end: transaction.open_table(BURIED_END)?,
            outbox: transaction.open_table(OUTBOX)?,
        })
    }

    pub(super) fn live_count(&self) -> Result<u64, StoreError> {
        Ok(self.by_id.len()?)
    }

    pub(super) fn find(&self, id: u128) -> Result<Option<Held>, StoreError> {
        let bytes = self.by_id.get(id)?;
        bytes
            .map(|bytes| Stored::read(Some(id), bytes.value()))
            .transpose()
    }

    pub(super) fn live(&self, place: &Place) -> Result<Option<Held>, StoreError> {
        match self.by_place.get(place.as_slice())?.map(|id| id.value()) {
            Some(id) => self.find(id),
            None => Ok(None),
        }
    }

    pub(super) fn state(&self, place: &Place) -> Result<Option<State>, StoreError> {
        if let Some(held) = self.live(place)? {
            return Ok(Some(State::Live(held)));
        }
        let bytes = self.buried.get(place.as_slice())?;
        let held = bytes.map(|bytes| Stored::read(None, bytes.value()));
        Ok(held.transpose()?.map(State::Buried))
    }

    /// Puts a revocation in force, in place of what the place held. One that bears the id of another
    /// place's, from another list, gets one of its own.
    pub(super) fn put(&mut self, place: &Place, mut held: Held) -> Result<Held, StoreError> {
        self.clear(place)?;
        if self.by_id.get(held.revocation.id.as_u128())?.is_some() {
            held.revocation.id = Uuid::now_v7();
        }
        let id = held.revocation.id.as_u128();
        let bytes = Stored::of(&held, false).bytes(false)?;
        self.by_id.insert(id, bytes.as_slice())?;
        self.by_place.insert(place.as_slice(), id)?;
        if let Some(until) = held.revocation.until {
            self.by_end.insert((until.secs(), id), ())?;
        }
        Ok(held)
    }

    /// Takes the state of a place away.
    pub(super) fn clear(&mut self, place: &Place) -> Result<(), StoreError> {
        match self.state(place)? {
            Some(State::Live(held)) => {
                let id = held.revocation.id.as_u128();
                self.by_id.remove(id)?;
                self.by_place.remove(place.as_slice())?;
                if let Some(until) = held.revocation.until {
                    self.by_end.remove((until.secs(), id))?;
                }
            }
            Some(State::Buried(held)) => {
                self.buried.remove(place.as_slice())?;
                let end = buried_until(&held);
                self.buried_end.remove((end.secs(), place.as_slice()))?;
            }
            None => {}
        }
        Ok(())
    }

    /// Takes a revocation back, and remembers that.
    pub(super) fn bury(&mut self, place: &Place, held: &Held) -> Result<(), StoreError> {
        self.clear(place)?;
        while self.buried.len()? >= BURIED_MAX {
            let first = self.buried_end.first()?;
            let Some(first) = first.map(|(end, _)| end.value().1.to_vec()) else {
                break;
            };
            self.clear(&first)?;
            self.told(&first)?;
        }
        let bytes = Stored::of(held, true).bytes(true)?;
        self.buried.insert(place.as_slice(), bytes.as_slice())?;
        let end = buried_until(held);
        self.buried_end.insert((end.secs(), place.as_slice()), ())?;
        Ok(())
    }

    /// The others are to be told of a place; they know it, if at all, in the version `known`.
    pub(super) fn tell(&mut self, place: &Place, known: Option<Uuid>) -> Result<(), StoreError> {
        if self.outbox.get(place.as_slice())?.is_none() {
            let known = known.map_or(0, |known| known.as_u128());
            self.outbox.insert(place.as_slice(), known)?;
        }
        Ok(())
    }

    /// The others have been told of a place.
    pub(super) fn told(&mut self, place: &Place) -> Result<(), StoreError> {
        self.outbox.remove(place.as_slice())?;
        Ok(())
    }
}

/// Until when it is remembered that something was taken back: at least as long as it would have lived,
/// and as others may hold it that have not heard of it, with another end.
pub(super) fn buried_until(held: &Held) -> UnixTime {
    let (seconds, nanos) = held.versioned_at();
    let at = UnixTime::from_secs(i64::try_from(seconds).unwrap_or(0));
    let at = at.plus(Duration::from_nanos(u64::from(nanos)));
    let least = at.plus(BURIED_FOR);
    held.revocation
        .until
        .map_or(least, |until| until.max(least))
}
