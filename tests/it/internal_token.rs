//! Tokens of the gateway's own for upstreams.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bearward::signing::SigningKey;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, ORDERS};
use crate::support::issuer::NOW;
use crate::support::{Bearward, TestIssuer, Upstream, block_on};

const TABLE: &str = r#"
[internal_token]
issuer = "https://gateway.test"
key = { file = "internal.pem" }
previous = { file = "before.pem" }
lifetime = "60s"
claims = ["tier", "/tenant/plan", "iss", "sub", "scope"]
"#;

fn setting() -> (TestIssuer, Upstream, Bearward) {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let key = |alg| {
        SigningKey::generate(alg, None)
            .expect("a key")
            .private_file()
    };
    let pem = |alg| String::from_utf8(key(alg)).expect("text");
    let gateway = Bearward::new()
        .trusting("main", &main, "leeway = \"10s\"")
        .upstream("orders", upstream.address, "")
        .secret("internal.pem", &pem("ES256"))
        .secret("before.pem", &pem("EdDSA"));
    (main, upstream, gateway)
}

fn wanting(audience: &str) -> String {
    ORDERS.replace(
        "issuers =",
        &format!("internal_token = \"{audience}\"\nissuers ="),
    )
}

/// What the upstream got in `Authorization`, taken apart: header and claims.
async fn sent(gateway: &Gateway, token: &str) -> (String, Value, Value) {
    let seen = gateway.http1().get("/orders/1", token).await;
    assert_eq!(seen.status, 200, "{}", seen.text());
    let seen = seen.text();
    assert_eq!(seen.matches("authorization: ").count(), 1, "{seen}");
    let (_, rest) = seen.split_once("authorization: Bearer ").expect("a token");
    let (sent, _) = rest.split_once("\r\n").expect("a line");
    let part = |n: usize| {
        let part = sent.split('.').nth(n).expect("a part");
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
        serde_json::from_slice::<Value>(&bytes).expect("JSON")
    };
    (sent.to_owned(), part(0), part(1))
}

#[test]
fn the_upstream_gets_a_token_that_the_published_keys_verify() {
    let (main, upstream, gateway) = setting();
    let gateway = gateway.table(TABLE).table(&wanting("orders")).start();
    let token = main
        .token()
        .with("client_id", "app")
        .with("tier", "gold")
        .with("exp", NOW + 300)
        .sign();
    let claims = block_on(async {
        let keys = gateway
            .http2()
            .send("GET", "/.well-known/bearward/jwks.json", &[], "")
            .await;
        assert_eq!(keys.header("content-type"), "application/jwk-set+json");
        let (internal, header, claims) = sent(&gateway, &token).await;
        assert_eq!(
            (&header["typ"], &header["alg"]),
            (&json!("at+jwt"), &json!("ES256"))
        );
        let keys = keys.json();
        let keys = keys["keys"].as_array().expect("keys");
        assert_eq!(keys.len(), 2, "the one of before too");
        assert_eq!(keys[0]["kid"], header["kid"]);
        assert!(keys.iter().all(|key| key.get("d").is_none()), "{keys:?}");
        // Whoever trusts these keys takes it: another gateway does.
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.json");
        std::fs::write(&path, json!({ "keys": keys }).to_string()).expect("a file");
        let behind = Bearward::new()
            .trusting("main", &main, "")
            .table(&format!(
                "[issuers.gateway]\nissuer = \"https://gateway.test\"\naudiences = [\"orders\"]\nalgorithms = [\"ES256\"]\njwks_file = \"{}\"",
                path.display()
            ))
            .upstream("orders", upstream.address, "")
            .table(&ORDERS.replace("issuers = [\"main\"]", "issuers = [\"gateway\"]"))
            .start();
        let answer = behind.http1().get("/orders/1", &internal).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("x-auth-subject: alice\r\n"));
        // And the caller's own token opens nothing there.
        assert_eq!(
            behind.http1().get("/orders/1", &token).await.code(),
            "issuer_untrusted"
        );
        claims
    });
    for (name, value) in [
        ("iss", json!("https://gateway.test")),
        ("aud", json!("orders")),
        ("sub", json!("alice")),
        ("client_id", json!("app")),
        ("scope", json!("orders:read orders:write")),
        ("caller_iss", json!("https://login.test/")),
        ("tier", json!("gold")),
        ("iat", json!(NOW)),
        ("exp", json!(NOW + 60)),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
}

#[test]
fn one_serves_again_for_half_its_life_and_never_outlives_the_callers() {
    let (main, _upstream, gateway) = setting();
    let gateway = gateway.table(TABLE).table(&wanting("orders")).start();
    let token = main.token().with("exp", NOW + 100).sign();
    block_on(async {
        let (first, _, _) = sent(&gateway, &token).await;
        gateway.clock.advance(29);
        assert_eq!(sent(&gateway, &token).await.0, first);
        let other = main
            .token()
            .with("exp", NOW + 100)
            .with("sub", "bob")
            .sign();
        assert_ne!(sent(&gateway, &other).await.0, first);
        gateway.clock.advance(2);
        let (second, _, claims) = sent(&gateway, &token).await;
        assert_ne!(second, first);
        assert_eq!(claims["exp"], json!(NOW + 31 + 60));
        gateway.clock.advance(60);
        // With the issuer's leeway it has 19 s left.
        assert_eq!(sent(&gateway, &token).await.2["exp"], json!(NOW + 110));
        gateway.clock.advance(30);
        assert_eq!(
            gateway.http1().get("/orders/1", &token).await.code(),
            "token_expired"
        );
    });
}

#[test]
fn routes_without_it_and_other_ways_of_the_token() {
    let (main, _upstream, gateway) = setting();
    let inner = wanting("inner")
        .replace("orders/{", "inner/{")
        .replace("routes.orders", "routes.inner")
        .replace(
            "issuers =",
            "token_from = [\"query:access_token\"]\nissuers =",
        );
    let gateway = gateway.table(TABLE).table(ORDERS).table(&inner).start();
    let token = main.token().sign();
    block_on(async {
        let seen = gateway.http1().get("/orders/1", &token).await.text();
        assert!(
            seen.contains(&format!("authorization: Bearer {token}\r\n")),
            "{seen}"
        );
        let path = format!("/inner/1?access_token={token}");
        let headers = [("authorization", "Bearer of-the-client")];
        let seen = gateway.http1().send("GET", &path, &headers, "").await;
        assert_eq!(seen.status, 200, "{}", seen.text());
        let seen = seen.text();
        assert!(
            !seen.contains(&token) && !seen.contains("of-the-client"),
            "{seen}"
        );
        assert_eq!(
            seen.matches("authorization: Bearer ey").count(),
            1,
            "{seen}"
        );
        let posted = gateway
            .http1()
            .send("POST", "/.well-known/bearward/jwks.json", &[], "")
            .await;
        assert_eq!(posted.status, 405);
    });
    // Without the table nothing is published.
    let (main, _upstream, gateway) = setting();
    let gateway = gateway.table(ORDERS).start();
    block_on(async {
        let path = "/.well-known/bearward/jwks.json";
        assert_eq!(
            gateway.http1().get(path, &main.token().sign()).await.status,
            404
        );
    });
}
