//! Wiring: a checked configuration to a running gateway.
//!
//! Everything that can fail does so before the first thread starts: ports are bound, the state
//! folder is written to, the admin token is there. Then the workers start, each with its own
//! sockets and pools, and one thread for control and admin.

mod handover;
mod state;
mod threads;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use crate::admin::{Admin, FOLLOWERS_MAX, Scope};
use crate::authenticate::{Authenticator, IntrospectionRequests, TokenCache};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{self, Active, Control, NotReloaded, ReloadParts, ReloadStatus, Reloads};
use crate::gateway::{CHECK_PEERS_MAX, CHECK_QUOTA, Gateway, Trial};
use crate::inbound::Inbound;
use crate::keys::KeyRequests;
use crate::limit::Buckets;
use crate::listen::{Address, Inherited};
use crate::observe::{Audit, Metrics, Names};
use crate::published::Published;
use crate::revocation::Kind;

use crate::worker;

pub use crate::control::PrepareError;
use handover::{Giver, Standing};
pub use handover::{Inheritance, Predecessor};
use state::StateLock;
use threads::{control_thread, start_workers};

/// A request waits at most this long for its issuer: for a key that it may just have published, or
/// for its word about an opaque token.
const ISSUER_WAIT_MAX: Duration = Duration::from_secs(5);

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
    /// A socket that was passed to this process cannot be used.
    #[error("a socket that was passed to this process cannot be used: {0}")]
    Passed(io::Error),
    /// The gateway that runs does not let go.
    #[error("the gateway that runs cannot be taken over: {0}")]
    TakeOver(io::Error),
    /// It was told to end before it served.
    #[error("it was told to end before it served")]
    Interrupted,
    /// A gateway that cannot judge does not replace one that can.
    #[error("there are no keys of {0}; the gateway that runs goes on")]
    NoKeys(String),
    /// The system gives no random bytes, or no thread.
    #[error("the system refuses what is needed: {0}")]
    System(#[from] io::Error),
}

/// The way to a worker, and sockets for it.
type HeldBack = (mpsc::Sender<worker::Door>, Mutex<Vec<worker::Door>>);

/// A gateway that runs.
#[derive(Debug)]
pub struct Running {
    active: Arc<Published<Active>>,
    admin: Address,
    probes: Option<Address>,
    reloads: Reloads,
    /// From then on it is not ready.
    ending: watch::Sender<bool>,
    /// From then on nothing is accepted.
    drain: watch::Sender<bool>,
    workers: Vec<JoinHandle<io::Result<usize>>>,
    control: JoinHandle<()>,
    audit: Arc<Audit>,
    stop_control: oneshot::Sender<()>,
    /// No other gateway serves.
    alone: watch::Sender<bool>,
    /// Sockets that are opened then, for each worker.
    held_back: Vec<HeldBack>,
    /// Another gateway serves.
    over: watch::Receiver<bool>,
    /// Somebody asks for the end.
    drains: Arc<Notify>,
    /// The state folder is ours until this is dropped.
    _state_lock: Arc<StateLock>,
}

