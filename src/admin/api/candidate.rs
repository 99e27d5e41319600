//! `/api/v1/candidate`: a configuration that is judged by beside the one that serves; and a kept decision,
//! decided again by one.

use std::cmp::Reverse;
use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ACTOR, Admin, Answer, faults, json as answer_json, problem};
use crate::control::{NotTried, candidate};
use crate::decisions::Decision;
use crate::gateway::{Candidate, Replayed};
use crate::observe::audit::AdminEvent;
use crate::verdict::Reason;

/// A configuration's text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    configuration: String,
}

pub(super) async fn answer(admin: &Arc<Admin>, parts: &Parts, body: &[u8]) -> Answer {
    let trial = &admin.gateway.trial;
    match parts.method {
        Method::GET => match trial.candidate() {
            Some(candidate) => answer_json(StatusCode::OK, &shown(&candidate)),
            None => problem(StatusCode::NOT_FOUND, "no configuration is tried"),
        },
        Method::PUT => match made(admin, body).await {
            Err(refusal) => *refusal,
            Ok((candidate, warnings)) => {
                let mut told = shown(&candidate);
                if let Some(members) = told.as_object_mut() {
                    members.insert("warnings".to_owned(), warnings.into());
                }
                note(admin, "candidate.try", &candidate.digest);
                trial.set(Some(candidate));
                answer_json(StatusCode::OK, &told)
            }
        },
        Method::DELETE => match trial.candidate() {
            None => problem(StatusCode::NOT_FOUND, "no configuration is tried"),
            Some(candidate) => {
                trial.set(None);
                note(admin, "candidate.stop", &candidate.digest);
                answer_json(StatusCode::OK, &shown(&candidate))
            }
        },
        _ => problem(StatusCode::METHOD_NOT_ALLOWED, "use GET, PUT or DELETE"),
    }
}

/// Decides a kept decision again.
pub(super) async fn replay(admin: &Arc<Admin>, decision: &Arc<Decision>, body: &[u8]) -> Answer {
    let (candidate, _) = match made(admin, body).await {
        Ok(made) => made,
        Err(refusal) => return *refusal,
    };
    let listener = admin
        .metrics
        .names()
        .listeners
        .name(decision.asked.listener);
    let listener = listener.as_deref().unwrap_or_default();
    let then = decision.reason.map_or("none", Reason::code);
    let told = match candidate.again(&admin.gateway, decision, listener) {
        Replayed::Judged(told) => json!({
            "was": then,
            "would_be": told.code,
            "same": *told.code == *then,
            "verdict": told,
        }),
        Replayed::Unknown(why) => json!({ "was": then, "would_be": null, "unknown": why }),
    };
    answer_json(StatusCode::OK, &told)
}

/// Makes a candidate of what was sent, where it delays nobody.
async fn made(admin: &Arc<Admin>, body: &[u8]) -> Result<(Candidate, String), Box<Answer>> {
    let refused = |status, detail: &str| Box::new(problem(status, detail));
    // The parser's own words may repeat what was sent.
    let sent: Sent = serde_json::from_slice(body).map_err(|_| {
        let form = "send JSON: {\"configuration\": \"…\"}, the text of a configuration file";
        refused(StatusCode::BAD_REQUEST, form)
    })?;
    let Ok(_turn) = admin.making.try_acquire() else {
        let detail = "another configuration is being read; try again";
        return Err(refused(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let own = Arc::clone(admin);
    let making = tokio::task::spawn_blocking(move || {
        let Some(file) = &own.file else {
            let detail = "this gateway was not started with a file";
            return Err(NotTried::Unusable(detail.to_owned()));
        };
        let active = own.active.load();
        candidate(file, sent.configuration, &active, &own.saved, &own.gateway)
    });
    let made = making.await.map_err(|_| {
        let detail = "the configuration could not be read";
        refused(StatusCode::INTERNAL_SERVER_ERROR, detail)
    })?;
    made.map_err(|error| match error {
        NotTried::Faults(report, findings) => {
            Box::new(faults("the configuration has faults", &report, &findings))
        }
        NotTried::Unusable(why) => refused(StatusCode::CONFLICT, &why),
    })
}

fn shown(candidate: &Candidate) -> Value {
    let (judged, left_out) = candidate.counts();
    let word = |reason: Option<Reason>| reason.map_or("none", Reason::code);
    let mut differences = candidate.differences();
    differences.sort_by_key(|(_, seen)| Reverse(seen.count));
    let differing: u64 = differences.iter().map(|(_, seen)| seen.count).sum();
    let differences: Vec<_> = differences
        .into_iter()
        .map(|(difference, seen)| {
            json!({
                "route": difference.route.as_deref(),
                "is": word(difference.now),
                "would_be": word(difference.then),
                "count": seen.count,
                "example": seen.example,
            })
        })
        .collect();
    json!({
        "config": candidate.digest,
        "since": candidate.since.rfc3339(),
        "judged": judged,
        "same": judged.saturating_sub(differing),
        "left_out": left_out,
        "differences": differences,
        "issuers_without_keys": candidate.without_keys,
    })
}

fn note(admin: &Admin, action: &str, digest: &str) {
    let event = AdminEvent {
        actor: ACTOR,
        action,
        target: digest,
        result: "done",
        selector: None,
        reason: None,
    };
    admin.gateway.audit.admin(admin.gateway.clock.now(), &event);
}
