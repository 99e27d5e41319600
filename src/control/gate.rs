//! How many fetches run at once: in all, so that a start with thousands of issuers is no storm, and
//! to one server, so that a slow one delays nobody but itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Fetches at once to one server.
const FETCHES_TO_ONE_MAX: usize = 8;
/// Fetches at once in all. Above what any number of slow servers is likely to hold for long.
const FETCHES_MAX: usize = 256;

/// Lets fetches through.
#[derive(Debug)]
pub(crate) struct Gate {
    all: Arc<Semaphore>,
    /// By origin; as many as there are configured issuers.
    origins: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(FETCHES_MAX)),
            origins: Mutex::default(),
        }
    }
}

/// A fetch may run while this lives.
#[derive(Debug)]
pub(crate) struct Pass {
    _one: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Gate {
    /// Waits for a place. Who waits for its server holds no place of the others.
    pub(crate) async fn enter(&self, origin: Option<&str>) -> Pass {
        let Some(origin) = origin else {
            return Pass {
                _one: None,
                _all: None,
            };
        };
        let one = {
            let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = || Arc::new(Semaphore::new(FETCHES_TO_ONE_MAX));
            Arc::clone(origins.entry(origin.to_owned()).or_insert_with(fresh))
        };
        // Neither is ever closed.
        let one = one.acquire_owned().await.ok();
        let all = Arc::clone(&self.all).acquire_owned().await.ok();
        Pass {
            _one: one,
            _all: all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_holds_its_own_places_alone() {
        let gate = Gate::default();
        let mut held = Vec::new();
        for _ in 0..FETCHES_TO_ONE_MAX {
            held.push(gate.enter(Some("slow.test")).await);
        }
        let moment = std::time::Duration::from_secs(1);
        let waiting = tokio::time::timeout(moment, gate.enter(Some("slow.test"))).await;
        assert!(waiting.is_err(), "the ninth waits");
        let other = tokio::time::timeout(moment, gate.enter(Some("quick.test"))).await;
        assert!(other.is_ok(), "another server's does not");
        held.pop();
        let next = tokio::time::timeout(moment, gate.enter(Some("slow.test"))).await;
        assert!(next.is_ok(), "a place that is given back can be taken");
    }
}
