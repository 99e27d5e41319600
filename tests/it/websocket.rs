//! Upgraded connections: WebSockets over HTTP/1.1 and HTTP/2, other protocols, and how they end.

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::ext::Protocol;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

use crate::support::client::tls;
use crate::support::gateway::{Gateway, ORDERS};
use crate::support::issuer::NOW;
use crate::support::node::{Node, Script};
use crate::support::{Bearward, TestIssuer, block_on, eventually, own_server};

/// A server that upgrades every request, and then sends what the test says.
struct Upgrading {
    address: SocketAddr,
    say: mpsc::UnboundedSender<Bytes>,
    /// The head of each request, and then what comes on its connection; empty at its end.
    heard: mpsc::UnboundedReceiver<Bytes>,
    _runtime: tokio::runtime::Runtime,
}

/// How the server answers the opening.
#[derive(Clone, Copy)]
enum Opening {
    Good,
    /// Without having understood the key.
    BadAccept,
    OtherProtocol,
    /// 200 with a body.
    Ordinary,
    Refused,
}

fn upgrading(opening: Opening) -> Upgrading {
    let (runtime, listener) = own_server();
    let address = listener.local_addr().expect("an address");
    let (say, mut said) = mpsc::unbounded_channel::<Bytes>();
    let (tell, heard) = mpsc::unbounded_channel();
    runtime.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&head).into_owned();
            let field = |name: &str| {
                let mut lines = text.lines();
                lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
            };
            let protocol = field("upgrade:").unwrap_or_default();
            let key = field("sec-websocket-key:").unwrap_or_default();
            let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
            context.update(key.as_bytes());
            context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
            let accept = STANDARD.encode(context.finish());
            let switch = |protocol: &str, accept: &str| {
                format!("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\nsec-websocket-accept: {accept}\r\n\r\n")
            };
            let answer = match opening {
                Opening::Good => switch(&protocol, &accept),
                Opening::BadAccept => switch(&protocol, "bm9uc2Vuc2U="),
                Opening::OtherProtocol => switch("h2c", &accept),
                Opening::Ordinary => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi".to_owned(),
                Opening::Refused => "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno".to_owned(),
            };
            let _ = tell.send(text.into());
            // What follows the head comes with it.
            let mut answer = Bytes::from(answer).to_vec();
            if let (Opening::Good, Ok(first)) = (opening, said.try_recv()) {
                answer.extend_from_slice(&first);
            }
            let _ = stream.write_all(&answer).await;
            loop {
                let mut bytes = vec![0; 65536];
                tokio::select! {
                    Some(bytes) = said.recv() => {
                        if bytes.is_empty() {
                            let _ = stream.shutdown().await;
                        }
                        let _ = stream.write_all(&bytes).await;
                    }
                    read = stream.read(&mut bytes) => {
                        let count = read.unwrap_or(0);
                        let _ = tell.send(Bytes::copy_from_slice(&bytes[..count]));
                        if count == 0 {
                            break;
                        }
                    }
                }
            }
        }
    });
    Upgrading {
        address,
        say,
        heard,
        _runtime: runtime,
    }
}

impl Upgrading {
    fn say(&self, bytes: impl Into<Bytes>) {
        self.say.send(bytes.into()).expect("a server");
    }

    async fn hears(&mut self) -> Bytes {
        self.heard.recv().await.expect("a server")
    }

    /// Everything up to the end.
    async fn hears_rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let bytes = self.hears().await;
            if bytes.is_empty() {
                return all;
            }
            all.extend_from_slice(&bytes);
        }
    }
}

fn main_issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

/// Opens a WebSocket over HTTP/1.1; gives the head of the answer.
async fn open(gateway: &Gateway, token: &str, protocol: &str) -> (String, TlsStream<TcpStream>) {
    let mut stream = tls(gateway.address(), "http/1.1").await;
    let request = format!(
        "GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("room");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    (String::from_utf8(head).expect("text"), stream)
}

/// Opens one over HTTP/2.
async fn open_stream(gateway: &Gateway, token: &str) -> Response<hyper::body::Incoming> {
    let stream = TokioIo::new(tls(gateway.address(), "h2").await);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut sender, connection) = handshake.await.expect("a handshake");
    tokio::spawn(connection);
    // The server's settings say whether it takes extended CONNECT.
    let plain = Request::get("https://api.test/nothing").body(Empty::<Bytes>::new());
    let _ = sender.send_request(plain.expect("a request")).await;
    let mut request = Request::connect("https://api.test/orders/1")
        .header("authorization", format!("Bearer {token}"))
        .header("sec-websocket-version", "13")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let response = sender.send_request(request).await.expect("a response");
    tokio::spawn(async move { sender.ready().await.map(|()| std::future::pending::<()>()) });
    response
}

async fn read(stream: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.expect("bytes");
    bytes
}

async fn read_rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

/// A Close frame as a client reads it.
fn close(code: u16, reason: &str) -> Vec<u8> {
    let length = u8::try_from(2 + reason.len()).expect("short");
    let mut frame = vec![0x88, length];
    frame.extend(code.to_be_bytes());
    frame.extend_from_slice(reason.as_bytes());
    frame
}

