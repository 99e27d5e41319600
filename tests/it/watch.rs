//! A real Prometheus looks at a loaded gateway: every query of the dashboard has data, and alerts fire in a staged
//! fault.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;

use crate::support::client::plain_exchange;
use crate::support::process::free_port;
use crate::support::program::find;
use crate::support::{Bearward, TestIssuer, Upstream, block_on, eventually};

/// A Prometheus of the test's own, which ends with it.
struct Prometheus {
    child: Child,
    port: u16,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn start(program: &Path, folder: &Path, target: &str) -> Self {
        let rules = include_str!("../../deploy/prometheus/rules.yaml");
        // Nobody waits for minutes here.
        let rules: String = rules
            .lines()
            .map(|line| match line.trim_start().strip_prefix("for: ") {
                Some(_) => format!("{}for: 0s\n", &line[..line.len() - line.trim_start().len()]),
                None => format!("{line}\n"),
            })
            .collect();
        std::fs::write(folder.join("rules.yaml"), rules).expect("a file");
        let text = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s }}\nrule_files: [rules.yaml]\nscrape_configs:\n  - job_name: bearward\n    static_configs: [{{ targets: [\"{target}\"] }}]\n"
        );
        std::fs::write(folder.join("prometheus.yml"), text).expect("a file");
        let port = free_port();
        let child = Command::new(program)
            .arg(format!(
                "--config.file={}",
                folder.join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        Self { child, port }
    }

    async fn ask(&self, path: &str) -> Option<Value> {
        let address = ([127, 0, 0, 1], self.port).into();
        tokio::net::TcpStream::connect(address).await.ok()?;
        let request = Request::get(format!("http://127.0.0.1{path}"))
            .header("host", "127.0.0.1")
            .body(Full::new(Bytes::new()))
            .expect("a request");
        let answer = plain_exchange(address, request).await;
        (answer.status == 200).then(|| answer.json())
    }

    /// Whether a query gives a series; and that it can be asked at all.
    async fn has(&self, query: &str) -> bool {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let told = self.ask(&format!("/api/v1/query?query={escaped}")).await;
        let Some(told) = told else {
            return false;
        };
        told["data"]["result"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    }

    async fn fires(&self, alert: &str) -> bool {
        self.has(&format!(
            "ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}"
        ))
        .await
    }
}

/// All queries of the dashboard, with its variables filled in.
fn queries() -> BTreeSet<String> {
    fn gather(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(query) = members.get("expr").and_then(Value::as_str) {
                    found.insert(query.to_owned());
                }
                members.values().for_each(|value| gather(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| gather(value, found)),
            _ => {}
        }
    }
    let dashboard = include_str!("../../deploy/grafana/bearward.json");
    let dashboard = serde_json::from_str(dashboard).expect("JSON");
    let mut found = BTreeSet::new();
    gather(&dashboard, &mut found);
    found
        .into_iter()
        .map(|query| {
            query
                .replace("$job", "bearward")
                .replace("$instance", ".*")
                .replace("$route", ".*")
                .replace("$__rate_interval", "30s")
        })
        .collect()
}

#[test]
fn the_dashboard_has_data_and_alerts_fire_in_a_fault() {
    let test = "the_dashboard_has_data_and_alerts_fire_in_a_fault";
    let Some(program) = find(test, "prometheus") else {
        return;
    };
    let provider = crate::support::Provider::start();
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    provider.publish(&[&main]);
    let upstream = Upstream::echo();
    let gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.main]\nissuer = \"{}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{}/jwks\"\njwks = {{ allow_http_loopback = true, refresh = \"1s\" }}",
            main.identifier, provider.base
        ))
        .table(crate::support::gateway::ORDERS)
        .table("[probes]\naddress = \"127.0.0.1:0\"")
        .start_now();
    let probes = gateway.probes().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let prometheus = Prometheus::start(&program, folder.path(), &probes);
    block_on(async {
        gateway.ready().await;
        let mut missing = queries();
        assert!(missing.len() > 30, "{missing:?}");
        // A change of the configuration is marked for a minute after it.
        missing.retain(|query| !query.starts_with("changes("));
        let all_have = async || {
            // Each kind of request, again and again.
            for _ in 0..3 {
                gateway
                    .http1()
                    .get("/orders/1", &main.token_now().sign())
                    .await;
                gateway.http2().get("/orders/1", "a.b.c").await;
                gateway.http1().get("/nothing", "").await;
            }
            let mut left = BTreeSet::new();
            for query in &missing {
                if !prometheus.has(query).await {
                    left.insert(query.clone());
                }
            }
            missing = left;
            missing.is_empty()
        };
        eventually("data for every query of the dashboard", all_have).await;
        assert!(!prometheus.fires("BearwardDown").await);
        assert!(!prometheus.fires("BearwardReloadFailed").await);
        // A reload that fails, and a provider that is gone.
        gateway.edit("version = 1", "version = 2");
        assert!(gateway.reload().await.is_err());
        eventually("an alert of the reload", async || {
            prometheus.fires("BearwardReloadFailed").await
        })
        .await;
    });
    gateway.stop();
    block_on(async {
        eventually("an alert of the end", async || {
            prometheus.fires("BearwardDown").await
        })
        .await;
    });
}
