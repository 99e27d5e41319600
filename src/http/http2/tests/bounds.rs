//! What a client can have of the gateway at a time: windows, parts and resets.

use super::*;

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
async fn streams_share_the_window_of_their_connection() {
    let (mut client, _serving) = served_by(long(1 << 19));
    let ends = frame::END_HEADERS | frame::END_STREAM;
    let mut bytes = PREFACE.to_vec();
    bytes.extend(framed(frame::SETTINGS, 0, 0, &number(4, 1 << 20)));
    for id in [1, 3, 5] {
        bytes.extend(framed(frame::HEADERS, ends, id, GET));
    }
    client.write_all(&bytes).await.expect("room");
    let mut first = 0;
    while first < 65_535 {
        let (head, _) = until(&mut client, frame::DATA).await;
        assert_eq!(head.stream, 1, "it came first");
        first += head.length;
    }
    let mut turns = Vec::new();
    for _ in 0..6 {
        let more = framed(frame::WINDOW_UPDATE, 0, 0, &16_384_u32.to_be_bytes());
        client.write_all(&more).await.expect("room");
        let (head, _) = until(&mut client, frame::DATA).await;
        turns.push(head.stream);
    }
    assert_eq!(turns[..2], [3, 5], "who had nothing comes first");
    turns.sort_unstable();
    assert_eq!(turns, [1, 1, 3, 3, 5, 5]);
}

#[tokio::test]
async fn what_is_too_much_ends_its_own_stream_alone() {
    let never = |_| std::future::pending();
    let (mut client, _serving) = served_by(never);
    client.write_all(PREFACE).await.expect("room");
    let ends = frame::END_HEADERS | frame::END_STREAM;
    for n in 0..=LIMITS.streams {
        let asked = framed(frame::HEADERS, ends, 2 * n + 1, GET);
        client.write_all(&asked).await.expect("room");
    }
    let (head, payload) = until(&mut client, frame::RST_STREAM).await;
    assert_eq!(
        (head.stream, code(&payload)),
        (2 * LIMITS.streams + 1, Code::REFUSED_STREAM.0)
    );
    // One ends, and there is room for another; whose fields are too many.
    let reset = framed(frame::RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    client.write_all(&reset).await.expect("room");
    let field = [&b"\x00\x01x\x7e"[..], &[b'v'; 126]].concat();
    let block = [GET, &field.repeat(20)].concat();
    let asked = framed(frame::HEADERS, ends, 101, &block);
    client.write_all(&asked).await.expect("room");
    let (head, block) = until(&mut client, frame::HEADERS).await;
    assert_eq!(head.stream, 101);
    assert!(block.windows(3).any(|it| it == b"431"), "{block:?}");
    let (head, told) = until(&mut client, frame::DATA).await;
    assert_eq!((head.stream, head.flags), (101, frame::END_STREAM));
    assert_eq!(told, b"HeadersTooLarge");
    // Another has a body, which nobody reads: its client hears why, and that it need not go on.
    let block = [POST, &field.repeat(20)].concat();
    let asked = framed(frame::HEADERS, frame::END_HEADERS, 103, &block);
    let part = framed(frame::DATA, 0, 103, b"part");
    client
        .write_all(&[&asked[..], &part].concat())
        .await
        .expect("room");
    let (head, told) = until(&mut client, frame::DATA).await;
    assert_eq!((head.stream, &told[..]), (103, &b"HeadersTooLarge"[..]));
    let (head, payload) = until(&mut client, frame::RST_STREAM).await;
    assert_eq!((head.stream, code(&payload)), (103, Code::NO_ERROR.0));
    client.write_all(&part).await.expect("room");
    let ping = framed(frame::PING, 0, 0, b"all well");
    client.write_all(&ping).await.expect("room");
    let (_, payload) = next(&mut client).await;
    assert_eq!(payload, b"all well");
}

#[tokio::test]
async fn small_parts_of_a_body_are_put_together() {
    let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let begins = Arc::new(tokio::sync::Notify::new());
    let begun = Arc::clone(&begins);
    let answer = move |request: Request<RequestBody>| {
        let (report, begun) = (report.clone(), Arc::clone(&begun));
        async move {
            begun.notified().await;
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                let data = frame.expect("whole").into_data().expect("data");
                report.send(data.len()).expect("somebody asks");
            }
            Response::new(Body::Empty)
        }
    };
    let (mut client, _serving) = served_by(answer);
    client.write_all(PREFACE).await.expect("room");
    let mut bytes = framed(frame::HEADERS, frame::END_HEADERS, 1, POST);
    bytes.extend(framed(frame::DATA, 0, 1, &[0; 500]).repeat(30));
    bytes.extend(framed(frame::DATA, 0, 1, &[0; 16_000]).repeat(2));
    bytes.extend(framed(frame::DATA, frame::END_STREAM, 1, &[0; 500]));
    bytes.extend(framed(frame::PING, 0, 0, b"01234567"));
    client.write_all(&bytes).await.expect("room");
    // All of it has come.
    until(&mut client, frame::PING).await;
    begins.notify_one();
    let mut parts = Vec::new();
    while parts.iter().sum::<usize>() < 47_500 {
        parts.push(reports.recv().await.expect("a part"));
    }
    assert_eq!(parts, [15_000, 16_000, 16_000, 500]);
}

