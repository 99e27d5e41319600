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

use tokio::sync::{mpsc, watch};

use crate::gateway::{Front, Lane, Serving};
use crate::http::deadline::WaitLimits;
use crate::http::serve::{MessageLimits, Protocol, ProtocolError};
use crate::listen::admission::{Admission, Refusal};
use crate::listen::{Acceptor, Socket, accept};
use crate::published::Published;
use crate::tls::{HandshakeError, Tls};

/// How often kept upstream connections are looked at.
const POOL_SWEEP: Duration = Duration::from_secs(5);
/// A worker that lives turns its loop at least this often.
pub(crate) const TURN_MAX: Duration = POOL_SWEEP;

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
    pub(crate) counts: Arc<ListenerCounts>,
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

/// A socket of a worker, and what is done with whoever connects to it.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) socket: Socket,
    /// What connections are taken by.
    pub(crate) taking: Arc<Published<Listener>>,
    /// What their requests are answered by.
    pub(crate) serving: Arc<Published<Serving>>,
    pub(crate) closing: watch::Receiver<bool>,
}

/// Tells of an end that has begun: of a listener, or of the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Drain(pub(crate) watch::Receiver<bool>);

impl Drain {
    /// Done when draining has begun, or nobody can begin it any more.
    pub(crate) async fn begun(mut self) {
        let seen = self.0.clone();
        // Unconstrained: a busy task's budget must not keep it from being asked.
        let begun = tokio::task::unconstrained(self.0.wait_for(|draining| *draining));
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
/// `doors` are its sockets, those of the beginning and others that come. `drain`: the gateway ends; the
/// doors are closed by whoever says so. `turns` counts those of its loop.
///
/// # Errors
/// The runtime cannot be made.
pub(crate) fn run(
    lane: Arc<Published<Lane>>,
    doors: mpsc::Receiver<Door>,
    drain: Drain,
    turns: &AtomicU64,
) -> std::io::Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(serve(lane, doors, drain, turns)))
}

async fn serve(
    lane: Arc<Published<Lane>>,
    mut doors: mpsc::Receiver<Door>,
    drain: Drain,
    turns: &AtomicU64,
) -> usize {
    // Every connection holds a sender; when all are gone, all connections are.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let mut ends = std::pin::pin!(drain.begun());
    let mut sweep = tokio::time::interval(POOL_SWEEP);
    loop {
        turns.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            biased;
            () = ends.as_mut() => break,
            Some(door) = doors.recv() => open(door, &alive),
            _ = sweep.tick() => lane.look().pools.close_old(),
        }
    }
    // What was to be opened is opened, for connections that the kernel has completed already.
    while let Ok(door) = doors.try_recv() {
        open(door, &alive);
    }
    drop(alive);
    let limit = lane.look().setup.drain_timeout;
    match tokio::time::timeout(limit, all_gone.recv()).await {
        Ok(_) => 0,
        Err(_) => all_gone.sender_strong_count(),
    }
}

/// Takes the connections of a door until it is closed.
fn open(door: Door, alive: &mpsc::Sender<()>) {
    let alive = alive.clone();
    tokio::spawn(async move {
        let acceptor = match Acceptor::new(door.socket) {
            Ok(acceptor) => acceptor,
            Err(error) => {
                tracing::error!(%error, "a socket cannot be used");
                return;
            }
        };
        let drain = Drain(door.closing);
        accept(acceptor, drain.clone().begun(), |stream, peer| {
            let listener = door.taking.load();
            match listener.admission.admit() {
                Ok(admitted) => {
                    let connection = connection::Connection {
                        serving: Arc::clone(&door.serving),
                        listener,
                        peer,
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
