//! From the permit to the upstream's response, streamed both ways.
//!
//! Nothing comes here without a [`Permit`]. The upstream speaks HTTP/1.1 through a client of our
//! own (`http1/`): it writes a request in one call, reads a small response in one, keeps no task a
//! connection, and refuses a response that could be framed in more than one way. hyper's client
//! costs 2.6 µs more a request and reads more than it should.

mod error;
mod http1;
mod identity;
mod pool;
mod request;
mod upstream;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Response, Uri, Version};
use tokio::time::Instant;

use crate::authorize::Permit;
use crate::http::Body;
use crate::http::body::LimitedBody;
use crate::http::headers::ReservedNames;
use crate::policy::{Authorization, Route};

pub(crate) use error::ForwardError;
pub(crate) use pool::Pools;
pub(crate) use upstream::{HostHeader, Server, Upstream, UpstreamLimits};

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

/// Sends a permitted request to its route's upstream and gives the response as it begins.
///
/// # Errors
/// The upstream gave no response that can be passed on, or the client's body failed.
pub(crate) async fn forward(
    pools: &Pools,
    outgoing: &Outgoing<'_>,
    body: LimitedBody,
    started: Instant,
) -> Result<Forwarded, ForwardError> {
    let pool = pools.of(outgoing.route.upstream)?;
    let upstream = pool.upstream();
    let has_body = !http_body::Body::is_end_stream(&body);
    let replayable = !has_body && outgoing.method.is_safe();
    let mut body = Some(body);
    let mut retries = 0;
    let mut now = started;
    loop {
        let mut connection = pool.connection(now).await?;
        let reused = connection.reused();
        let framing = request::framing(outgoing, body.as_ref());
        request::write_head(&mut connection.outgoing, outgoing, upstream, framing);
        let upload = if has_body { body.take() } else { None };
        let transfer = http1::Transfer::new(connection, upload, framing);
        match transfer
            .response(outgoing.method, upstream.limits.response_max, now)
            .await
        {
            Ok(mut response) => {
                request::finish_response(&mut response, outgoing);
                return Ok(Forwarded {
                    response,
                    upstream_took: started.elapsed(),
                    retries,
                });
            }
            // A kept connection that the upstream closed while the request was on its way.
            Err(ForwardError::Reset { nothing_came: true })
                if reused && replayable && retries < upstream.limits.retries =>
            {
                retries += 1;
                now = Instant::now();
            }
            Err(error) => return Err(error),
        }
    }
}

impl Outgoing<'_> {
    fn strips_authorization(&self) -> bool {
        self.route.authorization == Authorization::Strip
    }
}

/// The pools of one worker for all upstreams.
impl Pools {
    /// Pools for `upstreams`, each with this worker's share of the connections.
    pub(crate) fn new(upstreams: &[Arc<Upstream>], workers: usize) -> Self {
        Self::of_upstreams(upstreams.iter().map(|upstream| {
            let share = upstream.limits.connections.div_ceil(workers.max(1));
            (Arc::clone(upstream), share)
        }))
    }
}
