//! Filling the exchange's record on the way, and writing it once at the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, Uri};
use http_body::{Frame, SizeHint};

use super::Lane;
use super::lifetime::{Lifetime, StreamKind};
use crate::authenticate::{AuthenticationError, CacheUse, Ended, Life, Notes, Principal};
use crate::authorize::AuthorizationError;
use crate::http::deadline::InFlight;
use crate::http::{Body, BodyError};
use crate::oauth::Algorithm;
use crate::observe::Exchange;
use crate::observe::exchange::{CacheLabel, StreamEnd};
use crate::policy::{Policy, Route};
use crate::reject::{Rejection, grpc};

/// The policy that decided, and the route, if it came so far.
pub(super) type Decided<'a> = (&'a Policy, Option<&'a Route>);

/// Writes the record of an exchange when its response is over, however that comes about.
#[derive(Debug)]
pub(super) struct Recorder {
    lane: Arc<Lane>,
    pub(super) exchange: Exchange,
    /// Whose token it is; read only if a line is written.
    principal: Option<Principal>,
    _in_flight: InFlight,
    /// Decided once there is an answer.
    wants_line: Option<bool>,
}

impl Recorder {
    pub(super) const fn new(lane: Arc<Lane>, exchange: Exchange, in_flight: InFlight) -> Self {
        Self {
            lane,
            exchange,
            principal: None,
            _in_flight: in_flight,
            wants_line: None,
        }
    }

    /// What deciding did.
    pub(super) fn decided(&mut self, notes: &Notes) {
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
        self.exchange.issuer = Some(principal.issuer().0);
        self.principal = Some(principal.clone());
    }

    /// Why the request was refused.
    pub(super) fn refused(&mut self, rejection: &Rejection) {
        let reason = rejection.reason();
        self.exchange.reason = Some(reason);
        self.exchange.status = reason.status().as_u16();
        self.exchange.cause = rejection.cause();
        match rejection {
            Rejection::Authentication(refused) => {
                self.exchange.issuer = refused.issuer.map(|id| id.0);
                self.exchange.token.alg = refused.alg.map(Algorithm::name);
                self.exchange.token.kid.clone_from(&refused.kid);
                self.principal.clone_from(&refused.principal);
                if let AuthenticationError::Revoked(revoked) = &refused.error {
                    self.exchange.revoked_by = Some(revoked.by.name());
                }
            }
            Rejection::Authorization(AuthorizationError::ScopeMissing { missing }) => {
                self.exchange.token.scopes_missing.clone_from(missing);
            }
            _ => {}
        }
    }

    /// One of our own endpoints did not do what it was asked to.
    pub(super) fn declined(&mut self, why: &str) {
        self.exchange.declined = true;
        self.exchange.cause = Some(why.to_owned());
    }

    /// A stream was ended before its end.
    pub(super) fn stream_ended(&mut self, end: StreamEnd) {
        let cause = match end {
            StreamEnd::Draining => "the gateway ends",
            StreamEnd::Expired => "the token has expired meanwhile",
            StreamEnd::Revoked => "the token was revoked meanwhile",
        };
        self.exchange.cause = Some(cause.to_owned());
        self.exchange.stream_ended = Some(end);
    }

    fn wanted(&self) -> bool {
        let audit = &self.lane.gateway.audit;
        audit.wants(self.exchange.outcome(), self.exchange.at)
    }

    /// What stays open for the caller ends with this; `None`: it does not.
    pub(super) fn life(&self, kind: StreamKind, (policy, route): Decided<'_>) -> Option<Life> {
        if !route?.end_streams {
            return None;
        }
        let (principal, gateway) = (self.principal.as_ref()?, &self.lane.gateway);
        let life = gateway.authenticator.life(principal, &gateway.clock);
        let issuer = policy.issuer(principal.issuer());
        Some(match issuer.filter(|_| kind.is_endless()) {
            Some(issuer) => life.until_expiry(&issuer.rules),
            None => life,
        })
    }

    /// The token's life ended while its request was still on its way.
    pub(super) fn ended(&self, ended: Ended) -> Rejection {
        match &self.principal {
            Some(principal) => Rejection::Authentication(Box::new(principal.refused(ended.into()))),
            None => Rejection::Internal,
        }
    }

    /// There is an answer.
    pub(super) fn answered(&mut self, response: &Response<Body>, uri: Uri) {
        self.exchange.uri = uri;
        if self.exchange.status == 0 {
            self.exchange.status = response.status().as_u16();
        }
        self.wants_line = Some(self.wanted());
    }

    /// Ties the record to the end of the response's body.
    pub(super) fn finish(
        mut self,
        response: Response<Body>,
        uri: Uri,
        decided: Decided<'_>,
    ) -> Response<Body> {
        self.answered(&response, uri);
        if !matches!(response.body(), Body::Streamed(_)) {
            return response;
        }
        let kind = StreamKind::of(response.headers());
        let lifetime = self.life(kind, decided).map(Lifetime::new);
        response.map(|body| {
            Body::streamed(Recorded {
                body,
                kind,
                failed: None,
                lifetime,
                recorder: self,
            })
        })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.exchange.status == 0 {
            // The client left, or was cut off, before there was an answer.
            self.exchange.status = 499;
        }
        self.lane.cells.record(&self.exchange);
        if self.wants_line.unwrap_or_else(|| self.wanted()) {
            if let Some(principal) = &self.principal {
                note_token(&mut self.exchange, principal);
            }
            self.lane.gateway.audit.decision(&mut self.exchange);
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

/// A streamed body with its record.
struct Recorded {
    body: Body,
    kind: StreamKind,
    /// An error that waits its turn.
    failed: Option<BodyError>,
    /// The caller's, where there is one.
    lifetime: Option<Lifetime>,
    recorder: Recorder,
}

impl Recorded {
    /// The token's life is over: what follows is not for its holder any more.
    fn ended(&mut self, ended: &Ended) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let error = match ended {
            Ended::Revoked(_) => BodyError::Revoked,
            Ended::Expired(_) => BodyError::Expired,
        };
        let end = StreamEnd::from(ended);
        let endless = http_body::Body::size_hint(&self.body).exact().is_none();
        self.body = Body::Empty;
        self.lifetime = None;
        self.recorder.stream_ended(end);
        Poll::Ready(match self.kind {
            StreamKind::Grpc => Some(Ok(Frame::trailers(grpc::trailers(end.reason())))),
            StreamKind::Events if endless && end == StreamEnd::Expired => None,
            // It must not be taken for whole.
            _ => Some(Err(error)),
        })
    }
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(ended) = self.lifetime.as_ref().and_then(Lifetime::is_over) {
            return self.ended(&ended);
        }
        let poll = Pin::new(&mut self.body).poll_frame(context);
        if poll.is_pending()
            && let Some(lifetime) = &mut self.lifetime
            && let Poll::Ready(ended) = lifetime.poll_over(context)
        {
            return self.ended(&ended);
        }
        if let Poll::Ready(Some(Err(error))) = poll {
            self.recorder.exchange.cause = Some(error.to_string());
            // hyper drops what it has not written yet when a body fails. One turn later it has
            // written it, and the client gets as much as there was before the connection breaks.
            self.failed = Some(error);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
