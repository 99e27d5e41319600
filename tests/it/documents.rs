//! The documents are true: examples load, commands run, links lead somewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use bearward::config;
use bearward::signing::SigningKey;
use bearward::verdict::{NearMiss, Reason};

use crate::support::client::raw;
use crate::support::gateway::write_certificate;
use crate::support::{TestIssuer, block_on, usual};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn text(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A folder with every file that the examples name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    for name in ["tls", "keys", "secrets"] {
        std::fs::create_dir(path.join(name)).expect("a folder");
    }
    write_certificate(path, "tls/api", &["api.example.com"]);
    let issuer = TestIssuer::new("x", "ES256", "x");
    std::fs::write(path.join("keys/jwks.json"), issuer.jwks().to_string()).expect("a file");
    std::fs::write(
        path.join("keys/public.pem"),
        issuer.key.public_pem().expect("a key"),
    )
    .expect("a file");
    std::fs::write(path.join("keys/hmac"), "0123456789abcdef0123456789abcdef\n").expect("a file");
    std::fs::create_dir_all(path.join("secrets")).expect("a folder");
    let key = SigningKey::generate("ES256", None).expect("a key");
    std::fs::write(path.join("secrets/internal.pem"), key.private_file()).expect("a file");
    std::fs::write(path.join("secrets/introspection"), "secret\n").expect("a file");
    std::fs::write(path.join("secrets/admin-token"), "0123456789abcdef\n").expect("a file");
    folder
}

#[test]
fn the_example_configurations_load() {
    let folder = folder();
    for name in [
        "config/bearward.toml",
        "config/minimal.toml",
        "benches/peers/targets/bearward/gateway.toml.in",
    ] {
        let mut text = text(name);
        for (place, value) in [
            ("@WORKERS@", "1"),
            ("@DIR@", "."),
            ("@PORT@", "8443"),
            ("@ADMIN_PORT@", "9180"),
            ("@CERT@", "tls/api.crt"),
            ("@KEY@", "tls/api.key"),
            ("@ISSUER@", "https://issuer.test"),
            ("@AUDIENCE@", "https://api.test"),
            ("@JWKS@", "keys/jwks.json"),
            ("@UPSTREAM@", "127.0.0.1:9001"),
        ] {
            text = text.replace(place, value);
        }
        // The key of the example serves ES256 alone.
        let (config, report) = config::read(&folder.path().join("bearward.toml"), &text);
        assert!(config.is_some(), "{name}: {}", report.pretty());
    }
}

#[test]
fn the_least_configuration_is_short() {
    let text = text("config/minimal.toml");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
    assert!(lines.count() <= 15);
}

/// Every document, by its path.
pub fn documents() -> Vec<String> {
    let mut found = vec![
        "README.md".to_owned(),
        "CONTRIBUTING.md".to_owned(),
        "SECURITY.md".to_owned(),
        "benches/README.md".to_owned(),
        "benches/peers/README.md".to_owned(),
    ];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                let name = path.strip_prefix(root()).expect("below");
                found.push(name.display().to_string());
            }
        }
    }
    assert!(found.len() > 30, "{found:?}");
    found
}

#[test]
fn the_configurations_in_documents_load() {
    let folder = folder();
    let mut count = 0;
    for name in documents() {
        let document = text(&name);
        for rest in document.split("```toml\n").skip(1) {
            let block = rest.split("```").next().expect("an end");
            let (config, report) = config::read(&folder.path().join("bearward.toml"), block);
            count += 1;
            if block.contains("version = ") {
                assert!(config.is_some(), "{name}: {}", report.pretty());
                continue;
            }
            // A part of one: every key is known and has a value that is possible.
            let is_possible =
                |code: &str| !["BW0001", "BW0101", "BW0102", "BW0103", "BW0104"].contains(&code);
            let found = report.diagnostics();
            let is_good = found.iter().all(|it| is_possible(it.code));
            assert!(is_good, "{name}: {}", report.pretty());
        }
    }
    assert!(count >= 7);
}

