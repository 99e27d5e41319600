//! HTTP/2 to a server: a few connections that all requests of a worker share.
//!
//! hyper speaks it. What is ours: which connection a request goes by, that a burst opens one and not a
//! hundred, how long an answer may take, and what became of a request that got none.

mod exchange;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::Instant;

use super::stream::Stream;
use super::{ForwardError, Server, Upstream};

pub(super) use exchange::{Unanswered, Upload};

/// Streams at once on one connection; beyond, another is opened.
const STREAMS_MAX: usize = 100;
/// Stands for what a server has not said yet.
const NOT_SAID: usize = 77_777;
/// How long that is waited for, and how often it is looked for: hyper tells nobody when it comes.
const SETTINGS_MAX: Duration = Duration::from_secs(1);
const SETTINGS_LOOK: Duration = Duration::from_millis(1);
/// The largest header section of a response.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// What a stream of a response may hold that its client has not taken.
const STREAM_WINDOW: u32 = 256 * 1024;
/// And all streams of a connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What is kept of an upload that the server does not take.
const SEND_BUFFER_MAX: usize = 64 * 1024;
/// A server that does not answer a PING while streams are open is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_MAX: Duration = Duration::from_secs(10);

/// A worker's connections to one server.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<Vec<Shared>>,
    /// One connects at a time; the others use what it opens.
    connecting: tokio::sync::Mutex<()>,
    /// When connecting last failed: whoever waited for that fails with it.
    failed_at: Mutex<Option<Instant>>,
    /// The server chose HTTP/1.1.
    speaks_http1: AtomicBool,
}

/// One connection.
#[derive(Debug)]
struct Shared {
    sender: SendRequest<Upload>,
    opened: Instant,
    /// How many streams the server allows.
    allowed: watch::Receiver<usize>,
    streams: Arc<AtomicUsize>,
    idle_since: Arc<Mutex<Instant>>,
    /// The server takes no more requests by it.
    spent: Arc<AtomicBool>,
}

/// A stream that may be opened on a connection.
#[derive(Debug)]
pub(super) struct Lease {
    sender: SendRequest<Upload>,
    place: Place,
    /// Of a connection that was opened for it.
    pub(super) fresh: bool,
}

/// One of a connection's streams.
#[derive(Debug)]
struct Place {
    streams: Arc<AtomicUsize>,
    idle_since: Arc<Mutex<Instant>>,
    spent: Arc<AtomicBool>,
}

