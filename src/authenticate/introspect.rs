//! Opaque tokens: what their issuer says of them (RFC 7662), asked of control and remembered for a
//! while.
//!
//! Nothing here does I/O. What the issuer said counts for `cache_max` and never past `exp`; time,
//! audience, revocation, scope and the route's rules are decided anew on every request. A token is
//! asked about only if it could be one: what a client mangled is refused as such. That an issuer
//! honoured a token is remembered beyond that, so that made-up tokens do not stand in its way.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::cache::{TokenCache, TokenDigest};
use super::error::{AuthenticationError, Malformed, Refused};
use super::principal::{Principal, Verified};
use super::{Ask, CacheUse, Notes, claims, near};
use crate::clock::UnixTime;
use crate::oauth::Json;
use crate::oauth::json::Members;
use crate::policy::{Issuer, IssuerId, Route};
use crate::revocation::fingerprint;
use crate::secret::Secret;
use crate::verdict::NearMiss;

/// Questions that may wait for control.
const QUEUE_MAX: usize = 16_384;

/// "What is this token to its issuer?"
#[derive(Debug)]
pub(crate) struct IntrospectionRequest {
    /// The configured name of the issuer.
    pub(crate) issuer: Arc<str>,
    pub(crate) digest: TokenDigest,
    pub(crate) token: Secret,
    /// Who shows the token.
    pub(crate) peer: IpAddr,
    /// The issuer honoured it a short while ago: it is not made up.
    pub(crate) known: bool,
    /// Dropped means that nobody could be asked.
    pub(crate) answer: oneshot::Sender<Introspection>,
}

/// What the issuer says.
#[derive(Clone, Debug)]
pub(crate) enum Introspection {
    /// It honours the token; these are the members of its answer.
    Active(Arc<Members>),
    Inactive,
}

/// The asking end.
#[derive(Clone, Debug)]
pub(crate) struct IntrospectionRequests {
    queue: mpsc::Sender<IntrospectionRequest>,
    wait_max: Duration,
}

impl IntrospectionRequests {
    /// A channel; a question waits at most `wait_max`.
    pub(crate) fn channel(wait_max: Duration) -> (Self, mpsc::Receiver<IntrospectionRequest>) {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        (Self { queue, wait_max }, receiver)
    }

    async fn ask(
        &self,
        issuer: Arc<str>,
        digest: TokenDigest,
        token: &[u8],
        (peer, known): (IpAddr, bool),
    ) -> Option<Introspection> {
        let (answer, answered) = oneshot::channel();
        let request = IntrospectionRequest {
            issuer,
            digest,
            token: Secret::new(token.to_vec()),
            peer,
            known,
            answer,
        };
        self.queue.try_send(request).ok()?;
        let answer = tokio::time::timeout(self.wait_max, answered).await;
        answer.ok()?.ok()
    }
}

/// The issuer that is asked about this token. One in the form of a JWT is asked about only where
/// the route has no issuer of JWTs.
pub(crate) fn issuer_for(route: &Route, token: &[u8]) -> Option<IssuerId> {
    let id = route.introspection?;
    let dots = token.iter().filter(|byte| **byte == b'.').count();
    (dots != 2 || route.trusts().len() == 1).then_some(id)
}

