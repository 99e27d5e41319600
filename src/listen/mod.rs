//! Accepting connections: bind, admit, hand on.
//!
//! Every worker has its own socket on the same address (`SO_REUSEPORT`), so the kernel spreads
//! connections and workers share no accept queue. A probe without that option comes first: else a
//! second gateway of the same user would silently take half of the connections. Sockets in the file
//! system, and those that systemd passes, are one each, and shared by the workers.

mod address;
pub(crate) mod admission;
pub(crate) mod proxy_protocol;
mod socket;

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

pub(crate) use address::{Address, NoAddress};
pub(crate) use socket::{Inherited, Socket};

/// The pause after the system had no descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// A connection before anything was read of it.
pub(crate) type Stream = Either<TcpStream, UnixStream>;

/// Takes connections from a socket.
#[derive(Debug)]
pub(crate) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    /// Takes those of a socket, on the runtime of whoever calls.
    ///
    /// # Errors
    /// The runtime takes no more.
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            Socket::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    /// The next connection and whose it is. Who comes by a socket in the file system is of this machine.
    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, IpAddr)>> {
        Poll::Ready(Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(context))?;
                let _ = stream.set_nodelay(true);
                (Either::Left(stream), peer.ip().to_canonical())
            }
            Self::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(context))?;
                (Either::Right(stream), Ipv4Addr::LOCALHOST.into())
            }
        }))
    }

    /// The next connection and whose it is.
    ///
    /// # Errors
    /// There is no descriptor left, or the peer has gone already.
    pub(crate) async fn next(&self) -> io::Result<(Stream, IpAddr)> {
        std::future::poll_fn(|context| self.poll(context)).await
    }
}

/// Accepts until `stop` is done and gives each connection to `connected`; at last those that the
/// kernel has completed and nobody has taken yet.
pub(crate) async fn accept(
    acceptor: Acceptor,
    stop: impl Future<Output = ()>,
    mut connected: impl FnMut(Stream, IpAddr),
) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.as_mut() => break,
            accepted = acceptor.next() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => connected(stream, peer),
            // The peer was gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for a moment");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
    std::future::poll_fn(|context| {
        while let Poll::Ready(Ok((stream, peer))) = acceptor.poll(context) {
            connected(stream, peer);
        }
        Poll::Ready(())
    })
    .await;
}
