//! Control: the single writer of the policy, on a runtime of its own.
//!
//! Each issuer whose keys come from somewhere has a task that keeps them; all tasks run on one
//! thread, and reading the policy, changing it and publishing it is one step without a wait in
//! between, so no change is lost and readers never lock. Opaque tokens are asked about here too.

mod certificates;
mod discovery;
mod feed;
pub(crate) mod fetch;
mod gate;
mod introspect;
mod key_source;
mod probe;
mod refresh;
pub(crate) mod revocations;
mod revoked_file;
mod saved;
mod status;
mod upstreams;
mod watch;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::authenticate::IntrospectionRequest;
use crate::clock::UnixTime;
use crate::config::{FeedSettings, FreshnessSettings, IssuerSettings, KeySourceSettings};
use crate::forward::Upstream;
use crate::gateway::Gateway;
use crate::keys::{KeyRequest, jwks};
use crate::policy::{IssuerId, TrustedIssuer};
use crate::revocation::Revocations;

use fetch::Trust;
use gate::Gate;
use introspect::Introspector;
use key_source::ConfiguredSource;
use refresh::{Beginning, BegunKeys, DISTRUSTED_MAX, Keeper, Order, Saving};
use saved::Record;

pub(crate) use certificates::Watched as WatchedCertificates;
pub(crate) use fetch::FetchError;
pub(crate) use introspect::IntrospectionStatus;
pub(crate) use probe::{Probe, probe};
pub(crate) use saved::{DamagedExposed, NoSet, SavedKeys};
pub(crate) use status::{KeyStatus, SourceKind};

/// Orders for one issuer that may wait for its keeper's next turn.
const ORDERS_MAX: usize = 4096;
/// How often revocations that have run out are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Between two steps of that.
const FORGET_PAUSE: Duration = Duration::from_millis(20);
/// A saved set from further in the future than this was saved by a clock that cannot be trusted.
const FUTURE_MAX: Duration = Duration::from_secs(300);

/// One issuer as control starts with it.
pub(crate) struct Kept {
    settings: IssuerSettings,
    pub(crate) status: Arc<KeyStatus>,
    pub(crate) introspection: Arc<IntrospectionStatus>,
    beginning: Beginning,
    orders: mpsc::Receiver<Order>,
}

/// The way to the keepers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders(HashMap<Arc<str>, mpsc::Sender<Order>>);

/// Makes every issuer ready: keys of the configuration, and those of an earlier run that are not
/// too old.
///
/// # Errors
/// Which keys must not be trusted cannot be read.
pub(crate) fn prepare(
    issuers: Vec<IssuerSettings>,
    saved: &SavedKeys,
    now: UnixTime,
) -> Result<(Vec<Kept>, Orders), DamagedExposed> {
    let mut orders = Orders::default();
    let kept = issuers.into_iter().map(|settings| {
        let (told, received) = mpsc::channel(ORDERS_MAX);
        let status = Arc::new(KeyStatus::new(&settings));
        if status.source.is_kept() {
            orders.0.insert(Arc::clone(&status.name), told);
        }
        Ok(Kept {
            beginning: beginning(&settings, &status, saved, now)?,
            introspection: Arc::default(),
            settings,
            status,
            orders: received,
        })
    });
    let kept = kept.collect::<Result<_, _>>()?;
    Ok((kept, orders))
}

impl Kept {
    /// The issuer as the first policy has it.
    pub(crate) fn trusted(&self) -> TrustedIssuer {
        let begun = self.beginning.keys.as_ref();
        TrustedIssuer {
            rules: Arc::clone(&self.settings.rules),
            keys: match &self.settings.source {
                KeySourceSettings::Fixed(keys) => Some(Arc::clone(keys)),
                _ => begun.map(|begun| Arc::clone(&begun.keys)),
            },
            checked_at: begun.map(|begun| begun.seen_at),
        }
    }
}

