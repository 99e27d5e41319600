//! A gateway of one test: its own folder, free ports, a clock that the test moves.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use bearward::app::{self, Inheritance, Running};
use bearward::clock::{Clock, UnixTime};
use bearward::config;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Answer, Events, plain_request};
use super::issuer::{NOW, TestIssuer};
use super::{Client, Upstream};

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// Where audit lines go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lines").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What most tests start from: an issuer, an upstream that echoes, the usual gateway.
pub fn usual() -> (TestIssuer, Upstream, Gateway) {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let gateway = Bearward::usual(&main, &upstream).start();
    (main, upstream, gateway)
}

/// A gateway in the making.
pub struct Bearward {
    folder: TempDir,
    tables: String,
    limits: String,
    audit: String,
    port: u16,
}

impl Bearward {
    /// TLS on one listener, `public`; everything else is added.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_certificate(folder.path(), "tls", &["localhost", "api.test"]);
        Self {
            folder,
            tables: String::new(),
            limits: String::new(),
            audit: "allow = \"100%\"".to_owned(),
            port: 0,
        }
    }

    /// The usual one: issuer `main`, a route `orders` with rules, and the upstream behind it.
    pub fn usual(issuer: &TestIssuer, upstream: &Upstream) -> Self {
        Self::usual_at(issuer, upstream.address)
    }

    /// The usual one with an upstream of the test's own.
    pub fn usual_at(issuer: &TestIssuer, upstream: SocketAddr) -> Self {
        Self::new()
            .trusting("main", issuer, "")
            .upstream("orders", upstream, "")
            .table(ORDERS)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Trusts an issuer by a JWK set file; `more` is TOML for its table.
    pub fn trusting(mut self, name: &str, issuer: &TestIssuer, more: &str) -> Self {
        let file = format!("{name}.json");
        std::fs::write(self.folder.path().join(&file), issuer.jwks().to_string()).expect("a file");
        self.tables.push_str(&format!(
            "[issuers.{name}]\nissuer = \"{}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"{}\"]\njwks_file = \"{file}\"\n{more}\n",
            issuer.identifier, issuer.alg
        ));
        self
    }

    /// Writes a file with a secret into the folder.
    pub fn secret(self, name: &str, secret: &str) -> Self {
        std::fs::write(self.folder.path().join(name), secret).expect("a file");
        self
    }

    /// Begins with the key sets that another gateway has saved.
    pub fn with_state_of(self, other: &Path) -> Self {
        let (from, to) = (
            other.join("state/keys"),
            self.folder.path().join("state/keys"),
        );
        std::fs::create_dir_all(&to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a file");
        }
        self
    }

    /// An upstream of several servers; `more` is TOML for its table.
    pub fn upstream_of(mut self, name: &str, servers: &[&str], more: &str) -> Self {
        self.tables.push_str(&format!(
            "[upstreams.{name}]\nservers = {servers:?}\n{more}\n"
        ));
        self
    }

    pub fn upstream(mut self, name: &str, address: SocketAddr, more: &str) -> Self {
        self.tables.push_str(&format!(
            "[upstreams.{name}]\nservers = [\"http://{address}\"]\n{more}\n"
        ));
        self
    }

    pub fn table(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self.tables.push('\n');
        self
    }

    pub fn limits(mut self, toml: &str) -> Self {
        self.limits = format!("[listeners.public.limits]\n{toml}\n");
        self
    }

    /// What stands in `[audit]`, beside plain subjects.
    pub fn auditing(mut self, toml: &str) -> Self {
        self.audit = toml.to_owned();
        self
    }

    pub fn text(&self) -> String {
        let server =
            "[server]\npublic_url = \"https://api.test\"\nworkers = 1\ndrain_timeout = \"2s\"\n";
        let listener = format!(
            "[listeners.public]\naddress = \"127.0.0.1:{}\"\n[listeners.public.tls]\ncertificates = [{{ chain = \"tls.crt\", key = {{ file = \"tls.key\" }} }}]\n",
            self.port
        );
        let admin = "[admin]\naddress = \"127.0.0.1:0\"\nallowed_hosts = [\"127.0.0.1\"]\n";
        let audit = format!("[audit]\n{}\nsubject = \"plain\"\n", self.audit);
        format!(
            "version = 1\n{server}{listener}{}{admin}{audit}{}",
            self.limits, self.tables
        )
    }

    /// Listens on a port that is known beforehand.
    pub fn at_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Writes everything that the program needs, and gives the folder.
    pub fn into_files(self) -> TempDir {
        std::fs::write(self.folder.path().join("bearward.toml"), self.text()).expect("a file");
        self.folder
    }

    /// Starts with the clock standing at [`NOW`].
    pub fn start(self) -> Gateway {
        self.start_at(NOW)
    }

    /// Starts with the clock standing at the time of now.
    #[allow(
        clippy::disallowed_methods,
        reason = "for the oracle, which has no other clock"
    )]
    pub fn start_now(self) -> Gateway {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after the epoch");
        self.start_at(i64::try_from(now.as_secs()).expect("in range"))
    }

    fn start_at(self, now: i64) -> Gateway {
        let path = self.folder.path().join("bearward.toml");
        std::fs::write(&path, self.text()).expect("a file");
        let (config, report) = config::load(&path);
        let config = config.unwrap_or_else(|| panic!("{}", report.pretty()));
        let clock = Arc::new(TestClock(AtomicI64::new(now)));
        let lines = Lines::default();
        let (own, out) = (Arc::clone(&clock) as _, lines.clone());
        let running = app::start(config, Some(path), own, out, Inheritance::default());
        let running = running.expect("a start");
        Gateway {
            folder: self.folder,
            running,
            clock,
            lines,
        }
    }
}

