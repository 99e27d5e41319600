//! The examples for clients handle refusals rightly: they renew once, stop where that would not help, and wait.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::process::free_port;
use crate::support::program::{find, missing};
use crate::support::{Bearward, Provider, TestIssuer, Upstream, block_on, eventually};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The examples, each as a command; a missing program is said.
fn example(test: &str, name: &str) -> Option<Command> {
    let examples = root().join("docs/examples");
    let needs = |what: &str, path: &Path| {
        let is_there = path.exists();
        if !is_there {
            missing(test, what);
        }
        is_there
    };
    Some(match name {
        "call.sh" => {
            find(test, "curl")?;
            find(test, "jq")?;
            Command::new(examples.join(name))
        }
        "with_reqwest" => {
            let program = root().join("target/examples/debug/with_reqwest");
            needs(
                "docs/examples/with_reqwest, built into target/examples",
                &program,
            )
            .then(|| Command::new(program))?
        }
        _ if name.ends_with(".py") => {
            let packages = root().join("target/python");
            for package in ["requests", "authlib"] {
                needs(
                    &format!("{package} under target/python"),
                    &packages.join(package),
                )
                .then_some(())?;
            }
            let mut command = Command::new("/usr/bin/python3");
            command.arg(examples.join(name)).env("PYTHONPATH", packages);
            command
        }
        _ => {
            let node = find(test, "node")?;
            let modules = root().join("target/node/node_modules");
            for package in ["jose", "openid-client"] {
                needs(
                    &format!("{package} under target/node"),
                    &modules.join(package),
                )
                .then_some(())?;
            }
            // Packages are looked for beside the script.
            let script = root().join("target/node").join(name);
            std::fs::copy(examples.join(name), &script).expect("a file");
            let mut command = Command::new(node);
            command.arg(script);
            command
        }
    })
}

/// A gateway in clear text, an issuer with a token endpoint, and an API.
struct World {
    provider: Provider,
    issuer: TestIssuer,
    gateway: Gateway,
    url: String,
    _upstream: Upstream,
}

impl World {
    fn new() -> Self {
        let (provider, upstream) = (
            Provider::start(),
            Upstream::bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nall orders"),
        );
        let issuer = TestIssuer::new(&format!("{}/", provider.base), "ES256", "main-1");
        let metadata = json!({
            "issuer": issuer.identifier,
            "jwks_uri": format!("{}/jwks", provider.base),
            "token_endpoint": format!("{}/token", provider.base),
        });
        provider.set(
            "/.well-known/openid-configuration",
            200,
            &metadata.to_string(),
        );
        let port = free_port();
        let gateway = Bearward::new()
            .upstream("orders", upstream.address, "")
            .table(&format!("[listeners.clear]\naddress = \"127.0.0.1:{port}\"\nclear_text = true"))
            .table(&format!(
                "[issuers.main]\nissuer = \"{}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{}/jwks\"\njwks = {{ allow_http_loopback = true, unknown_kid_gap = \"1s\" }}",
                issuer.identifier, provider.base
            ))
            .table("[routes.orders]\npath = \"/orders\"\nhosts = [\"127.0.0.1\"]\nlisteners = [\"clear\"]\nupstream = \"orders\"\nissuers = [\"main\"]\nrules = [{ scopes_all = [\"orders:read\"] }]")
            .start_now();
        Self {
            provider,
            issuer,
            gateway,
            url: format!("http://127.0.0.1:{port}/orders"),
            _upstream: upstream,
        }
    }

    fn ready(self) -> Self {
        self.provider.publish(&[&self.issuer]);
        block_on(self.gateway.ready());
        self
    }

    /// The answers of the token endpoint.
    fn gives(&self, tokens: &[String]) {
        let answer = |token: &String| {
            json!({ "access_token": token, "token_type": "Bearer", "expires_in": 900 }).to_string()
        };
        let answers: Vec<_> = tokens.iter().map(answer).collect();
        self.provider.set_in_turn("/token", &answers);
    }

