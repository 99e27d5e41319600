//! What a refusal looks like: levels of disclosure, near misses, gRPC, HEAD, browsers.

use serde_json::Value;

use crate::support::client::raw;
use crate::support::issuer::NOW;
use crate::support::{Bearward, TestIssuer, Upstream, block_on, usual};

#[test]
fn a_detail_is_exact() {
    let (main, _upstream, gateway) = usual();
    block_on(async {
        let token = main.token().with("exp", NOW - 192).sign();
        let body = gateway.http1().get("/orders/1", &token).await.json();
        assert_eq!(
            body["detail"],
            "The token expired 3 minutes and 12 seconds ago."
        );
        assert_eq!(body["expired_at"], "2026-11-24T15:00:53Z");
        assert_eq!(body["retryable"], false);
    });
}

#[test]
fn disclosure_levels() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let route = |level: &str| {
        format!(
            "[routes.{level}]\npath = \"/{level}\"\nupstream = \"orders\"\nissuers = [\"main\"]\ndisclosure = \"{level}\"\n"
        )
    };
    let gateway = Bearward::usual(&main, &upstream)
        .table(&route("reason"))
        .table(&route("minimal"))
        .start();
    block_on(async {
        let members = |body: &Value| {
            body.as_object()
                .expect("an object")
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        let token = main.token().with("exp", NOW - 192).sign();
        let reason = gateway.http1().get("/reason", &token).await;
        assert_eq!(
            members(&reason.json()),
            ["code", "instance", "status", "step", "title", "type"]
        );
        let minimal = gateway.http1().get("/minimal", &token).await;
        let body = minimal.json();
        assert_eq!(members(&body), ["instance", "status", "title", "type"]);
        assert_eq!(body["type"], "about:blank");
        assert_eq!(body["title"], "Unauthorized");
        assert_eq!(
            minimal.header("www-authenticate"),
            "Bearer realm=\"api.test\", error=\"invalid_token\""
        );
    });
    // The operator's log always has all of it.
    assert!(
        gateway
            .stop()
            .iter()
            .all(|line| line["reason"] == "token_expired")
    );
}

#[test]
fn near_misses_are_named() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let partner = TestIssuer::new("https://partner.test/", "ES256", "partner-1");
    let upstream = Upstream::echo();
    let gateway = Bearward::usual(&main, &upstream)
        .trusting("partner", &partner, "")
        .start();
    let good = main.token().sign();
    let cut = good.rsplit_once('.').expect("three parts").0.to_owned();
    let bearer = |token: &str| format!("Bearer {token}");
    let cases = [
        (
            bearer(&main.token().with("iss", "https://login.test").sign()),
            "issuer_untrusted",
            "slash at its end",
        ),
        (
            bearer(&main.token().with("iss", "http://login.test/").sign()),
            "issuer_untrusted",
            "only by http and https",
        ),
        (
            bearer(&partner.token().sign()),
            "issuer_untrusted",
            "not trusted for this route",
        ),
        (
            bearer(&main.token().signed_by(&partner).sign()),
            "key_unknown",
            "key of another issuer of this gateway",
        ),
        (
            bearer(&main.token().typed(Some("JWT")).with("nonce", "n").sign()),
            "type_not_allowed",
            "An ID token was sent",
        ),
        (
            bearer(&format!("\"{good}\"")),
            "token_malformed",
            "in quotes",
        ),
        (
            bearer(&format!("{good}\\n")),
            "token_malformed",
            "line break",
        ),
        (
            bearer(&format!("{good}%0A")),
            "token_malformed",
            "line break",
        ),
        (bearer(&bearer(&good)), "token_malformed", "stands twice"),
        (bearer("0123456789abcdef"), "token_malformed", "opaque"),
        (bearer("a.b.c.d.e"), "token_malformed", "encrypted"),
        (bearer(&cut), "token_malformed", "was cut"),
        (
            bearer(""),
            "token_malformed",
            "no token behind the word Bearer",
        ),
        (good.clone(), "scheme_unsupported", "without a scheme"),
    ];
    block_on(async {
        for (value, code, words) in &cases {
            let answer = gateway
                .http1()
                .send("GET", "/orders/1", &[("authorization", value)], "")
                .await;
            let body = answer.json();
            assert_eq!(body["code"], *code, "{words}");
            assert!(
                body["detail"].as_str().expect("a detail").contains(words),
                "{body}"
            );
        }
    });
}

#[test]
fn an_unverified_payload_is_never_echoed() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let stranger = TestIssuer::new("https://canary-issuer.test/", "ES256", "canary-kid");
    let upstream = Upstream::echo();
    let gateway = Bearward::usual(&main, &upstream).start();
    block_on(async {
        for token in [
            stranger.token().with("sub", "canary-subject"),
            main.token()
                .signed_by(&stranger)
                .with("sub", "canary-subject")
                .with("aud", "canary-audience"),
        ] {
            for client in [gateway.http1(), gateway.http2()] {
                let answer = client.get("/orders/1", &token.sign()).await;
                let all = format!("{:?} {}", answer.headers, answer.text());
                assert!(!all.contains("canary"), "{all}");
            }
        }
    });
}

