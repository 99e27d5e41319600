//! From the permit to the upstream's response, streamed both ways.
//!
//! Nothing comes here without a [`Permit`]. A server is chosen (`balance`, `health`), a connection to it
//! leased (`pool`, `stream`), and the request sent by the protocol that it speaks (`attempt`). HTTP/1.1
//! goes through a client of our own (`http1/`): it writes a request in one call, reads a small response
//! in one, keeps no task a connection, and refuses a response that could be framed in more than one way.
//! hyper's client costs 2.6 µs more a request and reads more than it should; HTTP/2 is hyper's
//! (`http2/`). What is upgraded goes on in `tunnel/`.

mod attempt;
mod balance;
mod error;
mod health;
mod http1;
mod http2;
mod identity;
mod internal;
mod length;
mod pool;
mod probe;
mod request;
mod stream;
mod tunnel;
mod upstream;

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Response, Uri, Version};
use tokio::time::Instant;

use crate::authenticate::{Life, extract};
use crate::authorize::Permit;
use crate::http::Body;
use crate::http::headers::ReservedNames;
use crate::http::upgrade::Upgrade;
use crate::policy::{Access, Authorization, Route, TokenPlace};

use attempt::Blame;
pub(crate) use attempt::Load;
use balance::ServerSet;
pub(crate) use error::ForwardError;
use http1::Answer;
pub(crate) use internal::{InternalTokenSettings, InternalTokens};
pub(crate) use pool::Pools;
pub(crate) use probe::{is_well, reach};
pub(crate) use tunnel::Tunnel;
pub(crate) use upstream::{
    Balance, HashKey, HealthProbe, HostHeader, SERVERS_MAX, Server, ServerPlace, Upstream,
    UpstreamLimits, UpstreamProtocol, UpstreamTls,
};

/// What is sent on, apart from the body.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) version: Version,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: IpAddr,
    /// The peer is a trusted proxy: its chain goes on.
    pub(crate) by_proxy: bool,
    pub(crate) tls: bool,
    pub(crate) route: &'a Route,
    pub(crate) permit: &'a Permit,
    pub(crate) reserved: &'a ReservedNames,
    /// A token that did not come in the header.
    pub(crate) moved: Option<Moved>,
    /// What goes in `Authorization` in place of the caller's.
    pub(crate) internal: Option<HeaderValue>,
    /// Our own place in the trace, in that of the client's.
    pub(crate) traceparent: Option<HeaderValue>,
    /// What the request's body ends with, if there is one.
    pub(crate) life: Option<Life>,
    /// It is a gRPC call, whose end is told in trailers.
    pub(crate) is_grpc: bool,
    /// An upgrade that the route allows, with the key of its handshake where that is ours.
    pub(crate) upgrade: Option<(Upgrade, String)>,
}

/// A token that the upstream gets in the header, wherever it came from.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) from: TokenPlace,
    pub(crate) token: Vec<u8>,
}

impl Moved {
    /// A good token that did not come in the header.
    pub(crate) fn of(headers: &HeaderMap, uri: &Uri, route: &Route) -> Option<Self> {
        let (from, token) = extract::elsewhere(headers, uri, &route.token_from)?;
        Some(Self { from, token })
    }
}

/// A response with what the metrics want to know of the upstream.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) response: Response<Body>,
    pub(crate) upstream_took: Duration,
    pub(crate) retries: u32,
    /// With a response that says so: what the connection goes on with.
    pub(crate) tunnel: Option<Tunnel>,
}

/// A request without a response.
#[derive(Debug)]
pub(crate) struct NotForwarded {
    pub(crate) error: ForwardError,
    pub(crate) retries: u32,
}

/// Connections that may come to their end under one request before a server has looked at it. A server that
/// closes each after a number of requests does that to all that are beyond, at once.
const UNSEEN_MAX: u32 = 32;

