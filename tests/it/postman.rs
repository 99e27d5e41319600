//! The Postman collection shows every reason that `demo` can show, and newman runs it as people do.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use bearward::verdict::Reason;
use serde_json::Value;

use crate::support::program::{self, find, missing, told};

/// What takes a fault of the gateway or of time, and so is not shown by a request alone.
const NOT_SHOWN: [Reason; 10] = [
    Reason::TokenAmbiguous,
    Reason::ClaimMismatch,
    Reason::RevocationsUnavailable,
    Reason::RequestTimeout,
    Reason::UpstreamReset,
    Reason::UpstreamInvalid,
    Reason::UpstreamTimeout,
    Reason::Overloaded,
    Reason::Draining,
    Reason::InternalError,
];

/// A demo that the test started, and what it printed.
struct Demo {
    child: Child,
    base: String,
    issuer: String,
    admin: String,
    admin_token: String,
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It removes its folder.
        program::signal(self.child.id(), "INT");
        let _ = self.child.wait();
    }
}

impl Demo {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bearward"))
            .args(["demo", "--port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut printed = String::new();
        for line in out.lines() {
            let line = line.expect("text");
            printed.push_str(&line);
            printed.push('\n');
            if line.starts_with("# new token") {
                break;
            }
        }
        let between = |begin: &str, end: &str| {
            let (_, rest) = printed.split_once(begin).expect("a line");
            rest.split_once(end).expect("its end").0.to_owned()
        };
        let file = between("(the token: ", ")");
        Self {
            child,
            base: between("curl -sk ", "/orders"),
            issuer: between("# new token   curl -s ", "/token"),
            admin: between("# console     ", "/console/"),
            admin_token: std::fs::read_to_string(file)
                .expect("a file")
                .trim()
                .to_owned(),
        }
    }
}

fn root() -> std::path::PathBuf {
    std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn newman_meets_every_reason() {
    let collection = root().join("deploy/postman/bearward.postman_collection.json");
    let text = std::fs::read_to_string(&collection).expect("a file");
    let read: Value = serde_json::from_str(&text).expect("JSON");
    let items = read["item"].as_array().expect("items");
    for reason in Reason::ALL {
        let is_shown = items.iter().any(|item| item["name"] == reason.code());
        assert!(is_shown || NOT_SHOWN.contains(reason), "{}", reason.code());
    }
    let test = "newman_meets_every_reason";
    let Some(node) = find(test, "node") else {
        return;
    };
    let newman = root().join("target/node/node_modules/newman/bin/newman.js");
    if !newman.exists() {
        missing(test, "the npm package newman under target/node");
        return;
    }
    let demo = Demo::start();
    let environment = root().join("deploy/postman/demo.postman_environment.json");
    let mut command = Command::new(node);
    command
        .arg(newman)
        .arg("run")
        .arg(&collection)
        .arg("--environment")
        .arg(environment)
        .args([
            "--insecure",
            "--disable-unicode",
            "--color",
            "off",
            "--timeout-request",
            "20000",
        ]);
    for (name, value) in [
        ("base", &demo.base),
        ("issuer", &demo.issuer),
        ("admin", &demo.admin),
        ("admin_token", &demo.admin_token),
    ] {
        command.arg("--env-var").arg(format!("{name}={value}"));
    }
    let (is_good, said) = told(&mut command);
    assert!(is_good, "{said}");
}
