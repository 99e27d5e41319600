//! Accepting connections: bind, admit, hand on.
//!
//! Every worker has its own socket on the same address (`SO_REUSEPORT`), so the kernel spreads
//! connections and workers share no accept queue. A probe without that option comes first: else a
//! second gateway of the same user would silently take half of the connections.

pub(crate) mod admission;
pub(crate) mod proxy_protocol;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::http::deadline::keepalive;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;
/// The pause after the system had no descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Binds `count` sockets on one address. With port 0 they share the port that the first is given.
///
/// # Errors
/// The address is taken, not of this machine, or not allowed.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    if address.port() != 0 {
        socket(address, false)?;
    }
    let mut sockets: Vec<std::net::TcpListener> = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let address = match sockets.first() {
            Some(first) => first.local_addr()?,
            None => address,
        };
        let socket = socket(address, true)?;
        // What is accepted has it from here, without a call of its own.
        socket.set_tcp_keepalive(&keepalive())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        sockets.push(socket.into());
    }
    Ok(sockets)
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Accepts until `stop` is done and gives each connection to `connected`; at last those that the
/// kernel has completed and nobody has taken yet.
pub(crate) async fn accept(
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    mut connected: impl FnMut(TcpStream, SocketAddr),
) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.as_mut() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                connected(stream, peer);
            }
            // The peer was gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for a moment");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
    std::future::poll_fn(|context| {
        while let Poll::Ready(Ok((stream, peer))) = listener.poll_accept(context) {
            let _ = stream.set_nodelay(true);
            connected(stream, peer);
        }
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_accepted_finds_out_peers_that_are_gone() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = bind(address, 1).expect("a socket").pop().expect("one");
        let listener = TcpListener::from_std(socket).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (accepted, _) = accepted.expect("a connection");
        let accepted = socket2::SockRef::from(&accepted);
        assert!(accepted.keepalive().expect("an option"));
        let time = accepted.tcp_keepalive_time().expect("an option");
        assert_eq!(time, Duration::from_secs(60));
        drop(client);
    }
}
