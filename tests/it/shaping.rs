//! What a route changes of what passes: where tokens come from, paths, headers of responses.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{Answer, tls};
use crate::support::gateway::{Gateway, ORDERS};
use crate::support::{Bearward, TestIssuer, Upstream, block_on};

fn parts() -> (TestIssuer, Upstream) {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    (main, Upstream::echo())
}

fn with_route(main: &TestIssuer, upstream: &Upstream, more: &str) -> Gateway {
    let own = ORDERS.replace("issuers =", &format!("{more}\nissuers ="));
    Bearward::new()
        .trusting("main", main, "")
        .upstream("orders", upstream.address, "")
        .table(&own)
        .start()
}

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Answer {
    let one = gateway.http1().send("GET", path, headers, "").await;
    let two = gateway.http2().send("GET", path, headers, "").await;
    assert_eq!(one.status, two.status);
    one
}

#[test]
fn a_token_is_found_where_the_route_looks_and_goes_on_in_the_header() {
    let (main, upstream) = parts();
    let token = main.token().sign();
    let bearer = format!("Bearer {token}");
    let gateway = with_route(
        &main,
        &upstream,
        "token_from = [\"header\", \"query:access_token\", \"cookie:session\"]",
    );
    let in_query = format!("/orders/1?a=1&access_token={token}&b=%2F");
    let cookie = format!("theme=dark; session={token}");
    let header = ("authorization", bearer.as_str());
    block_on(async {
        let answer = get(&gateway, &in_query, &[]).await;
        assert_eq!(answer.status, 200);
        let seen = answer.text();
        assert!(
            seen.starts_with("GET /orders/1?a=1&b=%2F HTTP/1.1\r\n"),
            "{seen}"
        );
        assert!(
            seen.contains(&format!("\r\nauthorization: {bearer}\r\n")),
            "{seen}"
        );
        let only = format!("/orders/1?access_token={token}");
        let seen = get(&gateway, &only, &[]).await.text();
        assert!(seen.starts_with("GET /orders/1 HTTP/1.1\r\n"), "{seen}");
        let answer = get(&gateway, "/orders/1", &[("cookie", cookie.as_str())]).await;
        let seen = answer.text();
        assert!(
            seen.contains(&format!("\r\nauthorization: {bearer}\r\n")),
            "{seen}"
        );
        assert_eq!(get(&gateway, "/orders/1", &[header]).await.status, 200);
        // What else is in the query is the upstream's business.
        for query in ["?z=%ff", "?z=100%", "?access%5Ftoken", "?%zz=1"] {
            let answer = get(&gateway, &format!("/orders/1{query}"), &[header]).await;
            assert_eq!(answer.status, 200, "{query}");
        }
        // Two are one too many, wherever they are.
        for (path, headers) in [
            (in_query.as_str(), &[header][..]),
            (&in_query, &[("cookie", cookie.as_str())]),
            (&format!("{in_query}&access_token={token}"), &[]),
        ] {
            let answer = get(&gateway, path, headers).await;
            assert_eq!(
                (answer.status, answer.code()),
                (400, "token_ambiguous".to_owned())
            );
        }
        let answer = get(&gateway, "/orders/1?access_token=", &[]).await;
        assert_eq!(answer.code(), "token_malformed");
        assert_eq!(
            get(&gateway, "/orders/1", &[]).await.code(),
            "token_missing"
        );
    });
    for line in gateway.stop() {
        assert!(!line.to_string().contains(&token), "{line}");
    }
}

#[test]
fn what_nobody_has_looked_at_does_not_go_on() {
    let (main, upstream) = parts();
    let token = main.token().sign();
    let gateway = with_route(&main, &upstream, "token_from = [\"cookie:session\"]");
    let cookie = format!("session={token}");
    block_on(async {
        let headers = [
            ("cookie", cookie.as_str()),
            ("authorization", "Bearer forged"),
        ];
        let seen = get(&gateway, "/orders/1", &headers).await.text();
        assert!(!seen.contains("forged"), "{seen}");
        assert!(
            seen.contains(&format!("\r\nauthorization: Bearer {token}\r\n")),
            "{seen}"
        );
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let missing = get(&gateway, "/orders/1", &headers).await;
        assert_eq!(missing.code(), "token_missing");
        let hint = missing.text();
        assert!(hint.contains("in the cookie `session`"), "{hint}");
    });
}

#[test]
fn a_browser_offers_its_token_among_the_protocols_of_a_websocket() {
    let (main, _) = parts();
    let token = main.token().sign();
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n";
    let upstream = Upstream::bytes(answer);
    let gateway = with_route(&main, &upstream, "token_from = [\"websocket_protocol\"]");
    block_on(async {
        let mut stream = tls(gateway.address(), "http/1.1").await;
        let request = format!(
            "GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: chat, bearer, {token}\r\nsec-websocket-protocol: v2\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("room");
        let mut head = Vec::new();
        let _ = stream.read_to_end(&mut head).await;
        let head = String::from_utf8_lossy(&head);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(
            head.contains("\r\nsec-websocket-protocol: bearer\r\n"),
            "{head}"
        );
    });
    let seen = upstream.seen().concat();
    assert_eq!(seen.matches("sec-websocket-protocol").count(), 1, "{seen}");
    assert!(
        seen.contains("\r\nsec-websocket-protocol: chat, v2\r\n"),
        "{seen}"
    );
    assert!(
        seen.contains(&format!("\r\nauthorization: Bearer {token}\r\n")),
        "{seen}"
    );
}

#[test]
fn a_prefix_is_taken_off_and_nothing_else_changes() {
    let (main, upstream) = parts();
    let token = main.token().sign();
    let gateway = with_route(&main, &upstream, "strip_prefix = \"/orders\"");
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    block_on(async {
        for (path, sent) in [
            ("/orders/1", "/1"),
            ("/orders/a%20b/?q=/orders", "/a%20b/?q=/orders"),
            ("/orders", "/"),
            ("/orders?q=1", "/?q=1"),
            ("/orders/", "/"),
            ("/orders/orders/1", "/orders/1"),
        ] {
            let answer = get(&gateway, path, &headers).await;
            let seen = answer.text();
            let line = format!("GET {sent} HTTP/1.1\r\n");
            assert!(seen.starts_with(&line), "{path}: {seen}");
        }
    });
}

#[test]
fn responses_get_and_lose_fields() {
    let (main, _) = parts();
    let token = main.token().sign();
    let answer = b"HTTP/1.1 200 OK\r\nserver: secret/1.0\r\nx-powered-by: php\r\nx-frame-options: ALLOW\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::bytes(answer);
    let more = "response_headers = { set = { \"Strict-Transport-Security\" = \"max-age=63072000\", \"X-Frame-Options\" = \"DENY\" }, remove = [\"Server\", \"X-Powered-By\"] }";
    let gateway = with_route(&main, &upstream, more);
    let bearer = format!("Bearer {token}");
    block_on(async {
        let answer = get(&gateway, "/orders/1", &[("authorization", bearer.as_str())]).await;
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(
            answer.header("strict-transport-security"),
            "max-age=63072000"
        );
        for gone in ["server", "x-powered-by"] {
            assert!(!answer.headers.contains_key(gone), "{gone}");
        }
        // A browser must hear it from a refusal too.
        let refused = get(&gateway, "/orders/1", &[]).await;
        assert_eq!(refused.status, 401);
        assert_eq!(
            refused.header("strict-transport-security"),
            "max-age=63072000"
        );
        assert_eq!(refused.header("cache-control"), "no-store");
    });
}
