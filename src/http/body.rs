//! The bodies that go through the gateway, streamed with back-pressure and never gathered.
//!
//! [`Body`] is what a downstream client receives. [`LimitedBody`] is what the upstream receives:
//! the client's body with its bounds of bytes and of time between bytes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::deadline::InFlight;
use super::http1::Http1Body;
use super::http2::{Http2Body, Tunnel};
use super::upgrade::Rewound;

/// What is read and dropped of a body that nobody wants, before its connection closes.
const DRAIN_BYTES_MAX: u64 = 256 * 1024;
/// And for how long.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// Why a body ended before its end. Whose fault it was decides the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the client's body is larger than allowed")]
    TooLarge,
    #[error("the client's body stalled")]
    Stalled,
    #[error("the client's body broke off")]
    Broken,
    #[error("the upstream's body broke off")]
    UpstreamReset,
    #[error("the upstream's body stopped coming")]
    UpstreamStalled,
    /// The client takes nothing.
    #[error("the client took nothing of the answer for too long")]
    ClientStalled,
    #[error("the token was revoked meanwhile")]
    Revoked,
    #[error("the token has expired meanwhile")]
    Expired,
    #[error("the upstream's body is not framed as HTTP demands")]
    UpstreamInvalid,
}

type Stream = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>;

/// A response body.
pub(crate) enum Body {
    Empty,
    /// All of it is here. The common case: a small answer costs no box and no second poll.
    Fixed(Bytes),
    Streamed(Stream),
}

impl Body {
    pub(crate) fn streamed(
        body: impl HttpBody<Data = Bytes, Error = BodyError> + Send + 'static,
    ) -> Self {
        Self::Streamed(Box::pin(body))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Fixed(_) => "Fixed",
            Self::Streamed(_) => "Streamed",
        })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Fixed(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Streamed(stream) => stream.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Fixed(_) => false,
            Self::Streamed(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Fixed(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed(stream) => stream.size_hint(),
        }
    }
}

/// The body of a request as its connection gives it.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    /// There is none, and the connection goes here if it is upgraded.
    Upgradable(oneshot::Receiver<Rewound>),
    Http1(Http1Body),
    /// There is none, and the stream goes here if it is upgraded.
    Tunnel(Tunnel),
    Http2(Http2Body),
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty | Self::Upgradable(_) | Self::Tunnel(_) => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(context),
            Self::Http2(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Upgradable(_) | Self::Tunnel(_) => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Upgradable(_) | Self::Tunnel(_) => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// The bounds of a request's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// `None`: the operator wrote "unlimited".
    pub(crate) bytes_max: Option<u64>,
    /// The longest wait between two bytes; `None`: any.
    pub(crate) gap_max: Option<Duration>,
}

impl BodyLimits {
    pub(crate) const NONE: Self = Self {
        bytes_max: None,
        gap_max: None,
    };
}

/// A client's body on its way upstream.
#[derive(Debug)]
pub(crate) struct LimitedBody {
    inner: RequestBody,
    limits: BodyLimits,
    bytes: u64,
    /// Armed only while the client makes us wait.
    gap: Option<Pin<Box<Sleep>>>,
}

impl LimitedBody {
    pub(crate) const fn new(inner: RequestBody, limits: BodyLimits) -> Self {
        Self {
            inner,
            limits,
            bytes: 0,
            gap: None,
        }
    }

    /// The same with another bound of its bytes.
    pub(crate) const fn at_most(mut self, bytes_max: u64) -> Self {
        self.limits.bytes_max = Some(bytes_max);
        self
    }

    fn poll_gap(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(gap_max) = self.limits.gap_max else {
            return Poll::Pending;
        };
        let gap = self
            .gap
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(gap_max)));
        gap.as_mut().poll(context)
    }
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
            ready!(self.poll_gap(context));
            return Poll::Ready(Some(Err(BodyError::Stalled)));
        };
        self.gap = None;
        Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.bytes = self.bytes.saturating_add(bytes);
                if self.limits.bytes_max.is_some_and(|max| self.bytes > max) {
                    Some(Err(BodyError::TooLarge))
                } else {
                    Some(Ok(frame))
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Reads and drops what a refused client still uploads, within bounds, so that it gets to read
/// the answer instead of a reset connection. Ends at once when there is no body.
pub(crate) fn drain(mut body: RequestBody, request: InFlight) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(async move {
        // Until the body is over, so is not the request.
        let _request = request;
        let deadline = Instant::now() + DRAIN_TIME_MAX;
        let mut bytes = 0;
        while bytes <= DRAIN_BYTES_MAX {
            let next = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
            match tokio::time::timeout_at(deadline, next).await {
                Ok(Some(Ok(frame))) => {
                    bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                _ => break,
            }
        }
    });
}
