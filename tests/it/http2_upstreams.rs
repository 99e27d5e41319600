//! Upstreams that speak HTTP/2: gRPC in all its shapes, connections that requests share, and faults.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::support::client::{raw, tls};
use crate::support::gateway::{Gateway, ORDERS, write_certificate};
use crate::support::issuer::NOW;
use crate::support::node::{Node, Script};
use crate::support::process::free_port;
use crate::support::upstream::server_config;
use crate::support::{Bearward, TestIssuer, Upstream, block_on, eventually, own_server};

/// A route for gRPC, and a listener in clear text for clients that know no certificate.
const GRPC: &str = "[routes.grpc]\npath = \"/orders.Orders/{*rest}\"\nupstream = \"orders\"\nissuers = [\"main\"]\nidentity = { \"X-Auth-Subject\" = \"sub\" }\n[listeners.plain]\naddress = \"127.0.0.1:0\"\nclear_text = true\nprotocols = [\"h2\"]";

fn main_issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

fn in_front_of(main: &TestIssuer, port: u16, more: &str) -> Gateway {
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    Bearward::new()
        .trusting("main", main, "")
        .upstream("orders", server, more)
        .table(ORDERS)
        .table(GRPC)
        .start()
}

/// A server of HTTP/2 in clear text; gives its port and counts its connections.
fn server() -> (u16, Arc<AtomicUsize>, Runtime) {
    served(None)
}

fn served(tls: Option<TlsAcceptor>) -> (u16, Arc<AtomicUsize>, Runtime) {
    let (runtime, listener) = own_server();
    let port = listener.local_addr().expect("an address").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes());
                let seen = format!(
                    "{} {}\n{:?}\n{}",
                    parts.method,
                    parts.uri,
                    parts.headers,
                    String::from_utf8_lossy(&body.unwrap_or_default())
                );
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(seen))))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => server
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok(),
                    Some(tls) => {
                        let stream = TokioIo::new(tls.accept(stream).await.ok()?);
                        server.serve_connection(stream, service).await.ok()
                    }
                }
            });
        }
    });
    (port, connections, runtime)
}

#[test]
fn requests_share_a_connection_and_are_passed_on_as_they_are() {
    let main = main_issuer();
    let (port, connections, _server) = server();
    let gateway = in_front_of(&main, port, "protocol = \"h2\"");
    let bearer = format!("Bearer {}", main.token().sign());
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-custom", "kept"),
        ("cookie", "a=1"),
        ("te", "trailers"),
        ("x-forwarded-for", "6.6.6.6"),
    ];
    block_on(async {
        for round in 0..10 {
            let client = match round % 2 {
                0 => gateway.http1(),
                _ => gateway.http2(),
            };
            let answer = client
                .send("POST", "/orders/a%20b?q=%2F", &headers, "hello")
                .await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.header("via"), "2 bearward");
            let seen = answer.text();
            assert!(
                seen.starts_with("POST http://api.test/orders/a%20b?q=%2F\n"),
                "{seen}"
            );
            assert!(seen.ends_with("\nhello"), "{seen}");
            for kept in [
                "\"x-custom\": \"kept\"",
                "\"cookie\": \"a=1\"",
                "\"x-auth-subject\": \"alice\"",
                "\"x-forwarded-for\": \"127.0.0.1\"",
                "\"content-length\": \"5\"",
            ] {
                assert!(seen.contains(kept), "{kept} in {seen}");
            }
            for absent in ["6.6.6.6", "transfer-encoding", "\"host\"", "\"te\""] {
                assert!(!seen.contains(absent), "{absent} in {seen}");
            }
        }
    });
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[test]
fn tls_settles_what_is_spoken() {
    let main = main_issuer();
    let token = main.token().sign();
    let folder = tempfile::tempdir().expect("a folder");
    write_certificate(folder.path(), "server", &["orders.internal"]);
    let mut config = server_config(folder.path(), "server", None);
    let old = Upstream::echo_tls(config.clone());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (port, connections, _server) = served(Some(TlsAcceptor::from(Arc::new(config))));
    let new = SocketAddr::from(([127, 0, 0, 1], port));
    for (address, protocol, via) in [
        (new, "auto", Some("2 bearward")),
        (new, "h2", Some("2 bearward")),
        (old.address, "auto", Some("1.1 bearward")),
        (old.address, "http/1.1", Some("1.1 bearward")),
        (old.address, "h2", None),
    ] {
        let ca = folder.path().join("server.crt").display().to_string();
        let table = format!("protocol = \"{protocol}\"\n[upstreams.orders.tls]\nca = {ca:?}");
        let gateway = Bearward::new()
            .trusting("main", &main, "")
            .upstream_of("orders", &[&format!("https://{address}")], &table)
            .table(ORDERS)
            .start();
        block_on(async {
            for _ in 0..3 {
                let answer = gateway.http2().get("/orders/1", &token).await;
                match via {
                    Some(via) => {
                        assert_eq!(answer.status, 200, "{protocol}: {}", answer.text());
                        assert_eq!(answer.header("via"), via);
                    }
                    None => assert_eq!(answer.code(), "upstream_unreachable"),
                }
            }
        });
    }
    assert_eq!(
        connections.load(Ordering::SeqCst),
        2,
        "one for each gateway"
    );
}

