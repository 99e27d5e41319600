//! `[upstreams.*]`.

use std::sync::Arc;

use http::{HeaderName, Uri};
use rustls::pki_types::ServerName;

use super::Checker;
use super::issuers::span_of;
use crate::config::node::{Node, Span};
use crate::forward::{
    Balance, HashKey, HealthProbe, HostHeader, SERVERS_MAX, Server, ServerPlace, Upstream,
    UpstreamLimits, UpstreamProtocol, UpstreamTls,
};
use crate::tls::client;

/// All upstreams by name, in the order of their places; `None` where one cannot be built.
pub(super) fn check(
    root: &Node,
    checker: &mut Checker<'_>,
) -> Vec<(String, Option<Arc<Upstream>>)> {
    root.tables("upstreams")
        .map(|(name, node)| (name.to_owned(), upstream(name, node, checker)))
        .collect()
}

fn upstream(name: &str, node: &Node, checker: &mut Checker<'_>) -> Option<Arc<Upstream>> {
    let what = format!("upstream `{name}`");
    let texts = checker.required_texts(node, &what, "servers");
    let balance = balance(node, &what, texts.len(), checker);
    let probe = probe(node, &what, checker);
    let mut places = Vec::new();
    for (text, span) in &texts {
        let place = place(text, &what, span, checker)?;
        if places.iter().any(|it: &Written| it.place == place.place) {
            let message = format!("`servers` of {what}: `{text}` stands there twice");
            checker.error("BW0110", message, span);
        }
        places.push(place);
    }
    if let Some((_, span)) = texts.get(SERVERS_MAX) {
        let message = format!("{what} has more than {SERVERS_MAX} servers");
        checker.error("BW0104", message, span);
        return None;
    }
    let https = places.first()?.https;
    if let Some(index) = places.iter().position(|place| place.https != https) {
        let (_, span) = texts.get(index)?;
        let message = format!("{what} has servers with https and others with http");
        let help = "give those in clear text an upstream of their own";
        checker.error_help("BW0106", message, span, help);
        return None;
    }
    let protocol = match node.text("protocol")?.as_str() {
        "h2" => UpstreamProtocol::Http2,
        "auto" => UpstreamProtocol::Auto,
        _ => UpstreamProtocol::Http1,
    };
    if protocol == UpstreamProtocol::Auto && !https {
        let message = format!("`protocol` of {what} is `auto`, and nothing settles it without TLS");
        let help = "write \"http/1.1\" or \"h2\", or https:// servers";
        checker.error_help("BW0106", message, &span_of(node, "protocol"), help);
        return None;
    }
    let offered = protocol.alpn();
    let (tls, server_name) = tls(node, &what, (https, offered), checker)?;
    let mut servers = Vec::new();
    for (place, (text, span)) in places.into_iter().zip(&texts) {
        let name = match (&tls, &server_name) {
            (None, _) => None,
            (Some(_), Some(name)) => Some(name.clone()),
            (Some(_), None) => match ServerName::try_from(place.place.host.to_string()) {
                Ok(name) => Some(name),
                Err(_) => {
                    let message = format!("`servers` of {what}: no certificate names `{text}`");
                    checker.error("BW0104", message, span);
                    return None;
                }
            },
        };
        servers.push(Arc::new(Server::new(place.place, place.authority, name)));
    }
    Some(Arc::new(Upstream {
        name: name.into(),
        servers,
        balance: balance?,
        protocol,
        host: match node.text("host").as_deref() {
            Some("upstream") => HostHeader::Upstream,
            _ => HostHeader::Client,
        },
        tls,
        limits: UpstreamLimits {
            connect_max: node.duration("connect_timeout")?,
            response_max: node.duration("response_timeout")?,
            body_gap_max: node.duration("body_timeout")?,
            idle_max: node.duration("idle_timeout")?,
            age_max: node.duration("connection_age_max")?,
            connections: usize::try_from(node.count("connections")?).unwrap_or(usize::MAX),
            retries: u32::try_from(node.count("retries")?).unwrap_or(0),
        },
        probe: probe?,
    }))
}

/// A server as it is written.
struct Written {
    place: ServerPlace,
    authority: Box<str>,
    https: bool,
}

/// `http://host:port`, with the authority for a `Host` header.
fn place(text: &str, what: &str, span: &Span, checker: &mut Checker<'_>) -> Option<Written> {
    let uri = text.parse::<Uri>().ok();
    let good = uri.filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && uri.port_u16() != Some(0)
            && uri
                .authority()
                .is_some_and(|authority| !authority.as_str().contains('@'))
    });
    let parsed = good.and_then(|uri| {
        let https = uri.scheme_str() == Some("https");
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let place = ServerPlace {
            host: host.into(),
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
        };
        let authority = uri.authority()?.as_str().into();
        Some(Written {
            place,
            authority,
            https,
        })
    });
    if parsed.is_none() {
        checker.error_help(
            "BW0104",
            format!("{what}: `{text}` is no server"),
            span,
            "write \"http://host:port\" or \"https://host:port\", without a path",
        );
    }
    parsed
}

