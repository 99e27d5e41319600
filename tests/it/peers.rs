//! Beside real programs: nginx and HAProxy behind the gateway; curl, h2load, nghttp and Python's libraries
//! before it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::gateway::{Gateway, ORDERS, write_certificate};
use crate::support::node::Script;
use crate::support::process::free_port;
use crate::support::program::{find, missing};
use crate::support::{Bearward, TestIssuer, Upstream, block_on, eventually};

fn issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

/// A program that runs until the test is over.
struct Running(Child);

impl Running {
    /// Starts it, and waits until it listens on a port.
    fn start(command: &mut Command, port: u16) -> Self {
        let running = Self(command.stdout(Stdio::null()).spawn().expect("it starts"));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listens = async || tokio::net::TcpStream::connect(address).await.is_ok();
        block_on(eventually("its port", listens));
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its workers end with it.
        crate::support::program::signal(self.0.id(), "TERM");
        let _ = self.0.wait();
    }
}

/// nginx with the files below `orders` of a folder: in clear text, and over TLS with HTTP/2.
fn nginx(program: &Path, folder: &Path, ports: [u16; 2]) -> Running {
    write_certificate(folder, "tls", &["localhost"]);
    std::fs::create_dir_all(folder.join("orders")).expect("a folder");
    let [plain, tls] = ports;
    let at = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {at}/{what};\n"))
        .concat();
    let text = format!(
        r#"
user root;
daemon off;
worker_processes 2;
pid {at}/pid;
error_log {at}/error.log;
events {{}}
http {{
    access_log off;
    {temporary}
    keepalive_requests 50;
    default_type text/plain;
    if_modified_since before;
    root {at};
    server {{
        listen 127.0.0.1:{plain};
        location = /orders/who {{ return 200 "$http_x_auth_subject by $server_protocol"; }}
    }}
    server {{
        listen 127.0.0.1:{tls} ssl http2;
        ssl_certificate {at}/tls.crt;
        ssl_certificate_key {at}/tls.key;
        location = /orders/who {{ return 200 "$http_x_auth_subject by $server_protocol"; }}
    }}
}}
"#
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, text).expect("a file");
    let mut command = Command::new(program);
    command
        .arg("-e")
        .arg(folder.join("error.log"))
        .arg("-c")
        .arg(path);
    Running::start(command.stderr(Stdio::null()), plain)
}

/// What curl gets: the status, and the body.
fn curl(gateway: &Gateway, token: &str, arguments: &[&str], path: &str) -> (String, Vec<u8>) {
    let out = Command::new("curl")
        .args(["-sk", "-w", "\n%{http_version} %{http_code}", "-H"])
        .arg(format!("authorization: Bearer {token}"))
        .args(arguments)
        .arg(format!(
            "https://localhost:{}{path}",
            gateway.address().port()
        ))
        .output()
        .expect("curl runs");
    let mut body = out.stdout;
    let end = body
        .iter()
        .rposition(|byte| *byte == b'\n')
        .expect("a line");
    let told = String::from_utf8(body.split_off(end)).expect("text");
    (told.trim().to_owned(), body)
}

