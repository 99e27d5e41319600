//! The whole way of a request in one function, [`Gateway::answer`], and the handles that it needs.

mod downstream;
mod framing;
mod lifetime;
mod rates;
mod record;
mod setup;
mod streamed;
mod upgraded;
mod well_known;

use std::sync::Arc;

use http::header::ORIGIN;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::authenticate::{Authenticator, Caller, Credentialed, Notes};
use crate::authorize::{ClientCertificate, authorize};
use crate::clock::{Clock, UnixTime};
use crate::forward::{self, Moved, Outgoing, Tunnel};
use crate::http::body::{BodyLimits, LimitedBody, drain};
use crate::http::network::Origin;
use crate::http::target::Target;
use crate::http::upgrade::{self, Upgrade};
use crate::http::{Body, cors};
use crate::inbound::{self, Endpoint, Inbound, Received};
use crate::observe::exchange::UpstreamNotes;
use crate::observe::{Audit, Exchange};
use crate::policy::{Requirement, Route};
use crate::reject::{self, Rejection, Setting};
use crate::verdict::Trace;
pub(crate) use downstream::{Downstream, Front};
use framing::{check_sizes, check_transfer_coding};
use lifetime::StreamKind;
use record::Recorder;
pub(crate) use setup::{Lane, Serving, Setup, SetupPlaces};
use upgraded::Carried;
pub(crate) use upgraded::Upgraded;

/// What all requests share, whatever the configuration.
pub(crate) struct Gateway {
    pub(crate) authenticator: Authenticator,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) inbound: Inbound,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

/// Where a request has got to, for the refusal of what stops it.
struct Progress {
    route: Option<Arc<Route>>,
    rule: Option<usize>,
    now: UnixTime,
    origin: Origin,
    /// What the client asks for.
    upgrade: Option<Upgrade>,
    /// What its connection, or its stream, goes on with.
    tunnel: Option<Tunnel>,
}

impl Progress {
    fn requirement(&self) -> Option<&Requirement> {
        let rule = self.route.as_ref()?.rules.get(self.rule?)?;
        Some(&rule.requirement)
    }
}

