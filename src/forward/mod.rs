//! From the permit to the upstream's response, streamed both ways.
//!
//! Nothing comes here without a [`Permit`]. The upstream speaks HTTP/1.1 through a client of our
//! own (`http1/`): it writes a request in one call, reads a small response in one, keeps no task a
//! connection, and refuses a response that could be framed in more than one way. hyper's client
//! costs 2.6 µs more a request and reads more than it should.

mod balance;
mod error;
mod health;
mod http1;
mod identity;
mod pool;
mod probe;
mod request;
mod stream;
mod upstream;

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, Method, Response, Uri, Version};
use tokio::time::Instant;

use crate::authorize::Permit;
use crate::http::Body;
use crate::http::body::LimitedBody;
use crate::http::headers::ReservedNames;
use crate::policy::{Authorization, Route};

use balance::ServerSet;
pub(crate) use error::ForwardError;
pub(crate) use pool::Pools;
pub(crate) use probe::is_well;
pub(crate) use upstream::{
    Balance, HashKey, HealthProbe, HostHeader, SERVERS_MAX, Server, ServerPlace, Upstream,
    UpstreamLimits, UpstreamTls,
};

/// What is sent on, apart from the body.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) version: Version,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: IpAddr,
    pub(crate) tls: bool,
    pub(crate) route: &'a Route,
    pub(crate) permit: &'a Permit,
    pub(crate) reserved: &'a ReservedNames,
}

/// A response with what the metrics want to know of the upstream.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) response: Response<Body>,
    pub(crate) upstream_took: Duration,
    pub(crate) retries: u32,
}

/// A request without a response.
#[derive(Debug)]
pub(crate) struct NotForwarded {
    pub(crate) error: ForwardError,
    pub(crate) retries: u32,
}

/// Sends a permitted request to a server of its route's upstream and gives the response as it begins.
///
/// Another server is tried where nothing was sent, and for a request without a body and with a safe
/// method also where nothing came back; as often as the upstream allows, and within its budget.
///
/// # Errors
/// No server gave a response that can be passed on, or the client's body failed.
pub(crate) async fn forward(
    pools: &Pools,
    outgoing: &Outgoing<'_>,
    body: LimitedBody,
    started: Instant,
) -> Result<Forwarded, NotForwarded> {
    let failed = |error, retries| Err(NotForwarded { error, retries });
    let Some(balancer) = pools.of(outgoing.route.upstream) else {
        return failed(ForwardError::Unreachable, 0);
    };
    let upstream = balancer.upstream();
    let has_body = !http_body::Body::is_end_stream(&body);
    let replayable = !has_body && outgoing.method.is_safe();
    let mut body = Some(body);
    let mut retries = 0;
    let mut tried = ServerSet::default();
    let mut now = started;
    let mut why = ForwardError::Unreachable;
    balancer.earn();
    loop {
        let Some(pool) = balancer.choose(outgoing, now, tried) else {
            return failed(why, retries);
        };
        let server = pool.server();
        let failure = match pool.connection(now).await {
            Err(error) => {
                // Nothing was sent.
                tried.insert(pool.place());
                if error != ForwardError::Overloaded {
                    note_failure(upstream, server, error);
                }
                Failure { error, again: true }
            }
            Ok(mut connection) => {
                let reused = connection.reused();
                let framing = request::framing(outgoing, body.as_ref());
                let host = (upstream.host, &**server);
                request::write_head(&mut connection.outgoing, outgoing, host, framing);
                let upload = if has_body { body.take() } else { None };
                let transfer = http1::Transfer::new(connection, upload, framing);
                let limit = upstream.limits.response_max;
                match transfer.response(outgoing.method, limit, now).await {
                    Ok(mut response) => {
                        server.health.answered();
                        request::finish_response(&mut response, outgoing);
                        return Ok(Forwarded {
                            response,
                            upstream_took: started.elapsed(),
                            retries,
                        });
                    }
                    Err(error) => {
                        let lost = error == ForwardError::Reset { nothing_came: true };
                        // A kept connection that the server closed while the request was on its way
                        // says nothing about the server.
                        if !(lost && reused) {
                            tried.insert(pool.place());
                            note_failure(upstream, server, error);
                        }
                        let again = lost && replayable;
                        Failure { error, again }
                    }
                }
            }
        };
        why = failure.error;
        if !failure.again || retries >= upstream.limits.retries || !balancer.spend() {
            return failed(why, retries);
        }
        retries += 1;
        now = Instant::now();
    }
}

/// An attempt that failed.
struct Failure {
    error: ForwardError,
    /// Another may be made.
    again: bool,
}

/// Notes what a server did not do. What the client did is not its fault.
fn note_failure(upstream: &Upstream, server: &Server, error: ForwardError) {
    if matches!(error, ForwardError::Body(_)) {
        return;
    }
    if server.health.failed(Instant::now()) {
        let (upstream, server) = (&*upstream.name, &*server.label);
        tracing::warn!(
            upstream, server, %error,
            "a server fails again and again; it is put aside for a while"
        );
    }
}

impl Outgoing<'_> {
    fn strips_authorization(&self) -> bool {
        self.route.authorization == Authorization::Strip
    }
}
