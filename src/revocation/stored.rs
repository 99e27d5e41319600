//! A revocation as it lies in the store.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Revocation;
use super::journal::StoreError;
use super::selector::{Kind, Selector};
use crate::clock::UnixTime;

/// A revocation as it lies in the store.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored<'a> {
    issuer: Cow<'a, str>,
    by: &'a str,
    value: Cow<'a, str>,
    issued_before: Option<i64>,
    until: Option<i64>,
    reason: Option<Cow<'a, str>>,
    author: Cow<'a, str>,
    at: i64,
}

impl Stored<'_> {
    pub(super) fn of(revocation: &Revocation) -> Stored<'_> {
        Stored {
            issuer: (&*revocation.selector.issuer).into(),
            by: revocation.selector.kind.name(),
            value: (&*revocation.selector.value).into(),
            issued_before: revocation.issued_before.map(UnixTime::micros),
            until: revocation.until.map(UnixTime::micros),
            reason: revocation.reason.as_deref().map(Into::into),
            author: (&*revocation.author).into(),
            at: revocation.at.micros(),
        }
    }

    pub(super) fn read(id: u128, bytes: &[u8]) -> Result<Revocation, StoreError> {
        let damaged =
            || StoreError::Damaged(format!("the entry {} is damaged", Uuid::from_u128(id)));
        let stored: Stored<'_> = serde_json::from_slice(bytes).map_err(|_| damaged())?;
        Ok(Revocation {
            id: Uuid::from_u128(id),
            selector: Selector {
                issuer: stored.issuer.into(),
                kind: Kind::parse(stored.by).ok_or_else(damaged)?,
                value: stored.value.into(),
            },
            issued_before: stored.issued_before.map(UnixTime::from_micros),
            until: stored.until.map(UnixTime::from_micros),
            reason: stored.reason.map(Into::into),
            author: stored.author.into(),
            at: UnixTime::from_micros(stored.at),
        })
    }
}
