//! What is open when its token is revoked: event streams, long downloads and uploads.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

use crate::support::client::tls;
use crate::support::gateway::{Gateway, ORDERS};
use crate::support::issuer::NOW;
use crate::support::{Bearward, TestIssuer, block_on, eventually, own_server};

/// An upstream that answers each request with the head of an endless stream, what the test says, and
/// tells when the gateway has gone.
struct Endless {
    address: SocketAddr,
    say: mpsc::UnboundedSender<Bytes>,
    gone: mpsc::UnboundedReceiver<()>,
    _runtime: tokio::runtime::Runtime,
}

impl Endless {
    /// Waits for the end of the gateway's connection.
    async fn is_gone(&mut self) {
        self.gone
            .recv()
            .await
            .expect("the upstream's connection ends too");
    }
}

/// A request over HTTP/1.1 with more of its head and body, as far as it is there.
async fn begun(gateway: &Gateway, method: &str, token: &str, more: &str) -> TlsStream<TcpStream> {
    let mut stream = tls(gateway.address(), "http/1.1").await;
    let request = format!(
        "{method} /orders/1 HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\n{more}"
    );
    stream.write_all(request.as_bytes()).await.expect("room");
    stream
}

fn endless(head: &'static str, repeated: &'static [u8]) -> Endless {
    let (runtime, listener) = own_server();
    let address = listener.local_addr().expect("an address");
    let (say, mut said) = mpsc::unbounded_channel::<Bytes>();
    let (tell, gone) = mpsc::unbounded_channel();
    runtime.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(head.as_bytes()).await;
            let (mut reading, mut writing) = stream.into_split();
            loop {
                let mut rest = [0; 4096];
                tokio::select! {
                    Some(bytes) = said.recv() => {
                        let _ = writing.write_all(&bytes).await;
                    }
                    read = reading.read(&mut rest) => if !matches!(read, Ok(1..)) { break },
                    written = writing.write_all(repeated), if !repeated.is_empty() => {
                        if written.is_err() { break }
                    }
                }
            }
            let _ = tell.send(());
        }
    });
    Endless {
        address,
        say,
        gone,
        _runtime: runtime,
    }
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const DOWNLOAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n";

async fn revoke(gateway: &Gateway, jti: &str) {
    let body = json!({ "selector": { "issuer": "main", "jti": jti } });
    let answer = gateway
        .ask_admin("POST", "/api/v1/revocations", Some(&body))
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

fn request(path: &str, token: &str, over_http2: bool) -> Request<Full<Bytes>> {
    let uri = if over_http2 {
        format!("https://api.test{path}")
    } else {
        path.to_owned()
    };
    Request::get(uri)
        .header("host", "api.test")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::default())
        .expect("a request")
}

/// Begins a request and gives its response, whose body is still open.
async fn open(
    gateway: &Gateway,
    token: &str,
    over_http2: bool,
) -> hyper::Response<hyper::body::Incoming> {
    open_at(gateway, "/orders/1", token, over_http2).await
}

