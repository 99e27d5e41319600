//! Clients of all kinds that ask without a pause, and fail where an answer does not come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::client::tls_over;
use super::own_server;

/// What the clients share.
pub struct Load {
    address: SocketAddr,
    token: String,
    over: AtomicBool,
    /// A connection that is refused is the end of a client, not a failure.
    may_end: bool,
    /// By kind: HTTP/1.1, HTTP/2, new connections, frames of WebSockets.
    done: [AtomicUsize; 4],
}

impl Load {
    pub fn new(address: SocketAddr, token: String, may_end: bool) -> Arc<Self> {
        Arc::new(Self {
            address,
            token,
            over: AtomicBool::new(false),
            may_end,
            done: Default::default(),
        })
    }

    /// Starts two clients of each kind.
    pub fn start(self: &Arc<Self>, runtime: &Handle) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for _ in 0..2 {
            clients.spawn_on(Arc::clone(self).keeps_one(), runtime);
            clients.spawn_on(Arc::clone(self).multiplexes(), runtime);
            clients.spawn_on(Arc::clone(self).comes_and_goes(), runtime);
            clients.spawn_on(Arc::clone(self).talks(), runtime);
        }
        clients
    }

    /// Has the clients end.
    pub async fn end(&self, mut clients: JoinSet<()>) {
        self.over.store(true, Ordering::SeqCst);
        while let Some(client) = clients.join_next().await {
            client.expect("no failure");
        }
    }

    /// Waits until every kind of client has been served once more.
    pub async fn moves_on(&self, clients: &mut JoinSet<()>) {
        let counts = || self.done.iter().map(|it| it.load(Ordering::SeqCst));
        let before: Vec<_> = counts().collect();
        // What was under way counts for nothing.
        while !counts().zip(&before).all(|(now, before)| now > *before + 8) {
            match clients.try_join_next() {
                Some(ended) => ended.expect("no failure"),
                None => tokio::task::yield_now().await,
            }
            assert!(
                !clients.is_empty() || self.may_end,
                "all clients have ended"
            );
        }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    fn count(&self, kind: usize) {
        self.done[kind].fetch_add(1, Ordering::SeqCst);
    }

    /// A new connection, unless the client is to end.
    async fn connect(&self, alpn: &str) -> Option<TlsStream<TcpStream>> {
        let connected = async {
            let stream = TcpStream::connect(self.address).await?;
            tls_over(stream, alpn, None).await
        };
        match connected.await {
            Ok(stream) => Some(stream),
            Err(_) if self.may_end => None,
            Err(error) => panic!("no connection: {error}"),
        }
    }

    /// Asks on a connection; whether it stays open.
    async fn ask(&self, stream: &mut TlsStream<TcpStream>) -> bool {
        let request = format!(
            "GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {}\r\n\r\n",
            self.token
        );
        stream.write_all(request.as_bytes()).await.expect("room");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.expect("a length").parse().expect("a number");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("a whole body");
        !head.contains("connection: close")
    }

    async fn keeps_one(self: Arc<Self>) {
        while let Some(mut stream) = self.connect("http/1.1").await {
            loop {
                let stays = self.ask(&mut stream).await;
                self.count(0);
                if !self.goes_on() {
                    return;
                }
                if !stays {
                    break;
                }
            }
        }
    }

    async fn comes_and_goes(self: Arc<Self>) {
        while self.goes_on()
            && let Some(mut stream) = self.connect("http/1.1").await
        {
            self.ask(&mut stream).await;
            self.count(2);
        }
    }

    async fn multiplexes(self: Arc<Self>) {
        while self.goes_on()
            && let Some(stream) = self.connect("h2").await
        {
            let stream = TokioIo::new(stream);
            let opened = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
            let (sender, connection) = opened.await.expect("a handshake");
            tokio::spawn(connection);
            let mut streams = JoinSet::new();
            for _ in 0..4 {
                streams.spawn(Arc::clone(&self).asks_again(sender.clone()));
            }
            while let Some(stream) = streams.join_next().await {
                stream.expect("no failure");
            }
        }
    }

    /// One request after another, until the connection takes no more.
    async fn asks_again(self: Arc<Self>, mut sender: SendRequest<Full<Bytes>>) {
        while self.goes_on() {
            let request = Request::get("https://api.test/orders/1")
                .header("authorization", format!("Bearer {}", self.token))
                .body(Full::default())
                .expect("a request");
            let answer = match sender.send_request(request).await {
                Ok(answer) => answer,
                Err(error) if was_not_taken(&error) => return,
                Err(error) => panic!("no answer: {error:?}"),
            };
            assert_eq!(answer.status(), 200);
            answer.into_body().collect().await.expect("a whole body");
            self.count(1);
        }
    }

    /// Talks by a WebSocket, and begins a new one after some frames.
    async fn talks(self: Arc<Self>) {
        while self.goes_on()
            && let Some(stream) = self.connect("http/1.1").await
        {
            let mut stream = self.upgraded(stream).await;
            for _ in 0..100 {
                Self::say(&mut stream).await;
                self.count(3);
            }
        }
    }

    /// Opens a WebSocket to the server that talks.
    pub async fn open_talk(&self) -> TlsStream<TcpStream> {
        let stream = self.connect("http/1.1").await;
        self.upgraded(stream.expect("a connection")).await
    }

    async fn upgraded(&self, mut stream: TlsStream<TcpStream>) -> TlsStream<TcpStream> {
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
        stream
    }

    /// Sends a frame by such a WebSocket, and reads it back.
    pub async fn say(stream: &mut TlsStream<TcpStream>) {
        // A masked text frame of one byte; the mask is zeros.
        stream.write_all(b"\x81\x81\0\0\0\0a").await.expect("room");
        let mut frame = [0; 3];
        stream.read_exact(&mut frame).await.expect("a frame");
        assert_eq!(&frame, b"\x81\x01a");
    }
}

/// Whether a request was not taken because the connection ends: not sent, or with a number above that of
/// the GOAWAY (RFC 9113 section 6.8). Then it is sent again.
fn was_not_taken(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let told = source.and_then(|source| source.downcast_ref::<h2::Error>());
    let told = told.is_some_and(|it| it.is_go_away() && it.reason() == Some(h2::Reason::NO_ERROR));
    told || error.is_canceled() || error.is_closed()
}

/// A server that answers each text frame of one byte with the same.
pub fn talking() -> (tokio::runtime::Runtime, SocketAddr) {
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

/// The route to it, for an upstream `talk`.
pub const TALK: &str = "[routes.talk]\npath = \"/talk\"\nupstream = \"talk\"\nissuers = [\"main\"]";
