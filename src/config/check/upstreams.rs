//! `[upstreams.*]`.

use std::sync::Arc;

use http::Uri;

use super::Checker;
use crate::config::raw::{Node, Span};
use crate::forward::{HostHeader, Server, Upstream, UpstreamLimits};

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
    let servers = checker.required_texts(node, &what, "servers");
    let mut servers = servers.iter();
    let (first, second) = (servers.next()?, servers.next());
    if let Some((_, span)) = second {
        checker.error(
            "BW0102",
            format!("{what} has several servers; this version serves one"),
            span,
        );
    }
    let (server, authority) = server(&first.0, &what, &first.1, checker)?;
    Some(Arc::new(Upstream {
        name: name.into(),
        server,
        host: match node.text("host").as_deref() {
            Some("upstream") => HostHeader::Upstream(authority),
            _ => HostHeader::Client,
        },
        limits: UpstreamLimits {
            connect_max: node.duration("connect_timeout")?,
            response_max: node.duration("response_timeout")?,
            idle_max: node.duration("idle_timeout")?,
            age_max: node.duration("connection_age_max")?,
            connections: usize::try_from(node.count("connections")?).unwrap_or(usize::MAX),
            retries: u32::try_from(node.count("retries")?).unwrap_or(0),
        },
    }))
}

/// `http://host:port`, with the authority for a `Host` header.
fn server(
    text: &str,
    what: &str,
    span: &Span,
    checker: &mut Checker<'_>,
) -> Option<(Server, Box<str>)> {
    let uri = text.parse::<Uri>().ok();
    if uri.as_ref().and_then(Uri::scheme_str) == Some("https") {
        checker.error(
            "BW0102",
            format!("{what}: TLS to upstreams is not served by this version: `{text}`"),
            span,
        );
        return None;
    }
    let good = uri.filter(|uri| {
        uri.scheme_str() == Some("http")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && uri
                .authority()
                .is_some_and(|authority| !authority.as_str().contains('@'))
    });
    let parsed = good.and_then(|uri| {
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let server = Server {
            host: host.into(),
            port: uri.port_u16().unwrap_or(80),
        };
        Some((server, uri.authority()?.as_str().into()))
    });
    if parsed.is_none() {
        checker.error_help(
            "BW0104",
            format!("{what}: `{text}` is no server"),
            span,
            "write \"http://host:port\", without a path",
        );
    }
    parsed
}
