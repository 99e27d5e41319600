//! The threads: one a worker, and one for control and the admin listener.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::{self, Admin, Scope};
use crate::control::{Active, Worker};
use crate::listen::{Acceptor, Socket};
use crate::published::Published;
use crate::worker::{self, Drain};

/// What control is doing with the disk may take this long at the end.
const CONTROL_END_MAX: Duration = Duration::from_secs(2);
/// New sockets that may wait for a worker.
const DOORS_MAX: usize = 64;

/// A worker's thread.
#[derive(Debug)]
pub(super) struct WorkerThread {
    pub(super) handle: JoinHandle<io::Result<usize>>,
    /// How often its loop has turned.
    pub(super) turns: Arc<AtomicU64>,
}

/// Starts a thread for each lane, with the sockets of the beginning.
pub(super) fn start_workers(
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
        let turns = Arc::new(AtomicU64::default());
        let turning = Arc::clone(&turns);
        let handle = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || worker::run(lane, coming, drain, &turning))?;
        threads.push(WorkerThread { handle, turns });
        workers.push(worker);
    }
    Ok((threads, workers))
}

pub(super) fn control_thread(
    admin: Arc<Admin>,
    tasks: impl Future<Output = ((), ())> + Send + 'static,
    (sockets, opens, over): (
        Vec<(Socket, Scope)>,
        watch::Receiver<bool>,
        watch::Receiver<bool>,
    ),
    stopped: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            runtime.block_on(async move {
                for (socket, scope) in sockets {
                    match Acceptor::new(socket) {
                        Ok(acceptor) => {
                            let (admin, over) = (Arc::clone(&admin), over.clone());
                            let mut opens = opens.clone();
                            tokio::spawn(async move {
                                // Until then another gateway answers there.
                                if opens.wait_for(|opens| *opens).await.is_ok() {
                                    admin::serve(admin, acceptor, scope, over).await;
                                }
                            });
                        }
                        Err(error) => {
                            tracing::error!(%error, "the admin listener cannot be used")
                        }
                    }
                }
                tokio::spawn(tasks);
                let _ = stopped.await;
            });
            // What hangs on a disk or a name server must not keep the process alive.
            runtime.shutdown_timeout(CONTROL_END_MAX);
        })
}
