//! Control: the single writer of what serves, on a runtime of its own.
//!
//! A configuration is made ready (`prepare`) and then let serve (`commit`), at the start and at every reload
//! (`reload`); [`Active`] is what serves now. Each issuer whose keys come from somewhere has a task that
//! keeps them (`issuers`, `refresh`). Opaque tokens are asked about here too.

mod active;
mod candidate;
mod certificates;
mod commit;
mod discovery;
mod feed;
pub(crate) mod fetch;
mod gate;
mod introspect;
mod issuers;
mod key_source;
pub(crate) mod look;
mod oddities;
mod otlp;
mod prepare;
mod probe;
mod refresh;
mod reload;
pub(crate) mod revocations;
mod revoked_file;
mod saved;
mod status;
mod tasks;
mod upstreams;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::authenticate::IntrospectionRequest;
use crate::config::FeedSettings;
use crate::gateway::Gateway;
use crate::keys::KeyRequest;
use crate::published::Published;
use crate::revocation::Revocations;

pub(crate) use fetch::Trust;
use refresh::Order;
use reload::Reloader;

pub(crate) use active::{Active, Door};
pub(crate) use candidate::{NotTried, candidate};
pub(crate) use commit::{Work, Worker, commit, lanes};
pub(crate) use fetch::FetchError;
pub(crate) use issuers::{KeptIssuer, prepare as issuers};
pub(crate) use oddities::watch;
pub(crate) use otlp::Exporter;
pub use prepare::PrepareError;
pub(crate) use prepare::{Around, policy, prepare};
pub(crate) use probe::{Probe, probe};
pub(crate) use refresh::Around as KeptAround;
pub(crate) use reload::{NotReloaded, ReloadParts, ReloadStatus, Reloads, first_keys};
pub(crate) use saved::{NoSet, SavedKeys};
pub(crate) use status::SourceKind;

/// How often revocations that have run out are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Between two steps of that.
const FORGET_PAUSE: Duration = Duration::from_millis(20);

/// What control works with.
pub(crate) struct Control {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) active: Arc<Published<Active>>,
    /// What the first configuration needs to have started.
    pub(crate) work: Work,
    pub(crate) reload: ReloadParts,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) revoked_file: Option<PathBuf>,
    pub(crate) feed: Option<FeedSettings>,
    pub(crate) keys: mpsc::Receiver<KeyRequest>,
    pub(crate) introspections: mpsc::Receiver<IntrospectionRequest>,
}

/// Runs control for as long as its runtime lives.
pub(crate) async fn run(control: Control) {
    let Control {
        gateway,
        active,
        work,
        reload,
        revocations,
        revoked_file,
        feed,
        mut keys,
        mut introspections,
    } = control;
    let around = KeptAround {
        clock: Arc::clone(&gateway.clock),
        audit: Arc::clone(&gateway.audit),
        gate: Arc::default(),
    };
    work.start(&active.look(), &around, &reload.saved);
    let reloader = Reloader::new(reload, Arc::clone(&gateway), Arc::clone(&active), around);
    tokio::spawn(reloader.keep());
    if let Some(path) = revoked_file {
        let (gateway, list) = (Arc::clone(&gateway), Arc::clone(&revocations));
        tokio::spawn(revoked_file::keep(path, gateway, Arc::clone(&active), list));
    }
    let (over, are_over) = mpsc::channel(feed::OVER_MAX);
    if let Some(settings) = feed {
        let mut trust = Trust::default();
        let tls = settings.tls.then(|| trust.tls(settings.ca.as_deref()));
        match tls.transpose() {
            Ok(tls) => {
                let (gateway, list) = (Arc::clone(&gateway), Arc::clone(&revocations));
                let over = (over.clone(), are_over);
                tokio::spawn(feed::keep(settings, tls, gateway, list, over));
            }
            Err(error) => tracing::error!(%error, "the feed of revocations cannot be kept"),
        }
    }
    tokio::spawn(forget(revocations, gateway, over));
    loop {
        // An issuer with fixed keys, one that is gone, or one whose queue is full: the answer is dropped,
        // which says that there is nothing to wait for.
        tokio::select! {
            Some(request) = keys.recv() => {
                let active = active.look();
                let issuer = active.issuer(&request.issuer);
                if let Some(keeper) = issuer.and_then(|it| it.orders.as_ref()) {
                    let _ = keeper.try_send(Order::Find(request));
                }
            }
            Some(request) = introspections.recv() => {
                let active = active.look();
                let issuer = active.issuer(&request.issuer);
                if let Some(introspector) = issuer.and_then(|it| it.introspector.as_ref()) {
                    introspector.ask(request);
                }
            }
            else => return,
        }
    }
}

/// Forgets revocations that have run out, and tells the feed.
async fn forget(list: Arc<Revocations>, gateway: Arc<Gateway>, over: mpsc::Sender<uuid::Uuid>) {
    let mut tick = tokio::time::interval(FORGET_EVERY);
    loop {
        tick.tick().await;
        // A little at a time: whoever revokes meanwhile must not wait for it.
        loop {
            let (own, now) = (Arc::clone(&list), gateway.clock.now());
            let forgetting = tokio::task::spawn_blocking(move || own.forget_expired(now));
            let forgotten = match forgetting.await.unwrap_or(Ok(Vec::new())) {
                Ok(forgotten) => forgotten,
                Err(error) => {
                    tracing::warn!(%error, "revocations that have run out are not forgotten");
                    break;
                }
            };
            if forgotten.is_empty() {
                break;
            }
            for version in forgotten {
                // Without a feed nobody asks; with a slow one, a later comparison removes them.
                let _ = over.try_send(version);
            }
            tokio::time::sleep(FORGET_PAUSE).await;
        }
    }
}
