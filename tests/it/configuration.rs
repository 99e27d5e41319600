//! `check` names every fault of every broken file, and `run` refuses it without opening a port.

use std::path::{Path, PathBuf};
use std::process::Command;

use bearward::config;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config")
        .join(name)
}

fn files(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder(name))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    files
}

/// Each `invalid/*.toml` has its expected text beside it. `BEARWARD_BLESS=1` writes them anew.
#[test]
fn every_broken_file_has_its_text() {
    let files = files("invalid");
    assert!(files.len() >= 50);
    let mut wrong = Vec::new();
    for file in files {
        let (config, report) = config::load(&file);
        assert!(
            config.is_none() && report.has_errors(),
            "{}",
            file.display()
        );
        let name = file.file_name().expect("a name").to_string_lossy();
        let found = report.pretty().replace(&file.display().to_string(), &name);
        let expected = file.with_extension("txt");
        if std::env::var_os("BEARWARD_BLESS").is_some() {
            std::fs::write(&expected, &found).expect("a file");
        }
        if std::fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("{name}:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_faults_come_in_one_run() {
    let (_, report) = config::load(&folder("invalid/several_faults.toml"));
    let codes: Vec<_> = report
        .diagnostics()
        .iter()
        .map(|fault| fault.code)
        .collect();
    assert_eq!(codes, ["BW0101", "BW0104", "BW0107", "BW0104"]);
}

#[test]
fn run_with_a_broken_file_exits_78_and_binds_no_port() {
    for file in files("invalid") {
        // One that is none would run for ever.
        let (config, _) = config::load(&file);
        assert!(config.is_none(), "{} has no fault", file.display());
        let output = Command::new(env!("CARGO_BIN_EXE_bearward"))
            .args(["run", "--config"])
            .arg(&file)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(78), "{}", file.display());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("error[BW"), "{}: {said}", file.display());
        assert!(!said.contains("bearward serves"), "{said}");
    }
}

#[test]
fn check_speaks_to_people_and_programs() {
    let check = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_bearward"))
            .arg("check")
            .args(arguments)
            .current_dir(folder("invalid"))
            .output()
            .expect("it runs")
    };
    let output = check(&["issuer_unknown.toml"]);
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for line in [
        "error[BW0107]: route `orders` names an issuer that is not defined",
        "  --> issuer_unknown.toml:15:12",
        "15 | issuers = [\"mian\"]",
        "   |            ^^^^^^ no [issuers.mian]; did you mean `main`?",
        "  = help: defined: main",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let output = check(&["issuer_unknown.toml", "--format", "json"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(list[0]["code"], "BW0107");
    assert_eq!(
        (list[0]["line"].as_u64(), list[0]["column"].as_u64()),
        (Some(15), Some(12))
    );
    let output = check(&["nowhere.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stdout).contains("BW0002"));
}

#[test]
fn warnings_fail_only_when_that_is_asked() {
    let text = std::fs::read_to_string(folder("invalid/issuer_unknown.toml")).expect("text");
    let text = text
        .replace("mian", "main")
        .replace("jwks_file", "leeway = \"3m\"\njwks_file");
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("a folder");
    std::fs::copy(self::folder("keys.json"), folder.path().join("keys.json")).expect("a file");
    let file = inner.join("bearward.toml");
    std::fs::write(&file, text).expect("a file");
    for (strict, code) in [(false, 0), (true, 1)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
        command.arg("check").arg(&file);
        if strict {
            command.arg("--strict");
        }
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(code));
        assert!(String::from_utf8_lossy(&output.stdout).contains("warning[BW0202]"));
    }
}

#[test]
fn many_routes_are_checked_and_found() {
    use std::fmt::Write as _;
    let mut text = std::fs::read_to_string(folder("invalid/issuer_unknown.toml"))
        .expect("text")
        .replace("mian", "main");
    for route in 0..500 {
        let _ = write!(
            text,
            "[routes.r{route}]\npath = \"/r{route}/{{*rest}}\"\nupstream = \"orders\"\nissuers = [\"main\"]\n"
        );
    }
    let (config, report) = config::read(&folder("invalid/x.toml"), &text);
    assert!(config.is_some(), "{}", report.pretty());
}

#[test]
fn a_feed_is_warned_of_where_it_is_unsafe_or_pointless() {
    let text = std::fs::read_to_string(folder("invalid/issuer_unknown.toml")).expect("text");
    let text = text.replace("mian", "main");
    for (url, more, code) in [
        ("redis://localhost", "", None),
        ("rediss://:secret@redis.example.com", "", None),
        ("redis://:hunter2@redis.example.com", "", Some("BW0211")),
        (
            "redis://localhost",
            "staleness_max = \"5s\"",
            Some("BW0210"),
        ),
    ] {
        let inner = tempfile::tempdir().expect("a folder");
        let file = inner.path().join("url");
        std::fs::write(&file, url).expect("a file");
        let feed = format!("{more}\n[revocation.feed]\nurl = {{ file = {file:?} }}\n");
        let text = format!("{text}\n[revocation]\n{feed}");
        let (config, report) = config::read(&folder("invalid/x.toml"), &text);
        let shown = report.pretty();
        assert!(config.is_some(), "{shown}");
        match code {
            Some(code) => assert!(shown.contains(code), "{shown}"),
            None => assert!(!shown.contains("warning"), "{shown}"),
        }
        assert!(!shown.contains("hunter2"));
    }
}
