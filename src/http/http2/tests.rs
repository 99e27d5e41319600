//! What a client's bytes lead to, over a pipe, with an answer of the test's own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::frame::{self, Code, Head};
use super::serve;
use crate::http::Body;
use crate::http::body::RequestBody;
use crate::http::deadline::{Activity, Timed, WaitLimits};
use crate::http::serve::{Farewell, MessageLimits, ProtocolError};

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

async fn echo(request: Request<RequestBody>) -> Response<Body> {
    let body = request.into_body().collect().await;
    let text = body.map_or_else(|_| Bytes::from("broken"), |body| body.to_bytes());
    Response::new(Body::Fixed(text))
}

/// Serves a pipe by an answer with what the request's body was.
fn served(drained: impl Future<Output = Farewell> + Send + 'static) -> (DuplexStream, End) {
    let (ours, theirs) = duplex(1 << 20);
    let timed = Timed::new(ours, WAITS, true, Arc::new(Activity::default()));
    let serving = async move { serve(timed, LIMITS, echo, drained).await };
    (theirs, tokio::spawn(serving))
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
async fn a_response_waits_for_its_windows_and_for_no_others() {
    let (mut client, _serving) = served(std::future::pending());
    client.write_all(PREFACE).await.expect("room");
    let body = vec![b'x'; 15_000];
    let mut bytes = framed(frame::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 10]);
    bytes.extend(framed(frame::HEADERS, frame::END_HEADERS, 1, POST));
    bytes.extend(framed(frame::DATA, frame::END_STREAM, 1, &body));
    client.write_all(&bytes).await.expect("room");
    let (head, part) = until(&mut client, frame::DATA).await;
    assert_eq!((part.len(), head.has(frame::END_STREAM)), (10, false));
    // Another stream is served meanwhile.
    let mut bytes = framed(frame::HEADERS, frame::END_HEADERS, 3, POST);
    bytes.extend(framed(frame::DATA, frame::END_STREAM, 3, b"y"));
    client.write_all(&bytes).await.expect("room");
    let (head, part) = until(&mut client, frame::DATA).await;
    assert_eq!((head.stream, &part[..]), (3, &b"y"[..]));
    let more = 20_000_u32.to_be_bytes();
    let update = framed(frame::WINDOW_UPDATE, 0, 1, &more);
    client.write_all(&update).await.expect("room");
    let (head, part) = until(&mut client, frame::DATA).await;
    assert_eq!((head.stream, part.len()), (1, 14_990));
    assert!(head.has(frame::END_STREAM));
}

#[tokio::test]
async fn a_long_upload_is_told_of_more_room() {
    let (mut client, _serving) = served(std::future::pending());
    client.write_all(PREFACE).await.expect("room");
    let mut begun = framed(frame::HEADERS, frame::END_HEADERS, 1, POST);
    begun.extend(framed(frame::DATA, frame::PADDED, 1, &[9; 16_000]).repeat(9));
    client.write_all(&begun).await.expect("room");
    let mut of = Vec::new();
    while of.len() < 3 {
        let (head, _) = until(&mut client, frame::WINDOW_UPDATE).await;
        of.push(head.stream);
    }
    of.sort_unstable();
    // The connection at its beginning, and both when enough was taken.
    assert_eq!(of, [0, 0, 1]);
}

#[tokio::test]
async fn whoever_asks_for_what_is_of_no_use_is_told_to_calm_down() {
    let reset = |n: u32| {
        let mut bytes = framed(frame::HEADERS, frame::END_HEADERS, 2 * n + 1, POST);
        bytes.extend(framed(
            frame::RST_STREAM,
            0,
            2 * n + 1,
            &8_u32.to_be_bytes(),
        ));
        bytes
    };
    let ping = |_| framed(frame::PING, 0, 0, b"01234567");
    let empty = |n| match n {
        0 => framed(frame::HEADERS, frame::END_HEADERS, 1, POST),
        _ => framed(frame::DATA, 0, 1, b""),
    };
    let pieces: [&dyn Fn(u32) -> Vec<u8>; 3] = [&reset, &ping, &empty];
    for piece in pieces {
        let (mut client, serving) = served(std::future::pending());
        client.write_all(PREFACE).await.expect("room");
        let bytes: Vec<u8> = (0..1010).flat_map(piece).collect();
        client.write_all(&bytes).await.expect("room");
        let (_, payload) = until(&mut client, frame::GOAWAY).await;
        assert_eq!(code(&payload), Code::ENHANCE_YOUR_CALM.0);
        drop(client);
        assert_eq!(serving.await.expect("no panic"), Err(ProtocolError::Parse));
    }
}

#[tokio::test]
async fn a_connection_that_is_to_end_serves_what_has_begun() {
    let (told, begins) = tokio::sync::oneshot::channel();
    let (mut client, serving) = served(async {
        begins.await.expect("a word");
        Farewell::Gracefully
    });
    client.write_all(PREFACE).await.expect("room");
    let begun = framed(frame::HEADERS, frame::END_HEADERS, 1, POST);
    client.write_all(&begun).await.expect("room");
    let pong = framed(frame::PING, 0, 0, b"01234567");
    client.write_all(&pong).await.expect("room");
    until(&mut client, frame::PING).await;
    told.send(()).expect("awaited");
    let (_, payload) = until(&mut client, frame::GOAWAY).await;
    assert_eq!(payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let (_, ping) = until(&mut client, frame::PING).await;
    // One was on its way, one came after.
    let mut bytes = framed(
        frame::HEADERS,
        frame::END_HEADERS | frame::END_STREAM,
        3,
        GET,
    );
    bytes.extend(framed(frame::PING, frame::ACK, 0, &ping));
    bytes.extend(framed(
        frame::HEADERS,
        frame::END_HEADERS | frame::END_STREAM,
        5,
        GET,
    ));
    bytes.extend(framed(frame::DATA, frame::END_STREAM, 1, b"last"));
    client.write_all(&bytes).await.expect("room");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("an end");
    let (mut streams, mut at) = (Vec::new(), &rest[..]);
    while let Some(head) = Head::read(at) {
        if head.kind == frame::DATA {
            streams.push(head.stream);
        }
        at = &at[frame::HEAD_BYTES + head.length..];
    }
    streams.sort_unstable();
    assert_eq!(streams, [1, 3]);
    assert_eq!(serving.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn whoever_reads_a_body_apart_learns_that_its_client_has_gone() {
    let (ours, mut client) = duplex(1 << 20);
    let timed = Timed::new(ours, WAITS, true, Arc::new(Activity::default()));
    let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let answer = move |request: Request<RequestBody>| {
        let report = report.clone();
        tokio::spawn(async move {
            let body = request.into_body().collect().await;
            let _ = report.send(body.map(|body| body.to_bytes()));
        });
        async { Response::new(Body::Empty) }
    };
    let serving = tokio::spawn(serve(timed, LIMITS, answer, std::future::pending()));
    client.write_all(PREFACE).await.expect("room");
    let begun = framed(frame::HEADERS, frame::END_HEADERS, 1, POST);
    client.write_all(&begun).await.expect("room");
    until(&mut client, frame::HEADERS).await;
    drop(client);
    let report = reports.recv().await.expect("a report");
    assert_eq!(report, Err(crate::http::BodyError::Broken));
    assert_eq!(
        serving.await.expect("no panic"),
        Err(ProtocolError::Disconnect)
    );
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
