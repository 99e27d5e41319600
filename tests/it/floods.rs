//! Floods, and ten thousand connections that do next to nothing: others are served, and what they took is
//! given back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::support::client::plain_request;
use crate::support::frames::{self, Connection, frame};
use crate::support::{
    Bearward, Client, Process, TestIssuer, Upstream, block_on, eventually, own_runtime,
};

/// A flood goes on for so long, unless the gateway ends its connections before.
const FLOOD: Duration = Duration::from_millis(700);
/// Connections of one flood.
const FLOODING: usize = 8;
/// What a good client waits at the most.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that do next to nothing.
const SLOW: usize = 10_000;
/// What may stay for longer: tables that have grown, pages of the allocator that are in use for something else.
const KEPT_KIB: u64 = 24 * 1024;

/// An answer that is larger than what lies in buffers.
const LARGE: usize = 256 * 1024;

struct Setting {
    process: Process,
    _folder: tempfile::TempDir,
    _upstream: Upstream,
    /// In clear text: HTTP/2, and HTTP/1.1.
    http2: SocketAddr,
    http1: SocketAddr,
    token: String,
}

/// An upstream whose answers are larger than what lies in buffers.
fn large_answers() -> Upstream {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
    Upstream::bytes(&[head.into_bytes(), vec![b'x'; LARGE]].concat())
}

fn setting() -> Setting {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = large_answers();
    let ports = [(); 2].map(|()| crate::support::process::free_port());
    let limits = "connections = 15000\nconnections_per_peer = 15000";
    let listener = |name: &str, port: u16, protocol: &str| {
        format!(
            "[listeners.{name}]\naddress = \"127.0.0.1:{port}\"\nclear_text = true\nprotocols = [\"{protocol}\"]\n[listeners.{name}.limits]\n{limits}\n"
        )
    };
    let gateway = Bearward::usual(&main, &upstream)
        .limits(limits)
        .table(&listener("http2", ports[0], "h2"))
        .table(&listener("http1", ports[1], "http/1.1"));
    let folder = gateway.into_files();
    let path = folder.path().join("bearward.toml");
    let text = std::fs::read_to_string(&path).expect("a file");
    let text = text.replace("[audit]", "[audit]\noutput = \"off\"");
    std::fs::write(&path, text).expect("a file");
    let [http2, http1] = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    Setting {
        process: Process::start_in(folder.path()),
        _folder: folder,
        _upstream: upstream,
        http2,
        http1,
        token: main.token_now().sign(),
    }
}

impl Setting {
    /// Descriptors and resident KiB.
    fn cost(&self) -> (usize, u64) {
        crate::support::process::cost(self.process.child.id())
    }

    /// One good request on a connection of its own. Gives how long it took.
    async fn good(&self) -> Duration {
        let begun = Instant::now();
        let asking = async {
            let answer = Client::http2(self.process.public)
                .get("/orders/1", &self.token)
                .await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.body.len(), LARGE);
        };
        timeout(PATIENCE, asking).await.expect("an answer in time");
        begun.elapsed()
    }

    async fn metric(&self, series: &str) -> f64 {
        let page = plain_request(self.process.admin, "GET", "/metrics", None, None).await;
        let page = page.text();
        let line = page.lines().find_map(|line| line.strip_prefix(series));
        line.expect("a series").trim().parse().expect("a number")
    }
}

/// What one connection of a flood sends: again and again, unless it is `None`, after which it waits.
type Piece = Box<dyn FnMut(u32) -> Option<Vec<u8>> + Send>;

/// One connection of a flood, which reads nothing, or all that comes.
async fn flood(
    address: SocketAddr,
    settings: &[(u16, u32)],
    mut piece: Piece,
    mut over: watch::Receiver<bool>,
) {
    let mut connection = Connection::open(address, settings).await;
    for n in 0.. {
        if *over.borrow() {
            return;
        }
        let Some(bytes) = piece(n) else { break };
        // A gateway that takes no more has stopped it.
        match timeout(FLOOD, connection.send(&bytes)).await {
            Ok(true) => {}
            Ok(false) | Err(_) => break,
        }
    }
    let _ = over.wait_for(|over| *over).await;
}