async fn open_at(
    gateway: &Gateway,
    path: &str,
    token: &str,
    over_http2: bool,
) -> hyper::Response<hyper::body::Incoming> {
    let alpn = if over_http2 { "h2" } else { "http/1.1" };
    let stream = TokioIo::new(tls(gateway.address(), alpn).await);
    let request = request(path, token, over_http2);
    let response = if over_http2 {
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
        let (mut sender, connection) = handshake.await.expect("a handshake");
        tokio::spawn(connection);
        let response = sender.send_request(request).await;
        // The connection goes with its sender.
        tokio::spawn(async move { sender.ready().await.map(|()| std::future::pending::<()>()) });
        response
    } else {
        let handshake = hyper::client::conn::http1::handshake(stream);
        let (mut sender, connection) = handshake.await.expect("a handshake");
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    let response = response.expect("a response");
    assert_eq!(response.status(), 200);
    response
}

#[test]
fn an_event_stream_ends_at_once_when_its_token_is_revoked() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    for over_http2 in [false, true] {
        let mut upstream = endless(EVENTS, b"");
        let gateway = Bearward::usual_at(&main, upstream.address).start();
        let token = main.token().sign();
        block_on(async {
            let mut response = open(&gateway, &token, over_http2).await;
            upstream.say.send("data: one\n\n".into()).expect("a stream");
            let frame = response.frame().await.expect("a frame").expect("data");
            assert_eq!(frame.into_data().expect("data"), "data: one\n\n");
            // Somebody else's end is nothing to this one.
            revoke(&gateway, "another").await;
            upstream.say.send("data: two\n\n".into()).expect("a stream");
            let frame = response.frame().await.expect("a frame").expect("data");
            assert_eq!(frame.into_data().expect("data"), "data: two\n\n");
            revoke(&gateway, "token-1").await;
            let end = response.frame().await;
            assert!(
                matches!(end, Some(Err(_))),
                "it ends, and not as if it were whole"
            );
            upstream.is_gone().await;
            let closed = "bearward_streams_closed_total{cause=\"revoked\"}";
            eventually("the count", async || gateway.metric(closed).await == 1.0).await;
        });
        let lines = gateway.stop();
        let line = lines
            .iter()
            .find(|line| line["route"] == "orders")
            .expect("a line");
        assert_eq!(line["outcome"], "allow");
        assert_eq!(line["cause"], "the token was revoked meanwhile");
    }
}

#[test]
fn a_download_in_full_run_ends_too() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let mut upstream = endless(DOWNLOAD, &[7; 16384]);
    let gateway = Bearward::usual_at(&main, upstream.address).start();
    let token = main.token().sign();
    block_on(async {
        let mut response = open(&gateway, &token, false).await;
        let mut bytes = 0;
        let mut revoked = false;
        let end = loop {
            match response.frame().await {
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
                end => break end,
            }
            if bytes > 1_000_000 && !revoked {
                revoked = true;
                revoke(&gateway, "token-1").await;
            }
        };
        assert!(matches!(end, Some(Err(_))) && revoked);
        upstream.is_gone().await;
    });
}

#[test]
fn a_revoked_stream_ends_although_its_client_reads_nothing() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let mut upstream = endless(DOWNLOAD, &[7; 16384]);
    let gateway = Bearward::usual_at(&main, upstream.address).start();
    let token = main.token().sign();
    block_on(async {
        let mut stream = begun(&gateway, "GET", &token, "\r\n").await;
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        revoke(&gateway, "token-1").await;
        // Without a look at what comes.
        upstream.is_gone().await;
        // What is on its way may still come; the rest does not.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.len() < 50_000_000);
    });
}

#[test]
fn an_upload_ends_with_its_token_and_is_told_why() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let mut upstream = endless("", b"");
    let gateway = Bearward::usual_at(&main, upstream.address).start();
    let token = main.token().sign();
    block_on(async {
        let more = "content-length: 100000\r\n\r\nbegun";
        let mut stream = begun(&gateway, "POST", &token, more).await;
        eventually("the request", async || {
            gateway
                .metric(
                    "bearward_upstream_connections{server=\"SERVER\",upstream=\"orders\"}"
                        .replace("SERVER", &upstream.address.to_string())
                        .as_str(),
                )
                .await
                == 1.0
        })
        .await;
        revoke(&gateway, "token-1").await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).expect("text");
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(answer.contains("\"code\":\"token_revoked\""), "{answer}");
        upstream.is_gone().await;
    });
}

