//! Steps 1 and 2: from the bytes of a token to a signature that holds, by the cache or anew.
//!
//! `iss` and `kid` of an unverified token choose the key and nothing else. Whatever the cache
//! says, the issuer must be trusted by this route, its keys must be there, and the token's `kid`
//! must lead to the very key that signed it: then, and only then, the old check counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::cache::{TokenCache, TokenDigest};
use super::error::{AuthenticationError, Malformed, Refused};
use super::jws::{self, Alg, Jws};
use super::principal::{SeenFrom, Signed, Verified};
use super::{Ask, CacheUse, Notes};
use super::{claims, near};
use crate::clock::UnixTime;
use crate::keys::{Lookup, Verifier};
use crate::oauth::{Algorithm, Json};
use crate::policy::{Issuer, IssuerId, Policy, Trust, TrustedIssuer};
use crate::verdict::NearMiss;

/// Of an `iss` that nobody here is, what the operator is shown.
const ISS_BYTES_MAX: usize = 256;
/// An entry outlives its token by this much, so that a client that loops on an expired token
/// stays cheap.
const KEEP_AFTER_EXPIRY: Duration = Duration::from_secs(300);
/// The longest that an entry is kept, for tokens that live longer than anybody watches.
const KEEP_MAX: Duration = Duration::from_secs(86_400);

/// A verified token with the issuer that this route trusts for it.
#[derive(Debug)]
pub(super) struct Holds<'a> {
    pub(super) id: IssuerId,
    pub(super) issuer: &'a Issuer,
    pub(super) trust: &'a Trust,
    pub(super) token: Arc<Verified>,
}

/// The digest of a token that is not too large.
///
/// # Errors
/// It is.
pub(super) fn digest(ask: &Ask<'_>) -> Result<TokenDigest, Refused> {
    let size = ask.token.len();
    let limit = ask.token_bytes_max;
    if size > limit {
        return Err(AuthenticationError::TooLarge { size, limit }.into());
    }
    Ok(TokenDigest::of(ask.token))
}

/// Verifies the signature of a token, whatever is known of it.
///
/// # Errors
/// The token is no JWS, its issuer is not trusted here, or no key of that issuer signed it.
pub(super) fn without_cache<'a>(ask: &Ask<'a>, notes: &mut Notes) -> Result<Holds<'a>, Refused> {
    digest(ask)?;
    let token = anew(ask, notes).map_err(|failure| failure.refused)?;
    resolve(ask, token)
}

/// Finds that the signature of a token was verified; `None`: nothing is known of it.
///
/// # Errors
/// It was found not to hold, or its issuer is not trusted here.
pub(super) fn known<'a>(
    ask: &Ask<'a>,
    cache: &TokenCache,
    digest: &TokenDigest,
    notes: &mut Notes,
) -> Result<Option<Holds<'a>>, Refused> {
    if let Some(token) = cache.good(digest) {
        let held = resolve(ask, token)?;
        if key_still_signs(ask.policy, held.id, &held.token)? {
            notes.cache = CacheUse::Hit;
            return Ok(Some(held));
        }
        cache.forget(digest);
        notes.cache = CacheUse::Stale;
    } else if let Some(bad) = cache.bad(digest, ask.now)
        && ask.route.trust(bad.issuer).is_some()
        && generation(ask.policy, bad.issuer) == Some(bad.keys)
    {
        notes.cache = CacheUse::Bad;
        return Err(Refused {
            issuer: Some(bad.issuer),
            alg: Some(bad.alg),
            kid: bad.kid,
            ..AuthenticationError::SignatureInvalid(bad.near).into()
        });
    } else {
        notes.cache = CacheUse::Miss;
    }
    Ok(None)
}

/// Verifies the signature of a token of which nothing is known, once for all who ask meanwhile.
///
/// # Errors
/// As [`without_cache`].
pub(super) fn first<'a>(
    ask: &Ask<'a>,
    cache: &TokenCache,
    digest: TokenDigest,
    notes: &mut Notes,
) -> Result<Holds<'a>, Refused> {
    let mut own = None;
    let shared = cache.verified(digest, || {
        anew(ask, notes).map_err(|failure| {
            own = Some((failure.refused, failure.keys));
        })
    });
    let token = match (shared, own) {
        (Some(token), _) => token,
        (None, Some((refused, keys))) => {
            if let Some(keys) = keys {
                cache.remember_bad(digest, ask.now, &refused, keys);
            }
            return Err(refused);
        }
        // Another request was first, and its refusal is not ours: it may have had another route or
        // an older policy.
        (None, None) => anew(ask, notes).map_err(|failure| failure.refused)?,
    };
    let held = resolve(ask, token)?;
    // What another request verified was verified by its policy.
    if key_still_signs(ask.policy, held.id, &held.token)? {
        return Ok(held);
    }
    let token = anew(ask, notes).map_err(|failure| failure.refused)?;
    resolve(ask, token)
}

