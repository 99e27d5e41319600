//! `/api/v1`: everything here has shown the admin token.

mod candidate;
mod decisions;
mod drain;
mod issuers;
mod oddities;
mod reload;
mod revocations;
mod routes;
mod state;
mod tokens;

use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;

use super::{Admin, Answer, faults, json, problem, text};

/// Who holds the one admin token.
const ACTOR: &str = "admin";

pub(super) async fn answer(admin: &Arc<Admin>, parts: &Parts, body: &[u8]) -> Answer {
    let path = parts
        .uri
        .path()
        .strip_prefix("/api/v1/")
        .unwrap_or_default();
    let (first, rest) = match path.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    match first {
        "candidate" if rest.is_none() => candidate::answer(admin, parts, body).await,
        "decisions" => decisions::answer(admin, parts, rest, body).await,
        "drain" if rest.is_none() => drain::answer(admin, parts),
        "issuers" => issuers::answer(admin, parts, rest).await,
        "oddities" if rest.is_none() => oddities::answer(admin, parts),
        "reload" if rest.is_none() => reload::answer(admin, parts).await,
        "cache" => state::cache(admin, parts, rest),
        "config" if rest.is_none() => state::config(admin, parts),
        "routes" => routes::answer(admin, parts, rest),
        "upstreams" if rest.is_none() => state::upstreams(admin, parts),
        "tokens" if rest == Some("explain") => tokens::explain(admin, parts, body).await,
        "revocations" => revocations::answer(admin, parts, rest, body).await,
        _ => problem(StatusCode::NOT_FOUND, "there is nothing here"),
    }
}
