//! Filling the exchange's record on the way, and writing it once at the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Response};

use super::Lane;
use super::lifetime::StreamKind;
use super::streamed::Streamed;
use crate::authenticate::{AuthenticationError, CacheUse, Ended, Life, Notes, Principal};
use crate::authorize::AuthorizationError;
use crate::decisions::{Asked, Decision};
use crate::explain::{self, Judged, Told};
use crate::http::deadline::InFlight;
use crate::http::target;
use crate::http::{Body, BodyError};
use crate::oauth::Algorithm;
use crate::observe::Exchange;
use crate::observe::exchange::{CacheLabel, StreamEnd};
use crate::observe::trace::{self, Spans, Traced};
use crate::oddities::Whose;
use crate::policy::Route;
use crate::reject::{self, Rejection, Setting};
use crate::verdict::{NearMiss, Reason};

/// Writes the record of an exchange when its response is over, however that comes about.
#[derive(Debug)]
pub(super) struct Recorder {
    lane: Arc<Lane>,
    pub(super) exchange: Exchange,
    /// Whose token it is; read only if a line is written.
    principal: Option<Principal>,
    in_flight: Option<InFlight>,
    /// Decided once there is an answer.
    wants_line: Option<bool>,
    /// The way to the verdict, where the decision is kept.
    told: Option<(Box<[u8]>, Asked)>,
    /// It is sampled.
    pub(super) traced: Option<Box<Traced>>,
}

impl Recorder {
    pub(super) const fn new(
        lane: Arc<Lane>,
        exchange: Exchange,
        in_flight: InFlight,
        traced: Option<Box<Traced>>,
    ) -> Self {
        Self {
            lane,
            exchange,
            principal: None,
            in_flight: Some(in_flight),
            wants_line: None,
            told: None,
            traced,
        }
    }

    /// Its place among the requests under way, which whoever carries the answer holds from here on.
    pub(super) const fn take_in_flight(&mut self) -> Option<InFlight> {
        self.in_flight.take()
    }

    /// What deciding did.
    pub(super) fn decided(&mut self, notes: &Notes, begun: Option<Instant>) {
        if let Some((traced, begun)) = self.traced.as_mut().zip(begun) {
            traced.verified = Some((begun, begun.elapsed()));
            traced.waited = notes.waited;
        }
        self.exchange.cache = match notes.cache {
            CacheUse::NotAsked => None,
            CacheUse::Hit => Some(CacheLabel::Hit),
            CacheUse::Miss => Some(CacheLabel::Miss),
            CacheUse::Bad => Some(CacheLabel::Bad),
            CacheUse::Stale => Some(CacheLabel::Stale),
        };
        self.exchange.verified_in = notes.verified_in.map(|(alg, took)| (alg.name(), took));
    }

    /// Whose token it is.
    pub(super) fn authenticated(&mut self, principal: &Principal) {
        self.exchange.issuer = Some(self.lane.setup.places.issuer(principal.issuer()));
        self.principal = Some(principal.clone());
        if let Some(addresses) = principal.seen_from(self.exchange.peer, self.exchange.at) {
            let gateway = &self.lane.gateway;
            let about = gateway.audit.fingerprint(principal.fingerprint());
            gateway
                .oddities
                .spread(about, addresses, &mut self.exchange);
        }
    }

    /// Why the request was refused.
    pub(super) fn refused(&mut self, rejection: &Rejection) {
        let reason = rejection.reason();
        self.exchange.reason = Some(reason);
        self.exchange.status = reason.status().as_u16();
        self.exchange.cause = rejection.cause();
        match rejection {
            Rejection::Authentication(refused) => {
                let places = &self.lane.setup.places;
                self.exchange.issuer = refused.issuer.map(|id| places.issuer(id));
                self.exchange.token.alg = refused.alg.map(Algorithm::name);
                self.exchange.token.kid.clone_from(&refused.kid);
                self.principal.clone_from(&refused.principal);
                if let AuthenticationError::Revoked(revoked) = &refused.error {
                    self.exchange.revoked_by = Some(revoked.by.name());
                }
            }
            Rejection::Authorization(AuthorizationError::ScopeMissing { missing, .. }) => {
                self.exchange.token.scopes_missing.clone_from(missing);
            }
            _ => {}
        }
    }

