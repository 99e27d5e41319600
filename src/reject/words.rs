//! The sentences of a refusal: what happened, what to do, and the members beyond the common ones.
//!
//! The near misses are here: what the caller probably meant, said in the operator's words and never
//! in the token's. What a token says is told only once its signature holds.

use serde::Serialize;

use super::{Rejection, Setting};
use crate::authenticate::{AuthenticationError, IssuerNearMiss, Malformed, Refused};
use crate::authorize::AuthorizationError;
use crate::clock::{UnixTime, spoken};
use crate::forward::ForwardError;
use crate::http::BodyError;
use crate::policy::{Issuer, IssuerId};

/// Issuers and audiences that one body lists.
const LISTED_MAX: usize = 10;
/// A token that is early or late by no more than this is a matter of clocks.
const CLOCK_SKEW_SECS: u64 = 60;

/// Detail, hint, members.
#[derive(Debug, Default)]
pub(super) struct Words<'a> {
    pub(super) detail: String,
    pub(super) hint: String,
    pub(super) extras: Extras<'a>,
}

/// The members that only some refusals have.
#[derive(Debug, Default, Serialize)]
pub(super) struct Extras<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renewal: Option<RenewalMember<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<Required<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skew: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_from: Option<String>,
}

/// Where to get a new token.
#[derive(Debug, Serialize)]
struct RenewalMember<'a> {
    issuer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint: Option<&'a str>,
}

/// The scopes of a rule.
#[derive(Debug, Serialize)]
struct Required<'a> {
    all: &'a [Box<str>],
    any: &'a [Box<str>],
}

/// The words for a refusal.
pub(super) fn of<'a>(rejection: &Rejection, setting: &'a Setting<'_>) -> Words<'a> {
    match rejection {
        Rejection::Authentication(refused) => authentication(refused, setting),
        Rejection::Authorization(error) => authorization(error, setting),
        Rejection::Forward(error) => forward(*error, setting),
        Rejection::AuthorityUnknown => plain(
            "The host of the request is not one that this listener answers for.",
            "Check the host name, and that it resolves to the right server.",
        ),
        Rejection::BodyTooLarge => body_too_large(setting),
        Rejection::HeadersTooLarge => Words {
            extras: Extras {
                limit: Some(setting.limits.header_bytes as u64),
                ..Extras::default()
            },
            ..plain("The header section is larger than allowed.", "Send fewer or shorter headers; cookies are the usual cause.")
        },
        Rejection::Internal => plain(
            "Something in the gateway went wrong.",
            "Try again, and tell the operator the instance if it stays.",
        ),
        Rejection::MethodNotAllowed => {
            let allow = setting.route.map(|route| route.allow()).unwrap_or_default();
            Words {
                detail: "The route does not allow this method.".to_owned(),
                hint: format!("Use one of: {allow}."),
                extras: Extras {
                    allow: Some(allow),
                    ..Extras::default()
                },
            }
        }
        Rejection::RouteNotFound => plain(
            "No route matches the path.",
            "Check the path; it is compared whole, segment by segment and case-sensitive.",
        ),
        Rejection::Target(error) => Words {
            detail: format!("The request target is refused: {error}."),
            hint: "Send the path in its one plain form, without dot segments, empty segments and needless escapes.".to_owned(),
            extras: Extras::default(),
        },
        Rejection::EncodedSlash => plain(
            "The path has an escaped slash, which this route does not allow.",
            "Send the slash as it is, or the value in the query.",
        ),
        Rejection::TransferCoding => plain(
            "The request has a transfer coding other than chunked.",
            "Send the body with a Content-Length, or with Transfer-Encoding: chunked alone.",
        ),
        Rejection::TargetTooLong => Words {
            extras: Extras {
                limit: Some(setting.limits.target_bytes as u64),
                ..Extras::default()
            },
            ..plain("The request target is longer than allowed.", "Send long values in the body.")
        },
    }
}

fn plain<'a>(detail: &str, hint: &str) -> Words<'a> {
    Words {
        detail: detail.to_owned(),
        hint: hint.to_owned(),
        extras: Extras::default(),
    }
}

fn body_too_large<'a>(setting: &Setting<'_>) -> Words<'a> {
    Words {
        extras: Extras {
            limit: setting.limits.body_bytes,
            ..Extras::default()
        },
        ..plain(
            "The request body is larger than allowed.",
            "Send less, or in parts.",
        )
    }
}

