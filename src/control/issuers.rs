//! The issuers of the configuration: what each begins with, and who looks after its keys.
//!
//! A reload leaves an issuer alone whose settings are the same. Any other begins anew, with the keys that
//! its predecessor had, if they came from the same place.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::fetch::{FetchError, Trust};
use super::introspect::{IntrospectionStatus, Introspector};
use super::key_source::{self, ConfiguredSource};
use super::refresh::{Around, Beginning, BegunKeys, DISTRUSTED_MAX, Keeper, Order, Saving};
use super::saved::{DamagedExposed, NoSet, Record, SavedKeys};
use super::status::KeyStatus;
use super::tasks::Tasks;
use super::watch as files;
use crate::clock::{Clock, UnixTime};
use crate::config::{IssuerSettings, KeySourceSettings};
use crate::keys::{KeySet, Thumbprint, jwks};
use crate::policy::{IssuerKeys, TrustedIssuer};
use crate::published::Published;

/// Orders for one issuer that may wait for its keeper's next turn.
const ORDERS_MAX: usize = 4096;
/// A saved set from further in the future than this was saved by a clock that cannot be trusted.
const FUTURE_MAX: Duration = Duration::from_secs(300);

/// One issuer that serves. Its keeper ends when this is dropped.
pub(crate) struct KeptIssuer {
    pub(super) settings: IssuerSettings,
    pub(crate) status: Arc<KeyStatus>,
    pub(crate) introspection: Arc<IntrospectionStatus>,
    pub(super) introspector: Option<Arc<Introspector>>,
    keys: Arc<Published<IssuerKeys>>,
    /// The way to its keeper; `None`: there is nothing to keep.
    pub(super) orders: Option<mpsc::Sender<Order>>,
    /// The newest that is to be on disk.
    record: Option<watch::Receiver<Record>>,
    /// One writes the issuer's files at a time.
    turn: Arc<Mutex<()>>,
    /// Whoever looks at its file.
    looking: Arc<Tasks>,
}

impl std::fmt::Debug for KeptIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptIssuer")
            .field("name", &self.status.name)
            .finish_non_exhaustive()
    }
}

/// What is still to be started for an issuer.
pub(crate) struct Begins {
    settings: IssuerSettings,
    status: Arc<KeyStatus>,
    keys: Arc<Published<IssuerKeys>>,
    source: ConfiguredSource,
    beginning: Beginning,
    orders: mpsc::WeakSender<Order>,
    received: mpsc::Receiver<Order>,
    newest: watch::Sender<Record>,
    /// What the files hold, as far as that is known.
    written: Record,
    turn: Arc<Mutex<()>>,
    looking: Arc<Tasks>,
}

/// Why an issuer cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    #[error(transparent)]
    Exposed(#[from] DamagedExposed),
    #[error("issuer `{0}`: {1}")]
    Source(Arc<str>, FetchError),
}

/// All issuers, in their order, and what is to be started for those that are new.
pub(crate) type Prepared = (Vec<Arc<KeptIssuer>>, Vec<Begins>);

/// Makes every issuer ready: keys of the configuration, of its predecessor, and those of an earlier run
/// that are not too old.
///
/// # Errors
/// Which keys must not be trusted cannot be read, or roots cannot be used.
pub(crate) fn prepare(
    issuers: Vec<IssuerSettings>,
    saved: &SavedKeys,
    clock: &Arc<dyn Clock>,
    old: &[Arc<KeptIssuer>],
) -> Result<Prepared, NotKept> {
    let mut trust = Trust::default();
    let (mut kept, mut begin) = (Vec::new(), Vec::new());
    for settings in issuers {
        if let Some(same) = old.iter().find(|old| old.settings == settings) {
            kept.push(Arc::clone(same));
            continue;
        }
        let same = |it: &&Arc<KeptIssuer>| it.settings.rules.issuer == settings.rules.issuer;
        let before = old.iter().find(same).map(|it| &**it);
        let (issuer, begins) = one(settings, saved, clock, before, &mut trust)?;
        kept.push(Arc::new(issuer));
        begin.extend(begins);
    }
    Ok((kept, begin))
}