/// Its name, the settings of its connections, and what they send.
type Flood = (&'static str, Vec<(u16, u32)>, fn(String) -> Piece);

fn floods() -> Vec<Flood> {
    use frames::*;
    let usual: Vec<(u16, u32)> = Vec::new();
    vec![
        ("rapid reset", usual.clone(), |token| {
            let bearer = format!("Bearer {token}");
            Box::new(move |n| {
                let id = 2 * n + 1;
                let head = get("/orders/1", &[("authorization", &bearer)]);
                let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, id, &head);
                bytes.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
                Some(bytes)
            })
        }),
        ("continuation", usual.clone(), |_| {
            Box::new(|n| match n {
                0 => Some(frame(HEADERS, 0, 1, &get("/orders/1", &[]))),
                _ => Some(frame(
                    CONTINUATION,
                    0,
                    1,
                    &literal("x-more", &"y".repeat(1000)),
                )),
            })
        }),
        ("settings", usual.clone(), |_| {
            Box::new(|_| Some(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(50)))
        }),
        ("ping", usual.clone(), |_| {
            Box::new(|_| Some(frame(PING, 0, 0, b"01234567").repeat(50)))
        }),
        ("empty data", usual.clone(), |token| {
            let bearer = format!("Bearer {token}");
            Box::new(move |n| match n {
                0 => Some(frame(
                    HEADERS,
                    END_HEADERS,
                    1,
                    &request("POST", "/orders/1", &[("authorization", &bearer)]),
                )),
                _ => Some(frame(DATA, 0, 1, b"").repeat(50)),
            })
        }),
        ("priority", usual.clone(), |_| {
            Box::new(|n| Some(frame(PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 9]).repeat(50)))
        }),
        ("compressed headers", usual, |_| {
            // A field of 4000 bytes goes into the table (RFC 7541 section 6.2.1), and is named 16,000 times.
            Box::new(|n| {
                let mut block = get("/orders/1", &[]);
                if n == 0 {
                    block.push(0x40);
                    block.extend(&literal("x-bomb", &"z".repeat(3900))[1..]);
                }
                block.extend([0xbe].repeat(16_000 - block.len()));
                Some(frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block))
            })
        }),
        ("no window", vec![(4, 0)], |_| {
            Box::new(move |n| {
                let head = get("/orders/1", &[("authorization", "Bearer x")]);
                (n < 190).then(|| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head))
            })
        }),
        ("window by bytes", vec![(4, 0)], |token| {
            let bearer = format!("Bearer {token}");
            Box::new(move |n| {
                let head = get("/orders/1", &[("authorization", &bearer)]);
                Some(match n {
                    0..20 => frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head),
                    _ => frame(WINDOW_UPDATE, 0, 2 * (n % 20) + 1, &1_u32.to_be_bytes()).repeat(50),
                })
            })
        }),
    ]
}

#[test]
fn others_are_served_during_each_flood_and_what_it_took_is_given_back() {
    let setting = setting();
    let runtime = own_runtime();
    block_on(async {
        // What is reached once is kept.
        for _ in 0..20 {
            setting.good().await;
        }
        for (name, settings, piece) in floods() {
            let before = setting.cost();
            let (over, is_over) = watch::channel(false);
            let mut flooding = JoinSet::new();
            for _ in 0..FLOODING {
                let (settings, piece) = (settings.clone(), piece(setting.token.clone()));
                let (address, over) = (setting.http2, is_over.clone());
                let one = async move { flood(address, &settings, piece, over).await };
                flooding.spawn_on(one, runtime.handle());
            }
            let until = Instant::now() + FLOOD;
            let (mut worst, mut most) = (Duration::ZERO, 0);
            while Instant::now() < until {
                worst = worst.max(setting.good().await);
                most = most.max(setting.cost().1);
            }
            over.send_replace(true);
            while let Some(one) = flooding.join_next().await {
                one.expect("no failure");
            }
            eventually("the descriptors of before", async || {
                setting.cost().0 <= before.0
            })
            .await;
            let after = setting.cost().1;
            println!(
                "{name}: a good request took {worst:?} at the most; resident {} KiB, {most} at the most, then {after}",
                before.1
            );
            assert!(
                after < before.1 + KEPT_KIB,
                "{name}: {} KiB, then {after}",
                before.1
            );
        }
    });
}