fn forward<'a>(error: ForwardError, setting: &Setting<'_>) -> Words<'a> {
    match error {
        ForwardError::Unreachable => plain(
            "The service behind this gateway refused the connection.",
            "It is not your token: it was accepted. Try again later.",
        ),
        ForwardError::Timeout => plain(
            "The service behind this gateway did not answer in time.",
            "It is not your token: it was accepted. Try again later.",
        ),
        ForwardError::Reset { .. } | ForwardError::Body(BodyError::UpstreamReset) => plain(
            "The service behind this gateway closed the connection before it answered.",
            "It is not your token: it was accepted. Try again if the request may be repeated.",
        ),
        ForwardError::Invalid(_) | ForwardError::Body(BodyError::UpstreamInvalid) => plain(
            "The service behind this gateway gave a response that cannot be passed on safely.",
            "It is not your token: it was accepted. Tell the operator the instance.",
        ),
        ForwardError::Overloaded => plain(
            "All connections to the service behind this gateway are in use.",
            "Wait a few seconds and try again.",
        ),
        ForwardError::Body(BodyError::TooLarge) => body_too_large(setting),
        ForwardError::Body(BodyError::Stalled) => plain(
            "The request body stopped coming.",
            "Send it without long pauses.",
        ),
        ForwardError::Body(BodyError::Broken) => plain(
            "The request body broke off or is not framed as HTTP demands.",
            "Check its Content-Length or its chunks.",
        ),
    }
}

fn authorization<'a>(error: &AuthorizationError, setting: &'a Setting<'_>) -> Words<'a> {
    match error {
        AuthorizationError::ScopeMissing { missing } => {
            let required = setting.requirement.map(|requirement| Required {
                all: &requirement.scopes_all,
                any: &requirement.scopes_any,
            });
            let any = required
                .as_ref()
                .map(|r| r.any.join(", "))
                .unwrap_or_default();
            let (detail, hint) = if missing.is_empty() {
                (
                    format!("The token has none of the scopes of which one is needed: {any}."),
                    "Ask the issuer for a token with one of these scopes.".to_owned(),
                )
            } else {
                let missing = missing.join(", ");
                (
                    format!("The token lacks: {missing}."),
                    format!("Ask the issuer for a token with: {missing}."),
                )
            };
            Words {
                detail,
                hint,
                extras: Extras {
                    required,
                    missing: Some(missing.iter().map(|scope| scope.to_string()).collect()),
                    ..Extras::default()
                },
            }
        }
        AuthorizationError::ClaimNotAllowed { claim } => Words {
            detail: format!(
                "The claim `{claim}` of the token does not have a value that this route allows."
            ),
            hint: "Ask the owner of the API which accounts may use it.".to_owned(),
            extras: Extras {
                claim: Some(claim.to_string()),
                ..Extras::default()
            },
        },
    }
}

