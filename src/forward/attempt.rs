//! One attempt at one server, by the protocol that it speaks.

use std::sync::Arc;

use http::Method;
use tokio::time::Instant;

use super::http1::{self, Answer};
use super::http2::{self, Unanswered, Upload};
use super::pool::{Connection, Lease, Pool, Slot};
use super::{ForwardError, Outgoing, request};
use crate::http::body::LimitedBody;

/// What is to be sent, as far as it is still here.
#[derive(Debug)]
pub(crate) struct Load {
    pub(super) body: Option<LimitedBody>,
    pub(super) has_body: bool,
    /// It could be sent again after it was sent once.
    pub(super) replayable: bool,
}

impl Load {
    /// The body of a request by this method.
    pub(crate) fn new(body: LimitedBody, method: &Method) -> Self {
        let has_body = !http_body::Body::is_end_stream(&body);
        Self {
            body: Some(body),
            has_body,
            replayable: !has_body && method.is_safe(),
        }
    }
}

/// An attempt that failed.
pub(super) struct Failure {
    pub(super) error: ForwardError,
    /// Another may be made.
    pub(super) again: bool,
    pub(super) blame: Blame,
}

/// Whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Server,
    /// The server's, but only that it has too much to do.
    Busy,
    /// That of a connection which all requests share, and which came to its end before the server looked at
    /// this one. Another try costs the server nothing.
    Connection,
    /// The client's; or a kept connection was closed while the request was on its way, which says
    /// nothing about the server.
    Nobody,
}

/// Sends a request to the server of a pool.
pub(super) async fn attempt(
    pool: &Arc<Pool>,
    outgoing: &Outgoing<'_>,
    load: &mut Load,
    now: Instant,
) -> Result<Answer, Failure> {
    match pool.lease(now).await {
        Err(error) => {
            let blame = match error {
                ForwardError::Overloaded => Blame::Busy,
                _ => Blame::Server,
            };
            // Nothing was sent.
            Err(Failure::of(error, true, blame))
        }
        Ok(Lease::Http1(connection)) => over_http1(pool, connection, outgoing, load, now).await,
        // Large, and not the usual way: what is never polled would be moved with every request.
        Ok(Lease::Http2(lease, slot)) => {
            Box::pin(over_http2(pool, (lease, slot), outgoing, load)).await
        }
    }
}

async fn over_http2(
    pool: &Arc<Pool>,
    (lease, slot): (http2::Lease, Slot),
    outgoing: &Outgoing<'_>,
    load: &mut Load,
) -> Result<Answer, Failure> {
    let limit = pool.upstream().limits.response_max;
    let upload = Upload::new(
        load.body.take().filter(|_| load.has_body),
        outgoing.life.clone(),
    );
    let fresh = lease.fresh;
    let request = request::http2(outgoing, pool.upstream(), pool.server(), upload);
    let request = request.map_err(|error| Failure::of(error, false, Blame::Nobody))?;
    let unanswered = match lease.send(request, limit, slot).await {
        Ok(response) => return Ok(Answer::Response(response)),
        Err(unanswered) => unanswered,
    };
    Err(match unanswered {
        Unanswered::Unsent(upload) => {
            load.body = upload.into_body();
            let error = ForwardError::Reset { nothing_came: true };
            let blame = if fresh {
                Blame::Server
            } else {
                Blame::Connection
            };
            Failure::of(error, true, blame)
        }
        Unanswered::Unseen => {
            let error = ForwardError::Reset { nothing_came: true };
            // A new one that is ended at once is no connection's end, but a server that wants no more.
            let blame = if fresh {
                Blame::Busy
            } else {
                Blame::Connection
            };
            Failure::of(error, !load.has_body, blame)
        }
        Unanswered::Refused => {
            let error = ForwardError::Reset { nothing_came: true };
            // Another of the same server may do.
            Failure::of(error, !load.has_body, Blame::Nobody)
        }
        Unanswered::Error(error) => {
            if fresh && matches!(error, ForwardError::Reset { .. } | ForwardError::Invalid(_)) {
                let why =
                    "a new connection broke at its first request; does the server speak HTTP/2?";
                pool.server().health.note_trouble(why.to_owned());
            }
            Failure::sent(error, !fresh, load)
        }
    })
}

async fn over_http1(
    pool: &Arc<Pool>,
    mut connection: Box<Connection>,
    outgoing: &Outgoing<'_>,
    load: &mut Load,
    now: Instant,
) -> Result<Answer, Failure> {
    if outgoing.is_grpc {
        Pool::keep(connection);
        return Err(Failure::of(ForwardError::NeedsHttp2, false, Blame::Nobody));
    }
    let upstream = pool.upstream();
    let reused = connection.reused();
    let framing = request::framing(outgoing, load.body.as_ref());
    let host = (upstream.host, &**pool.server());
    request::write_head(&mut connection.outgoing, outgoing, host, framing);
    let upload = if load.has_body {
        load.body.take()
    } else {
        None
    };
    let upgrades = outgoing.upgrade.is_some();
    let transfer = http1::Transfer::new(connection, upload, framing, upgrades);
    let answer = transfer.response(outgoing.method, upstream.limits.response_max, now);
    answer
        .await
        .map_err(|error| Failure::sent(error, reused, load))
}

impl Failure {
    const fn of(error: ForwardError, again: bool, blame: Blame) -> Self {
        Self {
            error,
            again,
            blame,
        }
    }

    /// Of a request that was sent, at least in part.
    fn sent(error: ForwardError, reused: bool, load: &Load) -> Self {
        let lost = error == ForwardError::Reset { nothing_came: true };
        let blame = match error {
            ForwardError::Body(_) => Blame::Nobody,
            _ if lost && reused => Blame::Nobody,
            _ => Blame::Server,
        };
        // Nothing of a response was passed on yet.
        let unanswered = matches!(
            error,
            ForwardError::Invalid(_) | ForwardError::Reset { .. } | ForwardError::Timeout
        );
        Self::of(error, unanswered && load.replayable, blame)
    }
}