    fn start(&self, mut command: Command) -> Child {
        command
            .env("API_URL", &self.url)
            .env("ISSUER", &self.issuer.identifier)
            .env("TOKEN_ENDPOINT", format!("{}/token", self.provider.base))
            .env("CLIENT_ID", "client")
            .env("CLIENT_SECRET", "secret")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts")
    }

    fn run(&self, command: Command) -> (Option<i32>, String) {
        ended(self.start(command))
    }

    /// Decisions with this reason.
    async fn count(&self, reason: &str) -> f64 {
        let reason = format!("reason=\"{reason}\",route=\"orders\"");
        let metrics = self.gateway.metrics().await;
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("bearward_decisions_total{") && line.contains(&reason));
        let counts = lines.filter_map(|line| line.rsplit_once(' '));
        counts
            .map(|(_, count)| count.parse::<f64>().expect("a number"))
            .sum()
    }
}

fn ended(child: Child) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("an end");
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn handles_refusals(name: &str) {
    let Some(command) = example(name, name) else {
        return;
    };
    let world = World::new().ready();
    let good = world.issuer.token_now().sign();
    let ago = world.issuer.token_now().claims()["iat"]
        .as_i64()
        .expect("a time")
        - 3600;
    let expired = world
        .issuer
        .token_now()
        .with("iat", ago)
        .with("exp", ago + 60)
        .sign();
    // It renews once, and has its answer.
    world.gives(&[expired.clone(), good]);
    let (code, said) = world.run(command);
    assert_eq!(code, Some(0), "{name}: {said}");
    assert!(said.contains("all orders"), "{name}: {said}");
    assert_eq!(world.provider.asked("/token"), 2, "{name}");
    assert_eq!(block_on(world.count("none")), 1.0, "{name}");
    // Renewed in vain, it stops.
    let again = || example(name, name).expect("it was there");
    world.gives(&[expired]);
    let (code, said) = world.run(again());
    assert_eq!(code, Some(4), "{name}: {said}");
    assert_eq!(world.provider.asked("/token"), 4, "{name}");
    // A token that may not: no second try, and the words of the refusal.
    let poor = world.issuer.token_now().with("scope", "else").sign();
    world.gives(&[poor]);
    let (code, said) = world.run(again());
    assert_eq!(code, Some(3), "{name}: {said}");
    assert!(
        said.contains("scope_missing") && said.contains("urn:uuid:"),
        "{name}: {said}"
    );
    assert_eq!(
        (
            block_on(world.count("scope_missing")),
            world.provider.asked("/token")
        ),
        (1.0, 5),
        "{name}"
    );
    let strange = world
        .issuer
        .token_now()
        .with("aud", "https://other.test")
        .sign();
    world.gives(&[strange]);
    let (code, said) = world.run(again());
    assert_eq!(code, Some(4), "{name}: {said}");
    assert!(said.contains("audience_mismatch"), "{name}: {said}");
    // An outage of the keys: it waits as it is told, with the token that it has.
    let world = World::new();
    world.gives(&[world.issuer.token_now().sign()]);
    let child = world.start(again());
    block_on(eventually("a 503", async || {
        world.count("keys_unavailable").await > 0.0
    }));
    world.provider.publish(&[&world.issuer]);
    let (code, said) = ended(child);
    assert_eq!(code, Some(0), "{name}: {said}");
    assert_eq!(world.provider.asked("/token"), 1, "{name}");
}

#[test]
fn curl_handles_refusals() {
    handles_refusals("call.sh");
}

#[test]
fn requests_handles_refusals() {
    handles_refusals("with_requests.py");
}

#[test]
fn authlib_handles_refusals() {
    handles_refusals("with_authlib.py");
}

#[test]
fn openid_client_handles_refusals() {
    handles_refusals("with_openid_client.mjs");
}

#[test]
fn jose_handles_refusals() {
    handles_refusals("with_jose.mjs");
}

#[test]
fn reqwest_handles_refusals() {
    handles_refusals("with_reqwest");
}
