//! `[admin]`, and addresses to listen on.

use super::Checker;
use crate::config::node::{Node, Span};
use crate::config::settings::{AdminSettings, ListenerSettings};
use crate::listen::{Address, NoAddress};

/// Two listeners cannot have one address.
pub(super) fn taken_twice(
    listeners: &[ListenerSettings],
    admin: &Address,
    probes: Option<&Address>,
    span: &Span,
    checker: &mut Checker<'_>,
) {
    let mut seen: Vec<(&Address, &str)> = Vec::new();
    let others = [(Some(admin), "admin"), (probes, "probes")];
    let others = others
        .iter()
        .filter_map(|(address, name)| Some(((*address)?, *name)));
    let all = listeners
        .iter()
        .map(|listener| (&listener.address, &*listener.name));
    for (address, name) in all.chain(others) {
        let same = seen
            .iter()
            .find(|(other, _)| *other == address && address.is_given());
        if let Some((_, other)) = same {
            checker.error(
                "BW0110",
                format!("`{other}` and `{name}` listen on the same address, {address}"),
                span,
            );
        }
        seen.push((address, name));
    }
}

/// `[admin]`.
pub(super) fn admin(node: &Node, checker: &mut Checker<'_>) -> Option<AdminSettings> {
    let text = node.text("address")?;
    let span = node
        .value("address")
        .map_or_else(|| node.span.clone(), |(_, span)| span.clone());
    let address = read(&text, &span, checker);
    if address.as_ref().is_some_and(|address| !address.is_local()) {
        checker.error_help(
            "BW0110",
            format!("the admin listener is not on a loopback address or `unix:PATH`: `{text}`"),
            &span,
            "without TLS it would carry its token in clear text; reach it through a tunnel, or use [probes] for health and metrics",
        );
    }
    let hosts = node.texts("allowed_hosts").map(<[_]>::to_vec);
    let token = checker.secret(node, "token");
    if let Some((token, span)) = &token
        && token.expose().len() < 16
    {
        checker.error(
            "BW0104",
            "the admin token has fewer than 16 bytes".to_owned(),
            span,
        );
    }
    Some(AdminSettings {
        address: address?,
        token: token.map(|(token, _)| token),
        console: node.flag("console"),
        allowed_hosts: match hosts {
            Some(hosts) => hosts
                .into_iter()
                .map(|(host, _)| host.to_ascii_lowercase())
                .collect(),
            None => ["localhost", "127.0.0.1", "[::1]"]
                .map(str::to_owned)
                .to_vec(),
        },
    })
}

/// Where something listens.
pub(super) fn read(text: &str, span: &Span, checker: &mut Checker<'_>) -> Option<Address> {
    let address = Address::read(text, checker.folder);
    if address == Err(NoAddress) {
        checker.error_help(
            "BW0104",
            format!("`{text}` is no address to listen on"),
            span,
            "write an IP address and a port (\"0.0.0.0:8443\", \"[::]:8443\"), a path of 107 bytes at the most with its folder (\"unix:api.sock\"), or the name of a socket that systemd passes (\"systemd:public\")",
        );
    }
    address.ok()
}
