//! Protected resource metadata (RFC 9728): what a client has to know to get a token for a route.
//!
//! Built from the configuration once, never from a request. A route is a resource by its host and its literal
//! path; one that discloses as little as possible is none.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use http::Uri;
use serde_json::json;

use super::{Access, Disclosure, ListenerId, Placement, Policy, TokenPlace};
use crate::http::host::HostPattern;

/// Where the metadata of a resource stands, before its path.
const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";
/// Scopes that one document lists.
const SCOPES_MAX: usize = 200;

/// One protected resource.
#[derive(Debug)]
pub(crate) struct Resource {
    host: Box<str>,
    listeners: Vec<ListenerId>,
    /// The URL of its metadata.
    pub(crate) url: Box<str>,
    pub(crate) document: Bytes,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    all: Vec<Arc<Resource>>,
    /// By host and literal path.
    by_place: HashMap<(Box<str>, Box<str>), Vec<usize>>,
    /// By the places of routes.
    by_route: HashMap<usize, Vec<usize>>,
}

impl Resources {
    /// Those of a policy, which is published under `public_url`: an origin.
    pub(crate) fn new(public_url: &str, policy: &Policy) -> Self {
        let mut resources = Self::default();
        let Some((scheme, authority)) = public_url.split_once("://") else {
            return resources;
        };
        let Some(host) = public_url.parse::<Uri>().ok().and_then(own_host) else {
            return resources;
        };
        let port = authority.get(host.len()..).unwrap_or_default();
        for placement in policy.routes().placements() {
            let Access::Token(_) = &placement.route.access else {
                continue;
            };
            if placement.route.disclosure == Disclosure::Minimal {
                continue;
            }
            let exact = |pattern: &HostPattern| match pattern {
                HostPattern::Exact(name) => Some(name.to_string()),
                HostPattern::Suffix(_) => None,
            };
            let mut hosts: Vec<_> = placement.hosts.iter().filter_map(exact).collect();
            // Beside those that are named, the one that the gateway is published under.
            if placement.answers_for(&host) && !hosts.contains(&host) {
                hosts.push(host.clone());
            }
            for host in hosts {
                let origin = format!("{scheme}://{host}{port}");
                resources.add(&origin, &host, placement, policy);
            }
        }
        resources
    }

    fn add(&mut self, origin: &str, host: &str, placement: &Placement, policy: &Policy) {
        let path = &*placement.path.literal;
        let place = self.by_place.entry((host.into(), trimmed(path).into()));
        let here = place.or_default();
        // Two routes of one path, with and without a rest, are one resource; at other listeners there may be
        // another.
        let known = here.iter().copied().find(|index| {
            let listeners = self.all.get(*index).map(|it| &it.listeners);
            listeners == Some(&placement.listeners)
        });
        let index = known.unwrap_or(self.all.len());
        if known.is_none() {
            here.push(index);
            let document = document(&format!("{origin}{path}"), placement, policy);
            self.all.push(Arc::new(Resource {
                host: host.into(),
                listeners: placement.listeners.clone(),
                url: format!("{origin}{METADATA_PATH}{path}").into(),
                document: document.into(),
            }));
        }
        let route = placement.route.index;
        self.by_route.entry(route).or_default().push(index);
    }

    /// The one whose metadata a path asks for, at a listener and a host.
    pub(crate) fn at(&self, listener: ListenerId, host: &str, path: &str) -> Option<&Resource> {
        let path = path.strip_prefix(METADATA_PATH)?;
        if !(path.is_empty() || path.starts_with('/')) {
            return None;
        }
        let here = self.by_place.get(&(host.into(), trimmed(path).into()))?;
        let mut here = here.iter().filter_map(|index| self.all.get(*index));
        here.find(|resource| resource.listeners.contains(&listener))
            .map(|resource| &**resource)
    }

    /// The one that a route is at a host; at a host that is not named, the first.
    pub(crate) fn of(&self, route: usize, host: Option<&str>) -> Option<&Resource> {
        let indices = self.by_route.get(&route)?;
        let mut all = indices.iter().filter_map(|index| self.all.get(*index));
        let first = all.clone().next();
        let here = all.find(|it| host.is_some_and(|host| *it.host == *host));
        here.or(first).map(|resource| &**resource)
    }
}

/// A path without the slash at its end.
fn trimmed(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// In lower case, an IPv6 address in its brackets.
fn own_host(uri: Uri) -> Option<String> {
    uri.host().map(str::to_ascii_lowercase)
}

fn document(resource: &str, placement: &Placement, policy: &Policy) -> String {
    let route = &placement.route;
    let issuers: Vec<&str> = route
        .trusts()
        .iter()
        .filter_map(|trust| Some(&*policy.issuer(trust.issuer)?.rules.issuer))
        .collect();
    let mut scopes: Vec<&str> = Vec::new();
    for rule in &route.rules {
        let requirement = &rule.requirement;
        for scope in requirement.scopes_all.iter().chain(&requirement.scopes_any) {
            if !scopes.contains(&&**scope) && scopes.len() < SCOPES_MAX {
                scopes.push(scope);
            }
        }
    }
    let mut methods: Vec<&str> = Vec::new();
    for place in &route.token_from {
        match place {
            TokenPlace::Header => methods.push("header"),
            TokenPlace::Query(_) => methods.push("query"),
            // RFC 6750 has no word for these.
            TokenPlace::Cookie(_) | TokenPlace::WebSocketProtocol => {}
        }
    }
    methods.dedup();
    let mut document = json!({
        "resource": resource,
        "authorization_servers": issuers,
        "bearer_methods_supported": methods,
    });
    if let Some(members) = document.as_object_mut() {
        if !scopes.is_empty() {
            members.insert("scopes_supported".to_owned(), json!(scopes));
        }
        let mut rules = route.rules.iter();
        if rules.all(|rule| rule.requirement.certificate.bound) {
            let bound = "tls_client_certificate_bound_access_tokens";
            members.insert(bound.to_owned(), json!(true));
        }
    }
    format!("{document}\n")
}