impl Running {
    /// Where a listener listens.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<String> {
        self.addresses().remove(listener)
    }

    /// Where each listener listens.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<String, String> {
        let doors = &self.active.load().doors;
        let place = |door: &control::Door| {
            let name = door.listener.front.name.to_string();
            (name, door.places())
        };
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
    pub fn admin(&self) -> String {
        self.admin.to_string()
    }

    /// Where the probe address listens, if there is one.
    #[must_use]
    pub fn probes(&self) -> Option<String> {
        self.probes.as_ref().map(ToString::to_string)
    }

    /// Lets the gateway that this one takes over from drain, once every issuer has its keys or has failed
    /// to get them, within a bound.
    ///
    /// # Errors
    /// It has gone, or has given up waiting and serves on: this one is to be stopped then.
    pub async fn replace(&self, predecessor: Predecessor) -> Result<(), StartError> {
        let active = self.active.load();
        control::first_keys(&active.issuers).await;
        let without = active.issuers.iter().filter(|it| it.lacks_keys());
        let without: Vec<_> = without.map(|it| &*it.status.name).collect();
        if !without.is_empty() {
            return Err(StartError::NoKeys(without.join(", ")));
        }
        predecessor.drain()?;
        self.alone.send_replace(true);
        for (told, doors) in &self.held_back {
            let doors = std::mem::take(&mut *doors.lock().unwrap_or_else(PoisonError::into_inner));
            for door in doors {
                // A worker that is gone has ended with the gateway.
                let _ = told.send(door).await;
            }
        }
        Ok(())
    }

    /// Done when this gateway is to be stopped: another has taken over and serves, or the admin API was told.
    pub async fn told_to_end(&self) {
        let mut over = self.over.clone();
        tokio::select! {
            Ok(_) = over.wait_for(|over| *over) => {}
            () = self.drains.notified() => {}
        }
    }

    /// The admin token; whoever asks for it answers for where it goes.
    #[must_use]
    pub fn admin_token(&self) -> Vec<u8> {
        self.active.look().admin_token.expose().to_vec()
    }

    /// Is not ready any more, stops accepting after `drain_delay`, lets what runs finish within
    /// `drain_timeout`, and ends. Gives the number of connections that were cut. Blocks. Where another
    /// gateway has taken over there is nobody to wait for.
    #[must_use]
    pub fn stop(self) -> usize {
        self.ending.send_replace(true);
        if !*self.over.borrow() && *self.alone.borrow() {
            pause(self.active.look().setup.drain_delay);
        }
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

/// Starts a gateway. Audit lines go to `audit_out`. A reload reads `file` again. Listeners take the sockets
/// that were passed to this process, where they fit.
///
/// # Errors
/// A port is taken, the state folder cannot be written, or the system refuses something.
pub fn start(
    config: Config,
    file: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    audit_out: impl Write + Send + 'static,
    inheritance: Inheritance,
) -> Result<Running, StartError> {
    let inherited = Arc::clone(&inheritance.sockets);
    state::raise_descriptor_limit(&config);
    let fixed = config.fixed.clone();
    let one_a_core = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = fixed.workers.unwrap_or_else(one_a_core);
    let admin_token = state::admin_token(&config)?;
    let state_lock = Arc::new(state::take_folder(&fixed)?);
    let admin_standing = standing("admin", &fixed.admin_address, &inherited)?;
    let probe_standing = fixed.probes.as_ref();
    let probe_standing = probe_standing.map(|address| standing("probes", address, &inherited));
    let probe_standing = probe_standing.transpose()?;

    let names = Arc::new(Names::default());
    names.name_routes(config.route_names);
    let audit = Audit::start(fixed.audit, config.audit, Arc::clone(&names), audit_out);
    let audit = Arc::new(audit?);
    let selectors = Kind::ALL.map(Kind::name).to_vec();
    let metrics = Arc::new(Metrics::new(Arc::clone(&names), selectors, workers));
    let revocations = Arc::new(state::revocations(&fixed, clock.now())?);
    if let Some(elder) = inheritance.elder.clone() {
        revocations.tell_elder(move |revocation| elder.tell(revocation));
    }
    let saved = state::saved_keys(&fixed)?;
    let around = control::Around {
        names: &names,
        saved: &saved,
        clock: &clock,
        workers,
        inherited: &inherited,
    };
    let prepared = control::prepare(config, &around, None)?;
    inherited.keep_only_systemd();
    let unused = inherited.names();
    if !unused.is_empty() {
        tracing::warn!(
            unused,
            "systemd passes sockets that no listener names: who connects there waits"
        );
    }
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
        checks: Buckets::new(CHECK_QUOTA, CHECK_PEERS_MAX),
        trial: Trial::default(),
    });
    let cells = (0..workers).map(|worker| metrics.worker(worker));
    let lanes = control::lanes(&prepared, &gateway, cells, None);
    let (active, doors, work) = control::commit(prepared, lanes, admin_token, None);
    let (drain, draining) = watch::channel(false);
    let (ending, ends) = watch::channel(false);
    // While another gateway serves, connections are its own.
    let (doors, kept) = match inheritance.elder.is_some() {
        true => (doors.iter().map(|_| Vec::new()).collect(), doors),
        false => (doors, Vec::new()),
    };
    let (threads, workers) = start_workers(&active, doors, &draining)?;
    let told = workers.iter().map(|worker| worker.doors.clone());
    let held_back = told.zip(kept.into_iter().map(Mutex::new)).collect();
    let active = Arc::new(Published::new(active));
    let (reloads, asked) = Reloads::channel();
    let drains = Arc::new(Notify::new());
    let admin = Arc::new(Admin {
        gateway: Arc::clone(&gateway),
        active: Arc::clone(&active),
        revocations: Arc::clone(&revocations),
        metrics,
        reloads: reloads.clone(),
        reloaded: Arc::clone(&status),
        drains: Arc::clone(&drains),
        run: uuid::Uuid::now_v7(),
        ending: ends.clone(),
        file: file.clone(),
        saved: saved.clone(),
        followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
    });
    let admin_bound = admin_standing.socket.address()?;
    let probes_bound = probe_standing.as_ref().map(|it| it.socket.address());
    let probes_bound = probes_bound.transpose()?;
    let mut open = vec![(admin_standing.socket.again()?, Scope::Everything)];
    if let Some(it) = &probe_standing {
        open.push((it.socket.again()?, Scope::Probes));
    }
    let (over, is_over) = watch::channel(false);
    let (alone, is_alone) = watch::channel(inheritance.elder.is_none());
    let opens = is_alone.clone();
    let giver = Giver {
        state_dir: fixed.state_dir.clone(),
        active: Arc::clone(&active),
        standing: Mutex::new([admin_standing].into_iter().chain(probe_standing).collect()),
        revocations: Arc::clone(&revocations),
        saved: saved.clone(),
        lock: Arc::clone(&state_lock),
        over,
    };
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
            inherited,
            saved,
            fixed,
            workers,
            status,
            asked,
            ending: ends,
        },
    };
    let tasks = async { tokio::join!(control::run(control), giver.keep(is_alone)) };
    let over = is_over.clone();
    let control = control_thread(admin, tasks, (open, opens, is_over), stopped)?;
    Ok(Running {
        active,
        admin: admin_bound,
        probes: probes_bound,
        reloads,
        ending,
        drain,
        workers: threads,
        control,
        audit,
        stop_control,
        alone,
        held_back,
        over,
        drains,
        _state_lock: state_lock,
    })
}

/// A socket that no reload changes.
fn standing(
    label: &'static str,
    address: &Address,
    inherited: &Inherited,
) -> Result<Standing, StartError> {
    let failed = |source| PrepareError::Bind {
        what: format!("`{label}`"),
        address: address.to_string(),
        source,
    };
    let mut sockets = inherited.sockets(label, address, 1).map_err(failed)?;
    let none = || failed(io::Error::other("no socket"));
    Ok(Standing {
        label,
        address: address.clone(),
        socket: sockets.pop().ok_or_else(none)?,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the thread that ends the gateway; everything else goes on"
)]
fn pause(wait: Duration) {
    std::thread::sleep(wait);
}
