//! Wiring: a checked configuration to a running gateway.
//!
//! Everything that can fail does so before the first thread starts: ports are bound, the state
//! folder is written to, the admin token is there. Then the workers start, each with its own
//! sockets and pools, and one thread for control and admin.

mod parts;
mod state;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::admin::{self, Admin, Scope};
use crate::authenticate::{Authenticator, IntrospectionRequests, TokenCache};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{self, WatchedCertificates};
use crate::forward::Pools;
use crate::gateway::{Gateway, Lane};
use crate::inbound::Inbound;
use crate::keys::KeyRequests;
use crate::listen;
use crate::observe::{Audit, Labels, Metrics};
use crate::policy::{ListenerId, PolicyStore};
use crate::revocation::Kind;
use crate::secret::Secret;
use crate::worker::{self, Drain};

pub(crate) use parts::policy;

/// A request waits at most this long for its issuer: for a key that it may just have published, or
/// for its word about an opaque token.
const ISSUER_WAIT_MAX: Duration = Duration::from_secs(5);

/// What control is doing with the disk may take this long at the end.
const CONTROL_END_MAX: Duration = Duration::from_secs(2);

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{what} cannot listen on {address}: {source}")]
    Bind {
        /// Which listener.
        what: String,
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The state folder cannot be used.
    #[error("the state folder {path} cannot be used: {source}")]
    State {
        /// Which folder or file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// What must not be trusted is not known.
    #[error("{0}")]
    Exposed(String),
    /// The system gives no random bytes, or no thread.
    #[error("the system refuses what is needed: {0}")]
    System(#[from] io::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Running {
    addresses: BTreeMap<String, SocketAddr>,
    admin: SocketAddr,
    probes: Option<SocketAddr>,
    admin_token: Secret,
    drain: watch::Sender<bool>,
    workers: Vec<JoinHandle<io::Result<usize>>>,
    control: JoinHandle<()>,
    audit_writer: Option<JoinHandle<()>>,
    stop_control: oneshot::Sender<()>,
    /// The state folder is ours until this is dropped.
    _state_lock: File,
}

impl Running {
    /// Where a listener listens.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses.get(listener).copied()
    }

    /// Where each listener listens.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.addresses
            .iter()
            .map(|(name, address)| (name.as_str(), *address))
    }

    /// Where the admin listener listens.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where the probe address listens, if there is one.
    #[must_use]
    pub const fn probes(&self) -> Option<SocketAddr> {
        self.probes
    }

    /// The admin token; whoever asks for it answers for where it goes.
    #[must_use]
    pub fn admin_token(&self) -> &[u8] {
        self.admin_token.expose()
    }

    /// Stops accepting, lets what runs finish within `drain_timeout`, and ends. Gives the number
    /// of connections that were cut. Blocks.
    #[must_use]
    pub fn stop(self) -> usize {
        self.drain.send_replace(true);
        let mut cut = 0;
        for worker in self.workers {
            match worker.join() {
                Ok(Ok(count)) => cut += count,
                Ok(Err(error)) => tracing::error!(%error, "a worker ended with an error"),
                Err(_) => tracing::error!("a worker panicked"),
            }
        }
        let _ = self.stop_control.send(());
        let _ = self.control.join();
        // With workers and control gone nobody can queue a line any more.
        if let Some(writer) = self.audit_writer {
            let _ = writer.join();
        }
        cut
    }
}