fn one(
    settings: IssuerSettings,
    saved: &SavedKeys,
    clock: &Arc<dyn Clock>,
    before: Option<&KeptIssuer>,
    trust: &mut Trust,
) -> Result<(KeptIssuer, Option<Begins>), NotKept> {
    let status = Arc::new(KeyStatus::new(&settings));
    let name = &status.name;
    let introspection: Arc<IntrospectionStatus> = Arc::default();
    let failed = |error| NotKept::Source(Arc::clone(name), error);
    let introspector = match &settings.source {
        KeySourceSettings::Introspection(asked) => {
            let around = (Arc::clone(&introspection), Arc::clone(clock));
            let made = Introspector::new(name, asked, trust, around);
            Some(Arc::new(made.map_err(failed)?))
        }
        _ => None,
    };
    let source = key_source::made(&settings, trust).map_err(failed)?;
    let now = clock.now();
    let turn = before.map(|it| Arc::clone(&it.turn)).unwrap_or_default();
    let newest = before.and_then(|it| it.record.as_ref());
    let newest = newest.map(|record| record.borrow().clone());
    let exposed = saved.exposed(&settings.rules.issuer)?;
    let iss = &settings.rules.issuer;
    let written = Record::new(iss, &status.place, None, &exposed);
    let beginning = match &source {
        Some(_) => beginning(&settings, &status, saved, (exposed, newest), now),
        None => Beginning::default(),
    };
    let unsaved = Record::new(iss, &status.place, None, &beginning.distrusted);
    let begun = beginning.keys.as_ref();
    let keys = Arc::new(Published::new(IssuerKeys {
        set: match &settings.source {
            KeySourceSettings::Fixed(keys) => Some(Arc::clone(keys)),
            _ => begun.map(|begun| Arc::clone(&begun.keys)),
        },
        checked_at: begun.map(|begun| begun.seen_at),
        ..IssuerKeys::default()
    }));
    let mut kept = KeptIssuer {
        settings,
        status,
        introspection,
        introspector,
        keys,
        orders: None,
        record: None,
        turn,
        looking: Arc::default(),
    };
    let Some(source) = source else {
        return Ok((kept, None));
    };
    let (orders, received) = mpsc::channel(ORDERS_MAX);
    let (newest, record) = watch::channel(unsaved);
    let begins = Begins {
        settings: kept.settings.clone(),
        status: Arc::clone(&kept.status),
        keys: Arc::clone(&kept.keys),
        source,
        beginning,
        orders: orders.downgrade(),
        received,
        newest,
        written,
        turn: Arc::clone(&kept.turn),
        looking: Arc::clone(&kept.looking),
    };
    kept.orders = Some(orders);
    kept.record = Some(record);
    Ok((kept, Some(begins)))
}

impl KeptIssuer {
    /// The issuer as a policy has it.
    pub(crate) fn trusted(&self) -> TrustedIssuer {
        TrustedIssuer::new(Arc::clone(&self.settings.rules), Arc::clone(&self.keys))
    }

    /// Has its keys fetched now. `None`: there is nothing to fetch.
    pub(crate) async fn refresh(&self) -> Option<Result<(), FetchError>> {
        let (answer, answered) = oneshot::channel();
        let keeper = self.orders.as_ref()?;
        keeper.send(Order::Refresh(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Gives it keys in the place of those that would have to be fetched.
    pub(crate) fn give(&self, keys: KeySet) {
        self.keys.publish(IssuerKeys {
            set: Some(Arc::new(keys)),
            ..IssuerKeys::default()
        });
    }

    /// Waits until it has keys, or a try to get some has failed.
    /// Whether its tokens cannot be judged for want of keys that it should have by now.
    pub(crate) fn lacks_keys(&self) -> bool {
        self.orders.is_some() && !self.status.on_demand && self.keys.look().set.is_none()
    }

    pub(super) async fn tried(&self) {
        if self.lacks_keys() {
            self.status.tried().await;
        }
    }
}

impl Begins {
    /// Starts whoever keeps the keys, for as long as the issuer serves.
    pub(super) fn start(self, around: &Around, saved: &SavedKeys) {
        let on_demand = self.status.on_demand;
        let freshness = match &self.settings.source {
            KeySourceSettings::File(file) => {
                let keeper = self.orders;
                // A full queue is tried again: the next look tells once more.
                let tell = move || match keeper.upgrade().map(|keeper| keeper.try_send(Order::Look))
                {
                    None | Some(Err(mpsc::error::TrySendError::Closed(_))) => false,
                    Some(Ok(()) | Err(mpsc::error::TrySendError::Full(_))) => true,
                };
                self.looking.spawn(files::watch(file.path.clone(), tell));
                file.freshness
            }
            KeySourceSettings::Url(_, jwks) | KeySourceSettings::Discovery(jwks) => jwks.freshness,
            KeySourceSettings::Fixed(_) | KeySourceSettings::Introspection(_) => return,
        };
        let (done, written) = watch::channel(0);
        let save = Saving {
            newest: self.newest,
            done: written,
        };
        let records = save.newest.subscribe();
        let (saved, clock) = (saved.clone(), Arc::clone(&around.clock));
        let (turn, before, status) = (self.turn, self.written, Arc::clone(&self.status));
        tokio::spawn(async move {
            let _turn = turn.lock_owned().await;
            saved
                .write_newest(records, before, done, status, clock)
                .await;
        });
        let keeper: Keeper<ConfiguredSource> = Keeper::new(
            around.clone(),
            (self.settings.rules, Arc::clone(&self.keys)),
            Arc::clone(&self.status),
            (&freshness, on_demand),
            self.source,
            self.beginning,
            save,
        );
        let keeping = tokio::spawn(keeper.keep(self.received));
        tokio::spawn(async move {
            if keeping.await.is_err() {
                // Nobody looks after these keys any more: they are not trusted any more.
                let issuer = &*self.status.name;
                tracing::error!(issuer, "a keeper of keys has failed; restart the gateway");
                self.keys.publish(IssuerKeys::default());
            }
        });
    }
}

/// What an issuer's keeper begins with.
fn beginning(
    settings: &IssuerSettings,
    status: &KeyStatus,
    saved: &SavedKeys,
    (mut distrusted, newest): (HashSet<Thumbprint>, Option<Record>),
    now: UnixTime,
) -> Beginning {
    distrusted.extend(
        newest
            .iter()
            .flat_map(|newest| newest.exposed.iter().copied()),
    );
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
        KeySourceSettings::Url(_, jwks) | KeySourceSettings::Discovery(jwks) => newest
            .and_then(|newest| newest.set_of(&status.place))
            .map_or_else(|| saved.set(&settings.rules.issuer, &status.place), Ok)
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
    Beginning {
        keys: found.ok(),
        distrusted,
    }
}