/// Finds the issuer of a verified token among those that the route trusts.
fn resolve<'a>(ask: &Ask<'a>, token: Arc<Verified>) -> Result<Holds<'a>, Refused> {
    // An opaque token is never verified by a key.
    if token.signed.is_none() {
        let (id, ..) = trusted(ask, &token.iss)?;
        let error = AuthenticationError::AlgNotAllowed(None);
        return Err(refused_signed(id, &token, error));
    }
    held(ask, token)
}

/// The same for a token that was found to be good before: by a key, or by its issuer's word.
pub(super) fn held<'a>(ask: &Ask<'a>, token: Arc<Verified>) -> Result<Holds<'a>, Refused> {
    let (id, issuer, trust) = trusted(ask, &token.iss)?;
    // An issuer's own list may have changed since; the key's has not, or it is another key.
    let signed = token.signed.as_ref();
    if !signed.is_none_or(|signed| issuer.algorithms.contains(signed.alg)) {
        return Err(refused_signed(
            id,
            &token,
            AuthenticationError::AlgNotAllowed(None),
        ));
    }
    Ok(Holds {
        id,
        issuer,
        trust,
        token,
    })
}

/// The generation of an issuer's key set.
fn generation(policy: &Policy, id: IssuerId) -> Option<u64> {
    let keys = policy.issuer(id)?.keys();
    Some(keys.set.as_ref()?.generation())
}

/// Whether the token's `kid` still leads to the key that signed it. One compare while the issuer's
/// set is the one that was asked last.
fn key_still_signs(policy: &Policy, id: IssuerId, token: &Verified) -> Result<bool, Refused> {
    let published = policy.issuer(id).map(TrustedIssuer::keys);
    let Some(keys) = published.as_ref().and_then(|keys| keys.set.as_ref()) else {
        return Err(refused_signed(
            id,
            token,
            AuthenticationError::KeysUnavailable,
        ));
    };
    let Some(signed) = &token.signed else {
        return Ok(false);
    };
    if signed.keys_seen.load(Ordering::Relaxed) == keys.generation() {
        return Ok(true);
    }
    let same = matches!(
        keys.find(signed.kid.as_deref(), signed.alg),
        Lookup::Found(verifier) if verifier.identity() == signed.key
    );
    if same {
        signed.keys_seen.store(keys.generation(), Ordering::Relaxed);
    }
    Ok(same)
}

fn refused_signed(id: IssuerId, token: &Verified, error: AuthenticationError) -> Refused {
    let signed = token.signed.as_ref();
    Refused {
        issuer: Some(id),
        alg: signed.map(|signed| signed.alg),
        kid: signed.and_then(|signed| signed.kid.clone()),
        ..error.into()
    }
}

/// A check that failed, with the key set that a bad signature was checked against.
pub(super) struct Failure {
    pub(super) refused: Refused,
    keys: Option<u64>,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self {
            refused,
            keys: None,
        }
    }
}

/// Takes the token apart and checks its signature.
fn anew(ask: &Ask<'_>, notes: &mut Notes) -> Result<Arc<Verified>, Failure> {
    let jws = jws::parse(ask.token).map_err(|error| {
        Refused::from(match (&error, near::form(ask.token)) {
            (AuthenticationError::Malformed(_), Some(near)) => {
                AuthenticationError::Malformed(Malformed::Near(near))
            }
            _ => error,
        })
    })?;
    let iss = issuer_of(&jws).map_err(Refused::from)?;
    let (id, issuer, _) = trusted(ask, &iss)?;
    let verified = signed_by(ask.policy, (id, issuer), jws, iss, ask.now, notes)?;
    Ok(Arc::new(verified))
}

