//! What is said of each check.

use super::Check;
use crate::authenticate::{AuthenticationError, Principal, Refused};
use crate::authorize::AuthorizationError;
use crate::clock::{UnixTime, spoken};
use crate::oauth::Json;
use crate::observe::shown;
use crate::policy::{Issuer, TokenPlace};
use crate::reject::{Rejection, Setting};

/// Characters of a claim that are shown.
const CLAIM_CHARS_MAX: usize = 200;
/// Elements of a claim that are shown.
const ELEMENTS_MAX: usize = 20;

/// What is known of a token.
pub(super) struct Known<'a> {
    pub(super) setting: &'a Setting<'a>,
    /// Set once the signature holds.
    pub(super) principal: Option<&'a Principal>,
    pub(super) issuer: Option<&'a Issuer>,
}

impl Known<'_> {
    /// What was compared where it passed. `None`: there is nothing to say of it.
    pub(super) fn passed(&self, check: Check) -> Option<String> {
        Some(match check {
            Check::Credentials => format!("one credential, {}", self.places()),
            Check::Form => match self.principal {
                Some(principal) if principal.alg().is_none() => {
                    "an opaque token, which its issuer is asked about".to_owned()
                }
                _ => "three parts of base64url, two of them JSON objects".to_owned(),
            },
            Check::Issuer => {
                let issuer = self.issuer?;
                format!("`{}` trusts {}", self.setting.route?.name, issuer.issuer)
            }
            Check::Signature => self.signature()?,
            Check::Type => match self.principal?.alg() {
                Some(_) => format!("`typ` is one of: {}", self.issuer?.token_types.join(", ")),
                None => "what its issuer says of it has the right types".to_owned(),
            },
            Check::Times => self.times()?,
            Check::Audience => self.audience()?,
            Check::Revocation => "nobody has taken it back".to_owned(),
            Check::Scope => self.scope()?,
        })
    }

    /// What a token whose signature holds says where it failed.
    pub(super) fn found(&self, check: Check, rejection: Option<&Rejection>) -> Option<String> {
        let principal = self.principal?;
        match check {
            Check::Type => Some(match principal.typ() {
                Some(typ) => format!("`typ` is {}", shown(typ, CLAIM_CHARS_MAX)),
                None => "there is no `typ`".to_owned(),
            }),
            Check::Times => Some(self.said_times()),
            Check::Audience => {
                let audience = principal.claim("aud")?;
                Some(format!("`aud` is {}", value(audience)))
            }
            Check::Scope => match rejection {
                Some(Rejection::Authorization(AuthorizationError::ClaimNotAllowed { claim })) => {
                    Some(match principal.claim(claim) {
                        Some(found) => format!("`{claim}` is {}", value(found)),
                        None => format!("there is no `{claim}`"),
                    })
                }
                _ => {
                    let scopes = principal.scopes(self.issuer?);
                    let scopes: Vec<_> = scopes.iter().take(ELEMENTS_MAX).collect();
                    Some(match &*scopes {
                        [] => "there are no scopes".to_owned(),
                        scopes => {
                            format!(
                                "the scopes are: {}",
                                shown(&scopes.join(" "), CLAIM_CHARS_MAX)
                            )
                        }
                    })
                }
            },
            _ => None,
        }
    }

    /// What an unverified token says where it failed.
    pub(super) fn said(&self, check: Check, refused: &Refused) -> Option<String> {
        let unverified = |what: &str, text: &str| {
            let text = shown(text, CLAIM_CHARS_MAX);
            Some(format!("`{what}` is {text} (not verified)"))
        };
        match check {
            Check::Issuer => unverified("iss", refused.iss.as_deref()?),
            Check::Signature => unverified("kid", refused.kid.as_deref()?),
            _ => None,
        }
    }

    /// What would have passed, where that is a list.
    pub(super) fn expected(&self, check: Check, rejection: Option<&Rejection>) -> Option<String> {
        let list = |all: Vec<&str>| {
            let more = all.len().saturating_sub(ELEMENTS_MAX);
            let shown = all.get(..ELEMENTS_MAX).unwrap_or(&all).join(", ");
            (!all.is_empty()).then(|| match more {
                0 => shown,
                more => format!("{shown} and {more} more"),
            })
        };
        let route = self.setting.route?;
        match check {
            Check::Issuer => {
                let named = |id| Some(&*self.setting.policy.issuer(id)?.rules.issuer);
                list(
                    route
                        .trusts()
                        .iter()
                        .filter_map(|it| named(it.issuer))
                        .collect(),
                )
            }
            Check::Signature => {
                let Some(Rejection::Authentication(refused)) = rejection else {
                    return None;
                };
                match refused.error {
                    AuthenticationError::AlgNotAllowed(_) => list(self.issuer?.algorithms.names()),
                    // Which keys there are is the operator's to know.
                    AuthenticationError::KeyUnknown(_) if self.setting.for_operator => {
                        let keys = self.setting.policy.issuer(refused.issuer?)?.keys();
                        let keys = keys.set.as_ref()?;
                        list(keys.iter().filter_map(|key| key.kid()).collect())
                    }
                    _ => None,
                }
            }
            Check::Type => list(self.issuer?.token_types.iter().map(|it| &**it).collect()),
            Check::Audience => {
                let trust = route.trust(self.principal?.issuer())?;
                list(trust.audiences.iter().map(|it| &**it).collect())
            }
            Check::Scope => {
                let requirement = self.setting.requirement?;
                let all = requirement.scopes_all.iter().chain(&requirement.scopes_any);
                list(all.map(|it| &**it).collect())
            }
            _ => None,
        }
    }

    fn places(&self) -> String {
        let places = self
            .setting
            .route
            .map_or(&[][..], |route| &route.token_from);
        let names: Vec<_> = places
            .iter()
            .map(|place| match place {
                TokenPlace::Header => "in the Authorization header".to_owned(),
                TokenPlace::Query(name) => format!("as `{name}` in the query"),
                TokenPlace::Cookie(name) => format!("in the cookie `{name}`"),
                TokenPlace::WebSocketProtocol => "offered as a WebSocket protocol".to_owned(),
            })
            .collect();
        names.join(" or ")
    }

    fn signature(&self) -> Option<String> {
        let (principal, issuer) = (self.principal?, self.issuer?);
        Some(match (principal.alg(), principal.kid()) {
            (None, _) => format!("`{}` honours it", issuer.name),
            (Some(alg), None) => format!("{} by the key of `{}`", alg.name(), issuer.name),
            (Some(alg), Some(kid)) => format!(
                "{} by the key `{}` of `{}`",
                alg.name(),
                shown(kid, CLAIM_CHARS_MAX),
                issuer.name
            ),
        })
    }

    fn times(&self) -> Option<String> {
        let leeway = spoken(self.issuer?.leeway);
        let said = self.said_times();
        Some(format!("{said}; leeway {leeway}"))
    }

    /// `iat`, `nbf` and `exp`, as dates and as distances.
    fn said_times(&self) -> String {
        let now = self.setting.now;
        let distance = |at: UnixTime| match at > now {
            true => format!("in {}", spoken(at.since(now))),
            false => format!("{} ago", spoken(now.since(at))),
        };
        let times = self.principal.and_then(|principal| principal.times());
        let [iat, nbf, exp] = times.unwrap_or_default();
        let said = [("issued", iat), ("valid from", nbf), ("expires", exp)];
        let said: Vec<_> = said
            .into_iter()
            .filter_map(|(what, at)| {
                let at = at?;
                let what = if what == "expires" && at <= now {
                    "expired"
                } else {
                    what
                };
                Some(format!("{what} {} ({})", distance(at), at.rfc3339()))
            })
            .collect();
        match &*said {
            [] => "it has no times".to_owned(),
            said => said.join(", "),
        }
    }

    fn audience(&self) -> Option<String> {
        let (principal, issuer) = (self.principal?, self.issuer?);
        let trust = self.setting.route?.trust(principal.issuer())?;
        let expected = trust.audiences.join(" or ");
        Some(match &*issuer.require {
            [] => format!("`aud` holds {expected}"),
            required => format!(
                "`aud` holds {expected}; the required claims are there: {}",
                required.join(", ")
            ),
        })
    }

    fn scope(&self) -> Option<String> {
        let requirement = self.setting.requirement?;
        let mut said = Vec::new();
        if !requirement.scopes_all.is_empty() {
            said.push(format!(
                "has the scopes: {}",
                requirement.scopes_all.join(" ")
            ));
        }
        if !requirement.scopes_any.is_empty() {
            let any = requirement.scopes_any.join(" ");
            said.push(format!("has one of the scopes: {any}"));
        }
        let claims: Vec<&str> = requirement.claims.iter().map(|rule| &*rule.claim).collect();
        if !claims.is_empty() {
            said.push(format!("the claims are allowed: {}", claims.join(", ")));
        }
        Some(match &*said {
            [] => "this method demands no scope".to_owned(),
            said => said.join("; "),
        })
    }
}

/// A claim for a reader, cut where it is long.
fn value(json: &Json) -> String {
    let one = |json: &Json| match json {
        Json::Text(text) => shown(text, CLAIM_CHARS_MAX),
        other => shown(&other.to_value().to_string(), CLAIM_CHARS_MAX),
    };
    match json {
        Json::Array(items) => {
            let items: Vec<_> = items.iter().take(ELEMENTS_MAX).map(one).collect();
            format!("[{}]", items.join(", "))
        }
        other => one(other),
    }
}
