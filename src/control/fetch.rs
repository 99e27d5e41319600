//! Fetching a small document over HTTP, within bounds: what keys and discovery come by.
//!
//! https by the configured or the system's roots, plain http to loopback only and only where that
//! was allowed; no proxy from the environment, no redirect to another origin; every byte and every
//! second is bounded, since whoever answers may lie.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::FetchError;
use crate::http::host::is_loopback;

/// Redirects that are followed, all within one origin.
const REDIRECTS_MAX: usize = 3;
/// The largest header section of an answer.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// Fetches documents for one purpose, with its bounds.
#[derive(Clone)]
pub(crate) struct Fetcher {
    tls: Option<TlsConnector>,
    timeout: Duration,
    bytes_max: usize,
    allow_http_loopback: bool,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher")
            .field("timeout", &self.timeout)
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    /// A fetcher that trusts the roots in `ca`, or the system's.
    ///
    /// # Errors
    /// There are no roots.
    pub(crate) fn new(
        ca: Option<&[u8]>,
        timeout: Duration,
        bytes_max: usize,
        allow_http_loopback: bool,
    ) -> Result<Self, FetchError> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|_| FetchError::Roots)?;
                    roots.add(certificate).map_err(|_| FetchError::Roots)?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
        }
        if roots.is_empty() && !allow_http_loopback {
            return Err(FetchError::Roots);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| FetchError::Roots)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: Some(TlsConnector::from(Arc::new(config))),
            timeout,
            bytes_max,
            allow_http_loopback,
        })
    }

    /// A fetcher for plain http on this machine: the command line's way to the admin listener.
    pub(crate) const fn local(timeout: Duration, bytes_max: usize) -> Self {
        Self {
            tls: None,
            timeout,
            bytes_max,
            allow_http_loopback: true,
        }
    }

    /// Gets a document that answers 200.
    ///
    /// # Errors
    /// It did not come within the bounds, or not with 200.
    pub(crate) async fn get(&self, url: &str) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.timeout, self.follow(url))
            .await
            .map_err(|_| FetchError::Timeout)?
    }

    async fn follow(&self, url: &str) -> Result<Bytes, FetchError> {
        let mut uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
        for _ in 0..=REDIRECTS_MAX {
            let request = Request::builder()
                .method(Method::GET)
                .uri(&uri)
                .header(ACCEPT, "application/json")
                .body(Bytes::new())
                .map_err(|_| FetchError::Url)?;
            let response = self.send(request).await?;
            match response.status() {
                StatusCode::OK => return Ok(response.into_body()),
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

    /// Sends one request and reads the whole answer. The caller bounds the time.
    ///
    /// # Errors
    /// The other side cannot be reached, is not trusted, or answers with more than the bound.
    pub(crate) async fn send(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, FetchError> {
        let uri = request.uri().clone();
        let host = uri.host().ok_or(FetchError::Url)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let (https, port) = match uri.scheme_str() {
            Some("https") => (true, uri.port_u16().unwrap_or(443)),
            Some("http") if self.allow_http_loopback && is_loopback(host) => {
                (false, uri.port_u16().unwrap_or(80))
            }
            _ => return Err(FetchError::Url),
        };
        let stream = TcpStream::connect((bare, port))
            .await
            .map_err(|_| FetchError::Unreachable)?;
        let _ = stream.set_nodelay(true);
        if !https {
            return self.exchange(stream, request).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| FetchError::Url)?;
        let tls = self.tls.as_ref().ok_or(FetchError::Url)?;
        let stream = tls
            .connect(name, stream)
            .await
            .map_err(|_| FetchError::Tls)?;
        self.exchange(stream, request).await
    }

    async fn exchange<S>(
        &self,
        stream: S,
        mut request: Request<Bytes>,
    ) -> Result<Response<Bytes>, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let authority = request
            .uri()
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let path = path.parse().map_err(|_| FetchError::Url)?;
        *request.uri_mut() = path;
        let headers = request.headers_mut();
        headers.insert(HOST, authority.parse().map_err(|_| FetchError::Url)?);
        headers.insert(USER_AGENT, http::HeaderValue::from_static("bearward"));
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEADER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| FetchError::Unreachable)?;
        let exchange = async {
            let response = sender
                .send_request(request.map(Full::new))
                .await
                .map_err(|_| FetchError::Unreachable)?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, self.bytes_max).collect().await;
            let body = body.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    FetchError::TooLarge
                } else {
                    FetchError::Unreachable
                }
            })?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        let mut exchange = std::pin::pin!(exchange);
        let mut connection = std::pin::pin!(connection);
        // The connection ends with the answer; until then both are driven.
        tokio::select! {
            biased;
            answer = exchange.as_mut() => answer,
            _ = connection.as_mut() => exchange.await,
        }
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
