//! From the caller to the permit: scopes and claim rules of the route. 403 lives here.
//!
//! A [`Permit`] is the only thing that the forwarding stage accepts, and this stage is the only
//! one that makes it: a request that was not authorized does not type-check.

mod permit;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authenticate::{Caller, Principal};
use crate::oauth::{Json, Scopes};
use crate::policy::{CertificateRule, ClaimRule, Issuer, Policy, Requirement, Route};
use crate::verdict::{NearMiss, Reason};

pub(crate) use permit::Permit;

/// The certificate that a token is bound to (RFC 8705 section 3.1).
const BOUND_TO: &str = "/cnf/x5t#S256";

/// Claims in which providers put what others call scopes.
const SCOPE_CLAIMS: [&str; 7] = [
    "scope",
    "scp",
    "scopes",
    "permissions",
    "roles",
    "groups",
    "/realm_access/roles",
];
/// Scopes that are looked at to find out what was meant.
const SCOPES_MAX: usize = 256;

/// What the caller's token lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthorizationError {
    #[error("scope missing")]
    ScopeMissing {
        /// Every one of `scopes_all` that is missing; empty if one of `scopes_any` is wanted.
        missing: Vec<Box<str>>,
        near: Option<NearMiss>,
        /// The claim in which it is, where that does not count.
        elsewhere: Option<&'static str>,
    },
    #[error("claim {claim} not allowed")]
    ClaimNotAllowed { claim: Box<str> },
    #[error("client certificate not allowed")]
    CertificateNotAllowed,
    #[error("the token is not bound to the client certificate")]
    CertificateNotBound,
}

impl AuthorizationError {
    /// The word for it.
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Self::ScopeMissing { .. } => Reason::ScopeMissing,
            Self::ClaimNotAllowed { .. }
            | Self::CertificateNotAllowed
            | Self::CertificateNotBound => Reason::ClaimNotAllowed,
        }
    }
}

/// What is known of the client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientCertificate<'a> {
    /// SHA-256 of one that the listener has verified; `None`: it has shown none.
    Shown(Option<&'a [u8; 32]>),
    /// There is no connection: a token is looked at apart from one.
    Unknown,
}

/// Step 5: does this caller meet what the route demands of this method?
///
/// # Errors
/// A scope or a claim is lacking.
pub(crate) fn authorize(
    caller: Caller,
    requirement: &Requirement,
    policy: &Policy,
    certificate: ClientCertificate<'_>,
) -> Result<Permit, AuthorizationError> {
    if let Caller::Authenticated(principal) = &caller {
        let issuer = policy
            .issuer(principal.issuer())
            .map(|issuer| &*issuer.rules);
        // A principal's issuer is of this policy; were it not, it would have no scopes at all.
        check_scopes(principal, issuer, requirement)?;
        check_claims(principal, &requirement.claims)?;
        check_certificate(principal, &requirement.certificate, certificate)?;
    }
    Ok(Permit::new(caller))
}

/// A request that would have been refused, on a route that only reports: it passes, and nobody calls.
/// `None` on every other route.
pub(crate) fn only_reported(route: &Route) -> Option<Permit> {
    route.report_only.then(|| Permit::new(Caller::Anonymous))
}

fn check_scopes(
    principal: &Principal,
    issuer: Option<&Issuer>,
    requirement: &Requirement,
) -> Result<(), AuthorizationError> {
    if requirement.scopes_all.is_empty() && requirement.scopes_any.is_empty() {
        return Ok(());
    }
    let scopes = issuer.map_or(Scopes::Absent, |issuer| principal.scopes(issuer));
    let missing: Vec<Box<str>> = requirement
        .scopes_all
        .iter()
        .filter(|scope| !scopes.contains(scope))
        .cloned()
        .collect();
    let any = requirement.scopes_any.is_empty()
        || requirement
            .scopes_any
            .iter()
            .any(|scope| scopes.contains(scope));
    if missing.is_empty() && any {
        Ok(())
    } else {
        let wanted = match &*missing {
            [] => &requirement.scopes_any,
            missing => missing,
        };
        let (near, elsewhere) = near_scope(principal, issuer, scopes, wanted);
        Err(AuthorizationError::ScopeMissing {
            missing,
            near,
            elsewhere,
        })
    }
}

/// Where a scope is that was not found, and in which claim.
fn near_scope(
    principal: &Principal,
    issuer: Option<&Issuer>,
    scopes: Scopes<'_>,
    wanted: &[Box<str>],
) -> (Option<NearMiss>, Option<&'static str>) {
    let is_wanted = |text: &str| wanted.iter().any(|scope| **scope == *text);
    let joined = |text: &str| {
        let mut parts = text.split([',', ';', '+', '\t', '\n', ' ', '|']);
        parts.any(is_wanted)
    };
    if scopes.iter().take(SCOPES_MAX).any(joined) {
        return (Some(NearMiss::ScopeSeparator), None);
    }
    let cased = |text: &str| wanted.iter().any(|it| it.eq_ignore_ascii_case(text));
    if scopes.iter().take(SCOPES_MAX).any(cased) {
        return (Some(NearMiss::ScopeCase), None);
    }
    let elsewhere = SCOPE_CLAIMS.into_iter().find(|name| {
        let scopes = principal.claim(name).and_then(Scopes::from_claim);
        scopes.is_some_and(|scopes| scopes.iter().take(SCOPES_MAX).any(is_wanted))
    });
    let near = elsewhere.map(|name| {
        let own = issuer.map_or(&[][..], |issuer| &issuer.scope_claims);
        match own.iter().any(|claim| **claim == *name) {
            true => NearMiss::ScopeShadowed,
            false => NearMiss::ScopeElsewhere,
        }
    });
    (near, elsewhere)
}

fn check_certificate(
    principal: &Principal,
    rule: &CertificateRule,
    certificate: ClientCertificate<'_>,
) -> Result<(), AuthorizationError> {
    let ClientCertificate::Shown(shown) = certificate else {
        return Ok(());
    };
    let is_allowed = rule.allowed.is_empty()
        || shown.is_some_and(|shown| rule.allowed.iter().any(|it| it == shown));
    if !is_allowed {
        return Err(AuthorizationError::CertificateNotAllowed);
    }
    if rule.bound {
        let bound_to = match principal.claim(BOUND_TO) {
            Some(Json::Text(thumbprint)) => URL_SAFE_NO_PAD.decode(thumbprint.as_bytes()).ok(),
            _ => None,
        };
        let is_that = shown.zip(bound_to).is_some_and(|(shown, it)| it == *shown);
        if !is_that {
            return Err(AuthorizationError::CertificateNotBound);
        }
    }
    Ok(())
}

fn check_claims(principal: &Principal, rules: &[ClaimRule]) -> Result<(), AuthorizationError> {
    for rule in rules {
        let holds = |value: &Json| rule.values.contains(value);
        let allowed = match principal.claim(&rule.claim) {
            None => false,
            Some(Json::Array(items)) => items.iter().any(holds),
            Some(value) => holds(value),
        };
        if !allowed {
            let claim = rule.claim.clone();
            return Err(AuthorizationError::ClaimNotAllowed { claim });
        }
    }
    Ok(())
}
