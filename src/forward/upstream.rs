//! An upstream as configured.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One `[upstreams.NAME]` table.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) server: Server,
    pub(crate) host: HostHeader,
    pub(crate) limits: UpstreamLimits,
}

/// Where an upstream listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// A name or an address; an IPv6 address without brackets.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Which `Host` the upstream sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostHeader {
    /// What the client asked for.
    Client,
    /// The upstream's own authority.
    Upstream(Box<str>),
}

/// Bounds of an upstream's connections and waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpstreamLimits {
    pub(crate) connect_max: Duration,
    /// From the last byte of the request to the response's header.
    pub(crate) response_max: Duration,
    /// Of a kept connection; below the server's own.
    pub(crate) idle_max: Duration,
    pub(crate) age_max: Duration,
    /// To the server, over all workers.
    pub(crate) connections: usize,
    pub(crate) retries: u32,
}
