//! `bearward demo`: everything on one machine in one command.
//!
//! A development issuer (discovery, JWK set, token endpoint) and a sample API run beside a real
//! gateway that is configured as anybody would: by TOML, checked, started. All of it is on loopback
//! and in a temporary folder, and gone when the command ends.

mod lines;
mod services;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, SanType};
use serde_json::json;

use super::Outcome;
use super::admin_client::{AdminClient, runtime};
use super::manager::Manager;
use super::output::{Code, Failure, data, say};
use super::run::Signals;
use crate::app::{self, Inheritance, Running};
use crate::clock::SystemClock;
use crate::config;
use crate::control::fetch::{FetchLimits, Fetcher};
use crate::observe::log::{self, LogFormat};
use crate::signing::SigningKey;

/// The audience of the sample API.
const AUDIENCE: &str = "https://api.example.test";
/// How long the gateway may take to be ready.
const READY_TRIES: u32 = 500;
const READY_PAUSE: Duration = Duration::from_millis(10);

pub(super) fn demo(port: u16) -> Outcome {
    let signals = Signals::listen().map_err(Failure::internal)?;
    log::start(
        LogFormat::Readable,
        tracing_subscriber::filter::LevelFilter::ERROR,
    )
    .map_err(|error| Failure::new(Code::System, error))?;
    let folder = tempfile::Builder::new()
        .prefix("bearward-demo-")
        .tempdir()
        .map_err(Failure::internal)?;
    let key = SigningKey::generate("ES256", Some("demo-1")).map_err(Failure::internal)?;
    let services = services::start(&key).map_err(Failure::internal)?;
    certificate(folder.path())?;
    let port = free_port(port)?;
    let gateway = start(folder.path(), port, &services)?;
    wait_until_ready(&gateway.admin())?;

    let tokens = lines::Tokens::mint(&key, &services.issuer).map_err(Failure::internal)?;
    let admin = format!("http://{}", gateway.admin());
    AdminClient::new(&admin, &gateway.admin_token())?.send(
        http::Method::POST,
        "/api/v1/revocations",
        Some(&json!({
            "selector": { "issuer": "demo", "jti": tokens.revoked_jti },
            "reason": "the demo shows a revoked token",
        })),
    )?;
    say(
        "Bearward runs with keys made for this demo: they are for development and gone when it ends.",
    );
    say("Paste these lines into another terminal; each says what comes back:\n");
    data(&lines::print(&tokens, port));
    let token_file = folder.path().join("state/admin-token");
    data(&format!(
        "\n# console     {admin}/console/ (the token: {})",
        token_file.display()
    ));
    data(&format!(
        "# why         bearward decision ID --admin {admin} --admin-token-file {} (ID: the `instance` of a refusal)",
        token_file.display()
    ));
    data(&format!("# metrics     curl -s {admin}/metrics"));
    data(&format!("# readiness   curl -s '{admin}/readyz?verbose'"));
    data(&format!(
        "# admin API   curl -s {admin}/api/v1/revocations -H \"Authorization: Bearer $(cat {})\"",
        token_file.display()
    ));
    data(&format!(
        "# new token   curl -s {}/token -d scope=orders:read",
        services.issuer
    ));
    say("\nCtrl-C ends it.");
    signals
        .wait_for_end(&gateway, Manager::default())
        .map_err(Failure::internal)?;
    let _ = gateway.stop();
    drop(services);
    folder.close().map_err(Failure::internal)?;
    Ok(ExitCode::SUCCESS)
}

/// The wanted port if it is free on loopback, else any free one.
fn free_port(wanted: u16) -> Result<u16, Failure> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let socket = free(wanted)
        .or_else(|_| free(0))
        .map_err(Failure::internal)?;
    Ok(socket.local_addr().map_err(Failure::internal)?.port())
}

fn certificate(folder: &Path) -> Result<(), Failure> {
    let mut parameters =
        CertificateParams::new(vec!["localhost".to_owned()]).map_err(Failure::internal)?;
    for address in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ] {
        parameters
            .subject_alt_names
            .push(SanType::IpAddress(address));
    }
    let key = KeyPair::generate().map_err(Failure::internal)?;
    let certificate = parameters.self_signed(&key).map_err(Failure::internal)?;
    std::fs::write(folder.join("demo.crt"), certificate.pem()).map_err(Failure::internal)?;
    std::fs::write(folder.join("demo.key"), key.serialize_pem()).map_err(Failure::internal)
}

