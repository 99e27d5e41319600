//! An upstream as configured: its servers, how one is chosen, and the bounds of its waits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::health::Health;
use crate::secret::Secret;

/// Servers of one upstream: a set of them fits one word.
pub(crate) const SERVERS_MAX: usize = 64;

/// One `[upstreams.NAME]` table.
#[derive(Debug, PartialEq)]
pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    /// From one to [`SERVERS_MAX`].
    pub(crate) servers: Vec<Arc<Server>>,
    pub(crate) balance: Balance,
    pub(crate) protocol: UpstreamProtocol,
    pub(crate) host: HostHeader,
    /// `None`: clear text.
    pub(crate) tls: Option<UpstreamTls>,
    pub(crate) limits: UpstreamLimits,
    /// How the servers are asked whether they are well; `None`: they are not asked.
    pub(crate) probe: Option<HealthProbe>,
}

/// What an upstream's servers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamProtocol {
    Http1,
    /// In clear text with prior knowledge (RFC 9113 section 3.3).
    Http2,
    /// What TLS settles by ALPN.
    Auto,
}

impl UpstreamProtocol {
    /// What is offered by ALPN.
    pub(crate) const fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1 => &[],
            Self::Http2 => &[b"h2"],
            Self::Auto => &[b"h2", b"http/1.1"],
        }
    }
}

/// TLS to an upstream: whom it trusts, and who it is.
#[derive(Clone)]
pub(crate) struct UpstreamTls {
    pub(crate) connector: TlsConnector,
    /// The roots in PEM; `None`: the system's.
    pub(crate) ca: Option<Vec<u8>>,
    /// The chain in PEM, and its key.
    pub(crate) identity: Option<(Vec<u8>, Secret)>,
}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        self.ca == other.ca && self.identity == other.identity
    }
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamTls")
    }
}

/// How a server is chosen among those that are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Balance {
    RoundRobin,
    /// Of two at random the one with fewer requests under way.
    LeastRequests,
    /// The same value leads to the same server, as long as that is well.
    Hash(HashKey),
}

/// What is hashed. A request without it goes to any server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HashKey {
    Claim(Box<str>),
    Header(HeaderName),
}

/// How servers are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthProbe {
    pub(crate) path: Box<str>,
    pub(crate) interval: Duration,
    /// For one answer.
    pub(crate) timeout: Duration,
    /// Failures in a row after which a server gets no requests.
    pub(crate) unhealthy_after: u32,
    /// Good answers in a row after which it gets them again.
    pub(crate) healthy_after: u32,
}

/// One server of an upstream.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) place: ServerPlace,
    /// The place in metrics.
    pub(crate) label: Box<str>,
    /// For a `Host` header.
    pub(crate) authority: Box<str>,
    /// Whom its certificate must name, where it is reached by TLS.
    pub(crate) tls_name: Option<ServerName<'static>>,
    pub(crate) health: Health,
    /// Tells it from the others where values are hashed.
    pub(super) seed: u64,
}

/// What was configured; not how it fares.
impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        let parts = |it: &Self| (it.place.clone(), it.authority.clone(), it.tls_name.clone());
        parts(self) == parts(other)
    }
}

impl Server {
    pub(crate) fn new(
        place: ServerPlace,
        authority: Box<str>,
        tls_name: Option<ServerName<'static>>,
    ) -> Self {
        Self {
            seed: super::balance::hash(authority.as_bytes()),
            label: place.to_string().into(),
            place,
            authority,
            tls_name,
            health: Health::default(),
        }
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServerPlace {
    /// A name or an address; an IPv6 address without brackets.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

impl fmt::Display for ServerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Which `Host` the upstream sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostHeader {
    /// What the client asked for.
    Client,
    /// The server's own authority.
    Upstream,
}

/// Bounds of an upstream's connections and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamLimits {
    pub(crate) connect_max: Duration,
    /// From the last byte of the request to the response's header.
    pub(crate) response_max: Duration,
    /// Between bytes of a response's body.
    pub(crate) body_gap_max: Duration,
    /// Of a kept connection; below the server's own.
    pub(crate) idle_max: Duration,
    pub(crate) age_max: Duration,
    /// To one server, over all workers.
    pub(crate) connections: usize,
    pub(crate) retries: u32,
}
