//! Reloading: the file is read again, and all of it serves or nothing of it.
//!
//! Reading, and whatever can fail, comes first, while the configuration of before serves on. New issuers
//! get a moment to have their keys. Then everything changes at once, between two requests.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::active::Active;
use super::commit::{self, Worker, commit};
use super::issuers::KeptIssuer;
use super::prepare::{self, Prepared, prepare};
use super::refresh::Around;
use super::saved::SavedKeys;
use crate::clock::UnixTime;
use crate::config::{self, FixedSettings, Report};
use crate::gateway::Gateway;
use crate::listen::Inherited;
use crate::observe::Names;
use crate::observe::audit::AdminEvent;
use crate::published::Published;

/// Reloads that may wait for the one that runs.
const WAITING_MAX: usize = 16;
/// New issuers may take so long to get their first keys; then the configuration serves without them.
const FIRST_KEYS_MAX: Duration = Duration::from_secs(5);

/// A wish to reload: who has it, and who is told.
pub(crate) struct Reload {
    actor: &'static str,
    answer: oneshot::Sender<Result<Reloaded, NotReloaded>>,
}

/// The asking end.
#[derive(Clone, Debug)]
pub(crate) struct Reloads(mpsc::Sender<Reload>);

/// What came of a reload.
#[derive(Clone, Debug)]
pub(crate) struct Reloaded {
    /// The digest of the file that serves now.
    pub(crate) digest: String,
    /// Keys that differ and that only a restart applies.
    pub(crate) restart: Vec<&'static str>,
    /// What is legal and unsafe, as `check` says it.
    pub(crate) warnings: String,
}

/// Why the configuration of before serves on.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum NotReloaded {
    #[error("the gateway ends")]
    Ending,
    /// As `check` says them, for people and for programs.
    #[error("the configuration has faults")]
    Faults(String, String),
    #[error("this gateway was not started with a file")]
    NoFile,
    #[error("{0}")]
    Unusable(String),
    #[error("too many reloads wait for the one that runs")]
    TooMany,
}

/// How the last reload went, for metrics and readiness.
#[derive(Debug)]
pub(crate) struct ReloadStatus(Mutex<LastReload>);

/// How the last reload went.
#[derive(Clone, Debug)]
pub(crate) struct LastReload {
    /// When the configuration that serves began to.
    pub(crate) at: UnixTime,
    /// The last reload failed: when and why.
    pub(crate) failed: Option<(UnixTime, String)>,
    /// Keys of the file that differ from what this process began with: they count after a restart.
    pub(crate) restart: Vec<&'static str>,
}

/// What a reload works with.
pub(crate) struct ReloadParts {
    /// `None`: the configuration came from elsewhere.
    pub(crate) file: Option<PathBuf>,
    pub(crate) names: Arc<Names>,
    pub(crate) inherited: Arc<Inherited>,
    pub(crate) saved: SavedKeys,
    pub(crate) fixed: FixedSettings,
    pub(crate) workers: Vec<Worker>,
    pub(crate) status: Arc<ReloadStatus>,
    pub(crate) asked: mpsc::Receiver<Reload>,
    /// The gateway ends.
    pub(crate) ending: watch::Receiver<bool>,
}

impl Reloads {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Reload>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), receiver)
    }

    /// Has the file read again. `actor`: who asks, for the audit.
    ///
    /// # Errors
    /// The configuration of before serves on.
    pub(crate) async fn ask(&self, actor: &'static str) -> Result<Reloaded, NotReloaded> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.try_send(Reload { actor, answer });
        sent.map_err(|_| NotReloaded::TooMany)?;
        answered.await.unwrap_or(Err(NotReloaded::Ending))
    }
}

impl ReloadStatus {
    pub(crate) fn new(at: UnixTime) -> Self {
        Self(Mutex::new(LastReload {
            at,
            failed: None,
            restart: Vec::new(),
        }))
    }

    pub(crate) fn last(&self) -> LastReload {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    fn note(&self, now: UnixTime, result: &Result<Reloaded, NotReloaded>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(reloaded) => {
                last.at = now;
                last.failed = None;
                last.restart.clone_from(&reloaded.restart);
            }
            Err(why) => last.failed = Some((now, why.to_string())),
        }
    }
}

/// Reloads, one after another.
pub(super) struct Reloader {
    parts: ReloadParts,
    gateway: Arc<Gateway>,
    active: Arc<Published<Active>>,
    around: Around,
}

impl Reloader {
    pub(super) const fn new(
        parts: ReloadParts,
        gateway: Arc<Gateway>,
        active: Arc<Published<Active>>,
        around: Around,
    ) -> Self {
        Self {
            parts,
            gateway,
            active,
            around,
        }
    }

