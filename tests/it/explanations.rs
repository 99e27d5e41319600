//! What a token is good for, told before it is used: the token check, protected resource metadata, the time
//! that is left, routes that only report, and `route test`.

use std::process::Command;

use serde_json::json;

use crate::support::client::Answer;
use crate::support::gateway::{Gateway, ORDERS};
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
fn responses_say_how_long_the_token_lives_where_the_route_wants_it() {
    let (issuer, upstream) = (
        issuer(),
        Upstream::bytes(
            b"HTTP/1.1 200 OK\r\nbearward-token-expires-in: 99\r\ncontent-length: 0\r\n\r\n",
        ),
    );
    let more = "[routes.told]\npath = \"/told\"\nupstream = \"orders\"\nissuers = [\"main\"]\ntoken_expires_in = true\n";
    let gateway = Bearward::usual(&issuer, &upstream).table(more).start();
    block_on(async {
        for (exp, told) in [(NOW + 61, "61"), (NOW - 10, "0")] {
            let token = issuer.token().with("exp", exp).sign();
            let answer = gateway.http2().get("/told", &token).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("bearward-token-expires-in"), told);
            assert_eq!(
                answer
                    .headers
                    .get_all("bearward-token-expires-in")
                    .iter()
                    .count(),
                1
            );
        }
    });
}

#[test]
fn a_client_finds_out_how_to_get_a_token() {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let more = r#"
[routes.other]
hosts = ["localhost"]
path = "/other"
upstream = "orders"
issuers = ["main"]
[[routes.other.rules]]
scopes_any = ["a", "b"]
[routes.secret]
path = "/secret"
upstream = "orders"
issuers = ["main"]
disclosure = "minimal"
[routes.all]
path = "/{*rest}"
upstream = "orders"
auth = "none"
"#;
    let gateway = Bearward::usual(&issuer, &upstream).table(more).start();
    let metadata = "/.well-known/oauth-protected-resource";
    block_on(async {
        // As RFC 9728 section 3.1 has it: the well-known part stands between host and path.
        let path = format!("{metadata}/orders");
        for client in [gateway.http1(), gateway.http2()] {
            let answer = client.send("GET", &path, &[], "").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.header("content-type"), "application/json");
            assert_eq!(answer.header("access-control-allow-origin"), "*");
        }
        let at = async |path: &str, host: &str| {
            let request = http::Request::builder().uri(path).header("host", host);
            let request = request.body(Default::default()).expect("a request");
            gateway.http1().exchange(request).await
        };
        let of = async |path: &str, host: &str| at(&format!("{metadata}{path}"), host).await;
        let document = of("/orders", "api.test").await.json();
        assert_eq!(
            document,
            json!({
                "resource": "https://api.test/orders",
                "authorization_servers": ["https://login.test/"],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["orders:read", "orders:write"],
            })
        );
        // The challenge leads there, at each host to its own.
        let refused = async |path: &str, host: &str| {
            let answer = at(path, host).await;
            assert_eq!(answer.status, 401);
            answer.header("www-authenticate").to_owned()
        };
        let challenge = refused("/orders/1", "api.test").await;
        assert!(
            challenge.ends_with(
                "resource_metadata=\"https://api.test/.well-known/oauth-protected-resource/orders\""
            ),
            "{challenge}"
        );
        let challenge = refused("/other", "localhost").await;
        assert!(
            challenge.contains("\"https://localhost/.well-known/oauth-protected-resource/other\""),
            "{challenge}"
        );
        let document = of("/other", "localhost").await.json();
        assert_eq!(document["resource"], "https://localhost/other");
        assert_eq!(document["scopes_supported"], json!(["a", "b"]));
        // What discloses as little as possible is no resource that is told of, and everything else goes on.
        assert!(
            !refused("/secret", "api.test")
                .await
                .contains("resource_metadata")
        );
        for (path, host) in [
            ("/secret", "api.test"),
            ("/orders/1", "api.test"),
            ("/other", "api.test"),
        ] {
            let answer = of(path, host).await;
            assert_eq!(answer.status, 200);
            assert!(
                !answer.text().contains("authorization_servers"),
                "{path}: {}",
                answer.text()
            );
        }
    });
    // Off: the service behind may have its own.
    let text = "[endpoints]\nresource_metadata = false\n";
    let gateway = Bearward::usual(&issuer, &upstream)
        .table(more)
        .table(text)
        .start();
    block_on(async {
        let answer = gateway.http1().send("GET", "/orders/1", &[], "").await;
        assert!(
            !answer
                .header("www-authenticate")
                .contains("resource_metadata")
        );
    });
}

