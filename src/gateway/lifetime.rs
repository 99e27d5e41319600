//! What stays open ends with its token: an answer that is still streamed, and a request that is still
//! being sent. Which end it meets depends on what it is.
//!
//! A revocation ends everything. The token's own expiry ends what has no end of its own: event streams
//! and gRPC calls; an ordinary body that has begun is finished.

use http::{HeaderMap, HeaderName, Response};

use crate::authenticate::Caller;
use crate::authorize::Permit;
use crate::clock::UnixTime;
use crate::http::Body;
use crate::http::headers::media_type;
use crate::policy::Route;

/// Seconds until the caller's token expires; 0 within the issuer's leeway.
const EXPIRES_IN: HeaderName = HeaderName::from_static("bearward-token-expires-in");

/// Says in a response how long the caller's token still lives, where the route does so: a client renews ahead
/// of time instead of after a refusal.
pub(super) fn tell(response: &mut Response<Body>, route: &Route, permit: &Permit, now: UnixTime) {
    if !route.token_expires_in {
        return;
    }
    let headers = response.headers_mut();
    headers.remove(EXPIRES_IN);
    if let Caller::Authenticated(principal) = permit.caller()
        && let Some([_, _, Some(exp)]) = principal.times()
    {
        headers.insert(EXPIRES_IN, exp.since(now).as_secs().into());
    }
}

/// What kind of body it is, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamKind {
    Ordinary,
    /// `text/event-stream`: it ends like any event stream, and its client asks again.
    Events,
    /// gRPC: it ends with trailers that say why.
    Grpc,
    /// An upgraded connection.
    Upgraded,
}

impl StreamKind {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        const GRPC: &[u8] = b"application/grpc";
        let kind = media_type(headers);
        if kind.eq_ignore_ascii_case(b"text/event-stream") {
            return Self::Events;
        }
        // gRPC-Web, `application/grpc-web`, has its trailers in the body.
        match kind.split_at_checked(GRPC.len()) {
            Some((grpc, [] | [b'+', ..])) if grpc.eq_ignore_ascii_case(GRPC) => Self::Grpc,
            _ => Self::Ordinary,
        }
    }

    /// Whether it ends when the token expires.
    pub(super) const fn is_endless(self) -> bool {
        !matches!(self, Self::Ordinary)
    }
}
