//! Bodies both ways: streamed, bounded, held back, broken off.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{raw, tls};
use crate::support::gateway::ORDERS;
use crate::support::{Bearward, TestIssuer, Upstream, block_on, own_runtime, own_server, usual};

fn setting() -> (TestIssuer, Upstream) {
    (
        TestIssuer::new("https://login.test/", "ES256", "main-1"),
        Upstream::echo(),
    )
}

#[test]
fn an_answer_that_breaks_off_is_not_a_whole_one() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort");
    let gateway = Bearward::usual(&main, &upstream).start();
    block_on(async {
        let token = main.token().sign();
        let request = format!(
            "GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let answer = raw(gateway.address(), request.as_bytes()).await;
        assert!(
            answer.contains("content-length: 50") && answer.ends_with("short"),
            "{answer}"
        );
    });
    let lines = gateway.stop();
    assert_eq!(lines[0]["cause"], "the upstream's body broke off");
}

#[test]
fn a_hundred_continue_comes_after_the_verdict() {
    let (main, upstream, gateway) = usual();
    let token = main.token().sign();
    block_on(async {
        let head = |token: &str| {
            format!(
                "POST /orders HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
            )
        };
        let mut stream = tls(gateway.address(), "http/1.1").await;
        stream
            .write_all(head(&token).as_bytes())
            .await
            .expect("room");
        let mut bytes = [0; 25];
        stream
            .read_exact(&mut bytes)
            .await
            .expect("an interim answer");
        assert_eq!(&bytes, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hello").await.expect("room");
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200 OK");

        let mut stream = tls(gateway.address(), "http/1.1").await;
        stream
            .write_all(head("a.b.c").as_bytes())
            .await
            .expect("room");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 401");
    });
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_refusal_reaches_a_client_that_still_uploads() {
    let (main, upstream) = setting();
    let gateway = Bearward::usual(&main, &upstream)
        .limits("body_bytes = \"unlimited\"")
        .start();
    block_on(async {
        // Over HTTP/1.1 with a length that will not be used up.
        let mut stream = tls(gateway.address(), "http/1.1").await;
        let head = "POST /orders HTTP/1.1\r\nhost: api.test\r\ncontent-length: 100000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("room");
        stream.write_all(&[b'x'; 10_000]).await.expect("room");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 401");
        // Over HTTP/2: the answer comes first, then the reset.
        let answer = gateway
            .http2()
            .send("POST", "/orders", &[], &"x".repeat(1_000_000))
            .await;
        assert_eq!(answer.code(), "token_missing");
    });
    assert!(upstream.seen().is_empty());
}

#[test]
fn large_bodies_stream_both_ways() {
    let (main, upstream) = setting();
    let gateway = Bearward::usual(&main, &upstream)
        .limits("body_bytes = \"unlimited\"")
        .start();
    let bearer = format!("Bearer {}", main.token().sign());
    let body = "0123456789abcdef".repeat(200_000);
    block_on(async {
        for client in [gateway.http1(), gateway.http2()] {
            let answer = client
                .send("POST", "/orders/1", &[("authorization", &bearer)], &body)
                .await;
            assert_eq!(answer.status, 200);
            assert!(answer.text().ends_with(&body));
        }
    });
}

#[test]
fn a_chunked_upload_stays_chunked_and_an_oversized_one_is_cut() {
    let (main, upstream) = setting();
    let gateway = Bearward::usual(&main, &upstream)
        .limits("body_bytes = \"1KiB\"")
        .start();
    let token = main.token().sign();
    block_on(async {
        let head = format!(
            "POST /orders HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
        let answer = raw(
            gateway.address(),
            format!("{head}5;ext=1\r\nhello\r\n0\r\nx-trailer: forged\r\n\r\n").as_bytes(),
        )
        .await;
        assert!(
            answer.contains("transfer-encoding: chunked\r\n")
                && answer.contains("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            "{answer}"
        );
        assert!(
            !answer.contains("x-trailer") && !answer.contains("ext=1"),
            "{answer}"
        );
        let large = format!("{head}{:x}\r\n{}\r\n0\r\n\r\n", 2000, "x".repeat(2000));
        let answer = raw(gateway.address(), large.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 413 ") && answer.contains("body_too_large"),
            "{answer}"
        );
    });
    assert_eq!(
        upstream.seen().len(),
        1,
        "the oversized one never arrived whole"
    );
}

#[test]
fn a_slow_reader_holds_the_upstream_back() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Endless::start();
    let gateway = Bearward::usual_at(&main, upstream.address).start();
    let token = main.token().sign();
    block_on(async {
        let stream = TokioIo::new(tls(gateway.address(), "http/1.1").await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .expect("a handshake");
        tokio::spawn(connection);
        let request = Request::get("/orders/1")
            .header("host", "api.test")
            .header("authorization", format!("Bearer {token}"))
            .body(http_body_util::Empty::<Bytes>::new())
            .expect("a request");
        let mut body = sender
            .send_request(request)
            .await
            .expect("an answer")
            .into_body();
        body.frame().await.expect("a frame").expect("bytes");
        // Nobody reads: what the upstream can write comes to a stop, far below what it would.
        let mut before = 0;
        loop {
            tokio::time::timeout(Duration::from_millis(300), upstream.progress())
                .await
                .ok();
            let now = upstream.written();
            if now == before {
                break;
            }
            before = now;
        }
        assert!(before < 64 * 1024 * 1024, "{before} bytes went somewhere");
    });
}

#[test]
fn an_upstream_that_reads_slowly_is_not_too_slow() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let runtime = own_runtime();
    // A small window: what the system keeps for it must not hide that it is slow.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(64 * 1024).expect("an option");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    let listener = runtime
        .block_on(async { socket.listen(8) })
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    // A block of the body each tick: the whole takes several times the response's limit.
    runtime.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut tick = tokio::time::interval(Duration::from_millis(40));
        let mut rest = BODY;
        let mut block = vec![0; BODY / 50];
        while rest > 0 {
            tick.tick().await;
            let wanted = rest.min(block.len());
            stream
                .read_exact(&mut block[..wanted])
                .await
                .expect("bytes");
            rest -= wanted;
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.expect("room");
    });
    const BODY: usize = 32 * 1024 * 1024;
    let gateway = Bearward::new()
        .limits("body_bytes = \"unlimited\"")
        .trusting("main", &main, "")
        .upstream("orders", address, "response_timeout = \"700ms\"")
        .table(ORDERS)
        .start();
    let bearer = format!("Bearer {}", main.token().sign());
    block_on(async {
        let body = "x".repeat(BODY);
        let headers = [("authorization", bearer.as_str())];
        let answer = gateway
            .http1()
            .send("POST", "/orders/1", &headers, &body)
            .await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    });
}

/// An upstream that sends without end and counts what it could send.
struct Endless {
    address: std::net::SocketAddr,
    written: std::sync::Arc<std::sync::atomic::AtomicU64>,
    moved: std::sync::Arc<tokio::sync::Notify>,
    _runtime: tokio::runtime::Runtime,
}

impl Endless {
    fn start() -> Self {
        let (runtime, listener) = own_server();
        let address = listener.local_addr().expect("an address");
        let written = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let moved = std::sync::Arc::new(tokio::sync::Notify::new());
        let (counter, mover) = (written.clone(), moved.clone());
        runtime.spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream
                .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
                .await
                .expect("room");
            let block = vec![b'x'; 64 * 1024];
            while let Ok(count) = stream.write(&block).await {
                counter.fetch_add(count as u64, std::sync::atomic::Ordering::SeqCst);
                mover.notify_one();
            }
        });
        Self {
            address,
            written,
            moved,
            _runtime: runtime,
        }
    }

    async fn progress(&self) {
        self.moved.notified().await;
    }

    fn written(&self) -> u64 {
        self.written.load(std::sync::atomic::Ordering::SeqCst)
    }
}
