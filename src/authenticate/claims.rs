//! Steps 1 (types), 3 and 4: the claims of a verified token against its issuer's rules at a time.
//!
//! Done anew on every request, cached or not. The order here is the order of reporting.

use crate::clock::UnixTime;
use crate::oauth::json::Members;
use crate::oauth::{Json, Scopes};
use crate::policy::{Issuer, Trust};
use crate::verdict::{Step, Trace};

use super::error::{AuthenticationError, Malformed};
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
    trace: &mut Trace,
) -> Result<(), AuthenticationError> {
    let times = check_types(token, issuer, trace)?;
    check_times(times, issuer, now, trace)?;
    check_audience(token, trust, trace)?;
    for claim in &issuer.require {
        let value = token.claims.claim(claim);
        // What is there without saying anything is not there.
        if matches!(value, None | Some(Json::Null)) || value.and_then(Json::as_text) == Some("") {
            return Err(AuthenticationError::ClaimMissing {
                claim: claim.clone(),
            });
        }
    }
    trace.pass(Step::Issuer, || match &*issuer.require {
        [] => "no further claims are required".to_owned(),
        required => format!("the required claims are there: {}", required.join(", ")),
    });
    Ok(())
}

fn check_types(
    token: &Verified,
    issuer: &Issuer,
    trace: &mut Trace,
) -> Result<Times, AuthenticationError> {
    // An opaque token has no type; what its issuer said of it was looked at before.
    let fits = |signed: &Signed| issuer.accepts_type(signed.typ.as_deref());
    if !token.signed.as_ref().is_none_or(fits) {
        return Err(AuthenticationError::TypeNotAllowed {
            id_token: looks_like_id_token(&token.claims),
        });
    }
    let malformed = |claim| AuthenticationError::Malformed(Malformed::Claim(claim));
    let times = token.times.map_err(malformed)?;
    if let Some(claim) = scope_claim(&token.claims, issuer)
        && Scopes::from_claim(claim).is_none()
    {
        return Err(malformed("scope"));
    }
    trace.pass(Step::Format, || {
        format!("the type is one of: {}", issuer.token_types.join(", "))
    });
    Ok(times)
}

/// `nonce` and the hashes appear in ID tokens only (OpenID Connect Core sections 2 and 3.3.2.11).
fn looks_like_id_token(claims: &Members) -> bool {
    ["nonce", "at_hash", "c_hash"]
        .iter()
        .any(|name| claims.get(name).is_some())
}

fn check_times(
    times: Times,
    issuer: &Issuer,
    now: UnixTime,
    trace: &mut Trace,
) -> Result<(), AuthenticationError> {
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
    trace.pass(Step::Expiration, || {
        let until = times.exp.map_or_else(String::new, UnixTime::rfc3339);
        format!(
            "it is {now}, the token is valid until {until} with {:?} of leeway",
            issuer.leeway
        )
    });
    Ok(())
}

fn check_audience(
    token: &Verified,
    trust: &Trust,
    trace: &mut Trace,
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
        return Err(AuthenticationError::WrongAudience);
    }
    trace.pass(Step::Issuer, || {
        format!("the audience is one of: {}", trust.audiences.join(", "))
    });
    Ok(())
}
