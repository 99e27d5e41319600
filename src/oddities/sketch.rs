//! Counting what is frequent in a table of a fixed size, a minute at a time.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, PoisonError};

use crate::clock::UnixTime;

const SLOTS: usize = 512;

/// One worker's counts. Who comes to a place that is taken by another wears that one down, and takes the place
/// once nothing is left of it (Misra and Gries): what is frequent stays.
#[derive(Debug)]
pub(crate) struct Sketch {
    /// Of this run: nobody outside can choose keys that meet in one place.
    hashing: RandomState,
    slots: Mutex<Box<[Slot]>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: u64,
    minute: i64,
    count: u32,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            hashing: RandomState::new(),
            slots: Mutex::new(vec![Slot::default(); SLOTS].into()),
        }
    }
}

impl Sketch {
    /// Counts one more of this key, and gives how many there were in this minute, at least.
    pub(crate) fn count(&self, key: &impl Hash, now: UnixTime) -> u32 {
        let key = self.hashing.hash_one(key);
        let minute = now.secs().div_euclid(60);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::try_from(key % SLOTS as u64).unwrap_or(0);
        let Some(slot) = slots.get_mut(place) else {
            return 0;
        };
        let is_old = slot.minute != minute;
        if is_old || (slot.key != key && slot.count == 0) {
            *slot = Slot {
                key,
                minute,
                count: 0,
            };
        }
        if slot.key != key {
            slot.count -= 1;
            return 0;
        }
        slot.count += 1;
        slot.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frequent_is_counted_among_many_others() {
        let sketch = Sketch::default();
        let now = UnixTime::from_secs(120);
        let mut most = 0;
        for n in 0..2_000_u32 {
            for _ in 0..10 {
                most = most.max(sketch.count(&"loops", now));
            }
            sketch.count(&n, now);
        }
        assert!(most > 15_000, "{most}");
        // The next minute begins anew.
        assert_eq!(sketch.count(&"loops", UnixTime::from_secs(180)), 1);
    }
}
