//! The policy: everything a request is decided by, as one immutable snapshot.
//!
//! A request loads it once and sees one state of routes and rules from its first check to its last.
//! The keys of an issuer have a place of their own in it, which the keeper of those keys writes to:
//! they change far more often than the rest, and a request that waited for a key finds it there.

mod issuer;
mod pattern;
mod resource;
mod route;
mod shaping;
mod table;

use std::ops::Deref;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::clock::UnixTime;
use crate::keys::KeySet;
use crate::published::Published;

pub(crate) use issuer::{
    EventRules, IntrospectionRules, Issuer, LogoutRules, Renewal, strip_application,
};
pub(crate) use pattern::{OWN_PATHS, PathPattern};
pub(crate) use resource::{Resource, Resources};
pub(crate) use route::{
    Access, Authorization, CertificateRule, ClaimRule, Disclosure, MethodSet, Per, RateLimit,
    Requirement, Route, Rule, Trust, UpstreamId,
};
pub(crate) use shaping::{ResponseHeaders, TokenPlace, without};
pub(crate) use table::{ListenerId, Placement, RouteTable};

/// An issuer's place in the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct IssuerId(pub(crate) usize);

/// One issuer with the keys that it publishes now.
#[derive(Clone, Debug)]
pub(crate) struct TrustedIssuer {
    pub(crate) rules: Arc<Issuer>,
    keys: Arc<Published<IssuerKeys>>,
}

/// An issuer's keys at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct IssuerKeys {
    /// `None`: never loaded, older than the hard limit, or an issuer of opaque tokens.
    pub(crate) set: Option<Arc<KeySet>>,
    /// When the provider last confirmed them; `None` for keys of the configuration.
    pub(crate) checked_at: Option<UnixTime>,
    /// Names of keys that it published once and took back, the last so many.
    pub(crate) gone: Arc<[Box<str>]>,
    /// The provider's clock less ours, in seconds, where it has told its time.
    pub(crate) clock_offset: Option<i64>,
}

impl TrustedIssuer {
    /// An issuer whose keys are published in `keys`.
    pub(crate) const fn new(rules: Arc<Issuer>, keys: Arc<Published<IssuerKeys>>) -> Self {
        Self { rules, keys }
    }

    /// Its keys of now.
    pub(crate) fn keys(&self) -> impl Deref<Target = Arc<IssuerKeys>> {
        self.keys.look()
    }
}

/// The snapshot.
#[derive(Debug)]
pub(crate) struct Policy {
    issuers: Vec<TrustedIssuer>,
    by_iss: HashMap<Box<str>, IssuerId>,
    routes: RouteTable,
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
            by_iss,
            routes,
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
