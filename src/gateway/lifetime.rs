//! What stays open ends with its token: an answer that is still streamed, and a request that is still
//! being sent.
//!
//! A revocation ends everything. The token's own expiry ends what has no end of its own: event streams
//! and gRPC calls; an ordinary body that has begun is finished.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use crate::authenticate::{Ended, Life};

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

/// A token's life beside the stream that hangs on it.
pub(super) struct Lifetime {
    life: Life,
    /// Made when the stream first waits: most never do.
    end: Option<Pin<Box<dyn Future<Output = Ended> + Send>>>,
}

impl Lifetime {
    pub(super) const fn new(life: Life) -> Self {
        Self { life, end: None }
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> Option<Ended> {
        self.life.is_over()
    }

    /// The same, for a stream that waits: it is woken at the token's end.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        let life = &self.life;
        let end = self
            .end
            .get_or_insert_with(|| Box::pin(life.clone().over()));
        end.as_mut().poll(context)
    }
}