#[test]
fn a_route_that_only_reports_lets_pass_and_counts() {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let report = ORDERS.replace(
        "issuers = [\"main\"]",
        "auth = \"report\"\nissuers = [\"main\"]",
    );
    let gateway = Bearward::new()
        .trusting("main", &issuer, "")
        .upstream("orders", upstream.address, "")
        .table(&report)
        .limits("failures_per_peer = \"1/h\"")
        .start();
    block_on(async {
        let cases = [
            (issuer.token().sign(), None),
            (
                issuer.token().with("exp", NOW - 300).sign(),
                Some("token_expired"),
            ),
            (
                issuer.token().with("scope", "x").sign(),
                Some("scope_missing"),
            ),
            ("nonsense".to_owned(), Some("token_malformed")),
        ];
        for (token, would) in &cases {
            let bearer = format!("Bearer {token}");
            let sent = [("authorization", &*bearer), ("x-auth-subject", "mallory")];
            let answer = gateway.http1().send("GET", "/orders/1", &sent, "").await;
            assert_eq!(answer.status, 200, "{would:?}");
            let seen = upstream.seen().pop().expect("a request");
            // Who calls is said only where a token says it.
            let says = |line: &str| seen.to_ascii_lowercase().contains(line);
            assert_eq!(says("x-auth-subject: alice"), would.is_none(), "{seen}");
            assert!(!says("mallory"), "{seen}");
            if let Some(reason) = would {
                let series =
                    format!("bearward_would_deny_total{{reason=\"{reason}\",route=\"orders\"}}");
                assert!((gateway.metric(&series).await - 1.0).abs() < 0.1);
            }
        }
        // What is not about the token is refused as everywhere.
        let answer = gateway.http1().send("PATCH", "/orders/1", &[], "").await;
        assert_eq!(answer.status, 405);
    });
    let lines = gateway.stop();
    let would: Vec<_> = lines
        .iter()
        .filter_map(|line| line["would_deny"].as_str())
        .collect();
    assert_eq!(would, ["token_expired", "scope_missing", "token_malformed"]);
    assert!(
        lines
            .iter()
            .filter(|line| line["status"] == 200)
            .all(|line| line["outcome"] == "allow")
    );
}

#[test]
fn a_request_can_be_tried_against_the_routes() {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let folder = Bearward::usual(&issuer, &upstream).into_files();
    let test = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bearward"))
            .args(["route", "test"])
            .args(arguments)
            .arg("--config")
            .arg(folder.path().join("bearward.toml"))
            .output()
            .expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, told, said) = test(&["GET", "https://api.test/orders/1"]);
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "route       orders",
        "path        /orders/{*rest}",
        "auth        required",
        "issuer      https://login.test/ (main)",
        "audience    https://api.test",
        "rule        0: GET",
        "scopes      all of: orders:read",
        "upstream    orders",
    ] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    let (code, told, _) = test(&["DELETE", "https://api.test/orders/1", "--json"]);
    assert_eq!(code, Some(0));
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["rule"], 2);
    assert_eq!(told["route"]["rules"][2]["claims"], json!(["tier"]));
    for (method, url, code, words) in [
        (
            "PATCH",
            "https://api.test/orders/1",
            1,
            "405 method_not_allowed: use DELETE, GET, HEAD, POST, PUT",
        ),
        ("GET", "https://api.test/nothing", 1, "404 route_not_found"),
        (
            "GET",
            "https://api.test/orders//1",
            1,
            "400 request_malformed",
        ),
        ("get", "https://api.test/orders/1", 2, "capitals"),
        ("GET", "/orders/1", 2, "scheme and host"),
    ] {
        let (found, _, said) = test(&[method, url]);
        assert_eq!(found, Some(code), "{url}: {said}");
        assert!(said.contains(words), "{words} in {said}");
    }
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

