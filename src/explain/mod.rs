//! A verdict told check by check: passed with what was compared, failed with what was found and what to do,
//! or not reached.
//!
//! The order of the checks is fixed, and a verdict names the one that failed; so the way to it is derived
//! from the verdict itself, from the claims that hold and from the policy that was asked. Nothing is judged
//! twice, and an explanation cannot differ from the decision. A request that passes pays nothing for it.
//!
//! The proxy's decisions, the token check, the admin API and `token explain` all tell it by this one code.

mod route;
mod told;

pub(crate) use route::{Nowhere, RouteTold, RuleTold, try_request};

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::authenticate::{AuthenticationError, Malformed, Principal};
use crate::policy::{Access, Disclosure};
use crate::reject::{self, Rejection, Setting};
use crate::verdict::{Reason, Step};

/// The checks, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Check {
    Credentials,
    Form,
    Issuer,
    Signature,
    Type,
    Times,
    Audience,
    Revocation,
    Scope,
}

impl Check {
    const ALL: [Self; 9] = [
        Self::Credentials,
        Self::Form,
        Self::Issuer,
        Self::Signature,
        Self::Type,
        Self::Times,
        Self::Audience,
        Self::Revocation,
        Self::Scope,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Form => "form",
            Self::Issuer => "issuer",
            Self::Signature => "signature",
            Self::Type => "type",
            Self::Times => "times",
            Self::Audience => "audience",
            Self::Revocation => "revocation",
            Self::Scope => "scope",
        }
    }

    const fn step(self) -> Step {
        match self {
            Self::Credentials => Step::Credentials,
            Self::Form | Self::Type => Step::Format,
            Self::Issuer | Self::Audience => Step::Issuer,
            Self::Signature => Step::Signature,
            Self::Times => Step::Expiration,
            Self::Revocation => Step::Revocation,
            Self::Scope => Step::Scope,
        }
    }

    /// The check that refused a token.
    fn that_failed(error: &AuthenticationError, signature_holds: bool) -> Self {
        use AuthenticationError as E;
        match error {
            E::Missing | E::Ambiguous | E::SchemeUnsupported(_) => Self::Credentials,
            E::Malformed(Malformed::Claim(_)) if signature_holds => Self::Type,
            E::TooLarge { .. } | E::Malformed(_) | E::CriticalHeader => Self::Form,
            E::IssuerMissing | E::IssuerUntrusted(_) => Self::Issuer,
            E::AlgNotAllowed(_)
            | E::KeyUnknown(_)
            | E::SignatureInvalid(_)
            | E::Inactive
            | E::IntrospectionUnavailable
            | E::KeysUnavailable => Self::Signature,
            E::TypeNotAllowed(_) => Self::Type,
            E::ClaimMissing { claim } if matches!(&**claim, "exp" | "iat") => Self::Times,
            E::Expired { .. }
            | E::NotYetValid { .. }
            | E::IssuedInFuture { .. }
            | E::TooOld { .. }
            | E::LifetimeTooLong { .. } => Self::Times,
            E::ClaimMissing { .. } | E::WrongAudience(_) => Self::Audience,
            E::RevocationsUnavailable | E::Revoked(_) => Self::Revocation,
        }
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Passed,
    Failed,
    NotReached,
    /// Only a running gateway can make it.
    Skipped,
}

/// One check, told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) check: Cow<'static, str>,
    /// The step of the verdict that it belongs to.
    pub(crate) step: Cow<'static, str>,
    pub(crate) state: State,
    /// What was compared, or what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// What a token whose signature holds says; the operator is told what any says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) found: Option<String>,
    /// What would have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expected: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

/// A verdict with the way to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Explanation {
    pub(crate) allowed: bool,
    /// The reason's word; `none` where it is allowed.
    pub(crate) code: Cow<'static, str>,
    pub(crate) status: Option<u16>,
    /// Why it is refused, whoever may know it.
    #[serde(skip)]
    pub(crate) reason: Option<Reason>,
    pub(crate) route: Option<String>,
    /// The place of the rule that counts for the method.
    pub(crate) rule: Option<usize>,
    pub(crate) method: String,
    /// The time that was judged at.
    pub(crate) at: String,
    pub(crate) steps: Vec<Told>,
    /// The body that the API would answer with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<serde_json::Value>,
}

