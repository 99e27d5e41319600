//! The token check: what a token is good for, told to a client before it uses it.

use serde_json::json;

use crate::support::client::Answer;
use crate::support::gateway::Gateway;
use crate::support::issuer::NOW;
use crate::support::{Bearward, TestIssuer, Upstream, block_on, usual};

const CHECK: &str = "/.well-known/bearward/check";

fn issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

fn checking(issuer: &TestIssuer, upstream: &Upstream, more: &str) -> Gateway {
    Bearward::usual(issuer, upstream)
        .table("[endpoints]\ncheck = true")
        .table(more)
        .start()
}

async fn ask(gateway: &Gateway, query: &str, headers: &[(&str, &str)]) -> Answer {
    let path = format!("{CHECK}{query}");
    gateway.http1().send("GET", &path, headers, "").await
}

#[test]
fn a_good_token_has_passed_every_check() {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let gateway = checking(&issuer, &upstream, "");
    let bearer = format!("Bearer {}", issuer.token().sign());
    block_on(async {
        for client in [gateway.http1(), gateway.http2()] {
            let path = format!("{CHECK}?route=orders");
            let answer = client
                .send("GET", &path, &[("authorization", &bearer)], "")
                .await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("cache-control"), "no-store");
            let told = answer.json();
            assert_eq!(told["allowed"], true);
            assert_eq!(told["code"], "none");
            assert_eq!(told["rule"], 0);
            let steps = told["steps"].as_array().expect("steps");
            let all: Vec<_> = steps
                .iter()
                .map(|it| it["check"].as_str().unwrap())
                .collect();
            let checks = [
                "credentials",
                "form",
                "issuer",
                "signature",
                "type",
                "times",
                "audience",
                "revocation",
                "scope",
            ];
            assert_eq!(all, checks);
            for step in steps {
                assert_eq!(step["state"], "passed", "{step}");
                assert!(
                    step["text"].as_str().is_some_and(|text| !text.is_empty()),
                    "{step}"
                );
            }
            let text = |check: usize| steps[check]["text"].as_str().unwrap();
            assert_eq!(text(3), "ES256 by the key `main-1` of `main`");
            assert_eq!(
                text(5),
                "issued 10 seconds ago (2026-11-24T15:03:55Z), expires in 10 minutes (2026-11-24T15:14:05Z); leeway 30 seconds"
            );
            assert_eq!(text(8), "has the scopes: orders:read");
        }
        // Nothing of it reached the service behind.
        assert_eq!(upstream.seen().len(), 0);
        // Another method, another rule.
        let told = ask(
            &gateway,
            "?route=orders&method=delete",
            &[("authorization", &bearer)],
        )
        .await
        .json();
        assert_eq!(told["code"], "claim_not_allowed");
        assert_eq!(told["rule"], 2);
        let last = told["steps"][8].clone();
        assert_eq!(last["state"], "failed");
        assert_eq!(last["found"], "`tier` is pro");
        let told = ask(
            &gateway,
            "?route=orders&method=PATCH",
            &[("authorization", &bearer)],
        )
        .await
        .json();
        assert_eq!(told["code"], "method_not_allowed");
        assert_eq!(told["refusal"]["allow"], "DELETE, GET, HEAD, POST, PUT");
        // Without a token: what is wrong is said, and that is no refusal of the question.
        let told = ask(&gateway, "?route=orders", &[]).await;
        assert_eq!(told.status, 200);
        assert_eq!(told.json()["code"], "token_missing");
    });
}

#[test]
fn the_check_knows_what_is_revoked_and_leaves_no_mark_on_the_route() {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let gateway = checking(&issuer, &upstream, "");
    let bearer = format!("Bearer {}", issuer.token().sign());
    block_on(async {
        let selector = json!({ "selector": { "issuer": "main", "jti": "token-1" } });
        let added = gateway
            .ask_admin("POST", "/api/v1/revocations", Some(&selector))
            .await;
        assert_eq!(added.status, 201);
        let told = ask(&gateway, "?route=orders", &[("authorization", &bearer)])
            .await
            .json();
        assert_eq!(told["code"], "token_revoked");
        assert_eq!(told["steps"][7]["state"], "failed");
        assert_eq!(told["steps"][8]["state"], "not_reached");
        let denied = "bearward_decisions_total{issuer=\"none\",outcome=\"deny\",reason=\"token_revoked\",route=\"orders\"}";
        assert!(gateway.metric(denied).await < 1.0);
    });
}