#[test]
fn a_route_that_only_reports_has_its_limits_without_a_token_too() {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let report = ORDERS.replace(
        "issuers = [\"main\"]",
        "auth = \"report\"\nissuers = [\"main\"]\nlimit = { per = \"subject\", rate = \"3/m\" }",
    );
    let gateway = Bearward::new()
        .trusting("main", &issuer, "")
        .upstream("orders", upstream.address, "")
        .table(&report)
        .start();
    block_on(async {
        for expected in [200, 200, 200, 429] {
            let answer = gateway.http1().send("GET", "/orders/1", &[], "").await;
            assert_eq!(answer.status, expected);
        }
    });
}

#[test]
fn a_plain_jwt_that_says_it_is_something_else_opens_nothing() {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let gateway = Bearward::new()
        .trusting("main", &issuer, "token_types = [\"at+jwt\", \"JWT\"]")
        .upstream("orders", upstream.address, "")
        .table(ORDERS)
        .start();
    block_on(async {
        let plain = || issuer.token().typed(Some("JWT"));
        assert_eq!(
            gateway
                .http1()
                .get("/orders/1", &plain().sign())
                .await
                .status,
            200
        );
        // Some providers write a nonce into access tokens too.
        assert_eq!(
            gateway
                .http1()
                .get("/orders/1", &plain().with("nonce", "x").sign())
                .await
                .status,
            200
        );
        for (claim, value, near) in [
            ("typ", "Refresh", "refresh_token"),
            ("token_use", "refresh", "refresh_token"),
            ("token_use", "id", "id_token"),
            ("at_hash", "x", "id_token"),
        ] {
            let answer = gateway
                .http1()
                .get("/orders/1", &plain().with(claim, value).sign())
                .await;
            assert_eq!(answer.status, 401, "{claim}");
            assert_eq!(answer.json()["near_miss"], near);
        }
    });
}

#[test]
fn two_listeners_may_have_a_route_each_at_one_path() {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let other = TestIssuer::new("https://other.test/", "ES256", "other-1");
    let routes = "[listeners.inner]\naddress = \"127.0.0.1:0\"\nclear_text = true\n\
        [routes.a]\npath = \"/dup\"\nupstream = \"orders\"\nissuers = [\"main\"]\nlisteners = [\"public\"]\n\
        [routes.b]\npath = \"/dup\"\nupstream = \"orders\"\nissuers = [\"other\"]\nlisteners = [\"inner\"]\n";
    let gateway = Bearward::usual(&issuer, &upstream)
        .trusting("other", &other, "")
        .table(routes)
        .start();
    let inner = gateway.listener("inner").expect("a listener");
    block_on(async {
        let path = "/.well-known/oauth-protected-resource/dup";
        let public = gateway.http1().send("GET", path, &[], "").await.json();
        assert_eq!(
            public["authorization_servers"],
            json!(["https://login.test/"])
        );
        let request = http::Request::builder()
            .uri(path)
            .header("host", "api.test");
        let request = request.body(Default::default()).expect("a request");
        let inner = crate::support::client::plain_exchange(inner, request)
            .await
            .json();
        assert_eq!(
            inner["authorization_servers"],
            json!(["https://other.test/"])
        );
    });
}