/// The verdict over one opaque token, steps 1, 3, 4 and the revocations.
///
/// # Errors
/// The first step that fails.
pub(super) async fn judge(
    ask: &Ask<'_>,
    (id, peer): (IssuerId, IpAddr),
    cache: &TokenCache,
    requests: &IntrospectionRequests,
    notes: &mut Notes,
) -> Result<Principal, Refused> {
    let refused = |error: AuthenticationError| Refused {
        issuer: Some(id),
        ..error.into()
    };
    let issuer = ask.policy.issuer(id);
    let (Some(issuer), Some(trust)) = (issuer, ask.route.trust(id)) else {
        return Err(refused(AuthenticationError::IssuerUntrusted(None)));
    };
    let issuer = &*issuer.rules;
    let asked_at = issuer.introspection.as_ref();
    let asked_at = asked_at.map_or("", |rules| &rules.asked_at);
    let (size, limit) = (ask.token.len(), ask.token_bytes_max);
    if size > limit {
        return Err(refused(AuthenticationError::TooLarge { size, limit }));
    }
    let digest = TokenDigest::of_opaque(ask.token, asked_at);
    let verified = match cache.introspected(&digest, ask.now) {
        Word::Active(known) => {
            notes.cache = CacheUse::Hit;
            Some(known)
        }
        Word::Inactive => {
            notes.cache = CacheUse::Hit;
            None
        }
        earlier @ (Word::Old | Word::None) => {
            check_form(ask.token).map_err(refused)?;
            notes.cache = CacheUse::Miss;
            let who = (peer, matches!(earlier, Word::Old));
            let asked = requests.ask(Arc::clone(&issuer.name), digest, ask.token, who);
            let said = asked.await;
            let said =
                said.ok_or_else(|| refused(AuthenticationError::IntrospectionUnavailable))?;
            match (said, cache.introspected(&digest, ask.now)) {
                // Whoever waited for the same answer has just put it there.
                (Introspection::Active(_), Word::Active(known)) => Some(known),
                (Introspection::Active(members), _) => {
                    let claims = Arc::unwrap_or_clone(members);
                    let known = Arc::new(active(ask, issuer, claims));
                    cache.insert(digest, Arc::clone(&known));
                    Some(known)
                }
                (Introspection::Inactive, _) => {
                    cache.forget(&digest);
                    cache.remember_inactive(digest, ask.now, cache_max(issuer));
                    None
                }
            }
        }
    };
    let Some(verified) = verified else {
        return Err(refused(AuthenticationError::Inactive));
    };
    let principal = Principal::new(id, verified);
    check_answer(principal.verified(), issuer)
        .and_then(|()| claims::check(principal.verified(), issuer, trust, ask.now))
        .and_then(|()| super::check_revocation(&principal, issuer, ask))
        .map_err(|error| Refused {
            principal: Some(principal.clone()),
            ..refused(error)
        })?;
    Ok(principal)
}

/// `b64token` of RFC 6750 section 2.1, and no variable that was not filled in.
fn check_form(token: &[u8]) -> Result<(), AuthenticationError> {
    let end = token.iter().rposition(|byte| *byte != b'=');
    let body = end.and_then(|end| token.get(..=end));
    let well_formed = body.is_some_and(|body| {
        body.iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
    });
    match near::form(token) {
        Some(near) => Err(AuthenticationError::Malformed(Malformed::Near(near))),
        None if well_formed => Ok(()),
        None => Err(AuthenticationError::Malformed(Malformed::Near(
            NearMiss::Trailing,
        ))),
    }
}

/// What the cache keeps of a token that its issuer honours.
fn active(ask: &Ask<'_>, issuer: &Issuer, claims: Members) -> Verified {
    let times = claims::registered(&claims);
    let bound = ask.now.plus(cache_max(issuer));
    let exp = times.ok().and_then(|times| times.exp);
    let until = exp.map_or(bound, |exp| exp.min(bound));
    Verified::introspected(
        issuer.issuer.clone(),
        claims,
        times,
        fingerprint(ask.token),
        until,
        ask.now,
    )
}

/// What an answer says beyond the claims: whose token it is, and of which kind.
fn check_answer(token: &Verified, issuer: &Issuer) -> Result<(), AuthenticationError> {
    let text = |name: &str| token.claims.get(name).and_then(Json::as_text);
    let kind = token.claims.get("token_type");
    if kind.is_some_and(|kind| kind.as_text().is_none()) {
        return Err(AuthenticationError::Malformed(Malformed::Claim(
            "token_type",
        )));
    }
    if text("iss").is_some_and(|iss| *iss != *issuer.issuer) {
        return Err(AuthenticationError::IssuerUntrusted(None));
    }
    // RFC 6749 section 5.1 as RFC 7662 section 2.2 takes it. A token that is bound to a key, or one
    // for refreshing, is none that a bearer may show.
    let bearer = |kind: &str| {
        ["bearer", "access_token"]
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known))
    };
    if text("token_type").is_some_and(|kind| !bearer(kind)) {
        return Err(AuthenticationError::TypeNotAllowed(None));
    }
    Ok(())
}

/// What is remembered of an issuer's word.
enum Word {
    Active(Arc<Verified>),
    Inactive,
    /// It honoured the token, too long ago to count.
    Old,
    None,
}

fn cache_max(issuer: &Issuer) -> Duration {
    issuer
        .introspection
        .as_ref()
        .map_or(Duration::ZERO, |rules| rules.cache_max)
}

impl TokenCache {
    fn introspected(&self, digest: &TokenDigest, now: UnixTime) -> Word {
        match self.good(digest) {
            Some(known) if known.introspected_until.is_some_and(|until| now < until) => {
                Word::Active(known)
            }
            _ if self.is_inactive(digest, now) => Word::Inactive,
            Some(_) => Word::Old,
            None => Word::None,
        }
    }
}