/// What came of a request, or of a token that is looked at apart from one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) rejection: Option<&'a Rejection>,
    /// Whose token it is, once the signature holds; a refusal may know it too.
    pub(crate) principal: Option<&'a Principal>,
    /// Whether the list of revocations was there to be asked.
    pub(crate) revocations_known: bool,
}

/// Tells a verdict. What a client may see of it is its route's to say.
pub(crate) fn explain(judged: Judged<'_>, setting: &Setting<'_>) -> Explanation {
    let reason = judged.rejection.map(Rejection::reason);
    let disclosure = setting.disclosure();
    let code = match disclosure {
        Disclosure::Minimal => "",
        _ => reason.map_or("none", Reason::code),
    };
    let mut steps = steps(judged, setting);
    match disclosure {
        Disclosure::Full => {}
        Disclosure::Reason => {
            for told in &mut steps {
                (told.text, told.found, told.expected, told.hint) = (None, None, None, None);
            }
        }
        Disclosure::Minimal => steps.clear(),
    }
    Explanation {
        allowed: reason.is_none(),
        code: code.into(),
        status: reason.map(|reason| reason.status().as_u16()),
        reason,
        route: setting.route.map(|route| route.name.to_string()),
        rule: setting
            .route
            .filter(|_| disclosure != Disclosure::Minimal)
            .and_then(|route| route.rule(setting.method)),
        method: setting.method.to_string(),
        at: setting.now.rfc3339(),
        steps,
        refusal: judged
            .rejection
            .map(|rejection| reject::as_json(rejection, setting)),
    }
}

/// Every check of a verdict, whoever may see it.
pub(crate) fn steps(judged: Judged<'_>, setting: &Setting<'_>) -> Vec<Told> {
    if setting
        .route
        .is_none_or(|route| matches!(route.access, Access::Open))
    {
        return Vec::new();
    }
    let refused = match judged.rejection {
        Some(Rejection::Authentication(refused)) => Some(&**refused),
        _ => None,
    };
    let principal = refused
        .and_then(|refused| refused.principal.as_ref())
        .or(judged.principal);
    // All before this one have passed; `None`: all.
    let stopped = match judged.rejection {
        None | Some(Rejection::Forward(_)) => None,
        Some(Rejection::Authentication(refused)) => {
            Some(Check::that_failed(&refused.error, principal.is_some()))
        }
        Some(Rejection::Authorization(_)) => Some(Check::Scope),
        Some(_) if principal.is_some() => Some(Check::Scope),
        Some(_) => Some(Check::Credentials),
    };
    let is_refusal = matches!(
        judged.rejection,
        Some(Rejection::Authentication(_) | Rejection::Authorization(_))
    );
    let issuer = principal.map(Principal::issuer);
    let issuer = issuer.or_else(|| refused.and_then(|refused| refused.issuer));
    let issuer = issuer.and_then(|id| Some(&*setting.policy.issuer(id)?.rules));
    let known = told::Known {
        setting,
        principal,
        issuer,
    };
    let tell = |check: Check| {
        let mut told = Told {
            check: check.name().into(),
            step: check.step().name().into(),
            state: State::NotReached,
            text: None,
            found: None,
            expected: None,
            hint: None,
        };
        if stopped == Some(check) && is_refusal {
            told.state = State::Failed;
            if let Some(rejection) = judged.rejection {
                let (detail, hint) = reject::sentences(rejection, setting);
                if let Some(step) = rejection.step() {
                    told.step = step.name().into();
                }
                (told.text, told.hint) = (Some(detail), Some(hint));
            }
            told.found = known.found(check, judged.rejection).or_else(|| {
                let refused = refused.filter(|_| setting.for_operator);
                refused.and_then(|refused| known.said(check, refused))
            });
            told.expected = known.expected(check, judged.rejection);
        } else if stopped.is_none_or(|stopped| check < stopped) {
            let skipped = check == Check::Revocation && !judged.revocations_known;
            (told.state, told.text) = if skipped {
                let text = "the running gateway alone knows the list";
                (State::Skipped, Some(text.to_owned()))
            } else {
                (State::Passed, known.passed(check))
            };
        }
        told
    };
    Check::ALL.into_iter().map(tell).collect()
}
