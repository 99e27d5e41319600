//! Wiring: a checked configuration to a running gateway.
//!
//! Everything that can fail does so before the first thread starts: ports are bound, the state
//! folder is written to, the admin token is there. Then the workers start, each with its own
//! sockets and pools, and one thread for control and admin.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::{oneshot, watch};

use crate::admin::{self, Admin, Scope};
use crate::authenticate::{Authenticator, TokenCache};
use crate::clock::Clock;
use crate::config::{Config, IssuerSettings, KeySourceSettings, ListenerSettings};
use crate::control::{self, KeyStatus};
use crate::forward::Pools;
use crate::gateway::{Front, Gateway, Lane};
use crate::http::headers::ReservedNames;
use crate::http::serve::Protocol;
use crate::keys::KeyRequests;
use crate::listen;
use crate::listen::admission::Admission;
use crate::observe::{Audit, Labels, Metrics};
use crate::policy::{ListenerId, Policy, PolicyStore, RouteTable, TrustedIssuer};
use crate::reject::{NamedLimits, Site};
use crate::revocation::Revocations;
use crate::secret::Secret;
use crate::tls::Tls;
use crate::worker::{self, Drain, Listener, ListenerCounts};

/// A request waits at most this long for a key that its issuer may just have published.
const KEY_WAIT_MAX: Duration = Duration::from_secs(5);
/// Where the help pages stand below the public URL.
const PROBLEMS: &str = "/.well-known/bearward/problems/";

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
}

impl Running {
    /// Where a listener listens.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses.get(listener).copied()
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
    config: Config,
    clock: Arc<dyn Clock>,
    audit_out: impl Write + Send + 'static,
) -> Result<Running, StartError> {
    raise_descriptor_limit(&config);
    let workers = config
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let admin_token = admin_token(&config)?;
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
    let addresses = addresses(&config.listeners, &sockets)?;
    let public_url = config
        .public_url
        .clone()
        .unwrap_or_else(|| own_url(&config.listeners, &addresses));

    let labels = Labels {
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
    };
    let (audit, audit_writer) = Audit::start(config.audit, labels.upstreams.clone(), audit_out)?;
    let metrics = Arc::new(Metrics::new(labels, workers));
    let revocations = Arc::new(Revocations::default());
    let (key_requests, asked) = KeyRequests::channel(KEY_WAIT_MAX);
    let gateway = Arc::new(Gateway {
        policy: PolicyStore::new(policy(&config)),
        authenticator: Authenticator::new(
            TokenCache::new(config.cache),
            key_requests,
            Arc::clone(&revocations),
        ),
        site: site(&public_url, config.realm.as_deref()),
        reserved: reserved(&config),
        clock,
        audit,
        problem_pages: config.problem_pages,
    });
    let mut listeners = Vec::new();
    for (index, settings) in config.listeners.into_iter().enumerate() {
        listeners.push(Arc::new(listener(ListenerId(index), settings)?));
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
    let keys: Vec<_> = config
        .issuers
        .iter()
        .map(|issuer| Arc::new(KeyStatus::new(issuer)))
        .collect();
    let admin = Arc::new(Admin {
        gateway: Arc::clone(&gateway),
        revocations: Arc::clone(&revocations),
        metrics,
        listeners: listeners.clone(),
        lanes: lanes.clone(),
        keys: keys.clone(),
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
    let issuers = config.issuers.into_iter().zip(keys).collect();
    let control = control_thread(
        gateway,
        admin,
        issuers,
        revocations,
        asked,
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
    })
}

fn control_thread(
    gateway: Arc<Gateway>,
    admin: Arc<Admin>,
    issuers: Vec<(IssuerSettings, Arc<KeyStatus>)>,
    revocations: Arc<Revocations>,
    asked: tokio::sync::mpsc::Receiver<crate::keys::KeyRequest>,
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
                tokio::spawn(control::run(gateway, issuers, revocations, asked));
                let _ = stopped.await;
            });
        })
}

