//! `[listeners.*]`.

use super::issuers::span_of;
use super::routes::shaping::RATE_HELP;
use super::{Checker, addresses, with_defaults};
use crate::clock::{Clock, SystemClock};
use crate::config::node::{Node, Value};
use crate::config::settings::{CertificateFiles, KeyPlace, ListenerSettings, TlsSettings};
use crate::config::value;
use crate::http::body::BodyLimits;
use crate::http::deadline::WaitLimits;
use crate::http::host::HostPattern;
use crate::http::network::Network;
use crate::http::redirect::Redirect;
use crate::http::serve::{MessageLimits, Protocol};
use crate::limit::Quota;
use crate::tls::certificates::{Certificates, Served};
use crate::tls::{ClientAuth, MinVersion, Terms};

/// All listeners that can be built. `public_port`: that of `public_url`.
pub(super) fn check(
    root: &Node,
    public_port: Option<u16>,
    checker: &mut Checker<'_>,
) -> Vec<ListenerSettings> {
    let listeners: Vec<_> = root.tables("listeners").collect();
    if listeners.is_empty() {
        checker.report.push(
            super::Diagnostic::error("BW0105", "the file has no [listeners.NAME]".to_owned())
                .help("clients need somewhere to connect"),
        );
    }
    let mut built: Vec<_> = listeners
        .iter()
        .filter_map(|(name, node)| listener(name, node, checker))
        .collect();
    let first = built.iter().find(|listener| listener.tls.is_some());
    let no_tls = first.is_none();
    let port = public_port.or_else(|| first.and_then(|listener| listener.address.port()));
    let tls = built.iter().filter_map(|listener| listener.tls.as_ref());
    let hosts: Vec<HostPattern> = tls
        .flat_map(|tls| tls.certificates.all())
        .flat_map(|served| served.names().to_vec())
        .collect();
    for (name, node) in listeners {
        if !node.flag("redirect_to_https") {
            continue;
        }
        let span = span_of(node, "redirect_to_https");
        let Some(own) = built.iter_mut().find(|listener| *listener.name == *name) else {
            continue;
        };
        let message = match (&own.tls, port) {
            (Some(_), _) => format!("listener `{name}` has `tls` and `redirect_to_https`"),
            (None, None) => {
                format!("listener `{name}` leads to https, and no listener has `tls`")
            }
            (None, Some(_)) if no_tls => {
                format!("listener `{name}` leads to https, and no listener has `tls`")
            }
            (None, Some(port)) => {
                own.redirect = Some(Redirect {
                    hosts: hosts.clone(),
                    port,
                });
                continue;
            }
        };
        checker.error("BW0106", message, &span);
    }
    built
}

