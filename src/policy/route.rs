//! A route: what it matches, whom it trusts, what it demands by method, how it answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, Method};

use super::{IssuerId, ResponseHeaders, TokenPlace};
use crate::http::cors::Cors;
use crate::limit::Buckets;
use crate::oauth::Json;

/// An upstream's place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UpstreamId(pub(crate) usize);

/// The rules of one `[routes.NAME]` table.
#[derive(Debug)]
pub(crate) struct Route {
    /// The configured name: labels and logs.
    pub(crate) name: Arc<str>,
    /// The place among the routes; the metrics' index.
    pub(crate) index: usize,
    pub(crate) upstream: UpstreamId,
    pub(crate) access: Access,
    /// The one trusted issuer, if any, that is asked about opaque tokens.
    pub(crate) introspection: Option<IssuerId>,
    /// The first whose methods match decides. Never empty.
    pub(crate) rules: Vec<Rule>,
    pub(crate) authorization: Authorization,
    /// The upstream gets a token of ours for this audience, in place of the caller's.
    pub(crate) internal_token: Option<Arc<str>>,
    pub(crate) disclosure: Disclosure,
    pub(crate) encoded_slashes: bool,
    /// Where the token is looked for. Never empty.
    pub(crate) token_from: Vec<TokenPlace>,
    /// Whole segments that are taken off the front of the path.
    pub(crate) strip_prefix: Option<Box<str>>,
    pub(crate) response_headers: ResponseHeaders,
    pub(crate) limit: Option<RateLimit>,
    /// Protocols, in lower case, that a connection may be upgraded to.
    pub(crate) upgrades: Vec<Box<str>>,
    /// What stays open ends with its token.
    pub(crate) end_streams: bool,
    /// Refuse with 503 while the list of revocations may lack some.
    pub(crate) revocations_required: bool,
    /// Headers that tell the upstream who calls, with the claim each comes from.
    pub(crate) identity: Vec<(HeaderName, Box<str>)>,
    pub(crate) cors: Option<Cors>,
    /// Whether responses say how long the token still lives.
    pub(crate) token_expires_in: bool,
    /// What would be refused for its token is counted, and passes without a caller.
    pub(crate) report_only: bool,
}

/// Who may come in.
#[derive(Debug)]
pub(crate) enum Access {
    /// `auth = "none"`: anybody, without a look at credentials.
    Open,
    /// A token of one of these issuers, sorted by [`IssuerId`]. Never empty.
    Token(Vec<Trust>),
}

/// One issuer that a route trusts, and which of its audiences open this route.
#[derive(Debug)]
pub(crate) struct Trust {
    pub(crate) issuer: IssuerId,
    /// Never empty.
    pub(crate) audiences: Vec<Box<str>>,
}

/// What a method demands.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    pub(crate) methods: MethodSet,
    pub(crate) requirement: Requirement,
}

/// Scopes and claims that a token must have.
#[derive(Debug, Default)]
pub(crate) struct Requirement {
    pub(crate) scopes_all: Vec<Box<str>>,
    pub(crate) scopes_any: Vec<Box<str>>,
    pub(crate) claims: Vec<ClaimRule>,
    pub(crate) certificate: CertificateRule,
}

/// What the client's certificate must be.
#[derive(Debug, Default)]
pub(crate) struct CertificateRule {
    /// SHA-256 of those that are allowed; empty: any, and none.
    pub(crate) allowed: Vec<[u8; 32]>,
    /// The one that the token is bound to (RFC 8705 section 3.1).
    pub(crate) bound: bool,
}

impl CertificateRule {
    /// Whether it demands nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.allowed.is_empty() && !self.bound
    }
}

/// One of the values must be the claim's, or an element of it.
#[derive(Debug)]
pub(crate) struct ClaimRule {
    /// A literal name, or an RFC 6901 pointer.
    pub(crate) claim: Box<str>,
    pub(crate) values: Vec<Json>,
}

/// The methods of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum MethodSet {
    #[default]
    Any,
    Of(Vec<Method>),
}

/// How often a route may be used.
#[derive(Debug)]
pub(crate) struct RateLimit {
    pub(crate) per: Per,
    pub(crate) buckets: Arc<Buckets>,
}

/// By whom a route's use is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Per {
    /// The token's `sub`; a token without one, or no token: the peer.
    Subject,
    /// The token's client; else as above.
    Client,
    /// The address of the client; an IPv6 /64.
    Peer,
    /// All together.
    Route,
}

/// What happens to the `Authorization` header on its way upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authorization {
    Forward,
    Strip,
}

/// How much a refusal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disclosure {
    Full,
    Reason,
    Minimal,
}

impl MethodSet {
    /// GET covers HEAD.
    fn contains(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::Of(methods) => methods
                .iter()
                .any(|m| m == method || (*m == Method::GET && *method == Method::HEAD)),
        }
    }
}

impl Route {
    /// The place of the rule for a method; `None` is 405.
    pub(crate) fn rule(&self, method: &Method) -> Option<usize> {
        self.rules
            .iter()
            .position(|rule| rule.methods.contains(method))
    }

    /// The value of `Allow` (RFC 9110 section 10.2.1).
    pub(crate) fn allow(&self) -> String {
        let mut names: BTreeMap<&str, ()> = BTreeMap::new();
        for rule in &self.rules {
            if let MethodSet::Of(methods) = &rule.methods {
                names.extend(methods.iter().map(|method| (method.as_str(), ())));
                if methods.contains(&Method::GET) {
                    names.insert("HEAD", ());
                }
            }
        }
        names.into_keys().collect::<Vec<_>>().join(", ")
    }

    /// The trust in an issuer; `None` if the route does not trust it.
    pub(crate) fn trust(&self, issuer: IssuerId) -> Option<&Trust> {
        let Access::Token(trusts) = &self.access else {
            return None;
        };
        let index = trusts
            .binary_search_by_key(&issuer, |trust| trust.issuer)
            .ok()?;
        trusts.get(index)
    }

    pub(crate) fn trusts(&self) -> &[Trust] {
        match &self.access {
            Access::Open => &[],
            Access::Token(trusts) => trusts,
        }
    }
}

#[cfg(test)]
impl Route {
    /// One with the defaults of the configuration.
    pub(crate) fn of_a_test(name: &str, index: usize, access: Access) -> Self {
        Self {
            name: name.into(),
            index,
            upstream: UpstreamId(0),
            access,
            introspection: None,
            rules: vec![Rule::default()],
            authorization: Authorization::Forward,
            internal_token: None,
            disclosure: Disclosure::Full,
            encoded_slashes: false,
            token_from: vec![TokenPlace::Header],
            strip_prefix: None,
            response_headers: ResponseHeaders::default(),
            limit: None,
            upgrades: Vec::new(),
            end_streams: true,
            revocations_required: false,
            identity: Vec::new(),
            cors: None,
            token_expires_in: false,
            report_only: false,
        }
    }
}
