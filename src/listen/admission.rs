//! How many connections a listener takes, in all and from one peer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::host::peer_network;

/// The limits and counts of one listener, shared by the workers.
#[derive(Debug)]
pub(crate) struct Admission {
    total_max: usize,
    per_peer_max: usize,
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
    peer: IpAddr,
}

impl Admission {
    pub(crate) fn new(total_max: usize, per_peer_max: usize) -> Self {
        Self {
            total_max,
            per_peer_max,
            total: AtomicUsize::new(0),
            peers: Mutex::new(HashMap::new()),
        }
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Takes a connection in, or says which limit it met.
    ///
    /// # Errors
    /// A limit is reached.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Admitted, Refusal> {
        let peer = peer_network(peer);
        self.total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
                (total < self.total_max).then_some(total + 1)
            })
            .map_err(|_| Refusal::Total)?;
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(peer).or_default();
        if *count >= self.per_peer_max {
            drop(peers);
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::PerPeer);
        }
        *count += 1;
        drop(peers);
        Ok(Admitted {
            admission: Arc::clone(self),
            peer,
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.total.fetch_sub(1, Ordering::Relaxed);
        let mut peers = self
            .admission
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_in_all_and_by_peer() {
        let admission = Arc::new(Admission::new(3, 2));
        let peer = |text: &str| text.parse::<IpAddr>().expect("an address");
        let a1 = admission.admit(peer("10.0.0.1")).expect("room");
        let _a2 = admission.admit(peer("::ffff:10.0.0.1")).expect("room");
        assert_eq!(
            admission.admit(peer("10.0.0.1")).err(),
            Some(Refusal::PerPeer)
        );
        let _b = admission.admit(peer("10.0.0.2")).expect("room");
        assert_eq!(
            admission.admit(peer("10.0.0.3")).err(),
            Some(Refusal::Total)
        );
        drop(a1);
        assert_eq!(admission.open(), 2);
        assert!(admission.admit(peer("10.0.0.1")).is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        let admission = Arc::new(Admission::new(10, 1));
        let _one = admission
            .admit("2001:db8::1".parse().expect("an address"))
            .expect("room");
        let other = admission.admit("2001:db8::2".parse().expect("an address"));
        assert_eq!(other.err(), Some(Refusal::PerPeer));
        assert!(
            admission
                .admit("2001:db8:0:1::1".parse().expect("an address"))
                .is_ok()
        );
    }
}
