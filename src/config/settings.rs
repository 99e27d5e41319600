//! The checked configuration: what every stage is built from. Immutable and never seen by serde.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use crate::authenticate::CacheLimits;
use crate::forward::Upstream;
use crate::http::body::BodyLimits;
use crate::http::deadline::WaitLimits;
use crate::http::serve::{MessageLimits, Protocol};
use crate::keys::KeySet;
use crate::observe::audit::AuditSettings;
use crate::observe::log::LogFormat;
use crate::policy::{Issuer, Placement};
use crate::secret::Secret;
use crate::tls::MinVersion;
use crate::tls::certificates::Certificates;

/// A configuration without faults.
#[derive(Debug)]
pub struct Config {
    /// Without a slash at its end.
    pub(crate) public_url: Option<String>,
    pub(crate) realm: Option<String>,
    /// `None`: one a core.
    pub(crate) workers: Option<usize>,
    pub(crate) drain_timeout: Duration,
    pub(crate) state_dir: PathBuf,
    pub(crate) listeners: Vec<ListenerSettings>,
    pub(crate) issuers: Vec<IssuerSettings>,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) routes: Vec<Placement>,
    pub(crate) cache: CacheLimits,
    pub(crate) problem_pages: bool,
    pub(crate) admin: AdminSettings,
    pub(crate) probes: Option<SocketAddr>,
    pub(crate) route_names: bool,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: LevelFilter,
    pub(crate) audit: AuditSettings,
}

/// One listener.
#[derive(Debug)]
pub(crate) struct ListenerSettings {
    pub(crate) name: Arc<str>,
    pub(crate) binding: Binding,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) connections: usize,
    pub(crate) connections_per_peer: usize,
    pub(crate) waits: WaitLimits,
    pub(crate) messages: MessageLimits,
    pub(crate) token_bytes: usize,
    pub(crate) body: BodyLimits,
}

/// Where a listener listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding(pub(crate) SocketAddr);

/// TLS of a listener.
#[derive(Debug)]
pub(crate) struct TlsSettings {
    pub(crate) certificates: Certificates,
    pub(crate) min_version: MinVersion,
    pub(crate) handshake_max: Duration,
}

/// One issuer.
#[derive(Debug)]
pub(crate) struct IssuerSettings {
    pub(crate) rules: Arc<Issuer>,
    pub(crate) source: KeySourceSettings,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub(crate) enum KeySourceSettings {
    /// Read when the configuration was.
    Fixed(Arc<KeySet>),
    Url(String, JwksSettings),
    Discovery(JwksSettings),
}

/// How a key set is fetched.
#[derive(Clone, Debug)]
pub(crate) struct JwksSettings {
    pub(crate) refresh: Duration,
    pub(crate) stale_max: Duration,
    pub(crate) unknown_kid_gap: Duration,
    pub(crate) timeout: Duration,
    pub(crate) bytes_max: usize,
    /// Roots in PEM, in place of the system's.
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) allow_http_loopback: bool,
}

/// The admin listener.
#[derive(Debug)]
pub(crate) struct AdminSettings {
    pub(crate) address: SocketAddr,
    /// `None`: made in the state folder.
    pub(crate) token: Option<Secret>,
    /// In lower case, without a port.
    pub(crate) allowed_hosts: Vec<String>,
}
