//! Tokens that speak to us: a holder gives its token up (RFC 7009), a provider tells that somebody has
//! signed out (OpenID Connect Back-Channel Logout), a transmitter tells of a security event (RFC 8935).
//!
//! Each has its own validation profile, so that a token of one kind is never taken for another's
//! (RFC 8725 section 3.11), and its own answers, which are the protocol's and no refusals of a request
//! to an API. Nothing is written that a configured issuer has not signed: nobody else fills the list.

mod events;
mod logout;
mod replay;
mod revoke;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::authenticate::Authenticator;
use crate::clock::UnixTime;
use crate::http::Body;
use crate::http::body::LimitedBody;
use crate::http::{form, headers};
use crate::limit::{Buckets, Quota};
use crate::observe::Audit;
use crate::observe::audit::{AdminEvent, SelectorNotes};
use crate::policy::Policy;
use crate::revocation::{Added, Revocation, Revocations};
use replay::Seen;

const REVOKE: &str = "/.well-known/bearward/revoke";
const LOGOUT: &str = "/.well-known/bearward/backchannel-logout";
const EVENTS: &str = "/.well-known/bearward/security-events";

/// The largest request.
pub(crate) const BODY_BYTES_MAX: u64 = 64 * 1024;
/// For all of its body.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// How often one peer may give tokens up.
pub(crate) const PEER_QUOTA: Quota = Quota {
    every: Duration::from_millis(100),
    burst: 50,
};
/// Peers that are remembered, about.
const PEERS_MAX: usize = 10_000;
/// Changes of the list that wait for the disk at once.
const WRITES_MAX: usize = 8;
/// How long one waits for its turn.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Who is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Events,
    Logout,
    Revoke,
}

