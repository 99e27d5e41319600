//! A configuration that changes while it serves: all of it, or nothing of it.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{plain_request, tls};
use crate::support::gateway::{ORDERS, usual};
use crate::support::issuer::NOW;
use crate::support::process::free_port;
use crate::support::upstream::Reply;
use crate::support::{
    Bearward, Client, Process, Provider, TestIssuer, Upstream, block_on, eventually,
};

fn main_issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

/// What a listener more looks like.
fn plain(name: &str, port: u16) -> String {
    format!("[listeners.{name}]\naddress = \"127.0.0.1:{port}\"\nclear_text = true\n")
}

#[test]
fn open_connections_are_judged_by_what_serves_now() {
    let (main, _upstream, gateway) = usual();
    let token = main.token().sign();
    block_on(async {
        let mut kept = gateway.http1().keep().await;
        assert_eq!(kept.get("/orders/1", &token).await.0, 200);
        gateway
            .change("scopes_all = [\"orders:read\"]", "scopes_all = [\"admin\"]")
            .await;
        assert_eq!(kept.get("/orders/1", &token).await.0, 403);
        let more = ORDERS
            .replace("orders/{", "more/{")
            .replace("routes.orders", "routes.more");
        gateway.change("[admin]", &format!("{more}[admin]")).await;
        assert_eq!(kept.get("/more/1", &token).await.0, 200);
        gateway
            .change(
                "audiences = [\"https://api.test\"]",
                "audiences = [\"https://other.test\"]",
            )
            .await;
        let (status, body) = kept.get("/more/1", &token).await;
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((status, &body["code"]), (401, &json!("audience_mismatch")));
        // What was counted stays where it was, and a new route begins with all its reasons at 0.
        let page = gateway.metrics().await;
        for line in [
            "bearward_requests_total{method=\"GET\",route=\"orders\",status=\"200\"} 1",
            "bearward_requests_total{method=\"GET\",route=\"orders\",status=\"403\"} 1",
            "bearward_requests_total{method=\"GET\",route=\"more\",status=\"200\"} 1",
            "bearward_decisions_total{issuer=\"none\",outcome=\"deny\",reason=\"token_revoked\",route=\"more\"} 0",
            "bearward_config_last_reload_successful 1",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    });
    let lines = gateway.stop();
    let configs: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "decision")
        .collect();
    assert_ne!(configs[0]["config"], configs[1]["config"]);
    let admin: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "admin")
        .collect();
    assert_eq!(admin.len(), 3);
    assert_eq!(
        (&admin[0]["actor"], &admin[0]["action"], &admin[0]["result"]),
        (&json!("signal"), &json!("config.reload"), &json!("applied"))
    );
    assert_eq!(admin[0]["target"], configs[1]["config"]);
}

#[test]
fn what_is_wrong_changes_nothing() {
    let (main, _upstream, gateway) = usual();
    let token = main.token().sign();
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = held.local_addr().expect("an address").port();
    block_on(async {
        let mut kept = gateway.http1().keep().await;
        assert_eq!(kept.get("/orders/1", &token).await.0, 200);
        // Faults, each with its place; and with them a change that would do.
        gateway.edit("scopes_all = [\"orders:read\"]", "scopes_all = [\"admin\"]");
        gateway.edit("issuers = [\"main\"]", "issuers = [\"mian\"]");
        let answer = gateway.ask_admin("POST", "/api/v1/reload", None).await;
        assert_eq!(answer.status, 422);
        let body = answer.json();
        assert_eq!(body["findings"][0]["code"], "BW0107");
        assert!(body["findings"][0]["line"].as_u64().is_some());
        let report = body["report"].as_str().expect("text");
        assert!(report.contains("did you mean `main`?"), "{report}");
        assert_eq!(
            kept.get("/orders/1", &token).await.0,
            200,
            "the old one serves"
        );
        let series = "bearward_config_last_reload_successful";
        assert_eq!(gateway.metric(series).await, 0.0);
        let ready = gateway.readiness().await;
        assert!(ready.contains("a reload failed at"), "{ready}");
        assert!(gateway.is_ready().await);
        // A port that is taken.
        gateway.edit("issuers = [\"mian\"]", "issuers = [\"main\"]");
        gateway.edit("[admin]", &format!("{}[admin]", plain("more", taken)));
        let answer = gateway.ask_admin("POST", "/api/v1/reload", None).await;
        assert_eq!(answer.status, 409);
        let detail = answer.json()["detail"].as_str().expect("text").to_owned();
        assert!(
            detail.contains("listener `more` cannot listen on"),
            "{detail}"
        );
        assert_eq!(kept.get("/orders/1", &token).await.0, 200);
        assert_eq!(
            gateway
                .ask_admin("GET", "/api/v1/reload", None)
                .await
                .status,
            405
        );
        // And at last all of it.
        gateway.change(&plain("more", taken), "").await;
        assert_eq!(kept.get("/orders/1", &token).await.0, 403);
        assert_eq!(gateway.metric(series).await, 1.0);
        assert!(!gateway.readiness().await.contains("a reload failed"));
    });
}