impl Place {
    /// No more requests go by this connection; those under way come to their end.
    fn spend(&self) {
        self.spent.store(true, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self
            .idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What connecting gave.
#[derive(Debug)]
pub(super) enum Opened {
    Http1(Stream),
    Http2(Lease),
}

impl Connections {
    /// A stream on a connection that is there or is opened; or a new connection that speaks HTTP/1.1.
    ///
    /// # Errors
    /// The server cannot be reached in time, or speaks no HTTP/2 where it must.
    pub(super) async fn lease(
        &self,
        upstream: &Upstream,
        server: &Server,
    ) -> Result<Opened, ForwardError> {
        let since = Instant::now();
        let limit = upstream.limits.connect_max;
        if self.speaks_http1.load(Ordering::Relaxed) {
            return self.connect(upstream, server, limit).await;
        }
        if let Some(lease) = self.ready(upstream) {
            return Ok(Opened::Http2(lease));
        }
        let turn = tokio::time::timeout(limit, self.connecting.lock()).await;
        let _turn = turn.map_err(|_| ForwardError::Timeout)?;
        if let Some(lease) = self.ready(upstream) {
            return Ok(Opened::Http2(lease));
        }
        let failed_at = |it: &Self| *it.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if failed_at(self).is_some_and(|at| at >= since) {
            return Err(ForwardError::Unreachable);
        }
        let opened = self.connect(upstream, server, limit).await;
        if opened.is_err() {
            let mut failed = self
                .failed_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *failed = Some(Instant::now());
        }
        opened
    }

    async fn connect(
        &self,
        upstream: &Upstream,
        server: &Server,
        limit: Duration,
    ) -> Result<Opened, ForwardError> {
        let connecting = async {
            let stream = Stream::connect(upstream, server).await;
            let stream = stream.map_err(|_| ForwardError::Unreachable)?;
            let is_http2 = stream.speaks_http2(upstream.protocol);
            self.speaks_http1.store(!is_http2, Ordering::Relaxed);
            if !is_http2 {
                return Ok(Opened::Http1(stream));
            }
            let handshake = Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(HEADER_BYTES_MAX)
                .max_send_buf_size(SEND_BUFFER_MAX)
                .keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_MAX)
                .initial_max_send_streams(NOT_SAID)
                .handshake(TokioIo::new(stream));
            let (sender, connection) = handshake.await.map_err(|_| ForwardError::Unreachable)?;
            let (says, mut allowed) = watch::channel(NOT_SAID);
            // It ends when nobody can send by it any more, and its last stream has ended.
            tokio::spawn(async move {
                let mut connection = std::pin::pin!(connection);
                let given_up = Instant::now() + SETTINGS_MAX;
                let mut looks = tokio::time::interval(SETTINGS_LOOK);
                std::future::poll_fn(|context| {
                    let poll = connection.as_mut().poll(context);
                    let look = || {
                        let now = connection.current_max_send_streams();
                        says.send_if_modified(|said| std::mem::replace(said, now) != now);
                        now == NOT_SAID && Instant::now() < given_up
                    };
                    while look() && looks.poll_tick(context).is_ready() {}
                    poll
                })
                .await
            });
            // The server says so first of all. What it does not allow would wait unsent.
            let saying = allowed.wait_for(|allowed| *allowed != NOT_SAID);
            let _ = tokio::time::timeout(SETTINGS_MAX, saying).await;
            Ok(Opened::Http2(self.share(sender, allowed)))
        };
        let opened = tokio::time::timeout(limit, connecting).await;
        opened.map_err(|_| ForwardError::Timeout)?
    }

    fn share(&self, sender: SendRequest<Upload>, allowed: watch::Receiver<usize>) -> Lease {
        let shared = Shared {
            sender,
            opened: Instant::now(),
            allowed,
            streams: Arc::default(),
            idle_since: Arc::new(Mutex::new(Instant::now())),
            spent: Arc::default(),
        };
        let lease = shared.lease();
        self.open().push(shared);
        Lease {
            fresh: true,
            ..lease
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<Shared>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream on the first connection that has room.
    fn ready(&self, upstream: &Upstream) -> Option<Lease> {
        let now = Instant::now();
        let mut open = self.open();
        open.retain(|it| it.is_good(upstream, now));
        let free = |it: &&Shared| {
            let allowed = STREAMS_MAX.min(*it.allowed.borrow());
            it.streams.load(Ordering::Relaxed) < allowed
        };
        open.iter().find(free).map(Shared::lease)
    }

    /// Lets go of connections that are past their time; their streams end first.
    pub(super) fn close_old(&self, upstream: &Upstream, now: Instant) {
        self.open().retain(|it| it.is_good(upstream, now));
    }

    /// Lets go of all; their streams end first.
    pub(super) fn let_go(&self) {
        self.open().clear();
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.open().len()
    }
}

impl Shared {
    fn lease(&self) -> Lease {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Lease {
            sender: self.sender.clone(),
            place: Place {
                streams: Arc::clone(&self.streams),
                idle_since: Arc::clone(&self.idle_since),
                spent: Arc::clone(&self.spent),
            },
            fresh: false,
        }
    }

    fn is_good(&self, upstream: &Upstream, now: Instant) -> bool {
        let idle = || {
            let since = self
                .idle_since
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let is_idle = self.streams.load(Ordering::Relaxed) == 0;
            is_idle && now.duration_since(*since) >= upstream.limits.idle_max
        };
        let is_old = now.duration_since(self.opened) >= upstream.limits.age_max;
        let is_over = self.sender.is_closed() || self.spent.load(Ordering::Relaxed);
        !is_over && !is_old && !idle()
    }
}
