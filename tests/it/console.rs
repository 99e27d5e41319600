//! The console in a real browser: each page by keyboard, light, dark and small, without a violation that axe
//! finds, without a request to anybody else; what it shows and changes is so.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::support::client::plain_request;
use crate::support::node::Node;
use crate::support::program::find;
use crate::support::{Bearward, Process, TestIssuer, Upstream, block_on, usual};

#[test]
fn a_person_uses_it_in_a_browser() {
    const TEST: &str = "console::a_person_uses_it_in_a_browser";
    let Some(node) = Node::find(TEST, &["playwright-core", "axe-core"]) else {
        return;
    };
    let Some(browser) = find(TEST, "chromium") else {
        return;
    };
    let issuer = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let (process, folder) = Process::start(Bearward::usual(&issuer, &upstream));
    let screenshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/console");
    let good = issuer.token_now().sign();
    let late = issuer.token_now();
    let exp = late.claims()["iat"].as_i64().expect("a time") - 200;
    let late = late.with("exp", exp).with("iat", exp - 60).sign();
    let mut child = node
        .script("console.mjs")
        .arg(format!("http://{}", process.admin))
        .arg(format!("https://{}", process.public))
        .arg(folder.path().join("state/admin-token"))
        .arg(screenshots)
        .arg(browser)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node runs");
    let tokens = serde_json::json!({ "good": good, "late": late }).to_string();
    let mut stdin = child.stdin.take().expect("an input");
    stdin.write_all(tokens.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done");
}

#[test]
fn it_is_served_by_the_admin_listener_alone_and_can_be_left_out() {
    let (_main, _upstream, gateway) = usual();
    block_on(async {
        let get = async |path: &str| plain_request(gateway.admin(), "GET", path, None, None).await;
        let page = get("/console/").await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'self'; "), "{policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(get("/console").await.header("location"), "/console/");
        assert_eq!(get("/console/console.js").await.status, 200);
        assert_eq!(get("/console/nothing").await.status, 404);
        assert_eq!(get("/console/../api/v1/config").await.status, 404);
        // What it shows is behind the token.
        assert_eq!(get("/api/v1/config").await.status, 401);
        let public = gateway.http1().send("GET", "/console/", &[], "").await;
        assert_eq!(public.status, 404);
        gateway
            .change(
                "allowed_hosts = [\"127.0.0.1\"]",
                "allowed_hosts = [\"127.0.0.1\"]\nconsole = false",
            )
            .await;
        assert_eq!(get("/console/").await.status, 404);
    });
}

#[test]
fn the_configuration_is_shown_as_it_counts_and_without_secrets() {
    let issuer = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let gateway = Bearward::usual(&issuer, &upstream)
        .secret("hmac", "0123456789abcdef0123456789abcdef-hidden")
        .table("[issuers.shared]\nissuer = \"https://shared.test/\"\naudiences = [\"x\"]\nalgorithms = [\"HS256\"]\nsecret = { file = \"hmac\" }\n")
        .start();
    block_on(async {
        let ask = async |method: &str, path: &str| gateway.ask_admin(method, path, None).await;
        let told = ask("GET", "/api/v1/config").await;
        assert!(!told.text().contains("hidden"));
        let told = told.json();
        let values = told["values"].as_array().expect("values");
        let value = |key: &str| {
            values
                .iter()
                .find(|it| it["key"] == key)
                .cloned()
                .unwrap_or_default()
        };
        assert_eq!(
            value("issuers.shared.secret")["value"],
            "{ file = \"hmac\" }"
        );
        assert_eq!(value("routes.orders.path")["value"], "\"/orders/{*rest}\"");
        assert!(value("routes.orders.path")["line"].is_u64());
        assert_eq!(
            value("listeners.public.limits.header_timeout")["value"],
            "\"10s\""
        );
        assert!(value("listeners.public.limits.header_timeout")["line"].is_null());
        // The state of upstreams and of the cache.
        gateway
            .http1()
            .get("/orders/1", &issuer.token().sign())
            .await;
        let upstreams = ask("GET", "/api/v1/upstreams").await.json();
        assert_eq!(upstreams["upstreams"][0]["servers"][0]["healthy"], true);
        assert_eq!(ask("GET", "/api/v1/cache").await.status, 200);
        assert_eq!(ask("POST", "/api/v1/cache/flush").await.status, 200);
        let misses = "bearward_token_cache_lookups_total{result=\"miss\"}";
        let before = gateway.metric(misses).await;
        gateway
            .http1()
            .get("/orders/1", &issuer.token().sign())
            .await;
        assert!(gateway.metric(misses).await > before);
        for (method, path) in [
            ("POST", "/api/v1/config"),
            ("GET", "/api/v1/cache/flush"),
            ("POST", "/api/v1/upstreams"),
            ("POST", "/api/v1/routes"),
        ] {
            assert_eq!(ask(method, path).await.status, 405, "{path}");
        }
        let tried = ask(
            "GET",
            "/api/v1/routes/test?method=POST&url=https%3A%2F%2Fapi.test%2Forders%2F1",
        )
        .await
        .json();
        assert_eq!(tried["route"]["name"], "orders");
        assert_eq!(tried["rule"], 1);
        let refused = ask(
            "GET",
            "/api/v1/routes/test?method=PATCH&url=https%3A%2F%2Fapi.test%2Forders%2F1",
        )
        .await
        .json();
        assert!(
            refused["refused"]
                .as_str()
                .is_some_and(|why| why.starts_with("405"))
        );
        assert_eq!(
            ask("GET", "/api/v1/routes/test?url=nowhere").await.status,
            400
        );
    });
}
