//! What a client wants its connection, or its stream, to become: `Upgrade` (RFC 9110 section 7.8), and
//! extended CONNECT over HTTP/2 (RFC 8441).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio_util::either::Either;

use super::body::RequestBody;
use super::headers::has_option;
use super::http2::Tunnel;

/// The protocol of WebSockets (RFC 6455).
pub(crate) const WEBSOCKET: &str = "websocket";
/// The longest name of a protocol.
const NAME_BYTES_MAX: usize = 64;

/// What a stream is to become, as extended CONNECT has it: an extension of its request.
#[derive(Clone, Debug)]
pub(crate) struct Protocol(pub(crate) Box<str>);

/// An upgrade that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upgrade {
    /// In lower case.
    pub(crate) protocol: Box<str>,
    /// It came as extended CONNECT: a stream is to be upgraded, and not a connection.
    pub(crate) of_stream: bool,
}

impl Upgrade {
    pub(crate) fn is_websocket(&self) -> bool {
        *self.protocol == *WEBSOCKET
    }
}

/// The upgrade that a request asks for, if it is one that can be carried out: one protocol, with GET and
/// without a body. An extended CONNECT for a WebSocket becomes the GET that it stands for.
pub(crate) fn asked(parts: &mut Parts, has_body: bool) -> Option<Upgrade> {
    if parts.version == Version::HTTP_2 {
        let protocol = parts.extensions.get::<Protocol>()?;
        if parts.method != Method::CONNECT || *protocol.0 != *WEBSOCKET {
            return None;
        }
        parts.method = Method::GET;
        return Some(Upgrade {
            protocol: WEBSOCKET.into(),
            of_stream: true,
        });
    }
    let headers = &parts.headers;
    let protocol = one(headers, &UPGRADE)?;
    let is_asked = parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && !has_body
        && has_option(headers, CONNECTION, "upgrade");
    is_asked.then_some(Upgrade {
        protocol,
        of_stream: false,
    })
}

/// The one protocol that a header section names, in lower case.
pub(crate) fn one(headers: &HeaderMap, name: &HeaderName) -> Option<Box<str>> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let value = value.to_str().ok()?.trim();
    is_protocol(value).then(|| value.to_ascii_lowercase().into())
}

/// Whether a text is the name of a protocol, perhaps with its version.
pub(crate) fn is_protocol(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+/".contains(&byte);
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(plain)
}

/// What a client's side of an upgrade comes to, once its response was sent.
#[derive(Debug)]
pub(crate) enum OnUpgrade {
    /// The connection.
    Http1(oneshot::Receiver<Rewound>),
    /// A stream of it.
    Http2(Tunnel),
}

/// A client's side of an upgrade.
pub(crate) type Upgraded = Either<Rewound, Tunnel>;

impl OnUpgrade {
    /// That of a request; `None`: it cannot be upgraded.
    pub(crate) fn of(body: &mut RequestBody) -> Option<Self> {
        match std::mem::replace(body, RequestBody::Empty) {
            RequestBody::Upgradable(receiver) => Some(Self::Http1(receiver)),
            RequestBody::Tunnel(tunnel) => Some(Self::Http2(tunnel)),
            other => {
                *body = other;
                None
            }
        }
    }

    /// The bytes from here on; `None`: the client has gone.
    pub(crate) async fn done(self) -> Option<Upgraded> {
        Some(match self {
            Self::Http1(receiver) => Either::Left(receiver.await.ok()?),
            Self::Http2(tunnel) => Either::Right(tunnel),
        })
    }
}

trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// A byte stream of which something was read already.
pub(crate) struct Rewound {
    before: BytesMut,
    stream: Box<dyn ByteStream>,
}

impl Rewound {
    pub(crate) fn new(
        before: BytesMut,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self {
            before,
            stream: Box::new(stream),
        }
    }
}

impl std::fmt::Debug for Rewound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rewound")
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.before.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.before.len().min(buffer.remaining());
        buffer.put_slice(&self.before.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn upgrades() {
        let wanted = |method: &str, version, fields: &[(&str, &str)], has_body| {
            let mut request = Request::builder().method(method).version(version);
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let (mut parts, ()) = request.body(()).expect("a request").into_parts();
            asked(&mut parts, has_body).map(|upgrade| upgrade.protocol)
        };
        let websocket = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
        ];
        let get = |fields: &[(&str, &str)]| wanted("GET", Version::HTTP_11, fields, false);
        assert_eq!(get(&websocket).as_deref(), Some("websocket"));
        assert_eq!(get(&[("upgrade", "websocket")]), None, "not for this hop");
        assert_eq!(get(&[("connection", "upgrade")]), None);
        for several in ["websocket, h2c", "", "a b", "x\"y"] {
            assert_eq!(
                get(&[("connection", "upgrade"), ("upgrade", several)]),
                None
            );
        }
        assert_eq!(wanted("GET", Version::HTTP_11, &websocket, true), None);
        assert_eq!(wanted("POST", Version::HTTP_11, &websocket, false), None);
        assert_eq!(wanted("GET", Version::HTTP_10, &websocket, false), None);
        assert_eq!(wanted("CONNECT", Version::HTTP_2, &websocket, false), None);
    }
}