/// How one of `count` servers is chosen.
fn balance(node: &Node, what: &str, count: usize, checker: &mut Checker<'_>) -> Option<Balance> {
    let word = node.text("balance")?;
    let key = node.value("hash_on").map(|(_, span)| span.clone());
    let span = span_of(node, "balance");
    match (word.as_str(), key) {
        ("hash", None) if node.is_faulty("hash_on") => return None,
        ("hash", None) => {
            let message = format!("`balance` of {what} is `hash`, and `hash_on` is missing");
            let help = "write hash_on = \"claim:sub\" or \"header:X-Tenant\"";
            checker.error_help("BW0105", message, &span, help);
            return None;
        }
        ("hash", Some(span)) => return hash_key(&node.text("hash_on")?, what, &span, checker),
        (_, Some(span)) => {
            let message =
                format!("`hash_on` of {what} has no effect beside `balance = \"{word}\"`");
            let help = "take it out, or write balance = \"hash\"";
            checker.error_help("BW0106", message, &span, help);
            return None;
        }
        (_, None) => {}
    }
    if count == 1 && node.value("balance").is_some() {
        let message = format!("{what} has one server, and `balance` has nothing to choose from");
        checker.warn("BW0212", message, &span, "take it out, or add servers");
    }
    Some(match word.as_str() {
        "round_robin" => Balance::RoundRobin,
        _ => Balance::LeastRequests,
    })
}

fn hash_key(text: &str, what: &str, span: &Span, checker: &mut Checker<'_>) -> Option<Balance> {
    let key = match text.split_once(':') {
        Some(("claim", name)) if !name.is_empty() => Some(HashKey::Claim(name.into())),
        Some(("header", name)) => {
            let name = HeaderName::from_bytes(name.as_bytes());
            name.ok().map(HashKey::Header)
        }
        _ => None,
    };
    if key.is_none() {
        let message = format!("`hash_on` of {what} is neither a claim nor a header: `{text}`");
        let help = "write \"claim:NAME\" or \"header:NAME\"";
        checker.error_help("BW0104", message, span, help);
    }
    key.map(Balance::Hash)
}

/// How the servers are asked; `Some(None)`: they are not.
#[expect(clippy::option_option, reason = "a fault is not the same as no table")]
fn probe(node: &Node, what: &str, checker: &mut Checker<'_>) -> Option<Option<HealthProbe>> {
    let Some(health) = node.table("health") else {
        return (!node.is_faulty("health")).then_some(None);
    };
    let (path, span) = checker.required(health, &format!("`health` of {what}"), "path")?;
    let is_path = path.starts_with('/') && path.parse::<Uri>().is_ok();
    if !is_path {
        let message = format!("`path` of `health` of {what} is no path: `{path}`");
        checker.error_help("BW0104", message, &span, "write \"/healthz\"");
        return None;
    }
    let count = |name| Some(u32::try_from(health.count(name)?).unwrap_or(u32::MAX));
    Some(Some(HealthProbe {
        path: path.into(),
        interval: health.duration("interval")?,
        timeout: health.duration("timeout")?,
        unhealthy_after: count("unhealthy_after")?,
        healthy_after: count("healthy_after")?,
    }))
}

/// TLS to the servers and whom their certificates must name.
type TlsParts = (Option<UpstreamTls>, Option<ServerName<'static>>);

fn tls(
    node: &Node,
    what: &str,
    (https, offered): (bool, &[&[u8]]),
    checker: &mut Checker<'_>,
) -> Option<TlsParts> {
    let Some(tls) = node.table("tls") else {
        if node.is_faulty("tls") {
            return None;
        }
        let made = https.then(|| client::connector(None, None, offered).ok());
        let made = made.flatten().map(|connector| UpstreamTls {
            connector,
            ca: None,
            identity: None,
        });
        return Some((made, None));
    };
    if !https {
        let message = format!("`tls` of {what} has no effect beside servers with http");
        checker.error_help("BW0106", message, &tls.span, "write https://host:port");
        return None;
    }
    let name = match tls.text("server_name") {
        None if tls.is_faulty("server_name") => return None,
        None => None,
        Some(text) => match ServerName::try_from(text.clone()) {
            Ok(name) => Some(name),
            Err(_) => {
                let message = format!("`server_name` of {what} is no name: `{text}`");
                checker.error("BW0104", message, &span_of(tls, "server_name"));
                return None;
            }
        },
    };
    let ca = match tls.text("ca") {
        None if tls.is_faulty("ca") => return None,
        None => None,
        Some(path) => Some(checker.file(&path, &span_of(tls, "ca"), "`ca`")?),
    };
    let identity = match tls.table("client_certificate") {
        None if tls.is_faulty("client_certificate") => return None,
        None => None,
        Some(own) => {
            let whose = format!("`client_certificate` of {what}");
            let chain = checker.required(own, &whose, "chain");
            if own.value("key").is_none() && !own.is_faulty("key") {
                checker.error("BW0105", format!("{whose} has no `key`"), &own.span);
            }
            let (key, _) = checker.secret(own, "key")?;
            let (path, span) = chain?;
            Some((checker.file(&path, &span, "`chain`")?, key))
        }
    };
    let own = identity
        .as_ref()
        .map(|(chain, key)| (chain.as_slice(), key));
    match client::connector(ca.as_deref(), own, offered) {
        Ok(connector) => {
            let tls = UpstreamTls {
                connector,
                ca,
                identity,
            };
            Some((Some(tls), name))
        }
        Err(error) => {
            checker.error("BW0108", format!("`tls` of {what}: {error}"), &tls.span);
            None
        }
    }
}