/// A frame with text, as a server sends it.
fn text(text: &str) -> Bytes {
    let mut frame = vec![0x81, u8::try_from(text.len()).expect("short")];
    frame.extend_from_slice(text.as_bytes());
    frame.into()
}

#[test]
fn a_websocket_goes_both_ways_and_each_half_may_end() {
    let main = main_issuer();
    let mut server = upgrading(Opening::Good);
    let gateway = Bearward::usual_at(&main, server.address).start();
    let token = main.token().sign();
    block_on(async {
        // Comes with the head of the answer.
        server.say(text("first"));
        let (head, mut stream) = open(&gateway, &token, "WebSocket").await;
        assert!(
            head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        let asked = server.hears().await;
        let asked = String::from_utf8_lossy(&asked);
        for line in [
            "GET /orders/1 HTTP/1.1\r\n",
            "\r\nconnection: upgrade\r\n",
            "\r\nupgrade: websocket\r\n",
            "\r\nsec-websocket-version: 13\r\n",
            "\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "\r\nx-auth-subject: alice\r\n",
        ] {
            assert!(asked.contains(line), "{line} in {asked}");
        }
        assert_eq!(read(&mut stream, 7).await, &text("first")[..]);
        let connections = "bearward_connections{listener=\"public\"}";
        assert_eq!(gateway.metric(connections).await, 1.0);
        stream.write_all(b"up").await.expect("room");
        assert_eq!(server.hears().await, "up");
        let large = vec![0x55; 1_000_000];
        server.say(large.clone());
        assert_eq!(read(&mut stream, large.len()).await, large);
        // The client ends its half; the server may still say something.
        stream.shutdown().await.expect("an end");
        assert_eq!(server.hears().await, "");
        eventually("the end", async || gateway.metric(connections).await == 0.0).await;
    });
    let lines = gateway.stop();
    let line = lines.iter().find(|line| line["status"] == 101);
    assert_eq!(line.expect("a line")["outcome"], "allow");
}

#[test]
fn a_websocket_over_http2_is_one_to_the_server() {
    let main = main_issuer();
    let mut server = upgrading(Opening::Good);
    let gateway = Bearward::usual_at(&main, server.address).start();
    let token = main.token().sign();
    block_on(async {
        let mut response = open_stream(&gateway, &token).await;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("sec-websocket-accept"));
        let asked = server.hears().await;
        let asked = String::from_utf8_lossy(&asked);
        assert!(asked.starts_with("GET /orders/1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("\r\nupgrade: websocket\r\n"), "{asked}");
        let upgraded = hyper::upgrade::on(&mut response).await.expect("a stream");
        let mut stream = TokioIo::new(upgraded);
        stream.write_all(b"up").await.expect("room");
        assert_eq!(server.hears().await, "up");
        server.say(text("down"));
        assert_eq!(read(&mut stream, 6).await, &text("down")[..]);
        revoke(&gateway).await;
        assert_eq!(read_rest(&mut stream).await, close(1008, "token_revoked"));
    });
}

async fn revoke(gateway: &Gateway) {
    let body = json!({ "selector": { "issuer": "main", "jti": "token-1" } });
    let answer = gateway
        .ask_admin("POST", "/api/v1/revocations", Some(&body))
        .await;
    assert_eq!(answer.status, 201);
}

#[test]
fn a_websocket_ends_with_its_token_where_a_frame_ends() {
    let main = main_issuer();
    for (why, reason) in [("revoked", "token_revoked"), ("expired", "token_expired")] {
        let mut server = upgrading(Opening::Good);
        let gateway = Bearward::usual_at(&main, server.address).start();
        let token = main.token().with("exp", NOW + 60).sign();
        block_on(async {
            let (_, mut stream) = open(&gateway, &token, "websocket").await;
            let _ = server.hears().await;
            // Half a frame is there when the token ends.
            let frame = text("a whole text");
            server.say(frame.slice(..5));
            assert_eq!(read(&mut stream, 5).await, &frame[..5]);
            match why {
                "revoked" => revoke(&gateway).await,
                _ => gateway.clock.advance(90),
            }
            let closed = format!("bearward_streams_closed_total{{cause=\"{why}\"}}");
            let rest = async {
                // The clock is looked at once a second, and nothing tells when that was.
                let noticed = if why == "revoked" { 100 } else { 1100 };
                tokio::time::sleep(Duration::from_millis(noticed)).await;
                // The rest, and another one that is not for the client any more.
                server.say([&frame[5..], &text("more")[..]].concat());
                server.hears_rest().await
            };
            let (seen, heard) = tokio::join!(read_rest(&mut stream), rest);
            assert_eq!(seen, [&frame[5..], &close(1008, reason)].concat());
            // The server is told as a client tells: masked.
            assert_eq!(heard[..2], [0x88, 0x80 | 15], "{heard:?}");
            let unmasked = heard[6..].iter().zip(heard[2..6].iter().cycle());
            let unmasked: Vec<_> = unmasked.map(|(byte, mask)| byte ^ mask).collect();
            assert_eq!(unmasked, close(1008, reason)[2..]);
            eventually("the count", async || gateway.metric(&closed).await == 1.0).await;
        });
        let lines = gateway.stop();
        let line = lines.iter().find(|line| line["status"] == 101);
        let cause = line.expect("a line")["cause"].to_string();
        assert!(cause.contains(why), "{cause}");
    }
}

#[test]
fn a_gateway_that_ends_says_so_to_its_websockets() {
    let main = main_issuer();
    let server = upgrading(Opening::Good);
    let gateway = Bearward::usual_at(&main, server.address).start();
    let token = main.token().sign();
    block_on(async {
        let (_, mut stream) = open(&gateway, &token, "websocket").await;
        let stopping = tokio::task::spawn_blocking(|| gateway.drain());
        assert_eq!(read(&mut stream, 4).await, close(1001, ""));
        // A client answers with a Close of its own, masked.
        let answer = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];
        stream.write_all(&answer).await.expect("room");
        assert_eq!(read_rest(&mut stream).await, b"");
        assert_eq!(stopping.await.expect("an end"), 0, "nothing was cut");
    });
}

#[test]
fn what_a_route_does_not_name_is_not_upgraded() {
    let main = main_issuer();
    let mut server = upgrading(Opening::Good);
    let without = ORDERS.replace("issuers =", "upgrades = []\nissuers =");
    let own = ORDERS.replace("issuers =", "upgrades = [\"ship-to-ship\"]\nissuers =");
    let token = main.token().sign();
    for (table, protocol, upgraded) in [
        (ORDERS, "ship-to-ship", false),
        (ORDERS, "h2c", false),
        (without.as_str(), "websocket", false),
        (own.as_str(), "Ship-to-Ship", true),
        (own.as_str(), "websocket", false),
    ] {
        let gateway = Bearward::new()
            .trusting("main", &main, "")
            .upstream("orders", server.address, "response_timeout = \"1s\"")
            .table(table)
            .start();
        block_on(async {
            let (head, mut stream) = open(&gateway, &token, protocol).await;
            let asked = server.hears().await;
            let asked = String::from_utf8_lossy(&asked).into_owned();
            if upgraded {
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                stream.write_all(b"ahoy").await.expect("room");
                assert_eq!(server.hears().await, "ahoy");
                drop(stream);
            } else {
                // The server switches all the same, which is no answer to an ordinary request.
                assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
                assert!(!asked.contains("upgrade:"), "{asked}");
            }
            let _ = server.hears_rest().await;
            if !upgraded && protocol == "websocket" {
                let response = open_stream(&gateway, &token).await;
                assert_eq!(response.status(), 405);
            }
        });
    }
}

#[test]
fn an_answer_that_does_not_fit_upgrades_nothing() {
    let main = main_issuer();
    let token = main.token().sign();
    for (opening, over_http1, over_http2) in [
        (Opening::BadAccept, 101, 502),
        (Opening::OtherProtocol, 502, 502),
        (Opening::Ordinary, 200, 502),
        (Opening::Refused, 403, 403),
    ] {
        let server = upgrading(opening);
        let gateway = Bearward::usual_at(&main, server.address).start();
        block_on(async {
            let (head, stream) = open(&gateway, &token, "websocket").await;
            assert!(
                head.starts_with(&format!("HTTP/1.1 {over_http1} ")),
                "{head}"
            );
            drop(stream);
            let response = open_stream(&gateway, &token).await;
            assert_eq!(response.status(), over_http2);
        });
    }
    // And the token counts as for every request.
    let server = upgrading(Opening::Good);
    let gateway = Bearward::usual_at(&main, server.address).start();
    block_on(async {
        let (head, _) = open(&gateway, "forged", "websocket").await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
        assert_eq!(open_stream(&gateway, "forged").await.status(), 401);
    });
}

#[test]
fn a_standard_library_on_both_sides() {
    let Some(node) = Node::find("WebSockets of a standard library", &["ws"]) else {
        return;
    };
    let mut script = Script::start(&mut node.script("websocket.mjs"));
    let port: u16 = script.line().parse().expect("a port");
    let main = main_issuer();
    // Its client wants to know the certificate; clear text does for this.
    let gateway = Bearward::usual_at(&main, SocketAddr::from(([127, 0, 0, 1], port)))
        .table("[listeners.plain]\naddress = \"127.0.0.1:0\"\nclear_text = true")
        .start();
    let plain = gateway.listener("plain").expect("a listener");
    let go = format!("go ws://{plain}/orders/1 {}", main.token().sign());
    for (told, client, server) in [
        ("close 4000", "client 4000 bye", "server 4000 bye"),
        ("kick 4001", "client 4001 bye", "server 4001 bye"),
    ] {
        script.does(&go);
        script.tell(told);
        assert_eq!(
            (script.line(), script.line()),
            (client.to_owned(), server.to_owned())
        );
    }
    script.does(&go);
    block_on(revoke(&gateway));
    assert_eq!(script.line(), "client 1008 token_revoked");
    assert_eq!(script.line(), "server 1008 token_revoked");
}
