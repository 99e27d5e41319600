//! Control: the single writer of the policy, on a runtime of its own.
//!
//! Each issuer whose keys come from somewhere has a task that keeps them; all tasks run on one
//! thread, and reading the policy, changing it and publishing it is one step without a wait in
//! between, so no change is lost and readers never lock. Opaque tokens are asked about here too.

mod discovery;
pub(crate) mod fetch;
mod gate;
mod introspect;
mod key_source;
mod probe;
mod refresh;
mod saved;
mod status;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::authenticate::IntrospectionRequest;
use crate::clock::UnixTime;
use crate::config::{FreshnessSettings, IssuerSettings, KeySourceSettings};
use crate::gateway::Gateway;
use crate::keys::{KeyRequest, jwks};
use crate::policy::{IssuerId, TrustedIssuer};
use crate::revocation::Revocations;

use fetch::Trust;
use gate::Gate;
use introspect::Introspector;
use key_source::ConfiguredSource;
use refresh::{Beginning, BegunKeys, Keeper, Order};
use watch::Watch;

pub(crate) use fetch::FetchError;
pub(crate) use introspect::IntrospectionStatus;
pub(crate) use probe::{Probe, probe};
pub(crate) use saved::SavedKeys;
pub(crate) use status::{KeyStatus, SourceKind};

/// Orders for one issuer that may wait while its keys are fetched.
const ORDERS_MAX: usize = 256;
/// How often revocations that have run out are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);
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
pub(crate) fn prepare(
    issuers: Vec<IssuerSettings>,
    saved: Option<&SavedKeys>,
    now: UnixTime,
) -> (Vec<Kept>, Orders) {
    let mut orders = Orders::default();
    let kept = issuers.into_iter().map(|settings| {
        let (told, received) = mpsc::channel(ORDERS_MAX);
        let status = Arc::new(KeyStatus::new(&settings));
        if status.source.is_kept() {
            orders.0.insert(Arc::clone(&status.name), told);
        }
        Kept {
            beginning: beginning(&settings, &status, saved, now),
            introspection: Arc::default(),
            settings,
            status,
            orders: received,
        }
    });
    (kept.collect(), orders)
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
    saved: Option<&SavedKeys>,
    now: UnixTime,
) -> Beginning {
    let record = saved
        .filter(|_| status.source.is_kept())
        .and_then(|saved| saved.load(&settings.rules.issuer));
    let distrusted = record
        .as_ref()
        .map(saved::Record::distrusted)
        .unwrap_or_default();
    let read = |document: &[u8]| {
        let published = jwks::read(document, settings.rules.algorithms, &distrusted);
        let (keys, _) = published.ok()?.into_set().ok()?;
        Some(Arc::new(keys))
    };
    let keys = match &settings.source {
        KeySourceSettings::File(file) => read(&file.document).map(|keys| BegunKeys {
            keys,
            document: file.document.clone(),
            seen_at: now,
            age: Duration::ZERO,
        }),
        KeySourceSettings::Url(_, jwks) | KeySourceSettings::Discovery(jwks) => {
            let document = record
                .as_ref()
                .and_then(|record| record.document(&status.place));
            document.and_then(|(seen_at, document)| {
                let age = now.since(seen_at);
                let stale = jwks.freshness.stale_max.is_some_and(|limit| age >= limit);
                if stale || seen_at > now.plus(FUTURE_MAX) {
                    tracing::warn!(issuer = %status.name, %seen_at, "the saved key set is too old, or from the future, and is not used");
                    return None;
                }
                let keys = read(document.as_bytes())?;
                tracing::info!(issuer = %status.name, %seen_at, keys = keys.len(), "starting with the saved key set");
                Some(BegunKeys {
                    keys,
                    document: document.to_owned().into(),
                    seen_at,
                    age,
                })
            })
        }
        KeySourceSettings::Fixed(_) | KeySourceSettings::Introspection(_) => None,
    };
    Beginning { keys, distrusted }
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
    revocations: Arc<Revocations>,
    (mut keys, mut introspections): (
        mpsc::Receiver<KeyRequest>,
        mpsc::Receiver<IntrospectionRequest>,
    ),
) {
    let mut start = Start {
        gate: Arc::new(Gate::default()),
        trust: Trust::default(),
        watch: None,
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
        // Lives as long as control does.
        watch: _watch,
        ..
    } = start;
    let clock = Arc::clone(&gateway.clock);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(FORGET_EVERY);
        loop {
            tick.tick().await;
            revocations.forget_expired(clock.now());
        }
    });
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

/// What the issuers share while they are started.
struct Start {
    gateway: Arc<Gateway>,
    gate: Arc<Gate>,
    trust: Trust,
    watch: Option<Watch>,
    saved: SavedKeys,
    introspectors: HashMap<Arc<str>, Arc<Introspector>>,
}

impl Start {
    fn issuer(&mut self, id: IssuerId, kept: Kept, orders: &Orders) -> Result<(), FetchError> {
        if let KeySourceSettings::Introspection(settings) = &kept.settings.source {
            let name = &kept.status.name;
            let introspector =
                Introspector::new(name, settings, &mut self.trust, kept.introspection)?;
            self.introspectors
                .insert(Arc::clone(name), Arc::new(introspector));
            return Ok(());
        }
        let Some(source) = key_source::made(&kept.settings, &mut self.trust)? else {
            return Ok(());
        };
        let freshness: &FreshnessSettings = match &kept.settings.source {
            KeySourceSettings::File(file) => {
                if let Some(keeper) = orders.0.get(&kept.status.name) {
                    self.watch_file(&file.path, keeper.clone(), &kept.status.name);
                }
                &file.freshness
            }
            KeySourceSettings::Url(_, jwks) | KeySourceSettings::Discovery(jwks) => &jwks.freshness,
            KeySourceSettings::Fixed(_) | KeySourceSettings::Introspection(_) => return Ok(()),
        };
        let on_demand = kept.status.on_demand;
        let (save, newest) = tokio::sync::watch::channel(None);
        let clock = Arc::clone(&self.gateway.clock);
        let writer = self.saved.clone();
        tokio::spawn(writer.write_newest(newest, Arc::clone(&kept.status), clock));
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
        tokio::spawn(keeper.keep(kept.orders));
        Ok(())
    }

    /// Without a watch the file is read again at each refresh.
    fn watch_file(&mut self, path: &std::path::Path, keeper: mpsc::Sender<Order>, issuer: &str) {
        let watched = match &mut self.watch {
            Some(watch) => Ok(watch),
            none => Watch::start().map(|watch| none.insert(watch)),
        };
        let watched = watched.and_then(|watch| {
            // A full queue has this order in it already, or a fetch that comes after.
            watch.add(path, move || _ = keeper.try_send(Order::Look))
        });
        if let Err(error) = watched {
            tracing::warn!(issuer, path = %path.display(), %error, "the file's folder cannot be watched; it is read again at each refresh");
        }
    }
}
