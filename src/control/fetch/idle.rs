//! Connections that wait for the next request to the same origin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

/// How long a connection may wait; servers close theirs after a minute or so.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Connections that wait, for each origin.
const IDLE_CONNECTIONS_MAX: usize = 8;

type Connection = SendRequest<Full<Bytes>>;

/// The waiting connections of one fetcher, by origin.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<String, Vec<(Connection, Instant)>>,
    /// Whether a task looks after those that have waited too long.
    watched: bool,
}

impl Idle {
    /// The connection that was used last, if it still stands.
    pub(super) fn take(&self, origin: &str) -> Option<Connection> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = state.waiting.get_mut(origin)?;
        while let Some((connection, _)) = waiting.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn keep(self: &Arc<Self>, origin: &str, connection: Connection) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = state.waiting.entry(origin.to_owned()).or_default();
        if connection.is_closed() || waiting.len() >= IDLE_CONNECTIONS_MAX {
            return;
        }
        waiting.push((connection, Instant::now()));
        if !state.watched {
            state.watched = true;
            tokio::spawn(Arc::clone(self).close_old());
        }
    }

    /// Closes what has waited too long, until nothing waits any more.
    async fn close_old(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE_MAX).await;
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.waiting.retain(|_, waiting| {
                waiting.retain(|(connection, since)| {
                    !connection.is_closed() && since.elapsed() < IDLE_MAX
                });
                !waiting.is_empty()
            });
            if state.waiting.is_empty() {
                state.watched = false;
                return;
            }
        }
    }
}