/// What an issuer's keeper begins with.
fn beginning(
    settings: &IssuerSettings,
    status: &KeyStatus,
    saved: &SavedKeys,
    now: UnixTime,
) -> Result<Beginning, DamagedExposed> {
    if !status.source.is_kept() {
        return Ok(Beginning::default());
    }
    let distrusted = saved.exposed(&settings.rules.issuer)?;
    let read = |document: &[u8]| {
        if distrusted.len() >= DISTRUSTED_MAX {
            return Err(NoSet::TooManyExposed);
        }
        jwks::read(document, settings.rules.algorithms, &distrusted)
            .and_then(jwks::Published::into_set)
            .map(|(keys, _)| Arc::new(keys))
            .map_err(|error| NoSet::Unusable(error.to_string()))
    };
    let found = match &settings.source {
        KeySourceSettings::File(file) => read(&file.document).map(|keys| BegunKeys {
            keys,
            document: file.document.clone(),
            seen_at: now,
            age: Duration::ZERO,
        }),
        KeySourceSettings::Url(_, jwks) | KeySourceSettings::Discovery(jwks) => saved
            .set(&settings.rules.issuer, &status.place)
            .and_then(|(seen_at, document)| {
                let age = now.since(seen_at);
                if jwks.freshness.stale_max.is_some_and(|limit| age >= limit) {
                    return Err(NoSet::Stale(seen_at));
                }
                if seen_at > now.plus(FUTURE_MAX) {
                    return Err(NoSet::Future(seen_at));
                }
                let keys = read(document.as_bytes())?;
                tracing::info!(issuer = %status.name, %seen_at, keys = keys.len(), "starting with the saved key set");
                Ok(BegunKeys {
                    keys,
                    document: document.into(),
                    seen_at,
                    age,
                })
            }),
        KeySourceSettings::Fixed(_) | KeySourceSettings::Introspection(_) => Err(NoSet::None),
    };
    if let Err(why) = &found {
        if *why != NoSet::None {
            tracing::warn!(issuer = %status.name, %why, "starting without a key set of an earlier run");
        }
        status.note_begun(why);
    }
    Ok(Beginning {
        keys: found.ok(),
        distrusted,
    })
}

impl Orders {
    /// Has an issuer's keys fetched now. `None`: there is nothing to fetch for this name.
    pub(crate) async fn refresh(&self, issuer: &str) -> Option<Result<(), FetchError>> {
        let (answer, answered) = oneshot::channel();
        let keeper = self.0.get(issuer)?;
        keeper.send(Order::Refresh(answer)).await.ok()?;
        answered.await.ok()
    }
}

/// Runs control for as long as its runtime lives.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    kept: Vec<Kept>,
    orders: Orders,
    saved: SavedKeys,
    (upstreams, certificates): (&[Arc<Upstream>], Vec<WatchedCertificates>),
    (revocations, revoked_file, feed): (Arc<Revocations>, Option<PathBuf>, Option<FeedSettings>),
    (mut keys, mut introspections): (
        mpsc::Receiver<KeyRequest>,
        mpsc::Receiver<IntrospectionRequest>,
    ),
) {
    let mut start = Start {
        gate: Arc::new(Gate::default()),
        trust: Trust::default(),
        saved,
        introspectors: HashMap::new(),
        gateway,
    };
    for (index, issuer) in kept.into_iter().enumerate() {
        let name = Arc::clone(&issuer.status.name);
        if let Err(error) = start.issuer(IssuerId(index), issuer, &orders) {
            tracing::error!(issuer = %name, %error, "the keys of an issuer cannot be kept");
        }
    }
    let Start {
        gateway,
        introspectors,
        mut trust,
        ..
    } = start;
    if let Some(path) = revoked_file {
        let (gateway, list) = (Arc::clone(&gateway), Arc::clone(&revocations));
        tokio::spawn(revoked_file::keep(path, gateway, list));
    }
    upstreams::keep(upstreams);
    for watched in certificates {
        tokio::spawn(certificates::keep(watched));
    }
    let (over, are_over) = mpsc::channel(feed::OVER_MAX);
    if let Some(settings) = feed {
        let tls = settings.tls.then(|| trust.tls(settings.ca.as_deref()));
        match tls.transpose() {
            Ok(tls) => {
                let (gateway, list) = (Arc::clone(&gateway), Arc::clone(&revocations));
                let over = (over.clone(), are_over);
                tokio::spawn(feed::keep(settings, tls, gateway, list, over));
            }
            Err(error) => tracing::error!(%error, "the feed of revocations cannot be kept"),
        }
    }
    tokio::spawn(forget(revocations, Arc::clone(&gateway), over));
    loop {
        // An issuer with fixed keys, or one whose queue is full: the answer is dropped, which says
        // that there is nothing to wait for.
        tokio::select! {
            Some(request) = keys.recv() => {
                if let Some(keeper) = orders.0.get(&request.issuer) {
                    let _ = keeper.try_send(Order::Find(request));
                }
            }
            Some(request) = introspections.recv() => {
                if let Some(introspector) = introspectors.get(&request.issuer) {
                    introspector.ask(request);
                }
            }
            else => return,
        }
    }
}

