//! The byte stream to a server: in clear text, or TLS over it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Server, Upstream, UpstreamProtocol};
use crate::http::deadline::keepalive;

/// A connected stream.
#[derive(Debug)]
pub(super) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects to a server. A name is resolved anew each time.
    ///
    /// # Errors
    /// The server does not take the connection, or is not who it should be.
    pub(super) async fn connect(upstream: &Upstream, server: &Server) -> io::Result<Self> {
        let connected = Self::open(upstream, server).await;
        if let Err(error) = &connected {
            let (upstream, label) = (&*upstream.name, &*server.label);
            tracing::debug!(upstream, server = label, %error, "a server cannot be connected to");
            server.health.note_trouble(error.to_string());
        }
        connected
    }

    async fn open(upstream: &Upstream, server: &Server) -> io::Result<Self> {
        let (host, port) = (&*server.place.host, server.place.port);
        let stream = match host.parse::<IpAddr>() {
            Ok(address) => TcpStream::connect(SocketAddr::new(address, port)).await?,
            Err(_) => TcpStream::connect((host, port)).await?,
        };
        // Requests are written whole; waiting for more would only add delay.
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive());
        match (&upstream.tls, &server.tls_name) {
            (Some(tls), Some(name)) => {
                let stream = tls.connector.connect(name.clone(), stream).await?;
                let alpn = stream.get_ref().1.alpn_protocol();
                if upstream.protocol == UpstreamProtocol::Http2 && alpn != Some(b"h2") {
                    let why = "the server speaks no HTTP/2";
                    return Err(io::Error::new(io::ErrorKind::Unsupported, why));
                }
                Ok(Self::Tls(Box::new(stream)))
            }
            _ => Ok(Self::Clear(stream)),
        }
    }

    /// Whether HTTP/2 is spoken on it, which TLS has settled where either may be.
    pub(super) fn speaks_http2(&self, protocol: UpstreamProtocol) -> bool {
        match (protocol, self) {
            (UpstreamProtocol::Http1, _) => false,
            (UpstreamProtocol::Http2, _) => true,
            (UpstreamProtocol::Auto, Self::Clear(_)) => false,
            (UpstreamProtocol::Auto, Self::Tls(stream)) => {
                stream.get_ref().1.alpn_protocol() == Some(b"h2")
            }
        }
    }

    /// Whether the server has neither closed it nor said anything unasked. Without a system call while
    /// nothing came.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        if let Self::Clear(stream) = self {
            let read = stream.try_read(&mut byte);
            return matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        }
        // Session tickets come unasked and are no data: TLS itself must look.
        let mut context = Context::from_waker(Waker::noop());
        let mut buffer = ReadBuf::new(&mut byte);
        Pin::new(self)
            .poll_read(&mut context, &mut buffer)
            .is_pending()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
