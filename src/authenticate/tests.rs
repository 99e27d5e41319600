//! The cache law as a property: for any token, clock, key set, revocations and route, the verdict
//! with a warm cache equals the verdict with none.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::keys::{KeySet, jwks};
use crate::oauth::AlgorithmSet;
use crate::policy::{Issuer, IssuerId, IssuerKeys, RouteTable, Trust, TrustedIssuer};
use crate::published::Published;
use crate::revocation::{Kind, Revocation, Selector};
use crate::signing::SigningKey;

const NOW: i64 = 1_795_532_645;

/// Everything that a step of the property chooses from.
struct World {
    tokens: Vec<String>,
    policies: Vec<Policy>,
    routes: Vec<Route>,
    revocations: Vec<Arc<Revocations>>,
}

fn claims(change: Value) -> Value {
    let mut claims = json!({
        "iss": "https://a.test/", "aud": ["x", "y"], "sub": "alice", "jti": "1",
        "iat": NOW - 100, "exp": NOW + 100,
    });
    if let (Value::Object(claims), Value::Object(change)) = (&mut claims, change) {
        claims.extend(change);
    }
    claims
}

fn issuer(name: &str, issuer: &str) -> Arc<Issuer> {
    Arc::new(Issuer {
        name: name.into(),
        issuer: issuer.into(),
        audiences: vec!["x".into(), "y".into()],
        algorithms: [Algorithm::Es256, Algorithm::EdDsa].into_iter().collect(),
        token_types: vec!["at+jwt".into()],
        leeway: Duration::from_secs(30),
        lifetime_max: Some(Duration::from_secs(600)),
        age_max: Some(Duration::from_secs(300)),
        require: vec!["sub".into()],
        scope_claims: vec!["scope".into()],
        renewal: None,
        introspection: None,
        logout: None,
        events: None,
    })
}

fn route(trusts: Vec<Trust>) -> Route {
    Route::of_a_test("r", 0, Access::Token(trusts))
}

fn trust(issuer: usize, audience: &str) -> Trust {
    Trust {
        issuer: IssuerId(issuer),
        audiences: vec![audience.into()],
    }
}

fn set(keys: &[&SigningKey]) -> Option<Arc<KeySet>> {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    let allowed: AlgorithmSet = [Algorithm::Es256, Algorithm::EdDsa].into_iter().collect();
    let document = json!({ "keys": keys }).to_string();
    let published = jwks::read(document.as_bytes(), allowed, &Default::default());
    let (set, _) = published.and_then(jwks::Published::into_set).expect("keys");
    Some(Arc::new(set))
}

fn policy(a: Option<Arc<KeySet>>, b: Option<Arc<KeySet>>) -> Policy {
    let trusted = |rules, set| {
        let keys = IssuerKeys {
            set,
            ..IssuerKeys::default()
        };
        TrustedIssuer::new(rules, Arc::new(Published::new(keys)))
    };
    let issuers = vec![
        trusted(issuer("a", "https://a.test/"), a),
        trusted(issuer("b", "https://b.test/"), b),
    ];
    Policy::new(issuers, RouteTable::new(0, &[]).0)
}

fn revoked(kind: Kind, value: &str, cut: Option<i64>) -> Arc<Revocations> {
    let list = Revocations::in_memory().expect("a list");
    let revocation = Revocation {
        id: uuid::Uuid::from_u128(1),
        selector: Selector {
            issuer: "https://a.test/".into(),
            kind,
            value: value.into(),
        },
        issued_before: cut.map(UnixTime::from_secs),
        until: None,
        reason: None,
        author: "test".into(),
        at: UnixTime::from_secs(NOW),
    };
    list.add(vec![revocation]).expect("room");
    Arc::new(list)
}

