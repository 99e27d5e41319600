//! Who calls, once a token's signature holds.
//!
//! A [`Verified`] is made by the signature check, or by the issuer's word for an opaque token, and is
//! what the cache keeps: these bytes were signed by this key of this issuer, and hold these claims. A [`Principal`] is made when
//! every check of the token has passed; a [`Caller`] is what the next stage takes.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::error::{AuthenticationError, Refused};
use crate::clock::UnixTime;
use crate::keys::KeyIdentity;
use crate::oauth::json::Members;
use crate::oauth::{Algorithm, Json, Scopes};
use crate::policy::{Issuer, IssuerId};
use crate::revocation::{Question, Revocation, Revocations, Revoked};

/// A token whose signature held, or that its issuer stands by, with its claims. Says nothing about
/// time, audience or revocation.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(super) iss: Box<str>,
    /// Who signed it; `None` for an opaque token.
    pub(super) signed: Option<Signed>,
    /// How long the issuer's word for an opaque token counts.
    pub(super) introspected_until: Option<UnixTime>,
    pub(super) claims: Members,
    /// The registered times, or the registered claim that has the wrong type.
    pub(super) times: Result<Times, &'static str>,
    /// SHA-256 of the signing input, so that no re-encoding of the signature makes another token;
    /// of the whole token where it is opaque.
    pub(super) fingerprint: [u8; 32],
    /// How long the cache keeps it; housekeeping, never a verdict.
    pub(super) keep: Duration,
    /// The generation of the revocations in which this token was last found alive.
    pub(super) alive_seen: AtomicU64,
    /// From where it came in the present ten minutes.
    pub(super) seen: SeenFrom,
}

/// Addresses that a token came from, about: one bit of 64 each.
#[derive(Debug, Default)]
pub(super) struct SeenFrom {
    /// The ten minutes that are counted, since the epoch.
    span: AtomicI64,
    bits: AtomicU64,
}

/// Bits from which on a token comes from many addresses.
const SPREAD: u32 = 8;
/// What a bit is counted in, in seconds.
const SPREAD_SECS: i64 = 600;

impl SeenFrom {
    /// Notes an address; gives about how many there are by now, at the one that makes them many.
    fn note(&self, peer: IpAddr, now: UnixTime) -> Option<u32> {
        let span = now.secs().div_euclid(SPREAD_SECS);
        // Two requests at the very turn may lose a bit of each other, and that is all.
        if self.span.load(Ordering::Relaxed) != span {
            self.span.store(span, Ordering::Relaxed);
            self.bits.store(0, Ordering::Relaxed);
        }
        let address = match peer {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            // The network of one customer.
            IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or(0),
        };
        // Fibonacci hashing: the six upper bits are as good as any.
        let bit = 1 << (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58);
        let before = self.bits.load(Ordering::Relaxed);
        if before & bit != 0 {
            return None;
        }
        let after = self.bits.fetch_or(bit, Ordering::Relaxed) | bit;
        (after.count_ones() == SPREAD).then_some(SPREAD)
    }
}

/// How much longer than its word counts it is remembered that an issuer honoured a token.
const KNOWN_AFTER: Duration = Duration::from_secs(600);

/// The signature of a token.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) key: KeyIdentity,
    pub(super) alg: Algorithm,
    pub(super) kid: Option<Box<str>>,
    /// The name of the key that signed it, where the header has none or another.
    pub(super) key_kid: Option<Box<str>>,
    pub(super) typ: Option<Box<str>>,
    /// The generation of the key set in which the key was last found.
    pub(super) keys_seen: AtomicU64,
}

/// The registered times of a token.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub(super) exp: Option<UnixTime>,
    pub(super) nbf: Option<UnixTime>,
    pub(super) iat: Option<UnixTime>,
}

/// The authenticated holder of a token.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    issuer: IssuerId,
    verified: Arc<Verified>,
}

/// Who makes a request.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// The route asks for no token.
    Anonymous,
    Authenticated(Principal),
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.verified.fingerprint == other.verified.fingerprint
    }
}

impl Verified {
    /// An opaque token that its issuer honours.
    pub(super) fn introspected(
        iss: Box<str>,
        claims: Members,
        times: Result<Times, &'static str>,
        fingerprint: [u8; 32],
        until: UnixTime,
        now: UnixTime,
    ) -> Self {
        Self {
            iss,
            signed: None,
            introspected_until: Some(until),
            claims,
            times,
            fingerprint,
            keep: until.since(now).saturating_add(KNOWN_AFTER),
            alive_seen: AtomicU64::new(0),
            seen: SeenFrom::default(),
        }
    }

    fn signature_bytes(&self) -> usize {
        self.signed.as_ref().map_or(0, |signed| {
            signed.kid.as_ref().map_or(0, |kid| kid.len())
                + signed.typ.as_ref().map_or(0, |typ| typ.len())
        })
    }

    fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Json::as_text)
    }

    /// Bytes on the heap, about, for the cache's bound.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.iss.len() + self.signature_bytes() + self.claims.heap_bytes()
    }
}

impl Verified {
    fn question<'a>(&'a self, issuer: &'a str) -> Question<'a> {
        Question {
            issuer,
            fingerprint: &self.fingerprint,
            jti: self.text("jti"),
            session: self.text("sid"),
            subject: self.text("sub"),
            client: self.text("client_id").or_else(|| self.text("azp")),
            kid: self
                .signed
                .as_ref()
                .and_then(|signed| signed.kid.as_deref()),
            key_kid: self.signed.as_ref().and_then(|it| it.key_kid.as_deref()),
            issued_at: self.times.ok().and_then(|times| times.iat),
        }
    }

    /// Whether the token is revoked. While the list has not changed, one that was alive is alive.
    pub(super) fn revoked(&self, issuer: &str, revocations: &Revocations) -> Option<Revoked> {
        // Read before asking: a revocation that comes in between makes this answer old at once.
        let generation = revocations.generation();
        if self.alive_seen.load(Ordering::Relaxed) == generation {
            return None;
        }
        let revoked = revocations.ask(&self.question(issuer));
        if revoked.is_none() {
            self.alive_seen.store(generation, Ordering::Relaxed);
        }
        revoked
    }

    /// Whether a revocation would kill this token.
    pub(super) fn is_hit_by(&self, revocation: &Revocation) -> bool {
        self.question(&self.iss).is_hit_by(revocation)
    }
}

impl Principal {
    pub(super) const fn new(issuer: IssuerId, verified: Arc<Verified>) -> Self {
        Self { issuer, verified }
    }

    pub(super) fn verified(&self) -> &Verified {
        &self.verified
    }

    /// This token, refused after all.
    pub(crate) fn refused(&self, error: AuthenticationError) -> Refused {
        Refused {
            error,
            issuer: Some(self.issuer),
            alg: self.alg(),
            kid: self.kid().map(Into::into),
            iss: None,
            principal: Some(self.clone()),
        }
    }

    pub(super) fn shared(&self) -> Arc<Verified> {
        Arc::clone(&self.verified)
    }

    pub(crate) const fn issuer(&self) -> IssuerId {
        self.issuer
    }

    /// `None` for an opaque token.
    pub(crate) fn alg(&self) -> Option<Algorithm> {
        Some(self.verified.signed.as_ref()?.alg)
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.verified.signed.as_ref()?.kid.as_deref()
    }

    /// As the token's header has it; `None` for an opaque token, too.
    pub(crate) fn typ(&self) -> Option<&str> {
        self.verified.signed.as_ref()?.typ.as_deref()
    }

    /// `iat`, `nbf` and `exp`; `None` where one of them is no time.
    pub(crate) fn times(&self) -> Option<[Option<UnixTime>; 3]> {
        let times = self.verified.times.ok()?;
        Some([times.iat, times.nbf, times.exp])
    }

    pub(crate) fn subject(&self) -> Option<&str> {
        self.verified.text("sub")
    }

    pub(crate) fn jti(&self) -> Option<&str> {
        self.verified.text("jti")
    }

    /// `client_id` (RFC 9068), or `azp` where a provider writes that.
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.verified
            .text("client_id")
            .or_else(|| self.verified.text("azp"))
    }

    /// Notes where it comes from; gives about how many addresses those are, once they are many.
    pub(crate) fn seen_from(&self, peer: IpAddr, now: UnixTime) -> Option<u32> {
        self.verified.seen.note(peer, now)
    }

    pub(crate) fn fingerprint(&self) -> &[u8; 32] {
        &self.verified.fingerprint
    }

    /// When it is not accepted any more, by the rules of its issuer; `None`: it has no end of its own.
    pub(crate) fn over_at(&self, issuer: &Issuer) -> Option<UnixTime> {
        let exp = self.verified.times.ok()?.exp?;
        Some(exp.plus(issuer.leeway))
    }

    pub(crate) fn claim(&self, name: &str) -> Option<&Json> {
        self.verified.claims.claim(name)
    }

    /// The first of the issuer's scope claims that is present.
    pub(crate) fn scopes(&self, issuer: &Issuer) -> Scopes<'_> {
        scope_claim(&self.verified.claims, issuer)
            .and_then(Scopes::from_claim)
            .unwrap_or(Scopes::Absent)
    }
}

/// The scope claim that counts: the first of the issuer's that is present.
pub(super) fn scope_claim<'a>(claims: &'a Members, issuer: &Issuer) -> Option<&'a Json> {
    issuer
        .scope_claims
        .iter()
        .find_map(|name| claims.claim(name))
}
