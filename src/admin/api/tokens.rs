//! `/api/v1/tokens/explain`: the verdict over a token, step by step. What is sent here is never written
//! anywhere.

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde::Deserialize;

use super::{Admin, Answer, json, problem};
use crate::authenticate::{Credential, Turns};
use crate::authorize::ClientCertificate;
use crate::clock::UnixTime;
use crate::gateway::Question;
use crate::policy::Route;

/// Routes that are named to whoever has named none.
const ROUTES_MAX: usize = 50;

/// What is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// A token, or a whole `Authorization` header.
    token: String,
    #[serde(default)]
    route: Option<String>,
    #[serde(default)]
    method: Option<String>,
    /// RFC 3339; by default now.
    #[serde(default)]
    at: Option<String>,
}

pub(super) async fn explain(admin: &Admin, parts: &Parts, body: &[u8]) -> Answer {
    if parts.method != Method::POST {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "use POST");
    }
    let bad = |detail: &str| problem(StatusCode::BAD_REQUEST, detail);
    // The parser's own words may repeat what was sent.
    let Ok(asked) = serde_json::from_slice::<Asked>(body) else {
        return bad("send JSON: {\"token\": \"…\", \"route\": \"…\", \"method\": \"GET\"}");
    };
    let active = admin.active.load();
    let setup = &active.setup;
    let routes = || setup.policy.routes().iter();
    let found: Option<&Route> = match &asked.route {
        Some(name) => routes().find(|route| *route.name == **name),
        None => {
            let mut all = routes();
            all.next().filter(|_| all.next().is_none())
        }
    };
    let Some(route) = found else {
        let names: Vec<&str> = routes()
            .map(|route| &*route.name)
            .take(ROUTES_MAX)
            .collect();
        return bad(&format!("name the route; there are: {}", names.join(", ")));
    };
    let method = asked
        .method
        .as_deref()
        .unwrap_or("GET")
        .to_ascii_uppercase();
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return bad("`method` is no method");
    };
    let now = match &asked.at {
        None => admin.gateway.clock.now(),
        Some(at) => match UnixTime::parse_rfc3339(at) {
            Some(at) => at,
            None => return bad("`at` is no time of RFC 3339"),
        },
    };
    let limits = active.listeners().map(|it| it.front.token_bytes_max);
    let (headers, uri) = (HeaderMap::new(), Uri::default());
    let question = Question {
        credential: Credential::Pasted(asked.token.as_bytes()),
        route,
        method: &method,
        headers: &headers,
        uri: &uri,
        peer: std::net::Ipv4Addr::LOCALHOST.into(),
        now,
        certificate: ClientCertificate::Unknown,
        token_bytes_max: limits.max().unwrap_or_default(),
        id: uuid::Uuid::nil(),
        for_operator: true,
        // Control's thread has no requests to be fair to.
        turns: &Turns::default(),
    };
    let explanation = admin.gateway.explain(setup, &question).await;
    json(StatusCode::OK, &explanation)
}
