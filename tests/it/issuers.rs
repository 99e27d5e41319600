//! What an operator sees of issuers: the admin listener, the commands, the probe.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, ORDERS};
use crate::support::provider::set_of;
use crate::support::{Bearward, Provider, TestIssuer, Upstream, block_on, eventually};

fn gateway(provider: &Provider, main: &TestIssuer, upstream: &Upstream) -> Gateway {
    Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.main]\nissuer = \"{}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{}/jwks\"\njwks = {{ allow_http_loopback = true }}\n",
            main.identifier, provider.base
        ))
        .table(ORDERS)
        .start()
}

fn bearward(gateway: &Gateway, arguments: &[&str]) -> Output {
    let token = gateway.folder().join("state/admin-token");
    Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(arguments)
        .arg("--admin")
        .arg(format!("http://{}", gateway.admin()))
        .arg("--admin-token-file")
        .arg(token)
        .output()
        .expect("it runs")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn the_admin_listener_shows_each_issuer() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let weak = json!({ "kty": "oct", "k": "AAAA", "kid": "\u{1b}[31mred" });
    let keys = json!({ "keys": [main.key.jwk(), weak] }).to_string();
    // Five seconds ahead of the test's clock.
    provider.set_with(
        "/jwks",
        200,
        &keys,
        &[("date", "Tue, 24 Nov 2026 15:04:10 GMT")],
    );
    let gateway = gateway(&provider, &main, &upstream);
    block_on(async {
        gateway.ready().await;
        let saved = async || gateway.issuer("main").await["saved_at"].is_string();
        eventually("a saved set", saved).await;
        let all = gateway
            .ask_admin("GET", "/api/v1/issuers", None)
            .await
            .json();
        let issuer = &all["issuers"][0];
        for (member, value) in [
            ("name", json!("main")),
            ("issuer", json!("https://login.test/")),
            ("source", json!("jwks_url")),
            ("from", json!(format!("{}/jwks", provider.base))),
            ("state", json!("ok")),
            ("checked_at", json!("2026-11-24T15:04:05Z")),
            ("stale_at", json!("2026-11-25T15:04:05Z")),
            ("last_error", Value::Null),
            ("save_error", Value::Null),
            ("clock_offset_seconds", json!(5)),
            ("distrusted", json!(0)),
        ] {
            assert_eq!(issuer[member], value, "{member}");
        }
        assert_eq!(
            issuer["keys"],
            json!([{ "kid": "main-1", "kind": "P-256", "bits": 256, "algorithms": ["ES256"] }])
        );
        assert_eq!(
            issuer["skipped"][0]["why"],
            "a symmetric key does not belong in a JWK set"
        );
        let offset = "bearward_clock_offset_seconds{issuer=\"main\"}";
        assert_eq!(gateway.metric(offset).await, 5.0);
        for (method, path, status) in [
            ("GET", "/api/v1/issuers/nobody", 404),
            ("POST", "/api/v1/issuers/nobody/refresh", 404),
            ("GET", "/api/v1/issuers/main/refresh", 405),
            ("DELETE", "/api/v1/issuers", 405),
            ("DELETE", "/api/v1/issuers/main", 405),
            ("GET", "/api/v1/issuersx", 404),
        ] {
            let answer = gateway.ask_admin(method, path, None).await;
            assert_eq!(answer.status, status, "{method} {path}");
        }
    });
    let lines = gateway.stop();
    assert!(
        lines
            .iter()
            .any(|line| line["event"] == "key" && line["came"] == json!(["main-1"]))
    );
}

#[test]
fn commands_show_and_refresh() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let new = TestIssuer::new("https://login.test/", "ES256", "new\u{1b}[2J");
    provider.publish(&[&main]);
    let gateway = gateway(&provider, &main, &upstream);
    block_on(gateway.ready());
    let shown = text(&bearward(&gateway, &["issuers"]));
    for words in [
        "main  ok  (jwks_url)",
        "key            main-1  P-256 256 bit  ES256",
        "too old at",
    ] {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
    provider.publish(&[&new]);
    let refreshed = bearward(&gateway, &["issuers", "refresh", "main"]);
    assert_eq!(refreshed.status.code(), Some(0));
    let shown = text(&refreshed);
    assert!(
        shown.contains("new\\u{1b}[2J"),
        "what a provider chose is escaped: {shown}"
    );
    assert!(!shown.contains('\u{1b}'));
    provider.set("/jwks", 500, "");
    let failed = bearward(&gateway, &["issuers", "refresh", "main"]);
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(
        said.contains("the provider answers with status 500"),
        "{said}"
    );
    let shown = text(&bearward(&gateway, &["issuers"]));
    assert!(
        shown.contains("main  failing") && shown.contains("LAST ERROR"),
        "{shown}"
    );
    let json: Value =
        serde_json::from_str(&text(&bearward(&gateway, &["issuers", "--json"]))).expect("JSON");
    assert_eq!(json["issuers"][0]["state"], "failing");
    let lines = gateway.stop();
    let refreshes = lines
        .iter()
        .filter(|line| line["action"] == "issuer.refresh");
    let results: Vec<_> = refreshes.map(|line| line["result"].clone()).collect();
    assert_eq!(results, ["fetched", "failed"]);
}

