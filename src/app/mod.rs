//! Wiring: a checked configuration to a running gateway.
//!
//! Everything that can fail does so before the first thread starts: ports are bound, the state
//! folder is written to, the admin token is there. Then the workers start, each with its own
//! sockets and pools, and one thread for control and admin.

mod state;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::{self, Admin, Scope};
use crate::authenticate::{Authenticator, IntrospectionRequests, TokenCache};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{
    self, Active, Control, NotReloaded, ReloadParts, ReloadStatus, Reloads, Worker,
};
use crate::gateway::Gateway;
use crate::inbound::Inbound;
use crate::keys::KeyRequests;
use crate::listen;
use crate::observe::{Audit, Metrics, Names};
use crate::published::Published;
use crate::revocation::Kind;
use crate::worker::{self, Drain};

pub use crate::control::PrepareError;

/// A request waits at most this long for its issuer: for a key that it may just have published, or
/// for its word about an opaque token.
const ISSUER_WAIT_MAX: Duration = Duration::from_secs(5);

/// What control is doing with the disk may take this long at the end.
const CONTROL_END_MAX: Duration = Duration::from_secs(2);

/// New sockets that may wait for a worker.
const DOORS_MAX: usize = 64;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot serve here.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
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
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Running {
    active: Arc<Published<Active>>,
    admin: SocketAddr,
    probes: Option<SocketAddr>,
    reloads: Reloads,
    /// From then on it is not ready.
    ending: watch::Sender<bool>,
    /// From then on nothing is accepted.
    drain: watch::Sender<bool>,
    workers: Vec<JoinHandle<io::Result<usize>>>,
    control: JoinHandle<()>,
    audit: Arc<Audit>,
    stop_control: oneshot::Sender<()>,
    /// The state folder is ours until this is dropped.
    _state_lock: File,
}

impl Running {
    /// Where a listener listens.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses().get(listener).copied()
    }

    /// Where each listener listens.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        let doors = &self.active.load().doors;
        let place = |door: &control::Door| (door.listener.front.name.to_string(), door.address);
        doors.iter().map(place).collect()
    }

    /// Has the configuration's file read again, as SIGHUP does.
    ///
    /// # Errors
    /// Why the configuration of before serves on.
    pub async fn reload(&self) -> Result<(), String> {
        let reloaded = self.reloads.ask("signal").await;
        reloaded.map(drop).map_err(|error| match error {
            NotReloaded::Faults(faults, _) => faults,
            other => other.to_string(),
        })
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
    pub fn admin_token(&self) -> Vec<u8> {
        self.active.look().admin_token.expose().to_vec()
    }

    /// Is not ready any more, stops accepting after `drain_delay`, lets what runs finish within
    /// `drain_timeout`, and ends. Gives the number of connections that were cut. Blocks.
    #[must_use]
    pub fn stop(self) -> usize {
        self.ending.send_replace(true);
        pause(self.active.look().setup.drain_delay);
        for door in &self.active.look().doors {
            door.close();
        }
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
        self.audit.flush();
        cut
    }
}