fn start(folder: &Path, port: u16, services: &services::Services) -> Result<Running, Failure> {
    let text = configuration(port, services);
    let path = folder.join("bearward.toml");
    std::fs::write(&path, &text).map_err(Failure::internal)?;
    let (config, report) = config::read(&path, &text);
    let config = config.ok_or_else(|| Failure::new(Code::Internal, report.pretty()))?;
    let (clock, out) = (Arc::new(SystemClock), std::io::sink());
    app::start(config, Some(path), clock, out, Inheritance::default())
        .map_err(|error| Failure::new(Code::Internal, error))
}

fn configuration(port: u16, services: &services::Services) -> String {
    // Not every machine has IPv6.
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok();
    let listener = |name: &str, address: SocketAddr| {
        format!(
            "[listeners.{name}]\naddress = \"{address}\"\n[listeners.{name}.tls]\n\
             certificates = [{{ chain = \"demo.crt\", key = {{ file = \"demo.key\" }} }}]\n"
        )
    };
    let mut listeners = listener("v4", (Ipv4Addr::LOCALHOST, port).into());
    if v6 {
        listeners.push_str(&listener("v6", (Ipv6Addr::LOCALHOST, port).into()));
    }
    format!(
        r#"version = 1
[server]
public_url = "https://localhost:{port}"
drain_timeout = "1s"
{listeners}
[issuers.demo]
issuer = "{issuer}"
audiences = ["{AUDIENCE}"]
algorithms = ["ES256"]
discovery = true
lifetime_max = "7d"
jwks = {{ allow_http_loopback = true }}
renewal = {{ token_endpoint = "{issuer}/token", hint = "For example: curl -s {issuer}/token -d scope=orders:read" }}
[upstreams.orders]
servers = ["http://{api}"]
[routes.orders]
path = "/orders/{{*rest}}"
upstream = "orders"
issuers = ["demo"]
identity = {{ "X-Auth-Subject" = "sub", "X-Auth-Scopes" = "scope" }}
[[routes.orders.rules]]
methods = ["GET"]
scopes_all = ["orders:read"]
[[routes.orders.rules]]
methods = ["POST", "PUT", "PATCH", "DELETE"]
scopes_all = ["orders:write"]
{gallery}
[admin]
address = "127.0.0.1:{admin}"
[audit]
output = "off"
"#,
        issuer = services.issuer,
        api = services.api,
        gallery = gallery(services),
        admin = free_port(9180).unwrap_or(0),
    )
}

/// Routes that show what else can become of a request; each is in the Postman collection.
fn gallery(services: &services::Services) -> String {
    // Nobody listens on the port of discard.
    format!(
        r#"[upstreams.nobody]
servers = ["http://127.0.0.1:9"]
[issuers.dark]
issuer = "https://dark.example.test/"
audiences = ["{AUDIENCE}"]
algorithms = ["ES256"]
jwks_url = "http://127.0.0.1:9/keys"
jwks = {{ allow_http_loopback = true, load = "on_demand" }}
[issuers.opaque]
issuer = "https://opaque.example.test/"
audiences = ["{AUDIENCE}"]
introspection = {{ endpoint = "{issuer}/introspect", client_id = "demo", client_secret = {{ file = "demo.key" }}, allow_http_loopback = true }}
[issuers.mute]
issuer = "https://mute.example.test/"
audiences = ["{AUDIENCE}"]
introspection = {{ endpoint = "http://127.0.0.1:9/introspect", client_id = "demo", client_secret = {{ file = "demo.key" }}, allow_http_loopback = true }}
[routes.unreachable]
path = "/gallery/unreachable"
upstream = "nobody"
issuers = ["demo"]
[routes.limited]
path = "/gallery/limited"
upstream = "orders"
issuers = ["demo"]
limit = {{ per = "route", rate = "1/h", burst = 1 }}
[routes.plan]
path = "/gallery/plan"
upstream = "orders"
issuers = ["demo"]
rules = [{{ claims = {{ "plan" = ["gold"] }} }}]
[routes.dark]
path = "/gallery/dark"
upstream = "orders"
issuers = ["dark"]
[routes.opaque]
path = "/gallery/opaque"
upstream = "orders"
issuers = ["opaque"]
[routes.mute]
path = "/gallery/mute"
upstream = "orders"
issuers = ["mute"]
"#,
        issuer = services.issuer,
    )
}

/// Waits for the gateway to have the issuer's keys.
fn wait_until_ready(admin: &str) -> Result<(), Failure> {
    let fetcher = Fetcher::local(
        FetchLimits {
            timeout: Duration::from_secs(1),
            bytes_max: 4096,
        },
        None,
    );
    let url = format!("http://{admin}/readyz");
    runtime()?.block_on(async {
        for _ in 0..READY_TRIES {
            if fetcher.get(&url, None).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(READY_PAUSE).await;
        }
        Err(Failure::new(
            Code::Internal,
            "the gateway did not get ready",
        ))
    })
}
