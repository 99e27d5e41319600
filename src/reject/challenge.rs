//! `WWW-Authenticate` (RFC 6750 section 3, RFC 9110 section 11.6.1).

use http::HeaderValue;

use super::{Rejection, Setting};
use crate::http::target;
use crate::policy::{Disclosure, Resource};

/// The bearer challenge of a refusal.
///
/// Without a credential it has no `error`: there is nothing to be wrong about. An empty `scope`
/// would make clients ask for nothing, so it is left out.
pub(super) fn value(rejection: &Rejection, setting: &Setting<'_>) -> HeaderValue {
    let reason = rejection.reason();
    let mut challenge = format!("Bearer realm=\"{}\"", setting.site.realm);
    if let Some(error) = reason.bearer_error() {
        challenge.push_str(", error=\"");
        challenge.push_str(error);
        challenge.push('"');
        if setting.disclosure() != Disclosure::Minimal {
            challenge.push_str(", error_description=\"");
            challenge.push_str(reason.title());
            challenge.push('"');
        }
    }
    if setting.disclosure() != Disclosure::Minimal
        && (reason.bearer_error() == Some("insufficient_scope") || reason.bearer_error().is_none())
        && let Some(scope) = scope(setting)
    {
        challenge.push_str(", scope=\"");
        challenge.push_str(&scope);
        challenge.push('"');
    }
    if let Some(resource) = resource(setting) {
        challenge.push_str(", resource_metadata=\"");
        challenge.push_str(&resource.url);
        challenge.push('"');
    }
    HeaderValue::from_str(&challenge).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
}

/// Where a client reads what it needs to get a token (RFC 9728 section 5.1).
fn resource<'a>(setting: &'a Setting<'_>) -> Option<&'a Resource> {
    let resources = &setting.site.resources;
    let host = target::host(setting.uri, setting.headers).ok();
    resources.of(setting.route?.index, host.as_deref())
}

/// The least set of scopes that opens the route: all of `scopes_all`, the first of `scopes_any`.
fn scope(setting: &Setting<'_>) -> Option<String> {
    let requirement = setting.requirement?;
    let scopes: Vec<&str> = requirement
        .scopes_all
        .iter()
        .chain(requirement.scopes_any.first())
        .map(|scope| &**scope)
        .collect();
    (!scopes.is_empty()).then(|| scopes.join(" "))
}
