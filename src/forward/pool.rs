//! A worker's own connections to its upstreams: last in, first out, within bounds.
//!
//! The last connection used is the warmest, and the others get old enough to be closed. A worker
//! shares none of them, so taking one costs an uncontended lock. When the share of connections is
//! used up, requests wait in a bounded queue for as long as connecting may take.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::balance::Balancer;
use super::stream::Stream;
use super::{ForwardError, Server, Upstream, UpstreamProtocol, http2};
use crate::http::deadline::LazyTimer;
use crate::policy::UpstreamId;

/// Requests that may wait for a connection, for each connection that there may be.
const WAITING_PER_CONNECTION: usize = 16;
/// A kept connection gives larger buffers back.
const IDLE_BUFFER_MAX: usize = 16 * 1024;

/// All pools of one worker, by [`UpstreamId`].
#[derive(Debug)]
pub(crate) struct Pools(Vec<Arc<Balancer>>);

/// The connections of one worker to one server.
#[derive(Debug)]
pub(crate) struct Pool {
    upstream: Arc<Upstream>,
    server: Arc<Server>,
    /// Among the upstream's.
    place: usize,
    open_max: usize,
    open: AtomicUsize,
    waiting: AtomicUsize,
    #[expect(
        clippy::vec_box,
        reason = "a connection goes through a request's future as a pointer"
    )]
    idle: Mutex<Vec<Box<Connection>>>,
    http2: http2::Connections,
    freed: Notify,
    /// No configuration has it any more: what comes back is not kept.
    retired: AtomicBool,
}

/// A connection that one request uses.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    /// Bytes that came and were not consumed yet.
    pub(super) incoming: BytesMut,
    /// Bytes to write next.
    pub(super) outgoing: Vec<u8>,
    pub(super) timer: LazyTimer,
    opened: Instant,
    idle_since: Option<Instant>,
    slot: Slot,
}

/// What a request is sent by.
#[derive(Debug)]
pub(super) enum Lease {
    Http1(Box<Connection>),
    Http2(http2::Lease, Slot),
}

/// One of the connections that a pool may have open, or of the requests that may be under way over
/// HTTP/2; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Pool>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}

impl Pools {
    /// Pools for `upstreams`, each server with this worker's share of the connections. Those of `old`
    /// are taken over where the upstream is the same.
    pub(crate) fn new<'a>(
        upstreams: impl Iterator<Item = &'a Arc<Upstream>>,
        workers: usize,
        old: Option<&Self>,
    ) -> Self {
        let balancer = |upstream: &Arc<Upstream>| {
            let kept = old.and_then(|old| old.balancer_of(upstream));
            kept.cloned().unwrap_or_else(|| {
                let share = upstream.limits.connections.div_ceil(workers.max(1));
                Arc::new(Balancer::new(Arc::clone(upstream), share))
            })
        };
        Self(upstreams.map(balancer).collect())
    }

    fn balancer_of(&self, upstream: &Arc<Upstream>) -> Option<&Arc<Balancer>> {
        let mut all = self.0.iter();
        all.find(|balancer| Arc::ptr_eq(balancer.upstream(), upstream))
    }

    /// Lets go of the connections of upstreams that `new` has not; requests under way come to their end.
    pub(crate) fn retire_for(&self, new: &Self) {
        let gone = |it: &&Arc<Balancer>| new.balancer_of(it.upstream()).is_none();
        for pool in self.0.iter().filter(gone).flat_map(|it| it.pools()) {
            pool.retired.store(true, Ordering::Relaxed);
            let idle = std::mem::take(&mut *pool.idle());
            drop(idle);
            pool.http2.let_go();
        }
    }

    pub(super) fn of(&self, id: UpstreamId) -> Option<&Balancer> {
        self.0.get(id.0).map(|balancer| &**balancer)
    }

    /// How long the body of an upstream's response may pause.
    pub(crate) fn body_gap_max(&self, id: UpstreamId) -> Option<Duration> {
        Some(self.of(id)?.upstream().limits.body_gap_max)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.0.iter().flat_map(|balancer| balancer.pools())
    }

    /// Connections of this worker: how many are open to each server.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&Arc<Upstream>, &Arc<Server>, usize)> {
        self.all().map(|pool| {
            let open = match pool.http2.len() {
                0 => pool.open.load(Ordering::Relaxed),
                shared => shared,
            };
            (&pool.upstream, &pool.server, open)
        })
    }

    /// Closes kept connections that are past their time.
    pub(crate) fn close_old(&self) {
        let now = Instant::now();
        for pool in self.all() {
            let mut idle = pool.idle();
            let (keep, old) = idle
                .drain(..)
                .partition(|connection| pool.is_fresh(connection, now));
            *idle = keep;
            drop(idle);
            // Dropped outside the lock: a slot tells the pool.
            drop::<Vec<_>>(old);
            pool.http2.close_old(&pool.upstream, now);
        }
    }
}