fn authentication<'a>(refused: &Refused, setting: &'a Setting<'_>) -> Words<'a> {
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
                "The request carries no Authorization header.",
                &format!(
                    "Send the header `Authorization: Bearer <token>`.{}",
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
        E::SchemeUnsupported { bare_token } => Words {
            extras: Extras {
                accepted: Some(vec!["Bearer"]),
                ..Extras::default()
            },
            ..if *bare_token {
                plain(
                    "The Authorization header holds a token without a scheme.",
                    "Put the word Bearer and a space before the token.",
                )
            } else {
                plain(
                    "The Authorization header has a scheme other than Bearer.",
                    "Send `Authorization: Bearer <token>`.",
                )
            }
        },
        E::TooLarge { size, limit } => Words {
            detail: format!("The token has {size} bytes, {limit} are allowed."),
            hint: "Ask the issuer for a token with fewer claims.".to_owned(),
            extras: Extras {
                size: Some(*size as u64),
                limit: Some(*limit as u64),
                ..Extras::default()
            },
        },
        E::Malformed(how) => malformed(*how),
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
        E::AlgNotAllowed => Words {
            extras: Extras {
                accepted: issuer.map(|issuer| issuer.algorithms.names()),
                ..Extras::default()
            },
            ..plain(
                "The token is signed with an algorithm that is not accepted from its issuer, or not for the key that it names.",
                "Have the issuer sign its access tokens with an accepted algorithm.",
            )
        },
        E::KeyUnknown { belongs_to } => key_unknown(*belongs_to, setting),
        E::SignatureInvalid => plain(
            "No key of the issuer made the token's signature.",
            "The token was changed on its way, cut, or signed by another environment of the same issuer. Get a new one.",
        ),
        E::KeysUnavailable => plain(
            "The gateway has no keys of the token's issuer at this time.",
            "It is not your fault: keep the token and try again.",
        ),
        E::TypeNotAllowed { id_token } => Words {
            extras: Extras {
                accepted: issuer.map(|issuer| texts(&issuer.token_types)),
                ..Extras::default()
            },
            ..if *id_token {
                plain(
                    "An ID token was sent where an access token is wanted.",
                    "Send the access_token of the issuer's answer, not the id_token.",
                )
            } else {
                plain(
                    "The token's `typ` is not one that is accepted from its issuer.",
                    "Send an access token; ID tokens and refresh tokens do not open an API.",
                )
            }
        },
        E::ClaimMissing { claim: name } => Words {
            detail: format!("The token has no `{name}` claim."),
            hint: "Ask the issuer for access tokens with this claim.".to_owned(),
            extras: claim(name),
        },
        E::Expired { at } => expired(*at, issuer, setting),
        E::NotYetValid { from } => early("The token becomes valid", *from, setting),
        E::IssuedInFuture { at } => early("The token was issued", *at, setting),
        E::TooOld { limit } => Words {
            detail: format!(
                "The token is older than the {} that are allowed.",
                spoken(*limit)
            ),
            hint: renew(),
            extras: Extras {
                limit: Some(limit.as_secs()),
                renewal: issuer.map(renewal),
                ..Extras::default()
            },
        },
        E::LifetimeTooLong { limit } => Words {
            detail: format!(
                "The token lives longer than the {} that are allowed.",
                spoken(*limit)
            ),
            hint: "Ask the issuer for tokens that live shorter.".to_owned(),
            extras: Extras {
                limit: Some(limit.as_secs()),
                ..Extras::default()
            },
        },
        E::WrongAudience => audience(refused, setting),
        E::Revoked(revoked) => Words {
            detail: "The token was taken back.".to_owned(),
            hint: "Sign in again to get a new token.".to_owned(),
            extras: Extras {
                revoked_by: Some(revoked.by.name()),
                revoked_at: Some(revoked.at.rfc3339()),
                ..Extras::default()
            },
        },
    }
}

fn malformed<'a>(how: Malformed) -> Words<'a> {
    let (detail, hint) = match how {
        Malformed::Empty => (
            "There is no token behind the word Bearer.",
            "Check that the variable that holds the token is set.",
        ),
        Malformed::BearerTwice => (
            "The word Bearer stands twice before the token.",
            "Send it once; the client library may add it for you.",
        ),
        Malformed::Quoted => ("The token is in quotes.", "Send it without quotes."),
        Malformed::LineBreak => (
            "There is a line break in the token, escaped or as a literal \\n.",
            "Take the line break off, for example with `tr -d '\\n'`.",
        ),
        Malformed::Trailing => (
            "Something stands behind the token, or a tab before it.",
            "Send the scheme, one space, the token, and nothing else.",
        ),
        Malformed::Encrypted => (
            "The token has five parts: it is encrypted.",
            "Ask the issuer for signed access tokens (JWS), not encrypted ones (JWE).",
        ),
        Malformed::Opaque => (
            "The token has no parts: it looks opaque, or like an API key.",
            "Send a JWT access token; you may have to name an audience when you ask for it.",
        ),
        Malformed::Cut => (
            "The token was cut: its last part is missing.",
            "Copy the whole token; check the length of the field that stored it.",
        ),
        Malformed::Parts => (
            "The token does not have the three parts of a signed JWT.",
            "Send the access token as the issuer gave it.",
        ),
        Malformed::Part("header") => (
            "The token's header is not base64url of a JSON object with `alg`.",
            "Send the access token as the issuer gave it.",
        ),
        Malformed::Part("payload") => (
            "The token's payload is not base64url of a JSON object without duplicate members.",
            "Send the access token as the issuer gave it.",
        ),
        Malformed::Part(_) => (
            "The token's signature is not base64url.",
            "Send the access token as the issuer gave it.",
        ),
        Malformed::Claim(_) => (
            "A registered claim of the token has the wrong type.",
            "The issuer makes tokens that RFC 7519 does not allow; tell its operator.",
        ),
    };
    let mut words = plain(detail, hint);
    match how {
        Malformed::Claim(name) => words.extras.claim = Some(name.to_owned()),
        Malformed::Part(part) => words.extras.part = Some(part),
        Malformed::Cut => words.extras.part = Some("signature"),
        _ => words.extras.part = Some("token"),
    }
    words
}

