//! `/api/v1/routes`: what each route matches and demands, and where a request would get to.

use http::request::Parts;
use http::{Method, StatusCode, Uri};
use serde_json::json;

use super::{Admin, Answer, json as answer_json, problem};
use crate::control::Active;
use crate::explain::{RouteTold, try_request};
use crate::http::form;
use crate::policy::Placement;

pub(super) fn answer(admin: &Admin, parts: &Parts, rest: Option<&str>) -> Answer {
    if parts.method != Method::GET {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "use GET");
    }
    match rest {
        None => list(admin),
        Some("test") => test(admin, parts),
        Some(_) => problem(StatusCode::NOT_FOUND, "there is nothing here"),
    }
}

fn told(active: &Active, placement: &Placement) -> RouteTold {
    let upstream = active.upstreams.get(placement.route.upstream.0);
    let name = upstream.map_or("", |kept| &kept.upstream.name);
    RouteTold::of(placement, &active.setup.policy, name)
}

fn list(admin: &Admin) -> Answer {
    let active = admin.active.load();
    let placements = active.setup.policy.routes().placements().iter();
    let told: Vec<_> = placements.map(|it| told(&active, it)).collect();
    answer_json(StatusCode::OK, &json!({ "routes": told }))
}

/// `?method=GET&url=https://…`: the route and the rule, or why there is none.
fn test(admin: &Admin, parts: &Parts) -> Answer {
    let bad = |detail| problem(StatusCode::BAD_REQUEST, detail);
    let fields = form::fields(parts.uri.query().unwrap_or_default());
    let Some(fields) = fields else {
        return bad("the query is badly escaped");
    };
    let field = |name: &str| {
        let mut all = fields.iter().filter(|(field, _)| field == name);
        all.next().map(|(_, value)| value.as_str())
    };
    let method = Method::from_bytes(field("method").unwrap_or("GET").as_bytes());
    let Ok(method) = method else {
        return bad("`method` is no method");
    };
    let uri = field("url").and_then(|url| url.parse::<Uri>().ok());
    let Some(uri) = uri.filter(|uri| uri.scheme().is_some()) else {
        return bad("`url` is no URL with scheme and host");
    };
    let active = admin.active.load();
    let names: Vec<&str> = active.listeners().map(|it| &*it.front.name).collect();
    let policy = &active.setup.policy;
    match try_request(policy, &names, field("listener"), &method, &uri) {
        Err(nowhere) => answer_json(StatusCode::OK, &json!({ "refused": nowhere.to_string() })),
        Ok(tried) => {
            let allow = tried.placement.route.allow();
            answer_json(
                StatusCode::OK,
                &json!({
                    "listener": names.get(tried.listener),
                    "route": told(&active, tried.placement),
                    "rule": tried.rule,
                    "refused": tried.rule.is_none().then(|| format!("405 method_not_allowed: use {allow}")),
                }),
            )
        }
    }
}
