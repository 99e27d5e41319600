//! OpenID Connect Back-Channel Logout 1.0: the provider tells that somebody has signed out.
//!
//! A logout token ends the session that it names, or all sessions of its subject: every token of it
//! that was issued up to then. The profile is that of section 2.6. Whatever is wrong is 400 (section
//! 2.8), with a description that repeats nothing of the token.

use http::{Response, StatusCode};

use super::{Inbound, Received, empty, oauth_error, only};
use crate::authenticate::{AuthenticationError, Statement};
use crate::clock::UnixTime;
use crate::http::Body;
use crate::oauth::Json;
use crate::policy::Issuer;
use crate::revocation::{Kind, Revocation, Selector};

/// The event that makes a token a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Its type. The specification only recommends it, and what a logout token must hold and must not hold
/// tells it from others.
const TYPES: [&str; 2] = ["logout+jwt", "jwt"];

/// What a good logout token says.
struct Logout<'a> {
    kind: Kind,
    value: &'a str,
    at: UnixTime,
    jti: &'a str,
    /// Until when it could come again.
    end: UnixTime,
}

impl Inbound {
    pub(super) async fn logout(&self, received: Received<'_>) -> Response<Body> {
        match self.log_out(received).await {
            Ok(()) => empty(StatusCode::OK),
            Err(why) => oauth_error(StatusCode::BAD_REQUEST, "invalid_request", why),
        }
    }

    async fn log_out(&self, received: Received<'_>) -> Result<(), &'static str> {
        let (now, authenticator, policy) = (received.now, received.authenticator, received.policy);
        let fields = received.form()?;
        let token = only(&fields, "logout_token")?.ok_or("there is no `logout_token`")?;
        let stated = authenticator.statement(token.as_bytes(), policy, now).await;
        let statement = stated.map_err(|error| unverified(&error))?;
        let issuer = statement.issuer().ok_or("its issuer is not known")?;
        let logout = checked(&statement, issuer, now)?;
        let selector = Selector {
            issuer: issuer.issuer.clone(),
            kind: logout.kind,
            value: logout.value.into(),
        };
        let author = format!("logout:{}", issuer.name);
        let until = issuer.outlived_at(now);
        let made = Revocation::made(selector, Some(logout.at), until, &author, now);
        if !made.is_sound() {
            return Err("its `sid` or `sub` is too long");
        }
        if !self.seen.take(&issuer.issuer, logout.jti, logout.end, now) {
            return Err("this logout token has been used");
        }
        let added = self.add(made, author, now).await;
        added.map_err(|()| {
            self.seen.give_back(&issuer.issuer, logout.jti, logout.end);
            "the logout could not be written down; try again"
        })
    }
}

/// Why a statement is not taken for its issuer's.
pub(super) const fn unverified(error: &AuthenticationError) -> &'static str {
    match error {
        AuthenticationError::IssuerMissing | AuthenticationError::IssuerUntrusted(_) => {
            "its issuer is not known"
        }
        AuthenticationError::AlgNotAllowed(_) => "its `alg` is not one that its issuer uses here",
        AuthenticationError::KeyUnknown(_) => "its issuer publishes no such key",
        AuthenticationError::SignatureInvalid(_) => "its signature does not hold",
        AuthenticationError::KeysUnavailable => "the keys of its issuer are not there; try again",
        _ => "it is no signed JWT",
    }
}

/// The validation profile.
fn checked<'a>(
    statement: &'a Statement,
    issuer: &Issuer,
    now: UnixTime,
) -> Result<Logout<'a>, &'static str> {
    let rules = issuer.logout.as_ref();
    let rules = rules.ok_or("logout tokens of its issuer are not taken")?;
    let typ = statement.typ().unwrap_or("jwt");
    if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ)) {
        return Err("its `typ` is not `logout+jwt`");
    }
    if !statement.is_for(&rules.client_ids) {
        return Err("its `aud` is not a client id that is configured");
    }
    let times = statement
        .times()
        .map_err(|_| "a claim has the wrong type")?;
    let iat = times.iat.ok_or("it has no `iat`")?;
    let exp = times.exp.ok_or("it has no `exp`")?;
    if now.plus(issuer.leeway) < iat {
        return Err("its `iat` lies in the future");
    }
    let end = exp.plus(issuer.leeway);
    if now >= end {
        return Err("it has expired");
    }
    let Some(Json::Object(events)) = statement.claim("events") else {
        return Err("it has no `events`");
    };
    if !matches!(events.get(EVENT), Some(Json::Object(_))) {
        return Err("its `events` have no back-channel logout");
    }
    if statement.claim("nonce").is_some() {
        return Err("it has a `nonce`, as ID tokens have");
    }
    let text = |name: &str| statement.text(name).filter(|text| !text.is_empty());
    let jti = text("jti").ok_or("it has no `jti`")?;
    let (kind, value) = match (text("sid"), text("sub")) {
        (_, Some(subject)) if rules.whole_subject => (Kind::Subject, subject),
        (Some(session), _) => (Kind::Session, session),
        (None, Some(subject)) => (Kind::Subject, subject),
        (None, None) => return Err("it has neither `sid` nor `sub`"),
    };
    Ok(Logout {
        kind,
        value,
        // By the issuer's clock, as its tokens are.
        at: iat,
        jti,
        end,
    })
}
