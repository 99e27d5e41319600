//! A revocation as it lies in the store, and as it travels between replicas.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Revocation;
use super::journal::StoreError;
use super::selector::{Kind, Selector};
use crate::clock::UnixTime;

/// A revocation with the version of its state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    /// UUIDv7, later than that of the state before: of two states of one selector the later counts.
    pub(crate) version: Uuid,
    /// The version in which the same selector was taken back before, if it was. What was said of it
    /// before that counts nothing any more.
    pub(super) after: Option<Uuid>,
    pub(crate) revocation: Revocation,
}

impl Held {
    /// A state that was never changed: its version is its id.
    pub(super) const fn new(revocation: Revocation) -> Self {
        Self {
            version: revocation.id,
            after: None,
            revocation,
        }
    }

    /// The next state of the same selector.
    pub(super) fn followed_by(&self, revocation: Revocation) -> Self {
        Self {
            version: self.next_version(),
            after: self.after,
            revocation,
        }
    }

    /// A version later than this and than all before now.
    fn next_version(&self) -> Uuid {
        let next = Uuid::from_u128(self.version.as_u128().saturating_add(1));
        Uuid::now_v7().max(next)
    }
}

/// The state of a selector, as one replica tells it to the others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) held: Held,
    /// It was taken back.
    pub(crate) removed: bool,
}

impl Change {
    /// # Errors
    /// There is no memory.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, StoreError> {
        Stored::of(&self.held, self.removed).bytes(true)
    }

    /// # Errors
    /// It is none.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let bad = || StoreError::Damaged("a change is not one that is ever told".to_owned());
        let stored: Stored<'_> = serde_json::from_slice(bytes).map_err(|_| bad())?;
        let removed = stored.removed;
        let held = stored.held(None).ok_or_else(bad)?;
        let sound = held.revocation.is_sound();
        sound.then_some(Self { held, removed }).ok_or_else(bad)
    }
}

/// The form of both.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored<'a> {
    /// Left out where it is the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    /// Left out where it is the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Uuid>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
    issuer: Cow<'a, str>,
    by: Cow<'a, str>,
    value: Cow<'a, str>,
    issued_before: Option<i64>,
    until: Option<i64>,
    reason: Option<Cow<'a, str>>,
    author: Cow<'a, str>,
    at: i64,
}

impl Stored<'_> {
    pub(super) fn of(held: &Held, removed: bool) -> Stored<'_> {
        let revocation = &held.revocation;
        Stored {
            id: Some(revocation.id),
            version: (held.version != revocation.id).then_some(held.version),
            after: held.after,
            removed,
            issuer: (&*revocation.selector.issuer).into(),
            by: revocation.selector.kind.name().into(),
            value: (&*revocation.selector.value).into(),
            issued_before: revocation.issued_before.map(UnixTime::micros),
            until: revocation.until.map(UnixTime::micros),
            reason: revocation.reason.as_deref().map(Into::into),
            author: (&*revocation.author).into(),
            at: revocation.at.micros(),
        }
    }

    pub(super) fn bytes(mut self, with_id: bool) -> Result<Vec<u8>, StoreError> {
        self.id = self.id.filter(|_| with_id);
        serde_json::to_vec(&self).map_err(|error| StoreError::Store(error.to_string()))
    }

    /// `id` is that of the key, or it stands in the bytes.
    pub(super) fn read(id: Option<u128>, bytes: &[u8]) -> Result<Held, StoreError> {
        let damaged = || match id {
            Some(id) => {
                StoreError::Damaged(format!("the entry {} is damaged", Uuid::from_u128(id)))
            }
            None => StoreError::Damaged("an entry is damaged".to_owned()),
        };
        let stored: Stored<'_> = serde_json::from_slice(bytes).map_err(|_| damaged())?;
        stored.held(id).ok_or_else(damaged)
    }

    fn held(self, id: Option<u128>) -> Option<Held> {
        let id = id.map(Uuid::from_u128).or(self.id)?;
        Some(Held {
            version: self.version.unwrap_or(id),
            after: self.after,
            revocation: Revocation {
                id,
                selector: Selector {
                    issuer: self.issuer.into(),
                    kind: Kind::parse(&self.by)?,
                    value: self.value.into(),
                },
                issued_before: self.issued_before.map(UnixTime::from_micros),
                until: self.until.map(UnixTime::from_micros),
                reason: self.reason.map(Into::into),
                author: self.author.into(),
                at: UnixTime::from_micros(self.at),
            },
        })
    }
}
