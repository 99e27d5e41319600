//! `[routes.*]`.

mod demands;
pub(super) mod shaping;

use std::sync::Arc;

use super::Checker;
use crate::config::node::{Node, Span};
use crate::config::settings::{IssuerSettings, ListenerSettings};
use crate::forward::Upstream;
use crate::http::host::HostPattern;
use crate::policy::{
    Access, Authorization, Disclosure, IssuerId, ListenerId, PathPattern, Placement, Route,
    RouteTable, Rule, Trust, UpstreamId,
};

type Named<T> = [(String, Option<T>)];

/// All routes that can be built, in the order of their places.
pub(super) fn check(
    root: &Node,
    listeners: &[ListenerSettings],
    issuers: &Named<IssuerSettings>,
    upstreams: &Named<Arc<Upstream>>,
    checker: &mut Checker<'_>,
) -> Vec<Placement> {
    let nodes: Vec<_> = root.tables("routes").collect();
    if nodes.is_empty() {
        checker.report.push(
            super::Diagnostic::error("BW0105", "the file has no [routes.NAME]".to_owned())
                .help("without a route every request is 404"),
        );
    }
    let listener_names: Vec<&str> = root.tables("listeners").map(|(name, _)| name).collect();
    let mut placements: Vec<Placement> = Vec::new();
    let mut spans: Vec<(&str, Span)> = Vec::new();
    for (name, node) in nodes {
        let parts = Parts {
            name,
            what: format!("route `{name}`"),
            node,
            listeners,
            listener_names: &listener_names,
            issuers,
            upstreams,
        };
        if let Some(placement) = parts.placement(placements.len(), checker) {
            placements.push(placement);
            spans.push((name, node.span.clone()));
        }
    }
    let (_, collisions) = RouteTable::new(listeners.len(), &placements);
    for collision in collisions {
        if let (Some((first, other)), Some((second, span))) =
            (spans.get(collision.first), spans.get(collision.second))
        {
            let message = format!("routes `{first}` and `{second}` match the same requests");
            checker.report.push(
                super::Diagnostic::error("BW0109", message)
                    .at(span)
                    .related(other, "the other one"),
            );
        }
    }
    placements
}

/// One route and what it refers to.
struct Parts<'a> {
    name: &'a str,
    what: String,
    node: &'a Node,
    listeners: &'a [ListenerSettings],
    listener_names: &'a [&'a str],
    issuers: &'a Named<IssuerSettings>,
    upstreams: &'a Named<Arc<Upstream>>,
}