/// Forgets revocations that have run out, and tells the feed.
async fn forget(list: Arc<Revocations>, gateway: Arc<Gateway>, over: mpsc::Sender<uuid::Uuid>) {
    let mut tick = tokio::time::interval(FORGET_EVERY);
    loop {
        tick.tick().await;
        // A little at a time: whoever revokes meanwhile must not wait for it.
        loop {
            let (own, now) = (Arc::clone(&list), gateway.clock.now());
            let forgetting = tokio::task::spawn_blocking(move || own.forget_expired(now));
            let forgotten = match forgetting.await.unwrap_or(Ok(Vec::new())) {
                Ok(forgotten) => forgotten,
                Err(error) => {
                    tracing::warn!(%error, "revocations that have run out are not forgotten");
                    break;
                }
            };
            if forgotten.is_empty() {
                break;
            }
            for version in forgotten {
                // Without a feed nobody asks; with a slow one, a later comparison removes them.
                let _ = over.try_send(version);
            }
            tokio::time::sleep(FORGET_PAUSE).await;
        }
    }
}

/// What the issuers share while they are started.
struct Start {
    gateway: Arc<Gateway>,
    gate: Arc<Gate>,
    trust: Trust,
    saved: SavedKeys,
    introspectors: HashMap<Arc<str>, Arc<Introspector>>,
}

impl Start {
    fn issuer(&mut self, id: IssuerId, kept: Kept, orders: &Orders) -> Result<(), FetchError> {
        if let KeySourceSettings::Introspection(settings) = &kept.settings.source {
            let name = &kept.status.name;
            let clock = Arc::clone(&self.gateway.clock);
            let introspector =
                Introspector::new(name, settings, &mut self.trust, (kept.introspection, clock))?;
            self.introspectors
                .insert(Arc::clone(name), Arc::new(introspector));
            return Ok(());
        }
        let Some(source) = key_source::made(&kept.settings, &mut self.trust)? else {
            return Ok(());
        };
        let freshness: &FreshnessSettings = match &kept.settings.source {
            KeySourceSettings::File(file) => {
                if let Some(keeper) = orders.0.get(&kept.status.name).cloned() {
                    // A full queue is tried again: the next look tells once more.
                    let tell = move || match keeper.try_send(Order::Look) {
                        Err(mpsc::error::TrySendError::Closed(_)) => false,
                        Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => true,
                    };
                    tokio::spawn(watch::watch(file.path.clone(), tell));
                }
                &file.freshness
            }
            KeySourceSettings::Url(_, jwks) | KeySourceSettings::Discovery(jwks) => &jwks.freshness,
            KeySourceSettings::Fixed(_) | KeySourceSettings::Introspection(_) => return Ok(()),
        };
        let on_demand = kept.status.on_demand;
        let exposed = &kept.beginning.distrusted;
        let nothing = Record::new(
            &kept.settings.rules.issuer,
            &kept.status.place,
            None,
            exposed,
        );
        let (newest, records) = tokio::sync::watch::channel(nothing);
        let (written, done) = tokio::sync::watch::channel(0);
        let save = Saving { newest, done };
        let clock = Arc::clone(&self.gateway.clock);
        let writer = self.saved.clone();
        tokio::spawn(writer.write_newest(records, written, Arc::clone(&kept.status), clock));
        let keeper: Keeper<ConfiguredSource> = Keeper::new(
            Arc::clone(&self.gateway),
            Arc::clone(&self.gate),
            (id, Arc::clone(&kept.settings.rules)),
            kept.status,
            (freshness, on_demand),
            source,
            kept.beginning,
            save,
        );
        let keeping = tokio::spawn(keeper.keep(kept.orders));
        let gateway = Arc::clone(&self.gateway);
        tokio::spawn(async move {
            if keeping.await.is_err() {
                // Nobody looks after these keys any more: they are not trusted any more.
                tracing::error!(
                    issuer = id.0,
                    "a keeper of keys has failed; restart the gateway"
                );
                let policy = gateway.policy.load().with_keys(id, None, None);
                gateway.policy.publish(policy);
            }
        });
        Ok(())
    }
}
