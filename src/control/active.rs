//! What serves now: everything that one configuration made.
//!
//! Requests see a part of it, through their [`Lane`]; control and the admin listener see all.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::issuers::KeptIssuer;
use super::tasks::Tasks;
use super::upstreams::KeptUpstream;
use crate::config::Binding;
use crate::gateway::{Lane, Serving, Setup};
use crate::published::Published;
use crate::secret::Secret;
use crate::worker::Listener;

/// Everything that one configuration made.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) setup: Arc<Setup>,
    /// One a worker.
    pub(crate) lanes: Vec<Arc<Lane>>,
    pub(crate) doors: Vec<Door>,
    /// By their places in the policy.
    pub(crate) issuers: Vec<Arc<KeptIssuer>>,
    pub(crate) upstreams: Vec<Arc<KeptUpstream>>,
    pub(crate) admin_token: Secret,
    /// Names that the admin listener may be asked by.
    pub(crate) allowed_hosts: Vec<String>,
    /// Whoever looks at the files of certificates.
    pub(super) looking: Tasks,
}

/// A listener and where it listens. A reload that leaves the address as it is leaves the sockets, and all
/// connections, as they are.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) listener: Arc<Listener>,
    /// With the port that the system gave, where the configuration left it open.
    pub(crate) address: SocketAddr,
    pub(super) binding: Binding,
    /// What new connections are taken by.
    pub(super) taking: Arc<Published<Listener>>,
    /// What requests are answered by, one a worker.
    pub(super) serving: Vec<Arc<Published<Serving>>>,
    pub(super) closing: Arc<watch::Sender<bool>>,
}

impl Door {
    /// Takes no more connections, and lets those that are open finish what they do.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    pub(super) fn is_of(&self, name: &str, binding: Binding) -> bool {
        self.binding == binding && (binding.0.port() != 0 || *self.listener.front.name == *name)
    }
}

impl Active {
    /// The issuer of a configured name.
    pub(crate) fn issuer(&self, name: &str) -> Option<&Arc<KeptIssuer>> {
        self.issuers.iter().find(|it| *it.status.name == *name)
    }

    /// The listeners, in their order.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.doors.iter().map(|door| &door.listener)
    }
}

/// The first listener's own URL: every listener is on a loopback address, or it would be given.
pub(super) fn own_url(listener: &Listener, address: SocketAddr) -> String {
    let Some(tls) = &listener.tls else {
        return format!("http://{address}");
    };
    let all = tls.certificates().all();
    if all.iter().any(|served| served.covers("localhost")) {
        format!("https://localhost:{}", address.port())
    } else {
        format!("https://{address}")
    }
}
