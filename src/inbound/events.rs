//! Security events (OpenID Shared Signals), pushed as security event tokens (RFC 8417, RFC 8935).
//!
//! CAEP's `session-revoked` and RISC's events of an account that is not to be trusted any more end
//! every token that was issued up to then. What else a transmitter tells is acknowledged and left
//! alone. To hear the same again changes nothing, so events are not remembered.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::json;

use super::logout::unverified;
use super::{Inbound, Received, declined, empty};
use crate::authenticate::{AuthenticationError, Statement};
use crate::clock::UnixTime;
use crate::http::Body;
use crate::oauth::Json;
use crate::oauth::json::Members;
use crate::observe::shown;
use crate::policy::{EventRules, Issuer};
use crate::revocation::{Kind, Revocation, Selector};

/// The type that keeps other tokens of the transmitter out (RFC 8417 section 2.3).
const TYPE: &str = "secevent+jwt";
const MEDIA_TYPE: &str = "application/secevent+jwt";
const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
/// Events that end tokens.
const ENDING: [&str; 4] = [
    SESSION_REVOKED,
    "https://schemas.openid.net/secevent/risc/event-type/account-disabled",
    "https://schemas.openid.net/secevent/risc/event-type/account-purged",
    "https://schemas.openid.net/secevent/risc/event-type/sessions-revoked",
];

/// Of the names of its events in the log.
const NAMES_CHARS_MAX: usize = 256;

/// Why a security event token is not taken: a code of RFC 8935 section 2.4.
struct Fault(&'static str, &'static str);

/// Tokens that an event ends.
#[derive(Debug, PartialEq)]
struct Ended {
    issuer: Box<str>,
    kind: Kind,
    value: Box<str>,
    at: UnixTime,
}

impl Inbound {
    pub(super) async fn events(&self, received: Received<'_>) -> Response<Body> {
        let (now, policy) = (received.now, Arc::clone(received.policy));
        let (statement, ended) = match taken(received).await {
            Ok(taken) => taken,
            Err(fault) => return refused(&fault),
        };
        let Some(transmitter) = statement.issuer() else {
            return empty(StatusCode::ACCEPTED);
        };
        if ended.is_empty() {
            let issuer = &*transmitter.name;
            let events = names(&statement);
            tracing::info!(
                issuer,
                events,
                "a security event was acknowledged; it ends no token"
            );
        }
        let author = format!("events:{}", transmitter.name);
        let made: Vec<_> = ended
            .into_iter()
            .map(|ended| {
                let id = policy.issuer_by_iss(&ended.issuer);
                let issuer = id.and_then(|id| policy.issuer(id));
                let until = issuer.and_then(|issuer| issuer.rules.outlived_at(now));
                let selector = Selector {
                    issuer: ended.issuer,
                    kind: ended.kind,
                    value: ended.value,
                };
                Revocation::made(selector, Some(ended.at), until, &author, now)
            })
            .collect();
        if !made.iter().all(Revocation::is_sound) {
            return refused(&Fault("invalid_request", "its subject is too long"));
        }
        for revocation in made {
            if self.add(revocation, author.clone(), now).await.is_err() {
                // The transmitter tries again.
                return empty(StatusCode::SERVICE_UNAVAILABLE);
            }
        }
        empty(StatusCode::ACCEPTED)
    }
}

/// What a statement tells of, for the log.
fn names(statement: &Statement) -> String {
    let names = match statement.claim("events") {
        Some(Json::Object(events)) => events.names().collect::<Vec<_>>().join(" "),
        _ => String::new(),
    };
    shown(&names, NAMES_CHARS_MAX)
}

fn refused(Fault(code, why): &Fault) -> Response<Body> {
    let body = json!({ "err": code, "description": why });
    declined(StatusCode::BAD_REQUEST, &body, why)
}

/// The token of a request, and what it ends.
async fn taken(received: Received<'_>) -> Result<(Statement, Vec<Ended>), Fault> {
    if !received.is(MEDIA_TYPE) {
        let why = "send Content-Type: application/secevent+jwt";
        return Err(Fault("invalid_request", why));
    }
    let (now, authenticator, policy) = (received.now, received.authenticator, received.policy);
    let token = received.body;
    let token = token.ok_or(Fault(
        "invalid_request",
        "the body is too large or broke off",
    ))?;
    let stated = authenticator.statement(token.trim_ascii(), policy, now);
    let statement = stated.await.map_err(|error| {
        let code = match error {
            AuthenticationError::IssuerMissing | AuthenticationError::IssuerUntrusted(_) => {
                "invalid_issuer"
            }
            AuthenticationError::AlgNotAllowed(_)
            | AuthenticationError::KeyUnknown(_)
            | AuthenticationError::KeysUnavailable => "invalid_key",
            AuthenticationError::SignatureInvalid(_) => "authentication_failed",
            _ => "invalid_request",
        };
        Fault(code, unverified(&error))
    })?;
    let ended = checked(&statement, now)?;
    Ok((statement, ended))
}

