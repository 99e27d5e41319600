//! The parts of a gateway, each made from its settings.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::StartError;
use crate::config::{Config, ListenerSettings};
use crate::control::Kept;
use crate::gateway::Front;
use crate::http::headers::ReservedNames;
use crate::http::serve::Protocol;
use crate::limit::Buckets;
use crate::listen::admission::Admission;
use crate::policy::{ListenerId, Policy, RouteTable};
use crate::reject::{NamedLimits, Site};
use crate::tls::Tls;
use crate::worker::{Listener, ListenerCounts};

/// Peers whose refusals one listener remembers, about.
const PEERS_MAX: usize = 100_000;
/// Where the help pages stand below the public URL.
const PROBLEMS: &str = "/.well-known/bearward/problems/";

pub(super) fn addresses(
    listeners: &[ListenerSettings],
    sockets: &[Vec<TcpListener>],
) -> io::Result<BTreeMap<String, SocketAddr>> {
    let mut addresses = BTreeMap::new();
    for (listener, sockets) in listeners.iter().zip(sockets) {
        if let Some(socket) = sockets.first() {
            addresses.insert(listener.name.to_string(), socket.local_addr()?);
        }
    }
    Ok(addresses)
}

/// The first listener's own URL: every listener is on a loopback address, or it would be given.
pub(super) fn own_url(
    listeners: &[ListenerSettings],
    addresses: &BTreeMap<String, SocketAddr>,
) -> String {
    let Some(listener) = listeners.first() else {
        return String::new();
    };
    let address = addresses
        .get(&*listener.name)
        .copied()
        .unwrap_or(listener.binding.0);
    match &listener.tls {
        None => format!("http://{address}"),
        Some(tls) => {
            let all = tls.certificates.all();
            let covers = all.iter().any(|served| served.covers("localhost"));
            if covers {
                format!("https://localhost:{}", address.port())
            } else {
                format!("https://{address}")
            }
        }
    }
}

pub(super) fn site(public_url: &str, realm: Option<&str>) -> Site {
    let host = public_url
        .parse::<http::Uri>()
        .ok()
        .and_then(|uri| uri.host().map(str::to_owned));
    Site {
        problem_base: format!("{public_url}{PROBLEMS}").into(),
        realm: realm
            .map_or_else(|| host.unwrap_or_default(), str::to_owned)
            .into(),
    }
}

/// The first policy: routes, rules, and the keys that are at hand.
pub(crate) fn policy(config: &Config, issuers: &[Kept]) -> Policy {
    // Collisions were faults of the configuration.
    let (routes, _) = RouteTable::new(config.listeners.len(), &config.routes);
    Policy::new(issuers.iter().map(Kept::trusted).collect(), routes)
}

pub(super) fn reserved(config: &Config) -> ReservedNames {
    let mut reserved = ReservedNames::default();
    for placement in &config.routes {
        for (name, _) in &placement.route.identity {
            reserved.insert(name);
        }
    }
    reserved
}

pub(super) fn listener(id: ListenerId, settings: ListenerSettings) -> Result<Listener, StartError> {
    let is_tls = settings.tls.is_some();
    let tls = match settings.tls {
        None => None,
        Some(tls) => Some(Tls::new(
            tls.certificates,
            (tls.min_version, &tls.client_auth),
            &settings.protocols,
            tls.handshake_max,
        )?),
    };
    Ok(Listener {
        front: Arc::new(Front {
            id,
            name: settings.name,
            tls: is_tls,
            redirect: settings.redirect,
            failures: settings
                .failures
                .map(|quota| Buckets::new(quota, PEERS_MAX)),
            trusted: settings.trusted_proxies,
            token_bytes_max: settings.token_bytes,
            limits: NamedLimits {
                header_bytes: settings.messages.header_bytes,
                target_bytes: settings.messages.target_bytes,
                body_bytes: settings.body.bytes_max,
            },
            body: settings.body,
        }),
        tls,
        clear_text: settings
            .protocols
            .first()
            .copied()
            .unwrap_or(Protocol::Http1),
        admission: Arc::new(Admission::new(
            settings.connections,
            settings.connections_per_peer,
        )),
        waits: settings.waits,
        messages: settings.messages,
        counts: ListenerCounts::default(),
        proxy_protocol: settings.proxy_protocol,
        handshake_max: settings.handshake_max,
    })
}
