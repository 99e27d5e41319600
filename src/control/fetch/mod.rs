//! Fetching a small document over HTTP, within bounds: what keys and discovery come by, and how
//! introspection asks.
//!
//! https by the configured or the system's roots, plain http to loopback only and only where that
//! was allowed; no proxy but a configured one, no redirect to another origin, no link-local
//! address; every byte and every second is bounded, since whoever answers may lie. Connections are
//! kept for a while: discovery and the set behind it are usually one server's.

mod connect;
mod error;
mod headers;
mod idle;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, IF_NONE_MATCH, LOCATION, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;

use crate::config::FetchSettings;
use connect::Target;
use idle::Idle;

pub(crate) use connect::{Connector, Trust, reach};
pub(crate) use error::FetchError;
pub(crate) use headers::{date, fresh_for};

/// Redirects that are followed, all within one origin.
const REDIRECTS_MAX: usize = 3;

/// Fetches documents for one purpose, with its bounds.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    connector: Connector,
    /// `None`: a connection is for one request.
    idle: Option<Arc<Idle>>,
    limits: FetchLimits,
}

/// The bounds of one purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchLimits {
    /// For one fetch, with its redirects.
    pub(crate) timeout: Duration,
    /// Of one document.
    pub(crate) bytes_max: usize,
}

impl Fetcher {
    pub(crate) fn new(connector: Connector, limits: FetchLimits) -> Self {
        Self {
            connector,
            idle: Some(Arc::default()),
            limits,
        }
    }

    /// A fetcher as the configuration says.
    ///
    /// # Errors
    /// Its roots cannot be used.
    pub(crate) fn by(settings: &FetchSettings, trust: &mut Trust) -> Result<Self, FetchError> {
        let connector = trust.connector(settings.ca.as_deref(), settings.allow_http_loopback)?;
        let limits = FetchLimits {
            timeout: settings.timeout,
            bytes_max: settings.bytes_max,
        };
        Ok(Self::new(connector.through(settings.proxy.clone()), limits))
    }

    /// A fetcher for plain http on this machine: the command line's way to the admin listener.
    pub(crate) const fn local(limits: FetchLimits, path: Option<PathBuf>) -> Self {
        Self {
            connector: Connector::local(path),
            idle: None,
            limits,
        }
    }

    /// Gets a document: 200, or 304 where `etag` still names it (RFC 9110 section 13.1.2).
    ///
    /// # Errors
    /// It did not come within the bounds, or with another status.
    pub(crate) async fn get(
        &self,
        url: &str,
        etag: Option<&HeaderValue>,
    ) -> Result<Response<Bytes>, FetchError> {
        tokio::time::timeout(self.limits.timeout, self.follow(url, etag))
            .await
            .map_err(|_| FetchError::Timeout)?
    }

    async fn follow(
        &self,
        url: &str,
        etag: Option<&HeaderValue>,
    ) -> Result<Response<Bytes>, FetchError> {
        let mut uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
        for _ in 0..=REDIRECTS_MAX {
            let mut request = Request::builder()
                .method(Method::GET)
                .uri(&uri)
                .header(ACCEPT, "application/json");
            if let Some(etag) = etag {
                request = request.header(IF_NONE_MATCH, etag);
            }
            let request = request.body(Bytes::new()).map_err(|_| FetchError::Url)?;
            let response = self.exchange(request).await?;
            match response.status() {
                StatusCode::OK => return Ok(response),
                StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(response),
                status if status.is_redirection() => {
                    let location = response.headers().get(LOCATION);
                    let location = location.and_then(|location| location.to_str().ok());
                    uri = same_origin(&uri, location.ok_or(FetchError::Redirect)?)
                        .ok_or(FetchError::Redirect)?;
                }
                status => return Err(FetchError::Status(status.as_u16())),
            }
        }
        Err(FetchError::Redirect)
    }

    /// Sends one request, which must bear to be sent again, and reads the whole answer.
    ///
    /// # Errors
    /// The other side cannot be reached, is not trusted, is too slow, or answers with more than
    /// the bound.
    pub(crate) async fn send(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, FetchError> {
        tokio::time::timeout(self.limits.timeout, self.exchange(request))
            .await
            .map_err(|_| FetchError::Timeout)?
    }

    async fn exchange(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        let target = self.connector.target(request.uri())?;
        let path = request.uri().path_and_query();
        let path = path.map_or("/", http::uri::PathAndQuery::as_str).parse();
        *request.uri_mut() = path.map_err(|_| FetchError::Url)?;
        let headers = request.headers_mut();
        let authority = target.authority.parse().map_err(|_| FetchError::Url)?;
        headers.insert(HOST, authority);
        headers.insert(USER_AGENT, HeaderValue::from_static("bearward"));
        if let Some(idle) = &self.idle
            && let Some(kept) = idle.take(&target.origin)
        {
            match self.ask(kept, request.clone(), &target).await {
                // It had ended meanwhile: once more, on a new one.
                Err(FetchError::Broken) => {}
                other => return other,
            }
        }
        let connection = self.connector.connect(&target, self.limits.timeout).await?;
        self.ask(connection, request, &target).await
    }

    async fn ask(
        &self,
        mut connection: SendRequest<Full<Bytes>>,
        request: Request<Bytes>,
        target: &Target,
    ) -> Result<Response<Bytes>, FetchError> {
        let response = connection.send_request(request.map(Full::new)).await;
        let (parts, body) = response.map_err(|_| FetchError::Broken)?.into_parts();
        let body = Limited::new(body, self.limits.bytes_max).collect().await;
        let body = body.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                FetchError::TooLarge
            } else {
                FetchError::Broken
            }
        })?;
        if let Some(idle) = &self.idle {
            idle.keep(&target.origin, connection);
        }
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

/// Where a redirect leads, if that is the same scheme, host and port.
fn same_origin(from: &Uri, location: &str) -> Option<Uri> {
    let to: Uri = location.parse().ok()?;
    let mut parts = from.clone().into_parts();
    if to.authority().is_some() {
        let same = to.scheme() == from.scheme() && to.authority() == from.authority();
        return same.then_some(to);
    }
    if !location.starts_with('/') || location.starts_with("//") {
        return None;
    }
    parts.path_and_query = to.path_and_query().cloned();
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_at_home() {
        let from: Uri = "https://a.test/x".parse().expect("a URI");
        for (location, to) in [
            ("/y?z", Some("https://a.test/y?z")),
            ("https://a.test/y", Some("https://a.test/y")),
            ("https://b.test/y", None),
            ("http://a.test/y", None),
            ("https://a.test:8443/y", None),
            ("y", None),
            ("//b.test/y", None),
        ] {
            let found = same_origin(&from, location).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), to, "{location}");
        }
    }
}
