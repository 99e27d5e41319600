//! When the next fetch is due.
//!
//! Some time before the soft limit while all is well, by a share that differs, so that issuers and
//! replicas do not ask in step; soon and then ever later after failures.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// After a failure the next try comes after this, doubled each time...
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// ...up to this.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The part of a wait that is never left out; the rest is by chance.
const SHARE_MIN: f64 = 0.8;

/// The pace of one issuer.
#[derive(Debug)]
pub(super) struct Pace {
    /// The soft limit: a fetch is made before it.
    refresh: Duration,
    /// The provider is never asked more often than this because it wishes so.
    floor: Duration,
    failures: u32,
    chance: RandomState,
    drawn: u64,
}

impl Pace {
    pub(super) fn new(refresh: Duration, floor: Duration) -> Self {
        Self {
            refresh,
            floor: floor.min(refresh),
            failures: 0,
            chance: RandomState::new(),
            drawn: 0,
        }
    }

    /// How long to wait after a success. The provider may ask to be asked sooner (RFC 9111).
    pub(super) fn after_success(&mut self, fresh_for: Option<Duration>) -> Duration {
        self.failures = 0;
        let wished = fresh_for.unwrap_or(self.refresh);
        let wait = wished.clamp(self.floor, self.refresh);
        self.spread(wait)
    }

    /// How long to wait after a failure.
    pub(super) fn after_failure(&mut self) -> Duration {
        let wait = RETRY_FIRST
            .saturating_mul(1 << self.failures.min(8))
            .min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.spread(wait)
    }

    /// Between [`SHARE_MIN`] and all of a wait.
    fn spread(&mut self, wait: Duration) -> Duration {
        self.drawn = self.drawn.wrapping_add(1);
        let drawn = self.chance.hash_one(self.drawn) >> 32;
        #[expect(clippy::cast_precision_loss, reason = "32 bits fit")]
        let part = drawn as f64 / f64::from(u32::MAX);
        wait.mul_f64(SHARE_MIN + (1.0 - SHARE_MIN) * part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(wait: Duration, seconds: f64) -> bool {
        let wait = wait.as_secs_f64();
        (seconds * SHARE_MIN - 1e-6..=seconds + 1e-6).contains(&wait)
    }

    #[test]
    fn the_provider_may_hurry_us_within_bounds() {
        let mut pace = Pace::new(Duration::from_secs(600), Duration::from_secs(30));
        for (fresh_for, seconds) in [
            (None, 600.0),
            (Some(0), 30.0),
            (Some(60), 60.0),
            (Some(86_400), 600.0),
        ] {
            let wait = pace.after_success(fresh_for.map(Duration::from_secs));
            assert!(within(wait, seconds), "{fresh_for:?}: {wait:?}");
        }
    }

    #[test]
    fn failures_wait_ever_longer_and_not_in_step() {
        let mut pace = Pace::new(Duration::from_secs(600), Duration::from_secs(30));
        for seconds in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0] {
            let wait = pace.after_failure();
            assert!(within(wait, seconds), "{seconds}: {wait:?}");
        }
        pace.after_success(None);
        assert!(within(pace.after_failure(), 1.0));
        let mut other = Pace::new(Duration::from_secs(600), Duration::from_secs(30));
        let waits: Vec<_> = (0..4).map(|_| pace.after_success(None)).collect();
        let others: Vec<_> = (0..4).map(|_| other.after_success(None)).collect();
        assert_ne!(waits, others, "two replicas");
    }
}