#[test]
fn an_event_stream_ends_when_its_token_expires_and_a_download_does_not() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    for over_http2 in [false, true] {
        let (mut events, download) = (endless(EVENTS, b""), endless(DOWNLOAD, &[7; 16384]));
        let files =
            "[routes.files]\npath = \"/files/{*rest}\"\nupstream = \"files\"\nissuers = [\"main\"]";
        let gateway = Bearward::usual_at(&main, events.address)
            .upstream("files", download.address, "")
            .table(files)
            .start();
        let token = main.token().with("exp", NOW + 60).sign();
        block_on(async {
            let mut stream = open(&gateway, &token, over_http2).await;
            let mut file = open_at(&gateway, "/files/1", &token, over_http2).await;
            // With the leeway of 30 s.
            gateway.clock.advance(89);
            events.say.send("data: one\n\n".into()).expect("a stream");
            let frame = stream.frame().await.expect("a frame").expect("data");
            assert_eq!(frame.into_data().expect("data"), "data: one\n\n");
            gateway.clock.advance(1);
            // Whoever asks again is told why.
            let rest = stream.collect().await.expect("a clean end");
            assert!(rest.to_bytes().is_empty());
            events.is_gone().await;
            let refused = gateway.http1().get("/orders/1", &token).await;
            assert_eq!(refused.code(), "token_expired");
            for _ in 0..100 {
                let frame = file.frame().await.expect("a frame");
                assert!(frame.is_ok(), "it has begun and is finished");
            }
            let closed = "bearward_streams_closed_total{cause=\"expired\"}";
            eventually("the count", async || gateway.metric(closed).await == 1.0).await;
        });
        let lines = gateway.stop();
        let line = lines.iter().find(|line| line["route"] == "orders");
        assert_eq!(
            line.expect("a line")["cause"],
            "the token has expired meanwhile"
        );
    }
}

#[test]
fn where_a_route_says_so_streams_outlive_their_token() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = endless(EVENTS, b"");
    let own = ORDERS.replace("issuers =", "end_streams = false\nissuers =");
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .upstream("orders", upstream.address, "")
        .table(&own)
        .start();
    let token = main.token().sign();
    block_on(async {
        let mut stream = open(&gateway, &token, false).await;
        revoke(&gateway, "token-1").await;
        gateway.clock.advance(100_000);
        upstream.say.send("data: one\n\n".into()).expect("a stream");
        let frame = stream.frame().await.expect("a frame").expect("data");
        assert_eq!(frame.into_data().expect("data"), "data: one\n\n");
    });
}

#[test]
fn an_answer_that_begins_after_the_revocation_is_none() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    for over_http2 in [false, true] {
        let upstream = endless("", b"");
        let gateway = Bearward::usual_at(&main, upstream.address).start();
        let token = main.token().sign();
        block_on(async {
            let asking = async {
                let client = if over_http2 {
                    gateway.http2()
                } else {
                    gateway.http1()
                };
                client.get("/orders/1", &token).await
            };
            let meanwhile = async {
                let open = format!(
                    "bearward_upstream_connections{{server=\"{}\",upstream=\"orders\"}}",
                    upstream.address
                );
                eventually("the request", async || gateway.metric(&open).await == 1.0).await;
                revoke(&gateway, "token-1").await;
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nSECRET";
                upstream.say.send(answer.into()).expect("a server");
            };
            let (answer, ()) = tokio::join!(asking, meanwhile);
            assert_eq!(answer.code(), "token_revoked");
        });
    }
}

#[test]
fn a_download_whose_server_falls_silent_is_given_up_and_an_event_stream_is_not() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun";
    for (head, given_up) in [(begun, true), (EVENTS, false)] {
        let mut upstream = endless(head, b"");
        let gateway = Bearward::new()
            .trusting("main", &main, "")
            .upstream("orders", upstream.address, "body_timeout = \"100ms\"")
            .table(ORDERS)
            .start();
        let token = main.token().sign();
        block_on(async {
            let mut response = open(&gateway, &token, false).await;
            if given_up {
                let frame = response.frame().await.expect("a frame").expect("data");
                assert_eq!(frame.into_data().expect("data"), "begun");
                assert!(matches!(response.frame().await, Some(Err(_))));
                upstream.is_gone().await;
            } else {
                // Longer than a download would have had.
                let quiet = std::time::Duration::from_millis(300);
                assert!(tokio::time::timeout(quiet, response.frame()).await.is_err());
                upstream.say.send("data: one\n\n".into()).expect("a stream");
                let frame = response.frame().await.expect("a frame").expect("data");
                assert_eq!(frame.into_data().expect("data"), "data: one\n\n");
            }
        });
        let lines = gateway.stop();
        let line = lines.iter().find(|line| line["route"] == "orders");
        let cause = line.expect("a line")["cause"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(cause.contains("stopped coming"), given_up, "{cause}");
    }
}