#[test]
fn listeners_come_and_go() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let gateway = Bearward::usual(&main, &upstream)
        .table(&plain("first", 0))
        .start();
    let first = gateway.listener("first").expect("a listener");
    let token = main.token().sign();
    let get = async |address| plain_request(address, "GET", "/orders/1", Some(&token), None).await;
    let request = format!(
        "GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    block_on(async {
        assert_eq!(get(first).await.status, 200);
        let mut idle = tokio::net::TcpStream::connect(first)
            .await
            .expect("a connection");
        idle.write_all(request.as_bytes()).await.expect("room");
        let mut answer = [0; 15];
        idle.read_exact(&mut answer).await.expect("an answer");
        // One that is being answered when its listener goes.
        upstream.then(Reply::Hang);
        let mut busy = tokio::net::TcpStream::connect(first)
            .await
            .expect("a connection");
        busy.write_all(request.as_bytes()).await.expect("room");
        while upstream.seen().len() < 3 {
            tokio::task::yield_now().await;
        }
        let others = upstream.seen().len();
        upstream.then(Reply::Echo);
        gateway
            .change(&plain("first", 0), &plain("second", 0))
            .await;
        let second = gateway.listener("second").expect("a listener");
        assert_eq!(gateway.listener("first"), None);
        assert_eq!(get(second).await.status, 200);
        // What waits on the old one ends; nobody is taken there any more.
        let mut rest = Vec::new();
        let _ = idle.read_to_end(&mut rest).await;
        assert!(tokio::net::TcpStream::connect(first).await.is_err());
        assert!(upstream.seen().len() > others);
        // The busy one is not cut off.
        let silent = std::time::Duration::from_millis(50);
        let mut byte = [0];
        assert!(
            tokio::time::timeout(silent, busy.read(&mut byte))
                .await
                .is_err()
        );
        let page = gateway.metrics().await;
        assert!(
            page.contains("bearward_connections{listener=\"second\"}"),
            "{page}"
        );
        assert!(
            !page.contains("bearward_connections{listener=\"first\"}"),
            "{page}"
        );
    });
}

#[test]
fn a_listener_at_the_same_address_keeps_its_connections() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let port = free_port();
    let gateway = Bearward::usual(&main, &upstream).at_port(port).start();
    let token = main.token().sign();
    block_on(async {
        let mut kept = gateway.http1().keep().await;
        assert_eq!(kept.get("/orders/1", &token).await.0, 200);
        gateway.edit("[listeners.public", "[listeners.edge");
        gateway.reload().await.expect("a reload");
        assert_eq!(kept.get("/orders/1", &token).await.0, 200);
        let address = gateway.listener("edge").expect("the listener");
        assert_eq!(address.port(), port);
        // Its limits are those of now.
        gateway
            .change(
                "[listeners.edge.tls]",
                "limits = { connections = 1, target_bytes = \"1KiB\" }\n[listeners.edge.tls]",
            )
            .await;
        let long = format!("/orders/{}", "x".repeat(1100));
        assert_eq!(kept.get(&long, &token).await.0, 414);
        let mut more = tokio::net::TcpStream::connect(address)
            .await
            .expect("a connection");
        assert_eq!(more.read(&mut [0; 8]).await.unwrap_or_default(), 0);
        let series = "bearward_connections_refused_total{kind=\"total\",listener=\"edge\"}";
        assert_eq!(gateway.metric(series).await, 1.0);
    });
    let lines = gateway.stop();
    let of = |name: &str| lines.iter().filter(|line| line["listener"] == name).count();
    assert_eq!((of("public"), of("edge")), (1, 2));
}