#[test]
fn a_server_that_is_gone_or_speaks_something_else_is_told() {
    let main = main_issuer();
    let token = main.token().sign();
    let gone = in_front_of(&main, free_port(), "protocol = \"h2\"");
    let old = Upstream::echo();
    let other = in_front_of(&main, old.address.port(), "protocol = \"h2\"");
    block_on(async {
        let answer = gone.http2().get("/orders/1", &token).await;
        assert_eq!(answer.code(), "upstream_unreachable");
        let answer = other.http2().get("/orders/1", &token).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
    });
}

#[test]
fn a_server_that_restarts_costs_no_request() {
    let main = main_issuer();
    let token = main.token().sign();
    let (port, _, first) = server();
    let gateway = in_front_of(&main, port, "protocol = \"h2\"");
    block_on(async {
        assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
        first.shutdown_background();
        // Another one at the same place.
        let listener = loop {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            if let Ok(listener) = tokio::net::TcpListener::bind(address).await {
                break listener;
            }
            tokio::task::yield_now().await;
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(|_| async {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("again"))))
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        let answer = gateway.http1().get("/orders/1", &token).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "again"));
    });
}

#[test]
fn grpc_in_all_four_shapes_with_the_standard_library() {
    let Some(node) = Node::find("gRPC with the standard library", &["@grpc/grpc-js"]) else {
        return;
    };
    let mut script = Script::start(&mut node.script("grpc.mjs"));
    let port: u16 = script.line().parse().expect("a port");
    let main = main_issuer();
    let gateway = in_front_of(&main, port, "protocol = \"h2\"");
    let plain = gateway.listener("plain").expect("a listener");
    let token = main.token().with("exp", NOW + 60).sign();
    script.does(&format!("go {plain} {token}"));
    script.tell(&format!("call {plain} forged"));
    let refused = script.line();
    assert!(refused.starts_with("16 token_malformed"), "{refused}");
    // A call that is open ends with its token, and says why.
    script.does(&format!("open {plain} {token}"));
    gateway.clock.advance(90);
    assert_eq!(script.line(), "16 token_expired");
    let token = main.token().with("jti", "chat").sign();
    gateway.clock.advance(-90);
    script.does(&format!("open {plain} {token}"));
    let body = json!({ "selector": { "issuer": "main", "jti": "chat" } });
    block_on(async {
        let answer = gateway
            .ask_admin("POST", "/api/v1/revocations", Some(&body))
            .await;
        assert_eq!(answer.status, 201);
    });
    assert_eq!(script.line(), "16 token_revoked");
    // And over HTTP/1.1 it is told that this does not go.
    let old = in_front_of(&main, port, "");
    let plain = old.listener("plain").expect("a listener");
    let token = main.token().sign();
    script.tell(&format!("call {plain} {token}"));
    let refused = script.line();
    assert!(refused.starts_with("14 upstream_invalid"), "{refused}");
}

/// A server that speaks HTTP/2 by hand: what it does with a request is for each connection to say.
fn by_hand(allowed: u8, does: fn(usize, u32) -> Vec<u8>) -> (u16, Arc<AtomicUsize>, Runtime) {
    let (runtime, listener) = own_server();
    let port = listener.local_addr().expect("an address").port();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    runtime.spawn(async move {
        for connection in 1.. {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let (counted, allowed) = (Arc::clone(&counted), allowed);
            tokio::spawn(async move {
                let counts = |stream| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    does(connection, stream)
                };
                speak(&mut stream, allowed, counts).await
            });
        }
    });
    (port, requests, runtime)
}

/// One connection of it, to its end.
async fn speak(
    stream: &mut TcpStream,
    allowed: u8,
    does: impl Fn(u32) -> Vec<u8>,
) -> io::Result<Infallible> {
    let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, allowed];
    stream.write_all(&settings).await?;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        let answer = match (kind, flags) {
            (1, _) => does(u32::from_be_bytes(id)),
            (4, 0) => vec![0, 0, 0, 4, 1, 0, 0, 0, 0],
            _ => Vec::new(),
        };
        stream.write_all(&answer).await?;
    }
}

/// `:status: 200` and the end of a stream.
fn good(stream: u32) -> Vec<u8> {
    [&[0, 0, 1, 1, 5][..], &stream.to_be_bytes(), &[0x88]].concat()
}

