//! What a route matches and demands, for whoever asks by name or by an example.

use http::Method;
use serde::Serialize;

use crate::policy::{Access, MethodSet, Placement, Policy, Rule};

/// A route as it is told.
#[derive(Debug, Serialize)]
pub(crate) struct RouteTold {
    pub(crate) name: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) path: String,
    pub(crate) upstream: String,
    /// `required`, `none` or `report`.
    pub(crate) auth: &'static str,
    pub(crate) issuers: Vec<IssuerTold>,
    pub(crate) rules: Vec<RuleTold>,
}

#[derive(Debug, Serialize)]
pub(crate) struct IssuerTold {
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) audiences: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RuleTold {
    /// Empty: any.
    pub(crate) methods: Vec<String>,
    pub(crate) scopes_all: Vec<String>,
    pub(crate) scopes_any: Vec<String>,
    /// The claims that must have certain values.
    pub(crate) claims: Vec<String>,
    /// Whether the connection's client certificate counts.
    pub(crate) client_certificate: bool,
}

impl RouteTold {
    /// `upstream`: its configured name.
    pub(crate) fn of(placement: &Placement, policy: &Policy, upstream: &str) -> Self {
        let route = &placement.route;
        Self {
            name: route.name.to_string(),
            hosts: placement.hosts.iter().map(ToString::to_string).collect(),
            path: placement.path.to_string(),
            upstream: upstream.to_owned(),
            auth: match (&route.access, route.report_only) {
                (Access::Open, _) => "none",
                (Access::Token(_), true) => "report",
                (Access::Token(_), false) => "required",
            },
            issuers: route
                .trusts()
                .iter()
                .filter_map(|trust| {
                    let rules = &policy.issuer(trust.issuer)?.rules;
                    Some(IssuerTold {
                        name: rules.name.to_string(),
                        issuer: rules.issuer.to_string(),
                        audiences: texts(&trust.audiences),
                    })
                })
                .collect(),
            rules: route.rules.iter().map(RuleTold::of).collect(),
        }
    }
}

impl RuleTold {
    fn of(rule: &Rule) -> Self {
        let requirement = &rule.requirement;
        Self {
            methods: match &rule.methods {
                MethodSet::Any => Vec::new(),
                MethodSet::Of(methods) => methods.iter().map(Method::to_string).collect(),
            },
            scopes_all: texts(&requirement.scopes_all),
            scopes_any: texts(&requirement.scopes_any),
            claims: requirement
                .claims
                .iter()
                .map(|rule| rule.claim.to_string())
                .collect(),
            client_certificate: !requirement.certificate.is_empty(),
        }
    }
}

fn texts(list: &[Box<str>]) -> Vec<String> {
    list.iter().map(|text| text.to_string()).collect()
}