    /// It passes all the same, since its route only reports.
    pub(super) fn would_refuse(&mut self, rejection: &Rejection) {
        self.refused(rejection);
        self.exchange.would_deny = self.exchange.reason.take();
        self.exchange.status = 0;
    }

    /// A token that was only checked would be refused.
    pub(super) fn checked(&mut self, reason: Reason, steps: &[Told]) {
        self.exchange.declined = true;
        if self.lane.kept.has_room(reason, self.exchange.at) {
            self.told = Some((as_json(steps), Asked::default()));
        }
        self.exchange.cause = Some(format!("token check: {}", reason.code()));
    }

    /// One of our own endpoints did not do what it was asked to.
    pub(super) fn declined(&mut self, why: &str) {
        self.exchange.declined = true;
        self.exchange.cause = Some(why.to_owned());
    }

    /// A stream was ended before its end.
    pub(super) fn stream_ended(&mut self, end: StreamEnd) {
        self.exchange.cause = Some(match end {
            StreamEnd::Draining => "the gateway ends".to_owned(),
            StreamEnd::Expired => BodyError::Expired.to_string(),
            StreamEnd::Revoked => BodyError::Revoked.to_string(),
            StreamEnd::Stalled => BodyError::ClientStalled.to_string(),
        });
        self.exchange.stream_ended = Some(end);
    }

    /// Counts a refusal for whoever looks for what is odd.
    fn notice(&mut self) {
        let refused = self.exchange.reason.or(self.exchange.would_deny);
        let Some((principal, reason)) = self.principal.as_ref().zip(refused) else {
            return;
        };
        // What is not the token's fault is not odd of it.
        if reason.step().is_none() || reason.is_fault() {
            return;
        }
        let gateway = &self.lane.gateway;
        let issuer = self.lane.setup.policy.issuer(principal.issuer());
        let whose = Whose {
            fingerprint: principal.fingerprint(),
            issuer: issuer.map_or("", |issuer| &issuer.rules.name),
            subject: principal.subject(),
        };
        gateway
            .oddities
            .refused(&self.lane.sketch, whose, &gateway.audit, &mut self.exchange);
    }

    fn wanted(&self) -> bool {
        let audit = &self.lane.gateway.audit;
        audit.wants(self.exchange.outcome(), self.exchange.at)
    }

    /// What stays open for the caller ends with this; `None`: it does not.
    pub(super) fn life(&self, kind: StreamKind, route: Option<&Route>) -> Option<Life> {
        if !route?.end_streams {
            return None;
        }
        let (principal, gateway) = (self.principal.as_ref()?, &self.lane.gateway);
        let life = gateway.authenticator.life(principal, &gateway.clock);
        let issuer = self.lane.setup.policy.issuer(principal.issuer());
        Some(match issuer.filter(|_| kind.is_endless()) {
            Some(issuer) => life.until_expiry(&issuer.rules),
            None => life,
        })
    }

    /// Whether the token was revoked while the upstream was asked. One comparison while the list has not
    /// changed.
    pub(super) fn revoked_meanwhile(&self, route: &Route) -> Option<Ended> {
        let principal = self.principal.as_ref().filter(|_| route.end_streams)?;
        let revoked = self.lane.gateway.authenticator.revoked(principal);
        revoked.map(Ended::Revoked)
    }

    /// The token's life ended while its request was still on its way.
    pub(super) fn ended(&self, ended: Ended) -> Rejection {
        match &self.principal {
            Some(principal) => Rejection::Authentication(Box::new(principal.refused(ended.into()))),
            None => Rejection::Internal,
        }
    }

    /// There is an answer.
    pub(super) fn answered(&mut self, response: &Response<Body>, headers: &HeaderMap) {
        if self.exchange.status == 0 {
            self.exchange.status = response.status().as_u16();
        }
        self.wants_line = Some(self.wanted());
        self.exchange.trace = match &self.traced {
            Some(traced) => Some(traced.trace),
            // Read for whoever reads it.
            None if self.wants_line == Some(true) || self.exchange.reason.is_some() => {
                trace::trace_id(headers)
            }
            None => None,
        };
    }

