//! From a checked configuration to what can serve: everything that can fail, and nothing that can be seen.
//!
//! The first start and a reload go the same way. A reload takes over what did not change: issuers with
//! their keys, upstreams with their connections and health, sockets, the counts of limits.

use std::io;
use std::sync::Arc;

use super::active::{Active, Door, label, own_url};
use super::certificates::Watched;
use super::issuers::{self, Begins, KeptIssuer, NotKept};
use super::saved::SavedKeys;
use super::upstreams::KeptUpstream;
use crate::clock::Clock;
use crate::config::{AdminSettings, Config, ListenerSettings, Texts};
use crate::forward::InternalTokens;
use crate::gateway::{Front, Setup, SetupPlaces};
use crate::http::headers::ReservedNames;
use crate::inbound::Endpoints;
use crate::limit::Buckets;
use crate::listen::admission::Admission;
use crate::listen::{Address, Inherited, Socket};
use crate::observe::Names;
use crate::observe::audit::AuditSettings;
use crate::policy::{ListenerId, Placement, Policy, Resources, Route, RouteTable};
use crate::reject::{NamedLimits, Site};
use crate::tls::Tls;
use crate::tls::certificates::Certificates;
use crate::worker::{Listener, ListenerCounts};

/// Peers whose refusals one listener remembers, about.
const PEERS_MAX: usize = 100_000;
/// Where the help pages stand below the public URL.
const PROBLEMS: &str = "/.well-known/bearward/problems/";