#[test]
fn what_a_server_has_refused_unseen_is_sent_again() {
    let main = main_issuer();
    // The first connection says goodbye to its second request, having seen the first alone.
    let (port, requests, _server) = by_hand(100, |connection, stream| match (connection, stream) {
        (1, 3) => [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0].to_vec(),
        _ => good(stream),
    });
    let gateway = in_front_of(&main, port, "protocol = \"h2\"");
    let bearer = format!("Bearer {}", main.token().sign());
    let headers = [("authorization", bearer.as_str())];
    block_on(async {
        for _ in 0..3 {
            let client = gateway.http1();
            let answer = client.send("POST", "/orders/1", &headers, "").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    });
    assert_eq!(requests.load(Ordering::SeqCst), 4);
}

/// `:status: 200`, a beginning of a body, and these frames.
fn cut(stream: u32, ends: &[u8]) -> Vec<u8> {
    let id = stream.to_be_bytes();
    let head = [&[0, 0, 1, 1, 4][..], &id, &[0x88]].concat();
    let data = [&[0, 0, 3, 0, 0][..], &id, b"abc"].concat();
    [&head, &data, ends].concat()
}

#[test]
fn what_a_server_cuts_without_an_error_is_not_taken_for_whole() {
    let main = main_issuer();
    // RST_STREAM with NO_ERROR; GOAWAY of no stream.
    let servers: [fn(usize, u32) -> Vec<u8>; 2] = [
        |_, stream| {
            let reset = [&[0, 0, 4, 3, 0][..], &stream.to_be_bytes(), &[0; 4]].concat();
            cut(stream, &reset)
        },
        |_, stream| cut(stream, &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for does in servers {
        let (port, _, _server) = by_hand(100, does);
        let gateway = in_front_of(&main, port, "protocol = \"h2\"");
        let token = main.token().sign();
        block_on(async {
            let request = format!(
                "GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\n\r\n"
            );
            let answer = raw(gateway.address(), request.as_bytes()).await;
            assert!(answer.ends_with("3\r\nabc\r\n"), "{answer}");
            let stream = TokioIo::new(tls(gateway.address(), "h2").await);
            let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
            let (mut sender, connection) = shaken.await.expect("a handshake");
            tokio::spawn(connection);
            let request = Request::get("https://api.test/orders/1")
                .header("authorization", format!("Bearer {token}"))
                .body(Full::<Bytes>::default())
                .expect("a request");
            let answer = sender.send_request(request).await.expect("an answer");
            let mut body = answer.into_body();
            let first = body.frame().await.expect("a part").expect("whole");
            assert_eq!(first.into_data().expect("data"), "abc");
            body.frame().await.expect("an end").expect_err("it is cut");
        });
    }
}

#[test]
fn a_server_gets_no_more_streams_than_it_allows() {
    let main = main_issuer();
    // The first connection never answers.
    let (port, requests, _server) = by_hand(1, |connection, stream| match connection {
        1 => Vec::new(),
        _ => good(stream),
    });
    let gateway = in_front_of(&main, port, "protocol = \"h2\"");
    let token = main.token().sign();
    block_on(async {
        let hanging = gateway.http1();
        let hangs = hanging.get("/orders/1", &token);
        let others = async {
            eventually("the first", async || requests.load(Ordering::SeqCst) == 1).await;
            for _ in 0..3 {
                assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
            }
        };
        tokio::select! {
            _ = hangs => unreachable!("nobody answers it"),
            () = others => {}
        }
    });
}

/// A body that a test sends as it likes.
struct Said(mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let said = self.0.poll_recv(context);
        said.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[test]
fn what_is_sent_after_a_revocation_does_not_arrive() {
    let main = main_issuer();
    for kind in ["application/grpc", "application/octet-stream"] {
        let (runtime, listener) = own_server();
        let port = listener.local_addr().expect("an address").port();
        let (tell, mut heard) = mpsc::unbounded_channel();
        runtime.spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let tell = tell.clone();
                async move {
                    // It answers at once, and reads on.
                    let (say, said) = mpsc::unbounded_channel();
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        let _ = say.send(Bytes::from("hello"));
                        while let Some(Ok(frame)) = body.frame().await {
                            let _ = tell.send(frame.into_data().unwrap_or_default());
                        }
                        let _ = tell.send(Bytes::new());
                        drop(say);
                    });
                    Ok::<_, Infallible>(Response::new(Said(said)))
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
        let gateway = in_front_of(&main, port, "protocol = \"h2\"");
        let token = main.token().sign();
        block_on(async {
            let stream = TokioIo::new(tls(gateway.address(), "h2").await);
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
            let (mut sender, connection) = handshake.await.expect("a handshake");
            tokio::spawn(connection);
            let (say, said) = mpsc::unbounded_channel();
            let request = Request::post("https://api.test/orders.Orders/Chat")
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", kind)
                .body(Said(said))
                .expect("a request");
            say.send(Bytes::from("before")).expect("a body");
            let mut response = sender.send_request(request).await.expect("a response");
            let frame = response.frame().await.expect("a frame").expect("data");
            assert_eq!(frame.into_data().expect("data"), "hello");
            assert_eq!(heard.recv().await.expect("a server"), "before");
            let body = json!({ "selector": { "issuer": "main", "jti": "token-1" } });
            let answer = gateway
                .ask_admin("POST", "/api/v1/revocations", Some(&body))
                .await;
            assert_eq!(answer.status, 201);
            let _ = say.send(Bytes::from("after"));
            // The server hears of the end, and of nothing else.
            assert_eq!(heard.recv().await.expect("a server"), "");
        });
        runtime.shutdown_background();
    }
}
