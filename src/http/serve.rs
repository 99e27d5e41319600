//! Serving one downstream connection, HTTP/1.1 or HTTP/2, over any byte stream and any service.
//!
//! The protocol is known before the first byte is read (ALPN, or the listener's one): detection
//! would be another wait without a limit.

use std::future::Future;
use std::time::Duration;

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::RequestBody;
use super::deadline::Timed;
use super::garbled::Garbled;
use super::{Body, http1, http2};

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

/// How long a connection that has ended goes on to read while its client does not end: closed at once, the system
/// would reset it, and the client might lose the end of its last response (RFC 9112 section 9.6).
pub(super) const LINGER_TIME_MAX: Duration = Duration::from_secs(10);

/// Fields of a request's header section, in either protocol. A cookie that HTTP/2 sends in pieces is one.
pub(crate) const FIELDS_MAX: usize = 100;

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

/// Why what a client sent is no request that could be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is not the protocol, or its body could be delimited in two ways.
    Syntax(Garbled),
    TargetTooLong,
    HeadersTooLarge,
    /// More than [`FIELDS_MAX`].
    TooManyHeaders,
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

/// What a connection's requests are given to.
#[derive(Debug)]
pub(crate) struct Service<F, G> {
    /// Answers a request.
    pub(crate) answer: F,
    /// Answers what is none.
    pub(crate) refuse: G,
}

/// A connection whose server may give much at once and whose client takes little; client and server.
#[cfg(test)]
pub(super) async fn narrow() -> (tokio::net::TcpStream, tokio::net::TcpStream) {
    let listener = tokio::net::TcpSocket::new_v4().expect("a socket");
    listener.set_send_buffer_size(512 * 1024).expect("a size");
    listener.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let listener = listener.listen(1).expect("a listener");
    let client = tokio::net::TcpSocket::new_v4().expect("a socket");
    client.set_recv_buffer_size(8 * 1024).expect("a size");
    let address = listener.local_addr().expect("an address");
    let (client, server) = tokio::join!(client.connect(address), listener.accept());
    (client.expect("a connection"), server.expect("one").0)
}

#[cfg(test)]
impl<F> Service<F, fn(Unreadable) -> Response<Body>> {
    /// One that refuses with nothing but the name of what was wrong.
    pub(crate) fn naming(answer: F) -> Self {
        let refuse = |why| {
            let mut response = Response::new(Body::Fixed(format!("{why:?}").into()));
            *response.status_mut() = match why {
                Unreadable::Syntax(_) => http::StatusCode::BAD_REQUEST,
                Unreadable::TargetTooLong => http::StatusCode::URI_TOO_LONG,
                _ => http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            };
            response
        };
        Self { answer, refuse }
    }
}

/// Serves a connection until it ends; once `drained` is done, until what runs is finished.
///
/// # Errors
/// The connection ended in the middle of something.
pub(crate) async fn serve<S, F, R, G>(
    stream: Timed<S>,
    protocol: Protocol,
    limits: MessageLimits,
    service: Service<F, G>,
    drained: impl Future<Output = Farewell>,
) -> Result<(), ProtocolError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<RequestBody>) -> R,
    R: Future<Output = Response<Body>>,
    G: Fn(Unreadable) -> Response<Body>,
{
    match protocol {
        Protocol::Http1 => http1::serve(stream, limits, service, drained).await,
        // Large: connections of HTTP/1.1 would carry its place along.
        Protocol::Http2 => Box::pin(http2::serve(stream, limits, service, drained)).await,
    }
}
