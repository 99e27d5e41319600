//! The last decisions, each with the way to it: what a refused client's id leads to.
//!
//! Kept are refusals, what a route that only reports would have refused, streams that were ended, and the
//! allowed requests that the audit samples. Each worker keeps its own, in a ring of its own, so that nobody
//! waits for another; a flood of refusals is kept up to a rate. A token is never kept: a decision holds the
//! audit line, the checks as they were told, and the claims of a token whose signature held.

mod ring;
mod summary;

use std::net::IpAddr;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::authenticate::Principal;
use crate::clock::UnixTime;
use crate::observe::{Names, Outcome};
use crate::verdict::Reason;

pub(crate) use ring::{Place, Ring};
pub(crate) use summary::summary;

/// Decisions that are kept, over all workers.
pub(crate) const KEPT_MAX: usize = 1024;
/// And at each worker at least.
pub(crate) const KEPT_LEAST: usize = 128;

/// One decision.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) id: Uuid,
    pub(crate) at: UnixTime,
    pub(crate) outcome: Outcome,
    /// Why it was refused, or would have been.
    pub(crate) reason: Option<Reason>,
    /// The route's place, and the issuer's.
    pub(crate) route: Option<usize>,
    pub(crate) issuer: Option<usize>,
    pub(crate) peer: IpAddr,
    /// The token's client, once its signature holds.
    pub(crate) client: Option<Box<str>>,
    /// The audit line.
    pub(crate) line: Box<[u8]>,
    /// The way to the verdict, as JSON, which takes a third of the room.
    pub(crate) steps: Box<[u8]>,
    pub(crate) asked: Asked,
}

/// What was decided about: enough to decide it once more.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The listener's place.
    pub(crate) listener: usize,
    pub(crate) host: Option<Box<str>>,
    pub(crate) path: Box<str>,
    pub(crate) method: http::Method,
    /// Whose token it is, once its signature holds.
    pub(crate) principal: Option<Principal>,
}

/// Which decisions are wanted.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) outcome: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) route: Option<String>,
    pub(crate) issuer: Option<String>,
}

impl Filter {
    /// Whether a decision is one of them.
    pub(crate) fn wants(&self, decision: &Decision, names: &Names) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted == found.unwrap_or("none"))
        };
        let route = decision.route.and_then(|place| names.routes.name(place));
        let issuer = decision.issuer.and_then(|place| names.issuers.name(place));
        let outcome = match self.outcome.as_deref() {
            // All that was not simply allowed.
            Some("refused") => decision.outcome != Outcome::Allow || decision.reason.is_some(),
            _ => is(&self.outcome, Some(decision.outcome.name())),
        };
        outcome
            && is(&self.reason, decision.reason.map(Reason::code))
            && is(&self.route, route.as_deref())
            && is(&self.issuer, issuer.as_deref())
    }
}

impl Decision {
    /// As a list shows it: the audit line.
    pub(crate) fn line(&self) -> Map<String, Value> {
        let line = serde_json::from_slice(&self.line);
        let mut members: Map<String, Value> = line.unwrap_or_default();
        members.remove("event");
        members
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Map<String, Value> {
        let mut members = self.line();
        if let Some(host) = &self.asked.host {
            members.insert("host".to_owned(), Value::from(&**host));
        }
        let steps = serde_json::from_slice::<Value>(&self.steps);
        let steps = steps.unwrap_or(Value::Array(Vec::new()));
        members.insert("steps".to_owned(), steps);
        members
    }
}
