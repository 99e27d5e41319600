//! What the upstream gets and what comes back.

use crate::support::client::raw;
use crate::support::gateway::ORDERS;
use crate::support::upstream::Reply;
use crate::support::{Bearward, TestIssuer, Upstream, block_on, usual};

fn setting() -> (TestIssuer, Upstream) {
    (
        TestIssuer::new("https://login.test/", "ES256", "main-1"),
        Upstream::echo(),
    )
}

#[test]
fn the_request_is_passed_on_as_it_is_and_the_chain_is_told() {
    let (main, _upstream, gateway) = usual();
    let bearer = format!("Bearer {}", main.token().sign());
    block_on(async {
        for (client, via) in [(gateway.http1(), "1.1"), (gateway.http2(), "2")] {
            let headers = [
                ("authorization", bearer.as_str()),
                ("x-custom", "kept"),
                ("x-forwarded-for", "6.6.6.6"),
                ("forwarded", "for=6.6.6.6"),
                ("x-real-ip", "6.6.6.6"),
                ("x-forwarded-client-cert", "6.6.6.6"),
                ("te", "trailers"),
                ("expect", "100-continue"),
            ];
            let answer = client
                .send("POST", "/orders/a%20b?q=%2F&x=1", &headers, "hello")
                .await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("via"), "1.1 bearward");
            let seen = answer.text();
            assert!(
                seen.starts_with("POST /orders/a%20b?q=%2F&x=1 HTTP/1.1\r\nhost: api.test\r\n"),
                "{seen}"
            );
            assert!(seen.ends_with("\r\n\r\nhello"), "{seen}");
            for line in [
                format!("authorization: {bearer}\r\n"),
                "x-custom: kept\r\n".to_owned(),
                "content-length: 5\r\n".to_owned(),
                format!("via: {via} bearward\r\n"),
                "x-forwarded-for: 127.0.0.1\r\n".to_owned(),
                "x-forwarded-proto: https\r\n".to_owned(),
                "x-forwarded-host: api.test\r\n".to_owned(),
                "x-auth-subject: alice\r\n".to_owned(),
                "x-auth-scopes: orders:read orders:write\r\n".to_owned(),
            ] {
                assert!(seen.contains(&line), "{line} in {seen}");
            }
            for absent in [
                "6.6.6.6",
                "te:",
                "expect:",
                "transfer-encoding",
                "connection:",
            ] {
                assert!(!seen.contains(absent), "{absent} in {seen}");
            }
        }
    });
}

#[test]
fn authorization_can_be_stripped_and_the_host_be_the_upstreams() {
    let (main, upstream) = setting();
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .upstream("orders", upstream.address, "host = \"upstream\"")
        .table("[routes.orders]\npath = \"/{*rest}\"\nupstream = \"orders\"\nissuers = [\"main\"]\nauthorization = \"strip\"\nidentity = { \"X-Roles\" = \"roles\", \"X-Name\" = \"name\", \"X-None\" = \"nothing\" }")
        .start();
    let token = main
        .token()
        .with("roles", serde_json::json!(["a,b", "c", 7, true]))
        .with("name", "J\u{f6}rg\r\nX-Evil: 1")
        .sign();
    block_on(async {
        let seen = gateway.http1().get("/x", &token).await.text();
        assert!(
            !seen.contains("authorization") && !seen.contains(&token),
            "{seen}"
        );
        assert!(
            seen.contains(&format!("host: {}\r\n", upstream.address)),
            "{seen}"
        );
        assert!(seen.contains("x-roles: a%2Cb,c,7,true\r\n"), "{seen}");
        assert!(
            seen.contains("x-name: J%C3%B6rg%0D%0AX-Evil:%201\r\n"),
            "{seen}"
        );
        assert!(!seen.contains("x-none"), "{seen}");
    });
}

#[test]
fn cookies_that_http2_split_are_one_again() {
    let (main, _upstream, gateway) = usual();
    let bearer = format!("Bearer {}", main.token().sign());
    block_on(async {
        let headers = [
            ("authorization", bearer.as_str()),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ];
        let seen = gateway
            .http2()
            .send("GET", "/orders/1", &headers, "")
            .await
            .text();
        assert!(seen.contains("cookie: a=1; b=2\r\n"), "{seen}");
    });
}

#[test]
fn head_has_a_length_and_no_body() {
    let (main, upstream, gateway) = usual();
    let bearer = format!("Bearer {}", main.token().sign());
    block_on(async {
        for client in [gateway.http1(), gateway.http2()] {
            let answer = client
                .send("HEAD", "/orders/1", &[("authorization", &bearer)], "")
                .await;
            assert_eq!(answer.status, 200);
            assert!(answer.body.is_empty());
            assert!(
                answer
                    .header("content-length")
                    .parse::<u64>()
                    .expect("a length")
                    > 0
            );
        }
        // The upstream's connection is kept: both came by the same way, framed right.
        assert_eq!(upstream.seen().len(), 2);
    });
}