#[test]
fn a_fault_elsewhere_in_the_file_does_not_stop_an_operator() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    provider.publish(&[&main]);
    let gateway = gateway(&provider, &main, &upstream);
    block_on(gateway.ready());
    // As the operator's shell sees it: a secret that only the service has, and a key file that is gone.
    let file = gateway.folder().join("bearward.toml");
    let text = format!(
        "version = 1\n[admin]\naddress = \"{}\"\n[issuers.x]\nsecret = {{ env = \"BEARWARD_TEST_NOWHERE\" }}\njwks_file = \"gone\"\n",
        gateway.admin()
    );
    std::fs::write(&file, text).expect("a file");
    for command in [
        vec!["issuers"],
        vec!["revoke", "subject", "alice", "--issuer", "main"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_bearward"))
            .args(&command)
            .arg("--config")
            .arg(&file)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {said}");
    }
    let token = main.token().sign();
    let answer = block_on(gateway.http1().get("/orders/1", &token));
    assert_eq!(answer.code(), "token_revoked");
}

fn probe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(["issuer", "probe"])
        .args(arguments)
        .output()
        .expect("it runs")
}

#[test]
fn a_probe_says_what_is_good_and_writes_the_table() {
    let provider = Provider::start();
    let issuer = format!("{}/", provider.base);
    let main = TestIssuer::new(&issuer, "ES256", "main-1");
    provider.publish(&[&main]);
    let metadata = json!({
        "issuer": issuer,
        "jwks_uri": format!("{}/jwks", provider.base),
        "token_endpoint": format!("{}/token", provider.base),
    });
    let document = "/.well-known/openid-configuration";
    provider.set(document, 200, &metadata.to_string());
    // With or without the slash, and by the URL of the document itself.
    let pasted = format!("{}{document}", provider.base);
    for url in [issuer.as_str(), provider.base.as_str(), pasted.as_str()] {
        let output = probe(&[url, "--allow-http-loopback"]);
        let shown = text(&output);
        assert_eq!(output.status.code(), Some(0), "{url}: {shown}");
        assert!(shown.contains("main-1  P-256 256 bit  ES256"), "{shown}");
        let table = &shown[shown.find("[issuers.main]").expect("a table")..];
        // The table works as it is.
        let upstream = Upstream::echo();
        let gateway = Bearward::new()
            .upstream("orders", upstream.address, "")
            .table(&table.replace("https://api.example.com", "https://api.test"))
            .table(ORDERS)
            .start();
        block_on(async {
            gateway.ready().await;
            let token = main.token().sign();
            assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
        });
    }
    // What would be refused, and a clock that is off.
    let mut exposed = main.key.jwk().expect("a key");
    exposed["d"] = json!("AAAA");
    let bad = json!({ "keys": [exposed] }).to_string();
    provider.set_with(
        "/jwks",
        200,
        &bad,
        &[("date", "Tue, 24 Nov 2020 15:04:05 GMT")],
    );
    let output = probe(&[&issuer, "--allow-http-loopback"]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output);
    for words in [
        "REFUSED       main-1: it carries its private part",
        "private keys lie open",
        "no key can be used",
        "its clock is -",
    ] {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
    let json: Value =
        serde_json::from_str(&text(&probe(&[&issuer, "--allow-http-loopback", "--json"])))
            .expect("JSON");
    assert_eq!(json["refused"][0]["kid"], "main-1");
    // What stops it is said, with what to do.
    provider.set("/jwks", 500, "");
    for (arguments, words) in [
        (vec![issuer.as_str()], "--allow-http-loopback"),
        (
            vec![issuer.as_str(), "--allow-http-loopback"],
            "the JWK set did not come: the provider answers with status 500",
        ),
        (vec!["http://login.example.com"], "not https"),
    ] {
        let output = probe(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(words), "{words} in {said}");
    }
    let other = json!({ "issuer": "https://other.test", "jwks_uri": "https://other.test/jwks" });
    provider.set(document, 200, &other.to_string());
    let said = probe(&[&issuer, "--allow-http-loopback"]);
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(
        said.contains("names another issuer in its metadata: https://other.test"),
        "{said}"
    );
}

#[test]
fn a_token_is_explained_with_the_keys_that_a_gateway_saved() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    provider.set("/jwks", 200, &set_of(&[&main]));
    let folder = Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.main]\nissuer = \"{}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{}/jwks\"\njwks = {{ allow_http_loopback = true }}\n",
            main.identifier, provider.base
        ))
        .table(ORDERS)
        .into_files();
    let explain = || {
        let token = folder.path().join("token");
        std::fs::write(&token, main.token_now().sign()).expect("a file");
        Command::new(env!("CARGO_BIN_EXE_bearward"))
            .args(["token", "explain", "--config"])
            .arg(folder.path().join("bearward.toml"))
            .arg(format!("@{}", token.display()))
            .output()
            .expect("it runs")
    };
    let shown = text(&explain());
    assert!(
        shown.contains("keys of main: none; no gateway has saved a set here"),
        "{shown}"
    );
    let process = crate::support::Process::start_in(folder.path());
    block_on(eventually("a saved set", async || {
        let keys = folder.path().join("state/keys");
        keys.read_dir().is_ok_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| file.path().extension().is_some_and(|end| end == "json"))
            })
        })
    }));
    drop(process);
    let output = explain();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("signature   passed"));
}
