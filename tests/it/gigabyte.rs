//! Large bodies in both directions, with a reader that pauses: they pass through a bounded memory.
//!
//! `BEARWARD_BODY_MIB` makes them larger than in an ordinary run.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Body, Frame, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::tls;
use crate::support::gateway::ORDERS;
use crate::support::process::cost;
use crate::support::{Bearward, Process, TestIssuer, block_on, eventually, own_server};

/// How large a body is in an ordinary run.
const MIB: usize = 48;
const PART: usize = 64 * 1024;
/// A reader pauses after so much, until the sender can send no more.
const PAUSE_AFTER: usize = 8 * 1024 * 1024;
/// What bodies may take of memory, whatever their size.
const BOUND_KIB: u64 = 8 * 1024;

/// Pauses until the gateway's memory has stopped growing.
async fn pause(process: u32) -> u64 {
    let mut last = 0;
    eventually("a standstill", async || {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let now = cost(process).1;
        std::mem::replace(&mut last, now) == now
    })
    .await;
    last
}

/// A server that takes an upload and says how much it was, or gives a download. It pauses in the middle of
/// the former until it is told to go on.
async fn serve(mut stream: TcpStream, size: usize, go_on: tokio::sync::watch::Receiver<bool>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    if head.starts_with(b"GET") {
        let begin =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(begin.as_bytes()).await;
        let part = vec![b'd'; PART];
        for _ in 0..size / PART {
            if stream.write_all(&part).await.is_err() {
                return;
            }
        }
        return;
    }
    let mut go_on = go_on;
    let mut part = vec![0; PART];
    let mut count = 0;
    while count < size {
        let Ok(read @ 1..) = stream.read(&mut part).await else {
            return;
        };
        count += read;
        if count > PAUSE_AFTER {
            let _ = go_on.wait_for(|it| *it).await;
        }
    }
    let said = count.to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}",
        said.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// A body of many equal parts.
struct Upload {
    left: usize,
    part: Bytes,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.left.checked_sub(1).map(|left| {
            self.left = left;
            Ok(Frame::data(self.part.clone()))
        });
        Poll::Ready(next)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.left * self.part.len()) as u64)
    }
}

fn request<B>(http2: bool, method: &str, token: &str, body: B) -> Request<B> {
    let uri = match http2 {
        true => "https://api.test/orders/1",
        false => "/orders/1",
    };
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("authorization", format!("Bearer {token}"));
    let request = match http2 {
        true => request,
        false => request.header("host", "api.test"),
    };
    request.body(body).expect("a request")
}

/// One request on a connection of its own.
async fn ask<B>(
    address: SocketAddr,
    http2: bool,
    request: Request<B>,
) -> hyper::Response<hyper::body::Incoming>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let alpn = if http2 { "h2" } else { "http/1.1" };
    let stream = TokioIo::new(tls(address, alpn).await);
    let answer = if http2 {
        let opened = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
        let (mut sender, connection) = opened.expect("a handshake");
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let opened = hyper::client::conn::http1::handshake(stream).await;
        let (mut sender, connection) = opened.expect("a handshake");
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    answer.expect("an answer")
}

#[test]
fn large_bodies_pass_through_a_bounded_memory() {
    let mib = std::env::var("BEARWARD_BODY_MIB").ok();
    let size = mib.map_or(MIB, |text| text.parse().expect("a number")) * 1024 * 1024;
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let (runtime, listener) = own_server();
    let address = listener.local_addr().expect("an address");
    let (go_on, goes_on) = tokio::sync::watch::channel(false);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, size, goes_on.clone()));
        }
    });
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .limits("body_bytes = \"unlimited\"")
        .upstream("orders", address, "response_timeout = \"60s\"")
        .table(ORDERS);
    let (process, _folder) = Process::start(gateway);
    let token = main
        .token_now()
        .with("scope", "orders:read orders:write")
        .sign();
    let id = process.child.id();
    block_on(async {
        for http2 in [false, true] {
            let before = cost(id).1;
            let get = request(http2, "GET", &token, Full::<Bytes>::default());
            let answer = ask(process.public, http2, get).await;
            assert_eq!(answer.status(), 200);
            let mut body = answer.into_body();
            let (mut count, mut paused) = (0, 0);
            while let Some(frame) = body.frame().await {
                count += frame
                    .expect("a whole body")
                    .into_data()
                    .map_or(0, |it| it.len());
                if count > PAUSE_AFTER && paused == 0 {
                    paused = pause(id).await;
                }
            }
            assert_eq!(count, size);
            let most = paused.max(cost(id).1);
            println!(
                "down, HTTP/2 {http2}: {size} bytes; resident {before} KiB, {most} at the most"
            );
            assert!(most < before + BOUND_KIB, "{before} KiB, then {most}");
        }
        for http2 in [false, true] {
            go_on.send_replace(false);
            let before = cost(id).1;
            let upload = Upload {
                left: size / PART,
                part: vec![b'u'; PART].into(),
            };
            let post = request(http2, "POST", &token, upload);
            let asking = ask(process.public, http2, post);
            let pausing = async {
                let paused = pause(id).await;
                go_on.send_replace(true);
                paused
            };
            let (answer, paused) = tokio::join!(asking, pausing);
            assert_eq!(answer.status(), 200);
            let said = answer.into_body().collect().await.expect("a whole body");
            assert_eq!(said.to_bytes(), size.to_string());
            let most = paused.max(cost(id).1);
            println!("up, HTTP/2 {http2}: {size} bytes; resident {before} KiB, {most} at the most");
            assert!(most < before + BOUND_KIB, "{before} KiB, then {most}");
        }
    });
}