#[test]
fn the_upstreams_own_401_passes_unchanged() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::bytes(
        b"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm=\"inner\"\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: x-inner\r\nx-inner: hop\r\nkeep-alive: timeout=5\r\n\r\ninner",
    );
    let gateway = Bearward::usual(&main, &upstream).start();
    block_on(async {
        let answer = gateway.http1().get("/orders/1", &main.token().sign()).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"inner\"");
        assert_eq!(answer.text(), "inner");
        for hop in ["x-inner", "keep-alive"] {
            assert!(!answer.headers.contains_key(hop), "{hop}");
        }
    });
    let lines = gateway.stop();
    assert_eq!(lines[0]["outcome"], "allow");
    assert_eq!(lines[0]["upstream_status"], 401);
}

#[test]
fn chunked_answers_with_trailers_and_answers_until_the_end() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let token = main.token().sign();
    for (reply, body) in [
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nx-sum: 1\r\n\r\n",
            "hello world",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", "to the end"),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "ok",
        ),
    ] {
        let upstream = Upstream::bytes(reply.as_bytes());
        let gateway = Bearward::usual(&main, &upstream).start();
        block_on(async {
            for client in [gateway.http1(), gateway.http2()] {
                let answer = client.get("/orders/1", &token).await;
                assert_eq!(
                    (answer.status, answer.text().as_str()),
                    (200, body),
                    "{reply}"
                );
            }
        });
    }
}

#[test]
fn a_kept_connection_that_was_closed_costs_a_safe_request_nothing() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    // It answers one request on each connection and then closes, without saying so.
    let upstream = Upstream::replying(Reply::Bytes(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(),
        false,
    ));
    let gateway = Bearward::usual(&main, &upstream).start();
    block_on(async {
        let token = main.token().sign();
        for _ in 0..20 {
            assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
        }
    });
}

#[test]
fn cors_preflights_and_readable_refusals() {
    let (main, upstream) = setting();
    let cors = "[routes.web]\npath = \"/web\"\nupstream = \"orders\"\nissuers = [\"main\"]\ncors = { origins = [\"https://app.test\"], methods = [\"GET\", \"PUT\"], headers = [\"authorization\", \"x-a\"], expose = [\"x-total\"] }";
    let gateway = Bearward::usual(&main, &upstream).table(cors).start();
    let bearer = format!("Bearer {}", main.token().sign());
    block_on(async {
        let preflight = [
            ("origin", "https://app.test"),
            ("access-control-request-method", "PUT"),
        ];
        let answer = gateway
            .http2()
            .send("OPTIONS", "/web", &preflight, "")
            .await;
        assert_eq!(answer.status, 204);
        for (name, value) in [
            ("access-control-allow-origin", "https://app.test"),
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "authorization, x-a"),
            ("access-control-max-age", "600"),
            ("vary", "Origin"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        let stranger = [
            ("origin", "https://evil.test"),
            ("access-control-request-method", "PUT"),
        ];
        let answer = gateway.http2().send("OPTIONS", "/web", &stranger, "").await;
        assert_eq!(answer.status, 204);
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        // A page can read why it was refused.
        let answer = gateway
            .http1()
            .send("GET", "/web", &[("origin", "https://app.test")], "")
            .await;
        assert_eq!(answer.code(), "token_missing");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "https://app.test"
        );
        assert!(
            answer
                .header("access-control-expose-headers")
                .contains("WWW-Authenticate")
        );
        let good = [
            ("origin", "https://app.test"),
            ("authorization", bearer.as_str()),
        ];
        let answer = gateway.http1().send("GET", "/web", &good, "").await;
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .header("access-control-expose-headers")
                .ends_with("x-total")
        );
        // Without `cors` an OPTIONS is an ordinary request.
        let answer = gateway
            .http1()
            .send("OPTIONS", "/orders/1", &preflight, "")
            .await;
        assert_eq!(answer.code(), "method_not_allowed");
    });
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn routes_by_host_and_open_routes() {
    let (main, upstream) = setting();
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .upstream("orders", upstream.address, "")
        .table(ORDERS)
        .table("[routes.local]\nhosts = [\"localhost\"]\npath = \"/orders/{*rest}\"\nupstream = \"orders\"\nauth = \"none\"")
        .start();
    block_on(async {
        let answer = gateway.http1().send("GET", "/orders/1", &[], "").await;
        assert_eq!(answer.code(), "token_missing");
        let request = "GET /orders/1 HTTP/1.1\r\nhost: LOCALHOST:8443\r\nconnection: close\r\n\r\n";
        let answer = raw(gateway.address(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}
