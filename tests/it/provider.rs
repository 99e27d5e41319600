//! Real input: a real OpenID provider, real curl, HTTP/1.1 and HTTP/2.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::gateway::{Gateway, ORDERS};
use crate::support::{Bearward, Upstream, block_on, program};

/// The npm package `oidc-provider` on node; installed by `.ci/run`.
struct Provider(Child);

impl Provider {
    fn start(node: &Path, port: u16, keys: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(node)
            .arg(root.join("tests/provider/provider.mjs"))
            .arg(modules())
            .arg(port.to_string())
            .arg(keys)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line == "ready"));
        assert!(ready, "the provider starts");
        Self(child)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn modules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/oidc-provider")
}

/// Runs curl and gives the status and the body.
fn curl(curl: &Path, arguments: &[&str]) -> (String, String) {
    let output = Command::new(curl)
        .args([
            "-sk",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code} %{http_version}",
        ])
        .args(arguments)
        .output()
        .expect("curl runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.to_owned(), body.to_owned())
}

fn token(curl_path: &Path, issuer: &str, client: &str, scope: &str, resource: &str) -> String {
    let (status, body) = curl(
        curl_path,
        &[
            &format!("{issuer}/token"),
            "-u",
            &format!("{client}:test-secret"),
            "-d",
            "grant_type=client_credentials",
            "-d",
            &format!("scope={scope}"),
            "-d",
            &format!("resource=https://api.test/{resource}"),
        ],
    );
    assert!(status.starts_with("200"), "{body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    answer["access_token"].as_str().expect("a token").to_owned()
}

/// Asks for an order through the gateway; gives status and HTTP version.
fn ask(curl_path: &Path, gateway: &Gateway, version: &str, token: &str) -> (String, String) {
    let port = gateway.address().port();
    curl(
        curl_path,
        &[
            version,
            "--resolve",
            &format!("api.test:{port}:127.0.0.1"),
            &format!("https://api.test:{port}/orders/1"),
            "-H",
            &format!("Authorization: Bearer {token}"),
        ],
    )
}

#[test]
fn a_real_provider_with_real_tokens_and_a_rotation() {
    const TEST: &str = "a_real_provider_with_real_tokens_and_a_rotation";
    let (Some(node), Some(curl_path)) = (program::find(TEST, "node"), program::find(TEST, "curl"))
    else {
        return;
    };
    if !modules().join("node_modules/oidc-provider").is_dir() {
        program::missing(
            TEST,
            "the npm package oidc-provider under target/oidc-provider",
        );
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("an address").port();
    drop(socket);
    let issuer = format!("http://127.0.0.1:{port}");
    let provider = Provider::start(&node, port, &folder.path().join("first.json"));
    let upstream = Upstream::echo();
    let gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.main]\nissuer = \"{issuer}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"RS256\", \"ES256\"]\ndiscovery = true\njwks = {{ allow_http_loopback = true }}\n"
        ))
        .table(ORDERS)
        .start_now();
    block_on(gateway.ready());
    for (resource, version, spoken) in [
        ("rs", "--http1.1", "200 1.1"),
        ("rs", "--http2", "200 2"),
        ("es", "--http1.1", "200 1.1"),
        ("es", "--http2", "200 2"),
    ] {
        let token = token(&curl_path, &issuer, "reader", "orders:read", resource);
        let (status, body) = ask(&curl_path, &gateway, version, &token);
        assert_eq!(status, spoken, "{body}");
        assert!(body.contains("x-auth-subject: reader\r\n"), "{body}");
    }
    let lacking = token(&curl_path, &issuer, "stranger", "orders:write", "rs");
    let (status, body) = ask(&curl_path, &gateway, "--http2", &lacking);
    assert_eq!(status, "403 2");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["code"], "scope_missing");
    assert_eq!(body["missing"], serde_json::json!(["orders:read"]));

    // The provider rotates all of its keys.
    drop(provider);
    let _provider = Provider::start(&node, port, &folder.path().join("second.json"));
    for resource in ["rs", "es"] {
        let token = token(&curl_path, &issuer, "reader", "orders:read", resource);
        let (status, body) = ask(&curl_path, &gateway, "--http1.1", &token);
        assert_eq!(status, "200 1.1", "{body}");
    }
    assert_eq!(upstream.seen().len(), 6);
}
