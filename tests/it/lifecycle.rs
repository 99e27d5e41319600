//! Starting, limits of connections and waits, ending.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{plain_request, read_to_end, tls};
use crate::support::gateway::{Gateway, write_certificate};
use crate::support::process::free_port;
use crate::support::upstream::Reply;
use crate::support::{Bearward, Process, TestIssuer, Upstream, block_on, eventually};

fn issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

/// Whether the other side has ended the connection.
async fn ended(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 64];
    loop {
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
    }
}

#[test]
fn a_handshake_that_never_ends_is_ended() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let gateway = Bearward::usual(&main, &upstream)
        .limits("handshake_timeout = \"100ms\"")
        .start();
    block_on(async {
        let mut stream = TcpStream::connect(gateway.address())
            .await
            .expect("a connection");
        assert!(ended(&mut stream).await);
        let mut stream = TcpStream::connect(gateway.address())
            .await
            .expect("a connection");
        stream
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("room");
        assert!(ended(&mut stream).await);
        for (result, count) in [("timeout", 1.0), ("failed", 1.0)] {
            let series =
                format!("bearward_tls_handshakes_total{{listener=\"public\",result=\"{result}\"}}");
            assert_eq!(gateway.metric(&series).await, count, "{result}");
        }
    });
}

#[test]
fn slow_headers_and_idle_connections_are_ended() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let gateway = Bearward::usual(&main, &upstream)
        .limits("header_timeout = \"150ms\"\nidle_timeout = \"100ms\"")
        .start();
    block_on(async {
        let mut idle = tls(gateway.address(), "http/1.1").await;
        assert_eq!(idle.read(&mut [0; 8]).await.unwrap_or_default(), 0);
        let mut slow = tls(gateway.address(), "http/1.1").await;
        slow.write_all(b"GET /orders/1 HT").await.expect("room");
        slow.flush().await.expect("room");
        assert_eq!(slow.read(&mut [0; 8]).await.unwrap_or_default(), 0);
        let mut idle = tls(gateway.address(), "h2").await;
        let mut all = Vec::new();
        let _ = idle.read_to_end(&mut all).await;
        let slow = "bearward_protocol_errors_total{kind=\"timeout\",listener=\"public\"}";
        assert_eq!(gateway.metric(slow).await, 1.0);
    });
}

#[test]
fn connections_over_a_limit_are_refused_and_counted() {
    let (main, upstream) = (issuer(), Upstream::echo());
    for (limits, kind) in [
        ("connections = 2", "total"),
        ("connections_per_peer = 2", "per_peer"),
    ] {
        let gateway = Bearward::usual(&main, &upstream).limits(limits).start();
        block_on(async {
            let _one = tls(gateway.address(), "http/1.1").await;
            let two = tls(gateway.address(), "http/1.1").await;
            let mut three = TcpStream::connect(gateway.address())
                .await
                .expect("a connection");
            assert!(ended(&mut three).await);
            let series = format!(
                "bearward_connections_refused_total{{kind=\"{kind}\",listener=\"public\"}}"
            );
            assert_eq!(gateway.metric(&series).await, 1.0);
            // A place that is given back can be taken again.
            drop(two);
            let open = "bearward_connections{listener=\"public\"}";
            while gateway.metric(open).await > 1.0 {
                tokio::task::yield_now().await;
            }
            let _three = tls(gateway.address(), "http/1.1").await;
        });
    }
}

#[test]
fn clear_text_listeners_take_one_protocol() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let gateway = Bearward::usual(&main, &upstream)
        .table("[listeners.plain]\naddress = \"127.0.0.1:0\"\nclear_text = true")
        .start();
    let address = gateway.listener("plain").expect("the listener");
    block_on(async {
        let answer = plain_request(
            address,
            "GET",
            "/orders/1",
            Some(&main.token().sign()),
            None,
        )
        .await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains("x-forwarded-proto: http\r\n"));
    });
}

