//! From a request to the caller: extract, verify, check, ask the revocations. 401 lives here.
//!
//! The order of the calls in [`judge`] is the order of the verdict. It is a pure
//! function over (token, policy, revocations, time); the cache may save it work and never changes
//! its answer. Nothing here does I/O: an unknown `kid` is asked for through [`KeyRequests`], and
//! the token is judged again with the keys of then.

mod cache;
mod claims;
mod error;
pub(crate) mod extract;
mod introspect;
mod jws;
mod life;
mod near;
mod principal;
mod statement;
#[cfg(feature = "bench")]
pub(crate) mod steps;
mod turns;
mod verify;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Uri};

use crate::clock::{Clock, UnixTime};
use crate::keys::KeyRequests;
use crate::oauth::Algorithm;
use crate::policy::{Access, Issuer, Policy, Route};
use crate::revocation::{Revocation, Revocations, Revoked};

pub(crate) use cache::{CacheLimits, TokenCache, TokenDigest};
pub(crate) use error::{AuthenticationError, Malformed, Refused};
pub(crate) use extract::found;
pub(crate) use introspect::{
    Introspection, IntrospectionRequest, IntrospectionRequests, issuer_for as introspected_by,
};
pub(crate) use life::{Ended, Life};
pub(crate) use principal::{Caller, Principal};
pub(crate) use statement::Statement;
pub(crate) use turns::Turns;

/// One question: this token, on this route, at this time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) route: &'a Route,
    pub(crate) revocations: &'a Revocations,
    pub(crate) now: UnixTime,
    pub(crate) token: &'a [u8],
    pub(crate) token_bytes_max: usize,
}

/// Where a credential is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Credential<'a> {
    /// In a request, where its route allows it.
    Of {
        uri: &'a Uri,
        headers: &'a HeaderMap,
    },
    /// Apart from one: a token, or a whole `Authorization` field, as somebody pasted it.
    Pasted(&'a [u8]),
}

/// A request as this stage sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentialed<'a> {
    pub(crate) credential: Credential<'a>,
    pub(crate) token_bytes_max: usize,
    pub(crate) route: &'a Route,
    pub(crate) now: UnixTime,
    pub(crate) peer: IpAddr,
}

/// What deciding did, for metrics and the log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Notes {
    pub(crate) cache: CacheUse,
    /// A signature check that was made, and how long it took.
    pub(crate) verified_in: Option<(Algorithm, Duration)>,
    /// When a key was waited for, and for how long.
    pub(crate) waited: Option<(Instant, Duration)>,
}

/// How the token cache answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CacheUse {
    #[default]
    NotAsked,
    Hit,
    Miss,
    /// A signature that is known not to hold.
    Bad,
    /// The key that signed it is gone or has another name.
    Stale,
}

/// Decides who calls.
#[derive(Debug)]
pub(crate) struct Authenticator {
    cache: TokenCache,
    key_requests: KeyRequests,
    introspections: IntrospectionRequests,
    revocations: Arc<Revocations>,
}

impl Authenticator {
    pub(crate) const fn new(
        cache: TokenCache,
        key_requests: KeyRequests,
        introspections: IntrospectionRequests,
        revocations: Arc<Revocations>,
    ) -> Self {
        Self {
            cache,
            key_requests,
            introspections,
            revocations,
        }
    }

    pub(crate) const fn cache(&self) -> &TokenCache {
        &self.cache
    }

    /// How many of the tokens in the cache a revocation would kill, about.
    pub(crate) fn cached_that(&self, revocation: &Revocation) -> usize {
        self.cache.count(|token| token.is_hit_by(revocation))
    }

    /// Whether a caller's token is revoked by now. One comparison while the list has not changed.
    pub(crate) fn revoked(&self, principal: &Principal) -> Option<Revoked> {
        let verified = principal.verified();
        verified.revoked(&verified.iss, &self.revocations)
    }

    /// What stays open for a caller ends with this.
    pub(crate) fn life(&self, principal: &Principal, clock: &Arc<dyn Clock>) -> Life {
        Life::new(principal, &self.revocations, clock)
    }

    /// The caller of a request.
    ///
    /// # Errors
    /// The credential or the token was refused.
    pub(crate) async fn authenticate(
        &self,
        request: Credentialed<'_>,
        policy: &Policy,
        turns: &Turns,
        notes: &mut Notes,
    ) -> Result<Caller, Refused> {
        if matches!(request.route.access, Access::Open) {
            return Ok(Caller::Anonymous);
        }
        let found = found(request.credential, request.route)?;
        let token = &*found;
        let ask = self.ask(&request, policy, token);
        if let Some(id) = introspect::issuer_for(request.route, token) {
            let who = (id, request.peer);
            let judged = introspect::judge(&ask, who, &self.cache, &self.introspections, notes);
            return judged.await.map(Caller::Authenticated);
        }
        let first = self.judge_in_turn(&ask, turns, notes).await;
        match &first {
            Err(refused) if refused.lacks_a_key() => {
                let begun = Instant::now();
                self.ask_for_key(refused, policy).await;
                notes.waited = Some((begun, begun.elapsed()));
            }
            _ => return first.map(Caller::Authenticated),
        }
        let mut second = Notes::default();
        let ask = self.ask(&request, policy, token);
        let answer = self.judge_in_turn(&ask, turns, &mut second).await;
        // How the cache answered is what it knew before the wait.
        notes.verified_in = second.verified_in;
        answer.map(Caller::Authenticated)
    }

