//! What the last minutes came to, by reason: a small ring of counters at each worker.

use crate::clock::UnixTime;
use crate::verdict::Reason;

/// Minutes that are kept.
pub(crate) const MINUTES: usize = 16;
const REASONS: usize = Reason::ALL.len();

/// One minute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Minute {
    /// Since the epoch.
    number: i64,
    pub(crate) allowed: u64,
    refused: [u64; REASONS],
}

/// The last ones.
#[derive(Debug)]
pub(super) struct Minutes([Minute; MINUTES]);

impl Default for Minutes {
    fn default() -> Self {
        Self([Minute::new(i64::MIN); MINUTES])
    }
}

impl Minute {
    const fn new(number: i64) -> Self {
        Self {
            number,
            allowed: 0,
            refused: [0; REASONS],
        }
    }

    /// When it began.
    pub(crate) fn start(&self) -> UnixTime {
        UnixTime::from_secs(self.number.saturating_mul(60))
    }

    /// Refusals for a reason.
    pub(crate) fn of(&self, reason: Reason) -> u64 {
        self.refused.get(reason as usize).copied().unwrap_or(0)
    }

    fn add(&mut self, other: &Self) {
        self.allowed += other.allowed;
        for (mine, theirs) in self.refused.iter_mut().zip(other.refused) {
            *mine += theirs;
        }
    }
}

impl Minutes {
    pub(super) fn record(&mut self, at: UnixTime, reason: Option<Reason>) {
        let number = at.secs().div_euclid(60);
        let Some(minute) = self.0.get_mut(place(number)) else {
            return;
        };
        if minute.number != number {
            *minute = Minute::new(number);
        }
        match reason {
            None => minute.allowed += 1,
            Some(reason) => {
                if let Some(count) = minute.refused.get_mut(reason as usize) {
                    *count += 1;
                }
            }
        }
    }

    /// Adds those of a span to theirs: the oldest first.
    pub(super) fn add_to(&self, sums: &mut [Minute]) {
        for sum in sums {
            let own = self.0.get(place(sum.number));
            if let Some(own) = own.filter(|own| own.number == sum.number) {
                sum.add(own);
            }
        }
    }
}

/// The minutes up to a time, the oldest first, before anything happened in them.
pub(super) fn up_to(now: UnixTime) -> Vec<Minute> {
    let last = now.secs().div_euclid(60);
    let span = i64::try_from(MINUTES).unwrap_or(1);
    (last - span + 1..=last).map(Minute::new).collect()
}

fn place(number: i64) -> usize {
    let span = i64::try_from(MINUTES).unwrap_or(1);
    usize::try_from(number.rem_euclid(span)).unwrap_or(0)
}
