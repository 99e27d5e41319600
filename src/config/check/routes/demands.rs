//! What a route demands and how it answers: methods, scopes, claims, identity headers, CORS.

use http::{HeaderName, HeaderValue, Method};

use super::Parts;
use crate::config::check::Checker;
use crate::config::node::{Node, Value};
use crate::config::settings::ListenerSettings;
use crate::config::suggest::nearest;
use crate::forward::UpstreamProtocol;
use crate::http::cors::{Cors, EXPOSED_ALWAYS};
use crate::http::headers::{ends_here, is_forwarding_claim};
use crate::http::upgrade::{WEBSOCKET, is_protocol};
use crate::oauth::scope::is_scope_token;
use crate::observe::unhex;
use crate::policy::{CertificateRule, ClaimRule, MethodSet, Requirement};
use crate::tls::ClientAuth;

impl Parts<'_> {
    /// What connections may be upgraded to; nothing, where the servers do not surely speak HTTP/1.1.
    pub(super) fn upgrades(
        &self,
        upstream: Option<usize>,
        checker: &mut Checker<'_>,
    ) -> Vec<Box<str>> {
        let upstream = upstream.and_then(|place| self.upstreams.get(place)?.1.as_ref());
        let over_http1 = upstream.is_none_or(|it| it.protocol == UpstreamProtocol::Http1);
        let Some(texts) = self.node.texts("upgrades") else {
            return match over_http1 {
                true => vec![WEBSOCKET.into()],
                false => Vec::new(),
            };
        };
        let mut upgrades = Vec::new();
        for (text, span) in texts {
            let name = text.to_ascii_lowercase();
            let what = &self.what;
            if !is_protocol(text) {
                let message = format!("`upgrades` of {what}: `{text}` is no protocol");
                checker.error("BW0104", message, span);
            } else if name == "h2c" || name.starts_with("http/") || name.starts_with("tls/") {
                let message = format!(
                    "`upgrades` of {what}: `{text}` would carry requests that nobody checks"
                );
                checker.error("BW0110", message, span);
            } else if !over_http1 {
                let message = format!(
                    "`upgrades` of {what} needs an upstream with `protocol = \"http/1.1\"`"
                );
                let help = "give it an upstream of its own, or write upgrades = []";
                checker.error_help("BW0106", message, span, help);
            }
            upgrades.push(name.into());
        }
        upgrades
    }

    /// Whether the route only reports. What the upstream would rely on then is a fault: it is not there for
    /// whoever passes without a good token.
    pub(super) fn report_only(&self, checker: &mut Checker<'_>) -> bool {
        let Some((Value::Text(auth), span)) = self.node.value("auth") else {
            return false;
        };
        if auth != "report" {
            return false;
        }
        let what = &self.what;
        checker.warn(
            "BW0216",
            format!("{what} has `auth = \"report\"`: it refuses nobody"),
            span,
            "write \"required\" once bearward_would_deny_total stays where it is",
        );
        if let Some((_, span)) = self.node.value("internal_token") {
            let message = format!(
                "{what} has `auth = \"report\"` and an `internal_token`, which only a good token can be exchanged for"
            );
            checker.error("BW0106", message, span);
        }
        true
    }

    pub(super) fn methods(&self, node: &Node, checker: &mut Checker<'_>) -> MethodSet {
        let Some(texts) = node.texts("methods") else {
            return MethodSet::Any;
        };
        let texts = if texts.is_empty() {
            checker.required_texts(node, &format!("a rule of {}", self.what), "methods")
        } else {
            texts.to_vec()
        };
        const KNOWN: [&str; 9] = [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
        ];
        for (text, span) in &texts {
            if let Some(near) = nearest(text, KNOWN.into_iter())
                && near != text
                && !text.bytes().any(|b| b.is_ascii_lowercase())
            {
                checker.warn(
                    "BW0207",
                    format!("`methods` of {}: `{text}` is an unusual method", self.what),
                    span,
                    &format!("did you mean `{near}`?"),
                );
            }
        }
        let mut methods = Vec::new();
        for (text, span) in &texts {
            match Method::from_bytes(text.as_bytes()) {
                Ok(method) if !text.bytes().any(|b| b.is_ascii_lowercase()) => methods.push(method),
                _ => checker.error(
                    "BW0104",
                    format!(
                        "`methods` of {}: `{text}` is no method; they are written in capitals",
                        self.what
                    ),
                    span,
                ),
            }
        }
        MethodSet::Of(methods)
    }

    pub(super) fn requirement(&self, node: &Node, checker: &mut Checker<'_>) -> Requirement {
        let mut scopes = |name: &str| -> Vec<Box<str>> {
            let Some(texts) = node.texts(name) else {
                return Vec::new();
            };
            if texts.is_empty() {
                let span = node
                    .value(name)
                    .map_or_else(|| node.span.clone(), |(_, s)| s.clone());
                checker.error_help(
                    "BW0104",
                    format!("`{name}` of {} is empty", self.what),
                    &span,
                    "leave it out where no scope is needed",
                );
            }
            for (text, span) in texts.iter().filter(|(text, _)| !is_scope_token(text)) {
                checker.error(
                    "BW0104",
                    format!(
                        "`{name}` of {}: `{text}` is no scope (RFC 6749 section 3.3)",
                        self.what
                    ),
                    span,
                );
            }
            texts.iter().map(|(text, _)| text.as_str().into()).collect()
        };
        let (scopes_all, scopes_any) = (scopes("scopes_all"), scopes("scopes_any"));
        let claims = node.table("claims");
        let claims =
            claims
                .into_iter()
                .flat_map(Node::values)
                .filter_map(|(claim, value, span)| {
                    let Value::Scalars(values) = value else {
                        return None;
                    };
                    if values.is_empty() {
                        checker.error(
                            "BW0104",
                            format!("`claims` of {}: `{claim}` has no allowed value", self.what),
                            span,
                        );
                    }
                    Some(ClaimRule {
                        claim: claim.into(),
                        values: values.clone(),
                    })
                });
        let claims = claims.collect();
        Requirement {
            scopes_all,
            scopes_any,
            claims,
            certificate: self.certificate(node, checker),
        }
    }

    fn certificate(&self, node: &Node, checker: &mut Checker<'_>) -> CertificateRule {
        let texts = node.texts("client_certificates");
        if texts.is_some_and(<[_]>::is_empty) {
            checker.error_help(
                "BW0104",
                format!("`client_certificates` of {} is empty", self.what),
                &node.span,
                "leave it out where any certificate, or none, will do",
            );
        }
        let texts = texts.unwrap_or_default();
        let mut allowed = Vec::new();
        for (text, span) in texts {
            // As tools write it: colons between the bytes, in either case.
            match unhex(&text.replace(':', "").to_ascii_lowercase()) {
                Some(digest) => allowed.push(digest),
                None => checker.error_help(
                    "BW0104",
                    format!(
                        "`client_certificates` of {}: `{text}` is no SHA-256 fingerprint",
                        self.what
                    ),
                    span,
                    "openssl x509 -in client.crt -noout -fingerprint -sha256",
                ),
            }
        }
        let rule = CertificateRule {
            allowed,
            bound: node.flag("certificate_bound"),
        };
        let asks = |listener: &ListenerSettings| {
            let tls = listener.tls.as_ref();
            tls.is_some_and(|tls| !matches!(tls.terms.client_auth, ClientAuth::None))
        };
        let said = !texts.is_empty() || rule.bound;
        if said && !self.listeners.iter().any(asks) {
            checker.error_help(
                "BW0106",
                format!(
                    "a rule of {} wants a client certificate, and no listener asks for one",
                    self.what
                ),
                &node.span,
                "write `client_auth` and `client_ca` in the listener's [tls]",
            );
        }
        rule
    }

    pub(super) fn identity(&self, checker: &mut Checker<'_>) -> Vec<(HeaderName, Box<str>)> {
        let node = self.node.table("identity");
        node.into_iter()
            .flat_map(Node::values)
            .filter_map(|(name, value, span)| {
                let Value::Text(claim) = value else {
                    return None;
                };
                let header = HeaderName::from_bytes(name.as_bytes())
                    .ok()
                    .filter(|header| {
                        !ends_here(header)
                            && !is_forwarding_claim(header)
                            && !matches!(
                                header.as_str(),
                                "host"
                                    | "content-length"
                                    | "content-type"
                                    | "authorization"
                                    | "cookie"
                                    | "via"
                                    | "expect"
                                    | "date"
                            )
                    });
                if header.is_none() {
                    checker.error(
                        "BW0104",
                        format!(
                            "`identity` of {}: `{name}` cannot be an identity header",
                            self.what
                        ),
                        span,
                    );
                }
                Some((header?, claim.as_str().into()))
            })
            .collect()
    }

    pub(super) fn cors(&self, node: &Node, checker: &mut Checker<'_>) -> Option<Cors> {
        let what = format!("`cors` of {}", self.what);
        let origins = checker.required_texts(node, &what, "origins");
        let any = origins.iter().any(|(origin, _)| origin == "*");
        for (origin, span) in &origins {
            let good = origin == "*" && origins.len() == 1
                || origin.parse::<http::Uri>().is_ok_and(|uri| {
                    uri.scheme().is_some()
                        && uri.path() == "/"
                        && uri.query().is_none()
                        && !origin.ends_with('/')
                });
            if !good {
                checker.error_help(
                    "BW0104",
                    format!("{what}: `{origin}` is no origin"),
                    span,
                    "write \"https://app.example.com\", or \"*\" alone",
                );
            }
        }
        let credentials = node.flag("credentials");
        if any && credentials {
            checker.error("BW0110", format!("{what}: any origin and `credentials = true` would let every page act for the user"), &node.span);
        }
        let list = |name: &str, default: &str| {
            let text = node.texts(name).map_or_else(
                || default.to_owned(),
                |texts| {
                    texts
                        .iter()
                        .map(|(text, _)| text.as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                },
            );
            HeaderValue::from_str(&text).ok()
        };
        let (methods, headers) = (
            list("methods", "GET, HEAD, POST"),
            list("headers", "authorization"),
        );
        let mut expose = EXPOSED_ALWAYS.to_owned();
        if self.node.flag("token_expires_in") {
            expose.push_str(", Bearward-Token-Expires-In");
        }
        for (name, _) in node.texts("expose").unwrap_or_default() {
            expose.push_str(", ");
            expose.push_str(name);
        }
        let expose = HeaderValue::from_str(&expose).ok();
        if methods.is_none() || headers.is_none() || expose.is_none() {
            checker.error(
                "BW0104",
                format!("{what}: a name is not visible ASCII"),
                &node.span,
            );
        }
        Some(Cors {
            origins: (!any).then(|| {
                origins
                    .into_iter()
                    .map(|(origin, _)| origin.into())
                    .collect()
            }),
            methods: methods?,
            headers: headers?,
            expose: expose?,
            credentials,
            max_age: node.duration("max_age")?,
        })
    }
}
