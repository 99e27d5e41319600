//! The decisions that one worker keeps.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::{Decision, KEPT_LEAST, KEPT_MAX};
use crate::clock::UnixTime;
use crate::verdict::Reason;

/// Decisions a second that one worker keeps: under a flood of refusals the telling of each would cost more
/// than it is worth.
const PER_SECOND_MAX: i64 = 500;
/// Of refusals for too many requests: they say the same of each other, and would push all else out.
const LIMITED_MAX: i64 = 5;

/// A ring: the newest push out the oldest.
#[derive(Debug)]
pub(crate) struct Ring {
    capacity: usize,
    kept: Mutex<Kept>,
    /// The second that is counted, and how many it has had.
    second: AtomicI64,
    in_second: AtomicI64,
    limited_in_second: AtomicI64,
}

#[derive(Debug, Default)]
struct Kept {
    decisions: VecDeque<Arc<Decision>>,
    /// How many there ever were.
    count: u64,
}

/// How far somebody has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place(u64);

impl Ring {
    /// One of so many.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            capacity: (KEPT_MAX / workers.max(1)).max(KEPT_LEAST),
            kept: Mutex::default(),
            second: AtomicI64::new(i64::MIN),
            in_second: AtomicI64::new(0),
            limited_in_second: AtomicI64::new(0),
        }
    }

    /// Whether one more is kept now. Asked once for each.
    pub(crate) fn has_room(&self, reason: Reason, now: UnixTime) -> bool {
        // One worker alone asks, so that nothing is lost between the two.
        if self.second.swap(now.secs(), Ordering::Relaxed) != now.secs() {
            self.in_second.store(0, Ordering::Relaxed);
            self.limited_in_second.store(0, Ordering::Relaxed);
        }
        let (count, most) = match reason {
            Reason::RateLimited => (&self.limited_in_second, LIMITED_MAX),
            _ => (&self.in_second, PER_SECOND_MAX),
        };
        count.fetch_add(1, Ordering::Relaxed) < most
    }

    pub(crate) fn push(&self, decision: Decision) {
        let decision = Arc::new(decision);
        let mut kept = self.lock();
        // What falls out is dropped once nobody waits for the lock.
        let oldest = match kept.decisions.len() >= self.capacity {
            true => kept.decisions.pop_front(),
            false => None,
        };
        kept.decisions.push_back(decision);
        kept.count += 1;
        drop(kept);
        drop(oldest);
    }

    /// All, the oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Decision>> {
        self.lock().decisions.iter().cloned().collect()
    }

    pub(crate) fn find(&self, id: Uuid) -> Option<Arc<Decision>> {
        let kept = self.lock();
        let mut newest_first = kept.decisions.iter().rev();
        newest_first.find(|decision| decision.id == id).cloned()
    }

    /// Where the next one will be.
    pub(crate) fn end(&self) -> Place {
        Place(self.lock().count)
    }

    /// Those that came since, as far as they are still kept.
    pub(crate) fn since(&self, place: &mut Place) -> Vec<Arc<Decision>> {
        let kept = self.lock();
        let news = kept.count.saturating_sub(place.0);
        *place = Place(kept.count);
        let news = usize::try_from(news).unwrap_or(usize::MAX);
        let known = kept.decisions.len().saturating_sub(news);
        kept.decisions.iter().skip(known).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decisions::Asked;
    use crate::observe::Outcome;

    fn decision(number: u128) -> Decision {
        Decision {
            id: Uuid::from_u128(number),
            at: UnixTime::default(),
            outcome: Outcome::Deny,
            reason: None,
            route: None,
            issuer: None,
            peer: std::net::Ipv4Addr::LOCALHOST.into(),
            client: None,
            line: Box::default(),
            steps: Box::default(),
            asked: Asked::default(),
        }
    }

    fn numbers(decisions: &[Arc<Decision>]) -> Vec<u128> {
        decisions.iter().map(|it| it.id.as_u128()).collect()
    }

    #[test]
    fn the_newest_push_out_the_oldest() {
        let ring = Ring::new(1_000_000);
        let (mut reader, mut slow) = (ring.end(), ring.end());
        ring.push(decision(0));
        assert_eq!(numbers(&ring.since(&mut reader)), [0]);
        assert!(ring.since(&mut reader).is_empty());
        for number in 1..=KEPT_LEAST as u128 {
            ring.push(decision(number));
        }
        assert_eq!(ring.all().len(), KEPT_LEAST);
        assert!(ring.find(Uuid::from_u128(0)).is_none());
        assert!(ring.find(Uuid::from_u128(1)).is_some());
        assert_eq!(ring.since(&mut reader).len(), KEPT_LEAST);
        // Whoever was too slow gets what is there.
        assert_eq!(ring.since(&mut slow).len(), KEPT_LEAST);
    }

    #[test]
    fn a_flood_is_kept_up_to_a_rate() {
        let ring = Ring::new(1);
        let at = UnixTime::from_secs(100);
        let kept = (0..2 * PER_SECOND_MAX).filter(|_| ring.has_room(Reason::TokenExpired, at));
        assert_eq!(
            kept.count(),
            usize::try_from(PER_SECOND_MAX).expect("a count")
        );
        assert!(ring.has_room(Reason::TokenExpired, UnixTime::from_secs(101)));
        let limited = (0..100).filter(|_| ring.has_room(Reason::RateLimited, at));
        assert_eq!(
            limited.count(),
            usize::try_from(LIMITED_MAX).expect("a count")
        );
    }
}
