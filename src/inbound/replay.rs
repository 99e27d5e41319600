//! Statements that were taken already, by issuer and `jti`, for as long as they could come again.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;

use crate::clock::UnixTime;

/// Statements that are remembered. Above that the one that ends first is forgotten: to take it again
/// adds nothing to the list, as long as nobody has taken its revocation back.
const SEEN_MAX: usize = 100_000;

/// What was taken.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    digests: HashSet<[u8; 32]>,
    by_end: BTreeSet<(UnixTime, [u8; 32])>,
}

impl Seen {
    /// Takes a statement that can come until `end`; false if it was taken before.
    pub(super) fn take(&self, issuer: &str, jti: &str, end: UnixTime, now: UnixTime) -> bool {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((first, digest)) = memory.by_end.first().copied()
            && (first < now || memory.digests.len() >= SEEN_MAX)
        {
            memory.by_end.pop_first();
            memory.digests.remove(&digest);
        }
        let digest = digest_of(issuer, jti);
        let is_new = memory.digests.insert(digest);
        if is_new {
            memory.by_end.insert((end, digest));
        }
        is_new
    }

    /// What came of it was not done: it may come again.
    pub(super) fn give_back(&self, issuer: &str, jti: &str, end: UnixTime) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = digest_of(issuer, jti);
        memory.digests.remove(&digest);
        memory.by_end.remove(&(end, digest));
    }
}

fn digest_of(issuer: &str, jti: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    // A length cannot run into what follows.
    context.update(&(issuer.len() as u64).to_le_bytes());
    context.update(issuer.as_bytes());
    context.update(jti.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_until_its_end() {
        let seen = Seen::default();
        let at = UnixTime::from_secs;
        assert!(seen.take("a", "1", at(100), at(50)));
        assert!(!seen.take("a", "1", at(100), at(60)));
        assert!(!seen.take("a", "1", at(100), at(100)));
        assert!(seen.take("b", "1", at(100), at(60)), "another issuer's");
        assert!(seen.take("a", "2", at(100), at(60)));
        seen.give_back("a", "2", at(100));
        assert!(seen.take("a", "2", at(100), at(60)));
        assert!(seen.take("a", "3", at(300), at(101)));
        let memory = seen.0.lock().expect("a memory");
        assert_eq!((memory.digests.len(), memory.by_end.len()), (1, 1));
    }
}