#[test]
fn the_check_is_off_unless_it_is_asked_for_and_never_tells_more_than_the_api() {
    let (_, _upstream, gateway) = usual();
    block_on(async {
        assert_eq!(ask(&gateway, "?route=orders", &[]).await.status, 404);
    });
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let level = |name: &str| {
        format!(
            "[routes.{name}]\npath = \"/{name}\"\nupstream = \"orders\"\nissuers = [\"main\"]\ndisclosure = \"{name}\"\n"
        )
    };
    let elsewhere = "[routes.elsewhere]\npath = \"/\"\nhosts = [\"other.test\"]\nupstream = \"orders\"\nissuers = [\"main\"]\n";
    let more = format!("{}{}{elsewhere}", level("reason"), level("minimal"));
    let gateway = checking(&issuer, &upstream, &more);
    let late = format!("Bearer {}", issuer.token().with("exp", NOW - 300).sign());
    block_on(async {
        let late = [("authorization", &*late)];
        let told = ask(&gateway, "?route=reason", &late).await.json();
        assert_eq!(told["code"], "token_expired");
        assert!(told["refusal"].get("detail").is_none());
        for step in told["steps"].as_array().expect("steps") {
            assert_eq!(step.as_object().expect("a step").len(), 3, "{step}");
        }
        let told = ask(&gateway, "?route=minimal", &late).await.json();
        assert_eq!(told["code"], "");
        assert_eq!(told["allowed"], false);
        assert_eq!(told["steps"], json!([]));
        assert_eq!(told["refusal"]["type"], "about:blank");
        // A route of another host is none here.
        for query in ["?route=elsewhere", "?route=nothing"] {
            let answer = ask(&gateway, query, &late).await;
            assert_eq!(answer.status, 404, "{query}");
            assert_eq!(answer.json()["code"], "route_not_found");
        }
        let answer = ask(&gateway, "", &late).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("?route=NAME"), "{}", answer.text());
        let path = format!("{CHECK}?route=reason");
        let answer = gateway.http1().send("DELETE", &path, &[], "").await;
        assert_eq!(answer.status, 405);
    });
}

#[test]
fn a_page_may_ask_where_the_route_lets_it_and_one_client_not_too_often() {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let more = "[routes.web]\npath = \"/web\"\nupstream = \"orders\"\nissuers = [\"main\"]\ncors = { origins = [\"https://app.test\"] }\ntoken_expires_in = true\n";
    let gateway = checking(&issuer, &upstream, more);
    let bearer = format!("Bearer {}", issuer.token().sign());
    block_on(async {
        let preflight = [
            ("origin", "https://app.test"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "authorization"),
        ];
        let path = format!("{CHECK}?route=web");
        let answer = gateway.http1().send("OPTIONS", &path, &preflight, "").await;
        assert_eq!(answer.status, 204);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "https://app.test"
        );
        let own = [("origin", "https://app.test"), ("authorization", &*bearer)];
        let answer = gateway.http1().send("GET", &path, &own, "").await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "https://app.test"
        );
        // How long it lives, for the page too.
        let answer = gateway.http1().send("GET", "/web", &own, "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("bearward-token-expires-in"), "600");
        let exposed = answer.header("access-control-expose-headers");
        assert!(exposed.contains("Bearward-Token-Expires-In"), "{exposed}");
        let mut last = 200;
        for _ in 0..30 {
            last = gateway.http1().send("GET", &path, &own, "").await.status;
        }
        assert_eq!(last, 429);
        // The API itself has other limits.
        assert_eq!(
            gateway.http1().send("GET", "/web", &own, "").await.status,
            200
        );
        gateway.clock.advance(1);
        assert_eq!(
            gateway.http1().send("GET", &path, &own, "").await.status,
            200
        );
    });
}

#[test]
fn the_check_counts_as_the_api_does_and_is_written_down() {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let gateway = Bearward::usual(&issuer, &upstream)
        .table("[endpoints]\ncheck = true")
        .limits("failures_per_peer = \"3/m\"")
        .start();
    let late = format!("Bearer {}", issuer.token().with("exp", NOW - 300).sign());
    let id = block_on(async {
        let late = [("authorization", &*late)];
        let first = ask(&gateway, "?route=orders", &late).await.json();
        let id = first["refusal"]["instance"]
            .as_str()
            .expect("an id")
            .to_owned();
        for _ in 0..2 {
            assert_eq!(ask(&gateway, "?route=orders", &late).await.status, 200);
        }
        // The fourth is too many, there and at the API.
        assert_eq!(ask(&gateway, "?route=orders", &late).await.status, 429);
        assert_eq!(
            gateway
                .http1()
                .send("GET", "/orders/1", &late, "")
                .await
                .status,
            429
        );
        let id = id.trim_start_matches("urn:uuid:").to_owned();
        let decision = gateway
            .ask_admin("GET", &format!("/api/v1/decisions/{id}"), None)
            .await;
        assert_eq!(decision.status, 200);
        assert_eq!(decision.json()["steps"][5]["state"], "failed");
        id
    });
    let lines = gateway.stop();
    let line = lines
        .iter()
        .find(|line| line["id"] == id.as_str())
        .expect("a line");
    assert_eq!(line["outcome"], "deny");
    assert_eq!(line["cause"], "token check: token_expired");
}
