//! The only maker of refusals: every 4xx and 5xx of Bearward's own comes from here.
//!
//! A stage says what happened in its own error; [`Rejection`] is the sum of those. One `match`
//! turns it into the reason, and the reason into status and challenge; `words` has the sentences.
//! Nothing that a client sent unverified is ever echoed.

mod challenge;
pub(crate) mod grpc;
pub(crate) mod pages;
mod problem;
mod words;

use std::time::Duration;

use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Response, Uri, Version};
use uuid::Uuid;

use crate::authenticate::Refused;
use crate::authorize::AuthorizationError;
use crate::clock::UnixTime;
use crate::forward::ForwardError;
use crate::http::garbled::Garbled;
use crate::http::serve::FIELDS_MAX;
use crate::http::target::TargetError;
use crate::http::{Body, BodyError};
use crate::policy::{Disclosure, Policy, Requirement, Resources, Route};
use crate::verdict::{NearMiss, Reason, Step};

/// Seconds after which a client may try again when the fault is not its own.
const RETRY_AFTER_SECS: u64 = 5;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rejection {
    Authentication(Box<Refused>),
    Authorization(AuthorizationError),
    AuthorityUnknown,
    BodyTooLarge,
    Forward(ForwardError),
    /// It is not the protocol, or could be read in more than one way.
    Garbled(Garbled),
    HeadersTooLarge,
    Internal,
    MethodNotAllowed,
    /// Somebody asks too often.
    RateLimited(Limited),
    RouteNotFound,
    /// The token check needs the name of a route, and has none.
    RouteUnnamed,
    /// And no route here has the name that it was given.
    RouteUnknown,
    Target(TargetError),
    TargetTooLong,
    TooManyHeaders,
    /// A transfer coding other than `chunked` alone.
    TransferCoding,
    /// An escaped slash on a route that does not allow it.
    EncodedSlash,
}

/// When somebody who asks too often may ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) retry_after: Duration,
    /// So many at once.
    pub(crate) burst: u32,
    /// They were failures.
    pub(crate) failures: bool,
}

impl Rejection {
    /// Seconds until it may be tried again, for refusals that pass.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited(limited) => {
                let part = u64::from(limited.retry_after.subsec_nanos() > 0);
                Some((limited.retry_after.as_secs() + part).max(1))
            }
            _ if matches!(self.reason().status().as_u16(), 429 | 503) => Some(RETRY_AFTER_SECS),
            _ => None,
        }
    }

    /// The word for it.
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Self::Authentication(refused) => refused.error.reason(),
            Self::Authorization(error) => error.reason(),
            Self::AuthorityUnknown => Reason::AuthorityUnknown,
            Self::BodyTooLarge => Reason::BodyTooLarge,
            Self::Forward(error) => error.reason(),
            Self::HeadersTooLarge | Self::TooManyHeaders => Reason::HeadersTooLarge,
            Self::Internal => Reason::InternalError,
            Self::MethodNotAllowed => Reason::MethodNotAllowed,
            Self::RateLimited(_) => Reason::RateLimited,
            Self::RouteNotFound | Self::RouteUnknown => Reason::RouteNotFound,
            Self::Garbled(_)
            | Self::Target(_)
            | Self::TransferCoding
            | Self::EncodedSlash
            | Self::RouteUnnamed => Reason::RequestMalformed,
            Self::TargetTooLong => Reason::TargetTooLong,
        }
    }

    /// The step that failed, for refusals that are about the token.
    pub(crate) fn step(&self) -> Option<Step> {
        match self {
            Self::Authentication(refused) => refused.error.step(),
            _ => self.reason().step(),
        }
    }

    /// Whether it is about the token, or about what is needed to judge it.
    pub(crate) const fn is_of_token(&self) -> bool {
        matches!(self, Self::Authentication(_) | Self::Authorization(_))
    }

    /// What the operator's log says beyond the reason.
    pub(crate) fn cause(&self) -> Option<String> {
        match self {
            Self::Authentication(refused) => Some(refused.error.to_string()),
            Self::Authorization(error) => Some(error.to_string()),
            Self::Forward(error) => Some(error.to_string()),
            Self::Garbled(what) => Some(what.to_string()),
            Self::Target(error) => Some(error.to_string()),
            Self::TooManyHeaders => Some(format!("more than {FIELDS_MAX} header fields")),
            Self::TransferCoding => Some("a transfer coding other than chunked".to_owned()),
            Self::EncodedSlash => Some("the path has an escaped slash".to_owned()),
            _ => None,
        }
    }

    /// Whether the rest of the connection cannot be trusted or is not wanted.
    const fn closes(&self) -> bool {
        matches!(
            self,
            Self::TransferCoding
                | Self::BodyTooLarge
                | Self::Forward(ForwardError::Body(
                    BodyError::TooLarge | BodyError::Stalled | BodyError::Broken
                ))
        )
    }
}

