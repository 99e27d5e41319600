//! The handle of a gateway that runs: where it is, having it reload, be replaced, and end.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::StartError;
use super::handover::Predecessor;
use super::state::StateLock;
use super::threads::WorkerThread;
use crate::control::{self, Active, NotReloaded, Reloads};
use crate::listen::Address;
use crate::observe::Audit;
use crate::published::Published;
use crate::worker;

/// The way to a worker, and sockets for it.
pub(super) type HeldBack = (mpsc::Sender<worker::Door>, Mutex<Vec<worker::Door>>);

/// A gateway that runs.
#[derive(Debug)]
pub struct Running {
    pub(super) active: Arc<Published<Active>>,
    pub(super) admin: Address,
    pub(super) probes: Option<Address>,
    pub(super) reloads: Reloads,
    /// From then on it is not ready.
    pub(super) ending: watch::Sender<bool>,
    /// From then on nothing is accepted.
    pub(super) drain: watch::Sender<bool>,
    pub(super) workers: Vec<WorkerThread>,
    pub(super) control: JoinHandle<()>,
    pub(super) audit: Arc<Audit>,
    pub(super) stop_control: oneshot::Sender<()>,
    /// No other gateway serves.
    pub(super) alone: watch::Sender<bool>,
    /// Sockets that are opened then, for each worker.
    pub(super) held_back: Vec<HeldBack>,
    /// Another gateway serves.
    pub(super) over: watch::Receiver<bool>,
    /// Somebody asks for the end.
    pub(super) drains: Arc<Notify>,
    /// The state folder is ours until this is dropped.
    pub(super) _state_lock: Arc<StateLock>,
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

    /// How often each worker's loop has turned: one that stands still is stuck.
    pub(crate) fn turns(&self) -> Vec<u64> {
        let workers = self.workers.iter();
        workers
            .map(|worker| worker.turns.load(Ordering::Relaxed))
            .collect()
    }

    /// Has the audit file opened anew with the next line: somebody has moved it.
    pub fn reopen_audit(&self) {
        self.audit.reopen();
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
            match worker.handle.join() {
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

#[expect(
    clippy::disallowed_methods,
    reason = "the thread that ends the gateway; everything else goes on"
)]
fn pause(wait: Duration) {
    std::thread::sleep(wait);
}
