//! One reading of every message: what could be read twice reaches the upstream once or not at all.

use tokio::io::AsyncWriteExt;

use crate::support::client::{raw, read_to_end, tls};
use crate::support::{Bearward, TestIssuer, Upstream, block_on, usual};

#[test]
fn transfer_encoding_with_content_length() {
    let (main, upstream, gateway) = usual();
    let token = main.token().sign();
    block_on(async {
        for framing in [
            "content-length: 5\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 5",
        ] {
            let before = upstream.seen().len();
            let request = format!(
                "POST /orders HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\n{framing}\r\n\r\n0\r\n\r\nGET /orders/smuggled HTTP/1.1\r\nhost: api.test\r\n\r\n"
            );
            // Read to the end: the gateway closes the connection.
            let answers = raw(gateway.address(), request.as_bytes()).await;
            assert_eq!(
                answers.matches("\r\ndate: ").count(),
                1,
                "one answer: {answers}"
            );
            let seen = upstream.seen();
            assert_eq!(
                seen.len(),
                before + 1,
                "exactly one request reaches the upstream"
            );
            let request = seen.last().expect("a request");
            assert!(
                !request.contains("content-length") && !request.contains("smuggled"),
                "{request}"
            );
        }
    });
}

#[test]
fn a_second_pipelined_request_without_a_token() {
    let (main, upstream, gateway) = usual();
    let token = main.token().sign();
    block_on(async {
        let requests = format!(
            "GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\n\r\nGET /orders/2 HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n"
        );
        let answers = raw(gateway.address(), requests.as_bytes()).await;
        assert!(answers.contains("HTTP/1.1 200 OK"), "{answers}");
        assert!(answers.contains("HTTP/1.1 401 Unauthorized"), "{answers}");
        assert_eq!(upstream.seen().len(), 1);
    });
}

#[test]
fn framing_that_is_an_error_reaches_nobody() {
    let (main, upstream, gateway) = usual();
    let token = main.token().sign();
    block_on(async {
        for framing in [
            "content-length: 5\r\ncontent-length: 6",
            "content-length: 5, 6",
            "content-length: +5",
            "content-length: -1",
            "content-length: 0x5",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: chunked, gzip",
            "transfer-encoding: xchunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: identity",
            "transfer-encoding : chunked",
            "x: y\r\n folded: z",
        ] {
            let request = format!(
                "POST /orders HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\n{framing}\r\nconnection: close\r\n\r\n0\r\n\r\n"
            );
            let answer = raw(gateway.address(), request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{framing}: {answer}");
        }
        assert!(upstream.seen().is_empty());
        let errors = gateway
            .metric("bearward_protocol_errors_total{kind=\"parse\",listener=\"public\"}")
            .await;
        assert!(errors > 0.0);
    });
}

#[test]
fn two_hosts_and_a_host_that_differs_from_the_target() {
    let (_main, upstream, gateway) = usual();
    block_on(async {
        for head in [
            "GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nhost: api.test",
            "GET /orders/1 HTTP/1.1",
            "GET https://localhost/orders/1 HTTP/1.1\r\nhost: api.test",
            "GET /orders/1 HTTP/1.1\r\nhost: user@api.test",
        ] {
            let request = format!("{head}\r\nconnection: close\r\n\r\n");
            let answer = raw(gateway.address(), request.as_bytes()).await;
            assert!(
                answer.starts_with("HTTP/1.1 400 ") && answer.contains("request_malformed"),
                "{head}: {answer}"
            );
        }
        let other = "GET /orders/1 HTTP/1.1\r\nhost: elsewhere.test\r\nconnection: close\r\n\r\n";
        let answer = raw(gateway.address(), other.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 421 ") && answer.contains("authority_unknown"),
            "{answer}"
        );
    });
    assert!(upstream.seen().is_empty());
}

#[test]
fn an_upstream_that_frames_twice_or_talks_on_is_not_used_again() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let token = main.token().sign();
    for (reply, status) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "502",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
            "502",
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "502"),
        ("nonsense\r\n\r\n", "502"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "502"),
        (
            "HTTP/1.1 204 No Content\r\ncontent-length: 6\r\n\r\nPOISON",
            "502",
        ),
        // A good answer with the start of another behind it.
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
            "200",
        ),
    ] {
        let upstream = Upstream::replying(crate::support::upstream::Reply::Bytes(
            reply.as_bytes().to_vec(),
            true,
        ));
        let gateway = Bearward::usual(&main, &upstream).start();
        block_on(async {
            for path in ["/orders/1", "/orders/2"] {
                let answer = gateway.http1().get(path, &token).await;
                assert_eq!(answer.status.to_string(), status, "{reply}");
                if status == "200" {
                    assert_eq!(answer.text(), "ok");
                } else {
                    assert_eq!(answer.code(), "upstream_invalid");
                }
            }
        });
    }
}

#[test]
fn http_1_0_and_a_bare_lf_make_one_canonical_request() {
    let (main, upstream, gateway) = usual();
    let token = main.token().sign();
    block_on(async {
        for request in [
            format!(
                "GET /orders/1 HTTP/1.0\r\nhost: api.test\r\nauthorization: Bearer {token}\r\n\r\n"
            ),
            format!(
                "GET /orders/1 HTTP/1.1\nhost: api.test\nauthorization: Bearer {token}\nconnection: close\n\n"
            ),
        ] {
            let mut stream = tls(gateway.address(), "http/1.1").await;
            stream.write_all(request.as_bytes()).await.expect("room");
            let answer = read_to_end(&mut stream).await;
            assert!(answer.contains(" 200 OK"), "{answer}");
        }
    });
    for request in upstream.seen() {
        assert!(
            request.starts_with("GET /orders/1 HTTP/1.1\r\nhost: api.test\r\n"),
            "{request}"
        );
    }
}
