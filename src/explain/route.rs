//! What a route matches and demands, for whoever asks by name or by an example.

use http::{HeaderMap, Method, Uri};
use serde::Serialize;

use crate::http::target::Target;
use crate::policy::{Access, ListenerId, MethodSet, Placement, Policy, Rule};

/// Where a request that is tried would get to.
#[derive(Debug)]
pub(crate) struct Tried<'a> {
    /// The listener's place.
    pub(crate) listener: usize,
    pub(crate) placement: &'a Placement,
    /// The place of the rule; `None`: the method is not allowed.
    pub(crate) rule: Option<usize>,
}

/// Why it would get nowhere, as status, reason and why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Nowhere {
    #[error("there is no listener `{0}`")]
    Listener(String),
    #[error("400 request_malformed: {0}")]
    Malformed(String),
    #[error("421 authority_unknown: no listener answers for {0}")]
    Authority(String),
    #[error("404 route_not_found: no route matches the path")]
    Route,
}

/// Finds the route and the rule for a request, as the proxy does. `listeners`: their names, in their order;
/// without the name of one, the first that answers for the host is asked.
///
/// # Errors
/// It would be refused before its credentials are looked at.
pub(crate) fn try_request<'a>(
    policy: &'a Policy,
    listeners: &[&str],
    listener: Option<&str>,
    method: &Method,
    uri: &Uri,
) -> Result<Tried<'a>, Nowhere> {
    let headers = HeaderMap::new();
    let target = Target::check(method, uri, &headers);
    let target = target.map_err(|error| Nowhere::Malformed(error.to_string()))?;
    let listener = match listener {
        Some(name) => listeners
            .iter()
            .position(|known| *known == name)
            .ok_or_else(|| Nowhere::Listener(name.to_owned()))?,
        None => (0..listeners.len())
            .find(|place| {
                policy
                    .routes()
                    .serves_host(ListenerId(*place), &target.host)
            })
            .ok_or_else(|| Nowhere::Authority(target.host.to_string()))?,
    };
    let routes = policy.routes();
    let route = routes.find(ListenerId(listener), &target.host, target.path);
    let route = route.ok_or(Nowhere::Route)?;
    if target.encoded_slash && !route.encoded_slashes {
        let why = format!("route `{}` does not allow an escaped slash", route.name);
        return Err(Nowhere::Malformed(why));
    }
    let mut all = routes.placements().iter();
    let placement = all.find(|placement| placement.route.index == route.index);
    Ok(Tried {
        listener,
        placement: placement.ok_or(Nowhere::Route)?,
        rule: route.rule(method),
    })
}

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