/// The endpoints that a configuration serves.
#[derive(Debug)]
pub(crate) struct Endpoints(Vec<(&'static str, Endpoint)>);

/// What the endpoints share.
#[derive(Debug)]
pub(crate) struct Inbound {
    revocations: Arc<Revocations>,
    audit: Arc<Audit>,
    seen: Seen,
    peers: Buckets,
    writing: Semaphore,
}

/// A request to one of them.
pub(crate) struct Received<'a> {
    pub(crate) parts: &'a Parts,
    /// `None`: larger than [`BODY_BYTES_MAX`], too slow, or broken off.
    pub(crate) body: Option<Bytes>,
    pub(crate) peer: IpAddr,
    pub(crate) now: UnixTime,
    pub(crate) authenticator: &'a Authenticator,
    pub(crate) policy: &'a Arc<Policy>,
}

/// Lies in an answer's extensions where the request was not granted: why, for the operator.
#[derive(Clone, Debug)]
pub(crate) struct Declined(pub(crate) &'static str);

/// One peer asks too often: when it may ask again.
pub(crate) struct TooMany(pub(crate) Duration);

impl Endpoints {
    /// `revoke`: whether holders may give their tokens up. The others are served where an issuer has
    /// rules for them.
    pub(crate) fn new(revoke: bool, policy: &Policy) -> Self {
        let any = |has: fn(&crate::policy::Issuer) -> bool| {
            policy.issuers().iter().any(|issuer| has(&issuer.rules))
        };
        let served = [
            (REVOKE, Endpoint::Revoke, revoke),
            (LOGOUT, Endpoint::Logout, any(|it| it.logout.is_some())),
            (EVENTS, Endpoint::Events, any(|it| it.events.is_some())),
        ];
        let served = served.into_iter().filter(|(.., on)| *on);
        Self(served.map(|(path, endpoint, _)| (path, endpoint)).collect())
    }

    /// The endpoint at a path, if it is served.
    pub(crate) fn at(&self, path: &str) -> Option<Endpoint> {
        let found = self.0.iter().find(|(served, _)| *served == path);
        found.map(|(_, endpoint)| *endpoint)
    }
}

impl Inbound {
    pub(crate) fn new(revocations: Arc<Revocations>, audit: Arc<Audit>) -> Self {
        Self {
            revocations,
            audit,
            seen: Seen::default(),
            peers: Buckets::new(PEER_QUOTA, PEERS_MAX),
            writing: Semaphore::new(WRITES_MAX),
        }
    }

    /// Answers a request to one of the endpoints.
    ///
    /// # Errors
    /// The peer asks too often.
    pub(crate) async fn answer(
        &self,
        endpoint: Endpoint,
        received: Received<'_>,
    ) -> Result<Response<Body>, TooMany> {
        if received.parts.method != Method::POST {
            let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("POST"));
            return Ok(answer);
        }
        match endpoint {
            Endpoint::Revoke => self.revoke(received).await,
            Endpoint::Logout => Ok(self.logout(received).await),
            Endpoint::Events => Ok(self.events(received).await),
        }
    }

    /// Adds a revocation, and writes who did, to the end of it even if the asker leaves.
    async fn add(&self, revocation: Revocation, author: String, now: UnixTime) -> Result<(), ()> {
        let turn = tokio::time::timeout(WRITE_WAIT_MAX, self.writing.acquire());
        let _turn = turn.await.map_err(|_| ())?.map_err(|_| ())?;
        let (list, audit) = (Arc::clone(&self.revocations), Arc::clone(&self.audit));
        let adding = tokio::task::spawn_blocking(move || {
            let selector = revocation.selector.clone();
            let added = list.add(vec![revocation]);
            let (target, result) = match added.as_deref() {
                Ok([Added::New(it), ..]) => (it.id.to_string(), "added".to_owned()),
                Ok([Added::Known(it), ..]) => (it.id.to_string(), "known".to_owned()),
                Ok([]) => (String::new(), "nothing".to_owned()),
                Err(error) => {
                    tracing::error!(%error, author, "a revocation was not taken");
                    (String::new(), format!("not taken: {error}"))
                }
            };
            let event = AdminEvent {
                actor: &author,
                action: "revocation.add",
                target: &target,
                result: &result,
                selector: Some(SelectorNotes {
                    issuer: &selector.issuer,
                    by: selector.kind.name(),
                    value: audit.by_policy(&selector.value),
                }),
                reason: None,
            };
            audit.admin(now, &event);
            added.map(|_| ()).map_err(|_| ())
        });
        adding.await.unwrap_or(Err(()))
    }
}

/// The whole body of a request, before anything is said to it: some clients do not read an answer that
/// comes while they still send.
pub(crate) async fn whole(body: LimitedBody) -> Option<Bytes> {
    let body = tokio::time::timeout(BODY_TIME_MAX, body.collect()).await;
    Some(body.ok()?.ok()?.to_bytes())
}

impl Received<'_> {
    /// Whether the body is of this media type.
    fn is(&self, media_type: &str) -> bool {
        headers::media_type(&self.parts.headers).eq_ignore_ascii_case(media_type.as_bytes())
    }

    /// The fields of a form.
    fn form(&self) -> Result<Vec<(String, String)>, &'static str> {
        if !self.is("application/x-www-form-urlencoded") {
            return Err("send Content-Type: application/x-www-form-urlencoded");
        }
        let bytes = self.body.as_deref();
        let bytes = bytes.ok_or("the body is too large or broke off")?;
        let text = std::str::from_utf8(bytes).ok();
        text.and_then(form::fields).ok_or("the body is no form")
    }
}

/// The one field of a name: what stands there twice means one to us and another to its sender.
fn only<'a>(fields: &'a [(String, String)], name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut found = fields.iter().filter(|(field, _)| field == name);
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some((_, value)), None) => Ok(Some(value)),
        (Some(_), Some(_)) => Err("a parameter stands there twice"),
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// An error of OAuth's form (RFC 6749 section 5.2).
fn oauth_error(status: StatusCode, error: &str, why: &'static str) -> Response<Body> {
    let body = json!({ "error": error, "error_description": why });
    declined(status, &body, why)
}

fn declined(status: StatusCode, body: &serde_json::Value, why: &'static str) -> Response<Body> {
    let mut answer = json_answer(status, body);
    answer.extensions_mut().insert(Declined(why));
    answer
}

fn json_answer(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut answer = empty(status);
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    *answer.body_mut() = Body::Fixed(value.to_string().into());
    answer
}
