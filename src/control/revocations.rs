//! Revocations as people and programs write them: through the admin listener, and in a watched file.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use crate::clock::UnixTime;
use crate::oauth::Json;
use crate::policy::Policy;
use crate::revocation::{Kind, Revocation, Selector};

/// The member that says: all tokens of the issuer.
pub(crate) const WHOLE: &str = "whole";
/// What is wrong with texts that a list does not take.
const TOO_LONG: &str = "a text is empty or longer than 1024 bytes";

/// A revocation that is to be added. Of an exported one, what is not for the reader to choose is
/// left out of account.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRevocation {
    /// `issuer`, and one of the others. All tokens of an issuer need a word more: a value that was
    /// forgotten must not take everybody down.
    selector: BTreeMap<String, String>,
    issued_before: Option<Moment>,
    until: Option<Moment>,
    reason: Option<String>,
    #[serde(default)]
    pub(crate) dry_run: bool,
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
            Self::Text(text) => UnixTime::parse_rfc3339(text).filter(|at| at.secs() >= 0),
        }
    }
}

/// The identifier of an issuer by its configured name, or the text itself.
pub(crate) fn identifier(policy: &Policy, name: &str) -> String {
    let found = policy.issuers().iter().find(|it| *it.rules.name == *name);
    found.map_or_else(|| name.to_owned(), |it| it.rules.issuer.to_string())
}

/// The configured name of an issuer, or its identifier.
pub(crate) fn name_of(policy: &Policy, identifier: &str) -> String {
    let found = policy
        .issuers()
        .iter()
        .find(|it| *it.rules.issuer == *identifier);
    found.map_or_else(|| identifier.to_owned(), |it| it.rules.name.to_string())
}

/// Checks a revocation, or says what is wrong with it.
/// `author` counts where it names none itself.
pub(crate) fn checked(
    new: NewRevocation,
    (policy, now): (&Policy, UnixTime),
    author: &str,
) -> Result<Revocation, String> {
    let mut selector = new.selector;
    let issuer = selector
        .remove("issuer")
        .ok_or("`selector` has no `issuer`")?;
    let identifier = identifier(policy, &issuer);
    let mut rules = policy.issuers().iter().map(|issuer| &issuer.rules);
    let rules = rules.find(|rules| *rules.issuer == *identifier);
    // An export may hold what another configuration trusts.
    if rules.is_none() && !identifier.contains("://") {
        let why = "`selector.issuer` is neither the name of a configured issuer nor an identifier";
        return Err(why.to_owned());
    }
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
    let moment = |moment: Option<Moment>, name: &str| match moment {
        None => Ok(None),
        Some(moment) => moment
            .read()
            .map(Some)
            .ok_or_else(|| format!("`{name}` is neither seconds since the epoch nor RFC 3339")),
    };
    let at = moment(new.at, "at")?.filter(|at| *at <= now).unwrap_or(now);
    let issued_before = moment(new.issued_before, "issued_before")?;
    let last = issued_before.map_or(now, |cut| cut.max(now));
    let least = rules.and_then(|rules| rules.outlived_at(last));
    // What kills tokens that are yet to be made ends only when somebody says so.
    let ends = issued_before.is_some() || kind.is_of_one_token();
    let until = match (moment(new.until, "until")?, least) {
        (Some(until), Some(least)) => Some(until.max(least)),
        (None, least) if ends => least,
        _ => None,
    };
    let selector = Selector {
        issuer: identifier.into(),
        kind,
        value: value.into(),
    };
    let author = new.author.as_deref().unwrap_or(author);
    let made = Revocation::made(selector, issued_before, until, author, now);
    let revocation = Revocation {
        id: new.id.unwrap_or(made.id),
        reason: new.reason.map(Into::into),
        at,
        ..made
    };
    match revocation.is_sound() {
        true => Ok(revocation),
        false if kind == Kind::Token => Err(format!(
            "`selector.token` is no fingerprint: SHA-256 of the signing input in lower-case hex; `bearward revoke token` makes it; or {TOO_LONG}"
        )),
        false => Err(TOO_LONG.to_owned()),
    }
}

fn kinds() -> String {
    "beside `issuer` a selector has exactly one of: token, jti, session, subject, client, key; \
     and for all tokens of the issuer `\"whole\": \"issuer\"`"
        .to_owned()
}

/// Reads JSON lines, all of them or none.
///
/// # Errors
/// The number of the first bad line and what is wrong with it.
pub(crate) fn read_lines(
    text: &[u8],
    max: usize,
    at: (&Policy, UnixTime),
    author: &str,
) -> Result<Vec<Revocation>, (usize, String)> {
    let mut revocations = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        if revocations.len() == max {
            return Err((number, format!("more than {max} at once")));
        }
        let new = read(line).map_err(|why| (number, why))?;
        if new.dry_run {
            return Err((number, "`dry_run` has no place in a list".to_owned()));
        }
        revocations.push(checked(new, at, author).map_err(|why| (number, why))?);
    }
    Ok(revocations)
}

/// Reads one revocation.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(text: &[u8]) -> Result<NewRevocation, String> {
    let new = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    // Twice the same member would mean one to us and another to its writer.
    if Json::object(text).is_none() {
        return Err("a member stands there twice".to_owned());
    }
    Ok(new)
}

impl NewRevocation {
    /// Without what only an import may say.
    pub(crate) fn own(self) -> Self {
        Self {
            author: None,
            at: None,
            id: None,
            ..self
        }
    }
}
