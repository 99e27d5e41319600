//! Everything before forwarding: whether a request may go on, and as whose.

use std::sync::Arc;
use std::time::Instant;

use http::header::ORIGIN;
use http::{Response, StatusCode};

use super::check::{Asked, CHECK};
use super::framing::{check_sizes, check_transfer_coding};
use super::record::Recorder;
use super::{Arrived, Gateway, Progress, rates, well_known};
use crate::authenticate::{Caller, Credential, Credentialed, Notes};
use crate::authorize::{ClientCertificate, Permit, authorize, only_reported};
use crate::http::body::RequestBody;
use crate::http::target::Target;
use crate::http::{Body, cors};
use crate::inbound::Endpoint;
use crate::policy::Route;
use crate::reject::Rejection;

/// How a request goes on.
pub(super) enum Next {
    Forward(Permit),
    Answered(Response<Body>),
    Inbound(Endpoint),
}

impl Gateway {
    /// Everything before forwarding, in the order of the refusals: malformed 400, sizes, authority
    /// 421, path 404, preflight, method 405, credentials.
    pub(super) async fn permit(
        &self,
        arrived: Arrived<'_>,
        body: &RequestBody,
        progress: &mut Progress,
        recorder: &mut Recorder,
    ) -> Result<Next, Rejection> {
        let Arrived {
            downstream,
            serving,
            parts,
        } = arrived;
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
            if setup.token_check && target.path == CHECK {
                let asked = Asked {
                    host: target.host,
                    client: progress.origin.client,
                    certificate: ClientCertificate::Shown(downstream.certificate.as_ref()),
                    now: progress.now,
                    id: recorder.exchange.id(),
                    recorder,
                };
                // Apart: every request would carry along what these few need.
                let answer = Box::pin(self.check(&serving.lane, front, parts, asked));
                return answer.await.map(Next::Answered);
            }
            return match setup.endpoints.at(target.path) {
                Some(endpoint) => Ok(Next::Inbound(endpoint)),
                None => well_known::answer(parts, target.path, setup).map(Next::Answered),
            };
        }
        if let Some(resource) = setup.site.resources.at(front.id, &target.host, target.path) {
            return Ok(Next::Answered(well_known::metadata(parts, resource)));
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
        let admitted = self.admit(arrived, &route, progress, recorder).await;
        match (admitted, only_reported(&route)) {
            (Err(rejection), Some(permit)) if rejection.is_of_token() => {
                // What it would have counted by is not known: it counts by its address.
                let (client, now) = (progress.origin.client, progress.now);
                rates::after(&route, policy, &Caller::Anonymous, client, now)?;
                recorder.would_refuse(&rejection);
                progress.reported = Some(rejection);
                Ok(Next::Forward(permit))
            }
            (admitted, _) => admitted.map(Next::Forward),
        }
    }

    /// The credentials: who calls, and whether this is allowed to them.
    async fn admit(
        &self,
        arrived: Arrived<'_>,
        route: &Route,
        progress: &Progress,
        recorder: &mut Recorder,
    ) -> Result<Permit, Rejection> {
        let Arrived {
            downstream,
            serving,
            parts,
        } = arrived;
        let (policy, front) = (&serving.lane.setup.policy, &serving.front);
        let client = progress.origin.client;
        let mut notes = Notes::default();
        let request = Credentialed {
            credential: Credential::Of {
                uri: &parts.uri,
                headers: &parts.headers,
            },
            token_bytes_max: front.token_bytes_max,
            route,
            now: progress.now,
            peer: client,
        };
        let begun = recorder.traced.is_some().then(Instant::now);
        let caller = self
            .authenticator
            .authenticate(request, policy, &serving.lane.turns, &mut notes)
            .await;
        recorder.decided(&notes, begun);
        let caller = caller.map_err(|refused| match route.report_only {
            true => Rejection::Authentication(Box::new(refused)),
            false => rates::failed(front, client, refused, progress.now),
        })?;
        if let Caller::Authenticated(principal) = &caller {
            recorder.authenticated(principal);
        }
        let requirement = progress.requirement().ok_or(Rejection::Internal)?;
        rates::after(route, policy, &caller, client, progress.now)?;
        let certificate = ClientCertificate::Shown(downstream.certificate.as_ref());
        authorize(caller, requirement, policy, certificate).map_err(Rejection::Authorization)
    }
}