/// What refusals of this gateway have in common; by default, of one that publishes nothing.
#[derive(Debug, Default)]
pub(crate) struct Site {
    /// Where the help pages stand, with a slash at the end.
    pub(crate) problem_base: Box<str>,
    /// Safe in a quoted string.
    pub(crate) realm: Box<str>,
    /// The routes as protected resources; empty where their metadata is not served.
    pub(crate) resources: Resources,
}

/// The limits that a refusal may name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NamedLimits {
    pub(crate) header_bytes: usize,
    pub(crate) target_bytes: usize,
    pub(crate) body_bytes: Option<u64>,
}

/// The request that is refused, and what is known of it.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) site: &'a Site,
    pub(crate) policy: &'a Policy,
    pub(crate) route: Option<&'a Route>,
    pub(crate) requirement: Option<&'a Requirement>,
    pub(crate) limits: NamedLimits,
    pub(crate) now: UnixTime,
    pub(crate) method: &'a Method,
    pub(crate) version: Version,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) id: Uuid,
    /// It is the operator who asks: the route's level of disclosure is for clients.
    pub(crate) for_operator: bool,
}

impl Setting<'_> {
    pub(crate) fn disclosure(&self) -> Disclosure {
        let route = self.route.filter(|_| !self.for_operator);
        route.map_or(Disclosure::Full, |route| route.disclosure)
    }
}

/// What a refusal says and what it advises, whatever the route discloses: for the operator.
pub(crate) fn sentences(rejection: &Rejection, setting: &Setting<'_>) -> (String, String) {
    let words = words::of(rejection, setting);
    (words.detail, words.hint)
}

/// What was probably meant.
pub(crate) fn near_miss(rejection: &Rejection, setting: &Setting<'_>) -> Option<NearMiss> {
    words::of(rejection, setting).near
}

/// The body of a refusal.
pub(crate) fn as_json(rejection: &Rejection, setting: &Setting<'_>) -> serde_json::Value {
    let problem = problem::of(rejection, words::of(rejection, setting), setting);
    // Strings and numbers only: there is nothing that could fail to be written.
    let mut body = serde_json::to_value(problem).unwrap_or_default();
    if let Some(members) = body.as_object_mut().filter(|_| setting.id.is_nil()) {
        // Nobody decided: there is no decision to be found by it.
        members.remove("instance");
    }
    body
}

/// Makes the response that refuses a request.
pub(crate) fn respond(rejection: &Rejection, setting: &Setting<'_>) -> Response<Body> {
    let reason = rejection.reason();
    let words = words::of(rejection, setting);
    let mut response = match grpc::content_type(setting.headers) {
        Some(content_type) => grpc::respond(reason, &words, setting, content_type),
        None => respond_http(rejection, words, setting),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if reason.challenges() {
        headers.insert(WWW_AUTHENTICATE, challenge::value(rejection, setting));
    }
    if let Some(seconds) = rejection.retry_after() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if let (Rejection::MethodNotAllowed, Some(route)) = (rejection, setting.route)
        && let Ok(allow) = HeaderValue::from_str(&route.allow())
    {
        headers.insert(ALLOW, allow);
    }
    if rejection.closes() && setting.version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(cors) = setting.route.and_then(|route| route.cors.as_ref()) {
        cors.write(setting.headers.get(ORIGIN), headers);
    }
    response
}

fn respond_http(
    rejection: &Rejection,
    words: words::Words<'_>,
    setting: &Setting<'_>,
) -> Response<Body> {
    let problem = problem::of(rejection, words, setting);
    let (content_type, body) = if prefers_html(setting.headers) {
        ("text/html; charset=utf-8", problem.html().into_bytes())
    } else {
        ("application/problem+json", problem.json())
    };
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = rejection.reason().status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if *setting.method == Method::HEAD {
        headers.insert(CONTENT_LENGTH, body.len().into());
    } else {
        *response.body_mut() = Body::Fixed(body.into());
    }
    response
}

/// A browser that shows a page to a person: it names HTML and no JSON.
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html") && !accept.contains("json"))
}