#[test]
fn limits_that_stay_go_on_counting() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let limit = "limit = { per = \"subject\", rate = \"1/m\", burst = 2 }\n";
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .upstream("orders", upstream.address, "")
        .limits("failures_per_peer = \"1/m\"")
        .table(&ORDERS.replace("issuers =", &format!("{limit}issuers =")))
        .start();
    let token = main.token().sign();
    block_on(async {
        let status = async |token: &str| gateway.http1().get("/orders/1", token).await.status;
        assert_eq!([status(&token).await, status(&token).await], [200, 200]);
        assert_eq!(status("nothing").await, 401);
        gateway.change("orders:write", "orders:change").await;
        assert_eq!(status(&token).await, 429, "not a bucket that is full again");
        assert_eq!(status("nothing").await, 429);
        gateway.change("burst = 2", "burst = 3").await;
        assert_eq!(status(&token).await, 200, "another limit begins anew");
    });
}

#[test]
fn cached_tokens_are_judged_by_the_issuer_of_now() {
    let (main, _upstream, gateway) = usual();
    let token = main.token().sign();
    block_on(async {
        let code = async || {
            let answer = gateway.http2().get("/orders/1", &token).await;
            if answer.status == 200 {
                "none".to_owned()
            } else {
                answer.code()
            }
        };
        assert_eq!(code().await, "none");
        gateway
            .change(
                "algorithms = [\"ES256\"]",
                "algorithms = [\"RS256\", \"ES256\"]",
            )
            .await;
        assert_eq!(code().await, "none");
        gateway
            .change("https://login.test/\"", "https://login.test\"")
            .await;
        assert_eq!(code().await, "issuer_untrusted");
        gateway
            .change("https://login.test\"", "https://login.test/\"")
            .await;
        assert_eq!(code().await, "none");
        gateway
            .change(
                "jwks_file =",
                "leeway = \"0s\"\ntoken_types = [\"JWT\"]\njwks_file =",
            )
            .await;
        assert_eq!(code().await, "type_not_allowed");
        gateway
            .change("token_types = [\"JWT\"]\n", "lifetime_max = \"1s\"\n")
            .await;
        assert_eq!(code().await, "lifetime_too_long");
    });
}

#[test]
fn an_issuer_that_changes_keeps_the_keys_that_it_had() {
    let (main, upstream, provider) = (main_issuer(), Upstream::echo(), Provider::start());
    provider.publish(&[&main]);
    let issuer = |path: &str| {
        format!(
            "[issuers.main]\nissuer = \"https://login.test/\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{}{path}\"\njwks = {{ allow_http_loopback = true }}\n",
            provider.base
        )
    };
    let gateway = Bearward::new()
        .table(&issuer("/jwks"))
        .upstream("orders", upstream.address, "")
        .table(ORDERS)
        .start();
    let token = main.token().sign();
    block_on(async {
        gateway.ready().await;
        let status = async || gateway.http2().get("/orders/1", &token).await.status;
        assert_eq!(status().await, 200);
        // The provider is down, and the issuer's rules change.
        provider.forget("/jwks");
        let asked = provider.asked("/jwks");
        gateway
            .change("algorithms =", "leeway = \"1m\"\nalgorithms =")
            .await;
        assert_eq!(status().await, 200);
        let asks = async || provider.asked("/jwks") > asked;
        eventually("a question of its new keeper", asks).await;
        // Another place: its own keys count, and nobody is refused while they come.
        provider.set(
            "/elsewhere",
            200,
            &crate::support::provider::set_of(&[&main]),
        );
        gateway.edit(
            &issuer("/jwks").replace("algorithms =", "leeway = \"1m\"\nalgorithms ="),
            &issuer("/elsewhere"),
        );
        gateway.reload().await.expect("a reload");
        assert_eq!(status().await, 200);
        // A place that is not there: the issuer's tokens cannot be checked, and all else is served.
        gateway.change("/elsewhere", "/nowhere").await;
        assert_eq!(status().await, 503);
        gateway.change("/nowhere", "/elsewhere").await;
        assert_eq!(status().await, 200);
    });
}