    /// Whether the decision is kept: what was refused, or would have been, up to a rate; of the others those
    /// whose line is written. Asked once, after [`Self::answered`].
    pub(super) fn keeps(&self) -> bool {
        let refused = self.exchange.reason.or(self.exchange.would_deny);
        match refused {
            Some(reason) => self.lane.kept.has_room(reason, self.exchange.at),
            None => self.wants_line == Some(true),
        }
    }

    /// Keeps the decision, with the way to it.
    pub(super) fn keep(&mut self, rejection: Option<&Rejection>, setting: &Setting<'_>) {
        if self.told.is_some() {
            return;
        }
        let judged = Judged {
            rejection,
            principal: self.principal.as_ref(),
            revocations_known: true,
        };
        let steps = as_json(&explain::steps(judged, setting));
        let near = rejection.and_then(|it| reject::near_miss(it, setting));
        self.exchange.near_miss = near.map(NearMiss::name);
        let host = target::host(setting.uri, setting.headers).ok();
        let asked = Asked {
            listener: self.exchange.listener,
            host: host.map(Into::into),
            path: setting.uri.path().into(),
            method: setting.method.clone(),
            principal: self.principal.clone(),
        };
        self.told = Some((steps, asked));
    }

    /// Ties the record to the end of the response's body.
    pub(super) fn finish(
        self,
        response: Response<Body>,
        route: Option<&Route>,
        send_max: Duration,
    ) -> Response<Body> {
        if !matches!(response.body(), Body::Streamed(_)) {
            return response;
        }
        let kind = StreamKind::of(response.headers());
        let life = self.life(kind, route);
        let pools = &self.lane.pools;
        let gap_max = route.and_then(|route| pools.body_gap_max(route.upstream));
        let waits = (gap_max, send_max);
        response.map(|body| Body::streamed(Streamed::new(body, kind, life, waits, self)))
    }
}

/// As a decision is kept.
fn as_json(steps: &[Told]) -> Box<[u8]> {
    serde_json::to_vec(steps).unwrap_or_default().into()
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.exchange.status == 0 {
            // The client left, or was cut off, before there was an answer.
            self.exchange.status = 499;
        }
        self.lane.cells.record(&self.exchange);
        let wants_line = self.wants_line.unwrap_or_else(|| self.wanted());
        self.notice();
        let told = self.told.take();
        let keeps = told.is_some() || self.exchange.stream_ended.is_some();
        if let (Some(traced), Some(tracer)) = (&self.traced, &self.lane.gateway.tracer) {
            let names = self.lane.gateway.audit.names();
            tracer.send(Spans::of(traced, &mut self.exchange, names));
        }
        if !(wants_line || keeps) {
            return;
        }
        if let Some(principal) = &self.principal {
            note_token(&mut self.exchange, principal);
        }
        let lane = &self.lane;
        let audit = &lane.gateway.audit;
        let line = audit.line(&mut self.exchange, &lane.setup.digest);
        if keeps {
            let (steps, asked) = told.unwrap_or_default();
            lane.kept.push(Decision {
                id: self.exchange.id(),
                at: self.exchange.at,
                outcome: self.exchange.outcome(),
                reason: self.exchange.reason.or(self.exchange.would_deny),
                route: self.exchange.route,
                issuer: self.exchange.issuer,
                peer: self.exchange.peer,
                client: self.exchange.token.client_id.clone(),
                line: line.as_slice().into(),
                steps,
                asked,
            });
        }
        if wants_line {
            audit.decision(line);
        }
    }
}

impl From<&Ended> for StreamEnd {
    fn from(ended: &Ended) -> Self {
        match ended {
            Ended::Revoked(_) => Self::Revoked,
            Ended::Expired(_) => Self::Expired,
        }
    }
}

/// What the line says of a token whose signature holds.
fn note_token(exchange: &mut Exchange, principal: &Principal) {
    let token = &mut exchange.token;
    token.alg = principal.alg().map(Algorithm::name);
    token.kid = principal.kid().map(Into::into);
    token.jti = principal.jti().map(Into::into);
    token.subject = principal.subject().map(Into::into);
    token.client_id = principal.client_id().map(Into::into);
    token.fingerprint = Some(*principal.fingerprint());
}
