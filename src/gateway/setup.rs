//! What a configuration makes of the gateway. A reload replaces it as a whole, and a request sees one.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::{Front, Gateway};
use crate::authenticate::{Caller, Turns};
use crate::authorize::Permit;
use crate::clock::UnixTime;
use crate::decisions::Ring;
use crate::forward::{InternalTokens, Pools};
use crate::http::headers::ReservedNames;
use crate::inbound::Endpoints;
use crate::observe::metrics::WorkerCells;
use crate::oddities::Sketch;
use crate::policy::{IssuerId, Policy, Route, UpstreamId};
use crate::reject::{Rejection, Site};

/// One configuration, ready to serve.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) policy: Arc<Policy>,
    pub(crate) site: Site,
    pub(crate) reserved: ReservedNames,
    pub(crate) endpoints: Endpoints,
    /// Tokens of our own for upstreams.
    pub(crate) internal: Option<InternalTokens>,
    /// Whether clients may have their tokens checked.
    pub(crate) token_check: bool,
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
    /// The decisions that this worker keeps, over all configurations.
    pub(crate) kept: Arc<Ring>,
    /// What this worker counts to find what is odd.
    pub(crate) sketch: Arc<Sketch>,
    /// Over all configurations.
    pub(crate) turns: Arc<Turns>,
}

impl Lane {
    /// The token of ours that a route sends upstream; none where it sends none.
    pub(super) fn internal_token(
        &self,
        route: &Route,
        permit: &Permit,
        now: UnixTime,
    ) -> Result<Option<HeaderValue>, Rejection> {
        let Some(audience) = &route.internal_token else {
            return Ok(None);
        };
        // Such a route demands a token; without one of ours nothing is sent.
        let Caller::Authenticated(principal) = permit.caller() else {
            return Err(Rejection::Internal);
        };
        let issuer = self.setup.policy.issuer(principal.issuer());
        let made = self.setup.internal.as_ref().zip(issuer);
        let made = made.and_then(|(tokens, issuer)| {
            tokens.authorization(principal, &issuer.rules, audience, now)
        });
        made.map(Some).ok_or(Rejection::Internal)
    }
}

/// What the requests of one listener at one worker are answered by.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) lane: Arc<Lane>,
    pub(crate) front: Arc<Front>,
}
