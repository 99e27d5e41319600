//! `/api/v1/revocations`: adding, listing, taking back.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ACTOR, Admin, Answer, json, problem};
use crate::clock::UnixTime;
use crate::observe::audit::{AdminEvent, SelectorNotes};
use crate::revocation::{Added, Kind, Revocation, Selector};

/// The longest claim value, reason or author that is taken.
const TEXT_BYTES_MAX: usize = 1024;
/// Revocations in one answer.
const LISTED_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRevocation {
    selector: NewSelector,
    issued_before: Option<Moment>,
    until: Option<Moment>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSelector {
    issuer: String,
    jti: Option<String>,
    subject: Option<String>,
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

#[derive(Serialize)]
struct Shown {
    id: String,
    selector: serde_json::Value,
    issued_before: Option<String>,
    until: Option<String>,
    reason: Option<String>,
    author: String,
    at: String,
    /// Whether it survives a restart of this process.
    durable: bool,
}

impl From<&Revocation> for Shown {
    fn from(revocation: &Revocation) -> Self {
        let selector = &revocation.selector;
        Self {
            id: revocation.id.to_string(),
            selector: serde_json::json!({
                "issuer": selector.issuer,
                selector.kind.name(): selector.value,
            }),
            issued_before: revocation.issued_before.map(UnixTime::rfc3339),
            until: revocation.until.map(UnixTime::rfc3339),
            reason: revocation.reason.as_ref().map(ToString::to_string),
            author: revocation.author.to_string(),
            at: revocation.at.rfc3339(),
            durable: false,
        }
    }
}

pub(super) fn answer(admin: &Admin, parts: &Parts, id: Option<&str>, body: &[u8]) -> Answer {
    match (id, &parts.method) {
        (None, &Method::GET) => list(admin),
        (None, &Method::POST) => add(admin, parts, body),
        (None, _) => problem(StatusCode::METHOD_NOT_ALLOWED, "use GET or POST"),
        (Some(id), &Method::DELETE) => remove(admin, id),
        (Some(_), _) => problem(StatusCode::METHOD_NOT_ALLOWED, "use DELETE"),
    }
}

fn list(admin: &Admin) -> Answer {
    let all = admin.revocations.list();
    let shown: Vec<Shown> = all.iter().rev().take(LISTED_MAX).map(Shown::from).collect();
    json(
        StatusCode::OK,
        &serde_json::json!({ "count": all.len(), "revocations": shown }),
    )
}

fn remove(admin: &Admin, id: &str) -> Answer {
    let removed = admin.revocations.remove(id);
    let result = if removed { "removed" } else { "unknown" };
    if Uuid::try_parse(id).is_ok() {
        audit(admin, "revocation.remove", id, result, None);
    }
    if removed {
        json(
            StatusCode::OK,
            &serde_json::json!({ "id": id, "removed": true }),
        )
    } else {
        problem(StatusCode::NOT_FOUND, "no revocation has this id")
    }
}

fn add(admin: &Admin, parts: &Parts, body: &[u8]) -> Answer {
    let is_json = parts.headers.get(CONTENT_TYPE).is_some_and(|value| {
        let kind = value
            .as_bytes()
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
    });
    if !is_json {
        return problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send Content-Type: application/json",
        );
    }
    match read(admin, body).map(|revocation| admin.revocations.add(revocation)) {
        Err(detail) => problem(StatusCode::BAD_REQUEST, &detail),
        Ok(Err(error)) => problem(StatusCode::INSUFFICIENT_STORAGE, &error.to_string()),
        Ok(Ok(Added::New(revocation))) => {
            audit(
                admin,
                "revocation.add",
                &revocation.id,
                "added",
                Some(&revocation),
            );
            json(StatusCode::CREATED, &Shown::from(&revocation))
        }
        Ok(Ok(Added::Known(revocation))) => {
            audit(
                admin,
                "revocation.add",
                &revocation.id,
                "known",
                Some(&revocation),
            );
            json(StatusCode::OK, &Shown::from(&revocation))
        }
    }
}

/// Reads a revocation, or says what is wrong with it.
fn read(admin: &Admin, body: &[u8]) -> Result<Revocation, String> {
    let new: NewRevocation = serde_json::from_slice(body)
        .map_err(|error| format!("the body is no revocation: {error}"))?;
    let policy = admin.gateway.policy.load();
    let issuer = policy
        .issuers()
        .iter()
        .find(|issuer| *issuer.rules.name == *new.selector.issuer)
        .ok_or("`selector.issuer` is not the name of a configured issuer")?;
    let (kind, value) = match (new.selector.jti, new.selector.subject) {
        (Some(jti), None) => (Kind::Jti, jti),
        (None, Some(subject)) => (Kind::Subject, subject),
        _ => return Err("`selector` needs exactly one of `jti`, `subject`".to_owned()),
    };
    let short = |text: &str| text.len() <= TEXT_BYTES_MAX;
    if value.is_empty() || !short(&value) || !new.reason.as_deref().is_none_or(short) {
        return Err(format!(
            "a text is empty or longer than {TEXT_BYTES_MAX} bytes"
        ));
    }
    let moment = |moment: Option<Moment>, name: &str| match moment {
        None => Ok(None),
        Some(moment) => moment
            .read()
            .map(Some)
            .ok_or_else(|| format!("`{name}` is neither seconds since the epoch nor RFC 3339")),
    };
    let now = admin.gateway.clock.now();
    let rules = &issuer.rules;
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
        id: Uuid::new_v7(timestamp).to_string().into(),
        selector: Selector {
            issuer: new.selector.issuer.into(),
            kind,
            value: value.into(),
        },
        issued_before: moment(new.issued_before, "issued_before")?,
        until,
        reason: new.reason.map(Into::into),
        author: ACTOR.into(),
        at: now,
    })
}

fn audit(admin: &Admin, action: &str, target: &str, result: &str, revocation: Option<&Revocation>) {
    let audit = &admin.gateway.audit;
    let change = AdminEvent {
        actor: ACTOR,
        action,
        target,
        result,
        selector: revocation.map(|revocation| SelectorNotes {
            issuer: &revocation.selector.issuer,
            by: revocation.selector.kind.name(),
            value: audit.by_policy(&revocation.selector.value),
        }),
        reason: revocation.and_then(|revocation| revocation.reason.as_deref()),
    };
    audit.admin(admin.gateway.clock.now(), &change);
}