fn untrusted<'a>(near: Option<IssuerNearMiss>, setting: &'a Setting<'_>) -> Words<'a> {
    let named = |id| rules(setting, id).map_or("", |issuer| &*issuer.issuer);
    let (detail, hint) = match near {
        Some(IssuerNearMiss::TrailingSlash(id)) => (
            "The token's `iss` differs from a trusted issuer only by a slash at its end."
                .to_owned(),
            format!(
                "The operator or the issuer must write it as `{}`, byte for byte.",
                named(id)
            ),
        ),
        Some(IssuerNearMiss::Scheme(id)) => (
            "The token's `iss` differs from a trusted issuer only by http and https.".to_owned(),
            format!(
                "The issuer must call itself `{}`, byte for byte.",
                named(id)
            ),
        ),
        Some(IssuerNearMiss::OtherRoute) => (
            "The token's issuer is known to this gateway, but not trusted for this route."
                .to_owned(),
            "Get a token from one of the trusted issuers.".to_owned(),
        ),
        None => (
            "The token's `iss` is none of the issuers that this route trusts.".to_owned(),
            "The token may be of another environment. Get one from a trusted issuer.".to_owned(),
        ),
    };
    let trusted = setting.route.map(|route| {
        let trusts = route.trusts().iter().take(LISTED_MAX);
        trusts.map(|trust| named(trust.issuer)).collect()
    });
    Words {
        detail,
        hint,
        extras: Extras {
            trusted,
            ..Extras::default()
        },
    }
}

fn key_unknown<'a>(belongs_to: Option<IssuerId>, setting: &Setting<'_>) -> Words<'a> {
    let other = belongs_to.and_then(|id| rules(setting, id));
    match other {
        Some(other) => Words {
            detail: format!("The token's `kid` is a key of another issuer, {}.", other.issuer),
            hint: "The token says that it comes from one issuer and is signed by another: two environments are mixed.".to_owned(),
            extras: Extras::default(),
        },
        None => plain(
            "The issuer does not publish the key that the token names.",
            "The issuer may have rotated its keys, or the token is of another environment. Get a new one.",
        ),
    }
}

fn expired<'a>(at: UnixTime, issuer: Option<&'a Issuer>, setting: &Setting<'_>) -> Words<'a> {
    let ago = setting.now.since(at);
    let clocks = if ago.as_secs() <= CLOCK_SKEW_SECS {
        " If it should still be valid, compare the clocks."
    } else {
        ""
    };
    Words {
        detail: format!("The token expired {} ago.", spoken(ago)),
        hint: format!(
            "{}{clocks}",
            issuer.map_or_else(
                || "Get a new token and send the request again.".to_owned(),
                get_new_token
            )
        ),
        extras: Extras {
            expired_at: Some(at.rfc3339()),
            renewal: issuer.map(renewal),
            ..Extras::default()
        },
    }
}

fn early<'a>(what: &str, from: UnixTime, setting: &Setting<'_>) -> Words<'a> {
    let skew = from.since(setting.now);
    Words {
        detail: format!("{what} {} from now, by this gateway's clock.", spoken(skew)),
        hint: "Compare the clocks of the issuer and of the gateway, `server_time`.".to_owned(),
        extras: Extras {
            valid_from: Some(from.rfc3339()),
            skew: Some(skew.as_secs()),
            ..Extras::default()
        },
    }
}

fn audience<'a>(refused: &Refused, setting: &'a Setting<'_>) -> Words<'a> {
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
        detail:
            "The token is not meant for this API: its `aud` holds none of the expected audiences."
                .to_owned(),
        hint: format!(
            "Ask the issuer for a token with the audience {}.",
            expected.join(" or ")
        ),
        extras: Extras {
            expected: Some(expected),
            ..Extras::default()
        },
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

fn rules<'a>(setting: &'a Setting<'_>, id: IssuerId) -> Option<&'a Issuer> {
    setting.policy.issuer(id).map(|issuer| &*issuer.rules)
}

/// The issuer to ask, where the route trusts one alone.
fn only_issuer<'a>(setting: &'a Setting<'_>) -> Option<&'a Issuer> {
    match setting.route?.trusts() {
        [trust] => rules(setting, trust.issuer),
        _ => None,
    }
}

fn renewal(issuer: &Issuer) -> RenewalMember<'_> {
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

fn get_new_token(issuer: &Issuer) -> String {
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
