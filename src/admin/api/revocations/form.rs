//! A revocation as people and programs write and read it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::{ACTOR, Admin};
use crate::clock::UnixTime;
use crate::revocation::{Kind, Revocation, Selector};

/// The member that says: all tokens of the issuer.
const WHOLE: &str = "whole";
/// The longest claim value, reason or author that is taken.
const TEXT_BYTES_MAX: usize = 1024;

/// A revocation that is to be added. Of an exported one, what is not for the reader to choose is
/// left out of account.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRevocation {
    /// `issuer`, and one of the others. All tokens of an issuer need a word more: a value that was
    /// forgotten must not take everybody down.
    selector: BTreeMap<String, String>,
    issued_before: Option<Moment>,
    until: Option<Moment>,
    reason: Option<String>,
    #[serde(default)]
    pub(super) dry_run: bool,
    author: Option<String>,
    at: Option<Moment>,
    id: Option<Uuid>,
    #[serde(default, rename = "durable")]
    _durable: bool,
}

/// Seconds since the epoch, or RFC 3339.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Seconds(i64),
    Text(String),
}

impl Moment {
    fn read(&self) -> Option<UnixTime> {
        match self {
            Self::Seconds(seconds) => (*seconds >= 0).then(|| UnixTime::from_secs(*seconds)),
            Self::Text(text) => UnixTime::parse_rfc3339(text),
        }
    }
}

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

impl Shown {
    pub(super) fn of(revocation: &Revocation, admin: &Admin) -> Self {
        let selector = &revocation.selector;
        let mut shown = serde_json::Map::new();
        let name = name_of(admin, &selector.issuer);
        shown.insert("issuer".to_owned(), name.into());
        let (member, value): (_, &str) = match selector.kind {
            Kind::Issuer => (WHOLE, "issuer"),
            kind => (kind.name(), &selector.value),
        };
        shown.insert(member.to_owned(), value.into());
        Self {
            id: revocation.id,
            selector: shown.into(),
            issued_before: revocation.issued_before.map(UnixTime::rfc3339),
            until: revocation.until.map(UnixTime::rfc3339),
            reason: revocation.reason.as_ref().map(ToString::to_string),
            author: revocation.author.to_string(),
            at: revocation.at.rfc3339(),
            durable: admin.revocations.is_durable(),
        }
    }
}

/// The identifier of an issuer by its configured name, or the text itself.
pub(super) fn identifier(admin: &Admin, name: &str) -> String {
    let policy = admin.gateway.policy.load();
    let found = policy.issuers().iter().find(|it| *it.rules.name == *name);
    found.map_or_else(|| name.to_owned(), |it| it.rules.issuer.to_string())
}

/// The configured name of an issuer, or its identifier.
pub(super) fn name_of(admin: &Admin, identifier: &str) -> String {
    let policy = admin.gateway.policy.load();
    let found = policy
        .issuers()
        .iter()
        .find(|it| *it.rules.issuer == *identifier);
    found.map_or_else(|| identifier.to_owned(), |it| it.rules.name.to_string())
}

/// Checks a revocation, or says what is wrong with it.
pub(super) fn checked(new: NewRevocation, admin: &Admin) -> Result<Revocation, String> {
    let mut selector = new.selector;
    let issuer = selector
        .remove("issuer")
        .ok_or("`selector` has no `issuer`")?;
    let identifier = identifier(admin, &issuer);
    let policy = admin.gateway.policy.load();
    let mut rules = policy.issuers().iter().map(|issuer| &issuer.rules);
    let rules = rules
        .find(|rules| *rules.issuer == *identifier)
        .ok_or("`selector.issuer` is neither the name nor the identifier of a configured issuer")?;
    let (kind, value) = match (selector.pop_first(), selector.is_empty()) {
        (Some((name, value)), true) if name == WHOLE && value == "issuer" => {
            (Kind::Issuer, String::new())
        }
        (Some((name, value)), true) => {
            let kind = Kind::parse(&name).filter(|kind| *kind != Kind::Issuer);
            (kind.ok_or_else(kinds)?, value)
        }
        (None, _) | (Some(_), false) => return Err(kinds()),
    };
    let short = |text: &str| text.len() <= TEXT_BYTES_MAX;
    let empty = value.is_empty() && kind != Kind::Issuer;
    let texts = [new.reason.as_deref(), new.author.as_deref()];
    if empty || !short(&value) || !texts.into_iter().flatten().all(short) {
        return Err(format!(
            "a text is empty or longer than {TEXT_BYTES_MAX} bytes"
        ));
    }
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if kind == Kind::Token && !(value.len() == 64 && value.bytes().all(is_hex)) {
        return Err("`selector.token` is no fingerprint: SHA-256 of the signing input in lower-case hex; `bearward revoke token` makes it".to_owned());
    }
    let moment = |moment: Option<Moment>, name: &str| match moment {
        None => Ok(None),
        Some(moment) => moment
            .read()
            .map(Some)
            .ok_or_else(|| format!("`{name}` is neither seconds since the epoch nor RFC 3339")),
    };
    let now = admin.gateway.clock.now();
    let at = moment(new.at, "at")?.filter(|at| *at <= now).unwrap_or(now);
    // Never earlier than the tokens that it kills can live; without a longest life, never.
    let least = rules.lifetime_max.map(|lifetime| {
        now.plus(lifetime)
            .plus(rules.leeway)
            .plus(Duration::from_secs(1))
    });
    let until = match (moment(new.until, "until")?, least) {
        (Some(until), Some(least)) => Some(until.max(least)),
        (None, least) => least,
        (Some(_), None) => None,
    };
    let timestamp = uuid::Timestamp::from_unix(uuid::NoContext, now.millis() / 1000, 0);
    Ok(Revocation {
        id: new.id.unwrap_or_else(|| Uuid::new_v7(timestamp)),
        selector: Selector {
            issuer: identifier.into(),
            kind,
            value: value.into(),
        },
        issued_before: moment(new.issued_before, "issued_before")?,
        until,
        reason: new.reason.map(Into::into),
        author: new.author.unwrap_or_else(|| ACTOR.to_owned()).into(),
        at,
    })
}

fn kinds() -> String {
    "beside `issuer` a selector has exactly one of: token, jti, session, subject, client, key; \
     and for all tokens of the issuer `\"whole\": \"issuer\"`"
        .to_owned()
}

/// A query's value without its escapes.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}
