//! What a configuration makes of the gateway. A reload replaces it as a whole, and a request sees one.

use std::sync::Arc;
use std::time::Duration;

use super::{Front, Gateway};
use crate::forward::Pools;
use crate::http::headers::ReservedNames;
use crate::inbound::Endpoints;
use crate::observe::metrics::WorkerCells;
use crate::policy::{IssuerId, Policy, Route, UpstreamId};
use crate::reject::Site;

/// One configuration, ready to serve.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) policy: Arc<Policy>,
    pub(crate) site: Site,
    pub(crate) reserved: ReservedNames,
    pub(crate) endpoints: Endpoints,
    /// Whether the help pages are served.
    pub(crate) problem_pages: bool,
    pub(crate) places: SetupPlaces,
    /// The digest of its file, short.
    pub(crate) digest: Box<str>,
    /// From not being ready any more to not accepting any more.
    pub(crate) drain_delay: Duration,
    /// For what runs then.
    pub(crate) drain_timeout: Duration,
}

/// The places, by which is counted, of the configuration's own lists.
#[derive(Debug, Default)]
pub(crate) struct SetupPlaces {
    pub(crate) routes: Box<[usize]>,
    pub(crate) issuers: Box<[usize]>,
    pub(crate) upstreams: Box<[usize]>,
}

impl SetupPlaces {
    pub(super) fn route(&self, route: &Route) -> usize {
        self.routes.get(route.index).copied().unwrap_or(usize::MAX)
    }

    pub(super) fn issuer(&self, id: IssuerId) -> usize {
        self.issuers.get(id.0).copied().unwrap_or(usize::MAX)
    }

    pub(super) fn upstream(&self, id: UpstreamId) -> usize {
        self.upstreams.get(id.0).copied().unwrap_or(usize::MAX)
    }
}

/// What the requests of one worker share, by one configuration.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) setup: Arc<Setup>,
    pub(crate) pools: Pools,
    pub(crate) cells: Arc<WorkerCells>,
}

/// What the requests of one listener at one worker are answered by.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) lane: Arc<Lane>,
    pub(crate) front: Arc<Front>,
}
