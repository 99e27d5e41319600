//! Keys from a provider: discovery, rotation, floods of unknown key ids, outages.

use serde_json::json;

use crate::support::gateway::{Gateway, ORDERS};
use crate::support::{Bearward, Provider, TestIssuer, Upstream, block_on, eventually};

/// A gateway that gets its keys from the provider's `/jwks`.
fn gateway(issuer: &TestIssuer, provider: &Provider, upstream: &Upstream, more: &str) -> Gateway {
    Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.main]\nissuer = \"{}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{}/jwks\"\n[issuers.main.jwks]\nallow_http_loopback = true\n{more}\n",
            issuer.identifier, provider.base
        ))
        .table(ORDERS)
        .start()
}

/// A gateway that finds its keys by the issuer's metadata.
fn discovering(main: &TestIssuer, upstream: &Upstream) -> Gateway {
    Bearward::new()
            .upstream("orders", upstream.address, "")
            .table(&format!(
                "[issuers.main]\nissuer = \"{}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\ndiscovery = true\njwks = {{ allow_http_loopback = true }}\n",
                main.identifier
            ))
            .table(ORDERS)
            .start()
}

#[test]
fn discovery_finds_the_keys_and_compares_the_issuer() {
    let upstream = Upstream::echo();
    for (metadata, path) in [
        ("/.well-known/openid-configuration", ""),
        ("/.well-known/oauth-authorization-server/tenant", "/tenant"),
    ] {
        let provider = Provider::start();
        let main = TestIssuer::new(&format!("{}{path}", provider.base), "ES256", "one");
        provider.publish(&[&main]);
        let document =
            json!({ "issuer": main.identifier, "jwks_uri": format!("{}/jwks", provider.base) });
        provider.set(metadata, 200, &document.to_string());
        let gateway = discovering(&main, &upstream);
        block_on(async {
            gateway.ready().await;
            assert_eq!(
                gateway
                    .http1()
                    .get("/orders/1", &main.token().sign())
                    .await
                    .status,
                200
            );
        });
    }
    // A provider that calls itself otherwise gives no keys.
    let provider = Provider::start();
    let main = TestIssuer::new(&provider.base, "ES256", "one");
    provider.publish(&[&main]);
    let document = json!({ "issuer": format!("{}/", main.identifier), "jwks_uri": format!("{}/jwks", provider.base) });
    provider.set(
        "/.well-known/openid-configuration",
        200,
        &document.to_string(),
    );
    let gateway = discovering(&main, &upstream);
    block_on(async {
        let failed = "bearward_jwks_fetches_total{issuer=\"main\",result=\"invalid\"}";
        eventually("a failed fetch", async || {
            gateway.metric(failed).await > 0.0
        })
        .await;
        let answer = gateway.http1().get("/orders/1", &main.token().sign()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "keys_unavailable")
        );
        assert_eq!(answer.header("retry-after"), "5");
    });
}

#[test]
fn a_rotation_is_fetched_once_for_all_who_wait() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let old = TestIssuer::new("https://login.test/", "ES256", "old");
    let new = TestIssuer::new("https://login.test/", "ES256", "new");
    provider.publish(&[&old]);
    let gateway = gateway(&old, &provider, &upstream, "");
    block_on(async {
        gateway.ready().await;
        let kept = old.token().sign();
        assert_eq!(gateway.http1().get("/orders/1", &kept).await.status, 200);
        let before = provider.asked("/jwks");
        provider.publish(&[&old, &new]);
        let token = new.token().sign();
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let (client, token) = (gateway.http1(), token.clone());
                tokio::spawn(async move { client.get("/orders/1", &token).await.status })
            })
            .collect();
        for answer in waiting {
            assert_eq!(answer.await.expect("an answer"), 200);
        }
        assert_eq!(provider.asked("/jwks"), before + 1, "one fetch for all");
        // A rotation that leaves a key in place voids nothing.
        let hits = "bearward_token_cache_lookups_total{result=\"hit\"}";
        let before = gateway.metric(hits).await;
        assert_eq!(gateway.http1().get("/orders/1", &kept).await.status, 200);
        assert_eq!(gateway.metric(hits).await, before + 1.0);
    });
}

#[test]
fn a_removed_key_voids_its_cached_tokens() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let old = TestIssuer::new("https://login.test/", "ES256", "old");
    let new = TestIssuer::new("https://login.test/", "ES256", "new");
    provider.publish(&[&old]);
    let gateway = gateway(&old, &provider, &upstream, "");
    block_on(async {
        gateway.ready().await;
        let token = old.token().sign();
        assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
        provider.publish(&[&new]);
        assert_eq!(
            gateway
                .http1()
                .get("/orders/1", &new.token().sign())
                .await
                .status,
            200
        );
        let answer = gateway.http1().get("/orders/1", &token).await;
        assert_eq!(answer.code(), "key_unknown");
        assert_eq!(answer.json()["keys_checked_at"], "2026-11-24T15:04:05Z");
        assert!(
            gateway
                .metric("bearward_token_cache_lookups_total{result=\"stale\"}")
                .await
                >= 1.0
        );
    });
}

