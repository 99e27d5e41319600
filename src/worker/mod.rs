//! One thread a core: its own runtime, its own sockets, its own upstream connections and cells.
//!
//! Nothing on a request's way is shared between workers but the policy, the token cache, the
//! revocations and the connection counts. So the cost of a request does not grow with the cores,
//! and key refresh, admin and audit run elsewhere and cannot delay it.

mod connection;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::gateway::{Front, Lane};
use crate::http::deadline::WaitLimits;
use crate::http::serve::{MessageLimits, Protocol, ProtocolError};
use crate::listen::accept;
use crate::listen::admission::{Admission, Refusal};
use crate::tls::{HandshakeError, Tls};

/// How often kept upstream connections are looked at.
const POOL_SWEEP: Duration = Duration::from_secs(5);

/// A listener as the workers serve it.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) front: Arc<Front>,
    pub(crate) tls: Option<Tls>,
    /// What is spoken where there is no ALPN.
    pub(crate) clear_text: Protocol,
    pub(crate) admission: Arc<Admission>,
    pub(crate) waits: WaitLimits,
    pub(crate) messages: MessageLimits,
    pub(crate) counts: ListenerCounts,
    /// A connection begins with who it comes from.
    pub(crate) proxy_protocol: bool,
    /// For that, and for the TLS handshake.
    pub(crate) handshake_max: Duration,
}

/// What happens to connections; few enough to share.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounts {
    pub(crate) refused_total: AtomicU64,
    pub(crate) refused_per_peer: AtomicU64,
    pub(crate) handshakes_good: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) handshakes_timed_out: AtomicU64,
    pub(crate) protocol_errors: [AtomicU64; ProtocolError::ALL.len()],
}

impl ListenerCounts {
    fn refused(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::PerPeer => &self.refused_per_peer,
            Refusal::Total => &self.refused_total,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn handshake(&self, result: Result<(), HandshakeError>) {
        let counter = match result {
            Ok(()) => &self.handshakes_good,
            Err(HandshakeError::Failed) => &self.handshakes_failed,
            Err(HandshakeError::Timeout) => &self.handshakes_timed_out,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn protocol_error(&self, error: ProtocolError) {
        if let Some(counter) = self.protocol_errors.get(error as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Tells workers to stop, and how long they may take.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    pub(crate) signal: watch::Receiver<bool>,
    pub(crate) limit: Duration,
}

impl Drain {
    /// Done when draining has begun, or nobody can begin it any more.
    pub(crate) async fn begun(mut self) {
        let seen = self.signal.clone();
        // Unconstrained: a busy task's budget must not keep it from being asked.
        let begun = tokio::task::unconstrained(self.signal.wait_for(|draining| *draining));
        let mut begun = std::pin::pin!(begun);
        let mut asked = false;
        std::future::poll_fn(|context| {
            // Asked once, it wakes its task by itself. A connection polls this with every byte that
            // comes; until the signal changes, that is one load.
            if asked && matches!(seen.has_changed(), Ok(false)) {
                return Poll::Pending;
            }
            asked = true;
            begun.as_mut().poll(context).map(drop)
        })
        .await;
    }
}

/// Runs a worker until it has drained. Gives the number of connections that were cut.
///
/// # Errors
/// The runtime cannot be made, or a socket not be used.
pub(crate) fn run(
    lane: Arc<Lane>,
    sockets: Vec<(Arc<Listener>, std::net::TcpListener)>,
    drain: Drain,
) -> std::io::Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(lane, sockets, drain))
}

async fn serve(
    lane: Arc<Lane>,
    sockets: Vec<(Arc<Listener>, std::net::TcpListener)>,
    drain: Drain,
) -> std::io::Result<usize> {
    // Every connection holds a sender; when all are gone, all connections are.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    for (listener, socket) in sockets {
        let socket = TcpListener::from_std(socket)?;
        let lane = Arc::clone(&lane);
        let alive = alive.clone();
        let drain = drain.clone();
        tokio::spawn(async move {
            let stop = drain.clone().begun();
            accept(socket, stop, |stream, peer| {
                match listener.admission.admit() {
                    Ok(admitted) => {
                        let connection = connection::Connection {
                            lane: Arc::clone(&lane),
                            listener: Arc::clone(&listener),
                            peer: peer.ip().to_canonical(),
                            drain: drain.clone(),
                            admitted,
                            _alive: alive.clone(),
                        };
                        tokio::spawn(connection.serve(stream));
                    }
                    Err(refusal) => listener.counts.refused(refusal),
                }
            })
            .await;
        });
    }
    drop(alive);
    let sweep = {
        let lane = Arc::clone(&lane);
        tokio::spawn(async move {
            let mut sweep = tokio::time::interval(POOL_SWEEP);
            loop {
                sweep.tick().await;
                lane.pools.close_old();
            }
        })
    };
    let limit = drain.limit;
    drain.begun().await;
    let drained = tokio::time::timeout(limit, all_gone.recv()).await;
    sweep.abort();
    Ok(if drained.is_ok() {
        0
    } else {
        all_gone.sender_strong_count()
    })
}