fn listener(name: &str, node: &Node, checker: &mut Checker<'_>) -> Option<ListenerSettings> {
    let what = format!("listener `{name}`");
    let address = checker
        .required(node, &what, "address")
        .and_then(|(text, span)| addresses::read(&text, &span, checker));
    let limits = with_defaults(node, "limits");
    let clear_text = node.flag("clear_text");
    let protocols = protocols(node, &what, clear_text, checker);
    let tls = match (node.table("tls"), clear_text) {
        (Some(tls), false) => Some(tls_of(tls, &what, (&limits, &protocols), checker)?),
        (None, true) => {
            let leads = node.flag("redirect_to_https");
            if !leads && address.as_ref().is_some_and(|address| !address.is_local()) {
                checker.warn(
                    "BW0201",
                    format!("{what} takes tokens in clear text from other machines (RFC 6750 section 5.3)"),
                    &node.span,
                    "give it [tls], or be sure that something in front of it ends TLS",
                );
            }
            None
        }
        (None, false) if node.is_faulty("tls") || node.is_faulty("clear_text") => return None,
        (None, false) => {
            checker.error_help(
                "BW0106",
                format!("{what} has neither `tls` nor `clear_text = true`"),
                &node.span,
                "clear text must be said",
            );
            return None;
        }
        (Some(tls), true) => {
            checker.error(
                "BW0106",
                format!("{what} has `tls` and `clear_text = true`"),
                &tls.span,
            );
            return None;
        }
    };
    let trusted_proxies = trusted_proxies(node, &what, checker)?;
    let failures = failures(&limits, &what, checker)?;
    let bytes = |name: &str| usize::try_from(limits.size(name).unwrap_or(0)).unwrap_or(usize::MAX);
    let number =
        |name: &str| usize::try_from(limits.count(name).unwrap_or(1)).unwrap_or(usize::MAX);
    Some(ListenerSettings {
        name: name.into(),
        address: address?,
        clear_text: protocols.first().copied().unwrap_or(Protocol::Http1),
        tls,
        connections: number("connections"),
        connections_per_peer: number("connections_per_peer"),
        redirect: None,
        trusted_proxies,
        failures,
        proxy_protocol: node.text("proxy_protocol").as_deref() == Some("required"),
        handshake_max: limits.duration("handshake_timeout")?,
        waits: WaitLimits {
            idle: limits.duration("idle_timeout")?,
            send: limits.duration("send_timeout")?,
            header: limits.duration("header_timeout")?,
        },
        messages: MessageLimits {
            header_bytes: bytes("header_bytes"),
            target_bytes: bytes("target_bytes"),
            streams: u32::try_from(limits.count("streams")?).unwrap_or(u32::MAX),
        },
        token_bytes: bytes("token_bytes"),
        body: BodyLimits {
            bytes_max: limits.size("body_bytes"),
            gap_max: Some(limits.duration("body_timeout")?),
        },
    })
}

/// How many refused credentials one peer may send; `Some(None)`: any number.
#[expect(clippy::option_option, reason = "a fault is not the same as no limit")]
fn failures(limits: &Node, what: &str, checker: &mut Checker<'_>) -> Option<Option<Quota>> {
    let text = limits.text("failures_per_peer")?;
    if text == "off" {
        return Some(None);
    }
    let Some((number, time)) = value::rate(&text) else {
        let message = format!("`failures_per_peer` of {what} is no rate: `{text}`");
        let help = format!("{RATE_HELP}, or \"off\"");
        checker.error_help(
            "BW0104",
            message,
            &span_of(limits, "failures_per_peer"),
            &help,
        );
        return None;
    };
    let every = time / number;
    Some(Some(Quota {
        every,
        burst: number,
    }))
}

fn trusted_proxies(node: &Node, what: &str, checker: &mut Checker<'_>) -> Option<Vec<Network>> {
    let texts = node.texts("trusted_proxies").unwrap_or_default();
    let mut networks = Vec::new();
    for (text, span) in texts {
        match text.parse::<Network>() {
            Ok(network) => {
                if text.ends_with("/0") {
                    let message = format!(
                        "`trusted_proxies` of {what}: `{text}` is everybody, who can then claim any address"
                    );
                    checker.warn("BW0213", message, span, "name the proxies' own networks");
                }
                networks.push(network);
            }
            Err(error) => {
                let message = format!("`trusted_proxies` of {what}: {error}: `{text}`");
                checker.error("BW0104", message, span);
                return None;
            }
        }
    }
    Some(networks)
}

fn protocols(
    node: &Node,
    what: &str,
    clear_text: bool,
    checker: &mut Checker<'_>,
) -> Vec<Protocol> {
    let Some(texts) = node.texts("protocols") else {
        return if clear_text {
            vec![Protocol::Http1]
        } else {
            vec![Protocol::Http2, Protocol::Http1]
        };
    };
    let mut protocols = Vec::new();
    for (text, span) in texts {
        match text.as_str() {
            "h2" => protocols.push(Protocol::Http2),
            "http/1.1" => protocols.push(Protocol::Http1),
            _ => checker.error(
                "BW0104",
                format!("`protocols` of {what}: `{text}` is not \"h2\" or \"http/1.1\""),
                span,
            ),
        }
    }
    let span = node
        .value("protocols")
        .map_or_else(|| node.span.clone(), |(_, span)| span.clone());
    if texts.is_empty() {
        checker.error("BW0104", format!("`protocols` of {what} is empty"), &span);
    } else if clear_text && texts.len() > 1 {
        checker.error_help(
            "BW0106",
            format!("{what} is clear text and has more than one protocol"),
            &span,
            "without ALPN there is nothing to choose by",
        );
    }
    protocols
}