#[test]
fn grpc_calls_get_trailers_only_answers() {
    let (_main, _upstream, gateway) = usual();
    block_on(async {
        let headers = [
            ("content-type", "application/grpc+proto"),
            ("te", "trailers"),
        ];
        let answer = gateway
            .http2()
            .send("POST", "/orders/1", &headers, "")
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/grpc+proto");
        assert_eq!(answer.header("grpc-status"), "16");
        assert!(answer.header("grpc-message").starts_with("token_missing: "));
        assert!(answer.body.is_empty());
    });
    let lines = gateway.stop();
    assert_eq!(lines[0]["status"], 401);
}

#[test]
fn a_head_is_refused_without_a_body_and_a_browser_gets_a_page() {
    let (_main, _upstream, gateway) = usual();
    block_on(async {
        for client in [gateway.http1(), gateway.http2()] {
            let head = client.send("HEAD", "/orders/1", &[], "").await;
            assert_eq!(head.status, 401);
            assert!(head.body.is_empty());
            assert!(
                head.header("content-length")
                    .parse::<u64>()
                    .expect("a length")
                    > 100
            );
        }
        let accept = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
        let page = gateway.http1().send("GET", "/orders/1", &accept, "").await;
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert!(page.text().starts_with("<!doctype html>"));
    });
}

#[test]
fn what_is_no_request_gets_a_reason_too() {
    let (_main, upstream, gateway) = usual();
    let long = "x".repeat(200_000);
    let cases = [
        (
            "nonsense\r\n\r\n".to_owned(),
            "400",
            "request_malformed",
            "the request line",
        ),
        (
            "GET / HTTP/1.1\r\nhost: api.test\r\ncontent-length: 1, 2\r\n\r\n".to_owned(),
            "400",
            "request_malformed",
            "Content-Length is not one number",
        ),
        (
            "GET / HTTP/1.1\r\nhost : api.test\r\n\r\n".to_owned(),
            "400",
            "request_malformed",
            "a space before the colon",
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nhost: api.test\r\n{}\r\n",
                "x: y\r\n".repeat(100)
            ),
            "431",
            "headers_too_large",
            "more than 100 header fields",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: api.test\r\nx: {long}\r\n\r\n"),
            "431",
            "headers_too_large",
            "",
        ),
        (
            format!(
                "GET /{} HTTP/1.1\r\nhost: api.test\r\n\r\n",
                "x".repeat(70_000)
            ),
            "414",
            "target_too_long",
            "",
        ),
    ];
    let mut ids = Vec::new();
    block_on(async {
        for (request, status, code, cause) in &cases {
            let answer = raw(gateway.address(), request.as_bytes()).await;
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("\r\nconnection: close"), "{head}");
            assert!(
                head.contains("\r\ncontent-type: application/problem+json"),
                "{head}"
            );
            let body: Value = serde_json::from_str(body).expect("a problem");
            assert_eq!(body["code"], *code);
            let told = body["detail"].as_str().expect("words");
            assert!(!told.contains("nonsense") && !told.contains("xx"), "{told}");
            assert!(told.contains(cause), "{told}");
            ids.push(body["instance"].clone());
        }
        let counted = "bearward_decisions_total{issuer=\"none\",outcome=\"deny\",reason=\"request_malformed\",route=\"none\"}";
        assert!(gateway.metric(counted).await >= 2.0);
    });
    assert!(upstream.seen().is_empty());
    for (line, (id, (_, _, code, cause))) in gateway.stop().iter().zip(ids.iter().zip(&cases)) {
        assert!(
            id.as_str()
                .expect("an id")
                .ends_with(line["id"].as_str().expect("an id")),
            "{line}"
        );
        let told = line["cause"].as_str().unwrap_or_default();
        assert!(told.contains(cause), "{line}");
        assert_eq!(
            (&line["reason"], &line["method"], &line["path"]),
            (
                &Value::from(*code),
                &Value::from("other"),
                &Value::from("*")
            )
        );
    }
}

#[test]
fn both_protocols_take_as_many_header_fields() {
    let (main, _upstream, gateway) = usual();
    let good = format!("Bearer {}", main.token().sign());
    block_on(async {
        for client in [gateway.http1(), gateway.http2()] {
            // With the token and what the client adds by itself, such as Host: below a hundred, and beyond.
            for (count, status) in [(90, 200), (101, 431)] {
                let mut headers = vec![("authorization", good.as_str())];
                headers.extend(std::iter::repeat_n(("x-many", "y"), count));
                let answer = client.send("GET", "/orders/1", &headers, "").await;
                assert_eq!(answer.status, status, "{count}: {}", answer.text());
                if status == 431 {
                    let told = answer.json();
                    assert_eq!(
                        told["detail"],
                        "The request has more than 100 header fields."
                    );
                }
            }
        }
        // HTTP/2 may send a cookie in pieces.
        let mut headers = vec![("authorization", good.as_str())];
        headers.extend(std::iter::repeat_n(("cookie", "a=b"), 150));
        let answer = gateway.http2().send("GET", "/orders/1", &headers, "").await;
        assert_eq!(answer.status, 200);
    });
}
