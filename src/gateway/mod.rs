//! The whole way of a request in one function, [`Gateway::answer`], and the handles that it needs.

mod candidate;
mod check;
mod downstream;
mod framing;
mod lifetime;
mod permit;
mod rates;
mod record;
mod setup;
mod streamed;
mod unreadable;
mod upgraded;
mod well_known;

use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use uuid::Uuid;

use crate::authenticate::Authenticator;
use crate::authorize::{ClientCertificate, Permit};
use crate::clock::{Clock, UnixTime};
use crate::forward::{self, Load, Moved, Outgoing, Tunnel};
use crate::http::Body;
use crate::http::body::{BodyLimits, LimitedBody, RequestBody, drain};
use crate::http::network::Origin;
use crate::http::upgrade::{self, OnUpgrade, Upgrade};
use crate::inbound::{self, Endpoint, Inbound, Received};
use crate::limit::Buckets;
use crate::observe::exchange::UpstreamNotes;
use crate::observe::trace::Tracer;
use crate::observe::{Audit, Exchange};
use crate::oddities::Oddities;
use crate::policy::{Requirement, Route};
use crate::reject::{self, Rejection, Setting};
use candidate::Live;
pub(crate) use candidate::{Candidate, Replayed, Trial};
pub(crate) use check::{CHECK_PEERS_MAX, CHECK_QUOTA, Question};
pub(crate) use downstream::{Downstream, Front};
use lifetime::StreamKind;
use permit::Next;
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
    /// How often clients have their tokens checked.
    pub(crate) checks: Buckets,
    /// A configuration that is tried beside the one that serves.
    pub(crate) trial: Trial,
    /// None where traces are off.
    pub(crate) tracer: Option<Tracer>,
    pub(crate) oddities: Oddities,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

/// A request's head, the connection that it came on, and what serves it.
#[derive(Clone, Copy)]
struct Arrived<'a> {
    downstream: &'a Downstream,
    serving: &'a Serving,
    parts: &'a Parts,
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
    /// What its route would have refused it for, and only reports.
    reported: Option<Rejection>,
}

impl Progress {
    const fn begin(now: UnixTime, origin: Origin) -> Self {
        Self {
            route: None,
            rule: None,
            now,
            origin,
            upgrade: None,
            tunnel: None,
            reported: None,
        }
    }

    fn requirement(&self) -> Option<&Requirement> {
        let rule = self.route.as_ref()?.rules.get(self.rule?)?;
        Some(&rule.requirement)
    }

    /// What a refusal is built from.
    fn setting<'a>(&'a self, serving: &'a Serving, parts: &'a Parts, id: Uuid) -> Setting<'a> {
        let setup = &serving.lane.setup;
        Setting {
            site: &setup.site,
            policy: &setup.policy,
            route: self.route.as_deref(),
            requirement: self.requirement(),
            limits: serving.front.limits,
            now: self.now,
            method: &parts.method,
            version: parts.version,
            uri: &parts.uri,
            headers: &parts.headers,
            id,
            for_operator: false,
        }
    }
}

