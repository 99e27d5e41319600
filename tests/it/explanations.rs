//! What a token is good for, told before it is used: protected resource metadata, the time
//! that is left, routes that only report, and `route test`.

use std::process::Command;

use serde_json::json;

use crate::support::gateway::ORDERS;
use crate::support::issuer::NOW;
use crate::support::{Bearward, TestIssuer, Upstream, block_on};

fn issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
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
    let inner = "[listeners.inner]\naddress = \"127.0.0.1:7999\"\nclear_text = true";
    let folder = Bearward::usual(&issuer, &upstream)
        .table(inner)
        .into_files();
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
    for (url, listener) in [
        ("https://api.test/orders/1", "public"),
        ("http://api.test/orders/1", "inner"),
        ("http://api.test:7999/orders/1", "inner"),
        ("https://api.test:9/orders/1", "public"),
    ] {
        let (_, told, said) = test(&["GET", url]);
        let line = format!("listener    {listener}");
        assert!(told.contains(&line), "{url}: {told}{said}");
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
