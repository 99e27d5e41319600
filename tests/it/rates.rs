//! How often: limits of routes by subject, client, address or all together, and of refused credentials.

use crate::support::client::Answer;
use crate::support::gateway::{Gateway, ORDERS};
use crate::support::{Bearward, TestIssuer, Upstream, block_on};

fn main_issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

fn limited(main: &TestIssuer, upstream: &Upstream, limit: &str) -> Gateway {
    let own = ORDERS.replace("issuers =", &format!("limit = {limit}\nissuers ="));
    Bearward::new()
        .trusting("main", main, "")
        .upstream("orders", upstream.address, "")
        .table(&own)
        .start()
}

async fn get(gateway: &Gateway, token: &str) -> Answer {
    gateway.http2().get("/orders/1", token).await
}

#[test]
fn each_subject_or_client_has_a_bucket_of_its_own() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    for (per, claim) in [("subject", "sub"), ("client", "client_id")] {
        let limit = format!("{{ per = \"{per}\", rate = \"60/m\", burst = 3 }}");
        let gateway = limited(&main, &upstream, &limit);
        let of = |who: &str, jti: &str| main.token().with(claim, who).with("jti", jti).sign();
        block_on(async {
            for n in 0..3 {
                let token = of("one", &n.to_string());
                assert_eq!(get(&gateway, &token).await.status, 200);
            }
            // Another token of the same is no other.
            let refused = get(&gateway, &of("one", "more")).await;
            assert_eq!(
                (refused.status, refused.code()),
                (429, "rate_limited".to_owned())
            );
            assert_eq!(refused.header("retry-after"), "1");
            assert_eq!(refused.json()["retry_after"], 1);
            assert_eq!(refused.json()["limit"], 3);
            assert!(!refused.headers.contains_key("www-authenticate"));
            assert_eq!(get(&gateway, &of("two", "1")).await.status, 200);
            // What is refused takes nothing.
            assert_eq!(get(&gateway, "forged").await.status, 401);
            gateway.clock.advance(2);
            for status in [200, 200, 429] {
                assert_eq!(get(&gateway, &of("one", "later")).await.status, status);
            }
            let counted = "bearward_rate_limited_total{route=\"orders\"}";
            assert_eq!(gateway.metric(counted).await, 2.0);
        });
    }
}

#[test]
fn an_address_or_a_route_has_one_for_all() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    for per in ["peer", "route"] {
        let limit = format!("{{ per = \"{per}\", rate = \"2/h\" }}");
        let gateway = limited(&main, &upstream, &limit);
        block_on(async {
            // Counted before a token is looked at.
            assert_eq!(get(&gateway, "forged").await.status, 401);
            let token = main.token().with("sub", "one").sign();
            assert_eq!(get(&gateway, &token).await.status, 200);
            let token = main.token().with("sub", "two").sign();
            let refused = get(&gateway, &token).await;
            assert_eq!(refused.code(), "rate_limited");
            assert_eq!(refused.header("retry-after"), "1800");
        });
    }
}

#[test]
fn who_sends_refused_tokens_again_and_again_is_told_to_wait_and_good_tokens_pass() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let gateway = Bearward::usual(&main, &upstream)
        .limits("failures_per_peer = \"3/m\"")
        .start();
    let good = main.token().sign();
    let no_scope = main.token().with("scope", "nothing").sign();
    block_on(async {
        for token in ["forged", "", "a.b.c"] {
            let status = get(&gateway, token).await.status;
            assert_eq!(status, 401, "{token}");
        }
        // What lacks a scope is no refused credential.
        assert_eq!(get(&gateway, &no_scope).await.status, 403);
        let refused = get(&gateway, "forged").await;
        assert_eq!(
            (refused.status, refused.code()),
            (429, "rate_limited".to_owned())
        );
        assert_eq!(refused.header("retry-after"), "20");
        assert!(
            refused.text().contains("were refused"),
            "{}",
            refused.text()
        );
        assert_eq!(get(&gateway, &good).await.status, 200);
        gateway.clock.advance(20);
        assert_eq!(get(&gateway, "forged").await.status, 401);
        assert_eq!(get(&gateway, "forged").await.status, 429);
    });
}