/// Starts a gateway. Audit lines go to `audit_out`.
///
/// # Errors
/// A port is taken, the state folder cannot be written, or the system refuses something.
pub fn start(
    mut config: Config,
    clock: Arc<dyn Clock>,
    audit_out: impl Write + Send + 'static,
) -> Result<Running, StartError> {
    state::raise_descriptor_limit(&config);
    let workers = config
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let admin_token = state::admin_token(&config)?;
    let mut sockets = Vec::new();
    for listener in &config.listeners {
        sockets.push(bind(
            &format!("listener `{}`", listener.name),
            listener.binding.0,
            workers,
        )?);
    }
    let mut admin_socket = bind("the admin listener", config.admin.address, 1)?;
    let probe_socket = match config.probes {
        Some(address) => bind("the probe address", address, 1)?.pop(),
        None => None,
    };
    let admin_socket = admin_socket
        .pop()
        .ok_or_else(|| io::Error::other("no admin socket"))?;
    let addresses = parts::addresses(&config.listeners, &sockets)?;
    let public_url = config
        .public_url
        .clone()
        .unwrap_or_else(|| parts::own_url(&config.listeners, &addresses));

    let labels = Labels {
        listeners: config
            .listeners
            .iter()
            .map(|listener| Arc::clone(&listener.name))
            .collect(),
        routes: config
            .routes
            .iter()
            .map(|placement| Arc::clone(&placement.route.name))
            .collect(),
        route_names: config.route_names,
        issuers: config
            .issuers
            .iter()
            .map(|issuer| Arc::clone(&issuer.rules.name))
            .collect(),
        upstreams: config
            .upstreams
            .iter()
            .map(|upstream| Arc::clone(&upstream.name))
            .collect(),
        selectors: Kind::ALL.map(Kind::name).to_vec(),
    };
    let (audit, audit_writer) = Audit::start(config.audit, labels.clone(), audit_out)?;
    let metrics = Arc::new(Metrics::new(labels, workers));
    let state_lock = state::take_folder(&config)?;
    let revocations = Arc::new(state::revocations(&config, clock.now())?);
    let saved = state::saved_keys(&config)?;
    let issuers = std::mem::take(&mut config.issuers);
    let (issuers, orders) = control::prepare(issuers, &saved, clock.now())
        .map_err(|error| StartError::Exposed(error.to_string()))?;
    let (key_requests, keys_asked) = KeyRequests::channel(ISSUER_WAIT_MAX);
    let (introspections, tokens_asked) = IntrospectionRequests::channel(ISSUER_WAIT_MAX);
    let audit = Arc::new(audit);
    let first = policy(&config, &issuers);
    let gateway = Arc::new(Gateway {
        inbound: Inbound::new(
            config.revoke_endpoint,
            &first,
            Arc::clone(&revocations),
            Arc::clone(&audit),
        ),
        policy: PolicyStore::new(first),
        authenticator: Authenticator::new(
            TokenCache::new(config.cache),
            key_requests,
            introspections,
            Arc::clone(&revocations),
        ),
        site: parts::site(&public_url, config.realm.as_deref()),
        reserved: parts::reserved(&config),
        clock,
        audit,
        problem_pages: config.problem_pages,
    });
    let mut listeners = Vec::new();
    let mut certificates = Vec::new();
    for (index, mut settings) in config.listeners.into_iter().enumerate() {
        let files = settings
            .tls
            .as_mut()
            .map(|tls| std::mem::take(&mut tls.files));
        let listener = Arc::new(parts::listener(ListenerId(index), settings)?);
        if let (Some(files), Some(tls)) = (files, &listener.tls) {
            certificates.push(WatchedCertificates {
                listener: Arc::clone(&listener.front.name),
                certificates: Arc::clone(tls.certificates()),
                files,
            });
        }
        listeners.push(listener);
    }
    let lanes: Vec<_> = (0..workers)
        .map(|worker| {
            Arc::new(Lane {
                gateway: Arc::clone(&gateway),
                pools: Pools::new(&config.upstreams, workers),
                cells: metrics.worker(worker),
            })
        })
        .collect();

    let (drain, draining) = watch::channel(false);
    let statuses = issuers
        .iter()
        .map(|issuer| {
            (
                Arc::clone(&issuer.status),
                Arc::clone(&issuer.introspection),
            )
        })
        .collect();
    let admin = Arc::new(Admin {
        gateway: Arc::clone(&gateway),
        revocations: Arc::clone(&revocations),
        metrics,
        listeners: listeners.clone(),
        lanes: lanes.clone(),
        issuers: statuses,
        orders: orders.clone(),
        run: uuid::Uuid::now_v7(),
        token: admin_token.clone(),
        allowed_hosts: config.admin.allowed_hosts,
        draining: draining.clone(),
    });
    let running_admin = admin_socket.local_addr()?;
    let running_probes = match &probe_socket {
        Some(socket) => Some(socket.local_addr()?),
        None => None,
    };
    let (stop_control, stopped) = oneshot::channel();
    let asked = (keys_asked, tokens_asked);
    let upstreams = config.upstreams;
    let control = control_thread(
        admin,
        async move {
            let list = (revocations, config.revoked_file, config.feed);
            let kept = (&*upstreams, certificates);
            control::run(gateway, issuers, orders, saved, kept, list, asked).await;
        },
        (admin_socket, probe_socket),
        stopped,
    )?;
    let mut threads = Vec::new();
    for (index, lane) in lanes.into_iter().enumerate() {
        let own: Vec<_> = listeners
            .iter()
            .zip(&mut sockets)
            .filter_map(|(listener, sockets)| Some((Arc::clone(listener), sockets.pop()?)))
            .collect();
        let drain = Drain {
            signal: draining.clone(),
            limit: config.drain_timeout,
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || worker::run(lane, own, drain))?;
        threads.push(thread);
    }
    Ok(Running {
        addresses,
        admin: running_admin,
        probes: running_probes,
        admin_token,
        drain,
        workers: threads,
        control,
        audit_writer,
        stop_control,
        _state_lock: state_lock,
    })
}

fn control_thread(
    admin: Arc<Admin>,
    control: impl Future<Output = ()> + Send + 'static,
    (admin_socket, probe_socket): (TcpListener, Option<TcpListener>),
    stopped: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            runtime.block_on(async move {
                for (socket, scope) in [
                    (Some(admin_socket), Scope::Everything),
                    (probe_socket, Scope::Probes),
                ] {
                    match socket.map(tokio::net::TcpListener::from_std) {
                        Some(Ok(socket)) => {
                            tokio::spawn(admin::serve(Arc::clone(&admin), socket, scope));
                        }
                        Some(Err(error)) => {
                            tracing::error!(%error, "the admin listener cannot be used")
                        }
                        None => {}
                    }
                }
                tokio::spawn(control);
                let _ = stopped.await;
            });
            // What hangs on a disk or a name server must not keep the process alive.
            runtime.shutdown_timeout(CONTROL_END_MAX);
        })
}

fn bind(what: &str, address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, StartError> {
    listen::bind(address, count).map_err(|source| StartError::Bind {
        what: what.to_owned(),
        address,
        source,
    })
}
