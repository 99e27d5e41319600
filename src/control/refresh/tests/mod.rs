//! A keeper with a source that the test moves, on a paused clock: hours pass in no time.

mod cases;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use serde_json::json;

use super::*;
use crate::clock::SystemClock;
use crate::config::{IssuerSettings, KeySourceSettings};
use crate::keys::jwks;
use crate::oauth::Algorithm;
use crate::observe::audit::{AuditSettings, Output, SubjectPolicy};
use crate::signing::SigningKey;

const REFRESH: Duration = Duration::from_secs(600);
const STALE_MAX: Duration = Duration::from_secs(86_400);
const GAP: Duration = Duration::from_secs(30);

/// Wall time that goes with tokio's.
#[derive(Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(1_795_532_645).plus(self.0.elapsed())
    }
}

/// What the provider does, one entry a fetch; the last goes on for ever.
#[derive(Clone, Debug)]
enum Does {
    Gives(String),
    Says(String, Duration),
    Fails,
    Hangs,
    Same,
    Slowly(String, Duration),
    SlowlySame(Duration),
}

#[derive(Clone, Debug)]
struct Double(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    does: Mutex<VecDeque<Does>>,
    asked: AtomicUsize,
}

impl KeySource for Double {
    fn place(&self) -> &str {
        "https://login.test/keys"
    }

    fn origin(&self) -> Option<&str> {
        Some("login.test")
    }

    async fn fetch(&mut self, in_use: bool, _: bool) -> Result<Fetched, FetchError> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let does = {
            let mut does = self.0.does.lock().expect("the script");
            match does.len() {
                0 | 1 => does.front().cloned().unwrap_or(Does::Fails),
                _ => does.pop_front().unwrap_or(Does::Fails),
            }
        };
        let fetched = |document: Option<String>, fresh_for| {
            Ok(Fetched {
                document: document.map(Into::into),
                fresh_for,
                date: None,
            })
        };
        match does {
            Does::Gives(document) => fetched(Some(document), None),
            Does::Says(document, fresh_for) => fetched(Some(document), Some(fresh_for)),
            Does::Slowly(document, wait) => {
                tokio::time::sleep(wait).await;
                fetched(Some(document), None)
            }
            Does::SlowlySame(wait) => {
                tokio::time::sleep(wait).await;
                fetched(None, None)
            }
            Does::Fails => Err(FetchError::Broken),
            Does::Hangs => {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Err(FetchError::Timeout)
            }
            Does::Same => {
                assert!(in_use, "only where the last document is in use");
                fetched(None, None)
            }
        }
    }
}

struct World {
    clock: Arc<dyn Clock>,
    keys: Arc<Published<IssuerKeys>>,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    status: Arc<KeyStatus>,
    records: watch::Receiver<Record>,
}

impl World {
    fn start(does: &[Does]) -> Self {
        Self::start_with(does, Beginning::default(), false)
    }

    fn start_with(does: &[Does], beginning: Beginning, on_demand: bool) -> Self {
        let rules = issuer();
        let settings = IssuerSettings {
            rules: Arc::clone(&rules),
            source: KeySourceSettings::Fixed(Arc::new(KeySet::new(vec![]))),
        };
        let status = Arc::new(KeyStatus::new(&settings));
        let around = around();
        let clock = Arc::clone(&around.clock);
        let keys = Arc::new(Published::new(IssuerKeys::default()));
        let shared = Arc::new(Shared::default());
        *shared.does.lock().expect("the script") = does.iter().cloned().collect();
        let (save, records) = watch::channel(Record::default());
        let (orders, received) = mpsc::channel(256);
        let freshness = FreshnessSettings {
            refresh: REFRESH,
            stale_max: Some(STALE_MAX),
            unknown_kid_gap: GAP,
        };
        let keeper = Keeper::new(
            around,
            (rules, Arc::clone(&keys)),
            Arc::clone(&status),
            (&freshness, on_demand),
            Double(Arc::clone(&shared)),
            beginning,
            Saving {
                newest: save,
                done: watch::channel(u64::MAX).1,
            },
        );
        tokio::spawn(keeper.keep(received));
        Self {
            clock,
            keys,
            shared,
            orders,
            status,
            records,
        }
    }

    fn then(&self, does: &[Does]) {
        *self.shared.does.lock().expect("the script") = does.iter().cloned().collect();
    }

    fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    fn kids(&self) -> Option<Vec<String>> {
        let keys = self.keys.load();
        Some(
            keys.set
                .as_ref()?
                .iter()
                .filter_map(|key| Some(key.kid()?.to_owned()))
                .collect(),
        )
    }

    /// A token names a key; gives how long the answer took.
    async fn find(&self, kid: &str) -> Duration {
        let (answer, answered) = oneshot::channel();
        let started = Instant::now();
        let request = KeyRequest {
            issuer: "main".into(),
            kid: Some(kid.into()),
            answer,
        };
        self.orders
            .send(Order::Find(request))
            .await
            .expect("a keeper");
        let _ = answered.await;
        started.elapsed()
    }

    async fn refresh(&self) -> Result<(), FetchError> {
        let (answer, answered) = oneshot::channel();
        self.orders
            .send(Order::Refresh(answer))
            .await
            .expect("a keeper");
        answered.await.expect("an answer")
    }
}

fn issuer() -> Arc<Issuer> {
    Arc::new(Issuer {
        name: "main".into(),
        issuer: "https://login.test/".into(),
        audiences: vec!["https://api.test".into()],
        algorithms: [Algorithm::Es256, Algorithm::EdDsa].into_iter().collect(),
        token_types: vec!["at+jwt".into()],
        leeway: Duration::from_secs(30),
        lifetime_max: None,
        age_max: None,
        require: vec![],
        scope_claims: vec![],
        renewal: None,
        introspection: None,
        logout: None,
        events: None,
    })
}

fn around() -> Around {
    let audit = AuditSettings {
        allow_one_in: None,
        deny_per_second: 0,
        subject: SubjectPolicy::Off,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let audit = Audit::start(Output::Off, audit, Arc::default(), &clock, std::io::sink());
    let audit = audit.expect("an audit");
    Around {
        clock: Arc::new(PausedClock(Instant::now())),
        audit: Arc::new(audit),
        gate: Arc::default(),
    }
}

/// Public keys by their names; the same name is the same key.
struct Keys(Vec<(String, SigningKey)>);

impl Keys {
    fn new(kids: &[&str]) -> Self {
        let key = |kid: &&str| {
            let key = SigningKey::generate("ES256", Some(kid)).expect("a key");
            ((*kid).to_owned(), key)
        };
        Self(kids.iter().map(key).collect())
    }

    fn jwk(&self, kid: &str) -> serde_json::Value {
        let found = self.0.iter().find(|(name, _)| name == kid);
        found.and_then(|(_, key)| key.jwk()).expect("a key")
    }

    fn set(&self, kids: &[&str]) -> Does {
        Does::Gives(self.document(kids))
    }

    fn document(&self, kids: &[&str]) -> String {
        let keys: Vec<_> = kids.iter().map(|kid| self.jwk(kid)).collect();
        json!({ "keys": keys }).to_string()
    }

    fn with_private_part(&self, public: &[&str], private: &str) -> Does {
        let mut keys: Vec<_> = public.iter().map(|kid| self.jwk(kid)).collect();
        let mut exposed = self.jwk(private);
        exposed["d"] = json!("AAAA");
        keys.push(exposed);
        Does::Gives(json!({ "keys": keys }).to_string())
    }
}

/// Lets the keeper come to rest.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

async fn pass(span: Duration) {
    tokio::time::sleep(span).await;
    settle().await;
}
