//! `/api/v1/routes`: what each route matches and demands.

use http::request::Parts;
use http::{Method, StatusCode};

use super::{Admin, Answer, json, problem};
use crate::explain::RouteTold;

pub(super) fn answer(admin: &Admin, parts: &Parts) -> Answer {
    if parts.method != Method::GET {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "use GET");
    }
    let active = admin.active.load();
    let policy = &active.setup.policy;
    let told: Vec<_> = policy
        .routes()
        .placements()
        .iter()
        .map(|placement| {
            let upstream = active.upstreams.get(placement.route.upstream.0);
            let name = upstream.map_or("", |kept| &kept.upstream.name);
            RouteTold::of(placement, policy, name)
        })
        .collect();
    json(StatusCode::OK, &serde_json::json!({ "routes": told }))
}
