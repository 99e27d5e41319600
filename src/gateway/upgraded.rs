//! A connection, or a stream of one, that was upgraded: carried as long as its token lives.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::record::Recorder;
use crate::authenticate::Life;
use crate::forward::Tunnel;
use crate::http::upgrade::OnUpgrade;
use crate::observe::exchange::StreamEnd;

type Carrying = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What an HTTP/1.1 connection goes on with when its last response was 101.
#[derive(Default)]
pub(crate) struct Upgraded(Mutex<Option<Carrying>>);

impl std::fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Upgraded")
    }
}

impl Upgraded {
    pub(super) fn put(&self, carrying: Carrying) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(carrying);
    }

    /// To be awaited once the connection is done with HTTP.
    pub(crate) fn take(&self) -> Option<Carrying> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What is needed to carry one.
pub(super) struct Carried {
    pub(super) client: OnUpgrade,
    pub(super) tunnel: Tunnel,
    /// `None`: it may outlive its token, or there is none.
    pub(super) life: Option<Life>,
    pub(super) draining: watch::Receiver<bool>,
    /// How long a drain waits.
    pub(super) drain_timeout: Duration,
    /// How long a side may take nothing.
    pub(super) send_max: Duration,
    pub(super) recorder: Recorder,
}

/// What is kept of a drain's time for saying so, and for the answer.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// A connection that is carried gets most of a drain's time to come to its own end; the rest is for telling
/// its client that it ends.
fn farewell(drain_timeout: Duration) -> Duration {
    (drain_timeout / 4).min(FAREWELL_MAX)
}

/// Carries it to its end, and writes the record.
pub(super) async fn carry(carried: Carried) {
    let Carried {
        client,
        tunnel,
        life,
        mut draining,
        drain_timeout,
        send_max,
        mut recorder,
    } = carried;
    let Some(client) = client.done().await else {
        return;
    };
    let ended = async move {
        let drained = async {
            if draining.wait_for(|draining| *draining).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(drain_timeout - farewell(drain_timeout)).await;
        };
        match life {
            None => drained.await,
            Some(life) => tokio::select! {
                ended = life.over() => return StreamEnd::from(&ended),
                () = drained => {}
            },
        }
        StreamEnd::Draining
    };
    if let Some(end) = tunnel.run(client, send_max, ended).await {
        recorder.stream_ended(end);
    }
}