/// The validation profile.
fn checked(statement: &Statement, now: UnixTime) -> Result<Vec<Ended>, Fault> {
    let issuer = statement.issuer();
    let rules = issuer.and_then(|issuer| Some((issuer, issuer.events.as_ref()?)));
    let unknown = Fault(
        "invalid_issuer",
        "security events of its issuer are not taken",
    );
    let (issuer, rules) = rules.ok_or(unknown)?;
    if !statement
        .typ()
        .is_some_and(|typ| typ.eq_ignore_ascii_case(TYPE))
    {
        return Err(Fault("invalid_request", "its `typ` is not `secevent+jwt`"));
    }
    if !statement.is_for(&rules.audiences) {
        let why = "its `aud` is not one that is configured";
        return Err(Fault("invalid_audience", why));
    }
    let invalid = |why| Fault("invalid_request", why);
    let times = statement.times();
    let times = times.map_err(|_| invalid("a claim has the wrong type"))?;
    let iat = times.iat.ok_or_else(|| invalid("it has no `iat`"))?;
    if now.plus(issuer.leeway) < iat {
        return Err(invalid("its `iat` lies in the future"));
    }
    if times.exp.is_some_and(|exp| now >= exp.plus(issuer.leeway)) {
        return Err(invalid("it has expired"));
    }
    if statement.text("jti").is_none_or(str::is_empty) {
        return Err(invalid("it has no `jti`"));
    }
    let Some(Json::Object(events)) = statement.claim("events") else {
        return Err(invalid("it has no `events`"));
    };
    let mut ended = Vec::new();
    for name in ENDING {
        let Some(Json::Object(event)) = events.get(name) else {
            continue;
        };
        // Drafts had the subject in the event.
        let subject = statement.claim("sub_id").or_else(|| event.get("subject"));
        let at = event.get("event_timestamp").and_then(Json::as_f64);
        let at = at.or_else(|| statement.claim("toe").and_then(Json::as_f64));
        let at = at.and_then(UnixTime::from_numeric_date).unwrap_or(iat);
        // What is yet to be issued is not ended; the issuer's clock may be ahead by the leeway.
        let latest = now.plus(issuer.leeway);
        if at > latest {
            tracing::warn!(
                issuer = &*issuer.name,
                "a security event lies in the future (are its times in seconds?); it counts as of now"
            );
        }
        let at = at.min(latest);
        let subject = subject.and_then(|subject| select(name, subject, issuer, rules));
        match subject {
            Some((issuer, kind, value)) => ended.push(Ended {
                issuer,
                kind,
                value,
                at,
            }),
            None => tracing::warn!(
                issuer = &*issuer.name,
                "a security event names nobody whose tokens could be ended"
            ),
        }
    }
    Ok(ended)
}

/// Whom a subject (RFC 9493) means, if its transmitter may speak for that issuer.
fn select(
    event: &str,
    subject: &Json,
    transmitter: &Issuer,
    rules: &EventRules,
) -> Option<(Box<str>, Kind, Box<str>)> {
    let Json::Object(subject) = subject else {
        return None;
    };
    // A complex subject has no form of its own; the narrowest of its parts that we know counts.
    let part = |name: &str| match subject.get(name) {
        Some(Json::Object(part)) => Some(part),
        _ => None,
    };
    let user = part("user").unwrap_or(subject);
    let speaks_for = |iss: &str| rules.speaks_for.iter().find(|it| ***it == *iss);
    let named = match user.get("iss") {
        Some(iss) => Some(speaks_for(iss.as_text()?)?),
        None => None,
    };
    if let Some(session) = part("session")
        && let Some(value) = text(session, "id")
    {
        let issuer = match session.get("iss") {
            Some(iss) => speaks_for(iss.as_text()?)?,
            None => named.or_else(|| speaks_for(&transmitter.issuer))?,
        };
        return Some((issuer.clone(), Kind::Session, value.into()));
    }
    let form = text(user, "format").or_else(|| text(user, "subject_type"))?;
    match form {
        "iss_sub" | "iss-sub" => {
            let value = text(user, "sub")?;
            Some((named?.clone(), Kind::Subject, value.into()))
        }
        // A session by its id alone, as CAEP has it.
        "opaque" if event == SESSION_REVOKED => {
            let issuer = speaks_for(&transmitter.issuer)?;
            Some((issuer.clone(), Kind::Session, text(user, "id")?.into()))
        }
        _ => None,
    }
}

fn text<'a>(members: &'a Members, name: &str) -> Option<&'a str> {
    let text = members.get(name).and_then(Json::as_text);
    text.filter(|text| !text.is_empty())
}
