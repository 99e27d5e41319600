//! What a client's bytes lead to, over a pipe, with an answer of the test's own.

mod bounds;
mod ending;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::frame::{self, Code, Head};
use super::serve;
use crate::http::body::RequestBody;
use crate::http::deadline::{Activity, Timed, WaitLimits};
use crate::http::serve::{Farewell, MessageLimits, ProtocolError, Service, narrow};
use crate::http::{Body, BodyError};

const WAITS: WaitLimits = WaitLimits {
    idle: Duration::from_secs(75),
    header: Duration::from_secs(10),
    send: Duration::from_secs(300),
};
const LIMITS: MessageLimits = MessageLimits {
    header_bytes: 1024,
    target_bytes: 1024,
    streams: 8,
};
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `GET /`, and `POST /`, at `https://a` (RFC 7541 section 6.1 and 6.2.2).
const GET: &[u8] = b"\x82\x84\x87\x01\x01a";
const POST: &[u8] = b"\x83\x84\x87\x01\x01a";

type End = tokio::task::JoinHandle<Result<(), ProtocolError>>;

/// A body in parts.
struct InParts(VecDeque<Result<Frame<Bytes>, BodyError>>);

impl http_body::Body for InParts {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop_front())
    }
}

async fn echo(request: Request<RequestBody>) -> Response<Body> {
    let body = request.into_body().collect().await;
    let text = body.map_or_else(|_| Bytes::from("broken"), |body| body.to_bytes());
    Response::new(Body::Fixed(text))
}

/// Serves a pipe by an answer with what the request's body was.
fn served(drained: impl Future<Output = Farewell> + Send + 'static) -> (DuplexStream, End) {
    let (ours, theirs) = duplex(1 << 20);
    (
        theirs,
        tokio::spawn(serve(timed(ours), LIMITS, Service::naming(echo), drained)),
    )
}

/// Serves a pipe by another answer, for ever.
fn served_by<F, R>(answer: F) -> (DuplexStream, End)
where
    F: Fn(Request<RequestBody>) -> R + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let (ours, theirs) = duplex(1 << 20);
    let serving = serve(
        timed(ours),
        LIMITS,
        Service::naming(answer),
        std::future::pending(),
    );
    (theirs, tokio::spawn(serving))
}

/// Answers with so many bytes.
fn long(length: usize) -> impl Fn(Request<RequestBody>) -> std::future::Ready<Response<Body>> {
    move |_| {
        let body = Bytes::from(vec![b'x'; length]);
        std::future::ready(Response::new(Body::Fixed(body)))
    }
}

fn timed<S>(stream: S) -> Timed<S> {
    Timed::new(stream, WAITS, true, Arc::new(Activity::default()))
}

