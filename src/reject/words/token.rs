//! The sentences about a token: steps 0 to 4 and the revocations, with the near misses.

use super::{Extras, RenewalMember, Words, nearly, plain, times};
use crate::authenticate::{AuthenticationError, Refused};
use crate::clock::{UnixTime, spoken};
use crate::policy::{Issuer, IssuerId, TokenPlace};
use crate::reject::Setting;
use crate::verdict::{NearMiss, Reason};

/// Issuers and audiences that one body lists.
const LISTED_MAX: usize = 10;

pub(super) fn authentication<'a>(refused: &Refused, setting: &'a Setting<'_>) -> Words<'a> {
    use AuthenticationError as E;
    let issuer = refused.issuer.and_then(|id| rules(setting, id));
    let renew = || {
        issuer.map_or_else(
            || "Get a new token and send the request again.".to_owned(),
            get_new_token,
        )
    };
    match &refused.error {
        E::Missing => Words {
            extras: Extras {
                renewal: only_issuer(setting).map(renewal),
                ..Extras::default()
            },
            ..plain(
                "The request carries no token.",
                &format!(
                    "{}{}",
                    where_to_put(setting),
                    only_issuer(setting)
                        .map(|i| format!(" {}", where_to_get(i)))
                        .unwrap_or_default()
                ),
            )
        },
        E::Ambiguous => plain(
            "The request carries more than one credential.",
            "Send exactly one Authorization header with one bearer token.",
        ),
        E::SchemeUnsupported(near) => Words {
            extras: Extras {
                accepted: Some(vec!["Bearer"]),
                ..Extras::default()
            },
            ..nearly(
                *near,
                "The Authorization header has a scheme other than Bearer.",
                "Send `Authorization: Bearer <token>`.",
            )
        },
        E::TooLarge { size, limit } => Words {
            detail: format!("The token has {size} bytes, {limit} are allowed."),
            hint: "Ask the issuer for a token with fewer claims.".to_owned(),
            near: None,
            extras: Extras {
                size: Some(*size as u64),
                limit: Some(*limit as u64),
                ..Extras::default()
            },
        },
        E::Malformed(how) => super::malformed::of(*how),
        E::CriticalHeader => plain(
            "The token's header has `crit`, and no extension is supported.",
            "Ask the issuer for a token without critical extensions.",
        ),
        E::IssuerMissing => Words {
            extras: claim("iss"),
            ..plain(
                "The token has no `iss` claim.",
                "Use an access token of the issuer itself.",
            )
        },
        E::IssuerUntrusted(near) => untrusted(*near, setting),
        E::AlgNotAllowed(near) => Words {
            extras: Extras {
                accepted: issuer.map(|issuer| issuer.algorithms.names()),
                ..Extras::default()
            },
            ..nearly(
                *near,
                "The token is signed with an algorithm that is not accepted from its issuer, or not for the key that it names.",
                "Have the issuer sign its access tokens with an accepted algorithm.",
            )
        },
        E::KeyUnknown(near) => key_unknown(*near, refused.issuer, setting),
        E::SignatureInvalid(near) => nearly(
            *near,
            "No key of the issuer made the token's signature.",
            "The token was changed on its way, cut, or signed by another environment of the same issuer. Get a new one.",
        ),
        E::Inactive => Words {
            hint: renew(),
            extras: Extras {
                renewal: issuer.map(renewal),
                ..Extras::default()
            },
            ..plain(
                "The token's issuer does not honour it: it has expired, was taken back, or is no access token.",
                "",
            )
        },
        E::IntrospectionUnavailable => plain(
            "The gateway cannot ask the token's issuer about it at this time.",
            "It is not your fault: keep the token and try again.",
        ),
        E::KeysUnavailable => plain(
            "The gateway has no keys of the token's issuer at this time.",
            "It is not your fault: keep the token and try again.",
        ),
        E::TypeNotAllowed(near) => Words {
            extras: Extras {
                accepted: issuer.map(|issuer| texts(&issuer.token_types)),
                ..Extras::default()
            },
            ..nearly(
                *near,
                "The token's `typ` is not one that is accepted from its issuer.",
                "Send an access token; ID tokens and refresh tokens do not open an API.",
            )
        },
        E::ClaimMissing { claim: name } => Words {
            detail: format!("The token has no `{name}` claim."),
            hint: "Ask the issuer for access tokens with this claim.".to_owned(),
            near: None,
            extras: claim(name),
        },
        E::Expired { at } => times::expired(*at, refused.issuer, setting),
        E::NotYetValid { from } => {
            times::early(Reason::TokenNotYetValid, *from, refused.issuer, setting)
        }
        E::IssuedInFuture { at } => {
            times::early(Reason::TokenIssuedInFuture, *at, refused.issuer, setting)
        }
        E::TooOld { limit } => Words {
            detail: format!(
                "The token is older than allowed; the limit is {}.",
                spoken(*limit)
            ),
            hint: renew(),
            near: None,
            extras: Extras {
                limit: Some(limit.as_secs()),
                renewal: issuer.map(renewal),
                ..Extras::default()
            },
        },
        E::LifetimeTooLong { limit } => times::lives_too_long(*limit, refused),
        E::WrongAudience(near) => audience(*near, refused, setting),
        E::RevocationsUnavailable => plain(
            "The gateway cannot be sure that the token was not taken back, and this route demands that.",
            "It is not your fault: keep the token and try again.",
        ),
        E::Revoked(revoked) => Words {
            detail: "The token was taken back.".to_owned(),
            hint: match revoked.spares_new(setting.now) {
                true => "Sign in again to get a new token.",
                false => {
                    "A new token of the same kind is refused too: ask the operator of this API."
                }
            }
            .to_owned(),
            near: None,
            extras: Extras {
                revoked_by: Some(revoked.by.name()),
                revoked_at: Some(revoked.at.rfc3339()),
                ..Extras::default()
            },
        },
    }
}