#[test]
fn sigterm_finishes_what_runs_and_flushes_the_audit() {
    let main = issuer();
    // The upstream answers when the test says so.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free_port();
    let gateway =
        Bearward::usual_at(&main, listener.local_addr().expect("an address")).at_port(port);
    let (mut process, _folder) = Process::start(gateway);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let answer = std::thread::spawn(move || {
        block_on(async move {
            let token = main.token_now().sign();
            crate::support::Client::http1(address)
                .get("/orders/1", &token)
                .await
        })
    });
    let (mut upstream, _) = listener.accept().expect("the request");
    process.signal("HUP");
    process.wait_for("the configuration was reloaded");
    process.signal("TERM");
    process.wait_for("shutting down");
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        .expect("room");
    let answer = answer.join().expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let status = process.child.wait().expect("an end");
    assert_eq!(status.code(), Some(0));
    let mut lines = String::new();
    let mut out = process.child.stdout.take().expect("a pipe");
    std::io::Read::read_to_string(&mut out, &mut lines).expect("UTF-8");
    assert!(lines.contains("\"outcome\":\"allow\""), "{lines}");
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_log_and_an_audit_that_nobody_reads_stop_nobody() {
    let (main, upstream) = (issuer(), Upstream::echo());
    // The library that speaks HTTP/2 to servers tells of every frame.
    let server = Bearward::new()
        .trusting("main", &main, "")
        .upstream("orders", upstream.address, "")
        .table("[routes.open]\npath = \"/orders/{*rest}\"\nupstream = \"orders\"\nauth = \"none\"")
        .table("[listeners.h2]\naddress = \"127.0.0.1:0\"\nclear_text = true\nprotocols = [\"h2\"]")
        .start();
    let server_address = server.listener("h2").expect("an address");
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .upstream("orders", server_address, "protocol = \"h2\"")
        .table(crate::support::gateway::ORDERS)
        .table("[log]\nlevel = \"trace\"");
    let (mut process, _folder) = Process::start(gateway);
    let token = main.token_now().sign();
    let client = crate::support::Client::http2(process.public);
    let lost = async || {
        let page = plain_request(process.admin, "GET", "/metrics", None, None).await;
        let text = page.text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("bearward_log_lines_dropped_total "));
        line.expect("a line") != "0"
    };
    block_on(async {
        // Nobody reads standard error from here on, nor has standard output been read.
        let mut answers = 0;
        while !lost().await {
            assert_eq!(client.get("/orders/1", &token).await.status, 200);
            answers += 1;
            assert!(answers < 20_000, "no line was lost");
        }
        assert_eq!(client.get("/orders/1", &token).await.status, 200);
    });
    process.signal("TERM");
    block_on(eventually(
        "its end",
        async || matches!(process.child.try_wait(), Ok(Some(status)) if status.success()),
    ));
}

#[test]
fn a_command_drains_it() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let (mut process, folder) = Process::start(Bearward::usual(&main, &upstream));
    let drain = |process: &Process| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
        command.args(["drain", "--config"]);
        command.arg(folder.path().join("bearward.toml"));
        command.args(["--admin", &format!("http://{}", process.admin)]);
        command.output().expect("it runs").status.code()
    };
    assert_eq!(drain(&process), Some(0));
    block_on(eventually(
        "its end",
        async || matches!(process.child.try_wait(), Ok(Some(status)) if status.success()),
    ));
    process.wait_for("all connections came to their end");
    assert_eq!(drain(&process), Some(69), "nobody is there");
}

#[test]
fn a_second_gateway_on_the_same_port_does_not_start() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let port = free_port();
    let (_first, folder) = Process::start(Bearward::usual(&main, &upstream).at_port(port));
    let first = std::fs::read_to_string(folder.path().join("bearward.toml")).expect("a file");
    let second = first.replace("[server]", "[server]\nstate_dir = \"other\"");
    std::fs::write(folder.path().join("second.toml"), second).expect("a file");
    let second = Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(["run", "--config"])
        .arg(folder.path().join("second.toml"))
        .output()
        .expect("it runs");
    assert_eq!(second.status.code(), Some(71));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("cannot listen on"), "{said}");
}

