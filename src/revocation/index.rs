//! The exact index of revocations in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::clock::UnixTime;

/// Revocations that one process holds; at about 300 bytes each that is under 300 MiB.
const REVOCATIONS_MAX: usize = 1_000_000;

/// What a revocation selects tokens by. Each kind is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Jti,
    Subject,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Jti, Self::Subject];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Jti => "jti",
            Self::Subject => "subject",
        }
    }
}

/// Which tokens: within one issuer, those with this claim value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Selector {
    /// The configured name of the issuer.
    pub(crate) issuer: Box<str>,
    pub(crate) kind: Kind,
    pub(crate) value: Box<str>,
}

/// One revocation as an operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Revocation {
    pub(crate) id: Box<str>,
    pub(crate) selector: Selector,
    /// Only tokens with `iat` at this time or earlier; a token without `iat` too.
    pub(crate) issued_before: Option<UnixTime>,
    /// When it may be forgotten; `None` is never.
    pub(crate) until: Option<UnixTime>,
    pub(crate) reason: Option<Box<str>>,
    pub(crate) author: Box<str>,
    pub(crate) at: UnixTime,
}

/// Whether a revocation was new.
#[derive(Debug, PartialEq)]
pub(crate) enum Added {
    New(Revocation),
    /// The same selector and cut stood there already; its `id` is kept.
    Known(Revocation),
}

/// Why a revocation was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RevocationError {
    #[error("the list of revocations is full ({REVOCATIONS_MAX})")]
    Full,
}

/// What a token brings to the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) jti: Option<&'a str>,
    pub(crate) subject: Option<&'a str>,
    pub(crate) issued_at: Option<UnixTime>,
}

/// The index's answer for a dead token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Revoked {
    pub(crate) by: Kind,
    pub(crate) at: UnixTime,
}

/// All revocations, and the number of the list's present state.
#[derive(Debug)]
pub(crate) struct Revocations {
    generation: AtomicU64,
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    by_selector: HashMap<Selector, Vec<Revocation>>,
    count: usize,
}

/// A number that no other state of any list of this process has; never zero.
fn next_generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            generation: AtomicU64::new(next_generation()),
            index: RwLock::default(),
        }
    }
}

impl Revocations {
    /// The number of the present state; another one after every change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Called with the change made and the lock still held.
    fn changed(&self) {
        self.generation.store(next_generation(), Ordering::Release);
    }

    /// Adds a revocation; it bites as soon as this returns.
    ///
    /// # Errors
    /// The list is full. Nothing is forgotten to make room: that would bring a dead token to life.
    pub(crate) fn add(&self, revocation: Revocation) -> Result<Added, RevocationError> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let count = index.count;
        let same = index
            .by_selector
            .entry(revocation.selector.clone())
            .or_default();
        if let Some(known) = same
            .iter_mut()
            .find(|known| known.issued_before == revocation.issued_before)
        {
            // The longer life wins: `None` is for ever.
            known.until = match (known.until, revocation.until) {
                (Some(a), Some(b)) => Some(a.max(b)),
                _ => None,
            };
            return Ok(Added::Known(known.clone()));
        }
        if count >= REVOCATIONS_MAX {
            return Err(RevocationError::Full);
        }
        same.push(revocation.clone());
        index.count += 1;
        self.changed();
        Ok(Added::New(revocation))
    }

    /// Takes a revocation back; whether there was one.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let before = index.count;
        index.retain(|revocation| &*revocation.id != id);
        let removed = index.count != before;
        if removed {
            self.changed();
        }
        removed
    }

    /// Forgets what has run out.
    pub(crate) fn forget_expired(&self, now: UnixTime) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let before = index.count;
        index.retain(|revocation| revocation.until.is_none_or(|until| now < until));
        if index.count != before {
            self.changed();
        }
    }

    /// Every revocation, oldest first.
    pub(crate) fn list(&self) -> Vec<Revocation> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = index.by_selector.values().flatten().cloned().collect();
        all.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        all
    }

    /// How many there are of a kind.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index
            .by_selector
            .iter()
            .filter(|(selector, _)| selector.kind == kind)
            .map(|(_, revocations)| revocations.len())
            .sum()
    }

    /// Whether a token is dead, and through what.
    pub(crate) fn ask(&self, question: Question<'_>) -> Option<Revoked> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        if index.count == 0 {
            return None;
        }
        let claims = [(Kind::Jti, question.jti), (Kind::Subject, question.subject)];
        claims.into_iter().find_map(|(kind, value)| {
            let selector = Selector {
                issuer: question.issuer.into(),
                kind,
                value: value?.into(),
            };
            let hit = index
                .by_selector
                .get(&selector)?
                .iter()
                .find(
                    |revocation| match (revocation.issued_before, question.issued_at) {
                        (None, _) | (Some(_), None) => true,
                        (Some(cut), Some(issued_at)) => issued_at <= cut,
                    },
                )?;
            Some(Revoked {
                by: kind,
                at: hit.at,
            })
        })
    }
}

