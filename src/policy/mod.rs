//! The policy: everything a request is decided by, as one immutable snapshot.
//!
//! A request loads it once and sees one state of routes, rules and keys from its first check to
//! its last. Control is the only writer; it builds the next snapshot out of the parts that did not
//! change and publishes it through [`PolicyStore`].

mod issuer;
mod pattern;
mod route;
mod shaping;
mod store;
mod table;

use std::sync::Arc;

use hashbrown::HashMap;

use crate::clock::UnixTime;
use crate::keys::KeySet;

pub(crate) use issuer::{
    EventRules, IntrospectionRules, Issuer, LogoutRules, Renewal, strip_application,
};
pub(crate) use pattern::{OWN_PATHS, PathPattern};
pub(crate) use route::{
    Access, Authorization, ClaimRule, Disclosure, MethodSet, Per, RateLimit, Requirement, Route,
    Rule, Trust, UpstreamId,
};
pub(crate) use shaping::{ResponseHeaders, TokenPlace, without};
pub(crate) use store::PolicyStore;
pub(crate) use table::{ListenerId, Placement, RouteTable};

/// An issuer's place in the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct IssuerId(pub(crate) usize);

/// One issuer with the keys that it publishes now.
#[derive(Clone, Debug)]
pub(crate) struct TrustedIssuer {
    pub(crate) rules: Arc<Issuer>,
    /// `None`: never loaded, older than the hard limit, or an issuer of opaque tokens.
    pub(crate) keys: Option<Arc<KeySet>>,
    /// When the provider last confirmed them; `None` for keys of the configuration.
    pub(crate) checked_at: Option<UnixTime>,
}

/// The snapshot.
#[derive(Debug)]
pub(crate) struct Policy {
    issuers: Vec<TrustedIssuer>,
    by_iss: Arc<HashMap<Box<str>, IssuerId>>,
    routes: Arc<RouteTable>,
}

impl Policy {
    pub(crate) fn new(issuers: Vec<TrustedIssuer>, routes: RouteTable) -> Self {
        // `iss` of a token leads to an issuer of JWTs; one of opaque tokens has no keys.
        let by_iss = issuers
            .iter()
            .enumerate()
            .filter(|(_, issuer)| issuer.rules.introspection.is_none())
            .map(|(index, issuer)| (issuer.rules.issuer.clone(), IssuerId(index)))
            .collect();
        Self {
            issuers,
            by_iss: Arc::new(by_iss),
            routes: Arc::new(routes),
        }
    }

    /// This policy with the keys of one issuer as they were found at a time.
    pub(crate) fn with_keys(
        &self,
        id: IssuerId,
        keys: Option<Arc<KeySet>>,
        checked_at: Option<UnixTime>,
    ) -> Self {
        let mut issuers = self.issuers.clone();
        if let Some(issuer) = issuers.get_mut(id.0) {
            issuer.keys = keys;
            issuer.checked_at = checked_at;
        }
        Self {
            issuers,
            by_iss: Arc::clone(&self.by_iss),
            routes: Arc::clone(&self.routes),
        }
    }

    /// The issuer whose identifier is `iss`, byte for byte (RFC 7519 section 4.1.1).
    pub(crate) fn issuer_by_iss(&self, iss: &str) -> Option<IssuerId> {
        self.by_iss.get(iss).copied()
    }

    pub(crate) fn issuer(&self, id: IssuerId) -> Option<&TrustedIssuer> {
        self.issuers.get(id.0)
    }

    pub(crate) fn issuers(&self) -> &[TrustedIssuer] {
        &self.issuers
    }

    pub(crate) fn routes(&self) -> &RouteTable {
        &self.routes
    }
}
