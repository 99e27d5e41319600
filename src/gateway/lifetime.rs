//! What stays open ends with its token: an answer that is still streamed, and a request that is still
//! being sent. Which end it meets depends on what it is.
//!
//! A revocation ends everything. The token's own expiry ends what has no end of its own: event streams
//! and gRPC calls; an ordinary body that has begun is finished.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

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
        let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let kind = value.unwrap_or_default().split(|byte| *byte == b';').next();
        let kind = kind.unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match kind.as_slice() {
            b"text/event-stream" => Self::Events,
            b"application/grpc" => Self::Grpc,
            // gRPC-Web has its trailers in the body.
            _ if kind.starts_with(b"application/grpc+") => Self::Grpc,
            _ => Self::Ordinary,
        }
    }

    /// Whether it ends when the token expires.
    pub(super) const fn is_endless(self) -> bool {
        !matches!(self, Self::Ordinary)
    }
}