/// Whose token it says it is.
pub(super) fn issuer_of(jws: &Jws<'_>) -> Result<Box<str>, AuthenticationError> {
    match jws.payload.get("iss") {
        None => Err(AuthenticationError::IssuerMissing),
        Some(Json::Text(iss)) => Ok(iss.clone()),
        Some(_) => Err(AuthenticationError::Malformed(Malformed::Claim("iss"))),
    }
}

/// Checks that a key of this issuer signed it.
pub(super) fn signed_by(
    policy: &Policy,
    (id, issuer): (IssuerId, &Issuer),
    jws: Jws<'_>,
    iss: Box<str>,
    now: UnixTime,
    notes: &mut Notes,
) -> Result<Verified, Failure> {
    let refused = |error| Refused {
        error,
        issuer: Some(id),
        alg: jws.alg.known(),
        kid: jws.kid.clone(),
        iss: None,
        principal: None,
    };
    let alg = jws
        .alg
        .known()
        .filter(|alg| issuer.algorithms.contains(*alg));
    let alg = alg.ok_or_else(|| {
        let near = near::algorithm(&jws.payload, jws.alg == Alg::Unsigned);
        refused(AuthenticationError::AlgNotAllowed(near))
    })?;
    let published = policy.issuer(id).map(TrustedIssuer::keys);
    let keys = published.as_ref().and_then(|keys| keys.set.as_ref());
    let keys = keys.ok_or_else(|| refused(AuthenticationError::KeysUnavailable))?;
    let verifier = match keys.find(jws.kid.as_deref(), alg) {
        Lookup::Found(verifier) => verifier,
        Lookup::AlgorithmMismatch => {
            return Err(refused(AuthenticationError::AlgNotAllowed(None)).into());
        }
        Lookup::Unknown => {
            let near = published.as_ref();
            let near = near.and_then(|keys| near::key(policy, id, keys, jws.kid.as_deref()));
            return Err(refused(AuthenticationError::KeyUnknown(near)).into());
        }
    };
    let started = Instant::now();
    let holds = verifier.verify(jws.signing_input, &jws.signature);
    notes.verified_in = Some((alg, started.elapsed()));
    if !holds {
        return Err(Failure {
            refused: refused(AuthenticationError::SignatureInvalid(
                (!verifier.fits(&jws.signature)).then_some(NearMiss::SignatureCut),
            )),
            keys: Some(keys.generation()),
        });
    }
    Ok(kept(jws, iss, verifier, alg, keys.generation(), now))
}

/// What the cache keeps of a token whose signature holds.
fn kept(
    jws: Jws<'_>,
    iss: Box<str>,
    verifier: &Verifier,
    alg: Algorithm,
    keys: u64,
    now: UnixTime,
) -> Verified {
    let times = claims::registered(&jws.payload);
    let keep = times
        .ok()
        .and_then(|times| times.exp)
        .map_or(Duration::ZERO, |exp| exp.since(now))
        .saturating_add(KEEP_AFTER_EXPIRY)
        .min(KEEP_MAX);
    let mut fingerprint = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, jws.signing_input);
    fingerprint.copy_from_slice(digest.as_ref());
    Verified {
        iss,
        signed: Some(Signed {
            key: verifier.identity(),
            alg,
            key_kid: verifier
                .kid()
                .filter(|kid| Some(*kid) != jws.kid.as_deref())
                .map(Into::into),
            kid: jws.kid,
            typ: jws.typ,
            keys_seen: AtomicU64::new(keys),
        }),
        introspected_until: None,
        claims: jws.payload,
        times,
        fingerprint,
        keep,
        alive_seen: AtomicU64::new(0),
        seen: SeenFrom::default(),
    }
}

/// The issuer that `iss` names, if this route trusts it.
fn trusted<'a>(ask: &Ask<'a>, iss: &str) -> Result<(IssuerId, &'a Issuer, &'a Trust), Refused> {
    let id = ask.policy.issuer_by_iss(iss);
    let found = id.and_then(|id| {
        let issuer = &*ask.policy.issuer(id)?.rules;
        Some((id, issuer, ask.route.trust(id)?))
    });
    found.ok_or_else(|| {
        let near = match id {
            Some(_) => Some(NearMiss::IssuerOtherRoute),
            None => near::issuer(ask, iss),
        };
        Refused {
            issuer: id,
            iss: Some(iss.get(..ISS_BYTES_MAX).unwrap_or(iss).into()),
            ..AuthenticationError::IssuerUntrusted(near).into()
        }
    })
}
