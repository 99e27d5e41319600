//! A listener in clear text that only leads to https.

use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, Response, StatusCode};

use super::Body;
use super::host::HostPattern;

/// Where it leads.
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    /// Hosts that are served with TLS; others are led nowhere.
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) port: u16,
}

impl Redirect {
    /// The answer to a request for a host, in lower case and without a port; `None` if nobody serves it.
    pub(crate) fn answer(&self, host: &str, path_and_query: &str) -> Option<Response<Body>> {
        if !self.hosts.iter().any(|served| served.covers(host)) {
            return None;
        }
        let location = match self.port {
            443 => format!("https://{host}{path_and_query}"),
            port => format!("https://{host}:{port}{path_and_query}"),
        };
        let mut response = Response::new(Body::Empty);
        // With the method and body that it came with (RFC 9110 section 15.4.9).
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        let headers = response.headers_mut();
        headers.insert(LOCATION, HeaderValue::from_str(&location).ok()?);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }
}
