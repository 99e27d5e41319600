//! What is demanded of one issuer's tokens.
//!
//! Nothing here is optional in effect: an issuer without audiences or algorithms cannot be made,
//! and `None` for a bound means that the operator wrote "unlimited".

use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::oauth::AlgorithmSet;

/// A longest life that is raised later must not bring tokens back that were revoked before.
const LIFETIME_LEAST: Duration = Duration::from_secs(86_400);

/// The rules of one `[issuers.NAME]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issuer {
    /// The configured name: labels and logs.
    pub(crate) name: Arc<str>,
    /// Equals `iss` byte for byte.
    pub(crate) issuer: Box<str>,
    /// At least one; `aud` must hold one of them.
    pub(crate) audiences: Vec<Box<str>>,
    pub(crate) algorithms: AlgorithmSet,
    /// Accepted `typ`, in lower case and without `application/` (RFC 7515 section 4.1.9).
    pub(crate) token_types: Vec<Box<str>>,
    pub(crate) leeway: Duration,
    pub(crate) lifetime_max: Option<Duration>,
    pub(crate) age_max: Option<Duration>,
    pub(crate) require: Vec<Box<str>>,
    pub(crate) scope_claims: Vec<Box<str>>,
    pub(crate) renewal: Option<Renewal>,
    /// Its tokens are opaque: it is asked what each is (RFC 7662).
    pub(crate) introspection: Option<IntrospectionRules>,
    /// It may tell that somebody has signed out (OpenID Connect Back-Channel Logout).
    pub(crate) logout: Option<LogoutRules>,
    /// It may tell of security events (OpenID Shared Signals).
    pub(crate) events: Option<EventRules>,
}

/// Whose logout tokens are taken, and what they end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogoutRules {
    /// At least one; `aud` must hold one of them.
    pub(crate) client_ids: Vec<Box<str>>,
    /// All tokens of the subject, also where a session is named.
    pub(crate) whole_subject: bool,
}

/// Whose security events are taken, and of whom they may speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventRules {
    /// At least one; `aud` must hold one of them.
    pub(crate) audiences: Vec<Box<str>>,
    /// Identifiers of the issuers whose tokens it may revoke. At least one.
    pub(crate) speaks_for: Vec<Box<str>>,
}

/// How the answers about opaque tokens are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IntrospectionRules {
    /// Who is asked, and by whom: answers are remembered for these.
    pub(crate) asked_at: Box<str>,
    /// An answer counts this long, and never past the token's `exp`.
    pub(crate) cache_max: Duration,
}

/// Where a client gets a new token, told in refusals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renewal {
    pub(crate) token_endpoint: Option<Box<str>>,
    pub(crate) hint: Option<Box<str>>,
}

impl Issuer {
    /// Whether tokens of type `typ` are accepted; without a `typ` only where `JWT` is.
    pub(crate) fn accepts_type(&self, typ: Option<&str>) -> bool {
        let typ = typ.map_or("jwt", strip_application);
        self.token_types
            .iter()
            .any(|accepted| accepted.eq_ignore_ascii_case(typ))
    }

    /// When every token has ended that was made at `last` or before, by a clock that is ahead by the
    /// leeway, and is accepted for the leeway after its end; `None` is never.
    pub(crate) fn outlived_at(&self, last: UnixTime) -> Option<UnixTime> {
        let lifetime = self.lifetime_max?.max(LIFETIME_LEAST);
        Some(self.over_at(last.plus(lifetime)))
    }

    /// When a token that ends at `exp` is accepted no more, whatever clock is off by the leeway.
    pub(crate) fn over_at(&self, exp: UnixTime) -> UnixTime {
        let leeways = self.leeway.saturating_mul(2);
        exp.plus(leeways).plus(Duration::from_secs(1))
    }

    /// Whether a check of this issuer needs `iat`.
    pub(crate) const fn needs_iat(&self) -> bool {
        self.lifetime_max.is_some() || self.age_max.is_some()
    }
}

/// `application/at+jwt` is the same as `at+jwt` (RFC 7515 section 4.1.9).
pub(crate) fn strip_application(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => {
            typ.get(PREFIX.len()..).unwrap_or_default()
        }
        _ => typ,
    }
}
