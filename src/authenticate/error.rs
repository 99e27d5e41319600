//! Why a token was refused: one variant a fault, with what the refusal may tell.
//!
//! Nothing here holds a value of an unverified payload. What a variant carries comes from the
//! configuration, or from a token whose signature holds.

use std::time::Duration;

use crate::clock::UnixTime;
use crate::oauth::Algorithm;
use crate::policy::IssuerId;
use crate::revocation;
use crate::verdict::{NearMiss, Reason, Step};

/// How a credential is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// In a way that is known.
    Near(NearMiss),
    /// Another number of parts than three, two or five.
    Parts,
    /// This part is not strict base64url, or not a JSON object without duplicate members.
    Part(&'static str),
    /// A registered claim has the wrong type.
    Claim(&'static str),
}

/// A credential or token that was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum AuthenticationError {
    #[error("no credentials")]
    Missing,
    #[error("more than one credential")]
    Ambiguous,
    #[error("a scheme other than Bearer")]
    SchemeUnsupported(Option<NearMiss>),
    #[error("token of {size} bytes, the limit is {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("malformed token: {0:?}")]
    Malformed(Malformed),
    #[error("unsupported crit")]
    CriticalHeader,
    #[error("no iss claim")]
    IssuerMissing,
    #[error("untrusted issuer")]
    IssuerUntrusted(Option<NearMiss>),
    #[error("algorithm not allowed")]
    AlgNotAllowed(Option<NearMiss>),
    #[error("unknown key")]
    KeyUnknown(Option<NearMiss>),
    #[error("signature does not hold")]
    SignatureInvalid(Option<NearMiss>),
    #[error("the issuer does not honour the token")]
    Inactive,
    #[error("the issuer could not be asked about the token")]
    IntrospectionUnavailable,
    #[error("no keys of the issuer")]
    KeysUnavailable,
    #[error("token type not allowed")]
    TypeNotAllowed(Option<NearMiss>),
    #[error("no {claim} claim")]
    ClaimMissing { claim: Box<str> },
    #[error("expired")]
    Expired { at: UnixTime },
    #[error("not yet valid")]
    NotYetValid { from: UnixTime },
    #[error("issued in the future")]
    IssuedInFuture { at: UnixTime },
    #[error("older than allowed")]
    TooOld { limit: Duration },
    #[error("lives longer than allowed")]
    LifetimeTooLong { limit: Duration },
    #[error("wrong audience")]
    WrongAudience(Option<NearMiss>),
    #[error("a list of revocations was lost and the route demands it")]
    RevocationsUnavailable,
    #[error("revoked by its {} at {}", .0.by.name(), .0.at.rfc3339())]
    Revoked(revocation::Revoked),
}

impl AuthenticationError {
    /// The word for it.
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Self::Missing => Reason::TokenMissing,
            Self::Ambiguous => Reason::TokenAmbiguous,
            Self::SchemeUnsupported(_) => Reason::SchemeUnsupported,
            Self::TooLarge { .. } => Reason::TokenTooLarge,
            Self::Malformed(_) => Reason::TokenMalformed,
            Self::CriticalHeader => Reason::CriticalHeaderUnsupported,
            Self::IssuerMissing | Self::ClaimMissing { .. } => Reason::ClaimMissing,
            Self::IssuerUntrusted(_) => Reason::IssuerUntrusted,
            Self::AlgNotAllowed(_) => Reason::AlgNotAllowed,
            Self::KeyUnknown(_) => Reason::KeyUnknown,
            Self::SignatureInvalid(_) => Reason::SignatureInvalid,
            Self::Inactive => Reason::TokenInactive,
            Self::IntrospectionUnavailable => Reason::IntrospectionUnavailable,
            Self::KeysUnavailable => Reason::KeysUnavailable,
            Self::TypeNotAllowed(_) => Reason::TypeNotAllowed,
            Self::Expired { .. } => Reason::TokenExpired,
            Self::NotYetValid { .. } => Reason::TokenNotYetValid,
            Self::IssuedInFuture { .. } => Reason::TokenIssuedInFuture,
            Self::TooOld { .. } => Reason::TokenTooOld,
            Self::LifetimeTooLong { .. } => Reason::LifetimeTooLong,
            Self::WrongAudience(_) => Reason::AudienceMismatch,
            Self::RevocationsUnavailable => Reason::RevocationsUnavailable,
            Self::Revoked(_) => Reason::TokenRevoked,
        }
    }

    /// What the caller probably meant, as far as the token shows it.
    pub(crate) const fn near_miss(&self) -> Option<NearMiss> {
        match self {
            Self::SchemeUnsupported(near)
            | Self::IssuerUntrusted(near)
            | Self::AlgNotAllowed(near)
            | Self::KeyUnknown(near)
            | Self::SignatureInvalid(near)
            | Self::TypeNotAllowed(near)
            | Self::WrongAudience(near) => *near,
            Self::Malformed(Malformed::Near(near)) => Some(*near),
            _ => None,
        }
    }

    /// The step that failed. A missing `exp` or `iat` is a matter of expiration.
    pub(crate) fn step(&self) -> Option<Step> {
        match self {
            Self::ClaimMissing { claim } if matches!(&**claim, "exp" | "iat") => {
                Some(Step::Expiration)
            }
            _ => self.reason().step(),
        }
    }
}

/// A refusal with what the log wants to know about the token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) error: AuthenticationError,
    /// The configured issuer that the token claims, once it is known.
    pub(crate) issuer: Option<IssuerId>,
    pub(crate) alg: Option<Algorithm>,
    /// From the token's header, unverified: for the operator's log alone.
    pub(crate) kid: Option<Box<str>>,
    /// Whose token it says it is, where nobody here is that: unverified, and for the operator alone.
    pub(crate) iss: Option<Box<str>>,
    /// Set once the signature holds.
    pub(crate) principal: Option<super::Principal>,
}

impl Refused {
    /// Whether the issuer may have published the key by now.
    pub(super) const fn lacks_a_key(&self) -> bool {
        matches!(
            self.error,
            AuthenticationError::KeyUnknown(_) | AuthenticationError::KeysUnavailable
        )
    }
}

impl From<AuthenticationError> for Refused {
    fn from(error: AuthenticationError) -> Self {
        Self {
            error,
            issuer: None,
            alg: None,
            kid: None,
            iss: None,
            principal: None,
        }
    }
}