#[test]
fn a_drain_ends_idle_connections_and_answers_the_last_requests() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let gateway = Bearward::usual(&main, &upstream).start();
    let address = gateway.address();
    let request = format!(
        "GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {}\r\n\r\n",
        main.token().sign()
    );
    block_on(async {
        let mut used = tls(address, "http/1.1").await;
        used.write_all(request.as_bytes()).await.expect("room");
        let mut answer = [0; 15];
        used.read_exact(&mut answer).await.expect("an answer");
        let _unused = tls(address, "h2").await;
        // Its request is still on its way when the drain begins.
        let mut late = tls(address, "http/1.1").await;
        let drain = tokio::task::spawn_blocking(move || gateway.drain());
        eventually("the end of accepting", async || {
            TcpStream::connect(address).await.is_err()
        })
        .await;
        for stream in [&mut used, &mut late] {
            stream.write_all(request.as_bytes()).await.expect("room");
        }
        for mut stream in [used, late] {
            let answers = read_to_end(&mut stream).await;
            let (_, last) = answers.rsplit_once("HTTP/1.1 200 OK").expect("an answer");
            assert!(last.contains("connection: close"), "{answers}");
        }
        assert_eq!(drain.await.expect("an end"), 0, "nothing had to be cut");
    });
}

#[test]
fn a_drain_ends_at_its_limit() {
    let main = issuer();
    let hangs = Upstream::replying(Reply::Hang);
    let gateway = Bearward::usual(&main, &hangs).start();
    let address = gateway.address();
    let token = main.token().sign();
    let request = format!(
        "GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    let client = std::thread::spawn(move || {
        block_on(async move { crate::support::client::raw(address, request.as_bytes()).await })
    });
    while hangs.seen().is_empty() {
        std::thread::yield_now();
    }
    let started = std::time::Instant::now();
    let lines = gateway.stop();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "drain_timeout is two seconds"
    );
    assert_eq!(lines.len(), 1, "what was cut is written too");
    assert_eq!(client.join().expect("an end"), "");
}

/// The certificate that a new connection is served.
async fn certificate(gateway: &Gateway) -> Vec<u8> {
    let stream = tls(gateway.address(), "http/1.1").await;
    let chain = stream.get_ref().1.peer_certificates();
    chain.expect("a chain")[0].to_vec()
}

#[test]
fn certificates_are_taken_anew_when_their_files_change() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let gateway = Bearward::usual(&main, &upstream).start();
    let folder = gateway.folder();
    let token = main.token().sign();
    block_on(async {
        let first = certificate(&gateway).await;
        let mut kept = gateway.http1().keep().await;
        assert_eq!(kept.get("/orders/1", &token).await.0, 200);
        write_certificate(&folder, "tls", &["localhost", "api.test"]);
        eventually("the new one", async || certificate(&gateway).await != first).await;
        let second = certificate(&gateway).await;
        assert_eq!(
            kept.get("/orders/1", &token).await.0,
            200,
            "open connections go on"
        );
        // A key that does not fit, and a chain that is none, leave it as it is.
        let good = std::fs::read(folder.join("tls.crt")).expect("a file");
        write_certificate(&folder, "other", &["localhost"]);
        std::fs::copy(folder.join("other.crt"), folder.join("tls.crt")).expect("a file");
        std::fs::write(folder.join("other.key"), "nothing").expect("a file");
        let later = async || gateway.http2().get("/orders/1", &token).await;
        for _ in 0..20 {
            assert_eq!(certificate(&gateway).await, second);
            assert_eq!(later().await.status, 200);
        }
        std::fs::write(folder.join("tls.crt"), good).expect("a file");
        write_certificate(&folder, "tls", &["localhost", "api.test", "more.test"]);
        eventually("the third", async || certificate(&gateway).await != second).await;
        assert_eq!(later().await.status, 200);
    });
}
