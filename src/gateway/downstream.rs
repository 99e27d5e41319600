//! A listener and a connection, as requests see them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Serving, Upgraded};
use crate::http::body::BodyLimits;
use crate::http::deadline::Activity;
use crate::http::network::Network;
use crate::http::redirect::Redirect;
use crate::limit::Buckets;
use crate::policy::ListenerId;
use crate::published::Published;
use crate::reject::NamedLimits;
use crate::tls::certificates::Served;

/// What the connections of one listener share.
#[derive(Debug)]
pub(crate) struct Front {
    /// The place in the configuration.
    pub(crate) id: ListenerId,
    /// The place that is counted by.
    pub(crate) place: usize,
    pub(crate) name: Arc<str>,
    pub(crate) tls: bool,
    /// It only leads to https.
    pub(crate) redirect: Option<Redirect>,
    /// Refused credentials that one peer may send; `None`: any number.
    pub(crate) failures: Option<Arc<Buckets>>,
    /// Whose word on where a request comes from is believed.
    pub(crate) trusted: Vec<Network>,
    pub(crate) token_bytes_max: usize,
    pub(crate) limits: NamedLimits,
    pub(crate) body: BodyLimits,
    /// How long a client may take nothing of an answer.
    pub(crate) send_max: Duration,
}

/// One connection as its requests see it.
#[derive(Debug)]
pub(crate) struct Downstream {
    /// A reload replaces it; each request loads it once.
    pub(crate) serving: Arc<Published<Serving>>,
    pub(crate) peer: IpAddr,
    pub(crate) served: Option<Arc<Served>>,
    /// SHA-256 of the client's certificate.
    pub(crate) certificate: Option<[u8; 32]>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) upgraded: Upgraded,
    /// Whether the listener ends.
    pub(crate) draining: watch::Receiver<bool>,
}