#[test]
fn upstreams_change_with_their_connections() {
    let (main, one, two) = (main_issuer(), Upstream::echo(), Upstream::echo());
    let gateway = Bearward::usual(&main, &one).start();
    let token = main.token().sign();
    block_on(async {
        let mut kept = gateway.http1().keep().await;
        assert_eq!(kept.get("/orders/1", &token).await.0, 200);
        let open = |upstream: &Upstream| {
            format!(
                "bearward_upstream_connections{{server=\"{}\",upstream=\"orders\"}}",
                upstream.address
            )
        };
        assert_eq!(gateway.metric(&open(&one)).await, 1.0);
        gateway.change("orders:write", "orders:change").await;
        assert_eq!(
            gateway.metric(&open(&one)).await,
            1.0,
            "the connection is kept"
        );
        gateway
            .change(&one.address.to_string(), &two.address.to_string())
            .await;
        assert_eq!(kept.get("/orders/1", &token).await.0, 200);
        assert_eq!((one.seen().len(), two.seen().len()), (1, 1));
        assert!(!gateway.metrics().await.contains(&open(&one)));
        one.is_left().await;
    });
}

#[test]
fn the_admin_token_and_what_needs_a_restart() {
    let (main, _upstream, gateway) = usual();
    let token = gateway.admin_token();
    std::fs::write(gateway.folder().join("admin"), "another admin token\n").expect("a file");
    gateway.edit("[admin]\n", "[admin]\ntoken = { file = \"admin\" }\n");
    gateway.edit("workers = 1", "workers = 2");
    block_on(async {
        let ask = async |token: &str| {
            plain_request(gateway.admin(), "POST", "/api/v1/reload", Some(token), None).await
        };
        let answer = ask(&token).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["needs_restart"], json!(["server.workers"]));
        assert_eq!(ask(&token).await.status, 401);
        assert_eq!(ask("another admin token").await.status, 200);
        let token = main.token().with("exp", NOW + 60).sign();
        assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
    });
}

#[test]
fn a_process_reloads_by_command_and_by_signal() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let (mut process, folder) = Process::start(Bearward::usual(&main, &upstream));
    let path = folder.path().join("bearward.toml");
    let good = std::fs::read_to_string(&path).expect("a file");
    let token = main.token_now().sign();
    let reload = |json: bool| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bearward"));
        command.args(["reload", "--config"]).arg(&path);
        command.args(["--admin", &format!("http://{}", process.admin)]);
        command.args(json.then_some("--json"));
        let out = command.output().expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (out.status.code(), text(out.stdout), text(out.stderr))
    };
    std::fs::write(&path, good.replace("orders:read", "admin")).expect("a file");
    let (code, out, err) = reload(false);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.starts_with("configuration ") && out.ends_with(" serves\n"),
        "{out}"
    );
    let status = || {
        block_on(async {
            Client::http1(process.public)
                .get("/orders/1", &token)
                .await
                .status
        })
    };
    assert_eq!(status(), 403);
    std::fs::write(&path, good.replace("upstream = ", "upstraem = ")).expect("a file");
    let (code, out, err) = reload(false);
    assert_eq!((code, out.as_str()), (Some(78), ""));
    assert!(err.contains("upstraem") && err.contains("-->"), "{err}");
    let (code, out, _) = reload(true);
    assert_eq!(code, Some(78));
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer["status"], 422);
    assert_eq!(status(), 403);
    std::fs::write(&path, good).expect("a file");
    process.signal("HUP");
    // The log of the reloads before comes first.
    for _ in 0..2 {
        process.wait_for("the configuration was reloaded");
    }
    let status = block_on(async {
        Client::http1(process.public)
            .get("/orders/1", &token)
            .await
            .status
    });
    assert_eq!(status, 200);
}

#[test]
fn readiness_goes_first_when_the_gateway_ends() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let gateway = Bearward::usual(&main, &upstream).start();
    gateway.edit("drain_timeout", "drain_delay = \"300ms\"\ndrain_timeout");
    let (address, admin) = (gateway.address(), gateway.admin());
    let token = main.token().sign();
    block_on(async {
        gateway.reload().await.expect("a reload");
        let ended = tokio::task::spawn_blocking(move || gateway.drain());
        let ready = async || {
            plain_request(admin, "GET", "/readyz", None, None)
                .await
                .status
        };
        while ready().await == 200 {
            tokio::task::yield_now().await;
        }
        // It is not ready, and serves whoever comes.
        let _stream = tls(address, "http/1.1").await;
        assert_eq!(
            Client::http2(address).get("/orders/1", &token).await.status,
            200
        );
        assert_eq!(ended.await.expect("an end"), 0);
    });
}
