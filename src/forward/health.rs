//! Whether a server is well: by what its requests come to, and by what it answers when it is asked.
//!
//! Failures in a row put a server aside for a while, longer each time; a bad answer to a probe puts it
//! aside until enough good ones came. One that comes back gets its share little by little. All workers
//! share this, and a server that is well costs a request one load.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which a server is put aside.
const FAILURES_MAX: u32 = 5;
/// For how long at first; twice as long each time.
const ASIDE_FIRST: Duration = Duration::from_secs(10);
const ASIDE_MAX: Duration = Duration::from_secs(300);
/// A server that has been well for so long begins anew with [`ASIDE_FIRST`].
const FORGIVEN_AFTER: Duration = Duration::from_secs(300);
/// How long a server that comes back takes to get its whole share.
const SLOW_START: Duration = Duration::from_secs(10);

/// What is known of one server.
#[derive(Debug)]
pub(crate) struct Health {
    /// Times below are milliseconds after this.
    epoch: Instant,
    /// Failures in a row of requests.
    failures: AtomicU32,
    /// Put aside until then; 0 is never.
    aside_until: AtomicU64,
    /// Since when.
    aside_since: AtomicU64,
    /// How often it was put aside lately.
    times_aside: AtomicU32,
    /// What the probes say.
    probed_well: AtomicBool,
    /// Answers in a row that say otherwise than `probed_well`.
    against: AtomicU32,
    /// When it came back; 0 is never.
    back_at: AtomicU64,
    /// What was last wrong with a connection to it, for the log.
    trouble: Mutex<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            failures: AtomicU32::new(0),
            aside_until: AtomicU64::new(0),
            aside_since: AtomicU64::new(0),
            times_aside: AtomicU32::new(0),
            probed_well: AtomicBool::new(true),
            against: AtomicU32::new(0),
            back_at: AtomicU64::new(0),
            trouble: Mutex::new(None),
        }
    }
}