#[tokio::test(start_paused = true)]
async fn resets_are_forgotten_in_time() {
    let (mut client, _serving) = served(std::future::pending());
    client.write_all(PREFACE).await.expect("room");
    let mut id = 1;
    for _ in 0..3 {
        let mut bytes = Vec::new();
        for _ in 0..150 {
            bytes.extend(framed(frame::HEADERS, frame::END_HEADERS, id, POST));
            bytes.extend(framed(frame::RST_STREAM, 0, id, &8_u32.to_be_bytes()));
            id += 2;
        }
        bytes.extend(framed(frame::PING, 0, 0, b"01234567"));
        client.write_all(&bytes).await.expect("room");
        let (head, _) = until(&mut client, frame::PING).await;
        assert!(head.has(frame::ACK));
        tokio::time::advance(Duration::from_secs(15)).await;
    }
}

/// A request for a body.
fn upload(id: u32) -> Vec<u8> {
    framed(frame::HEADERS, frame::END_HEADERS, id, POST)
}

#[tokio::test]
async fn an_upload_that_nobody_reads_leaves_room_for_others() {
    let answer = |request: Request<RequestBody>| async move {
        let mut body = request.into_body();
        let first = body.frame().await.expect("a part").expect("whole");
        if first.into_data().expect("data")[0] == b'n' {
            std::future::pending::<()>().await;
        }
        let _ = body.collect().await;
        Response::new(Body::Empty)
    };
    let (mut client, _serving) = served_by(answer);
    client.write_all(PREFACE).await.expect("room");
    let part = |id, ends, byte| framed(frame::DATA, ends, id, &[byte; 16 * 1024]);
    // As much as a stream may send, of three that nobody reads beyond their beginning.
    for id in [1, 3, 5] {
        client.write_all(&upload(id)).await.expect("room");
        for _ in 0..16 {
            client.write_all(&part(id, 0, b'n')).await.expect("room");
        }
    }
    client.write_all(&upload(7)).await.expect("room");
    let ends = frame::END_STREAM;
    client.write_all(&part(7, ends, b'y')).await.expect("room");
    let (head, _) = until(&mut client, frame::HEADERS).await;
    assert_eq!(head.stream, 7);
}

#[tokio::test]
async fn what_crosses_our_resets_costs_nothing() {
    let (mut client, _serving) = served_by(|_| async { Response::new(Body::Empty) });
    client.write_all(PREFACE).await.expect("room");
    // As many as may be open, twice: each is answered without a look at its body.
    let ids: Vec<u32> = (0..2 * LIMITS.streams).map(|n| 2 * n + 1).collect();
    for id in &ids {
        client.write_all(&upload(*id)).await.expect("room");
        let (head, payload) = until(&mut client, frame::RST_STREAM).await;
        assert_eq!((head.stream, code(&payload)), (*id, Code::NO_ERROR.0));
    }
    let ends = frame::END_HEADERS | frame::END_STREAM;
    for id in &ids {
        let trailers = framed(frame::HEADERS, ends, *id, b"\x00\x01x\x01y");
        client.write_all(&trailers).await.expect("room");
    }
    let ping = framed(frame::PING, 0, 0, b"all well");
    client.write_all(&ping).await.expect("room");
    assert_eq!(until(&mut client, frame::PING).await.1, b"all well");
}

#[tokio::test]
async fn a_first_flight_beyond_what_is_allowed_is_refused_and_no_more() {
    let (mut client, _serving) = served_by(|_| std::future::pending());
    let ends = frame::END_HEADERS | frame::END_STREAM;
    let mut flight = PREFACE.to_vec();
    for n in 0..300 {
        flight.extend(framed(frame::HEADERS, ends, 2 * n + 1, GET));
    }
    client.write_all(&flight).await.expect("room");
    for n in LIMITS.streams..300 {
        let (head, payload) = until(&mut client, frame::RST_STREAM).await;
        let told = (head.stream, code(&payload));
        assert_eq!(told, (2 * n + 1, Code::REFUSED_STREAM.0));
    }
    let ping = framed(frame::PING, 0, 0, b"all well");
    client.write_all(&ping).await.expect("room");
    assert_eq!(next(&mut client).await.1, b"all well");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_its_client_does_not_take_is_given_up_alone() {
    // Other requests are under way, so that the connection is never idle.
    let activity = Arc::new(Activity::default());
    let _busy = activity.begin();
    let (ours, mut client) = duplex(1 << 20);
    let stream = Timed::new(ours, WAITS, true, activity);
    let service = Service::naming(long(5));
    tokio::spawn(serve(stream, LIMITS, service, std::future::pending()));
    let none = framed(frame::SETTINGS, 0, 0, &number(4, 0));
    let ends = frame::END_HEADERS | frame::END_STREAM;
    let asked = [1, 3].map(|id| framed(frame::HEADERS, ends, id, GET));
    let flight = [PREFACE, &none, &asked.concat()].concat();
    client.write_all(&flight).await.expect("room");
    // One moves on in the middle of its time, and has all of it again.
    tokio::time::sleep(WAITS.send / 2).await;
    let byte = framed(frame::WINDOW_UPDATE, 0, 3, &1_u32.to_be_bytes());
    client.write_all(&byte).await.expect("room");
    let begun = tokio::time::Instant::now();
    for (id, after) in [(1, WAITS.send / 2), (3, WAITS.send)] {
        let (head, payload) = until(&mut client, frame::RST_STREAM).await;
        assert_eq!((head.stream, code(&payload)), (id, Code::CANCEL.0));
        assert_eq!(begun.elapsed().as_secs(), after.as_secs() + 1);
    }
}