fn bind(what: &str, address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, StartError> {
    listen::bind(address, count).map_err(|source| StartError::Bind {
        what: what.to_owned(),
        address,
        source,
    })
}

fn addresses(
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
fn own_url(listeners: &[ListenerSettings], addresses: &BTreeMap<String, SocketAddr>) -> String {
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
            let covers = tls
                .certificates
                .iter()
                .any(|served| served.covers("localhost"));
            if covers {
                format!("https://localhost:{}", address.port())
            } else {
                format!("https://{address}")
            }
        }
    }
}

fn site(public_url: &str, realm: Option<&str>) -> Site {
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

fn policy(config: &Config) -> Policy {
    let issuers = config
        .issuers
        .iter()
        .map(|issuer| TrustedIssuer {
            rules: Arc::clone(&issuer.rules),
            keys: match &issuer.source {
                KeySourceSettings::Fixed(keys) => Some(Arc::clone(keys)),
                KeySourceSettings::Url(..) | KeySourceSettings::Discovery(_) => None,
            },
        })
        .collect();
    // Collisions were faults of the configuration.
    let (routes, _) = RouteTable::new(config.listeners.len(), &config.routes);
    Policy::new(issuers, routes)
}

fn reserved(config: &Config) -> ReservedNames {
    let mut reserved = ReservedNames::default();
    for placement in &config.routes {
        for (name, _) in &placement.route.identity {
            reserved.insert(name);
        }
    }
    reserved
}

fn listener(id: ListenerId, settings: ListenerSettings) -> Result<Listener, StartError> {
    let is_tls = settings.tls.is_some();
    let tls = match settings.tls {
        None => None,
        Some(tls) => Some(Tls::new(
            tls.certificates,
            tls.min_version,
            &settings.protocols,
            tls.handshake_max,
        )?),
    };
    Ok(Listener {
        front: Arc::new(Front {
            id,
            name: settings.name,
            tls: is_tls,
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
    })
}

/// The configured token, or the one in the state folder, made on the first start.
fn admin_token(config: &Config) -> Result<Secret, StartError> {
    let state = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::State { path, source }
    };
    let folder = &config.state_dir;
    std::fs::create_dir_all(folder).map_err(state(folder))?;
    // The folder is needed later, perhaps at night: find out now.
    tempfile::tempfile_in(folder).map_err(state(folder))?;
    if let Some(token) = &config.admin.token {
        return Ok(token.clone());
    }
    let path = folder.join("admin-token");
    match std::fs::read(&path) {
        Ok(token) if !token.trim_ascii().is_empty() => Ok(Secret::new(token.trim_ascii().to_vec())),
        Ok(_) => Err(state(&path)(io::Error::other(
            "it is empty; remove it to have a new one made",
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
            let token = URL_SAFE_NO_PAD.encode(bytes);
            // Made under another name and moved, so that it is never half there.
            let mut file = tempfile::NamedTempFile::new_in(folder).map_err(state(&path))?;
            writeln!(file, "{token}").map_err(state(&path))?;
            file.persist(&path)
                .map_err(|error| state(&path)(error.error))?;
            Ok(Secret::new(token.into_bytes()))
        }
        Err(error) => Err(state(&path)(error)),
    }
}

/// Each connection costs a descriptor, each request to an upstream another.
fn raise_descriptor_limit(config: &Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted: usize = config
        .listeners
        .iter()
        .map(|listener| listener.connections)
        .sum::<usize>()
        + config
            .upstreams
            .iter()
            .map(|upstream| upstream.limits.connections)
            .sum::<usize>()
        + 256;
    let wanted = wanted as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let new = Rlimit {
        current: Some(raised),
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, new).is_err() || raised < wanted {
        tracing::warn!(
            wanted,
            allowed = raised,
            "the limit of open files is below the configured connections"
        );
    }
}
