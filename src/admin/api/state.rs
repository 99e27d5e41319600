//! `/api/v1/config`, `/upstreams`, `/cache`: what counts now, and how it stands.

use std::collections::BTreeMap;

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ACTOR, Admin, Answer, json as answer_json, problem};
use crate::config::effective;
use crate::observe::audit::AdminEvent;

/// The configuration as it counts. Secrets are never in it.
pub(super) fn config(admin: &Admin, parts: &Parts) -> Answer {
    if parts.method != Method::GET {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "use GET");
    }
    let active = admin.active.load();
    let reloaded = admin.reloaded.last();
    let failed = reloaded
        .failed
        .map(|(at, why)| json!({ "at": at.rfc3339(), "why": why }));
    answer_json(
        StatusCode::OK,
        &json!({
            "config": active.setup.digest,
            "since": reloaded.at.rfc3339(),
            "last_reload_failed": failed,
            "needs_restart": reloaded.restart,
            "file": admin.file.as_ref().map(|file| file.display().to_string()),
            "version": env!("CARGO_PKG_VERSION"),
            "values": effective(&active.texts),
        }),
    )
}

/// Upstreams with their servers.
pub(super) fn upstreams(admin: &Admin, parts: &Parts) -> Answer {
    if parts.method != Method::GET {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "use GET");
    }
    let active = admin.active.load();
    let now = Instant::now();
    let mut connections: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for lane in &active.lanes {
        for (upstream, server, count) in lane.pools.open() {
            *connections
                .entry((&upstream.name, &server.label))
                .or_default() += count;
        }
    }
    let shown: Vec<Value> = active
        .upstreams
        .iter()
        .map(|kept| {
            let upstream = &kept.upstream;
            let servers = upstream.servers.iter().map(|server| {
                json!({
                    "server": &*server.label,
                    "healthy": server.health.is_well(now),
                    "connections": connections.get(&(&*upstream.name, &*server.label)),
                })
            });
            json!({ "name": &*upstream.name, "servers": servers.collect::<Vec<_>>() })
        })
        .collect();
    answer_json(StatusCode::OK, &json!({ "upstreams": shown }))
}

/// The cache of verified signatures, and emptying it.
pub(super) fn cache(admin: &Admin, parts: &Parts, rest: Option<&str>) -> Answer {
    let cache = admin.gateway.authenticator.cache();
    match (rest, &parts.method) {
        (None, &Method::GET) => {
            let (entries, bytes) = cache.size();
            answer_json(
                StatusCode::OK,
                &json!({ "entries": entries, "bytes": bytes }),
            )
        }
        (Some("flush"), &Method::POST) => {
            cache.flush();
            let event = AdminEvent {
                actor: ACTOR,
                action: "cache.flush",
                target: "cache",
                result: "done",
                selector: None,
                reason: None,
            };
            admin.gateway.audit.admin(admin.gateway.clock.now(), &event);
            answer_json(StatusCode::OK, &json!({ "flushed": true }))
        }
        (None, _) => problem(StatusCode::METHOD_NOT_ALLOWED, "use GET"),
        (Some("flush"), _) => problem(StatusCode::METHOD_NOT_ALLOWED, "use POST"),
        (Some(_), _) => problem(StatusCode::NOT_FOUND, "there is nothing here"),
    }
}
