//! How many connections a listener takes, in all and from one peer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::http::host::peer_network;

/// The limits and counts of one listener, shared by the workers.
#[derive(Debug)]
pub(crate) struct Admission {
    total_max: AtomicUsize,
    per_peer_max: AtomicUsize,
    total: AtomicUsize,
    /// Bounded by `total_max`: a peer without connections has no entry.
    peers: Mutex<HashMap<IpAddr, usize>>,
}

/// Which limit a connection met: the `kind` of `connections_refused_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    PerPeer,
    Total,
}

/// The right to one connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    /// Whose connections it counts among.
    peer: Option<IpAddr>,
}

impl Admission {
    pub(crate) fn new(total_max: usize, per_peer_max: usize) -> Self {
        Self {
            total_max: AtomicUsize::new(total_max),
            per_peer_max: AtomicUsize::new(per_peer_max),
            total: AtomicUsize::new(0),
            peers: Mutex::new(HashMap::new()),
        }
    }

    /// From here on the limits are these; what is open stays.
    pub(crate) fn limit(&self, total_max: usize, per_peer_max: usize) {
        self.total_max.store(total_max, Ordering::Relaxed);
        self.per_peer_max.store(per_peer_max, Ordering::Relaxed);
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in, before it is known whose it is.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Admitted, Refusal> {
        let max = self.total_max.load(Ordering::Relaxed);
        self.total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
                (total < max).then_some(total + 1)
            })
            .map_err(|_| Refusal::Total)?;
        Ok(Admitted {
            admission: Arc::clone(self),
            peer: None,
        })
    }
}

impl Admitted {
    /// Counts it among those of a peer.
    ///
    /// # Errors
    /// That has too many.
    pub(crate) fn of_peer(&mut self, peer: IpAddr) -> Result<(), Refusal> {
        let peer = peer_network(peer);
        let mut peers = self.admission.peers();
        let count = peers.entry(peer).or_default();
        if *count >= self.admission.per_peer_max.load(Ordering::Relaxed) {
            return Err(Refusal::PerPeer);
        }
        *count += 1;
        self.peer = Some(peer);
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.total.fetch_sub(1, Ordering::Relaxed);
        let Some(peer) = self.peer else { return };
        let mut peers = self.admission.peers();
        if let Some(count) = peers.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(admission: &Arc<Admission>, peer: &str) -> Result<Admitted, Refusal> {
        let mut admitted = admission.admit()?;
        admitted.of_peer(peer.parse().expect("an address"))?;
        Ok(admitted)
    }

    #[test]
    fn limits_in_all_and_by_peer() {
        let admission = Arc::new(Admission::new(3, 2));
        let a1 = admit(&admission, "10.0.0.1").expect("room");
        let _a2 = admit(&admission, "::ffff:10.0.0.1").expect("room");
        assert_eq!(admit(&admission, "10.0.0.1").err(), Some(Refusal::PerPeer));
        let _b = admit(&admission, "10.0.0.2").expect("room");
        assert_eq!(admit(&admission, "10.0.0.3").err(), Some(Refusal::Total));
        drop(a1);
        assert_eq!(admission.open(), 2);
        assert!(admit(&admission, "10.0.0.1").is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        let admission = Arc::new(Admission::new(10, 1));
        let _one = admit(&admission, "2001:db8::1").expect("room");
        let other = admit(&admission, "2001:db8::2");
        assert_eq!(other.err(), Some(Refusal::PerPeer));
        assert!(admit(&admission, "2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn one_of_nobody_counts_in_all_alone() {
        let admission = Arc::new(Admission::new(3, 1));
        let _one = admission.admit().expect("room");
        let _two = admission.admit().expect("room");
        assert!(admit(&admission, "10.0.0.1").is_ok());
    }
}
