//! Traces: the context of a client goes on, sampled requests have spans at a real collector, and one that is
//! down makes nobody wait.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::gateway::Gateway;
use crate::support::issuer::NOW;
use crate::support::program::missing;
use crate::support::{Bearward, TestIssuer, Upstream, block_on, eventually, process, usual};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector that writes what it takes.
struct Collector {
    child: Child,
    lines: Receiver<String>,
    address: SocketAddr,
}

impl Collector {
    fn start(test: &str) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = root.join("target/python/rotel/rotel-agent");
        if !program.is_file() {
            missing(test, "rotel under target/python");
            return None;
        }
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (http, grpc) = (address(process::free_port()), address(process::free_port()));
        let mut child = Command::new(program)
            .args(["start", "--exporter", "blackhole"])
            .args(["--otlp-http-endpoint", &http.to_string()])
            .args(["--otlp-grpc-endpoint", &grpc.to_string()])
            .args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (told, lines) = channel();
        let out = child.stdout.take().expect("a pipe");
        let err = child.stderr.take().expect("a pipe");
        for read in [
            Box::new(out) as Box<dyn std::io::Read + Send>,
            Box::new(err),
        ] {
            let told = told.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(read).lines().map_while(Result::ok) {
                    let _ = told.send(line);
                }
            });
        }
        let collector = Self {
            child,
            lines,
            address: http,
        };
        block_on(eventually("the collector", async || {
            tokio::net::TcpStream::connect(http).await.is_ok()
        }));
        Some(collector)
    }

    /// What it writes, up to all of these words.
    fn until(&self, words: &[&str]) -> String {
        let mut all = String::new();
        while !words.iter().all(|words| all.contains(words)) {
            let line = self.lines.recv_timeout(Duration::from_secs(20));
            let line = line.unwrap_or_else(|_| panic!("{words:?} in\n{all}"));
            all.push_str(&line);
            all.push('\n');
        }
        all
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tracing(issuer: &TestIssuer, upstream: &Upstream, url: &str, sample: &str) -> Gateway {
    let table = format!("[tracing]\notlp = \"{url}\"\nsample = \"{sample}\"");
    Bearward::usual(issuer, upstream).table(&table).start()
}

fn traceparent(upstream: &Upstream) -> Option<String> {
    let seen = upstream.seen().pop().expect("a request");
    let fields: Vec<_> = seen
        .lines()
        .filter_map(|line| line.strip_prefix("traceparent: "))
        .collect();
    assert!(fields.len() <= 1, "{seen}");
    fields.first().map(|field| (*field).to_owned())
}

#[test]
fn without_a_collector_the_context_passes_as_it_came() {
    let (issuer, upstream, gateway) = usual();
    let bearer = format!("Bearer {}", issuer.token().sign());
    let context = format!("00-{TRACE}-{PARENT}-01");
    block_on(async {
        let sent = [
            ("authorization", &*bearer),
            ("traceparent", &context),
            ("tracestate", "vendor=1"),
        ];
        assert_eq!(
            gateway
                .http1()
                .send("GET", "/orders/1", &sent, "")
                .await
                .status,
            200
        );
        assert_eq!(traceparent(&upstream), Some(context.clone()));
        assert!(
            upstream
                .seen()
                .pop()
                .expect("a request")
                .contains("tracestate: vendor=1")
        );
        gateway
            .http1()
            .send("GET", "/orders/1", &sent[..1], "")
            .await;
        assert_eq!(traceparent(&upstream), None);
        gateway
            .http1()
            .send("GET", "/orders/1", &[("traceparent", &*context)], "")
            .await;
    });
    let lines = gateway.stop();
    let ids: Vec<_> = lines.iter().map(|line| line["trace_id"].as_str()).collect();
    assert_eq!(ids, [Some(TRACE), None, Some(TRACE)]);
}

#[test]
fn a_sampled_request_has_its_spans_at_the_collector() {
    let Some(collector) =
        Collector::start("traces::a_sampled_request_has_its_spans_at_the_collector")
    else {
        return;
    };
    let issuer = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let url = format!("http://{}", collector.address);
    let gateway = tracing(&issuer, &upstream, &url, "100%");
    let bearer = format!("Bearer {}", issuer.token().sign());
    let context = format!("00-{TRACE}-{PARENT}-00");
    let sent = [("authorization", &*bearer), ("traceparent", &*context)];
    block_on(async {
        assert_eq!(
            gateway
                .http1()
                .send("GET", "/orders/1?secret=hidden", &sent, "")
                .await
                .status,
            200
        );
    });
    let passed = traceparent(&upstream).expect("a context");
    let (trace, span) = (&passed[3..35], &passed[36..52]);
    assert_eq!(trace, TRACE);
    assert!(passed.ends_with("-01") && span != PARENT);
    let told = collector.until(&["GET orders", "verify token", span]);
    assert!(told.contains(TRACE) && told.contains(PARENT), "{told}");
    assert!(
        told.contains("bearward.decision_id") && told.contains("/orders/1"),
        "{told}"
    );
    let late = issuer.token().with("exp", NOW - 300).sign();
    block_on(async {
        gateway.http2().get("/orders/1", &late).await;
    });
    let refused = collector.until(&["token_expired"]);
    for secret in ["hidden", &bearer[7..], &late] {
        assert!(!told.contains(secret) && !refused.contains(secret));
    }
    block_on(async {
        let sent = "bearward_trace_spans_total{result=\"sent\"}";
        eventually("the count", async || gateway.metric(sent).await >= 5.0).await;
    });
}

#[test]
fn what_is_not_sampled_passes_as_it_came() {
    let issuer = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let gateway = tracing(&issuer, &upstream, "http://127.0.0.1:9", "0.001%");
    let bearer = format!("Bearer {}", issuer.token().sign());
    let context = format!("00-{TRACE}-{PARENT}-01");
    block_on(async {
        let sent = [("authorization", &*bearer), ("traceparent", &*context)];
        let mut unchanged = 0;
        for _ in 0..20 {
            gateway.http1().send("GET", "/orders/1", &sent, "").await;
            unchanged += usize::from(traceparent(&upstream).as_ref() == Some(&context));
        }
        assert!(unchanged >= 18, "{unchanged}");
    });
}

#[test]
fn a_collector_that_is_down_makes_nobody_wait() {
    let issuer = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    // It takes connections, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    for url in ["http://127.0.0.1:9".to_owned(), format!("http://{address}")] {
        let gateway = tracing(&issuer, &upstream, &url, "100%");
        block_on(async {
            let mut client = gateway.http1().keep().await;
            for _ in 0..50 {
                assert_eq!(client.get("/orders/1", &issuer.token().sign()).await.0, 200);
            }
            if url.ends_with(":9") {
                let lost = "bearward_trace_spans_total{result=\"dropped\"}";
                eventually("the count", async || gateway.metric(lost).await >= 50.0).await;
            }
        });
        assert_eq!(gateway.drain(), 0);
    }
}