impl Gateway {
    /// Answers one request.
    pub(crate) fn answer(
        downstream: Arc<Downstream>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Body>> + Send {
        // Before the future: it would carry the whole beside the parts.
        let (mut parts, mut body) = request.into_parts();
        let in_flight = downstream.activity.begin();
        async move {
            let serving = downstream.serving.load();
            let (lane, front) = (&serving.lane, &serving.front);
            let (gateway, setup) = (&lane.gateway, &lane.setup);
            let now = gateway.clock.now();
            let upgrade = upgrade::asked(&mut parts, !http_body::Body::is_end_stream(&body));
            let client = OnUpgrade::of(&mut body);
            let origin = Origin::of(&parts.headers, downstream.peer, &front.trusted);
            let exchange = Exchange::begin(now, front.place, origin.client, &parts.method);
            let tracer = gateway.tracer.as_ref();
            let traced = tracer.and_then(|it| it.begin(&parts.headers, origin.by_proxy));
            let mut recorder = Recorder::new(Arc::clone(lane), exchange, in_flight, traced);
            let mut progress = Progress::begin(now, origin);
            progress.upgrade = upgrade;
            let arrived = Arrived {
                downstream: &downstream,
                serving: &serving,
                parts: &parts,
            };
            let answer = gateway
                .decide(arrived, body, &mut progress, &mut recorder)
                .await;
            let (response, rejection) = match answer {
                Ok(response) => (response, progress.reported.take()),
                Err(rejection) => {
                    recorder.refused(&rejection);
                    let setting = progress.setting(&serving, &parts, recorder.exchange.id());
                    let mut response = reject::respond(&rejection, &setting);
                    if let Some(route) = &progress.route {
                        route.response_headers.complete(response.headers_mut());
                    }
                    (response, Some(rejection))
                }
            };
            recorder.answered(&response, &parts.headers);
            let differs = gateway.trial.candidate().is_some_and(|candidate| {
                let live = Live {
                    parts: &parts,
                    listener: &front.name,
                    route: progress.route.as_deref(),
                    certificate: ClientCertificate::Shown(downstream.certificate.as_ref()),
                    now,
                    reason: recorder.exchange.reason,
                    id: recorder.exchange.id(),
                };
                candidate.compare(gateway, &live)
            });
            if recorder.keeps() || differs {
                let setting = Setting {
                    for_operator: true,
                    ..progress.setting(&serving, &parts, recorder.exchange.id())
                };
                recorder.keep(rejection.as_ref(), &setting);
            }
            recorder.exchange.uri = parts.uri;
            let tunnel = progress.tunnel.take();
            let route = progress.route.as_deref();
            let Some((tunnel, client)) = tunnel.zip(client) else {
                return recorder.finish(response, route, front.send_max);
            };
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
    }

    /// The stages in their order. A body that was not used up is drained.
    async fn decide(
        &self,
        arrived: Arrived<'_>,
        body: RequestBody,
        progress: &mut Progress,
        recorder: &mut Recorder,
    ) -> Result<Response<Body>, Rejection> {
        let permitted = self.permit(arrived, &body, progress, recorder).await;
        let permit = match permitted {
            Ok(Next::Forward(permit)) => permit,
            Ok(Next::Inbound(endpoint)) => {
                // Apart: every request would carry along what these few need.
                let receiving = self.receive(endpoint, arrived, body, progress, recorder);
                return Box::pin(receiving).await;
            }
            Ok(Next::Answered(response)) => {
                drain(body, arrived.downstream.activity.begin());
                return Ok(response);
            }
            Err(rejection) => {
                drain(body, arrived.downstream.activity.begin());
                return Err(rejection);
            }
        };
        self.forward(arrived, body, &permit, progress, recorder)
            .await
    }

    /// Sends on what is permitted, and gives what the upstream answers.
    async fn forward(
        &self,
        arrived: Arrived<'_>,
        body: RequestBody,
        permit: &Permit,
        progress: &mut Progress,
        recorder: &mut Recorder,
    ) -> Result<Response<Body>, Rejection> {
        let Arrived {
            downstream,
            serving,
            parts,
        } = arrived;
        let (lane, front) = (&serving.lane, &serving.front);
        let route = progress.route.as_deref().ok_or(Rejection::Internal)?;
        let kind = StreamKind::of(&parts.headers);
        let uploads = !http_body::Body::is_end_stream(&body);
        let life = uploads.then(|| recorder.life(kind, Some(route))).flatten();
        let asked = progress.upgrade.take();
        let upgrade = asked.filter(|upgrade| route.upgrades.contains(&upgrade.protocol));
        let internal = lane.internal_token(route, permit, progress.now)?;
        let outgoing = Outgoing {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            peer: downstream.peer,
            by_proxy: progress.origin.by_proxy,
            tls: front.tls,
            route,
            permit,
            reserved: &lane.setup.reserved,
            moved: Moved::of(&parts.headers, &parts.uri, route),
            internal,
            traceparent: recorder.traced.as_ref().and_then(|it| it.traceparent()),
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
        let mut load = Load::new(LimitedBody::new(body, limits), &parts.method);
        // In one place, however it is awaited: it is the largest part of a request's future.
        let forwarding = forward::forward(&lane.pools, &outgoing, &mut load, started);
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
        if let Some(traced) = &mut recorder.traced {
            traced.forwarded = Some((started.into_std(), started.elapsed()));
        }
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
                let mut response = forwarded.response;
                lifetime::tell(&mut response, route, permit, progress.now);
                Ok(response)
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
        arrived: Arrived<'_>,
        body: RequestBody,
        progress: &Progress,
        recorder: &mut Recorder,
    ) -> Result<Response<Body>, Rejection> {
        let serving = arrived.serving;
        let body = LimitedBody::new(body, serving.front.body);
        let received = Received {
            parts: arrived.parts,
            body: inbound::whole(body.at_most(inbound::BODY_BYTES_MAX)).await,
            peer: progress.origin.client,
            now: progress.now,
            authenticator: &self.authenticator,
            policy: &serving.lane.setup.policy,
        };
        let answer = self.inbound.answer(endpoint, received).await;
        let mut answer = answer.map_err(rates::of_endpoint)?;
        let declined = answer.extensions_mut().remove();
        if let Some(inbound::Declined(why)) = declined {
            recorder.declined(why);
        }
        Ok(answer)
    }
}
