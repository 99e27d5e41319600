//! What serves now: everything that one configuration made.
//!
//! Requests see a part of it, through their [`Lane`]; control and the admin listener see all.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::issuers::KeptIssuer;
use super::tasks::Tasks;
use super::upstreams::KeptUpstream;
use crate::config::Texts;
use crate::gateway::{Lane, Serving, Setup};
use crate::listen::{Address, Socket};
use crate::published::Published;
use crate::secret::Secret;
use crate::tls::certificates::Served;
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
    /// The configuration's file.
    pub(crate) texts: Arc<Texts>,
    pub(crate) admin_token: Secret,
    /// Whether the console is served.
    pub(crate) console: bool,
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
    /// As the configuration says it.
    pub(crate) address: Address,
    /// With the port that the system gave, where the configuration left it open.
    pub(crate) bound: Address,
    /// The sockets once more, for a gateway that takes over; none once it is closed.
    pub(super) sockets: Arc<Mutex<Vec<Socket>>>,
    /// What new connections are taken by.
    pub(super) taking: Arc<Published<Listener>>,
    /// What requests are answered by, one a worker.
    pub(super) serving: Vec<Arc<Published<Serving>>>,
    pub(super) closing: Arc<watch::Sender<bool>>,
}

impl Door {
    /// Takes no more connections, and lets those that are open finish what they do.
    pub(crate) fn close(&self) {
        self.sockets().clear();
        self.closing.send_replace(true);
    }

    /// The sockets, to be handed over.
    pub(crate) fn sockets(&self) -> std::sync::MutexGuard<'_, Vec<Socket>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its key of the configuration.
    pub(crate) fn label(&self) -> String {
        label(&self.listener.front.name)
    }

    /// Where it listens, for people: systemd may pass several sockets of one name.
    pub(crate) fn places(&self) -> String {
        let mut places = vec![self.bound.to_string()];
        for socket in &*self.sockets() {
            let place = socket.address().map(|it| it.to_string());
            places.extend(place.ok().filter(|it| !places.contains(it)));
        }
        places.join(", ")
    }

    pub(super) fn is_of(&self, name: &str, address: &Address) -> bool {
        self.address == *address && (address.is_given() || *self.listener.front.name == *name)
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

/// A listener's key of the configuration.
pub(super) fn label(name: &str) -> String {
    format!("listeners.{name}")
}

/// The first listener's own URL: every listener is on a loopback address, or it would be given.
pub(super) fn own_url(listener: &Listener, bound: &Address) -> String {
    let scheme = if listener.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let Address::Tcp(address) = bound else {
        return format!("{scheme}://localhost");
    };
    let all = listener.tls.as_ref().map(|tls| tls.certificates().all());
    let named = |all: Vec<Arc<Served>>| all.iter().any(|served| served.covers("localhost"));
    if all.is_some_and(named) {
        format!("https://localhost:{}", address.port())
    } else {
        format!("{scheme}://{address}")
    }
}
