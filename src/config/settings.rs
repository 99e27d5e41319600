//! The checked configuration: what every stage is built from. Immutable and never seen by serde.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing_subscriber::filter::LevelFilter;

use super::texts::Texts;
use crate::authenticate::CacheLimits;
use crate::forward::InternalTokenSettings;
use crate::forward::Upstream;
use crate::http::body::BodyLimits;
use crate::http::deadline::WaitLimits;
use crate::http::network::Network;
use crate::http::redirect::Redirect;
use crate::http::serve::{MessageLimits, Protocol};
use crate::keys::KeySet;
use crate::limit::Quota;
use crate::listen::Address;
use crate::observe::audit::{AuditSettings, Output};
use crate::observe::log::LogFormat;
use crate::policy::{Issuer, Placement};
use crate::secret::Secret;
use crate::tls::Terms;
use crate::tls::certificates::Certificates;

/// A configuration without faults.
#[derive(Debug)]
pub struct Config {
    /// Without a slash at its end.
    pub(crate) public_url: Option<String>,
    pub(crate) realm: Option<String>,
    /// From not being ready any more to not accepting any more.
    pub(crate) drain_delay: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) internal_token: Option<InternalTokenSettings>,
    pub(crate) listeners: Vec<ListenerSettings>,
    pub(crate) issuers: Vec<IssuerSettings>,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) routes: Vec<Placement>,
    pub(crate) problem_pages: bool,
    /// Whether clients may have their tokens checked.
    pub(crate) token_check: bool,
    /// Whether routes are published as protected resources (RFC 9728).
    pub(crate) resource_metadata: bool,
    /// Whether holders may give their tokens up (RFC 7009).
    pub(crate) revoke_endpoint: bool,
    pub(crate) admin: AdminSettings,
    pub(crate) route_names: bool,
    pub(crate) audit: AuditSettings,
    pub(crate) fixed: FixedSettings,
    /// The digest of its texts, short.
    pub(crate) digest: Box<str>,
    pub(crate) texts: Arc<Texts>,
}

/// What counts for as long as the process lives, whatever a reload reads.
#[derive(Clone, Debug)]
pub(crate) struct FixedSettings {
    /// `None`: one a core.
    pub(crate) workers: Option<usize>,
    pub(crate) state_dir: PathBuf,
    pub(crate) cache: CacheLimits,
    /// Whether revocations are kept in the state folder.
    pub(crate) revocations_kept: bool,
    /// A file with revocations that is watched.
    pub(crate) revoked_file: Option<PathBuf>,
    /// How the list is shared with other replicas.
    pub(crate) feed: Option<FeedSettings>,
    pub(crate) admin_address: Address,
    pub(crate) probes: Option<Address>,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: LevelFilter,
    /// Where audit lines go.
    pub(crate) audit: Output,
    pub(crate) tracing: Option<TracingSettings>,
}

/// What a reload does not change: keys, and tables with all that is in them.
const FIXED: [&str; 14] = [
    "server.workers",
    "server.state_dir",
    "cache",
    "revocation.store",
    "revocation.watch",
    "revocation.feed",
    "admin.address",
    "probes.address",
    "log.format",
    "log.level",
    "tracing",
    "audit.output",
    "audit.file",
    "audit.chain",
];

/// Whether a changed value of this key counts after a restart alone.
pub(crate) fn needs_restart(key: &str) -> bool {
    FIXED.iter().any(|fixed| {
        let rest = key.strip_prefix(fixed);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

impl FixedSettings {
    /// The keys that differ: a restart would apply them.
    pub(crate) fn changed(&self, new: &Self) -> Vec<&'static str> {
        let all = [
            ("server.workers", self.workers == new.workers),
            ("server.state_dir", self.state_dir == new.state_dir),
            ("cache", self.cache == new.cache),
            (
                "revocation.store",
                self.revocations_kept == new.revocations_kept,
            ),
            ("revocation.watch", self.revoked_file == new.revoked_file),
            ("revocation.feed", self.feed == new.feed),
            ("admin.address", self.admin_address == new.admin_address),
            ("probes.address", self.probes == new.probes),
            ("log.format", self.log_format == new.log_format),
            ("log.level", self.log_level == new.log_level),
            ("tracing", self.tracing == new.tracing),
            ("audit.output, file and chain", self.audit == new.audit),
        ];
        let changed = all.into_iter().filter(|(_, same)| !same);
        changed.map(|(key, _)| key).collect()
    }
}

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TracingSettings {
    /// Whole, with its path.
    pub(crate) url: Box<str>,
    pub(crate) ca: Option<Vec<u8>>,
    /// One trace in so many.
    pub(crate) one_in: u64,
}

/// One listener.
#[derive(Debug)]
pub(crate) struct ListenerSettings {
    pub(crate) name: Arc<str>,
    pub(crate) address: Address,
    /// What is spoken where there is no ALPN.
    pub(crate) clear_text: Protocol,
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) connections: usize,
    pub(crate) connections_per_peer: usize,
    pub(crate) trusted_proxies: Vec<Network>,
    /// It only leads to https.
    pub(crate) redirect: Option<Redirect>,
    /// Refused credentials that one peer may send.
    pub(crate) failures: Option<Quota>,
    /// A PROXY protocol header must come first.
    pub(crate) proxy_protocol: bool,
    pub(crate) handshake_max: Duration,
    pub(crate) waits: WaitLimits,
    pub(crate) messages: MessageLimits,
    pub(crate) token_bytes: usize,
    pub(crate) body: BodyLimits,
}

/// TLS of a listener.
#[derive(Debug)]
pub(crate) struct TlsSettings {
    pub(crate) certificates: Certificates,
    /// Where they came from, in the same order.
    pub(crate) files: Vec<CertificateFiles>,
    pub(crate) terms: Terms,
    pub(crate) handshake_max: Duration,
}

/// Where a certificate comes from.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFiles {
    pub(crate) chain: PathBuf,
    pub(crate) key: KeyPlace,
}