fn world() -> World {
    let key = |alg, kid| SigningKey::generate(alg, Some(kid)).expect("a key");
    let (one, two) = (key("ES256", "1"), key("EdDSA", "2"));
    // The same id with another key, and the same key with another id.
    let other = key("ES256", "1");
    let renamed = SigningKey::read("ES256", Some("9"), &one.private_file()).expect("a key");
    let at = Some("at+jwt");
    let sign = |key: &SigningKey, typ, change| key.sign(typ, &claims(change)).expect("a token");
    let good = sign(&one, at, json!({}));
    let tokens = vec![
        good.clone(),
        sign(&two, at, json!({})),
        sign(&other, at, json!({})),
        sign(&renamed, at, json!({})),
        sign(&one, at, json!({ "iss": "https://b.test/" })),
        sign(&one, at, json!({ "iss": "https://c.test/" })),
        sign(&one, at, json!({ "aud": "y" })),
        sign(&one, at, json!({ "exp": NOW - 50 })),
        sign(&one, at, json!({ "exp": NOW + 900 })),
        sign(&one, at, json!({ "nbf": NOW + 50 })),
        sign(
            &one,
            at,
            json!({ "sub": "bob", "jti": "2", "iat": NOW - 10 }),
        ),
        sign(&one, at, json!({ "sub": 7 })),
        sign(&one, Some("JWT"), json!({})),
        format!("{}A", good.get(..good.len() - 2).unwrap_or_default()),
        good.replace('.', ""),
    ];
    let policies = vec![
        policy(set(&[&one, &two]), set(&[&one])),
        policy(set(&[&two]), set(&[&one])),
        policy(set(&[&other, &two]), None),
        policy(set(&[&renamed]), set(&[&two])),
        policy(None, set(&[&one])),
    ];
    let routes = vec![
        route(vec![trust(0, "x")]),
        route(vec![trust(0, "y"), trust(1, "x")]),
        route(vec![trust(1, "y")]),
    ];
    let revocations = vec![
        Arc::new(Revocations::in_memory().expect("a list")),
        revoked(Kind::Jti, "1", None),
        revoked(Kind::Subject, "alice", Some(NOW - 50)),
        revoked(Kind::Subject, "bob", Some(NOW - 50)),
    ];
    World {
        tokens,
        policies,
        routes,
        revocations,
    }
}

fn cache(bad_lifetime: Option<Duration>) -> TokenCache {
    TokenCache::new(CacheLimits {
        entries: 8,
        bytes: 64 * 1024,
        bad_entries: 4,
        bad_lifetime,
    })
}

/// Places in the lists of the world, and a time.
type Step = (usize, usize, usize, usize, i64);

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_warm_cache_never_changes_the_verdict(
        steps in prop::collection::vec((0_usize..15, 0_usize..5, 0_usize..3, 0_usize..4, -100_i64..200), 1..200),
        remember_bad in any::<bool>(),
    ) {
        let world = world();
        let cache = cache(remember_bad.then_some(Duration::from_secs(5)));
        for step in steps {
            check(&world, &cache, step);
        }
    }
}

fn check(world: &World, cache: &TokenCache, (token, policy, route, revocations, offset): Step) {
    let ask = Ask {
        policy: &world.policies[policy],
        route: &world.routes[route],
        revocations: &world.revocations[revocations],
        now: UnixTime::from_secs(NOW + offset),
        token: world.tokens[token].as_bytes(),
        token_bytes_max: 8192,
    };
    let cold = judge(&ask, None, &mut Notes::default());
    let warm = judge(&ask, Some(cache), &mut Notes::default());
    assert_eq!(
        cold, warm,
        "token {token}, policy {policy}, route {route}, revocations {revocations}, {offset}"
    );
    // Once more, now that it is remembered.
    let again = judge(&ask, Some(cache), &mut Notes::default());
    assert_eq!(cold, again);
}

#[test]
fn a_burst_of_one_new_token_verifies_once() {
    let world = Arc::new(world());
    let cache = Arc::new(cache(None));
    let barrier = Arc::new(std::sync::Barrier::new(8));
    let verified: usize = (0..8)
        .map(|_| {
            let (world, cache, barrier) =
                (Arc::clone(&world), Arc::clone(&cache), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let ask = Ask {
                    policy: &world.policies[0],
                    route: &world.routes[0],
                    revocations: &world.revocations[0],
                    now: UnixTime::from_secs(NOW),
                    token: world.tokens[0].as_bytes(),
                    token_bytes_max: 8192,
                };
                let mut notes = Notes::default();
                barrier.wait();
                assert!(judge(&ask, Some(&cache), &mut notes).is_ok());
                usize::from(notes.verified_in.is_some())
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().expect("a verdict"))
        .sum();
    assert_eq!(verified, 1);
}

/// One moment, many routes: what one request is refused for is nothing to the others.
#[test]
fn a_refusal_is_not_shared_with_another_route() {
    let world = Arc::new(world());
    for _ in 0..50 {
        let cache = Arc::new(cache(None));
        let barrier = Arc::new(std::sync::Barrier::new(6));
        let threads: Vec<_> = (0..6)
            .map(|place| {
                let (world, cache) = (Arc::clone(&world), Arc::clone(&cache));
                let barrier = Arc::clone(&barrier);
                std::thread::spawn(move || {
                    let ask = Ask {
                        policy: &world.policies[place % 2],
                        route: &world.routes[place % 3],
                        revocations: &world.revocations[0],
                        now: UnixTime::from_secs(NOW),
                        token: world.tokens[0].as_bytes(),
                        token_bytes_max: 8192,
                    };
                    let cold = judge(&ask, None, &mut Notes::default());
                    barrier.wait();
                    let warm = judge(&ask, Some(&cache), &mut Notes::default());
                    assert_eq!(cold, warm, "{place}");
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("equal verdicts");
        }
    }
}
