//! A hundred reloads and twenty changes of certificates while clients of all kinds are served: no request
//! fails and no stream breaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::client::tls;
use crate::support::gateway::{ORDERS, write_certificate};
use crate::support::{Bearward, Client, TestIssuer, Upstream, own_runtime, own_server};

const RELOADS: usize = 100;
const CERTIFICATES: usize = 20;

/// What the clients share.
struct Load {
    address: SocketAddr,
    token: String,
    over: AtomicBool,
    /// By kind: HTTP/1.1, HTTP/2, new connections, frames of WebSockets.
    done: [AtomicUsize; 4],
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    fn count(&self, kind: usize) {
        self.done[kind].fetch_add(1, Ordering::SeqCst);
    }

    async fn keeps_one(self: Arc<Self>) {
        let mut kept = Client::http1(self.address).keep().await;
        while self.goes_on() {
            assert_eq!(kept.get("/orders/1", &self.token).await.0, 200);
            self.count(0);
        }
    }

    async fn multiplexes(self: Arc<Self>) {
        let stream = TokioIo::new(tls(self.address, "h2").await);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
        let (sender, connection) = handshake.await.expect("a handshake");
        tokio::spawn(connection);
        let mut streams = JoinSet::new();
        for _ in 0..4 {
            let (load, mut sender) = (Arc::clone(&self), sender.clone());
            streams.spawn(async move {
                while load.goes_on() {
                    let request = Request::get("https://api.test/orders/1")
                        .header("authorization", format!("Bearer {}", load.token))
                        .body(Full::<Bytes>::default())
                        .expect("a request");
                    let answer = sender.send_request(request).await.expect("an answer");
                    assert_eq!(answer.status(), 200);
                    answer.into_body().collect().await.expect("a whole body");
                    load.count(1);
                }
            });
        }
        while let Some(stream) = streams.join_next().await {
            stream.expect("no failure");
        }
    }

    async fn comes_and_goes(self: Arc<Self>) {
        while self.goes_on() {
            let client = Client::http1(self.address);
            assert_eq!(client.get("/orders/1", &self.token).await.status, 200);
            self.count(2);
        }
    }

    async fn talks(self: Arc<Self>) {
        let mut stream = tls(self.address, "http/1.1").await;
        let request = format!(
            "GET /talk HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.token
        );
        stream.write_all(request.as_bytes()).await.expect("room");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101"));
        while self.goes_on() {
            // A masked text frame of one byte; the mask is zeros.
            stream.write_all(b"\x81\x81\0\0\0\0a").await.expect("room");
            let mut frame = [0; 3];
            stream.read_exact(&mut frame).await.expect("a frame");
            assert_eq!(&frame, b"\x81\x01a");
            self.count(3);
        }
    }
}

/// A server that answers each text frame of one byte with the same.
fn talking() -> (tokio::runtime::Runtime, SocketAddr) {
    async fn talk(mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        // The key of the clients is that of the RFC's example.
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n").await?;
        loop {
            stream.read_exact(&mut [0; 7]).await?;
            stream.write_all(b"\x81\x01a").await?;
        }
    }
    let (runtime, listener) = own_server();
    let address = listener.local_addr().expect("an address");
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    (runtime, address)
}

#[test]
fn a_hundred_reloads_under_load_lose_nothing() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let (one, two) = (Upstream::echo(), Upstream::echo());
    let (_talking, talks) = talking();
    let gateway = Bearward::usual(&main, &one)
        .upstream("talk", talks, "")
        .table("[routes.talk]\npath = \"/talk\"\nupstream = \"talk\"\nissuers = [\"main\"]")
        .start();
    let load = Arc::new(Load {
        address: gateway.address(),
        token: main.token().sign(),
        over: AtomicBool::new(false),
        done: Default::default(),
    });
    let runtime = own_runtime();
    let mut clients = JoinSet::new();
    for _ in 0..2 {
        clients.spawn_on(Arc::clone(&load).keeps_one(), runtime.handle());
        clients.spawn_on(Arc::clone(&load).multiplexes(), runtime.handle());
        clients.spawn_on(Arc::clone(&load).comes_and_goes(), runtime.handle());
        clients.spawn_on(Arc::clone(&load).talks(), runtime.handle());
    }
    let more = ORDERS
        .replace("orders/{", "more/{")
        .replace("routes.orders", "routes.more");
    let listener = "[listeners.more]\naddress = \"127.0.0.1:0\"\nclear_text = true\n";
    let (one, two) = (one.address.to_string(), two.address.to_string());
    let first = "algorithms = [\"ES256\"]";
    let second = "algorithms = [\"ES256\"]\nleeway = \"1m\"";
    let folder = gateway.folder();
    let admin = [format!("{listener}{more}[admin]"), "[admin]".to_owned()];
    crate::support::block_on(async {
        for n in 0..RELOADS {
            if n % (RELOADS / CERTIFICATES) == 0 {
                write_certificate(&folder, "tls", &["localhost", "api.test"]);
            }
            let before: Vec<_> = load
                .done
                .iter()
                .map(|it| it.load(Ordering::SeqCst))
                .collect();
            match n % 2 {
                0 => {
                    gateway.edit("[admin]", &admin[0]);
                    gateway.edit(&one, &two);
                    gateway.edit(first, second);
                }
                _ => {
                    gateway.edit(&admin[0], "[admin]");
                    gateway.edit(&two, &one);
                    gateway.edit(second, first);
                }
            }
            gateway.reload().await.expect("a reload");
            // Everybody has been served by it before the next comes.
            let served = || {
                let now = load.done.iter().map(|it| it.load(Ordering::SeqCst));
                now.zip(&before).all(|(now, before)| now > *before)
            };
            while !served() {
                assert!(clients.try_join_next().is_none(), "a client has failed");
                tokio::task::yield_now().await;
            }
        }
        load.over.store(true, Ordering::SeqCst);
        while let Some(client) = clients.join_next().await {
            client.expect("no failure");
        }
        let page = gateway.metrics().await;
        assert!(!page.contains("status=\"5"), "{page}");
        for line in [
            "bearward_streams_closed_total{cause=\"draining\"} 0",
            "bearward_upstream_retries_total{upstream=\"orders\"} 0",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    });
}
