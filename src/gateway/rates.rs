//! How often: by the limit of a route, and refused credentials by that of a listener.
//!
//! What can be counted without a token is counted before one is looked at; a subject only once its token
//! is good. A good token is never refused for the failures of others at its address.

use std::net::IpAddr;
use std::time::Duration;

use super::Front;
use crate::authenticate::{Caller, Refused};
use crate::clock::UnixTime;
use crate::http::host::peer_network;
use crate::inbound;
use crate::policy::{Per, Policy, RateLimit, Route};
use crate::reject::{Limited, Rejection};

/// Counts by what is known at once.
///
/// # Errors
/// Too many.
pub(super) fn before(route: &Route, client: IpAddr, now: UnixTime) -> Result<(), Rejection> {
    let Some(limit) = &route.limit else {
        return Ok(());
    };
    match limit.per {
        Per::Peer => taken(limit, limit.buckets.take(peer_network(client), now)),
        Per::Route => taken(limit, limit.buckets.take((), now)),
        Per::Subject | Per::Client => Ok(()),
    }
}

/// Counts by whose token it is.
///
/// # Errors
/// Too many.
pub(super) fn after(
    route: &Route,
    policy: &Policy,
    caller: &Caller,
    client: IpAddr,
    now: UnixTime,
) -> Result<(), Rejection> {
    let Some(limit) = &route.limit else {
        return Ok(());
    };
    let principal = match caller {
        Caller::Authenticated(principal) => Some(principal),
        Caller::Anonymous => None,
    };
    let who = match limit.per {
        Per::Subject => principal.and_then(|it| it.subject()),
        Per::Client => principal.and_then(|it| it.client_id()),
        Per::Peer | Per::Route => return Ok(()),
    };
    let issuer = principal.and_then(|principal| policy.issuer(principal.issuer()));
    let took = match who {
        // The same name of another issuer is somebody else.
        Some(who) => {
            let issuer = issuer.map(|issuer| &*issuer.rules.issuer);
            limit.buckets.take((issuer, who), now)
        }
        None => limit.buckets.take(peer_network(client), now),
    };
    taken(limit, took)
}

fn taken(limit: &RateLimit, took: Result<(), Duration>) -> Result<(), Rejection> {
    took.map_err(|retry_after| {
        Rejection::RateLimited(Limited {
            retry_after,
            burst: limit.buckets.quota().burst,
            failures: false,
        })
    })
}

/// The refusal of a credential, or of too many from one client.
pub(super) fn failed(front: &Front, client: IpAddr, refused: Refused, now: UnixTime) -> Rejection {
    let status = refused.error.reason().status().as_u16();
    if status < 500
        && let Err(limited) = failure(front, client, now)
    {
        return limited;
    }
    Rejection::Authentication(Box::new(refused))
}

/// Counts a credential that was refused.
///
/// # Errors
/// Too many from one client.
pub(super) fn failure(front: &Front, client: IpAddr, now: UnixTime) -> Result<(), Rejection> {
    let Some(failures) = &front.failures else {
        return Ok(());
    };
    failures
        .take(peer_network(client), now)
        .map_err(|retry_after| {
            Rejection::RateLimited(Limited {
                retry_after,
                burst: failures.quota().burst,
                failures: true,
            })
        })
}

/// One client asks an endpoint too often.
pub(super) const fn of_endpoint(too_many: inbound::TooMany) -> Rejection {
    let inbound::TooMany(retry_after) = too_many;
    Rejection::RateLimited(Limited {
        retry_after,
        burst: inbound::PEER_QUOTA.burst,
        failures: false,
    })
}
