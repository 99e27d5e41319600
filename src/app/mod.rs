//! Wiring: a checked configuration to a running gateway.
//!
//! Everything that can fail does so before the first thread starts: ports are bound, the state
//! folder is written to, the admin token is there. Then the workers start, each with its own
//! sockets and pools, and one thread for control and admin.

mod handover;
mod running;
mod state;
mod threads;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use crate::admin::{Admin, FOLLOWERS_MAX, Scope};
use crate::authenticate::{Authenticator, IntrospectionRequests, TokenCache};
use crate::clock::Clock;
use crate::config::{Config, TracingSettings};
use crate::control::{self, Control, Exporter, ReloadParts, ReloadStatus, Reloads};
use crate::gateway::{CHECK_PEERS_MAX, CHECK_QUOTA, Gateway, Trial};
use crate::inbound::Inbound;
use crate::keys::KeyRequests;
use crate::limit::Buckets;
use crate::listen::{Address, Inherited};
use crate::observe::trace::{Spans, Tracer};
use crate::observe::{Audit, Metrics, Names};
use crate::oddities::Oddities;
use crate::published::Published;
use crate::revocation::Kind;

pub use crate::control::PrepareError;
use handover::{Giver, Standing};
pub use handover::{Inheritance, Predecessor};
pub use running::Running;
pub(crate) use state::{descriptors, folder_is_ours, folder_is_taken};
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
    let audit = Audit::start(
        fixed.audit.clone(),
        config.audit,
        Arc::clone(&names),
        &clock,
        audit_out,
    );
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
    let (tracer, exporting) = traces(fixed.tracing.as_ref())?;
    let gateway = Arc::new(Gateway {
        inbound: Inbound::new(Arc::clone(&revocations), Arc::clone(&audit)),
        authenticator: Authenticator::new(cache, key_requests, asking, list),
        oddities: Oddities::new(clock.now()),
        clock,
        audit: Arc::clone(&audit),
        checks: Buckets::new(CHECK_QUOTA, CHECK_PEERS_MAX),
        trial: Trial::default(),
        tracer,
    });
    let (odd, watched) = (Arc::clone(&gateway), Arc::clone(&metrics));
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
        making: Semaphore::new(1),
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
    let watching = control::watch(odd, Arc::clone(&active), watched);
    let exporting = async {
        if let Some((exporter, spans)) = exporting {
            exporter.keep(spans).await;
        }
    };
    let beside = async {
        tokio::join!(giver.keep(is_alone), exporting, watching);
    };
    let tasks = async { tokio::join!(control::run(control), beside) };
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

/// Whoever begins traces, and whoever sends them.
type Traces = (Option<Tracer>, Option<(Exporter, mpsc::Receiver<Spans>)>);

fn traces(settings: Option<&TracingSettings>) -> Result<Traces, StartError> {
    let Some(settings) = settings else {
        return Ok((None, None));
    };
    let (tracer, spans) = Tracer::channel(settings.one_in);
    let exporter = Exporter::new(settings, Arc::clone(tracer.counts()));
    let exporter = exporter.map_err(|error| io::Error::other(format!("tracing: {error}")))?;
    Ok((Some(tracer), Some((exporter, spans))))
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
