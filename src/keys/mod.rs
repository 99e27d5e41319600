//! Verification keys of an issuer: how they are read, found, and asked for.
//!
//! A key is bound to its algorithms when it is read; a token's `alg` may only agree with one of
//! them (RFC 8725 section 3.1). Keys live inside their issuer, never in a list over all issuers:
//! a `kid` of issuer A is nothing to a token of issuer B (RFC 8725 section 3.8).

mod exposed;
pub(crate) mod jwks;
mod numbers;
pub(crate) mod pem;
mod request;
mod verification_key;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::oauth::Algorithm;

pub(crate) use request::{KeyRequest, KeyRequests};
pub(crate) use verification_key::{KeyIdentity, Thumbprint, VerificationKey, Verifier};

/// The usable keys of one issuer at one moment. Immutable; a refresh makes a new one.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<VerificationKey>,
    by_kid: HashMap<Box<str>, Vec<usize>>,
    generation: u64,
}

/// What a look-up by `kid` and `alg` gives.
#[derive(Debug)]
pub(crate) enum Lookup<'a> {
    Found(&'a Verifier),
    /// The key is there, but bound to other algorithms.
    AlgorithmMismatch,
    /// No such key, or none that can be told apart.
    Unknown,
}

impl KeySet {
    pub(crate) fn new(keys: Vec<VerificationKey>) -> Self {
        /// Numbers the sets of this process, so that "the same set" is one compare.
        static GENERATION: AtomicU64 = AtomicU64::new(1);

        let mut by_kid: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (index, key) in keys.iter().enumerate() {
            if let Some(kid) = key.kid() {
                by_kid.entry(kid.into()).or_default().push(index);
            }
        }
        Self {
            keys,
            by_kid,
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The verifier for a token that names `kid` and `alg`.
    ///
    /// Without a `kid` it is the only key that fits `alg`. A set in which no key has a `kid` (PEM
    /// files, a shared secret) does not look at the token's.
    pub(crate) fn find(&self, kid: Option<&str>, alg: Algorithm) -> Lookup<'_> {
        if let (Some(kid), false) = (kid, self.by_kid.is_empty()) {
            let Some(indices) = self.by_kid.get(kid) else {
                return Lookup::Unknown;
            };
            return indices
                .iter()
                .filter_map(|index| self.keys.get(*index)?.verifier(alg))
                .next()
                .map_or(Lookup::AlgorithmMismatch, Lookup::Found);
        }
        let mut fitting = self.keys.iter().filter_map(|key| key.verifier(alg));
        match (fitting.next(), fitting.next()) {
            (Some(verifier), None) => Lookup::Found(verifier),
            _ => Lookup::Unknown,
        }
    }

    /// Whether this very key is in the set, under the same name.
    pub(crate) fn holds(&self, key: &VerificationKey) -> bool {
        self.keys.iter().any(|own| own.is_same(key))
    }

    pub(crate) fn has_kid(&self, kid: &str) -> bool {
        self.by_kid.contains_key(kid)
    }

    /// A number that no other set of this process has.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, VerificationKey> {
        self.keys.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether both sets hold the same keys under the same names, in any order.
    pub(crate) fn same_keys(&self, other: &Self) -> bool {
        self.keys.len() == other.keys.len() && self.keys.iter().all(|key| other.holds(key))
    }
}
