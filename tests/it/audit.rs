//! The audit in a file: its schema, rotation, the chain and what breaks it, and a full disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::issuer::NOW;
use crate::support::program::{find, missing};
use crate::support::{Bearward, Process, TestIssuer, Upstream, block_on, eventually};

fn chained(issuer: &TestIssuer, upstream: &Upstream, file: &str) -> Bearward {
    let bearward = Bearward::usual(issuer, upstream);
    let audit = format!("output = \"file\"\nfile = \"{file}\"\nchain = true\nallow = \"100%\"");
    bearward.auditing(&audit)
}

fn issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

fn verify(arguments: &[&Path]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(["audit", "verify"])
        .args(arguments)
        .output()
        .expect("it runs");
    (
        output.status.code(),
        String::from_utf8(output.stdout).expect("text"),
    )
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn schema() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/audit.schema.json")
}

/// Lines of every kind, in a file.
fn file_of_every_kind() -> (tempfile::TempDir, PathBuf) {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let gateway = chained(&issuer, &upstream, "audit.jsonl").start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = gateway.folder().join("audit.jsonl");
    block_on(async {
        let good = issuer.token().sign();
        let late = issuer.token().with("exp", NOW - 300).sign();
        let poor = issuer.token().with("scope", "x").sign();
        for token in [&*good, &*late, &*poor, "nonsense"] {
            gateway.http2().get("/orders/1", token).await;
        }
        gateway.http1().get("/nothing", "").await;
        let selector =
            json!({ "selector": { "issuer": "main", "subject": "alice" }, "reason": "test" });
        gateway
            .ask_admin("POST", "/api/v1/revocations", Some(&selector))
            .await;
        assert_eq!(gateway.http1().get("/orders/1", &good).await.status, 401);
        // The file of keys changes: an event of its own.
        let other = TestIssuer::new(&issuer.identifier, "ES256", "main-2");
        std::fs::write(gateway.folder().join("main.json"), other.jwks().to_string())
            .expect("a file");
        assert_eq!(gateway.refresh("main").await.0, 200);
        gateway.reload().await.expect("a reload");
    });
    let kept = folder.path().join("audit.jsonl");
    let _ = gateway.drain_then(|| std::fs::copy(&path, &kept).expect("a file"));
    (folder, kept)
}

#[test]
fn every_line_is_as_the_schema_says() {
    let (_folder, file) = file_of_every_kind();
    let all = lines(&file);
    let events: BTreeSet<_> = all
        .iter()
        .map(|line| line["event"].as_str().expect("an event"))
        .collect();
    assert_eq!(events, ["admin", "decision", "key"].into());
    let schema_text = std::fs::read_to_string(schema()).expect("a file");
    let schema_json: Value = serde_json::from_str(&schema_text).expect("JSON");
    let kinds = schema_json["oneOf"].as_array().expect("kinds");
    // Without another program: names that are known, and none that is missing.
    for line in &all {
        let kind = kinds
            .iter()
            .find(|kind| kind["properties"]["event"]["const"] == line["event"]);
        let kind = kind.unwrap_or_else(|| panic!("no kind for {line}"));
        for name in line.as_object().expect("an object").keys() {
            assert!(kind["properties"].get(name).is_some(), "{name} in {line}");
        }
        for name in kind["required"].as_array().expect("names") {
            assert!(
                line.get(name.as_str().expect("a name")).is_some(),
                "{name} in {line}"
            );
        }
    }
    const TEST: &str = "audit::every_line_is_as_the_schema_says";
    let python = Path::new("/usr/bin/python3");
    let has = Command::new(python)
        .args(["-c", "import jsonschema"])
        .output();
    if !has.is_ok_and(|output| output.status.success()) {
        return missing(TEST, "python3 with jsonschema");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/audit_schema.py");
    let output = Command::new(python)
        .arg(script)
        .arg(schema())
        .arg(&file)
        .output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        all.len().to_string()
    );
}