#[test]
fn the_commands_in_documents_exist() {
    let readme = text("README.md");
    assert!(readme.contains("\ncargo run --release -- demo\n"));
    assert!(readme.contains("\ncargo test\n"));
    assert!(text(".ci/run").contains("\nBEARWARD_TEST_ALL=1 cargo test\n"));
    let mut asked = std::collections::BTreeSet::new();
    for name in documents() {
        for line in text(&name)
            .lines()
            .filter(|line| line.starts_with("bearward "))
        {
            let words: Vec<_> = line
                .split_whitespace()
                .skip(1)
                .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
                .take(2)
                .map(str::to_owned)
                .collect();
            asked.insert((words, line.to_owned()));
        }
    }
    assert!(asked.len() > 20);
    for (words, line) in asked {
        let output = Command::new(env!("CARGO_BIN_EXE_bearward"))
            .args(&words)
            .arg("--help")
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{line}");
        // And each option of it.
        let help = String::from_utf8(output.stdout).expect("text");
        let options = line.split('#').next().unwrap_or_default();
        for option in options
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
        {
            let option = option.split('=').next().unwrap_or_default();
            assert!(help.contains(option), "{option} of {line}");
        }
    }
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    for name in documents() {
        let folder = root().join(&name).parent().expect("a folder").to_owned();
        for link in text(&name).split("](").skip(1) {
            let target = link.split(')').next().expect("an end");
            if target.starts_with("http") {
                continue;
            }
            let (file, place) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => root().join(&name),
                file => folder.join(file),
            };
            assert!(path.exists(), "{name}: {target}");
            if !place.is_empty() {
                let document = std::fs::read_to_string(&path).expect("text");
                let mut headings = document.lines().filter(|line| line.starts_with('#'));
                assert!(headings.any(|it| anchor(it) == place), "{name}: {target}");
            }
        }
    }
}

#[test]
fn every_reason_has_a_row_and_a_page() {
    let rows = text("docs/reasons.md");
    let (_main, _upstream, gateway) = usual();
    for near in NearMiss::ALL {
        let row = format!(
            "| `{}` | `{}` | {} | {} |",
            near.name(),
            near.reason().code(),
            near.says(),
            near.mend()
        );
        assert!(rows.contains(&row), "{row}");
    }
    block_on(async {
        for reason in Reason::ALL {
            let code = reason.code();
            let row = format!("| `{code}` | {} |", reason.status().as_u16());
            assert!(rows.contains(&row), "{row}");
            let path = format!("/.well-known/bearward/problems/{code}");
            let plain = gateway.http2().send("GET", &path, &[], "").await;
            assert_eq!(plain.status, 200);
            assert_eq!(plain.header("content-type"), "text/plain; charset=utf-8");
            assert!(plain.text().contains(reason.title()));
            let json = gateway
                .http1()
                .send("GET", &path, &[("accept", "application/json")], "")
                .await;
            assert_eq!(json.json()["code"], code);
            let html = gateway
                .http1()
                .send("GET", &path, &[("accept", "text/html")], "")
                .await;
            assert_eq!(html.header("content-type"), "text/html; charset=utf-8");
        }
        let nothing = gateway
            .http1()
            .send("GET", "/.well-known/bearward/problems/nothing", &[], "")
            .await;
        assert_eq!(nothing.code(), "route_not_found");
        let post = gateway
            .http1()
            .send(
                "POST",
                "/.well-known/bearward/problems/token_expired",
                &[],
                "",
            )
            .await;
        assert_eq!((post.status, post.header("allow")), (405, "GET, HEAD"));
        // Also under the host that the certificate covers and no route names.
        let request = "GET /.well-known/bearward/problems/token_expired HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        assert!(
            raw(gateway.address(), request.as_bytes())
                .await
                .starts_with("HTTP/1.1 200 ")
        );
    });
}
