//! How often one peer may ask: a bucket that fills at a rate (GCRA), a time a peer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::UnixTime;
use crate::http::host::peer_network;

/// One more in this time.
const EVERY: Duration = Duration::from_millis(100);
/// As many at once.
const BURST: u32 = 50;
/// Peers that are remembered. When they are too many all begin anew: the disk is guarded by a bound of
/// its own.
const PEERS_MAX: usize = 10_000;

/// The times at which each peer's bucket is full again.
#[derive(Debug, Default)]
pub(super) struct PeerLimit(Mutex<HashMap<IpAddr, UnixTime>>);

impl PeerLimit {
    /// Whether a request of this peer is taken now.
    pub(super) fn admits(&self, peer: IpAddr, now: UnixTime) -> bool {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = peer_network(peer);
        if peers.len() >= PEERS_MAX && !peers.contains_key(&peer) {
            peers.retain(|_, full| *full > now);
            if peers.len() >= PEERS_MAX {
                peers.clear();
            }
        }
        let full = peers.entry(peer).or_insert(now);
        let next = (*full).max(now).plus(EVERY);
        if next > now.plus(EVERY * BURST) {
            return false;
        }
        *full = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let limit = PeerLimit::default();
        let now = UnixTime::from_secs(1000);
        let peer = |last| IpAddr::from([10, 0, 0, last]);
        let admitted = (0..100).filter(|_| limit.admits(peer(1), now)).count();
        assert_eq!(admitted, 50);
        assert!(limit.admits(peer(2), now), "another peer has its own");
        let later = now.plus(Duration::from_millis(350));
        let admitted = (0..100).filter(|_| limit.admits(peer(1), later)).count();
        assert_eq!(admitted, 3);
        let much_later = now.plus(Duration::from_secs(3600));
        let admitted = (0..100)
            .filter(|_| limit.admits(peer(1), much_later))
            .count();
        assert_eq!(admitted, 50);
    }

    #[test]
    fn any_number_of_peers_takes_bounded_memory() {
        let limit = PeerLimit::default();
        let now = UnixTime::from_secs(1000);
        for n in 0..3 * u32::try_from(PEERS_MAX).expect("small") {
            assert!(limit.admits(IpAddr::V4(n.into()), now));
            assert!(limit.0.lock().expect("peers").len() <= PEERS_MAX);
        }
    }
}
