//! Choosing a server: among those that are well, or among all where none is.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::pool::Pool;
use super::{Balance, HashKey, Outgoing, Upstream};
use crate::authenticate::Caller;

/// Retries that a worker may make of its requests to one upstream: one in so many, and some at once, since
/// whatever is under way at a server that dies comes back at once. A failing upstream must not get twice
/// the load.
const REQUESTS_A_RETRY: u64 = 5;
const RETRIES_AT_ONCE: u64 = 100;

/// Servers by their places, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerSet(u64);

impl ServerSet {
    pub(super) const fn insert(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn contains(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }

    const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The place of the nth.
    fn nth(self, n: u32) -> Option<usize> {
        let mut rest = self.0;
        for _ in 0..n {
            rest &= rest.wrapping_sub(1);
        }
        (rest != 0).then_some(rest.trailing_zeros() as usize)
    }
}

/// One worker's view of one upstream: a pool for each server.
#[derive(Debug)]
pub(super) struct Balancer {
    upstream: Arc<Upstream>,
    pools: Vec<Arc<Pool>>,
    /// Where round robin stands, or the state of the dice.
    state: AtomicU64,
    /// What retries may be made: [`REQUESTS_A_RETRY`] each.
    budget: AtomicU64,
}

impl Balancer {
    pub(super) fn new(upstream: Arc<Upstream>, share: usize) -> Self {
        let pools = (0..upstream.servers.len())
            .filter_map(|place| Pool::new(Arc::clone(&upstream), place, share).map(Arc::new))
            .collect();
        Self {
            upstream,
            pools,
            // Workers that all began at the first server would all go to it.
            state: AtomicU64::new(RandomState::new().hash_one(0) | 1),
            budget: AtomicU64::new(RETRIES_AT_ONCE * REQUESTS_A_RETRY),
        }
    }

    pub(super) const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    pub(super) fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// The pool of the server for a request, none of those that were tried; `None` when all were.
    pub(super) fn choose(
        &self,
        outgoing: &Outgoing<'_>,
        now: Instant,
        tried: ServerSet,
    ) -> Option<&Arc<Pool>> {
        if let [only] = self.pools.as_slice() {
            return (tried == ServerSet::default()).then_some(only);
        }
        let mut left = ServerSet::default();
        let mut well = ServerSet::default();
        for (place, server) in self.upstream.servers.iter().enumerate() {
            if tried.contains(place) {
                continue;
            }
            left.insert(place);
            if server.health.is_well(now) {
                well.insert(place);
            }
        }
        // Never that all are gone: one that seems to be ill may answer all the same.
        let among = if well.len() > 0 { well } else { left };
        let place = match &self.upstream.balance {
            Balance::RoundRobin => self.next(among, now),
            Balance::LeastRequests => self.less_busy(among, now),
            Balance::Hash(key) => match hash_of(key, outgoing) {
                Some(hash) => self.nearest(among, hash),
                None => self.less_busy(among, now),
            },
        };
        self.pools.get(place?)
    }

    fn next(&self, among: ServerSet, now: Instant) -> Option<usize> {
        let count = among.len().max(1);
        for _ in 0..count {
            let turn = self.state.fetch_add(1, Ordering::Relaxed);
            let place = among.nth(u32::try_from(turn % u64::from(count)).unwrap_or(0))?;
            if self.takes(place, now) {
                return Some(place);
            }
        }
        among.nth(0)
    }

    fn less_busy(&self, among: ServerSet, now: Instant) -> Option<usize> {
        let count = among.len();
        if count <= 1 {
            return among.nth(0);
        }
        let first = self.dice(count);
        // Another than the first.
        let second = (first + 1 + self.dice(count - 1)) % count;
        let (a, b) = (among.nth(first)?, among.nth(second)?);
        Some(match (self.takes(a, now), self.takes(b, now)) {
            (true, false) => a,
            (false, true) => b,
            _ if self.pools.get(b)?.busy() < self.pools.get(a)?.busy() => b,
            _ => a,
        })
    }

    /// Rendezvous hashing: a server that comes or goes moves its own share of the values alone.
    fn nearest(&self, among: ServerSet, hash: u64) -> Option<usize> {
        let places = (0..self.pools.len()).filter(|place| among.contains(*place));
        places.max_by_key(|place| {
            let seed = self
                .upstream
                .servers
                .get(*place)
                .map_or(0, |server| server.seed);
            mixed(hash ^ seed)
        })
    }

    /// Whether a server that has just come back takes this one.
    fn takes(&self, place: usize, now: Instant) -> bool {
        let share = self.upstream.servers.get(place);
        let share = share.map_or(1000, |server| server.health.share(now));
        share >= 1000 || self.dice(1000) < share
    }

    fn dice(&self, sides: u32) -> u32 {
        let state = self
            .state
            .load(Ordering::Relaxed)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.store(state, Ordering::Relaxed);
        let side = mixed(state) % u64::from(sides.max(1));
        u32::try_from(side).unwrap_or(0)
    }

    /// A request was sent: it earns a part of a retry.
    pub(super) fn earn(&self) {
        let budget = self.budget.load(Ordering::Relaxed);
        if budget < RETRIES_AT_ONCE * REQUESTS_A_RETRY {
            self.budget.store(budget + 1, Ordering::Relaxed);
        }
    }

    /// Whether one more retry may be made.
    pub(super) fn spend(&self) -> bool {
        let budget = self.budget.load(Ordering::Relaxed);
        let left = budget.checked_sub(REQUESTS_A_RETRY);
        left.is_some_and(|left| {
            self.budget.store(left, Ordering::Relaxed);
            true
        })
    }
}

fn hash_of(key: &HashKey, outgoing: &Outgoing<'_>) -> Option<u64> {
    match key {
        HashKey::Header(name) => Some(hash(outgoing.headers.get(name)?.as_bytes())),
        HashKey::Claim(name) => match outgoing.permit.caller() {
            Caller::Authenticated(principal) => {
                Some(hash(principal.claim(name)?.as_text()?.as_bytes()))
            }
            Caller::Anonymous => None,
        },
    }
}

/// FNV-1a: the same on every worker and every replica.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The finalizer of splitmix64.
const fn mixed(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
