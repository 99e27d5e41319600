//! How a connection ends, and that nobody loses what was sent to it.

use super::*;

#[tokio::test]
async fn a_body_that_nobody_reads_ends_the_connection() {
    let unwanted = |_| async { Response::new(Body::Empty) };
    let (mut client, serving) = served(unwanted, never());
    let text = b"POST / HTTP/1.1\r\ncontent-length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n";
    client.write_all(text).await.expect("room");
    let answers = rest(&mut client).await;
    assert_eq!(
        answers,
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    // What it goes on to send is taken, until it has read that and ends.
    client.write_all(b"more").await.expect("room");
    assert!(!serving.is_finished());
    drop(client);
    assert_eq!(serving.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn nobody_is_answered_who_has_left() {
    struct Dropped(Arc<(AtomicBool, Notify)>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.0.store(true, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new((AtomicBool::new(false), Notify::new()));
    let shared = Arc::clone(&dropped);
    let answer = move |_| {
        let guard = Dropped(Arc::clone(&shared));
        async move {
            guard.0.1.notify_one();
            std::future::pending::<()>().await;
            drop(guard);
            Response::new(Body::Empty)
        }
    };
    // The beginning of another request does not hide it.
    for text in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\nG"] {
        dropped.0.store(false, Ordering::Relaxed);
        let (mut client, serving) = served(answer.clone(), never());
        client.write_all(text.as_bytes()).await.expect("room");
        dropped.1.notified().await;
        drop(client);
        let outcome = serving.await.expect("no panic");
        assert_eq!(outcome, Err(ProtocolError::Disconnect));
        assert!(dropped.0.load(Ordering::Relaxed));
    }
}

#[tokio::test]
async fn a_connection_ends_when_it_is_told_to() {
    // While it waits.
    let told = Arc::new(Notify::new());
    let telling = Arc::clone(&told);
    let drained = async move {
        telling.notified().await;
        Farewell::Gracefully
    };
    let (mut client, serving) = served(echo, drained);
    client
        .write_all(b"GET /1 HTTP/1.1\r\n\r\n")
        .await
        .expect("room");
    let mut byte = [0; 1];
    client.read_exact(&mut byte).await.expect("an answer");
    told.notify_one();
    let rest = all(&mut client).await;
    assert!(rest.ends_with("GET /1 Ok(b\"\")"), "{rest}");
    assert_eq!(serving.await.expect("no panic"), Ok(()));

    // While a request is answered: the answer says so.
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (beginning, going_on) = (Arc::clone(&begun), Arc::clone(&go_on));
    let answer = move |_| {
        let (beginning, going_on) = (Arc::clone(&beginning), Arc::clone(&going_on));
        async move {
            beginning.notify_one();
            going_on.notified().await;
            Response::new(Body::Empty)
        }
    };
    let drained = async move {
        begun.notified().await;
        go_on.notify_one();
        Farewell::Gracefully
    };
    let (mut client, serving) = served(answer, drained);
    client
        .write_all(b"GET /1 HTTP/1.1\r\n\r\n")
        .await
        .expect("room");
    let answer = all(&mut client).await;
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(serving.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn the_end_of_the_last_response_arrives_though_its_client_goes_on_to_talk() {
    const LENGTH: usize = 400 * 1024;
    let answer = |_| async { Response::new(Body::Fixed(vec![b'v'; LENGTH].into())) };
    let (mut client, server) = narrow().await;
    let timed = Timed::new(server, WAITS, false, Arc::new(Activity::default()));
    let service = Service::naming(answer);
    let serving = tokio::spawn(async move { serve(timed, LIMITS, service, never()).await });
    let last = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
    client.write_all(last).await.expect("room");
    let mut read = 0;
    let mut place = [0; 4096];
    loop {
        let count = client.read(&mut place).await.expect("no reset");
        if count == 0 {
            break;
        }
        read += count;
        client.write_all(b"\r\n").await.expect("no reset");
    }
    assert!(read > LENGTH, "{read}");
    drop(client);
    assert_eq!(serving.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn what_is_no_request_gets_a_status_and_an_end() {
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000));
    let large = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(10_000));
    for (text, status, why) in [
        ("nonsense\r\n\r\n", "400 Bad Request", "Syntax(RequestLine)"),
        (
            "GET /a#b HTTP/1.1\r\n\r\n",
            "400 Bad Request",
            "Syntax(Target)",
        ),
        (
            &large,
            "431 Request Header Fields Too Large",
            "HeadersTooLarge",
        ),
        (
            &long,
            "431 Request Header Fields Too Large",
            "HeadersTooLarge",
        ),
    ] {
        let (mut client, serving) = served(echo, never());
        client.write_all(text.as_bytes()).await.expect("room");
        let answer = all(&mut client).await;
        assert_eq!(
            answer,
            format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{why}",
                why.len()
            )
        );
        let outcome = serving.await.expect("no panic");
        assert_eq!(outcome, Err(ProtocolError::Parse));
    }
    // Half of one.
    let (mut client, serving) = served(echo, never());
    client
        .write_all(b"GET / HTTP/1.1\r\nhost")
        .await
        .expect("room");
    drop(client);
    let outcome = serving.await.expect("no panic");
    assert_eq!(outcome, Err(ProtocolError::Disconnect));
}