impl Pool {
    pub(super) fn new(upstream: Arc<Upstream>, place: usize, open_max: usize) -> Option<Self> {
        Some(Self {
            server: Arc::clone(upstream.servers.get(place)?),
            upstream,
            place,
            open_max,
            open: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            idle: Mutex::new(Vec::new()),
            http2: http2::Connections::default(),
            freed: Notify::new(),
            retired: AtomicBool::new(false),
        })
    }

    pub(super) const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    pub(super) const fn server(&self) -> &Arc<Server> {
        &self.server
    }

    #[expect(
        clippy::vec_box,
        reason = "a connection goes through a request's future as a pointer"
    )]
    fn idle(&self) -> MutexGuard<'_, Vec<Box<Connection>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn place(&self) -> usize {
        self.place
    }

    /// Requests that use a connection or wait for one.
    pub(super) fn busy(&self) -> usize {
        let idle = self.idle().len();
        let open = self.open.load(Ordering::Relaxed);
        open.saturating_sub(idle) + self.waiting.load(Ordering::Relaxed)
    }

    /// What to send a request by: a connection that was kept, is new, or comes free next.
    pub(super) async fn lease(self: &Arc<Self>, now: Instant) -> Result<Lease, ForwardError> {
        if let Some(connection) = self.kept(now) {
            return Ok(Lease::Http1(connection));
        }
        // Apart, so that a request by a kept connection carries none of it along.
        match self.slot() {
            Some(slot) => Box::pin(self.connect(slot)).await,
            None => Box::pin(self.queue()).await,
        }
    }

    /// Gives a connection back after a whole exchange.
    pub(super) fn keep(mut connection: Box<Connection>) {
        let pool = Arc::clone(&connection.slot.0);
        if connection.incoming.capacity() > IDLE_BUFFER_MAX {
            connection.incoming = BytesMut::new();
        }
        if connection.outgoing.capacity() > IDLE_BUFFER_MAX {
            connection.outgoing = Vec::new();
        }
        connection.idle_since = Some(Instant::now());
        let mut idle = pool.idle();
        // Looked at under the lock that whoever retires it takes afterwards.
        if pool.retired.load(Ordering::Relaxed) {
            drop(idle);
            drop(connection);
            return;
        }
        idle.push(connection);
        drop(idle);
        if pool.waiting.load(Ordering::Relaxed) > 0 {
            pool.freed.notify_one();
        }
    }

    async fn queue(self: &Arc<Self>) -> Result<Lease, ForwardError> {
        let waiting_max = self.open_max.saturating_mul(WAITING_PER_CONNECTION);
        let _place = Waiting::enter(self, waiting_max)?;
        let deadline = Instant::now() + self.upstream.limits.connect_max;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Listen before looking, so that what comes free in between is not missed.
            freed.as_mut().enable();
            if let Some(connection) = self.kept(Instant::now()) {
                return Ok(Lease::Http1(connection));
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
    fn kept(&self, now: Instant) -> Option<Box<Connection>> {
        loop {
            let mut connection = self.idle().pop()?;
            if self.is_fresh(&connection, now) && connection.stream.is_quiet() {
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

    async fn connect(&self, slot: Slot) -> Result<Lease, ForwardError> {
        let (upstream, server) = (&self.upstream, &self.server);
        let stream = if upstream.protocol == UpstreamProtocol::Http1 {
            let limit: Duration = upstream.limits.connect_max;
            tokio::time::timeout(limit, Stream::connect(upstream, server))
                .await
                .map_err(|_| ForwardError::Timeout)?
                .map_err(|_| ForwardError::Unreachable)?
        } else {
            match self.http2.lease(upstream, server).await? {
                http2::Opened::Http2(lease) => return Ok(Lease::Http2(lease, slot)),
                http2::Opened::Http1(stream) => stream,
            }
        };
        Ok(Lease::Http1(Box::new(Connection {
            stream,
            incoming: BytesMut::new(),
            outgoing: Vec::with_capacity(2048),
            timer: LazyTimer::default(),
            opened: Instant::now(),
            idle_since: None,
            slot,
        })))
    }
}

impl Connection {
    /// Whether it has carried a request before.
    pub(super) const fn reused(&self) -> bool {
        self.idle_since.is_some()
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
