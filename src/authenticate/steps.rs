//! Single steps of the verdict, for who measures them.

use super::cache::{TokenCache, TokenDigest};
use super::{claims, jws};
use crate::authenticate::Principal;
use crate::clock::UnixTime;
use crate::policy::{Policy, Route};

/// The key of the cache.
pub(crate) fn digest(token: &[u8]) -> [u8; 32] {
    TokenDigest::of(token).0
}

/// Whether the cache holds a token.
pub(crate) fn look_up(cache: &TokenCache, digest: [u8; 32]) -> bool {
    cache.good(&TokenDigest(digest)).is_some()
}

/// Takes a token apart: what is signed, and by what.
pub(crate) fn parse(token: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let jws = jws::parse(token).ok()?;
    Some((jws.signing_input, jws.signature))
}

/// Whether the claims of a token that was verified hold now.
pub(crate) fn claims(principal: &Principal, policy: &Policy, route: &Route, now: UnixTime) -> bool {
    let id = principal.issuer();
    let rules = policy.issuer(id).map(|issuer| &issuer.rules);
    rules.zip(route.trust(id)).is_some_and(|(issuer, trust)| {
        claims::check(principal.verified(), issuer, trust, now).is_ok()
    })
}
