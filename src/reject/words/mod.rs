//! The sentences of a refusal: what happened, what to do, and the members beyond the common ones.
//!
//! The near misses are here: what the caller probably meant, said in the operator's words and never
//! in the token's. What a token says is told only once its signature holds.

mod malformed;
mod times;
mod token;

use serde::Serialize;

use super::{Rejection, Setting};
use crate::authorize::AuthorizationError;
use crate::forward::ForwardError;
use crate::http::BodyError;
use crate::http::serve::FIELDS_MAX;
use crate::verdict::NearMiss;

/// Detail, hint, members.
#[derive(Debug, Default)]
pub(super) struct Words<'a> {
    pub(super) detail: String,
    pub(super) hint: String,
    pub(super) near: Option<NearMiss>,
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
    keys_checked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) near_miss: Option<&'static str>,
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
    let mut words = match rejection {
        Rejection::Authentication(refused) => token::authentication(refused, setting),
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
            ..plain(
                "The header section is larger than allowed.",
                "Send fewer or shorter headers; cookies are the usual cause.",
            )
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
                near: None,
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
        Rejection::RouteUnnamed => plain(
            "The token check has to be told for which route the token is.",
            "Name it in the query: `?route=NAME`, and the method, if it is not GET: `&method=POST`.",
        ),
        Rejection::RouteUnknown => plain(
            "No route of that name answers for this host.",
            "Ask the operator of this API for the names of its routes.",
        ),
        Rejection::Target(error) => Words {
            detail: format!("The request target is refused: {error}."),
            hint: error.mend().to_owned(),
            near: None,
            extras: Extras::default(),
        },
        Rejection::EncodedSlash => plain(
            "The path has an escaped slash, which this route does not allow.",
            "Send the slash as it is, or the value in the query.",
        ),
        Rejection::RateLimited(limited) => Words {
            extras: Extras {
                limit: Some(u64::from(limited.burst)),
                ..Extras::default()
            },
            ..if limited.failures {
                plain(
                    "Too many requests of this client were refused.",
                    "Wait for the time in Retry-After, and mend the token before you send again.",
                )
            } else {
                plain(
                    "Too many requests came at once.",
                    "Wait for the time in Retry-After, and send fewer.",
                )
            }
        },
        Rejection::Garbled(what) => Words {
            detail: format!(
                "What was sent is no request that could be read in one way only: {what}."
            ),
            hint: what.mend().to_owned(),
            near: None,
            extras: Extras::default(),
        },
        Rejection::TooManyHeaders => Words {
            detail: format!("The request has more than {FIELDS_MAX} header fields."),
            hint: "Send fewer headers; repeated ones can be one with a list.".to_owned(),
            near: None,
            extras: Extras::default(),
        },
        Rejection::TransferCoding => plain(
            "The request has a transfer coding other than chunked.",
            "Send the body with a Content-Length, or with Transfer-Encoding: chunked alone.",
        ),
        Rejection::TargetTooLong => Words {
            extras: Extras {
                limit: Some(setting.limits.target_bytes as u64),
                ..Extras::default()
            },
            ..plain(
                "The request target is longer than allowed.",
                "Send long values in the body.",
            )
        },
    };
    words.extras.near_miss = words.near.map(NearMiss::name);
    words
}

/// The sentences of the near miss, or these.
fn nearly<'a>(near: Option<NearMiss>, detail: &str, hint: &str) -> Words<'a> {
    let (detail, hint) = near.map_or((detail, hint), |near| (near.says(), near.mend()));
    Words {
        near,
        ..plain(detail, hint)
    }
}

fn plain<'a>(detail: &str, hint: &str) -> Words<'a> {
    Words {
        detail: detail.to_owned(),
        hint: hint.to_owned(),
        ..Words::default()
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
        ForwardError::Timeout | ForwardError::Body(BodyError::UpstreamStalled) => plain(
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
        ForwardError::NeedsHttp2 => plain(
            "The service behind this gateway is not set up for gRPC.",
            "It is not your token: it was accepted. Tell the operator that the upstream needs HTTP/2.",
        ),
        ForwardError::Overloaded => plain(
            "All connections to the service behind this gateway are in use.",
            "Wait a few seconds and try again.",
        ),
        ForwardError::Body(BodyError::TooLarge) => body_too_large(setting),
        ForwardError::Body(BodyError::Stalled | BodyError::ClientStalled) => plain(
            "The request body stopped coming.",
            "Send it without long pauses.",
        ),
        ForwardError::Body(BodyError::Broken | BodyError::Revoked | BodyError::Expired) => plain(
            "The request body broke off or is not framed as HTTP demands.",
            "Check its Content-Length or its chunks.",
        ),
    }
}

fn authorization<'a>(error: &AuthorizationError, setting: &'a Setting<'_>) -> Words<'a> {
    match error {
        AuthorizationError::ScopeMissing {
            missing,
            near,
            elsewhere,
        } => {
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
                hint: near.map_or(hint, |near| near.mend().to_owned()),
                detail: match near {
                    Some(near) => {
                        let claim = elsewhere.map(|name| format!(" It is `{name}`."));
                        format!("{detail} {}{}", near.says(), claim.unwrap_or_default())
                    }
                    None => detail,
                },
                near: *near,
                extras: Extras {
                    required,
                    missing: Some(missing.iter().map(|scope| scope.to_string()).collect()),
                    ..Extras::default()
                },
            }
        }
        AuthorizationError::CertificateNotAllowed => plain(
            "This route takes certain client certificates alone, and yours is none of them.",
            "Connect with the client certificate that the owner of the API has registered.",
        ),
        AuthorizationError::CertificateNotBound => Words {
            detail: "The token is not bound to the client certificate of this connection (RFC 8705)."
                .to_owned(),
            hint: "Connect with the certificate that the token was asked for with, or ask for a token with this one."
                .to_owned(),
            near: None,
            extras: Extras {
                claim: Some("cnf".to_owned()),
                ..Extras::default()
            },
        },
        AuthorizationError::ClaimNotAllowed { claim } => Words {
            detail: format!(
                "The claim `{claim}` of the token does not have a value that this route allows."
            ),
            hint: "Ask the owner of the API which accounts may use it.".to_owned(),
            near: None,
            extras: Extras {
                claim: Some(claim.to_string()),
                ..Extras::default()
            },
        },
    }
}
