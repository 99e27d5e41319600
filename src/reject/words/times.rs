//! The sentences about a token that is late or early, with whose clock is off where the evidence says it.
//!
//! The evidence: the time that the issuer told when its keys were fetched, those that other issuers told, and
//! the `Date` of the request, where a client sends one (RFC 9110 section 6.6.1).

use std::time::Duration;

use http::header::DATE;

use super::token::{get_new_token, renewal, rules};
use super::{Extras, Words};
use crate::authenticate::Refused;
use crate::clock::{UnixTime, spoken};
use crate::policy::IssuerId;
use crate::reject::Setting;
use crate::verdict::{NearMiss, Reason};

/// A token that is early or late by no more than this is a matter of clocks.
const CLOCK_SKEW_SECS: u64 = 60;
/// Clocks that differ by less are as good as equal: both tell whole seconds, and the answer took its time.
const CLOCKS_DIFFER_SECS: u64 = 3;
/// Issuers whose clocks are compared.
const COMPARED_MAX: usize = 64;

/// A token that is over.
pub(super) fn expired<'a>(
    at: UnixTime,
    issuer: Option<IssuerId>,
    setting: &'a Setting<'_>,
) -> Words<'a> {
    let ago = setting.now.since(at);
    let near = (ago.as_secs() <= CLOCK_SKEW_SECS).then(|| {
        if offset(issuer, setting).is_some_and(|offset| offset < 0) {
            // By the issuer's clock it may not be over yet.
            NearMiss::ClocksDifferExpired
        } else {
            NearMiss::ExpiredJustNow
        }
    });
    let near = if client_is_behind(at, setting) {
        Some(NearMiss::ClientClockBehind)
    } else {
        near
    };
    let issuer = issuer.and_then(|id| rules(setting, id));
    let renew = issuer.map_or_else(
        || "Get a new token and send the request again.".to_owned(),
        get_new_token,
    );
    Words {
        detail: format!("The token expired {} ago.", spoken(ago)),
        hint: match near {
            Some(near) => format!("{renew} {}", near.mend()),
            None => renew,
        },
        near,
        extras: Extras {
            expired_at: Some(at.rfc3339()),
            renewal: issuer.map(renewal),
            ..Extras::default()
        },
    }
}

/// A token whose time has not come.
pub(super) fn early<'a>(
    reason: Reason,
    from: UnixTime,
    issuer: Option<IssuerId>,
    setting: &Setting<'_>,
) -> Words<'a> {
    let skew = from.since(setting.now);
    let ahead = offset(issuer, setting).filter(|offset| *offset > 0);
    let by_moments = skew.as_secs() <= CLOCK_SKEW_SECS;
    let near = match (reason, ahead) {
        (Reason::TokenIssuedInFuture, _) if in_milliseconds(from) => {
            Some(NearMiss::IssuedInMilliseconds)
        }
        (Reason::TokenNotYetValid, _) if in_milliseconds(from) => {
            Some(NearMiss::EarlyInMilliseconds)
        }
        (Reason::TokenIssuedInFuture, Some(offset)) if all_are(offset, setting) => {
            Some(NearMiss::GatewayClock)
        }
        (Reason::TokenIssuedInFuture, Some(_)) => Some(NearMiss::ClocksDiffer),
        (_, Some(_)) if by_moments => Some(NearMiss::ClocksDifferEarly),
        (Reason::TokenNotYetValid, None) if by_moments => Some(NearMiss::EarlyByMoments),
        _ => None,
    };
    let what = match reason {
        Reason::TokenIssuedInFuture => "The token was issued",
        _ => "The token becomes valid",
    };
    let differ = ahead.map_or_else(String::new, |offset| {
        format!(" The issuer's clock was {offset} s ahead when its keys were fetched.")
    });
    Words {
        detail: match near {
            Some(near) if in_milliseconds(from) => near.says().to_owned(),
            _ => format!(
                "{what} {} from now, by this gateway's clock.{differ}",
                spoken(skew)
            ),
        },
        hint: near
            .map_or(
                "Compare the clocks of the issuer and of the gateway, `server_time`.",
                NearMiss::mend,
            )
            .to_owned(),
        near,
        extras: Extras {
            valid_from: Some(from.rfc3339()),
            skew: Some(skew.as_secs()),
            ..Extras::default()
        },
    }
}

/// A token whose life is too long.
pub(super) fn lives_too_long<'a>(limit: Duration, refused: &Refused) -> Words<'a> {
    let times = refused.principal.as_ref().and_then(|it| it.times());
    let exp = times.and_then(|[_, _, exp]| exp);
    let near = exp.filter(|exp| in_milliseconds(*exp));
    let near = near.map(|_| NearMiss::LifetimeInMilliseconds);
    Words {
        detail: match near {
            Some(near) => near.says().to_owned(),
            None => format!(
                "The token lives longer than allowed; the limit is {}.",
                spoken(limit)
            ),
        },
        hint: near
            .map_or(
                "Ask the issuer for tokens that live shorter.",
                NearMiss::mend,
            )
            .to_owned(),
        near,
        extras: Extras {
            limit: Some(limit.as_secs()),
            ..Extras::default()
        },
    }
}

/// Whether a time makes sense as milliseconds alone: in seconds it is after the year 5000.
fn in_milliseconds(at: UnixTime) -> bool {
    at.secs() > 100_000_000_000
}

/// The issuer's clock less ours, in seconds, where they differ.
fn offset(issuer: Option<IssuerId>, setting: &Setting<'_>) -> Option<i64> {
    let keys = setting.policy.issuer(issuer?)?.keys();
    let offset = keys.clock_offset?;
    (offset.unsigned_abs() >= CLOCKS_DIFFER_SECS).then_some(offset)
}

/// Whether several issuers have told their time, and every one of them differs from ours as this one does.
fn all_are(offset: i64, setting: &Setting<'_>) -> bool {
    let issuers = setting.policy.issuers().iter().take(COMPARED_MAX);
    let told: Vec<i64> = issuers
        .filter_map(|issuer| issuer.keys().clock_offset)
        .collect();
    let near = |other: &i64| other.abs_diff(offset) <= CLOCKS_DIFFER_SECS;
    told.len() > 1 && told.iter().all(near)
}

/// Whether the token is still good by the client's own clock, which is behind ours.
fn client_is_behind(expired_at: UnixTime, setting: &Setting<'_>) -> bool {
    let told = setting
        .headers
        .get(DATE)
        .and_then(|date| date.to_str().ok());
    let told = told.and_then(UnixTime::parse_http_date);
    told.is_some_and(|told| {
        told < expired_at && setting.now.since(told).as_secs() >= CLOCKS_DIFFER_SECS
    })
}