fn untrusted<'a>(near: Option<NearMiss>, setting: &'a Setting<'_>) -> Words<'a> {
    let named = |id| rules(setting, id).map_or("", |issuer| &*issuer.issuer);
    let trusted = setting.route.map(|route| {
        let trusts = route.trusts().iter().take(LISTED_MAX);
        trusts.map(|trust| named(trust.issuer)).collect()
    });
    Words {
        extras: Extras {
            trusted,
            ..Extras::default()
        },
        ..nearly(
            near,
            "The token's `iss` is none of the issuers that this route trusts.",
            "The token may be of another environment. Get one from a trusted issuer.",
        )
    }
}

fn key_unknown<'a>(
    near: Option<NearMiss>,
    issuer: Option<IssuerId>,
    setting: &Setting<'_>,
) -> Words<'a> {
    let mut words = nearly(
        near,
        "The issuer's keys, as the gateway last saw them, do not have the key that the token names.",
        "The token is old or of another environment: get a new one. If new ones are refused too, the issuer may have rotated its keys just now: try them again in half a minute.",
    );
    words.extras.keys_checked_at = issuer
        .and_then(|id| setting.policy.issuer(id)?.keys().checked_at)
        .map(UnixTime::rfc3339);
    words
}

fn audience<'a>(near: Option<NearMiss>, refused: &Refused, setting: &'a Setting<'_>) -> Words<'a> {
    let trust = refused.issuer.and_then(|id| setting.route?.trust(id));
    let expected: Vec<&str> = trust
        .map(|trust| {
            trust
                .audiences
                .iter()
                .take(LISTED_MAX)
                .map(|a| &**a)
                .collect()
        })
        .unwrap_or_default();
    Words {
        extras: Extras {
            expected: Some(expected.clone()),
            ..Extras::default()
        },
        ..nearly(
            near,
            "The token is not meant for this API: its `aud` holds none of the expected audiences.",
            &format!(
                "Ask the issuer for a token with the audience {}.",
                expected.join(" or ")
            ),
        )
    }
}

fn claim<'a>(name: &str) -> Extras<'a> {
    Extras {
        claim: Some(name.to_owned()),
        ..Extras::default()
    }
}

fn texts(list: &[Box<str>]) -> Vec<&str> {
    list.iter().map(|text| &**text).collect()
}

pub(super) fn rules<'a>(setting: &'a Setting<'_>, id: IssuerId) -> Option<&'a Issuer> {
    setting.policy.issuer(id).map(|issuer| &*issuer.rules)
}

/// The issuer to ask, where the route trusts one alone.
fn only_issuer<'a>(setting: &'a Setting<'_>) -> Option<&'a Issuer> {
    match setting.route?.trusts() {
        [trust] => rules(setting, trust.issuer),
        _ => None,
    }
}

pub(super) fn renewal(issuer: &Issuer) -> RenewalMember<'_> {
    RenewalMember {
        issuer: &issuer.issuer,
        token_endpoint: issuer
            .renewal
            .as_ref()
            .and_then(|renewal| renewal.token_endpoint.as_deref()),
    }
}

fn where_to_get(issuer: &Issuer) -> String {
    let hint = issuer
        .renewal
        .as_ref()
        .and_then(|renewal| renewal.hint.as_deref());
    match hint {
        Some(hint) => format!("Get one from {}. {hint}", issuer.issuer),
        None => format!("Get one from {}.", issuer.issuer),
    }
}

pub(super) fn get_new_token(issuer: &Issuer) -> String {
    let hint = issuer
        .renewal
        .as_ref()
        .and_then(|renewal| renewal.hint.as_deref());
    let sentence = format!(
        "Get a new token from {} and send the request again.",
        issuer.issuer
    );
    match hint {
        Some(hint) => format!("{sentence} {hint}"),
        None => sentence,
    }
}

/// Where the route looks for a token.
fn where_to_put(setting: &Setting<'_>) -> String {
    let places = setting.route.map_or(&[][..], |route| &route.token_from);
    let place = places.iter().find(|place| **place == TokenPlace::Header);
    match place.or_else(|| places.first()) {
        None | Some(TokenPlace::Header) => {
            "Send the header `Authorization: Bearer <token>`.".to_owned()
        }
        Some(TokenPlace::Query(name)) => format!("Send it as `{name}` in the query."),
        Some(TokenPlace::Cookie(name)) => format!("Send it in the cookie `{name}`."),
        Some(TokenPlace::WebSocketProtocol) => {
            "Offer the protocols `bearer` and the token for the WebSocket.".to_owned()
        }
    }
}
