//! Steps 1 (types), 3 and 4: the claims of a verified token against its issuer's rules at a time.
//!
//! Done anew on every request, cached or not. The order here is the order of reporting.

use crate::clock::UnixTime;
use crate::oauth::json::Members;
use crate::oauth::{Json, Scopes};
use crate::policy::{Issuer, Trust, strip_application};

use super::error::{AuthenticationError, Malformed};
use super::near;
use super::principal::{Signed, Times, Verified, scope_claim};

/// Reads the registered times and checks the types of the registered claims (RFC 7519 section
/// 4.1), and of those by which tokens are revoked.
///
/// # Errors
/// The name of the first claim whose type is wrong.
pub(super) fn registered(claims: &Members) -> Result<Times, &'static str> {
    let time = |name: &'static str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_f64()
            .and_then(UnixTime::from_numeric_date)
            .map(Some)
            .ok_or(name),
    };
    for name in ["iss", "sub", "jti", "sid", "client_id", "azp"] {
        if claims
            .get(name)
            .is_some_and(|value| value.as_text().is_none())
        {
            return Err(name);
        }
    }
    if claims
        .get("aud")
        .is_some_and(|aud| aud.one_or_many_texts().is_none())
    {
        return Err("aud");
    }
    Ok(Times {
        exp: time("exp")?,
        nbf: time("nbf")?,
        iat: time("iat")?,
    })
}

/// Checks everything that an issuer demands of its tokens.
///
/// # Errors
/// The first check that fails, in the order of the verdict.
pub(super) fn check(
    token: &Verified,
    issuer: &Issuer,
    trust: &Trust,
    now: UnixTime,
) -> Result<(), AuthenticationError> {
    let times = check_types(token, issuer)?;
    check_times(times, issuer, now)?;
    check_audience(token, issuer, trust)?;
    for claim in &issuer.require {
        let value = token.claims.claim(claim);
        // What is there without saying anything is not there.
        if matches!(value, None | Some(Json::Null)) || value.and_then(Json::as_text) == Some("") {
            return Err(AuthenticationError::ClaimMissing {
                claim: claim.clone(),
            });
        }
    }
    Ok(())
}

fn check_types(token: &Verified, issuer: &Issuer) -> Result<Times, AuthenticationError> {
    // An opaque token has no type; what its issuer said of it was looked at before.
    let fits = |signed: &Signed| issuer.accepts_type(signed.typ.as_deref());
    if !token.signed.as_ref().is_none_or(fits) {
        let typ = token.signed.as_ref().and_then(|it| it.typ.as_deref());
        let typ = typ.map(strip_application);
        return Err(AuthenticationError::TypeNotAllowed(near::kind(
            &token.claims,
            typ,
        )));
    }
    // A type of its own says what it is; a plain JWT may say otherwise in its claims.
    let is_plain = token.signed.as_ref().is_some_and(|signed| {
        let typ = signed.typ.as_deref().map(strip_application);
        typ.is_none_or(|typ| typ.eq_ignore_ascii_case("jwt"))
    });
    if is_plain && let Some(other) = near::says_other(&token.claims) {
        return Err(AuthenticationError::TypeNotAllowed(Some(other)));
    }
    let malformed = |claim| AuthenticationError::Malformed(Malformed::Claim(claim));
    let times = token.times.map_err(malformed)?;
    if let Some(claim) = scope_claim(&token.claims, issuer)
        && Scopes::from_claim(claim).is_none()
    {
        return Err(malformed("scope"));
    }
    Ok(times)
}

fn check_times(times: Times, issuer: &Issuer, now: UnixTime) -> Result<(), AuthenticationError> {
    let missing = |claim: &str| AuthenticationError::ClaimMissing {
        claim: claim.into(),
    };
    // RFC 7662 lets the issuer leave `exp` out: there it is the one who says "active".
    if times.exp.is_none() && issuer.introspection.is_none() {
        return Err(missing("exp"));
    }
    if issuer.needs_iat() && times.iat.is_none() {
        return Err(missing("iat"));
    }
    if let Some(exp) = times.exp.filter(|exp| now >= exp.plus(issuer.leeway)) {
        return Err(AuthenticationError::Expired { at: exp });
    }
    let soonest = now.plus(issuer.leeway);
    if let Some(nbf) = times.nbf.filter(|nbf| soonest < *nbf) {
        return Err(AuthenticationError::NotYetValid { from: nbf });
    }
    if let Some(iat) = times.iat {
        if soonest < iat {
            return Err(AuthenticationError::IssuedInFuture { at: iat });
        }
        if let Some(limit) = issuer.age_max
            && now > iat.plus(limit).plus(issuer.leeway)
        {
            return Err(AuthenticationError::TooOld { limit });
        }
        if let Some(limit) = issuer.lifetime_max
            && times.exp.is_none_or(|exp| exp > iat.plus(limit))
        {
            return Err(AuthenticationError::LifetimeTooLong { limit });
        }
    }
    Ok(())
}

fn check_audience(
    token: &Verified,
    issuer: &Issuer,
    trust: &Trust,
) -> Result<(), AuthenticationError> {
    let expected = |name: &str| trust.audiences.iter().any(|audience| **audience == *name);
    let fits = match token.claims.get("aud") {
        None => {
            return Err(AuthenticationError::ClaimMissing {
                claim: "aud".into(),
            });
        }
        Some(Json::Text(audience)) => expected(audience),
        Some(Json::Array(items)) => items.iter().filter_map(Json::as_text).any(expected),
        Some(_) => false,
    };
    if !fits {
        let near = near::audience(&token.claims, issuer, trust);
        return Err(AuthenticationError::WrongAudience(near));
    }
    Ok(())
}