impl Health {
    /// A connection to it failed, or broke at once.
    pub(crate) fn note_trouble(&self, why: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// What was last wrong with a connection to it; told once.
    pub(crate) fn take_trouble(&self) -> Option<String> {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.take()
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it is to get requests.
    pub(crate) fn is_well(&self, now: Instant) -> bool {
        if !self.probed_well.load(Ordering::Relaxed) {
            return false;
        }
        let until = self.aside_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let now = self.millis(now);
        if now < until {
            return false;
        }
        self.bring_back(until, now);
        true
    }

    /// One of those who see it first brings it back.
    fn bring_back(&self, until: u64, now: u64) {
        let free =
            self.aside_until
                .compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
        if free.is_ok() {
            self.failures.store(0, Ordering::Relaxed);
            self.back_at.store(now.max(1), Ordering::Relaxed);
        }
    }

    /// The share of requests that it takes of those that it is chosen for, from 0 to 1000.
    pub(crate) fn share(&self, now: Instant) -> u32 {
        let back_at = self.back_at.load(Ordering::Relaxed);
        if back_at == 0 {
            return 1000;
        }
        let since = self.millis(now).saturating_sub(back_at);
        let whole = u64::try_from(SLOW_START.as_millis()).unwrap_or(u64::MAX);
        if since >= whole {
            self.back_at.store(0, Ordering::Relaxed);
            return 1000;
        }
        u32::try_from(100 + since * 900 / whole).unwrap_or(1000)
    }

    /// It gave a response to a request that was sent at `asked`. One that was put aside, and was asked
    /// after that because all were, comes back by it: it is better than those that did not answer.
    pub(crate) fn answered(&self, asked: Instant) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        let until = self.aside_until.load(Ordering::Relaxed);
        if until != 0 && self.millis(asked) > self.aside_since.load(Ordering::Relaxed) {
            self.bring_back(until, self.millis(Instant::now()));
        }
    }

    /// It gave no response, or none that can be used. Whether it is put aside by that.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures != FAILURES_MAX {
            return false;
        }
        let now = self.millis(now);
        let last = self
            .aside_until
            .load(Ordering::Relaxed)
            .max(self.back_at.load(Ordering::Relaxed));
        let forgiven = u64::try_from(FORGIVEN_AFTER.as_millis()).unwrap_or(u64::MAX);
        if now.saturating_sub(last) > forgiven {
            self.times_aside.store(0, Ordering::Relaxed);
        }
        let times = self.times_aside.fetch_add(1, Ordering::Relaxed).min(16);
        let aside = ASIDE_FIRST.saturating_mul(1 << times).min(ASIDE_MAX);
        let aside = u64::try_from(aside.as_millis()).unwrap_or(u64::MAX);
        self.aside_since.store(now, Ordering::Relaxed);
        self.aside_until.store(now + aside, Ordering::Relaxed);
        true
    }

    /// What a probe found; whether that changes anything.
    pub(crate) fn probed(&self, well: bool, after: (u32, u32), now: Instant) -> bool {
        if self.probed_well.load(Ordering::Relaxed) == well {
            self.against.store(0, Ordering::Relaxed);
            return false;
        }
        let (unhealthy_after, healthy_after) = after;
        let needed = if well { healthy_after } else { unhealthy_after };
        if self.against.fetch_add(1, Ordering::Relaxed) + 1 < needed {
            return false;
        }
        self.against.store(0, Ordering::Relaxed);
        self.probed_well.store(well, Ordering::Relaxed);
        if well {
            // What its requests came to before counts no more.
            self.failures.store(0, Ordering::Relaxed);
            self.aside_until.store(0, Ordering::Relaxed);
            self.back_at
                .store(self.millis(now).max(1), Ordering::Relaxed);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(health: &Health, times: u32) {
        for _ in 0..times {
            health.failed(Instant::now());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_put_it_aside_longer_each_time() {
        let health = Health::default();
        fail(&health, 4);
        health.answered(Instant::now());
        fail(&health, 4);
        assert!(health.is_well(Instant::now()), "not in a row");
        fail(&health, 1);
        assert!(!health.is_well(Instant::now()));
        for aside in [10, 20, 40, 80, 160, 300, 300] {
            tokio::time::advance(Duration::from_secs(aside) - Duration::from_millis(1)).await;
            assert!(!health.is_well(Instant::now()), "{aside}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(health.is_well(Instant::now()), "{aside}");
            fail(&health, 5);
        }
        tokio::time::advance(Duration::from_secs(300)).await;
        assert!(health.is_well(Instant::now()));
        tokio::time::advance(FORGIVEN_AFTER + Duration::from_secs(1)).await;
        fail(&health, 5);
        tokio::time::advance(ASIDE_FIRST).await;
        assert!(health.is_well(Instant::now()), "forgiven");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_after_all_brings_it_back() {
        let health = Health::default();
        let before = Instant::now();
        tokio::time::advance(Duration::from_millis(5)).await;
        fail(&health, 5);
        tokio::time::advance(Duration::from_millis(5)).await;
        health.answered(before);
        assert!(!health.is_well(Instant::now()), "it was asked before");
        let asked = Instant::now();
        health.answered(asked);
        assert!(health.is_well(Instant::now()));
        assert_eq!(health.share(Instant::now()), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_gets_its_share_little_by_little() {
        let health = Health::default();
        assert_eq!(health.share(Instant::now()), 1000);
        fail(&health, 5);
        tokio::time::advance(ASIDE_FIRST).await;
        assert!(health.is_well(Instant::now()));
        assert_eq!(health.share(Instant::now()), 100);
        tokio::time::advance(SLOW_START / 2).await;
        assert_eq!(health.share(Instant::now()), 550);
        tokio::time::advance(SLOW_START / 2).await;
        assert_eq!(health.share(Instant::now()), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn probes_count_in_a_row() {
        let health = Health::default();
        let probed = |well| health.probed(well, (3, 2), Instant::now());
        assert_eq!([probed(false), probed(false), probed(true)], [false; 3]);
        assert_eq!(
            [probed(false), probed(false), probed(false)],
            [false, false, true]
        );
        assert!(!health.is_well(Instant::now()));
        assert_eq!([probed(true), probed(false), probed(true)], [false; 3]);
        assert!(probed(true));
        assert!(health.is_well(Instant::now()));
    }
}