impl Index {
    fn retain(&mut self, keep: impl Fn(&Revocation) -> bool) {
        self.by_selector.retain(|_, revocations| {
            revocations.retain(|revocation| keep(revocation));
            !revocations.is_empty()
        });
        self.count = self.by_selector.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(id: &str, kind: Kind, value: &str, cut: Option<i64>) -> Revocation {
        Revocation {
            id: id.into(),
            selector: Selector {
                issuer: "main".into(),
                kind,
                value: value.into(),
            },
            issued_before: cut.map(UnixTime::from_secs),
            until: Some(UnixTime::from_secs(1000)),
            reason: None,
            author: "test".into(),
            at: UnixTime::from_secs(1),
        }
    }

    fn question<'a>(
        issuer: &'a str,
        jti: &'a str,
        subject: &'a str,
        iat: Option<i64>,
    ) -> Question<'a> {
        Question {
            issuer,
            jti: Some(jti),
            subject: Some(subject),
            issued_at: iat.map(UnixTime::from_secs),
        }
    }

    #[test]
    fn exact_within_the_issuer() {
        let list = Revocations::default();
        list.add(revocation("1", Kind::Jti, "a", None))
            .expect("room");
        assert_eq!(
            list.ask(question("main", "a", "s", None)).map(|r| r.by),
            Some(Kind::Jti)
        );
        assert_eq!(list.ask(question("other", "a", "s", None)), None);
        assert_eq!(list.ask(question("main", "b", "a", None)), None);
    }

    #[test]
    fn a_cut_includes_its_moment_and_tokens_without_iat() {
        let list = Revocations::default();
        list.add(revocation("1", Kind::Subject, "s", Some(100)))
            .expect("room");
        for (iat, dead) in [
            (Some(99), true),
            (Some(100), true),
            (Some(101), false),
            (None, true),
        ] {
            let answer = list.ask(question("main", "a", "s", iat));
            assert_eq!(answer.is_some(), dead, "{iat:?}");
        }
    }

    #[test]
    fn the_same_selector_keeps_its_id_and_each_change_its_generation() {
        let list = Revocations::default();
        let first = list.generation();
        list.add(revocation("1", Kind::Jti, "a", None))
            .expect("room");
        let second = list.generation();
        assert_ne!(first, second);
        let again = list
            .add(revocation("2", Kind::Jti, "a", None))
            .expect("room");
        assert!(matches!(again, Added::Known(known) if &*known.id == "1"));
        list.forget_expired(UnixTime::from_secs(999));
        assert_eq!(list.generation(), second);
        list.forget_expired(UnixTime::from_secs(1000));
        assert_ne!(list.generation(), second);
        assert!(list.ask(question("main", "a", "s", None)).is_none());
    }

    #[test]
    fn what_is_removed_is_alive_again() {
        let list = Revocations::default();
        list.add(revocation("1", Kind::Jti, "a", None))
            .expect("room");
        assert!(!list.remove("2"));
        assert!(list.remove("1"));
        assert_eq!(list.ask(question("main", "a", "s", None)), None);
        assert_eq!(list.count(Kind::Jti), 0);
    }
}