#[test]
fn a_chain_that_was_touched_is_found_out() {
    let (folder, file) = file_of_every_kind();
    let (code, told) = verify(&[&file]);
    assert_eq!(code, Some(0), "{told}");
    let last = told.trim().rsplit(' ').next().expect("a hash").to_owned();
    let text = std::fs::read_to_string(&file).expect("a file");
    let all: Vec<&str> = text.lines().collect();
    let copy = folder.path().join("copy");
    let with = |lines: &[&str]| {
        std::fs::write(&copy, lines.join("\n") + "\n").expect("a file");
        verify(&[&copy])
    };
    // Changed.
    let changed = all[1].replace("\"status\":401", "\"status\":200");
    assert_ne!(changed, all[1]);
    let mut lines = all.clone();
    lines[1] = &changed;
    let (code, told) = with(&lines);
    assert_eq!(code, Some(1));
    assert!(
        told.contains(":3: the line before it was changed"),
        "{told}"
    );
    // Taken out, put in, swapped.
    let mut lines = all.clone();
    lines.remove(2);
    assert!(with(&lines).1.contains(":3: missing before it: 1 line"));
    let mut lines = all.clone();
    lines.insert(2, all[1]);
    assert!(with(&lines).1.contains("put in, or out of order"));
    let mut lines = all.clone();
    lines.insert(2, "{\"event\":\"decision\"}");
    assert!(
        with(&lines)
            .1
            .contains(":3: a line without a place in the chain")
    );
    // Without its beginning, or with one that says it never was in the chain.
    assert!(
        with(&all[2..])
            .1
            .contains("the chain begins before: this is number 3")
    );
    let bare: Vec<String> = all[..3]
        .iter()
        .map(|line| format!("{}}}", line.split(",\"seq\"").next().expect("a beginning")))
        .collect();
    let mut lines: Vec<&str> = bare.iter().map(String::as_str).collect();
    lines.extend(&all[3..]);
    let (code, told) = with(&lines);
    assert_eq!(code, Some(1));
    assert!(
        told.contains("3 lines without a chain, where it has begun before"),
        "{told}"
    );
    let forged = all[0].replace("\"prev\":\"00", "\"prev\":\"ff");
    assert!(
        with(&[&forged])
            .1
            .contains("the first line of a chain follows no other")
    );
    // Who knows the hash before may begin in the middle.
    let value: Value = serde_json::from_str(all[2]).expect("JSON");
    std::fs::write(&copy, all[2..].join("\n") + "\n").expect("a file");
    for (hash, expected) in [
        (value["prev"].as_str().expect("a hash"), 0),
        (&*"0".repeat(64), 1),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_bearward"))
            .args(["audit", "verify", "--after", hash])
            .arg(&copy)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(expected));
    }
    // Cut at the end: only who knows the last hash finds that.
    let (code, _) = with(&all[..all.len() - 1]);
    assert_eq!(code, Some(0));
    let output = Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(["audit", "verify", "--contains", &last, "--json"])
        .arg(&copy)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        told["findings"],
        json!(["all files: no line has the hash that was asked for"])
    );
    assert_eq!(verify(&[&folder.path().join("nothing")]).0, Some(2));
    std::fs::write(&copy, "{\"event\":\"decision\"}\n").expect("a file");
    assert!(verify(&[&copy]).1.contains("there is no chain"));
}

#[test]
fn a_file_is_rotated_by_signal_without_a_gap() {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let (process, folder) = Process::start(chained(&issuer, &upstream, "audit.jsonl"));
    let file = folder.path().join("audit.jsonl");
    let moved = |n: usize| folder.path().join(format!("audit.{n}"));
    let client = crate::support::Client::http1(process.public);
    block_on(async {
        for (n, signal) in ["USR1", "HUP", "USR1"].into_iter().enumerate() {
            client.get("/orders/1", "nonsense").await;
            eventually("a line", async || !lines(&file).is_empty()).await;
            std::fs::rename(&file, moved(n)).expect("a move");
            process.signal(signal);
            eventually("a new file", async || {
                client.get("/orders/1", "nonsense").await;
                file.exists()
            })
            .await;
        }
    });
    drop(process);
    let files = [moved(0), moved(1), moved(2), file];
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let (code, told) = verify(&paths);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("numbers 1 to "), "{told}");
    let (code, told) = verify(&[paths[0], paths[2]]);
    assert_eq!(code, Some(1));
    assert!(told.contains("missing before it: "), "{told}");
    let (code, told) = verify(&paths[1..]);
    assert_eq!(code, Some(1));
    assert!(told.contains("--after HASH"), "{told}");
}

#[test]
fn a_full_disk_loses_lines_and_refuses_nobody() {
    if find("audit::a_full_disk_loses_lines_and_refuses_nobody", "sh").is_none()
        || !Path::new("/dev/full").exists()
    {
        return;
    }
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let gateway = chained(&issuer, &upstream, "/dev/full").start();
    block_on(async {
        for _ in 0..5 {
            let answer = gateway
                .http1()
                .get("/orders/1", &issuer.token().sign())
                .await;
            assert_eq!(answer.status, 200);
        }
        let lost = "bearward_audit_events_total{result=\"dropped\"}";
        eventually("the count", async || gateway.metric(lost).await >= 5.0).await;
        assert!(
            gateway
                .metric("bearward_audit_events_total{result=\"written\"}")
                .await
                < 1.0
        );
    });
}

#[test]
fn a_file_that_cannot_be_opened_stops_the_start() {
    let (issuer, upstream) = (issuer(), Upstream::echo());
    let folder = chained(&issuer, &upstream, "nowhere/audit.jsonl").into_files();
    let output = Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(["run", "--config"])
        .arg(folder.path().join("bearward.toml"))
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(71));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("the audit file") && said.contains("nowhere/audit.jsonl"),
        "{said}"
    );
}