fn number(name: u16, value: u32) -> Vec<u8> {
    [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

fn framed(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame::head(payload.len(), kind, flags, stream).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

async fn next(client: &mut DuplexStream) -> (Head, Vec<u8>) {
    let mut head = [0; frame::HEAD_BYTES];
    client.read_exact(&mut head).await.expect("a frame");
    let head = Head::read(&head).expect("nine bytes");
    let mut payload = vec![0; head.length];
    client.read_exact(&mut payload).await.expect("a payload");
    (head, payload)
}

/// Frames up to one of this kind, on a stream or on none.
async fn until(client: &mut DuplexStream, kind: u8) -> (Head, Vec<u8>) {
    loop {
        let (head, payload) = next(client).await;
        if head.kind == kind {
            return (head, payload);
        }
    }
}

fn code(payload: &[u8]) -> u32 {
    let last = payload.last_chunk::<4>().expect("a code");
    u32::from_be_bytes(*last)
}

#[tokio::test]
async fn requests_are_answered_however_their_bytes_come() {
    let asked = [
        PREFACE.to_vec(),
        framed(frame::HEADERS, frame::END_HEADERS, 1, POST),
        framed(frame::DATA, 0, 1, b"ab"),
        framed(
            frame::DATA,
            frame::END_STREAM | frame::PADDED,
            1,
            b"\x02cd\0\0",
        ),
        framed(frame::HEADERS, frame::END_STREAM, 3, GET),
        framed(frame::CONTINUATION, frame::END_HEADERS, 3, b""),
    ]
    .concat();
    for piece in [1, 7, asked.len()] {
        let (mut client, serving) = served(std::future::pending());
        for bytes in asked.chunks(piece) {
            client.write_all(bytes).await.expect("room");
            tokio::task::yield_now().await;
        }
        let (head, body) = until(&mut client, frame::DATA).await;
        assert_eq!((head.stream, &body[..]), (1, &b"abcd"[..]), "{piece}");
        assert!(head.has(frame::END_STREAM));
        let (head, body) = until(&mut client, frame::DATA).await;
        assert_eq!((head.stream, &body[..]), (3, &b""[..]), "{piece}");
        // The client goes.
        client.shutdown().await.expect("open");
        let (_, payload) = until(&mut client, frame::GOAWAY).await;
        assert_eq!(code(&payload), 0);
        assert_eq!(serving.await.expect("no panic"), Ok(()));
    }
}

#[tokio::test]
async fn a_place_serves_one_stream_after_the_other() {
    let (mut client, _serving) = served(std::future::pending());
    client.write_all(PREFACE).await.expect("room");
    for n in 0..100 {
        let id = 2 * n + 1;
        let mut bytes = framed(frame::HEADERS, frame::END_HEADERS, id, POST);
        // Every third is given up, with its body.
        let ends = match n % 3 {
            0 => framed(frame::RST_STREAM, 0, id, &8_u32.to_be_bytes()),
            _ => framed(frame::DATA, frame::END_STREAM, id, b"x"),
        };
        bytes.extend(ends);
        client.write_all(&bytes).await.expect("room");
        if n % 3 != 0 {
            let (head, body) = until(&mut client, frame::DATA).await;
            assert_eq!((head.stream, &body[..]), (id, &b"x"[..]));
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_word_gets_it_when_its_body_is_wanted() {
    let (mut client, _serving) = served(std::future::pending());
    client.write_all(PREFACE).await.expect("room");
    // `expect` by its index, and as a literal.
    let head = [POST, b"\x0f\x14\x0c100-continue"].concat();
    let begun = framed(frame::HEADERS, frame::END_HEADERS, 1, &head);
    client.write_all(&begun).await.expect("room");
    let (head, block) = until(&mut client, frame::HEADERS).await;
    assert!(block.ends_with(b"100") && !head.has(frame::END_STREAM));
    let body = framed(frame::DATA, frame::END_STREAM, 1, b"ab");
    client.write_all(&body).await.expect("room");
    let (_, block) = until(&mut client, frame::HEADERS).await;
    assert_eq!(block.first(), Some(&0x88));
    assert_eq!(until(&mut client, frame::DATA).await.1, b"ab");
}

#[tokio::test]
async fn a_response_to_head_ends_with_its_head() {
    let (mut client, _serving) = served_by(long(5));
    client.write_all(PREFACE).await.expect("room");
    let block = [&b"\x02\x04HEAD"[..], &GET[1..]].concat();
    let ends = frame::END_HEADERS | frame::END_STREAM;
    let asked = framed(frame::HEADERS, ends, 1, &block);
    client.write_all(&asked).await.expect("room");
    let (head, block) = until(&mut client, frame::HEADERS).await;
    assert!(head.has(frame::END_STREAM));
    // The length that it would have, by the index of its name.
    assert!(block.windows(4).any(|it| it == b"\x0f\x0d\x015"));
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let answer = async |request: Request<RequestBody>| {
        let body = request.into_body().collect().await.expect("a body");
        let trailers = body.trailers().cloned().expect("trailers");
        let parts = [
            Ok(Frame::data(body.to_bytes())),
            Ok(Frame::trailers(trailers)),
        ];
        Response::new(Body::streamed(InParts(parts.into())))
    };
    let (mut client, _serving) = served_by(move |request| Box::pin(answer(request)));
    client.write_all(PREFACE).await.expect("room");
    let mut bytes = framed(frame::HEADERS, frame::END_HEADERS, 1, POST);
    bytes.extend(framed(frame::DATA, 0, 1, b"ab"));
    let ends = frame::END_HEADERS | frame::END_STREAM;
    bytes.extend(framed(frame::HEADERS, ends, 1, b"\x00\x03x-t\x01v"));
    client.write_all(&bytes).await.expect("room");
    let (head, body) = until(&mut client, frame::DATA).await;
    assert_eq!(
        (&body[..], head.has(frame::END_STREAM)),
        (&b"ab"[..], false)
    );
    let (head, block) = until(&mut client, frame::HEADERS).await;
    assert_eq!(block, b"\x00\x03x-t\x01v");
    assert!(head.has(frame::END_STREAM));
}

#[test]
fn any_frames_lead_to_whole_frames_and_an_end() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    crate::fuzz::target("http2", |input| {
        let piece = if input.len() % 2 == 0 { 4096 } else { 11 };
        let reply = runtime.block_on(async {
            let (mut client, serving) = served(std::future::pending());
            client.write_all(PREFACE).await.expect("room");
            for bytes in input.chunks(piece) {
                // It may have ended already.
                if client.write_all(bytes).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let _ = client.shutdown().await;
            let mut reply = Vec::new();
            client.read_to_end(&mut reply).await.expect("bytes");
            let ended = serving.await.expect("no panic");
            assert_ne!(ended, Err(ProtocolError::Timeout));
            reply
        });
        let mut at = &reply[..];
        while let Some(head) = Head::read(at) {
            assert!(head.length <= frame::PAYLOAD_MAX);
            let end = frame::HEAD_BYTES + head.length;
            at = at.get(end..).expect("a whole frame");
        }
        assert!(at.is_empty(), "whole frames");
    });
}

#[test]
fn any_header_block_is_read_or_refused() {
    crate::fuzz::target("hpack", |input| {
        let mut decoder = super::hpack::Decoder::new();
        let mut fields = super::request::Fields::new(4096);
        for block in input.chunks(64) {
            if decoder.read(block, |field| fields.take(field)).is_err() {
                break;
            }
        }
        if let Ok(head) = fields.request() {
            let is_connect = head.request.method() == http::Method::CONNECT;
            assert!(is_connect || head.request.uri().path_and_query().is_some());
        }
    });
}