#[test]
fn forged_key_ids_cannot_hammer_the_provider() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let main = TestIssuer::new("https://login.test/", "ES256", "main");
    provider.publish(&[&main]);
    let gateway = gateway(&main, &provider, &upstream, "unknown_kid_gap = \"1h\"");
    block_on(async {
        gateway.ready().await;
        let before = provider.asked("/jwks");
        for kid in 0..200 {
            let forged = TestIssuer::new("https://login.test/", "ES256", &format!("forged-{kid}"));
            assert_eq!(
                gateway
                    .http1()
                    .get("/orders/1", &forged.token().sign())
                    .await
                    .code(),
                "key_unknown"
            );
        }
        assert_eq!(
            provider.asked("/jwks"),
            before + 2,
            "two in hand, then the floor"
        );
        assert_eq!(
            gateway
                .http1()
                .get("/orders/1", &main.token().sign())
                .await
                .status,
            200
        );
    });
}

#[test]
fn a_guessed_key_id_does_not_keep_its_rotation_out() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let old = TestIssuer::new("https://login.test/", "ES256", "old");
    let new = TestIssuer::new("https://login.test/", "ES256", "new");
    provider.publish(&[&old]);
    let gateway = gateway(&old, &provider, &upstream, "unknown_kid_gap = \"1s\"");
    block_on(async {
        gateway.ready().await;
        let token = new.token().sign();
        // Somebody asks for the next key before the provider has it.
        assert_eq!(
            gateway.http1().get("/orders/1", &token).await.code(),
            "key_unknown"
        );
        provider.publish(&[&old, &new]);
        let accepted = async || gateway.http1().get("/orders/1", &token).await.status == 200;
        eventually("the new key", accepted).await;
    });
}

#[test]
fn a_start_without_the_provider_recovers_by_itself() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let main = TestIssuer::new("https://login.test/", "ES256", "main");
    provider.set("/jwks", 500, "down");
    let gateway = gateway(&main, &provider, &upstream, "");
    block_on(async {
        let failed = "bearward_jwks_fetches_total{issuer=\"main\",result=\"status\"}";
        eventually("a failed fetch", async || {
            gateway.metric(failed).await > 0.0
        })
        .await;
        assert!(!gateway.is_ready().await);
        let page = gateway.ask_admin("GET", "/readyz?verbose", None).await;
        assert_eq!(page.status, 503);
        assert!(
            page.text().contains("[fail] keys of issuer main: none"),
            "{}",
            page.text()
        );
        let token = main.token().sign();
        assert_eq!(
            gateway.http1().get("/orders/1", &token).await.code(),
            "keys_unavailable"
        );
        provider.publish(&[&main]);
        gateway.ready().await;
        assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
    });
}

#[test]
fn a_provider_that_lies_does_not_replace_a_good_set() {
    let upstream = Upstream::echo();
    let main = TestIssuer::new("https://login.test/", "ES256", "main");
    let unknown = TestIssuer::new("https://login.test/", "ES256", "unknown");
    let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300_000));
    for (status, document) in [
        (200, "<html>garbage"),
        (200, "{\"keys\":[]}"),
        (200, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"),
        (200, large.as_str()),
        (500, "down"),
        (302, "elsewhere"),
    ] {
        let provider = Provider::start();
        provider.publish(&[&main]);
        let gateway = gateway(&main, &provider, &upstream, "");
        block_on(async {
            gateway.ready().await;
            let elsewhere = [("location", "https://elsewhere.test/jwks")];
            provider.set_with("/jwks", status, document, &elsewhere);
            let before = provider.asked("/jwks");
            // An unknown key id makes it fetch; a failed fetch with good keys in hand is no 503.
            let answer = gateway
                .http1()
                .get("/orders/1", &unknown.token().sign())
                .await;
            assert_eq!(answer.code(), "key_unknown", "{document:.20}");
            assert!(provider.asked("/jwks") > before);
            assert_eq!(
                gateway
                    .http1()
                    .get("/orders/1", &main.token().sign())
                    .await
                    .status,
                200
            );
            assert!(gateway.is_ready().await);
        });
    }
}

#[test]
fn pem_keys_and_shared_secrets() {
    let upstream = Upstream::echo();
    for alg in [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256",
        "HS384", "HS512",
    ] {
        let main = TestIssuer::new("https://login.test/", alg, "any");
        let gateway = Bearward::new().upstream("orders", upstream.address, "");
        let source = if alg.starts_with("HS") {
            std::fs::write(gateway.folder().join("secret"), main.key.private_file())
                .expect("a file");
            "secret = { file = \"secret\" }"
        } else {
            std::fs::write(
                gateway.folder().join("key.pem"),
                main.key.public_pem().expect("a key"),
            )
            .expect("a file");
            "keys = [\"key.pem\"]"
        };
        let gateway = gateway
            .table(&format!("[issuers.main]\nissuer = \"https://login.test/\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"{alg}\"]\n{source}\n"))
            .table(ORDERS)
            .start();
        block_on(async {
            assert_eq!(
                gateway
                    .http1()
                    .get("/orders/1", &main.token().sign())
                    .await
                    .status,
                200,
                "{alg}"
            );
            let forged = TestIssuer::new("https://login.test/", alg, "any");
            assert_eq!(
                gateway
                    .http1()
                    .get("/orders/1", &forged.token().sign())
                    .await
                    .code(),
                "signature_invalid",
                "{alg}"
            );
        });
    }
}