    /// Reloads whenever somebody asks, for as long as anybody can.
    pub(super) async fn keep(mut self) {
        while let Some(asked) = self.parts.asked.recv().await {
            let result = self.reload().await;
            self.tell(asked.actor, &result);
            // Whoever asked may have gone.
            let _ = asked.answer.send(result);
        }
    }

    async fn reload(&self) -> Result<Reloaded, NotReloaded> {
        let path = self.parts.file.clone().ok_or(NotReloaded::NoFile)?;
        let before = self.active.load();
        let (names, saved) = (Arc::clone(&self.parts.names), self.parts.saved.clone());
        let inherited = Arc::clone(&self.parts.inherited);
        let clock = Arc::clone(&self.gateway.clock);
        let workers = self.parts.workers.len();
        let old = Arc::clone(&before);
        // Files and certificates are read: on a thread that may wait.
        let reading = tokio::task::spawn_blocking(move || {
            let (config, report) = config::load(&path);
            let config = config.ok_or_else(|| faults(&report))?;
            let fixed = config.fixed.clone();
            let around = prepare::Around {
                names: &names,
                saved: &saved,
                clock: &clock,
                workers,
                inherited: &inherited,
            };
            let prepared = prepare(config, &around, Some(&old));
            let prepared = prepared.map_err(|error| NotReloaded::Unusable(error.to_string()))?;
            Ok((prepared, fixed, report.pretty()))
        });
        let read = reading.await;
        let failed = |error: tokio::task::JoinError| NotReloaded::Unusable(error.to_string());
        let (mut prepared, fixed, warnings) = read.map_err(failed)??;
        for begins in std::mem::take(&mut prepared.begin) {
            begins.start(&self.around, &self.parts.saved);
        }
        first_keys(&prepared.issuers).await;
        if *self.parts.ending.borrow() {
            return Err(NotReloaded::Ending);
        }
        let digest = prepared.setup.digest.to_string();
        self.commit(prepared, &before).await;
        Ok(Reloaded {
            digest,
            restart: self.parts.fixed.changed(&fixed),
            warnings,
        })
    }

    async fn commit(&self, prepared: Prepared, before: &Active) {
        self.parts.names.name_routes(prepared.name_routes);
        self.gateway.audit.set(prepared.audit);
        self.gateway.audit.reopen();
        let token = prepared.admin.token.clone();
        let token = token.unwrap_or_else(|| before.admin_token.clone());
        let cells = self.parts.workers.iter().map(|it| Arc::clone(&it.cells));
        let lanes = commit::lanes(&prepared, &self.gateway, cells, Some(before));
        for (worker, lane) in self.parts.workers.iter().zip(&lanes) {
            worker.lane.publish(Arc::clone(lane));
        }
        let (active, doors, work) = commit(prepared, lanes, token, Some(before));
        for (old, new) in before.lanes.iter().zip(&active.lanes) {
            old.pools.retire_for(&new.pools);
        }
        let active = Arc::new(active);
        self.active.publish(Arc::clone(&active));
        work.start(&active, &self.around, &self.parts.saved);
        for (worker, doors) in self.parts.workers.iter().zip(doors) {
            for door in doors {
                // A worker that is gone has ended with the gateway.
                let _ = worker.doors.send(door).await;
            }
        }
    }

    /// Writes to log, audit and status how it went.
    fn tell(&self, actor: &str, result: &Result<Reloaded, NotReloaded>) {
        let now = self.gateway.clock.now();
        let (target, how) = match result {
            Ok(reloaded) => {
                let config = &*reloaded.digest;
                tracing::info!(config, "the configuration was reloaded");
                if !reloaded.restart.is_empty() {
                    let keys = reloaded.restart.join(", ");
                    tracing::warn!(keys, "these keys changed and count only after a restart");
                }
                (config, "applied".to_owned())
            }
            Err(why) => {
                let faults = match why {
                    NotReloaded::Faults(faults, _) => faults,
                    _ => "",
                };
                tracing::error!(%why, faults, "the configuration was not reloaded; the one from before serves on");
                ("", format!("refused: {why}"))
            }
        };
        self.parts.status.note(now, result);
        let event = AdminEvent {
            actor,
            action: "config.reload",
            target,
            result: &how,
            selector: None,
            reason: None,
        };
        self.gateway.audit.admin(now, &event);
    }
}

fn faults(report: &Report) -> NotReloaded {
    NotReloaded::Faults(report.pretty(), report.json())
}

/// Waits until every issuer has its keys or has failed to get them, within a bound.
pub(crate) async fn first_keys(issuers: &[Arc<KeptIssuer>]) {
    let all = async {
        for issuer in issuers {
            issuer.tried().await;
        }
    };
    // Without them its tokens are refused with 503 until they come, as after a start.
    let _ = tokio::time::timeout(FIRST_KEYS_MAX, all).await;
}