#[test]
fn nginx_behind_and_its_clients_before() {
    const TEST: &str = "nginx behind the gateway";
    let programs = ["curl", "h2load", "nghttp"].map(|name| find(TEST, name));
    let (Some(program), [Some(_), Some(h2load), Some(nghttp)]) = (find(TEST, "nginx"), programs)
    else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let ports = [free_port(), free_port()];
    let server = nginx(&program, folder.path(), ports);
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    std::fs::write(folder.path().join("orders/large"), &large).expect("a file");
    std::fs::write(folder.path().join("orders/small"), "small").expect("a file");
    let main = issuer();
    let ca = folder.path().join("tls.crt");
    let ca = format!("[upstreams.orders.tls]\nca = \"{}\"\n", ca.display());
    for (server, more, spoken) in [
        (format!("http://127.0.0.1:{}", ports[0]), "", "HTTP/1.1"),
        (
            format!("https://localhost:{}", ports[1]),
            "protocol = \"auto\"\n",
            "HTTP/2.0",
        ),
        (
            format!("https://localhost:{}", ports[1]),
            "protocol = \"http/1.1\"\n",
            "HTTP/1.1",
        ),
    ] {
        let tls = if server.starts_with("https") {
            ca.as_str()
        } else {
            ""
        };
        let gateway = Bearward::new()
            .trusting("main", &main, "")
            .upstream_of("orders", &[server.as_str()], &format!("{more}{tls}"))
            .table(ORDERS)
            .start_now();
        let token = main.token_now().sign();
        for version in ["--http1.1", "--http2"] {
            let spoken_here = if version == "--http2" { "2" } else { "1.1" };
            let get = |arguments: &[&str], path: &str| {
                let arguments = [&[version], arguments].concat();
                curl(&gateway, &token, &arguments, path)
            };
            let told = |status: &str| format!("{spoken_here} {status}");
            // Compared by hand: nobody wants to read them.
            let (status, whole) = get(&[], "/orders/large");
            assert_eq!(status, told("200"));
            assert!(whole == large, "{} bytes came", whole.len());
            let (status, who) = get(&[], "/orders/who");
            assert_eq!(status, told("200"));
            assert_eq!(String::from_utf8_lossy(&who), format!("alice by {spoken}"));
            let (status, part) = get(&["-r", "1000-1999"], "/orders/large");
            assert_eq!(status, told("206"));
            assert!(part == large[1000..2000]);
            let newer = ["-H", "if-modified-since: Fri, 01 Jan 2100 00:00:00 GMT"];
            let (status, nothing) = get(&newer, "/orders/large");
            assert_eq!((status, nothing.len()), (told("304"), 0));
            assert_eq!(
                get(&["-I", "-o", "/dev/null"], "/orders/large").0,
                told("200")
            );
            assert_eq!(get(&[], "/orders/none").0, told("404"));
        }
        let url = format!(
            "https://localhost:{}/orders/small",
            gateway.address().port()
        );
        let bearer = format!("authorization: Bearer {token}");
        for protocol in [&["--h1"][..], &["-m", "10"]] {
            let out = Command::new(&h2load)
                .args(["-n", "2000", "-c", "10", "-H", &bearer])
                .args(protocol)
                .arg(&url)
                .output()
                .expect("h2load runs");
            let said = String::from_utf8_lossy(&out.stdout).into_owned();
            assert!(said.contains("2000 succeeded, 0 failed"), "{said}");
            assert!(said.contains("2000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{said}");
        }
        let out = Command::new(&nghttp)
            .args(["-y", "-H", &bearer, &url])
            .output()
            .expect("nghttp runs");
        assert_eq!(String::from_utf8_lossy(&out.stdout), "small");
    }
    // It is reloaded, and closes kept connections every 50 requests: no request is lost by that.
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .upstream_of("orders", &[&format!("http://127.0.0.1:{}", ports[0])], "")
        .table(ORDERS)
        .start();
    let token = main.token().sign();
    block_on(async {
        let mut kept = gateway.http1().keep().await;
        for n in 0..500 {
            if n % 100 == 50 {
                crate::support::program::signal(server.0.id(), "HUP");
            }
            let (status, body) = kept.get("/orders/small", &token).await;
            assert_eq!((status, &body[..]), (200, &b"small"[..]), "request {n}");
        }
    });
}

#[test]
fn haproxy_behind() {
    let Some(program) = find("HAProxy behind the gateway", "haproxy") else {
        return;
    };
    let (main, behind) = (issuer(), Upstream::echo());
    let folder = tempfile::tempdir().expect("a folder");
    let ports = [free_port(), free_port()];
    let text = format!(
        r#"
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
listen old
    bind 127.0.0.1:{}
    server orders {behind}
listen new
    bind 127.0.0.1:{} proto h2
    server orders {behind}
"#,
        ports[0],
        ports[1],
        behind = behind.address
    );
    let path = folder.path().join("haproxy.cfg");
    std::fs::write(&path, text).expect("a file");
    let mut command = Command::new(program);
    let _server = Running::start(command.arg("-db").arg("-f").arg(path), ports[1]);
    for (port, protocol) in [(ports[0], "http/1.1"), (ports[1], "h2")] {
        let gateway = Bearward::new()
            .trusting("main", &main, "")
            .upstream_of(
                "orders",
                &[&format!("http://127.0.0.1:{port}")],
                &format!("protocol = \"{protocol}\""),
            )
            .table(ORDERS)
            .start();
        let token = main
            .token()
            .with("scope", "orders:read orders:write")
            .sign();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        block_on(async {
            for client in [gateway.http1(), gateway.http2()] {
                let answer = client.send("POST", "/orders/1", &headers, "the body").await;
                assert_eq!(answer.status, 200, "{protocol}");
                let seen = answer.text();
                assert!(seen.starts_with("POST /orders/1 HTTP/1.1\r\n"), "{seen}");
                assert!(seen.contains("x-auth-subject: alice\r\n"), "{seen}");
                assert!(seen.ends_with("the body"), "{seen}");
                assert_eq!(client.get("/orders/1", "x").await.status, 401);
            }
        });
    }
}

#[test]
fn python_on_both_sides() {
    const TEST: &str = "Python's websockets and grpcio";
    let Some(python) = find(TEST, "python3") else {
        return;
    };
    // The system's own has the system's packages.
    let python = ["/usr/bin/python3".into(), python];
    let has = |python: &std::path::PathBuf| {
        let mut command = Command::new(python);
        let imports = command.args(["-c", "import grpc.aio, websockets"]);
        imports
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|it| it.success())
    };
    let Some(python) = python.into_iter().find(has) else {
        return missing(TEST, "a python3 with websockets and grpcio");
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/peers.py");
    let mut script = Script::start(Command::new(python).arg(script));
    let ports = script.line();
    let (socket, calls) = ports.split_once(' ').expect("two ports");
    let main = issuer();
    let at = |port: &str| format!("http://127.0.0.1:{port}");
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .upstream_of("orders", &[&at(socket)], "")
        .upstream_of("calls", &[&at(calls)], "protocol = \"h2\"")
        .table(ORDERS)
        .table("[routes.calls]\npath = \"/orders.Orders/{*rest}\"\nupstream = \"calls\"\nissuers = [\"main\"]\nidentity = { \"x-auth-subject\" = \"sub\" }")
        .table("[listeners.plain]\naddress = \"127.0.0.1:0\"\nclear_text = true")
        .table("[listeners.plain2]\naddress = \"127.0.0.1:0\"\nclear_text = true\nprotocols = [\"h2\"]")
        .start();
    let token = main.token().sign();
    let place = |name: &str| gateway.listener(name).expect("a listener");
    script.does(&format!(
        "websocket ws://{}/orders/1 {token}",
        place("plain")
    ));
    script.does(&format!("grpc {} {token}", place("plain2")));
}