/// Where a private key comes from.
#[derive(Clone, Debug)]
pub(crate) enum KeyPlace {
    File(PathBuf),
    /// The environment, which does not change.
    Fixed(Secret),
}

/// One issuer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IssuerSettings {
    pub(crate) rules: Arc<Issuer>,
    pub(crate) source: KeySourceSettings,
}

/// How an issuer's tokens are verified.
#[derive(Clone, Debug)]
pub(crate) enum KeySourceSettings {
    Discovery(JwksSettings),
    File(KeyFileSettings),
    /// Keys that were read when the configuration was, and do not change.
    Fixed(Arc<KeySet>),
    /// There are no keys: the issuer is asked about each token.
    Introspection(IntrospectionSettings),
    Url(String, JwksSettings),
}

/// The same place and the same rules for it; what lies in a file is its keeper's business.
impl PartialEq for KeySourceSettings {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Discovery(one), Self::Discovery(two)) => one == two,
            (Self::File(one), Self::File(two)) => {
                let rules = |it: &KeyFileSettings| (it.bytes_max, it.freshness);
                one.path == two.path && rules(one) == rules(two)
            }
            (Self::Fixed(one), Self::Fixed(two)) => one.same_keys(two),
            (Self::Introspection(one), Self::Introspection(two)) => one == two,
            (Self::Url(url, one), Self::Url(other, two)) => url == other && one == two,
            _ => false,
        }
    }
}

/// How a key set is fetched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JwksSettings {
    pub(crate) freshness: FreshnessSettings,
    pub(crate) fetch: FetchSettings,
    /// Not before a token of the issuer comes.
    pub(crate) on_demand: bool,
}

/// A JWK set in a file that is watched.
#[derive(Clone, Debug)]
pub(crate) struct KeyFileSettings {
    pub(crate) path: PathBuf,
    /// As it was when the configuration was read; it held a usable key.
    pub(crate) document: Bytes,
    pub(crate) bytes_max: usize,
    pub(crate) freshness: FreshnessSettings,
}

/// How old a key set may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FreshnessSettings {
    /// The soft limit.
    pub(crate) refresh: Duration,
    /// The hard limit; `None` for a file, which never grows stale.
    pub(crate) stale_max: Option<Duration>,
    pub(crate) unknown_kid_gap: Duration,
}

/// How an issuer is asked about opaque tokens (RFC 7662).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IntrospectionSettings {
    pub(crate) endpoint: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    pub(crate) client_auth: ClientAuth,
    pub(crate) cache_max: Duration,
    pub(crate) fetch: FetchSettings,
}

/// Where the feed of revocations is: a stream of a Redis or Valkey server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FeedSettings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// Roots in PEM, in place of the system's.
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: u32,
    pub(crate) stream: String,
    /// How old the list may be where a route demands it.
    pub(crate) staleness_max: Duration,
}

/// How a client shows who it is (RFC 6749 section 2.3.1), by the names of RFC 7591.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    Basic,
    Post,
}

/// How a server is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FetchSettings {
    pub(crate) timeout: Duration,
    pub(crate) bytes_max: usize,
    /// Roots in PEM, in place of the system's.
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) allow_http_loopback: bool,
    /// Host and port of a proxy for https.
    pub(crate) proxy: Option<(String, u16)>,
}

/// Where the admin listener is, and whose it is.
#[derive(Debug)]
pub(crate) struct AdminPlace {
    pub(crate) admin: AdminSettings,
    pub(crate) state_dir: PathBuf,
}

/// The admin listener.
#[derive(Debug)]
pub(crate) struct AdminSettings {
    pub(crate) address: Address,
    /// `None`: made in the state folder.
    pub(crate) token: Option<Secret>,
    pub(crate) console: bool,
    /// In lower case, without a port.
    pub(crate) allowed_hosts: Vec<String>,
}
