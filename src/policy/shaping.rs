//! What a route changes of the messages that pass.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Where a route looks for the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenPlace {
    /// `Authorization` (RFC 6750 section 2.1).
    Header,
    /// A parameter of the query of this name (section 2.3).
    Query(Box<str>),
    Cookie(Box<str>),
    /// `Sec-WebSocket-Protocol`: `bearer`, and then the token.
    WebSocketProtocol,
}

/// Fields that responses get, and lose.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResponseHeaders {
    pub(crate) set: Vec<(HeaderName, HeaderValue)>,
    pub(crate) remove: Vec<HeaderName>,
}

impl ResponseHeaders {
    /// Changes the response of an upstream.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
    }

    /// Adds to an answer of our own what it does not say itself.
    pub(crate) fn complete(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
    }
}

/// A path without a prefix that was found to be one of whole segments.
pub(crate) fn without<'a>(path_and_query: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path_and_query.strip_prefix(prefix)?;
    match rest.as_bytes().first() {
        Some(b'/') => Some(rest),
        _ => None,
    }
}
