//! What is odd is noticed and told, and nobody is refused for it.

use serde_json::Value;

use crate::support::client::plain_exchange;
use crate::support::gateway::{Gateway, ORDERS};
use crate::support::issuer::NOW;
use crate::support::provider::set_of;
use crate::support::{Bearward, Provider, TestIssuer, Upstream, block_on, eventually, usual};

async fn found(gateway: &Gateway, kind: &str) -> Vec<Value> {
    let answer = gateway.ask_admin("GET", "/api/v1/oddities", None).await;
    assert_eq!(answer.status, 200);
    let all = answer.json()["oddities"]
        .as_array()
        .expect("a list")
        .clone();
    all.into_iter().filter(|it| it["kind"] == kind).collect()
}

#[test]
fn a_client_that_loops_and_a_subject_that_fails() {
    let (main, _upstream, gateway) = usual();
    block_on(async {
        let late = main.token().with("exp", NOW - 300).sign();
        let mut client = gateway.http1().keep().await;
        for _ in 0..19 {
            client.get("/orders/1", &late).await;
        }
        assert!(found(&gateway, "expired_loop").await.is_empty());
        for _ in 0..30 {
            client.get("/orders/1", &late).await;
        }
        let loops = found(&gateway, "expired_loop").await;
        assert_eq!(loops.len(), 1, "told once");
        let id = loops[0]["decision"].as_str().expect("an id");
        let decision = gateway
            .ask_admin("GET", &format!("/api/v1/decisions/{id}"), None)
            .await;
        assert_eq!(decision.json()["reason"], "token_expired");
        assert_eq!(decision.json()["token_fingerprint"], loops[0]["about"]);

        let poor = |n: usize| {
            main.token()
                .with("scope", "x")
                .with("jti", n.to_string())
                .sign()
        };
        for n in 0..25 {
            client.get("/orders/1", &poor(n)).await;
        }
        let fails = found(&gateway, "subject_failing").await;
        assert_eq!(fails.len(), 1);
        assert_eq!(fails[0]["about"], "alice");
        assert!(
            fails[0]["what"]
                .as_str()
                .is_some_and(|what| what.contains("scope_missing"))
        );
        // A bad signature is nobody's: it says nothing of the subject that it claims.
        let other = TestIssuer::new("https://login.test/", "ES256", "main-1");
        for _ in 0..25 {
            client
                .get("/orders/1", &other.token().with("sub", "bob").sign())
                .await;
        }
        assert_eq!(found(&gateway, "subject_failing").await.len(), 1);
        // Nobody is refused for it.
        assert_eq!(client.get("/orders/1", &main.token().sign()).await.0, 200);
        let counted = "bearward_oddities_total{kind=\"expired_loop\"}";
        assert!((gateway.metric(counted).await - 1.0).abs() < 0.1);
        // After a while it is told again.
        gateway.clock.advance(601);
        for _ in 0..25 {
            client.get("/orders/1", &late).await;
        }
        assert_eq!(found(&gateway, "expired_loop").await.len(), 2);
    });
}

#[test]
fn one_token_from_many_addresses() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let fronted = "[listeners.fronted]\naddress = \"127.0.0.1:0\"\nclear_text = true\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let gateway = Bearward::usual(&main, &upstream).table(fronted).start();
    let address = gateway.listener("fronted").expect("a listener");
    block_on(async {
        let token = main.token().sign();
        let from = async |client: String| {
            let request = http::Request::builder()
                .uri("/orders/1")
                .header("host", "api.test")
                .header("x-forwarded-for", client)
                .header("authorization", format!("Bearer {token}"))
                .body(Default::default())
                .expect("a request");
            assert_eq!(plain_exchange(address, request).await.status, 200);
        };
        for n in 0..5 {
            from(format!("192.0.2.{n}")).await;
            from(format!("192.0.2.{n}")).await;
        }
        assert!(found(&gateway, "token_spread").await.is_empty());
        for n in 0..40 {
            from(format!("198.51.100.{n}")).await;
        }
        let spread = found(&gateway, "token_spread").await;
        assert_eq!(spread.len(), 1);
        assert!(!spread[0].to_string().contains(&token));
    });
}

#[test]
fn a_reason_that_leaps_up() {
    let (_main, _upstream, gateway) = usual();
    block_on(async {
        let mut client = gateway.http1().keep().await;
        for _ in 0..10 {
            client.get("/orders/1", "nonsense").await;
            gateway.clock.advance(60);
        }
        for _ in 0..60 {
            client.get("/orders/1", "nonsense").await;
        }
        gateway.clock.advance(60);
        eventually("the leap", async || {
            !found(&gateway, "reason_spike").await.is_empty()
        })
        .await;
        let leap = found(&gateway, "reason_spike").await;
        assert_eq!(leap.len(), 1);
        assert_eq!(leap[0]["about"], "token_malformed");
    });
}

#[test]
fn what_was_so_ever_since_the_start_is_no_leap() {
    let (main, _upstream, gateway) = usual();
    let long = main.token().with("exp", 4_000_000_000_u64).sign();
    block_on(async {
        let mut client = gateway.http1().keep().await;
        for times in [60, 60, 60, 60, 60, 60, 60, 200] {
            gateway.clock.advance(60);
            for _ in 0..times {
                client.get("/orders/1", "nonsense").await;
            }
        }
        for _ in 0..60 {
            client.get("/orders/1", &long).await;
        }
        gateway.clock.advance(60);
        eventually("the leap", async || {
            !found(&gateway, "reason_spike").await.is_empty()
        })
        .await;
        let leaps = found(&gateway, "reason_spike").await;
        assert_eq!(leaps.len(), 1, "{leaps:?}");
        assert_eq!(leaps[0]["about"], "lifetime_too_long");
    });
}

#[test]
fn a_clock_that_drifts() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let provider = Provider::start();
    let ahead = [("date", "Tue, 24 Nov 2026 15:04:25 GMT")];
    provider.set_with("/jwks", 200, &set_of(&[&main]), &ahead);
    let issuer = format!(
        "[issuers.main]\nissuer = \"{}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{}/jwks\"\njwks = {{ allow_http_loopback = true }}\n",
        main.identifier, provider.base
    );
    let gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&issuer)
        .table(ORDERS)
        .start();
    block_on(async {
        gateway.ready().await;
        gateway.clock.advance(60);
        eventually("the drift", async || {
            !found(&gateway, "clock_drift").await.is_empty()
        })
        .await;
        let drift = found(&gateway, "clock_drift").await;
        assert_eq!(drift[0]["about"], "main");
        assert_eq!(drift[0]["what"], "its clock is 20 s ahead of ours");
    });
}
