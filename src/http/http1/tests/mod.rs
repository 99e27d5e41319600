//! Connections over a pipe, with an answer of the test's own.

mod ending;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;

use super::serve;
use crate::http::body::RequestBody;
use crate::http::deadline::{Activity, Timed, WaitLimits};
use crate::http::serve::{Farewell, MessageLimits, ProtocolError, Service, narrow};
use crate::http::upgrade::OnUpgrade;
use crate::http::{Body, BodyError};

const WAITS: WaitLimits = WaitLimits {
    idle: Duration::from_secs(75),
    header: Duration::from_secs(10),
    send: Duration::from_secs(300),
};

const LIMITS: MessageLimits = MessageLimits {
    header_bytes: 1024,
    target_bytes: 1024,
    streams: 1,
};

/// Serves a pipe by `answer`; gives the client's end and what becomes of the connection.
fn served<F, R>(
    answer: F,
    drained: impl Future<Output = Farewell> + Send + 'static,
) -> (
    DuplexStream,
    tokio::task::JoinHandle<Result<(), ProtocolError>>,
)
where
    F: Fn(Request<RequestBody>) -> R + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let (ours, theirs) = duplex(1 << 20);
    let timed = Timed::new(ours, WAITS, false, Arc::new(Activity::default()));
    let service = Service::naming(answer);
    let serving = async move { serve(timed, LIMITS, service, drained).await };
    (theirs, tokio::spawn(serving))
}

/// What a client reads until the connection ends, without the dates; then it ends too.
async fn all(client: &mut DuplexStream) -> String {
    let text = rest(client).await;
    client.shutdown().await.expect("an end");
    text
}

/// The same, and it may go on.
async fn rest(client: &mut DuplexStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("text");
    let lines = text
        .split("\r\n")
        .filter(|line| !line.starts_with("date: "));
    lines.collect::<Vec<_>>().join("\r\n")
}

fn never() -> impl Future<Output = Farewell> {
    std::future::pending()
}

async fn echo(request: Request<RequestBody>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let text = format!("{} {} {:?}", parts.method, parts.uri, body);
    Response::new(Body::Fixed(text.into()))
}

/// A body in parts.
struct InParts(VecDeque<Result<Bytes, BodyError>>, Option<u64>);

impl http_body::Body for InParts {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop_front().map(|part| part.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.1.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[tokio::test]
async fn requests_are_answered_one_after_the_other_however_they_come() {
    let text = b"\r\nPOST /1 HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\n\r\nPOST /3 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\nGET /4 HTTP/1.1\r\nconnection: close\r\n\r\nGET /5 HTTP/1.1\r\n\r\n";
    for piece in [1, 10, text.len()] {
        let (mut client, serving) = served(echo, never());
        for bytes in text.chunks(piece) {
            // The last request is one too many.
            if client.write_all(bytes).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let answers = all(&mut client).await;
        assert_eq!(
            answers,
            "HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\nPOST /1 Ok(b\"abc\")\
             HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\nGET /2 Ok(b\"\")\
             HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\nPOST /3 Ok(b\"de\")\
             HTTP/1.1 200 OK\r\ncontent-length: 14\r\nconnection: close\r\n\r\nGET /4 Ok(b\"\")",
            "{piece}"
        );
        assert_eq!(serving.await.expect("no panic"), Ok(()));
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_word_gets_it_if_its_body_is_wanted() {
    let head = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    let (mut client, _) = served(echo, never());
    client.write_all(head).await.expect("room");
    let mut word = [0; 25];
    client.read_exact(&mut word).await.expect("a word");
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"abc").await.expect("room");
    client.shutdown().await.expect("an end");
    let answer = all(&mut client).await;
    assert!(answer.ends_with("POST / Ok(b\"abc\")"), "{answer}");

    // And if not, nobody knows whether it sends it: the connection ends.
    let unwanted = |_| async { Response::new(Body::Empty) };
    let (mut client, serving) = served(unwanted, never());
    client.write_all(head).await.expect("room");
    let answer = all(&mut client).await;
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    drop(client);
    assert_eq!(serving.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn bodies_in_parts_end_as_they_should_and_broken_ones_do_not() {
    let large = Bytes::from(vec![b'x'; 10_000]);
    let ok = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
    let broken = || Err(BodyError::UpstreamReset);
    for (parts, length, sent, outcome) in [
        (vec![], None, "0\r\n\r\n".to_owned(), Ok(())),
        (
            vec![ok("ab"), ok(""), ok("cde")],
            None,
            "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n".to_owned(),
            Ok(()),
        ),
        (
            vec![Ok(large.clone())],
            None,
            format!("2710\r\n{}\r\n0\r\n\r\n", "x".repeat(10_000)),
            Ok(()),
        ),
        (
            vec![ok("ab"), Ok(large)],
            Some(10_002),
            format!("ab{}", "x".repeat(10_000)),
            Ok(()),
        ),
        (
            vec![ok("ab"), broken()],
            None,
            "2\r\nab\r\n".to_owned(),
            Err(ProtocolError::Disconnect),
        ),
        (
            vec![ok("ab"), broken()],
            Some(5),
            "ab".to_owned(),
            Err(ProtocolError::Disconnect),
        ),
        (
            vec![ok("ab")],
            Some(5),
            "ab".to_owned(),
            Err(ProtocolError::Disconnect),
        ),
        (
            vec![ok("ab"), ok("cdef")],
            Some(5),
            "ab".to_owned(),
            Err(ProtocolError::Disconnect),
        ),
    ] {
        let parts = std::sync::Mutex::new(Some(InParts(parts.into(), length)));
        let answer = move |_| {
            let parts = parts.lock().expect("whole").take().expect("asked once");
            async move { Response::new(Body::streamed(parts)) }
        };
        let (mut client, serving) = served(answer, never());
        let request = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.expect("room");
        let answer = all(&mut client).await;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        assert_eq!(body, Some(&*sent));
        assert_eq!(serving.await.expect("no panic"), outcome, "{sent}");
    }
}

#[tokio::test]
async fn a_client_that_was_to_wait_for_a_word_and_did_not_goes_on() {
    let (mut client, _serving) = served(echo, never());
    let request = "POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc";
    let last = "GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
    let both = [request, last].concat();
    client.write_all(both.as_bytes()).await.expect("room");
    assert_eq!(all(&mut client).await.matches("HTTP/1.1 200").count(), 2);
}

#[tokio::test]
async fn whoever_switches_gets_what_was_read_already() {
    let (sender, switched) = tokio::sync::oneshot::channel::<OnUpgrade>();
    let sender = std::sync::Mutex::new(Some(sender));
    let answer = move |request: Request<RequestBody>| {
        let mut body = request.into_body();
        let upgrade = OnUpgrade::of(&mut body).expect("an upgrade");
        let sender = sender.lock().expect("whole").take().expect("asked once");
        assert!(sender.send(upgrade).is_ok());
        async {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response
        }
    };
    let (mut client, serving) = served(answer, never());
    let request = b"GET / HTTP/1.1\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nbefore";
    client.write_all(request).await.expect("room");
    assert_eq!(serving.await.expect("no panic"), Ok(()));
    let mut stream = switched
        .await
        .expect("an upgrade")
        .done()
        .await
        .expect("it");
    let mut bytes = [0; 6];
    stream.read_exact(&mut bytes).await.expect("bytes");
    assert_eq!(&bytes, b"before");
    stream.write_all(b"after").await.expect("room");
    stream.shutdown().await.expect("an end");
    let answer = all(&mut client).await;
    assert_eq!(answer, "HTTP/1.1 101 Switching Protocols\r\n\r\nafter");
}
