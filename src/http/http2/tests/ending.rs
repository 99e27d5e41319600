//! How a connection ends: what has begun is served, and what was sent arrives.

use super::*;
use crate::http::http2::connection::LAST_PING;

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
    drop(client);
    streams.sort_unstable();
    assert_eq!(streams, [1, 3]);
    assert_eq!(serving.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn whoever_reads_a_body_apart_learns_that_its_client_has_gone() {
    let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let answer = move |request: Request<RequestBody>| {
        let report = report.clone();
        tokio::spawn(async move {
            let body = request.into_body().collect().await;
            let _ = report.send(body.map(|body| body.to_bytes()));
        });
        async { Response::new(Body::Empty) }
    };
    let (mut client, serving) = served_by(answer);
    client.write_all(PREFACE).await.expect("room");
    let begun = framed(frame::HEADERS, frame::END_HEADERS, 1, POST);
    client.write_all(&begun).await.expect("room");
    until(&mut client, frame::HEADERS).await;
    drop(client);
    let report = reports.recv().await.expect("a report");
    assert_eq!(report, Err(BodyError::Broken));
    assert_eq!(
        serving.await.expect("no panic"),
        Err(ProtocolError::Disconnect)
    );
}

#[tokio::test]
async fn the_end_of_the_last_response_arrives_though_its_client_is_slow_and_talks() {
    const LENGTH: usize = 400 * 1024;
    let (mut client, server) = narrow().await;
    let answer = long(LENGTH);
    let serving = tokio::spawn(serve(
        timed(server),
        LIMITS,
        Service::naming(answer),
        std::future::pending(),
    ));
    let mut bytes = PREFACE.to_vec();
    bytes.extend(framed(frame::SETTINGS, 0, 0, &number(4, 1 << 20)));
    bytes.extend(framed(
        frame::WINDOW_UPDATE,
        0,
        0,
        &(1_u32 << 20).to_be_bytes(),
    ));
    let ends = frame::END_HEADERS | frame::END_STREAM;
    bytes.extend(framed(frame::HEADERS, ends, 1, GET));
    bytes.extend(framed(frame::GOAWAY, 0, 0, &[0; 8]));
    client.write_all(&bytes).await.expect("room");
    let mut read = Vec::new();
    let update = framed(frame::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
    let mut place = [0; 4096];
    loop {
        let count = client.read(&mut place).await.expect("no reset");
        if count == 0 {
            break;
        }
        read.extend_from_slice(&place[..count]);
        client.write_all(&update).await.expect("no reset");
    }
    let (mut body, mut at) = (0, &read[..]);
    while let Some(head) = Head::read(at) {
        body += if head.kind == frame::DATA {
            head.length
        } else {
            0
        };
        at = &at[frame::HEAD_BYTES + head.length..];
    }
    assert_eq!(body, LENGTH);
    drop(client);
    assert_eq!(serving.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn the_last_stream_that_is_served_is_told_downwards() {
    let (ours, mut client) = duplex(64);
    let (told, begins) = tokio::sync::oneshot::channel();
    let drained = async {
        begins.await.expect("a word");
        Farewell::Gracefully
    };
    let serving = tokio::spawn(serve(timed(ours), LIMITS, Service::naming(echo), drained));
    // What it has to say to that has no room in the pipe.
    client.write_all(PREFACE).await.expect("room");
    let leaves = framed(frame::GOAWAY, 0, 0, &[0; 8]);
    client.write_all(&leaves).await.expect("room");
    tokio::task::yield_now().await;
    told.send(()).expect("awaited");
    tokio::task::yield_now().await;
    let (_, payload) = until(&mut client, frame::GOAWAY).await;
    assert_eq!(payload, [0; 8]);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("an end");
    assert_eq!(rest, b"", "nothing else");
    drop(client);
    assert_eq!(serving.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn what_was_told_to_be_the_last_stream_stays_it() {
    let (mut client, _serving) = served(std::future::ready(Farewell::Gracefully));
    let ends = frame::END_HEADERS | frame::END_STREAM;
    client.write_all(PREFACE).await.expect("room");
    let asked = framed(frame::HEADERS, ends, 1, POST);
    client.write_all(&asked).await.expect("room");
    let (_, announced) = until(&mut client, frame::GOAWAY).await;
    assert_eq!(announced[..4], [0x7f, 0xff, 0xff, 0xff]);
    let held = framed(frame::HEADERS, frame::END_HEADERS, 3, POST);
    let heard = framed(frame::PING, 1, 0, &LAST_PING);
    client
        .write_all(&[held, heard].concat())
        .await
        .expect("room");
    let (_, told) = until(&mut client, frame::GOAWAY).await;
    assert_eq!(told[..4], 3_u32.to_be_bytes());
    // One that is not served, and then an error of the client's.
    let late = framed(frame::HEADERS, ends, 5, GET);
    let wrong = framed(frame::DATA, 0, 0, b"");
    client
        .write_all(&[late, wrong].concat())
        .await
        .expect("room");
    let (_, last) = until(&mut client, frame::GOAWAY).await;
    assert_eq!(last[..4], 3_u32.to_be_bytes());
    assert_eq!(code(&last), Code::PROTOCOL_ERROR.0);
}
