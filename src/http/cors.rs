//! Cross-origin requests (the Fetch standard), answered by policy and not by the upstream.
//!
//! A preflight carries no token, so it is answered before the credentials are looked at. Refusals
//! carry the headers too: otherwise a page cannot read why it was refused.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

/// The rules of a route's `cors`.
#[derive(Debug)]
pub(crate) struct Cors {
    /// `None`: any origin; then credentials are not allowed.
    pub(crate) origins: Option<Vec<Box<str>>>,
    pub(crate) methods: HeaderValue,
    pub(crate) headers: HeaderValue,
    /// The configured names and those of every refusal.
    pub(crate) expose: HeaderValue,
    pub(crate) credentials: bool,
    pub(crate) max_age: Duration,
}

/// What a refusal may carry beyond the safelisted response headers.
pub(crate) const EXPOSED_ALWAYS: &str = "WWW-Authenticate, Retry-After, grpc-status, grpc-message";

/// Whether a request is a preflight.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

impl Cors {
    /// The value of `Access-Control-Allow-Origin` for a request's `Origin`; `None` if that origin
    /// is not allowed.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        let Some(origins) = &self.origins else {
            return Some(HeaderValue::from_static("*"));
        };
        origins
            .iter()
            .any(|allowed| allowed.as_bytes() == origin.as_bytes())
            .then(|| origin.clone())
    }

    /// Replaces the cross-origin headers of a response by the route's own.
    pub(crate) fn write(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for name in [
            ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_MAX_AGE,
        ] {
            headers.remove(name);
        }
        if self.origins.is_some() {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(allowed) = origin.and_then(|origin| self.allowed(origin)) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.expose.clone());
            if self.credentials {
                headers.insert(
                    ACCESS_CONTROL_ALLOW_CREDENTIALS,
                    HeaderValue::from_static("true"),
                );
            }
        }
    }

    /// The headers of the answer to a preflight. An origin that is not allowed gets none of the
    /// permissions, and its browser stops there.
    pub(crate) fn preflight(&self, origin: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.write(origin, &mut headers);
        if headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS).is_some() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
            headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.as_secs().into());
        }
        headers
    }
}