impl Gateway {
    /// Answers one request.
    pub(crate) async fn answer(
        downstream: Arc<Downstream>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let in_flight = downstream.activity.begin();
        let serving = downstream.serving.load();
        let (lane, front) = (&serving.lane, &serving.front);
        let (gateway, setup) = (&lane.gateway, &lane.setup);
        let now = gateway.clock.now();
        let (mut parts, body) = request.into_parts();
        let upgrade = upgrade::asked(&mut parts, !http_body::Body::is_end_stream(&body));
        let client = parts.extensions.remove();
        let origin = Origin::of(&parts.headers, downstream.peer, &front.trusted);
        let exchange = Exchange::begin(now, front.place, origin.client, &parts.method);
        let mut recorder = Recorder::new(Arc::clone(lane), exchange, in_flight);
        let mut progress = Progress {
            route: None,
            rule: None,
            now,
            origin,
            upgrade,
            tunnel: None,
        };
        let answer = gateway
            .decide(
                &downstream,
                &serving,
                &parts,
                body,
                &mut progress,
                &mut recorder,
            )
            .await;
        let response = answer.unwrap_or_else(|rejection| {
            recorder.refused(&rejection);
            let setting = Setting {
                site: &setup.site,
                policy: &setup.policy,
                route: progress.route.as_deref(),
                requirement: progress.requirement(),
                limits: front.limits,
                now,
                method: &parts.method,
                version: parts.version,
                headers: &parts.headers,
                id: recorder.exchange.id(),
            };
            let mut response = reject::respond(&rejection, &setting);
            if let Some(route) = &progress.route {
                route.response_headers.complete(response.headers_mut());
            }
            response
        });
        let tunnel = progress.tunnel.take();
        let route = progress.route.as_deref();
        let Some((tunnel, client)) = tunnel.zip(client) else {
            return recorder.finish(response, parts.uri, route, front.send_max);
        };
        recorder.answered(&response, parts.uri);
        let carrying = upgraded::carry(Carried {
            client,
            tunnel,
            life: recorder.life(StreamKind::Upgraded, route),
            draining: downstream.draining.clone(),
            drain_timeout: setup.drain_timeout,
            send_max: front.send_max,
            recorder,
        });
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            downstream.upgraded.put(Box::pin(carrying));
        } else {
            tokio::spawn(carrying);
        }
        response
    }

    /// The stages in their order. A body that was not used up is drained.
    async fn decide(
        &self,
        downstream: &Downstream,
        serving: &Serving,
        parts: &Parts,
        body: Incoming,
        progress: &mut Progress,
        recorder: &mut Recorder,
    ) -> Result<Response<Body>, Rejection> {
        let (lane, front) = (&serving.lane, &serving.front);
        let permitted = self
            .permit(downstream, serving, parts, &body, progress, recorder)
            .await;
        let permit = match permitted {
            Ok(Next::Forward(permit)) => permit,
            Ok(Next::Inbound(endpoint)) => {
                // Apart: every request would carry along what these few need.
                let body = LimitedBody::new(body, front.body);
                let receiving = self.receive(endpoint, lane, parts, body, progress, recorder);
                return Box::pin(receiving).await;
            }
            Ok(Next::Answered(response)) => {
                drain(body, downstream.activity.begin());
                return Ok(response);
            }
            Err(rejection) => {
                drain(body, downstream.activity.begin());
                return Err(rejection);
            }
        };
        let route = progress.route.as_deref().ok_or(Rejection::Internal)?;
        let kind = StreamKind::of(&parts.headers);
        let uploads = !http_body::Body::is_end_stream(&body);
        let life = uploads.then(|| recorder.life(kind, Some(route))).flatten();
        let asked = progress.upgrade.take();
        let upgrade = asked.filter(|upgrade| route.upgrades.contains(&upgrade.protocol));
        let internal = lane.internal_token(route, &permit, progress.now)?;
        let outgoing = Outgoing {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            peer: downstream.peer,
            by_proxy: progress.origin.by_proxy,
            tls: front.tls,
            route,
            permit: &permit,
            reserved: &lane.setup.reserved,
            moved: Moved::of(&parts.headers, &parts.uri, route),
            internal,
            life: life.clone(),
            is_grpc: kind == StreamKind::Grpc,
            upgrade: upgrade.map(|upgrade| {
                let key = Outgoing::handshake_key(&upgrade);
                (upgrade, key)
            }),
        };
        let started = tokio::time::Instant::now();
        let limits = match kind {
            // A call may be as long, and as quiet, as its token lives.
            StreamKind::Grpc => BodyLimits::NONE,
            _ => front.body,
        };
        let body = LimitedBody::new(body, limits);
        // In one place, however it is awaited: it is the largest part of a request's future.
        let forwarding = forward::forward(&lane.pools, &outgoing, body, started);
        let mut forwarding = std::pin::pin!(forwarding);
        let forwarded = match life {
            None => forwarding.await,
            // What is still being sent ends with its token too.
            Some(life) => tokio::select! {
                biased;
                forwarded = forwarding.as_mut() => forwarded,
                ended = Box::pin(life.over()) => return Err(recorder.ended(ended)),
            },
        };
        let notes = |status, took, retries| {
            Some(UpstreamNotes {
                index: lane.setup.places.upstream(route.upstream),
                status,
                took,
                retries,
            })
        };
        match forwarded {
            Ok(forwarded) => {
                let status = forwarded.response.status().as_u16();
                recorder.exchange.upstream =
                    notes(Some(status), forwarded.upstream_took, forwarded.retries);
                // What was not yet said is not for its holder any more.
                if let Some(ended) = recorder.revoked_meanwhile(route) {
                    return Err(recorder.ended(ended));
                }
                progress.tunnel = forwarded.tunnel;
                Ok(forwarded.response)
            }
            Err(not) => {
                recorder.exchange.upstream = notes(None, started.elapsed(), not.retries);
                Err(Rejection::Forward(not.error))
            }
        }
    }

    /// Hears a token that speaks to us, and answers it.
    async fn receive(
        &self,
        endpoint: Endpoint,
        lane: &Lane,
        parts: &Parts,
        body: LimitedBody,
        progress: &Progress,
        recorder: &mut Recorder,
    ) -> Result<Response<Body>, Rejection> {
        let received = Received {
            parts,
            body: inbound::whole(body.at_most(inbound::BODY_BYTES_MAX)).await,
            peer: progress.origin.client,
            now: progress.now,
            authenticator: &self.authenticator,
            policy: &lane.setup.policy,
        };
        let answer = self.inbound.answer(endpoint, received).await;
        let mut answer = answer.map_err(rates::of_endpoint)?;
        let declined = answer.extensions_mut().remove();
        if let Some(inbound::Declined(why)) = declined {
            recorder.declined(why);
        }
        Ok(answer)
    }

    /// Everything before forwarding, in the order of the refusals: malformed 400, sizes, authority
    /// 421, path 404, preflight, method 405, credentials.
    async fn permit(
        &self,
        downstream: &Downstream,
        serving: &Serving,
        parts: &Parts,
        body: &Incoming,
        progress: &mut Progress,
        recorder: &mut Recorder,
    ) -> Result<Next, Rejection> {
        let (setup, front) = (&serving.lane.setup, &serving.front);
        check_sizes(parts, body, front)?;
        check_transfer_coding(parts)?;
        let target =
            Target::check(&parts.method, &parts.uri, &parts.headers).map_err(Rejection::Target)?;
        if let Some(redirect) = &front.redirect {
            let whole = parts
                .uri
                .path_and_query()
                .map_or("/", |whole| whole.as_str());
            let answer = redirect.answer(&target.host, whole);
            return answer
                .map(Next::Answered)
                .ok_or(Rejection::AuthorityUnknown);
        }
        let policy = &setup.policy;
        let covered = downstream
            .served
            .as_ref()
            .is_none_or(|served| served.covers(&target.host));
        let own = well_known::is_own(target.path);
        if !covered || !(own || policy.routes().serves_host(front.id, &target.host)) {
            return Err(Rejection::AuthorityUnknown);
        }
        if own {
            return match setup.endpoints.at(target.path) {
                Some(endpoint) => Ok(Next::Inbound(endpoint)),
                None => well_known::answer(parts, target.path, setup).map(Next::Answered),
            };
        }
        let route = policy.routes().find(front.id, &target.host, target.path);
        if target.encoded_slash && !route.is_some_and(|route| route.encoded_slashes) {
            return Err(Rejection::EncodedSlash);
        }
        let route = route.ok_or(Rejection::RouteNotFound)?;
        let route = Arc::clone(route);
        progress.route = Some(Arc::clone(&route));
        recorder.exchange.route = Some(setup.places.route(&route));
        if let Some(cors) = &route.cors
            && cors::is_preflight(&parts.method, &parts.headers)
        {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.headers_mut() = cors.preflight(parts.headers.get(ORIGIN));
            return Ok(Next::Answered(response));
        }
        // A stream that is not upgraded would be answered as if it were.
        let upgrade = progress.upgrade.as_ref().filter(|it| it.of_stream);
        if upgrade.is_some_and(|upgrade| !route.upgrades.contains(&upgrade.protocol)) {
            return Err(Rejection::MethodNotAllowed);
        }
        rates::before(&route, progress.origin.client, progress.now)?;
        let rule = route
            .rule(&parts.method)
            .ok_or(Rejection::MethodNotAllowed)?;
        progress.rule = Some(rule);
        recorder.exchange.rule = Some(rule);
        let mut notes = Notes::default();
        let request = Credentialed {
            uri: &parts.uri,
            headers: &parts.headers,
            token_bytes_max: front.token_bytes_max,
            route: &route,
            now: progress.now,
            peer: progress.origin.client,
        };
        let caller = self
            .authenticator
            .authenticate(request, policy, &mut notes)
            .await;
        recorder.decided(&notes);
        let caller = caller.map_err(|refused| {
            rates::failed(front, progress.origin.client, refused, progress.now)
        })?;
        if let Caller::Authenticated(principal) = &caller {
            recorder.authenticated(principal);
        }
        let requirement = progress.requirement().ok_or(Rejection::Internal)?;
        rates::after(
            &route,
            policy,
            &caller,
            progress.origin.client,
            progress.now,
        )?;
        let certificate = ClientCertificate::Shown(downstream.certificate.as_ref());
        let permit = authorize(caller, requirement, policy, certificate, &mut Trace::off())
            .map_err(Rejection::Authorization)?;
        Ok(Next::Forward(permit))
    }
}

/// How a request goes on.
enum Next {
    Forward(crate::authorize::Permit),
    Answered(Response<Body>),
    Inbound(Endpoint),
}