/// Sends a permitted request to a server of its route's upstream and gives the response as it begins.
///
/// Another server is tried where nothing was sent, and for a request without a body and with a safe
/// method also where no response came that could be passed on; as often as the upstream allows, and
/// within its budget.
///
/// # Errors
/// No server gave a response that can be passed on, or the client's body failed.
pub(crate) async fn forward(
    pools: &Pools,
    outgoing: &Outgoing<'_>,
    load: &mut Load,
    started: Instant,
) -> Result<Forwarded, NotForwarded> {
    let failed = |error, retries| Err(NotForwarded { error, retries });
    let Some(balancer) = pools.of(outgoing.route.upstream) else {
        return failed(ForwardError::Unreachable, 0);
    };
    let upstream = balancer.upstream();
    let (mut retries, mut unseen) = (0, 0);
    let mut tried = ServerSet::default();
    // Those whose kept connection broke: they may be well, and others are more likely to be.
    let mut doubtful = ServerSet::default();
    let mut now = started;
    let mut why = ForwardError::Unreachable;
    balancer.earn();
    loop {
        let others = balancer.choose(outgoing, now, tried.and(doubtful));
        let Some(pool) = others.or_else(|| balancer.choose(outgoing, now, tried)) else {
            return failed(why, retries);
        };
        let failure = match attempt::attempt(pool, outgoing, load, now).await {
            Ok(answer) => {
                pool.server().health.answered(now);
                return match outgoing.finished(answer) {
                    Ok((response, tunnel)) => Ok(Forwarded {
                        response,
                        upstream_took: started.elapsed(),
                        retries,
                        tunnel,
                    }),
                    Err(error) => failed(error, retries),
                };
            }
            Err(failure) => failure,
        };
        match failure.blame {
            Blame::Connection => {}
            Blame::Nobody => doubtful.insert(pool.place()),
            Blame::Busy | Blame::Server => tried.insert(pool.place()),
        }
        if failure.blame == Blame::Server {
            note_failure(upstream, pool.server(), failure.error);
        }
        why = failure.error;
        if failure.again && failure.blame == Blame::Connection && unseen < UNSEEN_MAX {
            unseen += 1;
            now = Instant::now();
            continue;
        }
        if !failure.again || retries >= upstream.limits.retries || !balancer.spend() {
            return failed(why, retries);
        }
        retries += 1;
        now = Instant::now();
    }
}

/// Notes what a server did not do.
fn note_failure(upstream: &Upstream, server: &Server, error: ForwardError) {
    if server.health.failed(Instant::now()) {
        let why = server.health.take_trouble().unwrap_or_default();
        let (upstream, server) = (&*upstream.name, &*server.label);
        tracing::warn!(
            upstream, server, %error, why,
            "a server fails again and again; it is put aside for a while"
        );
    }
}

impl Outgoing<'_> {
    fn strips_authorization(&self) -> bool {
        self.route.authorization == Authorization::Strip
    }

    /// Whether the client's own `Authorization` goes on: not where nobody has looked at it.
    fn keeps_authorization(&self) -> bool {
        let is_open = matches!(self.route.access, Access::Open);
        let looked_at = is_open || self.route.token_from.contains(&TokenPlace::Header);
        !self.strips_authorization() && looked_at && self.moved.is_none() && self.internal.is_none()
    }

    /// Whether the key of the handshake is ours.
    fn makes_key(&self) -> bool {
        self.upgrade
            .as_ref()
            .is_some_and(|(upgrade, _)| upgrade.of_stream)
    }

    /// Whether the token is among the protocols that the client offers.
    fn offers_token(&self) -> bool {
        let moved = self.moved.as_ref();
        moved.is_some_and(|moved| moved.from == TokenPlace::WebSocketProtocol)
    }

    /// The key of a handshake that is ours.
    pub(crate) fn handshake_key(upgrade: &Upgrade) -> String {
        match upgrade.of_stream {
            true => tunnel::handshake::key(),
            false => String::new(),
        }
    }

    /// An answer as it may go to the client.
    fn finished(&self, answer: Answer) -> Result<(Response<Body>, Option<Tunnel>), ForwardError> {
        match answer {
            Answer::Response(mut response) => {
                if self.makes_key() && response.status().is_success() {
                    // To its client that would mean that the stream is upgraded.
                    return Err(ForwardError::Invalid("it does not switch protocols"));
                }
                request::finish_response(&mut response, self);
                Ok((response, None))
            }
            Answer::Switched(response, connection) => {
                let response = request::switched(response, self)?;
                let websocket = self
                    .upgrade
                    .as_ref()
                    .is_some_and(|(it, _)| it.is_websocket());
                Ok((response, Some(Tunnel::new(connection, websocket))))
            }
        }
    }
}
