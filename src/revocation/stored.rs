//! A revocation as it lies in the store, and as it travels between replicas.

use std::borrow::Cow;

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use uuid::{NoContext, Timestamp, Uuid, Variant, Version};

use super::Revocation;
use super::journal::StoreError;
use super::selector::{Kind, Selector};
use crate::clock::UnixTime;
use crate::observe::hex;

/// Of the sum before a change.
const SUM_CHARS: usize = 16;
/// Versions from a later time than this, in the year 5138, are no versions.
const VERSION_SECS_MAX: u64 = 100_000_000_000;

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
    /// The first state of a selector. Its version is not its id, which may come from another list,
    /// where another selector bears it.
    pub(super) fn new(revocation: Revocation) -> Self {
        Self {
            version: Uuid::now_v7(),
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
        let (seconds, nanos) = self.versioned_at();
        let next =
            Duration::from_secs(seconds) + Duration::from_nanos(u64::from(nanos) + 1_000_000);
        let next = Timestamp::from_unix(NoContext, next.as_secs(), next.subsec_nanos());
        let now = Uuid::now_v7();
        if now > self.version {
            now
        } else {
            Uuid::new_v7(next)
        }
    }

    /// When this state was made, in seconds since the epoch and nanoseconds.
    pub(super) fn versioned_at(&self) -> (u64, u32) {
        self.version
            .get_timestamp()
            .map_or((0, 0), |at| at.to_unix())
    }

    /// Whether its version is one that is ever made, and leaves room for later ones.
    fn has_sound_version(&self) -> bool {
        let is_v7 = self.version.get_version() == Some(Version::SortRand)
            && self.version.get_variant() == Variant::RFC4122;
        is_v7 && self.versioned_at().0 < VERSION_SECS_MAX
    }
}

/// Why a change that was told cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is not what was written: its sum does not fit.
    Damaged,
    /// It is whole, and none that this version of the program tells.
    Unknown,
}

/// The beginning of the SHA-256 of what follows it, in hex.
fn sum_of(json: &[u8]) -> String {
    let mut sum = hex(digest(&SHA256, json).as_ref());
    sum.truncate(SUM_CHARS);
    sum
}

/// The state of a selector, as one replica tells it to the others: a sum, so that a flipped bit does
/// not turn one revocation into another, and JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) held: Held,
    /// It was taken back.
    pub(crate) removed: bool,
}

impl Change {
    /// # Errors
    /// There is no memory.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        let json = Stored::of(&self.held, self.removed).bytes(true)?;
        let mut bytes = sum_of(&json).into_bytes();
        bytes.extend(json);
        Ok(bytes)
    }

    /// # Errors
    /// It was changed on its way, or is one that this version of the program never tells.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        let sum = bytes.get(..SUM_CHARS).ok_or(Unreadable::Damaged)?;
        let json = bytes.get(SUM_CHARS..).unwrap_or_default();
        if *sum != *sum_of(json).as_bytes() {
            return Err(Unreadable::Damaged);
        }
        let bad = || Unreadable::Unknown;
        let stored: Stored<'_> = serde_json::from_slice(json).map_err(|_| bad())?;
        let removed = stored.removed;
        let held = stored.held(None).ok_or_else(bad)?;
        let sound = held.revocation.is_sound() && held.has_sound_version();
        sound.then_some(Self { held, removed }).ok_or_else(bad)
    }
}

impl Revocation {
    /// One line that another gateway reads.
    ///
    /// # Errors
    /// There is no memory.
    pub(crate) fn to_line(&self) -> Result<String, StoreError> {
        let change = Change {
            held: Held::new(self.clone()),
            removed: false,
        };
        String::from_utf8(change.to_bytes()?).map_err(|error| StoreError::Store(error.to_string()))
    }

    /// # Errors
    /// It is none.
    pub(crate) fn from_line(line: &str) -> Result<Self, Unreadable> {
        Ok(Change::read(line.as_bytes())?.held.revocation)
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
