//! A worker's own connections to its upstreams: last in, first out, within bounds.
//!
//! The last connection used is the warmest, and the others get old enough to be closed. A worker
//! shares none of them, so taking one costs an uncontended lock. When the share of connections is
//! used up, requests wait in a bounded queue for as long as connecting may take.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{ForwardError, Server, Upstream};
use crate::http::deadline::LazyTimer;
use crate::policy::UpstreamId;

/// Requests that may wait for a connection, for each connection that there may be.
const WAITING_PER_CONNECTION: usize = 16;
/// A kept connection gives larger buffers back.
const IDLE_BUFFER_MAX: usize = 16 * 1024;

/// All pools of one worker, by [`UpstreamId`].
#[derive(Debug)]
pub(crate) struct Pools(Vec<Arc<Pool>>);

/// The connections of one worker to one upstream.
#[derive(Debug)]
pub(crate) struct Pool {
    upstream: Arc<Upstream>,
    open_max: usize,
    open: AtomicUsize,
    waiting: AtomicUsize,
    idle: Mutex<Vec<Connection>>,
    freed: Notify,
}

/// A connection that one request uses.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// Bytes that came and were not consumed yet.
    pub(super) incoming: BytesMut,
    /// Bytes to write next.
    pub(super) outgoing: Vec<u8>,
    pub(super) timer: LazyTimer,
    opened: Instant,
    idle_since: Option<Instant>,
    slot: Slot,
}

/// One of the connections that a pool may have open; given back when it is dropped.
#[derive(Debug)]
struct Slot(Arc<Pool>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}

impl Pools {
    pub(super) fn of_upstreams(upstreams: impl Iterator<Item = (Arc<Upstream>, usize)>) -> Self {
        Self(
            upstreams
                .map(|(upstream, open_max)| {
                    Arc::new(Pool {
                        upstream,
                        open_max,
                        open: AtomicUsize::new(0),
                        waiting: AtomicUsize::new(0),
                        idle: Mutex::new(Vec::new()),
                        freed: Notify::new(),
                    })
                })
                .collect(),
        )
    }

    pub(super) fn of(&self, id: UpstreamId) -> Result<&Arc<Pool>, ForwardError> {
        self.0.get(id.0).ok_or(ForwardError::Unreachable)
    }

    /// Connections of this worker: for each upstream, its name and how many are open.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&Arc<Upstream>, usize)> {
        self.0
            .iter()
            .map(|pool| (&pool.upstream, pool.open.load(Ordering::Relaxed)))
    }

    /// Closes kept connections that are past their time.
    pub(crate) fn close_old(&self) {
        let now = Instant::now();
        for pool in &self.0 {
            let mut idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let (keep, old) = idle
                .drain(..)
                .partition(|connection| pool.is_fresh(connection, now));
            *idle = keep;
            drop(idle);
            // Dropped outside the lock: a slot tells the pool.
            drop::<Vec<_>>(old);
        }
    }
}

impl Pool {
    pub(super) const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// A connection to use: kept, new, or the next that comes free.
    pub(super) async fn connection(
        self: &Arc<Self>,
        now: Instant,
    ) -> Result<Connection, ForwardError> {
        if let Some(connection) = self.kept(now) {
            return Ok(connection);
        }
        match self.slot() {
            Some(slot) => self.connect(slot).await,
            None => self.queue().await,
        }
    }

    /// Gives a connection back after a whole exchange.
    pub(super) fn keep(mut connection: Connection) {
        let pool = Arc::clone(&connection.slot.0);
        if connection.incoming.capacity() > IDLE_BUFFER_MAX {
            connection.incoming = BytesMut::new();
        }
        if connection.outgoing.capacity() > IDLE_BUFFER_MAX {
            connection.outgoing = Vec::new();
        }
        connection.idle_since = Some(Instant::now());
        let mut idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(connection);
        drop(idle);
        if pool.waiting.load(Ordering::Relaxed) > 0 {
            pool.freed.notify_one();
        }
    }

    async fn queue(self: &Arc<Self>) -> Result<Connection, ForwardError> {
        let waiting_max = self.open_max.saturating_mul(WAITING_PER_CONNECTION);
        let _place = Waiting::enter(self, waiting_max)?;
        let deadline = Instant::now() + self.upstream.limits.connect_max;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Listen before looking, so that what comes free in between is not missed.
            freed.as_mut().enable();
            if let Some(connection) = self.kept(Instant::now()) {
                return Ok(connection);
            }
            if let Some(slot) = self.slot() {
                return self.connect(slot).await;
            }
            tokio::time::timeout_at(deadline, freed)
                .await
                .map_err(|_| ForwardError::Overloaded)?;
        }
    }

    /// The warmest kept connection that is still good.
    fn kept(&self, now: Instant) -> Option<Connection> {
        loop {
            let connection = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.pop()?
            };
            if self.is_fresh(&connection, now) && connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    fn is_fresh(&self, connection: &Connection, now: Instant) -> bool {
        let limits = &self.upstream.limits;
        now.duration_since(connection.opened) < limits.age_max
            && connection
                .idle_since
                .is_none_or(|since| now.duration_since(since) < limits.idle_max)
    }

    fn slot(self: &Arc<Self>) -> Option<Slot> {
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < self.open_max).then_some(open + 1)
            })
            .ok()
            .map(|_| Slot(Arc::clone(self)))
    }

    async fn connect(&self, slot: Slot) -> Result<Connection, ForwardError> {
        let limit: Duration = self.upstream.limits.connect_max;
        let stream = tokio::time::timeout(limit, connect(&self.upstream.server))
            .await
            .map_err(|_| ForwardError::Timeout)?
            .map_err(|_| ForwardError::Unreachable)?;
        // Requests are written whole; waiting for more would only add delay.
        let _ = stream.set_nodelay(true);
        Ok(Connection {
            stream,
            incoming: BytesMut::new(),
            outgoing: Vec::with_capacity(2048),
            timer: LazyTimer::default(),
            opened: Instant::now(),
            idle_since: None,
            slot,
        })
    }
}

async fn connect(server: &Server) -> io::Result<TcpStream> {
    match server.host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect(SocketAddr::new(address, server.port)).await,
        Err(_) => TcpStream::connect((&*server.host, server.port)).await,
    }
}

impl Connection {
    /// Whether it has carried a request before.
    pub(super) const fn reused(&self) -> bool {
        self.idle_since.is_some()
    }

    /// Whether the upstream has neither closed it nor said anything unasked. Without a system call
    /// while nothing came.
    fn is_quiet(&self) -> bool {
        let read = self.stream.try_read(&mut [0; 1]);
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// A place in the queue for a connection.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn enter(pool: &'a Pool, max: usize) -> Result<Self, ForwardError> {
        if pool.waiting.fetch_add(1, Ordering::Relaxed) >= max {
            pool.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(ForwardError::Overloaded);
        }
        Ok(Self(pool))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
