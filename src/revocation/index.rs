//! The exact index that a request asks: a concurrent table of digests that readers never wait for.
//!
//! It holds only what a verdict needs, about 200 bytes a revocation; reasons and authors lie in the
//! journal. One writer changes it, after the change was made durable. The number of the list's state
//! changes after the table: a reader that saw the old number and not yet the new entry asks again.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use papaya::HashMap;

use super::selector::{Kind, Question, SelectorDigest};
use super::{Revocation, Revoked};
use crate::clock::UnixTime;

/// Which tokens of a selector are dead.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cut {
    /// Those with `iat` at this time or earlier, and those without; `None` is all.
    issued_before: Option<UnixTime>,
    at: UnixTime,
}

/// All revocations, and the number of the list's present state.
#[derive(Debug)]
pub(super) struct Index {
    generation: AtomicU64,
    cuts: HashMap<SelectorDigest, Box<[Cut]>>,
    /// By kind: what is not there is not looked for.
    counts: [AtomicUsize; Kind::ALL.len()],
}

/// A number that no other state of any list of this process has; never zero.
fn next_generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Default for Index {
    fn default() -> Self {
        Self {
            generation: AtomicU64::new(next_generation()),
            cuts: HashMap::new(),
            counts: Default::default(),
        }
    }
}

impl Index {
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// To be called after changes.
    pub(super) fn changed(&self) {
        self.generation.store(next_generation(), Ordering::Release);
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        self.counts
            .get(kind.index())
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub(super) fn len(&self) -> usize {
        Kind::ALL.into_iter().map(|kind| self.count(kind)).sum()
    }

    pub(super) fn insert(&self, revocation: &Revocation) {
        let cuts = self.cuts.pin();
        let digest = revocation.selector.digest();
        let mut all = cuts
            .get(&digest)
            .map_or_else(Vec::new, |cuts| cuts.to_vec());
        if all
            .iter()
            .any(|cut| cut.issued_before == revocation.issued_before)
        {
            return;
        }
        all.push(Cut {
            issued_before: revocation.issued_before,
            at: revocation.at,
        });
        cuts.insert(digest, all.into());
        self.add(revocation.selector.kind, 1);
    }

    /// Whether this very revocation bites.
    pub(super) fn holds(&self, revocation: &Revocation) -> bool {
        let cuts = self.cuts.pin();
        let all = cuts.get(&revocation.selector.digest());
        all.is_some_and(|all| {
            all.iter()
                .any(|cut| cut.issued_before == revocation.issued_before)
        })
    }

    pub(super) fn remove(&self, revocation: &Revocation) {
        let cuts = self.cuts.pin();
        let digest = revocation.selector.digest();
        let Some(all) = cuts.get(&digest) else { return };
        let rest: Vec<_> = all
            .iter()
            .copied()
            .filter(|cut| cut.issued_before != revocation.issued_before)
            .collect();
        if rest.len() == all.len() {
            return;
        }
        if rest.is_empty() {
            cuts.remove(&digest);
        } else {
            cuts.insert(digest, rest.into());
        }
        if let Some(count) = self.counts.get(revocation.selector.kind.index()) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// From here on what `other` holds bites, and nothing else. What both hold bites throughout.
    pub(super) fn become_like(&self, other: &Self) {
        let (cuts, others) = (self.cuts.pin(), other.cuts.pin());
        for (digest, theirs) in &others {
            cuts.insert(*digest, theirs.clone());
        }
        let gone: Vec<_> = cuts
            .keys()
            .filter(|it| !others.contains_key(*it))
            .copied()
            .collect();
        for digest in gone {
            cuts.remove(&digest);
        }
        for (own, theirs) in self.counts.iter().zip(&other.counts) {
            own.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn add(&self, kind: Kind, more: usize) {
        if let Some(count) = self.counts.get(kind.index()) {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Whether a token is dead, and through what.
    pub(super) fn ask(&self, question: &Question<'_>) -> Option<Revoked> {
        let cuts = self.cuts.pin();
        Kind::ALL.into_iter().find_map(|kind| {
            if self.count(kind) == 0 {
                return None;
            }
            let all = question
                .digests(kind)
                .into_iter()
                .flatten()
                .filter_map(|digest| cuts.get(&digest))
                .flatten();
            let hits = all.filter(|cut| question.is_cut(cut.issued_before));
            // What holds for new tokens too says more.
            let hit = hits.min_by_key(|cut| cut.issued_before.is_some())?;
            Some(Revoked {
                by: kind,
                at: hit.at,
                cut: hit.issued_before,
            })
        })
    }
}
