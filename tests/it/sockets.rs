//! Listeners on sockets in the file system, and on those that systemd passes.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::gateway::ORDERS;
use crate::support::{Bearward, Client, Process, TestIssuer, Upstream, block_on};

fn issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

/// All that comes back on a socket in the file system.
async fn exchange(path: &Path, begin: &str, token: &str) -> String {
    let mut stream = UnixStream::connect(path).await.expect("a connection");
    let request = format!(
        "{begin}GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("room");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    answer
}

#[test]
fn requests_come_by_a_path_and_so_do_commands() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let folder = Bearward::usual(&main, &upstream)
        .table("[listeners.proxied]\naddress = \"unix:proxied.sock\"\nclear_text = true\nproxy_protocol = \"required\"")
        .table("[listeners.local]\naddress = \"unix:api.sock\"\nclear_text = true")
        .into_files();
    let path = folder.path().join("bearward.toml");
    let text = std::fs::read_to_string(&path).expect("a file");
    let admin = "[admin]\naddress = \"127.0.0.1:0\"";
    assert!(text.contains(admin), "{text}");
    let text = text.replace(admin, "[admin]\naddress = \"unix:admin.sock\"");
    std::fs::write(&path, text).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
    command.args(["run", "--config"]).arg(&path);
    let mut process = Process::without_admin(command);
    let token = main.token_now().sign();
    block_on(async {
        let answer = exchange(&folder.path().join("api.sock"), "", &token).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("x-forwarded-for: 127.0.0.1"), "{answer}");
        let from = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n";
        let answer = exchange(&folder.path().join("proxied.sock"), from, &token).await;
        assert!(answer.contains("x-forwarded-for: 192.0.2.7"), "{answer}");
        let answer = exchange(&folder.path().join("api.sock"), "", "x").await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    });
    let bearward = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
        let out = command.args(arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        (out.status.code(), said)
    };
    let config = path.to_str().expect("text");
    let (code, said) = bearward(&["revocations", "list", "--config", config]);
    assert_eq!(code, Some(0), "{said}");
    process.signal("TERM");
    assert!(process.child.wait().expect("an end").success());
    let (code, said) = bearward(&["revocations", "list", "--config", config]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("admin.sock"), "{said}");
    // What it leaves there is in nobody's way.
    let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
    command.args(["run", "--config"]).arg(&path);
    let _again = Process::without_admin(command);
    let answer = block_on(exchange(&folder.path().join("api.sock"), "", &token));
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

/// A gateway that gets a socket as systemd passes it.
fn activated(config: PathBuf, socket: TcpListener, name: &str) -> Command {
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=$0 exec \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, name, env!("CARGO_BIN_EXE_bearward")])
        .args(["run", "--config"])
        .arg(config)
        .stdin(OwnedFd::from(socket));
    command
}

/// A configuration whose public listener is the socket `api` of systemd.
fn by_systemd(main: &TestIssuer, upstream: &Upstream) -> tempfile::TempDir {
    let folder = Bearward::new()
        .trusting("main", main, "")
        .upstream("orders", upstream.address, "")
        .table(ORDERS)
        .into_files();
    let path = folder.path().join("bearward.toml");
    let text = std::fs::read_to_string(&path).expect("a file");
    let public = "[listeners.public]\naddress = \"127.0.0.1:0\"";
    assert!(text.contains(public), "{text}");
    let text = text.replace(public, "[listeners.public]\naddress = \"systemd:api\"");
    std::fs::write(&path, text).expect("a file");
    folder
}

#[test]
fn a_restart_by_systemd_loses_no_connection() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let folder = by_systemd(&main, &upstream);
    let config = folder.path().join("bearward.toml");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address: SocketAddr = socket.local_addr().expect("an address");
    let again = |socket: &TcpListener| socket.try_clone().expect("a descriptor");
    let mut first = Process::of(activated(config.clone(), again(&socket), "api"));
    assert_eq!(first.public, address);
    let token = main.token_now().sign();
    let get = async || Client::http1(address).get("/orders/1", &token).await.status;
    block_on(async {
        assert_eq!(get().await, 200);
        first.signal("TERM");
        assert!(first.child.wait().expect("an end").success());
        // Nobody runs: the system keeps the connection until somebody does.
        let asked = std::thread::spawn({
            let token = token.clone();
            move || block_on(async { Client::http1(address).get("/orders/1", &token).await.status })
        });
        let _second = Process::of(activated(config, again(&socket), "api"));
        assert_eq!(asked.join().expect("an answer"), 200);
    });
}

#[test]
fn a_socket_of_another_name_is_not_taken() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let folder = by_systemd(&main, &upstream);
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut command = activated(folder.path().join("bearward.toml"), socket, "other");
    let out = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(71), "{said}");
    assert!(
        said.contains(
            "`public` cannot listen on systemd:api: systemd has passed no socket of that name, but systemd:other"
        ),
        "{said}"
    );
}