/// The route of most tests.
pub const ORDERS: &str = r#"
[routes.orders]
path = "/orders/{*rest}"
upstream = "orders"
issuers = ["main"]
identity = { "X-Auth-Subject" = "sub", "X-Auth-Scopes" = "scope" }
[[routes.orders.rules]]
methods = ["GET"]
scopes_all = ["orders:read"]
[[routes.orders.rules]]
methods = ["POST", "PUT"]
scopes_all = ["orders:write"]
[[routes.orders.rules]]
methods = ["DELETE"]
claims = { "tier" = ["gold"] }
"#;

/// A gateway that runs.
pub struct Gateway {
    folder: TempDir,
    running: Running,
    pub clock: Arc<TestClock>,
    lines: Lines,
}

impl Gateway {
    pub fn address(&self) -> SocketAddr {
        self.listener("public").expect("the listener")
    }

    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        let address = self.running.address(name)?;
        Some(address.parse().expect("an address"))
    }

    pub fn probes(&self) -> Option<SocketAddr> {
        let address = self.running.probes()?;
        Some(address.parse().expect("an address"))
    }

    pub fn admin(&self) -> SocketAddr {
        self.running.admin().parse().expect("an address")
    }

    pub fn admin_token(&self) -> String {
        String::from_utf8(self.running.admin_token()).expect("text")
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Writes the configuration anew, with one part of it in the place of another.
    pub fn edit(&self, old: &str, new: &str) {
        let path = self.folder.path().join("bearward.toml");
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(text.contains(old), "{old} in\n{text}");
        std::fs::write(path, text.replace(old, new)).expect("a file");
    }

    /// Has the configuration read again.
    pub async fn reload(&self) -> Result<(), String> {
        self.running.reload().await
    }

    /// Edits and reloads.
    pub async fn change(&self, old: &str, new: &str) {
        self.edit(old, new);
        self.reload().await.expect("a reload");
    }

    pub fn http1(&self) -> Client {
        Client::http1(self.address())
    }

    pub fn http2(&self) -> Client {
        Client::http2(self.address())
    }

    /// Asks the admin listener.
    pub async fn ask_admin(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let token = self.admin_token();
        plain_request(self.admin(), method, path, Some(&token), body).await
    }

    /// Follows events of the admin listener.
    pub async fn follow_admin(&self, path: &str) -> Events {
        Events::begin(self.admin(), path, &self.admin_token()).await
    }

    /// One issuer as the admin listener shows it.
    pub async fn issuer(&self, name: &str) -> Value {
        let answer = self
            .ask_admin("GET", &format!("/api/v1/issuers/{name}"), None)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Has an issuer's keys fetched now; gives the status and what went wrong.
    pub async fn refresh(&self, name: &str) -> (u16, String) {
        let path = format!("/api/v1/issuers/{name}/refresh");
        let answer = self.ask_admin("POST", &path, None).await;
        let detail = answer.json()["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (answer.status, detail)
    }

    /// What readiness says line by line.
    pub async fn readiness(&self) -> String {
        self.ask_admin("GET", "/readyz?verbose", None).await.text()
    }

    pub async fn is_ready(&self) -> bool {
        self.ask_admin("GET", "/readyz", None).await.status == 200
    }

    /// Waits until every issuer has its keys.
    pub async fn ready(&self) {
        super::eventually("readiness", async || self.is_ready().await).await;
    }

    pub async fn metrics(&self) -> String {
        let answer = plain_request(self.admin(), "GET", "/metrics", None, None).await;
        assert_eq!(answer.status, 200);
        answer.text()
    }

    /// The value of one series.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
            .parse()
            .expect("a number")
    }

    /// Ends the gateway and gives the number of connections that it had to cut.
    pub fn drain(self) -> usize {
        self.running.stop()
    }

    /// Ends the gateway, and does something while its folder is still there.
    pub fn drain_then<T>(self, last: impl FnOnce() -> T) -> T {
        let _ = self.running.stop();
        last()
    }

    /// Ends the gateway and gives its audit lines.
    pub fn stop(self) -> Vec<Value> {
        let _ = self.running.stop();
        let bytes = self.lines.0.lock().expect("lines").clone();
        String::from_utf8(bytes)
            .expect("UTF-8")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

/// Writes a self-signed certificate for some names and 127.0.0.1.
pub fn write_certificate(folder: &Path, name: &str, hosts: &[&str]) {
    let names: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut parameters = rcgen::CertificateParams::new(names).expect("names");
    let address = std::net::IpAddr::from([127, 0, 0, 1]);
    parameters
        .subject_alt_names
        .push(rcgen::SanType::IpAddress(address));
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    std::fs::write(folder.join(format!("{name}.crt")), certificate.pem()).expect("a file");
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
}