/// Starts a gateway. Audit lines go to `audit_out`. A reload reads `file` again.
///
/// # Errors
/// A port is taken, the state folder cannot be written, or the system refuses something.
pub fn start(
    config: Config,
    file: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    audit_out: impl Write + Send + 'static,
) -> Result<Running, StartError> {
    state::raise_descriptor_limit(&config);
    let fixed = config.fixed.clone();
    let one_a_core = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = fixed.workers.unwrap_or_else(one_a_core);
    let admin_token = state::admin_token(&config)?;
    let admin_socket = one_socket("the admin listener", fixed.admin_address)?;
    let probe_socket = fixed.probes.map(|at| one_socket("the probe address", at));
    let probe_socket = probe_socket.transpose()?;

    let names = Arc::new(Names::default());
    names.name_routes(config.route_names);
    let audit = Audit::start(fixed.audit, config.audit, Arc::clone(&names), audit_out);
    let audit = Arc::new(audit?);
    let selectors = Kind::ALL.map(Kind::name).to_vec();
    let metrics = Arc::new(Metrics::new(Arc::clone(&names), selectors, workers));
    let state_lock = state::take_folder(&fixed)?;
    let revocations = Arc::new(state::revocations(&fixed, clock.now())?);
    let saved = state::saved_keys(&fixed)?;
    let around = control::Around {
        names: &names,
        saved: &saved,
        clock: &clock,
        workers,
    };
    let prepared = control::prepare(config, &around, None)?;
    let (key_requests, keys) = KeyRequests::channel(ISSUER_WAIT_MAX);
    let (asking, introspections) = IntrospectionRequests::channel(ISSUER_WAIT_MAX);
    let status = Arc::new(ReloadStatus::new(clock.now()));
    let cache = TokenCache::new(fixed.cache);
    let list = Arc::clone(&revocations);
    let gateway = Arc::new(Gateway {
        inbound: Inbound::new(Arc::clone(&revocations), Arc::clone(&audit)),
        authenticator: Authenticator::new(cache, key_requests, asking, list),
        clock,
        audit: Arc::clone(&audit),
    });
    let cells = (0..workers).map(|worker| metrics.worker(worker));
    let lanes = control::lanes(&prepared, &gateway, cells, None);
    let (active, doors, work) = control::commit(prepared, lanes, admin_token, None);
    let (drain, draining) = watch::channel(false);
    let (ending, ends) = watch::channel(false);
    let (threads, workers) = start_workers(&active, doors, &draining)?;
    let active = Arc::new(Published::new(active));
    let (reloads, asked) = Reloads::channel();
    let admin = Arc::new(Admin {
        gateway: Arc::clone(&gateway),
        active: Arc::clone(&active),
        revocations: Arc::clone(&revocations),
        metrics,
        reloads: reloads.clone(),
        reloaded: Arc::clone(&status),
        run: uuid::Uuid::now_v7(),
        ending: ends.clone(),
    });
    let running_admin = admin_socket.local_addr()?;
    let running_probes = probe_socket.as_ref().map(TcpListener::local_addr);
    let running_probes = running_probes.transpose()?;
    let (stop_control, stopped) = oneshot::channel();
    let control = Control {
        gateway,
        active: Arc::clone(&active),
        work,
        revocations,
        revoked_file: fixed.revoked_file.clone(),
        feed: fixed.feed.clone(),
        keys,
        introspections,
        reload: ReloadParts {
            file,
            names,
            saved,
            fixed,
            workers,
            status,
            asked,
            ending: ends,
        },
    };
    let sockets = (admin_socket, probe_socket);
    let control = control_thread(admin, control::run(control), sockets, stopped)?;
    Ok(Running {
        active,
        admin: running_admin,
        probes: running_probes,
        reloads,
        ending,
        drain,
        workers: threads,
        control,
        audit,
        stop_control,
        _state_lock: state_lock,
    })
}

type WorkerThread = JoinHandle<io::Result<usize>>;

/// Starts a thread for each lane, with the sockets of the beginning.
fn start_workers(
    active: &Active,
    doors: Vec<Vec<worker::Door>>,
    draining: &watch::Receiver<bool>,
) -> io::Result<(Vec<WorkerThread>, Vec<Worker>)> {
    let (mut threads, mut workers) = (Vec::new(), Vec::new());
    for (index, (lane, doors)) in active.lanes.iter().zip(doors).enumerate() {
        let (told, coming) = mpsc::channel(DOORS_MAX.max(doors.len()));
        for door in doors {
            // There is room.
            let _ = told.try_send(door);
        }
        let worker = Worker {
            cells: Arc::clone(&lane.cells),
            lane: Arc::new(Published::new(Arc::clone(lane))),
            doors: told,
        };
        let (lane, drain) = (Arc::clone(&worker.lane), Drain(draining.clone()));
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || worker::run(lane, coming, drain))?;
        threads.push(thread);
        workers.push(worker);
    }
    Ok((threads, workers))
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

fn one_socket(what: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |source| PrepareError::Bind {
        what: what.to_owned(),
        address,
        source,
    };
    let mut sockets = listen::bind(address, 1).map_err(failed)?;
    let none = || failed(io::Error::other("no socket"));
    Ok(sockets.pop().ok_or_else(none)?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the thread that ends the gateway; everything else goes on"
)]
fn pause(wait: Duration) {
    std::thread::sleep(wait);
}
