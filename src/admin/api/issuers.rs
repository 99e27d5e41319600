//! `/api/v1/issuers`: each issuer with its keys, their ages and what went wrong; fetching anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};
use serde::Serialize;

use super::{ACTOR, Admin, Answer, json, problem};
use crate::clock::UnixTime;
use crate::control::{KeptIssuer, SourceKind};
use crate::keys::{KeySet, VerificationKey};
use crate::observe::audit::AdminEvent;

/// How long an answer waits for the fetch that was asked for.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(8);

/// An issuer as it is shown.
#[derive(Serialize)]
struct Shown {
    name: String,
    issuer: String,
    source: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    from: String,
    state: &'static str,
    keys: Vec<ShownKey>,
    skipped: Vec<ShownSkipped>,
    /// Keys that were once published with their private part.
    distrusted: usize,
    unknown_kids: u64,
    /// When the provider last confirmed the keys in use, or answered a question.
    checked_at: Option<String>,
    next_fetch_at: Option<String>,
    stale_at: Option<String>,
    last_error: Option<ShownError>,
    saved_at: Option<String>,
    save_error: Option<String>,
    clock_offset_seconds: Option<i64>,
}

#[derive(Serialize)]
struct ShownKey {
    kid: Option<String>,
    kind: Option<&'static str>,
    bits: Option<usize>,
    algorithms: Vec<&'static str>,
}

#[derive(Serialize)]
struct ShownSkipped {
    index: usize,
    kid: Option<String>,
    why: &'static str,
}

#[derive(Serialize)]
struct ShownError {
    at: String,
    error: String,
}

pub(super) async fn answer(admin: &Admin, parts: &Parts, rest: Option<&str>) -> Answer {
    match (rest, &parts.method) {
        (None, &Method::GET) => list(admin),
        (None, _) => problem(StatusCode::METHOD_NOT_ALLOWED, "use GET"),
        (Some(rest), method) => match (rest.strip_suffix("/refresh"), method) {
            (Some(name), &Method::POST) => refresh(admin, name).await,
            (Some(_), _) => problem(StatusCode::METHOD_NOT_ALLOWED, "use POST"),
            (None, &Method::GET) => match find(admin, rest) {
                Some(shown) => json(StatusCode::OK, &shown),
                None => unknown(),
            },
            (None, _) => problem(StatusCode::METHOD_NOT_ALLOWED, "use GET"),
        },
    }
}

fn unknown() -> Answer {
    problem(
        StatusCode::NOT_FOUND,
        "no issuer is configured by this name",
    )
}

fn list(admin: &Admin) -> Answer {
    let active = admin.active.load();
    let shown: Vec<_> = active.issuers.iter().map(|it| shown(it)).collect();
    json(StatusCode::OK, &serde_json::json!({ "issuers": shown }))
}

fn find(admin: &Admin, name: &str) -> Option<Shown> {
    let issuer = admin.active.load().issuer(name).cloned();
    issuer.map(|issuer| shown(&issuer))
}

/// Has the keys fetched now; the answer is the issuer as it stands then.
async fn refresh(admin: &Admin, name: &str) -> Answer {
    let Some(issuer) = admin.active.load().issuer(name).cloned() else {
        return unknown();
    };
    let fetched = tokio::time::timeout(FETCH_WAIT_MAX, issuer.refresh()).await;
    let (status, result) = match &fetched {
        Err(_) => (StatusCode::ACCEPTED, "running"),
        Ok(Some(Ok(()))) => (StatusCode::OK, "fetched"),
        Ok(Some(Err(_))) => (StatusCode::BAD_GATEWAY, "failed"),
        Ok(None) => {
            let detail = "this issuer has nothing to fetch: its keys stand in the configuration, or it is asked about each token";
            return problem(StatusCode::CONFLICT, detail);
        }
    };
    let event = AdminEvent {
        actor: ACTOR,
        action: "issuer.refresh",
        target: name,
        result,
        selector: None,
        reason: None,
    };
    let now = admin.gateway.clock.now();
    admin.gateway.audit.admin(now, &event);
    match fetched {
        Ok(Some(Err(error))) => {
            let rest = match issuer.trusted().keys().set {
                Some(_) => "; the last good keys serve on",
                None => "; there are no keys, and its tokens are refused with 503",
            };
            problem(status, &format!("{error}{rest}"))
        }
        _ => find(admin, name).map_or_else(unknown, |shown| json(status, &shown)),
    }
}

fn shown(kept: &KeptIssuer) -> Shown {
    let (status, introspection) = (&kept.status, &kept.introspection);
    let issuer = kept.trusted();
    let published = Arc::clone(&issuer.keys());
    let notes = status.notes();
    let at = |time: Option<UnixTime>| time.map(UnixTime::rfc3339);
    let last_error = match (notes.failed, introspection.failure()) {
        (Some((at, error)), _) => Some(ShownError {
            at: at.rfc3339(),
            error: error.to_string(),
        }),
        (None, Some((at, error))) => Some(ShownError {
            at: at.rfc3339(),
            error: error.to_string(),
        }),
        (None, None) => None,
    };
    let (saved_at, save_error) = match notes.saved {
        Some(Ok(at)) => (Some(at.rfc3339()), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let keys = published.set.as_deref();
    Shown {
        name: status.name.to_string(),
        issuer: issuer.rules.issuer.to_string(),
        source: status.source.name(),
        from: status.place.clone(),
        state: match (status.source, keys.is_some(), last_error.is_some()) {
            (SourceKind::Keys, ..) | (_, true, false) => "ok",
            (SourceKind::Introspection, _, false) if introspection.answered().is_none() => {
                "waiting"
            }
            (SourceKind::Introspection, _, false) => "ok",
            (SourceKind::Introspection, _, true) | (_, true, true) => "failing",
            (_, false, false) if status.on_demand => "waiting",
            (_, false, _) => "unavailable",
        },
        keys: keys.into_iter().flat_map(KeySet::iter).map(key).collect(),
        skipped: notes
            .skipped
            .iter()
            .map(|skipped| ShownSkipped {
                index: skipped.index,
                kid: skipped.kid.as_ref().map(ToString::to_string),
                why: skipped.why,
            })
            .collect(),
        distrusted: notes.distrusted,
        unknown_kids: status.unknown_kids.load(Ordering::Relaxed),
        checked_at: at(published.checked_at.or_else(|| introspection.answered())),
        next_fetch_at: at(notes.next_fetch),
        stale_at: at(notes.stale_at),
        last_error,
        saved_at,
        save_error,
        clock_offset_seconds: status.clock_offset(),
    }
}

fn key(key: &VerificationKey) -> ShownKey {
    ShownKey {
        kid: key.kid().map(str::to_owned),
        kind: key.kind().map(|(kind, _)| kind),
        bits: key.kind().map(|(_, bits)| bits),
        algorithms: key.algorithms().map(|alg| alg.name()).collect(),
    }
}
