//! What an issuer signed that is no credential of a request: a token that its holder gives up, a logout
//! token, a security event.
//!
//! The signature is checked as that of every token is; what the claims must say is the business of
//! whoever receives it ([`crate::inbound`]).

use std::sync::Arc;

use super::error::{AuthenticationError, Refused};
use super::principal::Verified;
use super::{Authenticator, Notes, claims, jws, verify};
use crate::clock::UnixTime;
use crate::oauth::Json;
use crate::policy::{Issuer, IssuerId, Policy, Trust, strip_application};

/// Claims that a known issuer signed.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    issuer: IssuerId,
    verified: Arc<Verified>,
    policy: Arc<Policy>,
}

/// The registered times of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatedTimes {
    pub(crate) exp: Option<UnixTime>,
    pub(crate) iat: Option<UnixTime>,
}

impl Statement {
    /// The rules of the issuer that signed it.
    pub(crate) fn issuer(&self) -> Option<&Issuer> {
        Some(&*self.policy.issuer(self.issuer)?.rules)
    }

    pub(crate) fn claim(&self, name: &str) -> Option<&Json> {
        self.verified.claims.get(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.claim(name).and_then(Json::as_text)
    }

    /// The type in its header, without `application/`.
    pub(crate) fn typ(&self) -> Option<&str> {
        let signed = self.verified.signed.as_ref()?;
        signed.typ.as_deref().map(strip_application)
    }

    /// Whether its audience is one of these.
    pub(crate) fn is_for(&self, audiences: &[Box<str>]) -> bool {
        let aud = self.claim("aud").and_then(Json::one_or_many_texts);
        let ours = |aud: &&str| audiences.iter().any(|it| **it == **aud);
        aud.is_some_and(|aud| aud.iter().any(ours))
    }

    /// Its times, or the name of the registered claim that has the wrong type.
    pub(crate) fn times(&self) -> Result<StatedTimes, &'static str> {
        let times = self.verified.times?;
        Ok(StatedTimes {
            exp: times.exp,
            iat: times.iat,
        })
    }

    pub(crate) fn fingerprint(&self) -> &[u8; 32] {
        &self.verified.fingerprint
    }
}

impl Authenticator {
    /// What an issuer signed. Keys that it may just have published are asked for.
    ///
    /// # Errors
    /// It is no compact JWS, its issuer is not configured, or no key of it signed it.
    pub(crate) async fn statement(
        &self,
        token: &[u8],
        policy: &Arc<Policy>,
        now: UnixTime,
    ) -> Result<Statement, AuthenticationError> {
        let stated = match read(token, Arc::clone(policy), now) {
            Err(refused) if refused.lacks_a_key() => {
                self.ask_for_key(&refused, policy).await;
                read(token, Arc::clone(policy), now)
            }
            stated => stated,
        };
        stated.map_err(|refused| refused.error)
    }

    /// Whether a statement is an access token that could open something here, now or once its time has
    /// come.
    ///
    /// # Errors
    /// The first check that fails: of its type, its times, its audience, its claims, and of whether it
    /// is revoked.
    pub(crate) fn could_open(
        &self,
        statement: &Statement,
        now: UnixTime,
    ) -> Result<(), AuthenticationError> {
        let issuer = statement.issuer();
        let issuer = issuer.ok_or(AuthenticationError::IssuerUntrusted(None))?;
        let trust = Trust {
            issuer: statement.issuer,
            audiences: issuer.audiences.clone(),
        };
        let verified = &statement.verified;
        let begins = verified
            .times
            .map_or([None; 2], |times| [times.nbf, times.iat]);
        let then = begins.into_iter().flatten().fold(now, UnixTime::max);
        claims::check(verified, issuer, &trust, then)?;
        match verified.revoked(&issuer.issuer, &self.revocations) {
            Some(revoked) => Err(AuthenticationError::Revoked(revoked)),
            None => Ok(()),
        }
    }
}

fn read(token: &[u8], policy: Arc<Policy>, now: UnixTime) -> Result<Statement, Refused> {
    let jws = jws::parse(token)?;
    let iss = verify::issuer_of(&jws)?;
    let id = policy.issuer_by_iss(&iss);
    let id = id.ok_or(AuthenticationError::IssuerUntrusted(None))?;
    let issuer = policy.issuer(id).map(|issuer| Arc::clone(&issuer.rules));
    let issuer = issuer.ok_or(AuthenticationError::IssuerUntrusted(None))?;
    let signed = verify::signed_by(&policy, (id, &issuer), jws, iss, now, &mut Notes::default());
    let verified = signed.map_err(|failure| failure.refused)?;
    Ok(Statement {
        issuer: id,
        verified: Arc::new(verified),
        policy,
    })
}
