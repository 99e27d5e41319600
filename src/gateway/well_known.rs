//! What Bearward itself answers on the public side: the help pages of the reasons, the metadata of
//! protected resources, and 404 for what is
//! not there or switched off.

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response};

use super::Setup;
use crate::http::Body;
use crate::policy::{OWN_PATHS, Resource};
use crate::reject::{Rejection, pages};
use crate::verdict::Reason;

const PROBLEMS: &str = "/.well-known/bearward/problems/";
/// The keys of our own tokens.
const KEYS: &str = "/.well-known/bearward/jwks.json";

/// Whether a path is one of Bearward's own.
pub(super) fn is_own(path: &str) -> bool {
    path.starts_with(OWN_PATHS)
}

/// The page of a reason, or our own keys, where these are served.
///
/// # Errors
/// There is no such reason, or the path is none that is served.
pub(super) fn answer(
    parts: &Parts,
    path: &str,
    setup: &Setup,
) -> Result<Response<Body>, Rejection> {
    if let Some(tokens) = setup.internal.as_ref().filter(|_| path == KEYS) {
        return Ok(get(
            parts,
            "application/jwk-set+json",
            "public, max-age=300",
            || tokens.document(),
        ));
    }
    let pages = setup.problem_pages;
    let name = path.strip_prefix(PROBLEMS).filter(|_| pages);
    let reason = name.and_then(Reason::parse);
    let reason = reason.ok_or(Rejection::RouteNotFound)?;
    let (content_type, page) = pages::page(reason, &parts.headers);
    Ok(get(parts, content_type, "public, max-age=3600", || {
        page.into()
    }))
}

/// The metadata of a protected resource (RFC 9728), for any page too: there is nothing secret in it.
pub(super) fn metadata(parts: &Parts, resource: &Resource) -> Response<Body> {
    let document = || resource.document.clone();
    let mut response = get(parts, "application/json", "public, max-age=300", document);
    let any = HeaderValue::from_static("*");
    response
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, any);
    response
}

/// The answer to GET and HEAD.
fn get(
    parts: &Parts,
    content_type: &'static str,
    cache_control: &'static str,
    body: impl FnOnce() -> Bytes,
) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    if parts.method != Method::GET && parts.method != Method::HEAD {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        *response.status_mut() = http::StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    if parts.method == Method::GET {
        *response.body_mut() = Body::Fixed(body());
    }
    response
}
