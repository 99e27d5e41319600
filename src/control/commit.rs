//! From what can serve to what serves: nothing here can fail, and a request sees one side or the other.

use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use super::active::{Active, Door};
use super::certificates::{self, Watched};
use super::issuers::Begins;
use super::prepare::{Place, Prepared};
use super::refresh::Around;
use super::saved::SavedKeys;
use super::tasks::Tasks;
use super::upstreams::KeptUpstream;
use crate::decisions::Ring;
use crate::forward::Pools;
use crate::gateway::{Gateway, Lane, Serving};
use crate::observe::metrics::WorkerCells;
use crate::published::Published;
use crate::secret::Secret;
use crate::worker;

/// What control knows of one worker.
pub(crate) struct Worker {
    pub(crate) cells: Arc<WorkerCells>,
    /// The lane that it looks after.
    pub(crate) lane: Arc<Published<Lane>>,
    /// Where it is told of new sockets.
    pub(crate) doors: mpsc::Sender<worker::Door>,
}

/// What is to be started once there is a runtime.
pub(crate) struct Work {
    pub(super) begin: Vec<Begins>,
    upstreams: Vec<Arc<KeptUpstream>>,
    certificates: Vec<Watched>,
}

/// The lanes of a configuration, one a worker, with the pools of those before where they are the same.
pub(crate) fn lanes(
    prepared: &Prepared,
    gateway: &Arc<Gateway>,
    cells: impl ExactSizeIterator<Item = Arc<WorkerCells>>,
    old: Option<&Active>,
) -> Vec<Arc<Lane>> {
    let workers = cells.len();
    let upstreams = || prepared.upstreams.iter().map(|it| &it.upstream);
    let lane = |(index, cells): (usize, _)| {
        let before = old.and_then(|old| old.lanes.get(index));
        Arc::new(Lane {
            gateway: Arc::clone(gateway),
            setup: Arc::clone(&prepared.setup),
            pools: Pools::new(upstreams(), workers, before.map(|before| &before.pools)),
            cells,
            kept: match before {
                Some(before) => Arc::clone(&before.kept),
                None => Arc::new(Ring::new(workers)),
            },
            sketch: before
                .map(|before| Arc::clone(&before.sketch))
                .unwrap_or_default(),
            turns: before
                .map(|before| Arc::clone(&before.turns))
                .unwrap_or_default(),
        })
    };
    cells.enumerate().map(lane).collect()
}

/// Lets a configuration serve. Gives what serves now, the sockets that each worker is to be told of, and
/// the work that is to be started.
pub(crate) fn commit(
    prepared: Prepared,
    lanes: Vec<Arc<Lane>>,
    token: Secret,
    old: Option<&Active>,
) -> (Active, Vec<Vec<worker::Door>>, Work) {
    let mut new_sockets: Vec<Vec<worker::Door>> = lanes.iter().map(|_| Vec::new()).collect();
    let mut doors = Vec::new();
    for next in prepared.doors {
        let listener = next.listener;
        listener.admission.limit(next.limits.0, next.limits.1);
        if let (Some(renewed), Some(tls)) = (&next.renewed, &listener.tls) {
            tls.certificates().replace(renewed);
        }
        let serving = |lane: &Arc<Lane>| Serving {
            lane: Arc::clone(lane),
            front: Arc::clone(&listener.front),
        };
        doors.push(match next.place {
            Place::Kept(door) => {
                for (place, lane) in door.serving.iter().zip(&lanes) {
                    place.publish(serving(lane));
                }
                door.taking.publish(Arc::clone(&listener));
                Door { listener, ..door }
            }
            Place::New(bound, sockets) => {
                // For a gateway that takes over; it goes without those that cannot be kept.
                let again = sockets.iter().filter_map(|it| it.again().ok()).collect();
                let door = Door {
                    taking: Arc::new(Published::new(Arc::clone(&listener))),
                    serving: lanes
                        .iter()
                        .map(|lane| Arc::new(Published::new(serving(lane))))
                        .collect(),
                    closing: Arc::new(watch::Sender::new(false)),
                    address: next.address,
                    bound,
                    sockets: Arc::new(Mutex::new(again)),
                    listener,
                };
                for (index, socket) in sockets.into_iter().enumerate() {
                    let worker = index % lanes.len().max(1);
                    let serving = door.serving.get(worker);
                    let Some((serving, told)) = serving.zip(new_sockets.get_mut(worker)) else {
                        continue;
                    };
                    told.push(worker::Door {
                        socket,
                        taking: Arc::clone(&door.taking),
                        serving: Arc::clone(serving),
                        closing: door.closing.subscribe(),
                    });
                }
                door
            }
        });
    }
    if let Some(old) = old {
        let stays = |door: &Door| {
            let mut new = doors.iter();
            new.any(|new| Arc::ptr_eq(&new.closing, &door.closing))
        };
        for door in old.doors.iter().filter(|door| !stays(door)) {
            door.close();
        }
    }
    let is_new = |it: &&Arc<KeptUpstream>| {
        let mut known = old.iter().flat_map(|old| &old.upstreams);
        !known.any(|known| Arc::ptr_eq(known, it))
    };
    let work = Work {
        begin: prepared.begin,
        upstreams: prepared.upstreams.iter().filter(is_new).cloned().collect(),
        certificates: prepared.certificates,
    };
    let active = Active {
        setup: prepared.setup,
        lanes,
        doors,
        issuers: prepared.issuers,
        upstreams: prepared.upstreams,
        texts: prepared.texts,
        admin_token: token,
        console: prepared.admin.console,
        allowed_hosts: prepared.admin.allowed_hosts,
        looking: Tasks::default(),
    };
    (active, new_sockets, work)
}

impl Work {
    /// Starts whoever looks after what `active` is made of.
    pub(super) fn start(self, active: &Active, around: &Around, saved: &SavedKeys) {
        for begins in self.begin {
            begins.start(around, saved);
        }
        for upstream in self.upstreams {
            upstream.ask();
        }
        for watched in self.certificates {
            active.looking.spawn(certificates::keep(watched));
        }
    }
}
