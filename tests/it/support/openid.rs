//! A real OpenID provider: the npm package `oidc-provider` on node, installed by `.ci/run`.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::node::{Node, Script};
use super::process::free_port;
use super::program;

/// The programs that it takes.
pub struct Programs {
    node: Node,
    pub curl: PathBuf,
}

impl Programs {
    /// `None` if one is missing, which is said.
    pub fn find(test: &str) -> Option<Self> {
        let node = Node::find(test, &["oidc-provider", "openid-client"])?;
        let curl = program::find(test, "curl")?;
        Some(Self { node, curl })
    }

    /// Starts a provider with the keys in a file; one that is not there is made.
    pub fn provider(&self, port: u16, keys: &Path, issuer: &str) -> OpenId {
        self.run(port, keys, issuer, |_| {})
    }

    /// One that is its own issuer and tells of logouts at a URI, whose certificate is in a file.
    pub fn telling(&self, port: u16, keys: &Path, logout: &str, certificate: &Path) -> OpenId {
        self.run(port, keys, &format!("http://127.0.0.1:{port}"), |command| {
            command.arg(logout).env("NODE_EXTRA_CA_CERTS", certificate);
        })
    }

    /// A web application of a provider, which gives tokens up at a URI.
    pub fn application(&self, provider: &OpenId, revocation: &str, certificate: &Path) -> Script {
        let mut command = self.node.script("client.mjs");
        let command = command
            .args([&provider.base(), revocation])
            .env("NODE_EXTRA_CA_CERTS", certificate);
        Script::start(command)
    }

    fn run(&self, port: u16, keys: &Path, issuer: &str, more: impl FnOnce(&mut Command)) -> OpenId {
        let mut command = self.node.script("provider.mjs");
        command.arg(port.to_string()).arg(keys).arg(issuer);
        more(&mut command);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line == "ready"));
        assert!(ready, "the provider starts");
        OpenId {
            child,
            port,
            _notices: lines,
        }
    }

    /// One at a free port that is its own issuer.
    pub fn start(&self, keys: &Path) -> OpenId {
        let port = free_port();
        self.provider(port, keys, &format!("http://127.0.0.1:{port}"))
    }

    /// Runs curl and gives the status and the body.
    pub fn curl(&self, arguments: &[&str]) -> (String, String) {
        let output = Command::new(&self.curl)
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

    /// An access token for a client, by the client-credentials grant.
    pub fn token(&self, provider: &OpenId, client: &str, scope: &str, resource: &str) -> String {
        let (status, body) = self.curl(&[
            &format!("{}/token", provider.base()),
            "-u",
            &format!("{client}:test-secret"),
            "-d",
            "grant_type=client_credentials",
            "-d",
            &format!("scope={scope}"),
            "-d",
            &format!("resource=https://api.test/{resource}"),
        ]);
        assert!(status.starts_with("200"), "{body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        answer["access_token"].as_str().expect("a token").to_owned()
    }
}

/// A provider that runs.
pub struct OpenId {
    child: Child,
    pub port: u16,
    /// Kept open: a provider that cannot write its notices ends.
    _notices: Lines<BufReader<ChildStdout>>,
}

impl OpenId {
    /// Where it listens.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for OpenId {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
