//! Key ids that a token named and the issuer did not publish: who may ask again, and when.
//!
//! A bucket of two fills at a floor's rate, so that forged key ids cannot hammer the provider and
//! one of them cannot hold a rotation back. What a fetch did not find is remembered for the gap,
//! within a bound, or until a new set comes: not longer, since a guessed key id of the next
//! rotation must not keep that out.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

/// Fetches for unknown key ids in hand.
const BUCKET: u32 = 2;
/// Unknown key ids that are remembered.
const UNKNOWN_MAX: usize = 1024;

type KeyId = Option<Box<str>>;

/// The unknown key ids of one issuer.
#[derive(Debug)]
pub(super) struct Unknown {
    gap: Duration,
    since: HashMap<KeyId, Instant>,
    /// Those that a new set has just taken out: they may ask, but not for the last fetch in hand,
    /// which the next rotation needs.
    gone: HashSet<Box<str>>,
    tokens: u32,
    filled: Instant,
}

impl Unknown {
    /// Fills at one a `gap`.
    pub(super) fn new(gap: Duration) -> Self {
        Self {
            gap,
            since: HashMap::new(),
            gone: HashSet::new(),
            tokens: BUCKET,
            filled: Instant::now(),
        }
    }

    /// Whether a fetch for this key id may be made now.
    pub(super) fn may_ask(&mut self, kid: &KeyId) -> bool {
        if self
            .since
            .get(kid)
            .is_some_and(|since| since.elapsed() < self.gap)
        {
            return false;
        }
        let least = match kid {
            Some(kid) if self.gone.contains(kid) => BUCKET,
            _ => 1,
        };
        self.take_token(least)
    }

    /// A fetch did not find this key id.
    pub(super) fn remember(&mut self, kid: KeyId) {
        if self.since.len() >= UNKNOWN_MAX {
            let gap = self.gap;
            self.since.retain(|_, since| since.elapsed() < gap);
        }
        if self.since.len() < UNKNOWN_MAX {
            self.since.insert(kid, Instant::now());
        }
    }

    /// A new set has taken this key out.
    pub(super) fn note_gone(&mut self, kid: Box<str>) {
        if self.gone.len() < UNKNOWN_MAX {
            self.gone.insert(kid);
        }
    }

    /// A new set came: what was unknown may be known.
    pub(super) fn forget(&mut self) {
        self.since.clear();
        self.gone.clear();
    }

    /// Takes one of the fetches in hand, if there are so many.
    fn take_token(&mut self, least: u32) -> bool {
        while self.tokens < BUCKET && self.filled.elapsed() >= self.gap {
            self.tokens += 1;
            self.filled += self.gap;
        }
        if self.tokens == BUCKET {
            self.filled = Instant::now();
        }
        let taken = self.tokens >= least;
        if taken {
            self.tokens -= 1;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kid(number: usize) -> KeyId {
        Some(number.to_string().into())
    }

    #[tokio::test(start_paused = true)]
    async fn two_in_hand_then_one_a_gap() {
        let gap = Duration::from_secs(30);
        let mut unknown = Unknown::new(gap);
        let asked = (0..1000).filter(|n| unknown.may_ask(&kid(*n))).count();
        assert_eq!(asked, 2);
        for _ in 0..5 {
            tokio::time::advance(gap).await;
            let asked = (0..1000).filter(|n| unknown.may_ask(&kid(*n))).count();
            assert_eq!(asked, 1);
        }
        tokio::time::advance(gap * 100).await;
        let asked = (0..1000).filter(|n| unknown.may_ask(&kid(*n))).count();
        assert_eq!(asked, 2, "no more than two are saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded_and_ends() {
        let gap = Duration::from_secs(30);
        let mut unknown = Unknown::new(gap);
        for number in 0..100_000 {
            unknown.remember(kid(number));
        }
        assert_eq!(unknown.since.len(), UNKNOWN_MAX);
        assert!(!unknown.may_ask(&kid(7)), "just asked for");
        unknown.forget();
        assert!(unknown.may_ask(&kid(7)), "a new set came");
        unknown.remember(kid(7));
        tokio::time::advance(gap).await;
        assert!(unknown.may_ask(&kid(7)), "the gap is over");
    }
}
