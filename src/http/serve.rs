//! Serving one downstream connection, HTTP/1.1 or HTTP/2, over any byte stream and any service.
//!
//! The protocol is known before the first byte is read (ALPN, or the listener's one): detection
//! would be another wait without a limit.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::RequestBody;
use super::deadline::Timed;
use super::{Body, http1};

/// Streams that a client may open and reset before they are looked at (rapid reset).
const RESET_STREAMS_MAX: usize = 32;
/// What is kept of a response for a stream whose client does not take it. Times the streams, this
/// is what one HTTP/2 connection can make us hold; hyper's default is 400 KiB.
const SEND_BUFFER_MAX: usize = 32 * 1024;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// How a connection is ended when draining begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// Nothing has come on it: there is nothing to finish.
    AtOnce,
    /// What runs is finished.
    Gracefully,
}

/// Bounds of a connection's messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageLimits {
    /// Of a header section. Twice this is read; up to there the refusal says more than a
    /// status.
    pub(crate) header_bytes: usize,
    /// Of a request target.
    pub(crate) target_bytes: usize,
    /// HTTP/2 streams at once.
    pub(crate) streams: u32,
}

/// How a connection ended that did not end well: the `kind` of `protocol_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    /// The bytes are no HTTP, or a header section is twice too large.
    Parse,
    /// A header or a handshake took too long.
    Timeout,
    /// The peer left in the middle of a message, or reset the connection.
    Disconnect,
    /// The connection does not begin with a PROXY protocol header.
    ProxyProtocol,
}

impl ProtocolError {
    pub(crate) const ALL: [Self; 4] = [
        Self::Parse,
        Self::Timeout,
        Self::Disconnect,
        Self::ProxyProtocol,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Timeout => "timeout",
            Self::Disconnect => "disconnect",
            Self::ProxyProtocol => "proxy_protocol",
        }
    }
}

impl From<std::io::Error> for ProtocolError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Disconnect,
        }
    }
}

impl From<hyper::Error> for ProtocolError {
    fn from(error: hyper::Error) -> Self {
        let io = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<std::io::Error>())
            .map(std::io::Error::kind);
        if io == Some(std::io::ErrorKind::TimedOut) {
            Self::Timeout
        } else if error.is_parse() || error.is_parse_too_large() {
            Self::Parse
        } else {
            Self::Disconnect
        }
    }
}

/// What answers a request, as hyper wants it: it never fails. It is large, and hyper moves it several times
/// before it is polled, so it is put aside.
struct Answering<R>(Pin<Box<R>>);

impl<R: Future> Future for Answering<R> {
    type Output = Result<R::Output, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context).map(Ok)
    }
}

/// Serves a connection until it ends; once `drained` is done, until what runs is finished.
///
/// # Errors
/// The connection ended in the middle of something.
pub(crate) async fn serve<S, F, R>(
    stream: Timed<S>,
    protocol: Protocol,
    limits: MessageLimits,
    answer: F,
    drained: impl Future<Output = Farewell>,
) -> Result<(), ProtocolError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<RequestBody>) -> R,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    match protocol {
        Protocol::Http1 => http1::serve(stream, limits, answer, drained).await,
        Protocol::Http2 => {
            let service = service_fn(move |request: Request<Incoming>| {
                Answering(Box::pin(answer(request.map(RequestBody::Http2))))
            });
            let list_size = u32::try_from(2 * limits.header_bytes).unwrap_or(u32::MAX);
            let connection = http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(limits.streams)
                .max_header_list_size(list_size)
                .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
                .max_send_buf_size(SEND_BUFFER_MAX)
                .enable_connect_protocol()
                .serve_connection(TokioIo::new(stream), service);
            // Large: connections of HTTP/1.1 would carry its place along.
            let mut connection = Box::pin(connection);
            let mut drained = std::pin::pin!(drained);
            tokio::select! {
                biased;
                end = connection.as_mut() => return Ok(end?),
                farewell = drained.as_mut() => match farewell {
                    Farewell::AtOnce => return Ok(()),
                    Farewell::Gracefully => connection.as_mut().graceful_shutdown(),
                },
            }
            Ok(connection.await?)
        }
    }
}
