//! How often somebody may do something: a bucket that fills at a rate (GCRA), one time for each of them.
//!
//! A request that is taken costs one look into a map of one of several shards. Memory is bounded: who has
//! not been seen for as long as a bucket takes to fill is forgotten, and if there are still too many, all
//! of a shard begin anew.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::UnixTime;

/// Parts with a lock of their own.
const SHARDS: usize = 16;

/// So many in a time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// One more in this time.
    pub(crate) every: Duration,
    pub(crate) burst: u32,
}

/// Who has done how much: the times at which each bucket is full again, by the hashes of who they are.
#[derive(Debug)]
pub(crate) struct Buckets {
    quota: Quota,
    shards: Vec<Mutex<HashMap<u64, UnixTime>>>,
    /// Of one shard.
    entries_max: usize,
    /// Nobody can aim at another's bucket.
    hasher: RandomState,
}

impl Buckets {
    /// For so many at the most, about.
    pub(crate) fn new(quota: Quota, entries_max: usize) -> Self {
        Self {
            quota,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            entries_max: entries_max.div_ceil(SHARDS).max(1),
            hasher: RandomState::new(),
        }
    }

    pub(crate) const fn quota(&self) -> Quota {
        self.quota
    }

    /// Takes one of `who`, or says after what time there is one.
    ///
    /// # Errors
    /// The bucket is empty.
    pub(crate) fn take(&self, who: impl Hash, now: UnixTime) -> Result<(), Duration> {
        let key = self.hasher.hash_one(who);
        let shard = usize::try_from(key % SHARDS as u64).unwrap_or(0);
        let Some(shard) = self.shards.get(shard) else {
            return Ok(());
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.entries_max && !shard.contains_key(&key) {
            shard.retain(|_, full| *full > now);
            if shard.len() >= self.entries_max {
                shard.clear();
            }
        }
        let Quota { every, burst } = self.quota;
        let full = shard.entry(key).or_insert(now);
        let latest = now.plus(every.saturating_mul(burst));
        // A clock that was set back has emptied the bucket, and no more than that.
        *full = (*full).clamp(now, latest);
        let next = full.plus(every);
        if next > latest {
            return Err(next.since(latest));
        }
        *full = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota {
        every: Duration::from_millis(100),
        burst: 50,
    };

    #[test]
    fn a_burst_then_the_rate() {
        let buckets = Buckets::new(QUOTA, 1000);
        let now = UnixTime::from_secs(1000);
        let taken = |who, now| (0..100).filter(|_| buckets.take(who, now).is_ok()).count();
        assert_eq!(taken("one", now), 50);
        assert_eq!(buckets.take("one", now), Err(Duration::from_millis(100)));
        assert_eq!(taken("two", now), 50, "another has its own");
        assert_eq!(taken("one", now.plus(Duration::from_millis(350))), 3);
        assert_eq!(taken("one", now.plus(Duration::from_secs(3600))), 50);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out_for_long() {
        let buckets = Buckets::new(QUOTA, 1000);
        let now = UnixTime::from_secs(10_000);
        assert!(buckets.take("one", now).is_ok());
        let before = UnixTime::from_secs(1000);
        assert_eq!(buckets.take("one", before), Err(QUOTA.every));
        let later = before.plus(Duration::from_secs(5));
        assert_eq!(
            (0..100)
                .filter(|_| buckets.take("one", later).is_ok())
                .count(),
            50
        );
    }

    #[test]
    fn any_number_takes_bounded_memory() {
        let buckets = Buckets::new(QUOTA, 1600);
        let now = UnixTime::from_secs(1000);
        for n in 0..10_000 {
            assert!(buckets.take(n, now).is_ok());
            let held = |it: &Mutex<HashMap<u64, UnixTime>>| it.lock().expect("a shard").len();
            assert!(buckets.shards.iter().map(held).sum::<usize>() <= 1600);
        }
    }
}
