//! How a provider is asked: which URLs, whose roots, through which proxy, within which bounds.

use std::net::IpAddr;

use http::Uri;

use super::Checker;
use crate::config::node::{Node, Span, Value};
use crate::config::settings::FetchSettings;
use crate::http::host::{is_loopback, is_refused_address};

/// What `jwks` and `introspection` have in common.
pub(super) fn fetch(table: &Node, what: &str, checker: &mut Checker<'_>) -> Option<FetchSettings> {
    let ca = match table.value("ca") {
        Some((Value::Text(path), span)) => {
            let (path, span) = (path.clone(), span.clone());
            let pem = checker.file(&path, &span, "`ca`")?;
            if crate::tls::roots(&pem).is_none() {
                let message = format!("{what}: `{path}` holds no certificates in PEM");
                checker.error("BW0108", message, &span);
                return None;
            }
            Some(pem)
        }
        _ => None,
    };
    let proxy = match table.value("proxy") {
        Some((Value::Text(url), span)) => Some(proxy(url, what, &span.clone(), checker)?),
        _ => None,
    };
    Some(FetchSettings {
        timeout: table.duration("timeout")?,
        bytes_max: size(table)?,
        ca,
        allow_http_loopback: table.flag("allow_http_loopback"),
        proxy,
    })
}

/// Host and port of a proxy.
fn proxy(url: &str, what: &str, span: &Span, checker: &mut Checker<'_>) -> Option<(String, u16)> {
    let uri = url.parse::<Uri>().ok().filter(|uri| {
        uri.scheme_str() == Some("http")
            && uri.path() == "/"
            && uri.query().is_none()
            && uri.authority().is_some_and(|it| !it.as_str().contains('@'))
    });
    if let Some(uri) = &uri
        && let (Some(host), Some(port)) = (uri.host(), uri.port_u16())
    {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        return Some((bare.to_owned(), port));
    }
    if url.contains('@') {
        checker.report.hide(span);
    }
    checker.error_help(
        "BW0104",
        format!("`proxy` of {what} is no proxy"),
        span,
        "write \"http://proxy.example.com:3128\", without a user and a path",
    );
    None
}

pub(super) fn size(table: &Node) -> Option<usize> {
    Some(usize::try_from(table.size("bytes_max")?).unwrap_or(usize::MAX))
}

/// Only https; http to a loopback address where that was allowed.
pub(super) fn check_url(
    url: &str,
    fetch: &FetchSettings,
    table: &str,
    what: &str,
    key: &str,
    span: &Span,
    checker: &mut Checker<'_>,
) {
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host);
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    let authority = uri.as_ref().and_then(Uri::authority);
    let address = host.and_then(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().ok()
    });
    let fault = if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        checker.report.hide(span);
        "a user name or a password has no place in it".to_owned()
    } else if authority.is_some_and(|it| names_no_port(it.as_str())) {
        "its port is none from 1 to 65535".to_owned()
    } else if address.is_some_and(is_refused_address) {
        "link-local addresses are refused: clouds keep their machines' credentials there".to_owned()
    } else {
        match (scheme, host) {
            (Some("https"), Some(_)) => return,
            (Some("http"), Some(host)) if is_loopback(host) && fetch.allow_http_loopback => return,
            (Some("http"), Some(host)) if is_loopback(host) => {
                format!("http to a loopback address needs `{table}.allow_http_loopback = true`")
            }
            (Some("http"), Some(_)) if table == "jwks" => {
                "keys are fetched by https only: who changes them on their way signs every token"
                    .to_owned()
            }
            (Some("http"), Some(_)) => {
                "tokens are asked about by https only: who answers on the way lets anybody in"
                    .to_owned()
            }
            _ => "it is no https URL".to_owned(),
        }
    };
    checker.error("BW0110", format!("`{key}` of {what}: {fault}"), span);
}

/// Whether there is a port, and it is none.
fn names_no_port(authority: &str) -> bool {
    let behind = authority.rsplit(']').next().unwrap_or_default();
    let port = behind.rsplit_once(':').map(|(_, port)| port);
    port.is_some_and(|port| port.parse::<u16>().ok().is_none_or(|port| port == 0))
}
