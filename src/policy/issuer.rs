//! What is demanded of one issuer's tokens.
//!
//! Nothing here is optional in effect: an issuer without audiences or algorithms cannot be made,
//! and `None` for a bound means that the operator wrote "unlimited".

use std::sync::Arc;
use std::time::Duration;

use crate::oauth::AlgorithmSet;

/// The rules of one `[issuers.NAME]` table.
#[derive(Clone, Debug)]
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
}

/// How the answers about opaque tokens are used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntrospectionRules {
    /// An answer counts this long, and never past the token's `exp`.
    pub(crate) cache_max: Duration,
}

/// Where a client gets a new token, told in refusals.
#[derive(Clone, Debug)]
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