impl Parts<'_> {
    fn placement(&self, index: usize, checker: &mut Checker<'_>) -> Option<Placement> {
        let (node, what) = (self.node, &self.what);
        let path = checker
            .required(node, what, "path")
            .and_then(|(text, span)| {
                text.parse::<PathPattern>()
                    .map_err(|error| {
                        checker.error(
                            "BW0104",
                            format!("`path` of {what}: {error}: `{text}`"),
                            &span,
                        )
                    })
                    .ok()
            });
        let upstream = checker
            .required(node, what, "upstream")
            .and_then(|(name, span)| {
                let names: Vec<_> = self
                    .upstreams
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .collect();
                let message = format!("{what} names an upstream that is not defined");
                checker.reference(&names, &name, &message, "upstreams", &span)
            });
        let listeners = self.served_by(checker);
        let hosts = self.hosts(&listeners, checker);
        let access = self.access(checker);
        let introspection = self.introspection(access.as_ref(), checker);
        let rules = self.rules(matches!(access, Some(Access::Open)), checker);
        let identity = self.identity(checker);
        let upgrades = self.upgrades(upstream, checker);
        let token_from = self.token_from(checker);
        let strip_prefix = self.strip_prefix(path.as_ref(), checker);
        let response_headers = self.response_headers(checker);
        let limit = self.limit(checker);
        let report_only = self.report_only(checker);
        let cors = node.table("cors").map(|cors| self.cors(cors, checker));
        Some(Placement {
            route: Arc::new(Route {
                name: self.name.into(),
                index,
                upstream: UpstreamId(upstream?),
                access: access?,
                introspection,
                rules,
                authorization: match node.text("authorization").as_deref() {
                    Some("strip") => Authorization::Strip,
                    _ => Authorization::Forward,
                },
                internal_token: node.text("internal_token").map(Into::into),
                disclosure: match node.text("disclosure").as_deref() {
                    Some("minimal") => Disclosure::Minimal,
                    Some("reason") => Disclosure::Reason,
                    _ => Disclosure::Full,
                },
                token_from,
                strip_prefix,
                response_headers,
                limit,
                upgrades,
                // Whoever only reports cuts nothing off.
                end_streams: node.flag("end_streams") && !report_only,
                revocations_required: node.flag("revocations_required"),
                encoded_slashes: node.text("encoded_slashes").as_deref() == Some("allow"),
                identity,
                cors: match cors {
                    Some(cors) => Some(cors?),
                    None => None,
                },
                token_expires_in: node.flag("token_expires_in"),
                report_only,
            }),
            listeners,
            hosts,
            path: path?,
        })
    }

    fn served_by(&self, checker: &mut Checker<'_>) -> Vec<ListenerId> {
        let built = |name: &str| {
            self.listeners
                .iter()
                .position(|listener| *listener.name == *name)
        };
        match self.node.texts("listeners") {
            None => {
                let serves = |id: &usize| {
                    let listener = self.listeners.get(*id);
                    listener.is_some_and(|listener| listener.redirect.is_none())
                };
                (0..self.listeners.len())
                    .filter(serves)
                    .map(ListenerId)
                    .collect()
            }
            Some(names) => names
                .iter()
                .filter_map(|(name, span)| {
                    let message = format!("{} names a listener that is not defined", self.what);
                    checker.reference(self.listener_names, name, &message, "listeners", span)?;
                    let place = built(name)?;
                    if self.listeners.get(place)?.redirect.is_some() {
                        let message = format!(
                            "{} names listener `{name}`, which only leads to https",
                            self.what
                        );
                        checker.error("BW0106", message, span);
                    }
                    built(name).map(ListenerId)
                })
                .collect(),
        }
    }

    fn hosts(&self, listeners: &[ListenerId], checker: &mut Checker<'_>) -> Vec<HostPattern> {
        let mut hosts = Vec::new();
        for (text, span) in self.node.texts("hosts").unwrap_or_default() {
            match text.parse::<HostPattern>() {
                Ok(host) => {
                    let covered = listeners
                        .iter()
                        .filter_map(|id| self.listeners.get(id.0))
                        .any(|listener| {
                            listener.tls.as_ref().is_none_or(|tls| {
                                let all = tls.certificates.all();
                                let mut names = all.iter().flat_map(|served| served.names());
                                names.any(|name| match &host {
                                    HostPattern::Exact(host) => name.covers(host),
                                    HostPattern::Suffix(_) => *name == host,
                                })
                            })
                        });
                    if !covered {
                        checker.warn("BW0204", format!("{}: no certificate covers `{text}`, so requests for it are refused with 421", self.what), span, "add a certificate for this host, or take the host out");
                    }
                    hosts.push(host);
                }
                Err(error) => checker.error(
                    "BW0104",
                    format!("`hosts` of {}: {error}: `{text}`", self.what),
                    span,
                ),
            }
        }
        hosts
    }

    /// The one issuer of opaque tokens: nothing in such a token says whose it is.
    fn introspection(
        &self,
        access: Option<&Access>,
        checker: &mut Checker<'_>,
    ) -> Option<IssuerId> {
        let Some(Access::Token(trusts)) = access else {
            return None;
        };
        let opaque = |trust: &&Trust| {
            let issuer = self.issuers.get(trust.issuer.0);
            issuer.is_some_and(|(_, issuer)| {
                issuer
                    .as_ref()
                    .is_some_and(|issuer| issuer.rules.introspection.is_some())
            })
        };
        let mut found = trusts.iter().filter(opaque);
        let first = found.next()?;
        if found.next().is_some() {
            let message = format!(
                "{} trusts several issuers with `introspection`, and nothing in an opaque token says whose it is",
                self.what
            );
            let span = super::issuers::span_of(self.node, "issuers");
            checker.error_help("BW0106", message, &span, "give each a route of its own");
        }
        Some(first.issuer)
    }

    fn access(&self, checker: &mut Checker<'_>) -> Option<Access> {
        let (node, what) = (self.node, &self.what);
        if node.text("auth").as_deref() == Some("none") {
            if let Some((_, span)) = node.value("issuers").or_else(|| node.value("audiences")) {
                let span = span.clone();
                checker.error(
                    "BW0106",
                    format!("{what} has `auth = \"none\"` and names whom it trusts"),
                    &span,
                );
            }
            return Some(Access::Open);
        }
        let names = checker.required_texts(node, what, "issuers");
        let defined: Vec<_> = self.issuers.iter().map(|(name, _)| name.as_str()).collect();
        let narrowed = node.texts("audiences");
        let mut trusts = Vec::new();
        for (name, span) in &names {
            let message = format!("{what} names an issuer that is not defined");
            let Some(place) = checker.reference(&defined, name, &message, "issuers", span) else {
                continue;
            };
            let Some((_, Some(issuer))) = self.issuers.get(place) else {
                continue;
            };
            let own = &issuer.rules.audiences;
            let audiences: Vec<Box<str>> = match narrowed {
                None => own.clone(),
                Some(texts) => own
                    .iter()
                    .filter(|audience| texts.iter().any(|(text, _)| *text == ***audience))
                    .cloned()
                    .collect(),
            };
            if own.is_empty() {
                // That is the issuer's fault, and told there.
                continue;
            }
            if audiences.is_empty() {
                checker.error("BW0110", format!("{what}: `audiences` holds none of the audiences of issuer `{name}`, so none of its tokens could pass"), span);
            } else if narrowed.is_none() && own.len() > 1 {
                checker.warn("BW0205", format!("{what}: issuer `{name}` has several audiences and the route takes them all, so a token for one API opens another (RFC 8725 section 3.9)"), span, "narrow the route by `audiences`");
            }
            trusts.push(Trust {
                issuer: IssuerId(place),
                audiences,
            });
        }
        trusts.sort_by_key(|trust| trust.issuer);
        trusts.dedup_by_key(|trust| trust.issuer);
        (!trusts.is_empty()).then_some(Access::Token(trusts))
    }

    fn rules(&self, open: bool, checker: &mut Checker<'_>) -> Vec<Rule> {
        let nodes = self.node.list("rules");
        if nodes.is_empty() && !open && !self.node.is_faulty("rules") {
            checker.warn(
                "BW0206",
                format!(
                    "{} has no `rules`: any valid token may use any method",
                    self.what
                ),
                &self.node.span,
                "write [[routes.NAME.rules]] with methods and scopes",
            );
        }
        if nodes.is_empty() {
            return vec![Rule::default()];
        }
        nodes
            .iter()
            .map(|node| {
                let requirement = self.requirement(node, checker);
                let demands = !(requirement.scopes_all.is_empty()
                    && requirement.scopes_any.is_empty()
                    && requirement.claims.is_empty()
                    && requirement.certificate.is_empty());
                if !open && !demands && node.value("methods").is_none() {
                    checker.warn(
                        "BW0206",
                        format!("a rule of {} demands nothing: any valid token may use any method", self.what),
                        &node.span,
                        "write methods and scopes",
                    );
                }
                if open && demands {
                    checker.error("BW0106", format!("{} has `auth = \"none\"` and a rule with demands, which would not be checked", self.what), &node.span);
                }
                Rule {
                    methods: self.methods(node, checker),
                    requirement,
                }
            })
            .collect()
    }
}