    /// As [`judge`], but a signature that has to be checked waits for its turn.
    async fn judge_in_turn(
        &self,
        ask: &Ask<'_>,
        turns: &Turns,
        notes: &mut Notes,
    ) -> Result<Principal, Refused> {
        let digest = verify::digest(ask)?;
        if let Some(held) = verify::known(ask, &self.cache, &digest, notes)? {
            return checked(ask, held);
        }
        let _turn = turns.take().await;
        checked(ask, verify::first(ask, &self.cache, digest, notes)?)
    }

    /// The verdict of another policy over a credential, at once: nobody is asked for keys. `None`: its issuer
    /// would have to be asked about it.
    pub(crate) fn judge_by(
        &self,
        policy: &Policy,
        route: &Route,
        credential: Credential<'_>,
        (now, token_bytes_max): (UnixTime, usize),
    ) -> Option<Result<Principal, Refused>> {
        let token = match found(credential, route) {
            Ok(token) => token,
            Err(error) => return Some(Err(error.into())),
        };
        if introspect::issuer_for(route, &token).is_some() {
            return None;
        }
        let ask = Ask {
            policy,
            route,
            revocations: &self.revocations,
            now,
            token: &token,
            token_bytes_max,
        };
        Some(judge(&ask, Some(&self.cache), &mut Notes::default()))
    }

    /// The verdict of another policy over a token whose signature held once.
    ///
    /// # Errors
    /// The first step that fails.
    pub(crate) fn judge_held(
        &self,
        policy: &Policy,
        route: &Route,
        held: &Principal,
        now: UnixTime,
    ) -> Result<Principal, Refused> {
        let ask = Ask {
            policy,
            route,
            revocations: &self.revocations,
            now,
            token: &[],
            token_bytes_max: 0,
        };
        checked(&ask, verify::held(&ask, held.shared())?)
    }

    /// Has the issuer of a token asked for the key that it names, within a bound.
    async fn ask_for_key(&self, refused: &Refused, policy: &Policy) {
        if let Some(issuer) = refused.issuer.and_then(|id| policy.issuer(id)) {
            let name = Arc::clone(&issuer.rules.name);
            self.key_requests.ask(name, refused.kid.as_deref()).await;
        }
    }

    fn ask<'a>(
        &'a self,
        request: &Credentialed<'a>,
        policy: &'a Policy,
        token: &'a [u8],
    ) -> Ask<'a> {
        Ask {
            policy,
            route: request.route,
            revocations: &self.revocations,
            now: request.now,
            token,
            token_bytes_max: request.token_bytes_max,
        }
    }
}

/// The verdict over one token, steps 1 to 4 and the revocations.
///
/// # Errors
/// The first step that fails.
pub(crate) fn judge(
    ask: &Ask<'_>,
    cache: Option<&TokenCache>,
    notes: &mut Notes,
) -> Result<Principal, Refused> {
    let Some(cache) = cache else {
        return checked(ask, verify::without_cache(ask, notes)?);
    };
    let digest = verify::digest(ask)?;
    let held = match verify::known(ask, cache, &digest, notes)? {
        Some(held) => held,
        None => verify::first(ask, cache, digest, notes)?,
    };
    checked(ask, held)
}

/// What is checked anew, however the signature was found to hold.
fn checked(ask: &Ask<'_>, held: verify::Holds<'_>) -> Result<Principal, Refused> {
    let principal = Principal::new(held.id, held.token);
    claims::check(principal.verified(), held.issuer, held.trust, ask.now)
        .and_then(|()| check_revocation(&principal, held.issuer, ask))
        .map_err(|error| principal.refused(error))?;
    Ok(principal)
}

/// Step R.
fn check_revocation(
    principal: &Principal,
    issuer: &Issuer,
    ask: &Ask<'_>,
) -> Result<(), AuthenticationError> {
    let revocations = ask.revocations;
    if ask.route.revocations_required && !revocations.is_whole(ask.now) {
        return Err(AuthenticationError::RevocationsUnavailable);
    }
    if let Some(revoked) = principal.verified().revoked(&issuer.issuer, revocations) {
        return Err(AuthenticationError::Revoked(revoked));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
