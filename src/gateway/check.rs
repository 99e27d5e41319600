//! The verdict over a token apart from a request to the API: for a client before it uses the token, at
//! `/.well-known/bearward/check`, and for the operator through the admin API.
//!
//! It is the proxy's own verdict, by the same cache and keys, with the way to it told.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, Uri, Version};
use uuid::Uuid;

use super::record::Recorder;
use super::{Front, Gateway, Lane, Setup, rates};
use crate::authenticate::{Caller, Credential, Credentialed, Notes, Principal, Turns};
use crate::authorize::{ClientCertificate, authorize};
use crate::clock::UnixTime;
use crate::explain::{Explanation, Judged, explain};
use crate::http::host::peer_network;
use crate::http::{Body, cors, form};
use crate::limit::Quota;
use crate::policy::{Access, Route};
use crate::reject::{Limited, NamedLimits, Rejection, Setting};

/// Where a client asks.
pub(super) const CHECK: &str = "/.well-known/bearward/check";
/// How often one client may ask.
pub(crate) const CHECK_QUOTA: Quota = Quota {
    every: Duration::from_millis(200),
    burst: 20,
};
/// Clients that are remembered, about.
pub(crate) const CHECK_PEERS_MAX: usize = 10_000;

/// A token, and what it would be used for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) credential: Credential<'a>,
    pub(crate) route: &'a Route,
    pub(crate) method: &'a Method,
    /// What a refusal looks at: language of the answer, clock of the client.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) uri: &'a Uri,
    pub(crate) peer: IpAddr,
    pub(crate) now: UnixTime,
    pub(crate) certificate: ClientCertificate<'a>,
    pub(crate) token_bytes_max: usize,
    pub(crate) id: Uuid,
    pub(crate) for_operator: bool,
    /// Of the thread that asks.
    pub(crate) turns: &'a Turns,
}

impl Gateway {
    /// Judges a token as the proxy does, and tells how.
    pub(crate) async fn explain(&self, setup: &Setup, question: &Question<'_>) -> Explanation {
        let route = question.route;
        let rule = route.rule(question.method);
        let rule = rule.and_then(|place| route.rules.get(place));
        let requirement = rule.map(|rule| &rule.requirement);
        let mut principal = None;
        let judged = match requirement {
            None => Err(Rejection::MethodNotAllowed),
            Some(requirement) => {
                let caller = self.caller(setup, question).await;
                let authorized = caller.and_then(|caller| {
                    principal = known(&caller);
                    authorize(caller, requirement, &setup.policy, question.certificate)
                        .map_err(Rejection::Authorization)
                });
                authorized.map(drop)
            }
        };
        let setting = Setting {
            site: &setup.site,
            policy: &setup.policy,
            route: Some(route),
            requirement,
            limits: NamedLimits::default(),
            now: question.now,
            method: question.method,
            version: Version::HTTP_11,
            uri: question.uri,
            headers: question.headers,
            id: question.id,
            for_operator: question.for_operator,
        };
        let judged = Judged {
            rejection: judged.as_ref().err(),
            principal: principal.as_ref(),
            revocations_known: true,
        };
        explain(judged, &setting)
    }

    async fn caller(&self, setup: &Setup, question: &Question<'_>) -> Result<Caller, Rejection> {
        let request = Credentialed {
            credential: question.credential,
            token_bytes_max: question.token_bytes_max,
            route: question.route,
            now: question.now,
            peer: question.peer,
        };
        let mut notes = Notes::default();
        let caller =
            self.authenticator
                .authenticate(request, &setup.policy, question.turns, &mut notes);
        let refused = |refused| Rejection::Authentication(Box::new(refused));
        caller.await.map_err(refused)
    }

    /// Answers a client that wants to know what its token is good for.
    ///
    /// # Errors
    /// It asks too often, or for a route that there is not.
    pub(super) async fn check(
        &self,
        lane: &Lane,
        front: &Front,
        parts: &Parts,
        asked: Asked<'_>,
    ) -> Result<Response<Body>, Rejection> {
        let (setup, now) = (&*lane.setup, asked.now);
        self.checks
            .take(peer_network(asked.client), now)
            .map_err(|retry_after| {
                Rejection::RateLimited(Limited {
                    retry_after,
                    burst: CHECK_QUOTA.burst,
                    failures: false,
                })
            })?;
        let fields = form::fields(parts.uri.query().unwrap_or_default()).unwrap_or_default();
        let field = |name: &str| {
            let mut found = fields.iter().filter(|(field, _)| field == name);
            found.next().map(|(_, value)| value.as_str())
        };
        let routes = setup.policy.routes();
        let route = match field("route") {
            Some(name) => routes.named(front.id, &asked.host, name),
            None => {
                let here = |name: &str| routes.named(front.id, &asked.host, name);
                let protected = |route: &&Route| matches!(route.access, Access::Token(_));
                let mut all = routes
                    .iter()
                    .filter(protected)
                    .filter_map(|route| here(&route.name));
                match (all.next(), all.next()) {
                    (only @ Some(_), None) => only,
                    _ => return Err(Rejection::RouteUnnamed),
                }
            }
        };
        let route = &*route.ok_or(Rejection::RouteUnknown)?.route;
        let cors = route.cors.as_ref();
        if let Some(cors) = cors.filter(|_| cors::is_preflight(&parts.method, &parts.headers)) {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = http::StatusCode::NO_CONTENT;
            *response.headers_mut() = cors.preflight(parts.headers.get(ORIGIN));
            return Ok(response);
        }
        let mut response = Response::new(Body::Empty);
        if parts.method != Method::GET && parts.method != Method::POST {
            *response.status_mut() = http::StatusCode::METHOD_NOT_ALLOWED;
            let allow = HeaderValue::from_static("GET, POST");
            response.headers_mut().insert(ALLOW, allow);
            return Ok(response);
        }
        rates::before(route, asked.client, now)?;
        let method = field("method").map_or(Ok(Method::GET), |name| {
            Method::from_bytes(name.to_ascii_uppercase().as_bytes())
        });
        let method = method.unwrap_or_default();
        let question = Question {
            credential: Credential::Of {
                uri: &parts.uri,
                headers: &parts.headers,
            },
            route,
            method: &method,
            headers: &parts.headers,
            uri: &parts.uri,
            peer: asked.client,
            now,
            certificate: asked.certificate,
            token_bytes_max: front.token_bytes_max,
            id: asked.id,
            for_operator: false,
            turns: &lane.turns,
        };
        let explanation = self.explain(setup, &question).await;
        // A bad token counts as one that is sent to the API, and is written down.
        if let Some(reason) = explanation.reason {
            if reason.status().as_u16() < 500 {
                rates::failure(front, asked.client, now)?;
            }
            asked.recorder.checked(reason, &explanation.steps);
        }
        let body = serde_json::to_vec(&explanation).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(cors) = cors {
            cors.write(parts.headers.get(ORIGIN), headers);
        }
        *response.body_mut() = Body::Fixed(body.into());
        Ok(response)
    }
}

/// Who asks, and of whom.
pub(super) struct Asked<'a> {
    pub(super) host: Cow<'a, str>,
    pub(super) client: IpAddr,
    pub(super) certificate: ClientCertificate<'a>,
    pub(super) now: UnixTime,
    pub(super) id: Uuid,
    pub(super) recorder: &'a mut Recorder,
}

fn known(caller: &Caller) -> Option<Principal> {
    match caller {
        Caller::Authenticated(principal) => Some(principal.clone()),
        Caller::Anonymous => None,
    }
}
