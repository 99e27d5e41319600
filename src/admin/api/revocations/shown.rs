//! A revocation as it is shown.

use serde::Serialize;
use uuid::Uuid;

use super::super::Admin;
use crate::clock::UnixTime;
use crate::control::revocations::{WHOLE, name_of};
use crate::revocation::{Kind, Revocation};

/// A revocation as it is shown.
#[derive(Serialize)]
pub(super) struct Shown {
    id: Uuid,
    selector: serde_json::Value,
    issued_before: Option<String>,
    until: Option<String>,
    reason: Option<String>,
    author: String,
    at: String,
    /// Whether it survives a restart of this process.
    durable: bool,
}

/// The answer to whoever adds one.
#[derive(Serialize)]
pub(super) struct Answered {
    #[serde(flatten)]
    pub(super) revocation: Shown,
    /// It was not there before.
    pub(super) added: bool,
    pub(super) feed: Option<&'static str>,
}

impl Shown {
    /// With the issuer's own name, which another gateway may call otherwise.
    pub(super) fn exported(revocation: &Revocation, admin: &Admin) -> Self {
        let mut shown = Self::of(revocation, admin);
        if let Some(selector) = shown.selector.as_object_mut() {
            let issuer: &str = &revocation.selector.issuer;
            selector.insert("issuer".to_owned(), issuer.into());
        }
        shown
    }

    pub(super) fn of(revocation: &Revocation, admin: &Admin) -> Self {
        let selector = &revocation.selector;
        let mut shown = serde_json::Map::new();
        let name = name_of(&admin.policy(), &selector.issuer);
        shown.insert("issuer".to_owned(), name.into());
        let (member, value): (_, &str) = match selector.kind {
            Kind::Issuer => (WHOLE, "issuer"),
            kind => (kind.name(), &selector.value),
        };
        shown.insert(member.to_owned(), value.into());
        Self {
            id: revocation.id,
            selector: shown.into(),
            issued_before: revocation.issued_before.map(UnixTime::rfc3339_exact),
            until: revocation.until.map(UnixTime::rfc3339),
            reason: revocation.reason.as_ref().map(ToString::to_string),
            author: revocation.author.to_string(),
            at: revocation.at.rfc3339(),
            durable: admin.revocations.is_durable(),
        }
    }
}
