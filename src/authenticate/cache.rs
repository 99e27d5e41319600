//! The cache of signatures (the cache law).
//!
//! An entry says only: these bytes were signed by this key of this issuer, and hold these claims.
//! It is keyed by SHA-256 over the whole token, so nobody can aim at another's entry. Bad
//! signatures are remembered too, each with the generation of the key set that it failed against:
//! a newer set makes the memory void. Both sides are bounded, the good one by count and by bytes.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::error::Refused;
use super::principal::Verified;
use crate::clock::UnixTime;
use crate::oauth::Algorithm;
use crate::policy::IssuerId;
use crate::verdict::NearMiss;

/// A longer `kid` of a bad token is not kept: it is the sender's to choose, and for the log alone.
const BAD_KID_BYTES_MAX: usize = 128;

/// The bounds of `[cache]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheLimits {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) bad_entries: u64,
    /// `None`: bad signatures are not remembered.
    pub(crate) bad_lifetime: Option<Duration>,
}

/// SHA-256 of a whole token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenDigest(pub(super) [u8; 32]);

/// A signature that did not hold.
#[derive(Clone, Debug)]
pub(super) struct BadSignature {
    pub(super) issuer: IssuerId,
    pub(super) alg: Algorithm,
    pub(super) kid: Option<Box<str>>,
    pub(super) near: Option<NearMiss>,
    /// The key set that it was checked against.
    pub(super) keys: u64,
    pub(super) until: UnixTime,
}

/// Verified and bad signatures.
#[derive(Debug)]
pub(crate) struct TokenCache {
    good: Cache<TokenDigest, Arc<Verified>, DigestHash>,
    bad: Cache<TokenDigest, BadSignature, DigestHash>,
    /// Opaque tokens that their issuer does not honour, each with the end of that answer.
    inactive: Cache<TokenDigest, UnixTime, DigestHash>,
    bad_lifetime: Option<Duration>,
    evictions: Arc<Evictions>,
}

/// Why entries went, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    pub(crate) expired: AtomicU64,
    pub(crate) size: AtomicU64,
}

impl TokenDigest {
    pub(super) fn of(token: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let digest = digest::digest(&digest::SHA256, token);
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// The place of what was said of an opaque token where it was asked about. No token holds a NUL, so that it is
    /// never the place of a signature, or of what another issuer said.
    pub(super) fn of_opaque(token: &[u8], asked_at: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [asked_at.as_bytes(), &[0], token] {
            context.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

impl std::hash::Hash for TokenDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// A digest is its own hash; hashing it again would cost and add nothing.
#[derive(Clone, Copy, Debug, Default)]
struct DigestHash;

#[derive(Debug, Default)]
struct DigestHasher(u64);

impl BuildHasher for DigestHash {
    type Hasher = DigestHasher;

    fn build_hasher(&self) -> DigestHasher {
        DigestHasher::default()
    }
}

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// An entry lives as long as its token is worth remembering.
struct KeepWhileUseful;

impl Expiry<TokenDigest, Arc<Verified>> for KeepWhileUseful {
    fn expire_after_create(
        &self,
        _: &TokenDigest,
        token: &Arc<Verified>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(token.keep)
    }
}

impl TokenCache {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        let evictions = Arc::new(Evictions::default());
        let counted = Arc::clone(&evictions);
        // One weight serves both bounds: no entry weighs less than its share of the bytes.
        let share = limits.bytes / limits.entries.max(1);
        let good = Cache::builder()
            .max_capacity(limits.bytes)
            .weigher(move |_, token: &Arc<Verified>| {
                let bytes = u64::try_from(token.heap_bytes()).unwrap_or(u64::MAX);
                u32::try_from(bytes.max(share)).unwrap_or(u32::MAX)
            })
            // The default policy may never admit a new token when the cache is full.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(KeepWhileUseful)
            .eviction_listener(move |_, _, cause| match cause {
                RemovalCause::Expired => _ = counted.expired.fetch_add(1, Ordering::Relaxed),
                RemovalCause::Size => _ = counted.size.fetch_add(1, Ordering::Relaxed),
                RemovalCause::Explicit | RemovalCause::Replaced => {}
            })
            .build_with_hasher(DigestHash);
        let bad = Cache::builder()
            .max_capacity(limits.bad_entries)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(limits.bad_lifetime.unwrap_or(Duration::from_secs(1)))
            .build_with_hasher(DigestHash);
        let inactive = Cache::builder()
            .max_capacity(limits.bad_entries)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(limits.bad_lifetime.unwrap_or(Duration::from_secs(1)))
            .build_with_hasher(DigestHash);
        Self {
            good,
            bad,
            inactive,
            bad_lifetime: limits.bad_lifetime,
            evictions,
        }
    }

    pub(super) fn good(&self, digest: &TokenDigest) -> Option<Arc<Verified>> {
        self.good.get(digest)
    }

    pub(super) fn insert(&self, digest: TokenDigest, token: Arc<Verified>) {
        self.good.insert(digest, token);
    }

    pub(super) fn is_inactive(&self, digest: &TokenDigest, now: UnixTime) -> bool {
        self.inactive.get(digest).is_some_and(|until| now < until)
    }

    /// Remembers an answer for as long as a bad signature, at most for `limit`.
    pub(super) fn remember_inactive(&self, digest: TokenDigest, now: UnixTime, limit: Duration) {
        if let Some(lifetime) = self.bad_lifetime {
            self.inactive.insert(digest, now.plus(lifetime.min(limit)));
        }
    }

    pub(super) fn forget(&self, digest: &TokenDigest) {
        self.good.invalidate(digest);
    }

    /// The entry of a token, verified now if it is not there. Whoever asks for the same new token
    /// at the same moment waits for the one check instead of making its own. `None` if that failed,
    /// for whomever it was made: a refusal belongs to one request and is not shared.
    pub(super) fn verified(
        &self,
        digest: TokenDigest,
        verify: impl FnOnce() -> Result<Arc<Verified>, ()>,
    ) -> Option<Arc<Verified>> {
        self.good.try_get_with(digest, verify).ok()
    }

    pub(super) fn bad(&self, digest: &TokenDigest, now: UnixTime) -> Option<BadSignature> {
        self.bad_lifetime?;
        self.bad.get(digest).filter(|bad| now < bad.until)
    }

    pub(super) fn remember_bad(
        &self,
        digest: TokenDigest,
        now: UnixTime,
        refused: &Refused,
        keys: u64,
    ) {
        if let (Some(lifetime), Some(issuer), Some(alg)) =
            (self.bad_lifetime, refused.issuer, refused.alg)
        {
            let bad = BadSignature {
                issuer,
                alg,
                kid: refused
                    .kid
                    .clone()
                    .filter(|kid| kid.len() <= BAD_KID_BYTES_MAX),
                near: refused.error.near_miss(),
                keys,
                until: now.plus(lifetime),
            };
            self.bad.insert(digest, bad);
        }
    }

    /// Forgets everything: each token is verified anew.
    pub(crate) fn flush(&self) {
        self.good.invalidate_all();
        self.bad.invalidate_all();
        self.inactive.invalidate_all();
    }

    /// How many of the entries are so.
    pub(super) fn count(&self, fits: impl Fn(&Verified) -> bool) -> usize {
        self.good.iter().filter(|(_, token)| fits(token)).count()
    }

    /// Entries and bytes held now, about.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.good.entry_count(), self.good.weighted_size())
    }

    pub(crate) fn evictions(&self) -> &Evictions {
        &self.evictions
    }
}