fn tls_of(
    tls: &Node,
    what: &str,
    (limits, protocols): (&Node, &[Protocol]),
    checker: &mut Checker<'_>,
) -> Option<TlsSettings> {
    let list = tls.list("certificates");
    if tls.is_faulty("certificates") {
        return None;
    }
    if list.is_empty() {
        checker.error(
            "BW0105",
            format!("`tls` of {what} has no `certificates`"),
            &tls.span,
        );
        return None;
    }
    let served: Vec<_> = list
        .iter()
        .filter_map(|node| {
            let chain = checker.required(node, "a certificate", "chain");
            let key = checker.secret(node, "key");
            if node.value("key").is_none() && !node.is_faulty("key") {
                checker.error(
                    "BW0105",
                    "a certificate has no `key`".to_owned(),
                    &node.span,
                );
            }
            let (path, span) = chain?;
            let chain = checker.file(&path, &span, "`chain`")?;
            let (key, _) = key?;
            let files = CertificateFiles {
                chain: checker.path(&path),
                key: match node.value("key") {
                    Some((Value::Secret(source), _)) => checker
                        .secret_file(source)
                        .map_or_else(|| KeyPlace::Fixed(key.clone()), KeyPlace::File),
                    _ => KeyPlace::Fixed(key.clone()),
                },
            };
            match Served::read(&chain, &key) {
                Ok(served) => {
                    let now = SystemClock.now();
                    if served.not_after() <= now {
                        checker.warn(
                            "BW0208",
                            format!(
                                "the certificate `{path}` of {what} ended at {}",
                                served.not_after()
                            ),
                            &span,
                            "clients refuse it; renew it",
                        );
                    }
                    Some((served, files))
                }
                Err(error) => {
                    checker.error(
                        "BW0108",
                        format!("the certificate `{path}` of {what} cannot be used: {error}"),
                        &span,
                    );
                    None
                }
            }
        })
        .collect();
    let client_auth = client_auth(tls, what, checker)?;
    let (served, files) = served.into_iter().unzip();
    Some(TlsSettings {
        files,
        certificates: Certificates::new(served)?,
        terms: Terms {
            min_version: match tls.text("min_version").as_deref() {
                Some("1.3") => MinVersion::Tls13,
                _ => MinVersion::Tls12,
            },
            client_auth,
            protocols: protocols.to_vec(),
        },
        handshake_max: limits.duration("handshake_timeout")?,
    })
}

/// Which certificates clients must show.
fn client_auth(tls: &Node, what: &str, checker: &mut Checker<'_>) -> Option<ClientAuth> {
    let word = tls.text("client_auth")?;
    let ca = tls.text("client_ca");
    let span = span_of(tls, "client_ca");
    let path = match (word.as_str(), ca) {
        ("none", None) => return Some(ClientAuth::None),
        ("none", Some(_)) => {
            let message = format!("`client_ca` of {what} has no effect without `client_auth`");
            let help = "write client_auth = \"required\" or \"optional\", or take it out";
            checker.error_help("BW0106", message, &span, help);
            return None;
        }
        (_, None) if tls.is_faulty("client_ca") => return None,
        (_, None) => {
            let message =
                format!("`client_auth` of {what} is `{word}`, and `client_ca` is missing");
            let span = span_of(tls, "client_auth");
            let help = "name the roots, in PEM, of the clients' certificates";
            checker.error_help("BW0105", message, &span, help);
            return None;
        }
        (_, Some(path)) => path,
    };
    let pem = checker.file(&path, &span, "`client_ca`")?;
    let Some(roots) = crate::tls::roots(&pem) else {
        let message = format!("`client_ca` of {what}: `{path}` holds no certificates in PEM");
        checker.error("BW0108", message, &span);
        return None;
    };
    Some(match word.as_str() {
        "required" => ClientAuth::Required(roots),
        _ => ClientAuth::Optional(roots),
    })
}