/// Why a configuration cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// An address cannot be listened on.
    #[error("{what} cannot listen on {address}: {source}")]
    Bind {
        /// Which listener.
        what: String,
        /// Where.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// An issuer's keys cannot be kept.
    #[error("{0}")]
    Issuer(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl From<NotKept> for PrepareError {
    fn from(error: NotKept) -> Self {
        Self::Issuer(error.to_string())
    }
}

/// What a configuration is prepared with.
pub(crate) struct Around<'a> {
    pub(crate) names: &'a Names,
    pub(crate) saved: &'a SavedKeys,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) workers: usize,
    /// Sockets that were passed to this process.
    pub(crate) inherited: &'a Inherited,
}

/// A configuration that can serve.
pub(crate) struct Prepared {
    pub(super) texts: Arc<Texts>,
    pub(super) setup: Arc<Setup>,
    pub(super) issuers: Vec<Arc<KeptIssuer>>,
    pub(super) begin: Vec<Begins>,
    pub(super) upstreams: Vec<Arc<KeptUpstream>>,
    pub(super) doors: Vec<NextDoor>,
    pub(super) certificates: Vec<Watched>,
    pub(super) admin: AdminSettings,
    pub(super) audit: AuditSettings,
    pub(super) name_routes: bool,
}

/// A listener of the configuration that comes.
pub(super) struct NextDoor {
    pub(super) listener: Arc<Listener>,
    pub(super) address: Address,
    pub(super) limits: (usize, usize),
    /// Certificates for a listener that goes on with its sessions.
    pub(super) renewed: Option<Certificates>,
    pub(super) place: Place,
}

pub(super) enum Place {
    Kept(Door),
    /// Where it was bound to, and one socket or more for each worker.
    New(Address, Vec<Socket>),
}

impl Place {
    const fn bound(&self) -> &Address {
        match self {
            Self::Kept(door) => &door.bound,
            Self::New(bound, _) => bound,
        }
    }
}

/// Makes a configuration ready to serve, beside `old` if that serves now.
///
/// # Errors
/// An address is taken, or something that it names cannot be used.
pub(crate) fn prepare(
    mut config: Config,
    around: &Around<'_>,
    old: Option<&Active>,
) -> Result<Prepared, PrepareError> {
    let known = old.map_or(&[][..], |old| &old.issuers);
    let settings = std::mem::take(&mut config.issuers);
    let (issuers, begin) = issuers::prepare(settings, around.saved, around.clock, known)?;
    let upstreams: Vec<_> = std::mem::take(&mut config.upstreams)
        .into_iter()
        .map(|upstream| {
            let mut known = old.iter().flat_map(|old| &old.upstreams);
            let same = known.find(|known| *known.upstream == *upstream);
            same.map_or_else(|| KeptUpstream::new(upstream).into(), Arc::clone)
        })
        .collect();
    if let Some(old) = old {
        for placement in &mut config.routes {
            keep_counts(placement, &old.setup.policy);
        }
    }
    let (mut doors, mut certificates) = (Vec::new(), Vec::new());
    for (index, settings) in std::mem::take(&mut config.listeners)
        .into_iter()
        .enumerate()
    {
        let (door, watched) = door(ListenerId(index), settings, around, old)?;
        doors.push(door);
        certificates.extend(watched);
    }
    let public_url = config.public_url.clone().unwrap_or_else(|| {
        let first = doors.first();
        first.map_or_else(String::new, |it| own_url(&it.listener, it.place.bound()))
    });
    let policy = Arc::new(policy(&config, doors.len(), &issuers));
    let names = around.names;
    let setup = Setup {
        endpoints: Endpoints::new(config.revoke_endpoint, &policy),
        site: Site {
            resources: match config.resource_metadata {
                true => Resources::new(&public_url, &policy),
                false => Resources::default(),
            },
            ..site(&public_url, config.realm.as_deref())
        },
        token_check: config.token_check,
        reserved: reserved(&config),
        internal: config.internal_token.take().map(InternalTokens::new),
        problem_pages: config.problem_pages,
        places: SetupPlaces {
            routes: names.routes.all(policy.routes().iter().map(|it| &it.name)),
            issuers: names.issuers.all(issuers.iter().map(|it| &it.status.name)),
            upstreams: names
                .upstreams
                .all(upstreams.iter().map(|it| &it.upstream.name)),
        },
        policy,
        digest: config.digest,
        drain_delay: config.drain_delay,
        drain_timeout: config.drain_timeout,
    };
    Ok(Prepared {
        texts: config.texts,
        setup: Arc::new(setup),
        issuers,
        begin,
        upstreams,
        doors,
        certificates,
        admin: config.admin,
        audit: config.audit,
        name_routes: config.route_names,
    })
}

/// Routes, rules, and the issuers with their keys.
pub(crate) fn policy(config: &Config, listeners: usize, issuers: &[Arc<KeptIssuer>]) -> Policy {
    // Collisions were faults of the configuration.
    let (routes, _) = RouteTable::new(listeners, &config.routes);
    Policy::new(issuers.iter().map(|it| it.trusted()).collect(), routes)
}

/// A limit that stays as it is goes on counting where it was.
fn keep_counts(placement: &mut Placement, old: &Policy) {
    let Some(route) = Arc::get_mut(&mut placement.route) else {
        return;
    };
    let name = Arc::clone(&route.name);
    let same = |it: &&Route| *it.name == *name;
    let before = old.routes().iter().find(same);
    let before = before.and_then(|it| it.limit.as_ref());
    if let (Some(limit), Some(before)) = (&mut route.limit, before)
        && limit.per == before.per
    {
        limit.buckets = kept_buckets(Arc::clone(&limit.buckets), Some(&before.buckets));
    }
}

fn kept_buckets(new: Arc<Buckets>, old: Option<&Arc<Buckets>>) -> Arc<Buckets> {
    match old {
        Some(old) if old.quota() == new.quota() => Arc::clone(old),
        _ => new,
    }
}

fn site(public_url: &str, realm: Option<&str>) -> Site {
    let host = public_url
        .parse::<http::Uri>()
        .ok()
        .and_then(|uri| uri.host().map(str::to_owned));
    Site {
        problem_base: format!("{public_url}{PROBLEMS}").into(),
        realm: realm
            .map_or_else(|| host.unwrap_or_default(), str::to_owned)
            .into(),
        resources: Resources::default(),
    }
}

fn reserved(config: &Config) -> ReservedNames {
    let mut reserved = ReservedNames::default();
    for placement in &config.routes {
        for (name, _) in &placement.route.identity {
            reserved.insert(name);
        }
    }
    reserved
}

fn door(
    id: ListenerId,
    mut settings: ListenerSettings,
    around: &Around<'_>,
    old: Option<&Active>,
) -> Result<(NextDoor, Option<Watched>), PrepareError> {
    let (name, address) = (Arc::clone(&settings.name), settings.address);
    let mut doors = old.iter().flat_map(|old| &old.doors);
    let here = doors.find(|door| door.is_of(&name, &address)).cloned();
    let mut known = old.iter().flat_map(|old| old.listeners());
    let named = known.find(|it| *it.front.name == *name);
    let place = match here {
        Some(door) => Place::Kept(door),
        None => {
            let failed = |source| PrepareError::Bind {
                what: format!("listener `{name}`"),
                address: address.to_string(),
                source,
            };
            let sockets = around
                .inherited
                .sockets(&label(&name), &address, around.workers);
            let sockets = sockets.map_err(failed)?;
            let first = sockets.first().map(Socket::address);
            let bound = first.unwrap_or_else(|| Ok(address.clone()));
            Place::New(bound.map_err(failed)?, sockets)
        }
    };
    let before = match &place {
        Place::Kept(door) => Some(&*door.listener),
        Place::New(..) => None,
    };
    let limits = (settings.connections, settings.connections_per_peer);
    let (mut files, mut renewed) = (None, None);
    let tls = match settings.tls.take() {
        None => None,
        Some(tls) => {
            files = Some(tls.files);
            let known = before.and_then(|before| before.tls.as_ref());
            let kept = known.and_then(|known| known.renewed(&tls.terms, tls.handshake_max));
            Some(match kept {
                Some(kept) => {
                    renewed = Some(tls.certificates);
                    kept
                }
                None => Tls::new(tls.certificates, tls.terms, tls.handshake_max)?,
            })
        }
    };
    let watched = files.zip(tls.as_ref()).map(|(files, tls)| Watched {
        listener: Arc::clone(&name),
        certificates: Arc::clone(tls.certificates()),
        files,
    });
    let admission = before.map(|before| Arc::clone(&before.admission));
    let listener = Listener {
        front: Arc::new(Front {
            id,
            place: around.names.listeners.of(&name),
            name,
            tls: tls.is_some(),
            redirect: settings.redirect,
            failures: settings.failures.map(|quota| {
                let old = before.and_then(|before| before.front.failures.as_ref());
                kept_buckets(Arc::new(Buckets::new(quota, PEERS_MAX)), old)
            }),
            trusted: settings.trusted_proxies,
            token_bytes_max: settings.token_bytes,
            limits: NamedLimits {
                header_bytes: settings.messages.header_bytes,
                target_bytes: settings.messages.target_bytes,
                body_bytes: settings.body.bytes_max,
            },
            body: settings.body,
            send_max: settings.waits.send,
        }),
        tls,
        clear_text: settings.clear_text,
        admission: admission.unwrap_or_else(|| Admission::new(limits.0, limits.1).into()),
        waits: settings.waits,
        messages: settings.messages,
        counts: match named {
            Some(named) => Arc::clone(&named.counts),
            None => Arc::new(ListenerCounts::default()),
        },
        proxy_protocol: settings.proxy_protocol,
        handshake_max: settings.handshake_max,
    };
    let door = NextDoor {
        listener: Arc::new(listener),
        address,
        limits,
        renewed,
        place,
    };
    Ok((door, watched))
}