#[test]
fn streams_whose_client_takes_nothing_give_back_their_connections() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = large_answers();
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .upstream("orders", upstream.address, "connections = 20")
        .table(crate::support::gateway::ORDERS)
        .table("[listeners.h2]\naddress = \"127.0.0.1:0\"\nclear_text = true\nprotocols = [\"h2\"]\nlimits = { send_timeout = \"500ms\", idle_timeout = \"1s\" }")
        .start();
    let bearer = format!("Bearer {}", main.token().sign());
    let address = gateway.listener("h2").expect("an address");
    block_on(async {
        let mut holds = Connection::open(address, &[(4, 0)]).await;
        let head = frames::get("/orders/1", &[("authorization", &bearer)]);
        let flags = frames::END_HEADERS | frames::END_STREAM;
        for n in 0..20 {
            assert!(
                holds
                    .send(&frame(frames::HEADERS, flags, 2 * n + 1, &head))
                    .await
            );
        }
        let held = "bearward_upstream_connections{server=\"".to_owned()
            + &format!("{}\",upstream=\"orders\"}}", upstream.address);
        eventually("all connections in use", async || {
            gateway.metric(&held).await > 19.0
        })
        .await;
        let closed = "bearward_streams_closed_total{cause=\"stalled\"}";
        eventually("the end of all", async || gateway.metric(&held).await < 1.0).await;
        // They have said so, where their client comes to ask.
        assert!(
            holds
                .send(&frame(frames::WINDOW_UPDATE, 0, 1, &[0, 0, 0xff, 0xff]))
                .await
        );
        let reset = loop {
            let next = holds.next().await.expect("a frame");
            if next.kind == frames::RST_STREAM {
                break next;
            }
        };
        assert_eq!(reset.stream, 1);
        eventually("the count", async || gateway.metric(closed).await >= 1.0).await;
        // Nothing goes on by it, so that it comes to its end, with all that lies in it.
        let open = "bearward_connections{listener=\"h2\"}";
        eventually("its end", async || gateway.metric(open).await < 1.0).await;
        let answer = gateway
            .http2()
            .get("/orders/1", &bearer["Bearer ".len()..])
            .await;
        assert_eq!(answer.status, 200);
    });
}

#[test]
fn ten_thousand_slow_connections_keep_nobody_waiting() {
    let setting = setting();
    // Each costs this process a descriptor too.
    let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let maximum = allowed.maximum;
    let raised = rustix::process::Rlimit {
        current: maximum,
        maximum,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("a limit");
    let room = usize::try_from(maximum.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let count = SLOW.min(room.saturating_sub(1000) * 2 / 3);
    if count < SLOW {
        println!("only {count} connections: the limit of open files is {room}");
    }
    block_on(async {
        for _ in 0..20 {
            setting.good().await;
        }
        let before = setting.cost();
        let (with, worst) = slow_connections(&setting, count).await;
        let again = || async { setting.cost().0 <= before.0 };
        eventually("the descriptors of before", again).await;
        // The allocator gives back as it is used.
        let mut resident = 0;
        eventually("the memory of before", async || {
            setting.good().await;
            resident = setting.cost().1;
            resident < before.1 + KEPT_KIB
        })
        .await;
        println!(
            "{count} slow connections: a good request took {worst:?} at the most; resident {} KiB, {with} with them, {resident} after",
            before.1
        );
        assert!(
            with < before.1 + 64 * 1024 + 40 * count as u64,
            "{with} KiB"
        );
        let open = setting
            .metric("bearward_connections{listener=\"http1\"}")
            .await;
        assert!(open < 1.0, "{open}");
    });
}

/// Opens that many connections, which do next to nothing, while good requests are answered. Gives the
/// resident KiB with them, and the longest that a good request took.
async fn slow_connections(setting: &Setting, count: usize) -> (u64, Duration) {
    let mut slow = Vec::new();
    for n in 0..count {
        // A third begins a request, a third has sent none, a third has not even begun its handshake.
        let address = match n % 3 {
            0 | 1 => setting.http1,
            _ => setting.process.public,
        };
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        if n % 3 == 0 {
            let begin = b"GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nx-slow: ";
            stream.write_all(begin).await.expect("room");
        }
        slow.push(stream);
        if n % 1000 == 999 {
            setting.good().await;
        }
    }
    let mut worst = Duration::ZERO;
    for _ in 0..20 {
        worst = worst.max(setting.good().await);
    }
    // They send on, a byte at a time.
    for stream in slow.iter_mut().step_by(3) {
        let _ = stream.write_all(b"x").await;
    }
    for _ in 0..20 {
        worst = worst.max(setting.good().await);
    }
    let (descriptors, resident) = setting.cost();
    assert!(descriptors >= count / 3, "{descriptors} descriptors");
    // One of them that comes to an end is answered.
    let mut late = slow.swap_remove(0);
    let rest = format!(
        "\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        setting.token
    );
    late.write_all(rest.as_bytes()).await.expect("room");
    let mut answer = [0; 15];
    late.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    (resident, worst)
}
