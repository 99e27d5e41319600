//! One request and its response, as metrics and the audit line see it.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::{Method, Uri};
use uuid::{Builder, Uuid};

use crate::clock::UnixTime;
use crate::verdict::Reason;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Outcome {
    Allow,
    Deny,
    Error,
}

impl Outcome {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Error => "error",
        }
    }

    pub(crate) const fn of(reason: Option<Reason>) -> Self {
        match reason {
            None => Self::Allow,
            Some(reason) if reason.is_fault() => Self::Error,
            Some(_) => Self::Deny,
        }
    }
}

/// A method as a label: the registered ones, or `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MethodLabel(pub(crate) &'static str);

impl From<&Method> for MethodLabel {
    fn from(method: &Method) -> Self {
        const KNOWN: [&str; 8] = [
            "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE",
        ];
        let known = KNOWN.into_iter().find(|known| *known == method.as_str());
        Self(known.unwrap_or("other"))
    }
}

/// How the token cache answered, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheLabel {
    Hit,
    Miss,
    Bad,
    Stale,
}

impl CacheLabel {
    pub(crate) const ALL: [Self; 4] = [Self::Hit, Self::Miss, Self::Bad, Self::Stale];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Bad => "bad",
            Self::Stale => "stale",
        }
    }
}

/// What the log may know of a token.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenNotes {
    pub(crate) alg: Option<&'static str>,
    pub(crate) kid: Option<Box<str>>,
    pub(crate) jti: Option<Box<str>>,
    pub(crate) subject: Option<Box<str>>,
    pub(crate) client_id: Option<Box<str>>,
    pub(crate) fingerprint: Option<[u8; 32]>,
    pub(crate) scopes_missing: Vec<Box<str>>,
}

/// The part of the upstream in an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpstreamNotes {
    /// The upstream's place.
    pub(crate) index: usize,
    /// `None`: no response came.
    pub(crate) status: Option<u16>,
    pub(crate) took: Duration,
    pub(crate) retries: u32,
}

/// Why a stream was ended before its end: the `cause` of `streams_closed_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// The gateway ends.
    Draining,
    Expired,
    Revoked,
    /// The client took nothing for too long.
    Stalled,
}

impl StreamEnd {
    pub(crate) const ALL: [Self; 4] = [Self::Draining, Self::Expired, Self::Revoked, Self::Stalled];

    /// What a caller is told.
    pub(crate) const fn reason(self) -> Reason {
        match self {
            Self::Draining => Reason::Draining,
            Self::Expired => Reason::TokenExpired,
            Self::Revoked => Reason::TokenRevoked,
            Self::Stalled => Reason::RequestTimeout,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Stalled => "stalled",
        }
    }
}

/// The record. Filled on the request's way, written once at its end. It holds places in
/// [`super::Names`]; names are looked up where a line is written.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) started: Instant,
    pub(crate) at: UnixTime,
    /// Made when it is first asked for.
    id: Option<Uuid>,
    /// The listener's place.
    pub(crate) listener: usize,
    pub(crate) peer: IpAddr,
    pub(crate) method: MethodLabel,
    /// As it was sent; only the path is written.
    pub(crate) uri: Uri,
    /// The route's place.
    pub(crate) route: Option<usize>,
    pub(crate) rule: Option<usize>,
    /// The status that was meant; a gRPC refusal is sent with 200.
    pub(crate) status: u16,
    pub(crate) reason: Option<Reason>,
    /// What it would have been refused with, on a route that only reports.
    pub(crate) would_deny: Option<Reason>,
    /// What the caller probably meant.
    pub(crate) near_miss: Option<&'static str>,
    /// The issuer's place.
    pub(crate) issuer: Option<usize>,
    pub(crate) cache: Option<CacheLabel>,
    /// The algorithm of a signature check that was made, and how long it took.
    pub(crate) verified_in: Option<(&'static str, Duration)>,
    pub(crate) upstream: Option<UpstreamNotes>,
    /// What a revocation that bit selects by.
    pub(crate) revoked_by: Option<&'static str>,
    /// Why its stream was ended.
    pub(crate) stream_ended: Option<StreamEnd>,
    pub(crate) token: TokenNotes,
    /// The trace that it belongs to, where the line is written.
    pub(crate) trace: Option<[u8; 16]>,
    /// One of our own endpoints did not do what it was asked to; it has no reason of the list.
    pub(crate) declined: bool,
    /// The operator's own words on what went wrong.
    pub(crate) cause: Option<String>,
}

thread_local! {
    /// A secret of the thread, and how many ids it has made.
    static IDS: (RandomState, Cell<u64>) = (RandomState::new(), Cell::new(0));
}

/// What tells the ids of one millisecond apart: a keyed hash of a count, since a flood of refusals should not ask
/// the system for randomness each time. They are names, and no secrets.
fn bits() -> [u8; 10] {
    IDS.with(|(secret, count)| {
        let place = count.get();
        count.set(place.wrapping_add(1));
        let half = |which: bool| u128::from(secret.hash_one((place, which)));
        let [bits @ .., _, _, _, _, _, _] = (half(false) << 64 | half(true)).to_ne_bytes();
        bits
    })
}

impl Exchange {
    pub(crate) fn begin(at: UnixTime, listener: usize, peer: IpAddr, method: &Method) -> Self {
        Self {
            started: Instant::now(),
            at,
            id: None,
            listener,
            peer,
            method: method.into(),
            uri: Uri::default(),
            route: None,
            rule: None,
            status: 0,
            reason: None,
            would_deny: None,
            near_miss: None,
            issuer: None,
            cache: None,
            verified_in: None,
            upstream: None,
            revoked_by: None,
            stream_ended: None,
            token: TokenNotes::default(),
            trace: None,
            declined: false,
            cause: None,
        }
    }

    /// The decision's id (UUIDv7): in the refusal's `instance` and in the log.
    pub(crate) fn id(&mut self) -> Uuid {
        let millis = self.at.millis();
        *self
            .id
            .get_or_insert_with(|| Builder::from_unix_timestamp_millis(millis, &bits()).into_uuid())
    }

    pub(crate) const fn outcome(&self) -> Outcome {
        if self.declined {
            return Outcome::Deny;
        }
        Outcome::of(self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(at: UnixTime) -> Vec<Uuid> {
        let peer = IpAddr::from([127, 0, 0, 1]);
        let id = |_| Exchange::begin(at, 0, peer, &Method::GET).id();
        (0..1000).map(id).collect()
    }

    #[test]
    fn ids_of_one_millisecond_differ_and_begin_with_its_time() {
        let at = UnixTime::from_secs(1_800_000_000);
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(move || ids(at)))
            .collect();
        let mut all: Vec<Uuid> = threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("ids"))
            .collect();
        for id in &all {
            assert_eq!(
                (id.get_version_num(), id.get_variant()),
                (7, uuid::Variant::RFC4122)
            );
            let time = id.get_timestamp().expect("a time").to_unix();
            assert_eq!(time, (1_800_000_000, 0));
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4000);
    }
}
