//! What the last minutes came to: by reason from the counters, by route, issuer and client from the decisions
//! that are kept.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Decision;
use crate::observe::metrics::Minute;
use crate::observe::{Names, Outcome};
use crate::verdict::Reason;

/// Clients, routes and issuers that are listed.
const LISTED_MAX: usize = 10;

/// The summary as JSON. `minutes`: the oldest first.
pub(crate) fn summary(minutes: &[Minute], kept: &[Arc<Decision>], names: &Names) -> Value {
    let mut reasons: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    for reason in Reason::ALL {
        let counts: Vec<u64> = minutes.iter().map(|minute| minute.of(*reason)).collect();
        if counts.iter().any(|count| *count > 0) {
            reasons.insert(reason.code(), counts);
        }
    }
    let refused = || kept.iter().filter(|it| it.outcome != Outcome::Allow);
    let named =
        |name: Option<Arc<str>>| name.map_or_else(|| "none".to_owned(), |name| name.to_string());
    json!({
        "minutes": minutes.iter().map(|minute| minute.start().rfc3339()).collect::<Vec<_>>(),
        "allowed": minutes.iter().map(|minute| minute.allowed).collect::<Vec<_>>(),
        "reasons": reasons,
        "kept": kept.len(),
        "refusals": {
            "by_route": most(refused().map(|it| named(it.route.and_then(|place| names.routes.name(place))))),
            "by_issuer": most(refused().map(|it| named(it.issuer.and_then(|place| names.issuers.name(place))))),
            "by_client": most(refused().map(|it| match &it.client {
                Some(client) => client.to_string(),
                None => it.peer.to_string(),
            })),
        },
    })
}

/// The most frequent, with their counts.
fn most(found: impl Iterator<Item = String>) -> Vec<Value> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for name in found {
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    counts.truncate(LISTED_MAX);
    counts
        .into_iter()
        .map(|(name, count)| json!({ "name": name, "count": count }))
        .collect()
}
