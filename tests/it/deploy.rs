//! What is shipped beside the program, by the tools of those who will use it: units, package, container,
//! Kubernetes, rules of Prometheus, the schema.

use std::path::{Path, PathBuf};
use std::process::Command;

use bearward::config;
use serde_json::Value;

use crate::documents::documents;
use crate::support::gateway::write_certificate;
use crate::support::program::{find, find_in_python, told};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_schema_takes_the_examples_and_no_typing_errors() {
    let test = "the_schema_takes_the_examples_and_no_typing_errors";
    let Some(taplo) = find_in_python(test, "taplo") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let schema = folder.path().join("schema.json");
    let made = Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(["config", "schema"])
        .output()
        .expect("it runs");
    std::fs::write(&schema, &made.stdout).expect("a file");
    let lint = |file: &Path| {
        told(
            Command::new(&taplo)
                .args(["lint", "--no-auto-config", "--schema"])
                .arg(format!("file://{}", schema.display()))
                .arg(file),
        )
    };
    for name in [
        "config/bearward.toml",
        "config/minimal.toml",
        "deploy/kubernetes/base/bearward.toml",
        "deploy/kubernetes/overlays/replicated/bearward.toml",
    ] {
        let (is_good, said) = lint(&root().join(name));
        assert!(is_good, "{name}: {said}");
    }
    let example = text("config/minimal.toml");
    for (good, bad) in [
        (
            "version = 1",
            "version = 1\nlisteners.public.adress = \"x\"",
        ),
        ("version = 1", "version = \"1\""),
        ("version = 1", "version = 1\nserver.drain_timeout = \"5 s\""),
        ("version = 1", "version = 1\nlog.level = \"loud\""),
        ("version = 1", "version = 1\nadmin.token = \"secret\""),
    ] {
        let file = folder.path().join("bad.toml");
        std::fs::write(&file, example.replace(good, bad)).expect("a file");
        let (is_good, said) = lint(&file);
        assert!(!is_good, "{bad}: {said}");
    }
    // With descriptions and defaults.
    let schema: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let leeway = &schema["properties"]["issuers"]["additionalProperties"]["properties"]["leeway"];
    assert_eq!(leeway["default"], "30s");
    assert!(
        leeway["description"]
            .as_str()
            .expect("text")
            .contains("clocks")
    );
}

#[test]
fn the_units_are_sound_and_confined() {
    let Some(analyze) = find("the_units_are_sound_and_confined", "systemd-analyze") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let program = env!("CARGO_BIN_EXE_bearward");
    for name in ["bearward.service", "bearward.socket"] {
        let unit = text(&format!("deploy/{name}")).replace("/usr/bin/bearward", program);
        // The user is made by the package.
        let unit = unit.replace("=bearward\nGroup=bearward", "=daemon\nGroup=daemon");
        std::fs::write(folder.path().join(name), unit).expect("a file");
    }
    let service = folder.path().join("bearward.service");
    for name in ["bearward.service", "bearward.socket"] {
        let (is_good, said) = told(
            Command::new(&analyze)
                .args(["verify", "--man=no"])
                .arg(folder.path().join(name)),
        );
        // Units of the machine that it reads along may have faults of their own.
        let ours: Vec<_> = said
            .lines()
            .filter(|line| line.contains("bearward"))
            .collect();
        assert!(is_good && ours.is_empty(), "{name}: {said}");
    }
    let (is_good, said) = told(
        Command::new(&analyze)
            .args(["security", "--offline=true", "--threshold=20"])
            .arg(&service),
    );
    assert!(is_good, "{said}");
}

#[test]
fn the_container_is_built_by_the_rules() {
    let Some(hadolint) = find_in_python("the_container_is_built_by_the_rules", "hadolint") else {
        return;
    };
    let (is_good, said) = told(Command::new(hadolint).arg(root().join("deploy/Containerfile")));
    assert!(is_good, "{said}");
    let text = text("deploy/Containerfile");
    assert!(text.contains("\nUSER 65532:65532\n"));
}

#[test]
fn the_overlays_are_what_kubernetes_takes() {
    let test = "the_overlays_are_what_kubernetes_takes";
    let (Some(kubectl), Some(validate)) = (
        find(test, "kubectl"),
        find_in_python(test, "kubernetes-validate"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["single", "replicated", "monitored"] {
        let overlay = root().join("deploy/kubernetes/overlays").join(name);
        let made = Command::new(&kubectl)
            .arg("kustomize")
            .arg(&overlay)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{name}: {said}");
        let file = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, &made.stdout).expect("a file");
        let (is_good, said) = told(
            Command::new("/usr/bin/python3")
                .arg(&validate)
                .args(["--strict"])
                .arg(&file)
                .env("PYTHONPATH", root().join("target/python")),
        );
        assert!(is_good, "{name}: {said}");
        assert!(
            said.contains("passed for resource deployment/bearward"),
            "{said}"
        );
        let made = String::from_utf8_lossy(&made.stdout);
        for words in [
            "readOnlyRootFilesystem: true",
            "runAsNonRoot: true",
            "startupProbe:",
            "readinessProbe:",
            "livenessProbe:",
            "kind: PodDisruptionBudget",
            "kind: NetworkPolicy",
        ] {
            assert!(made.contains(words), "{name}: {words}");
        }
        for words in ["kind: ServiceMonitor", "kind: PrometheusRule"] {
            assert_eq!(made.contains(words), name == "monitored", "{name}: {words}");
        }
    }
    // The rules are those that are tested.
    let made = Command::new(root().join("deploy/kubernetes/make-rules"))
        .output()
        .expect("it runs");
    let kept = text("deploy/kubernetes/components/prometheus-operator/rules.yaml");
    assert_eq!(String::from_utf8_lossy(&made.stdout), kept);
}

/// What the pods run with has no faults, and drains within the time that they are given.
#[test]
fn the_configurations_of_pods_load() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    std::fs::create_dir_all(path.join("tls")).expect("a folder");
    write_certificate(path, "tls/tls", &["api.example.com"]);
    std::fs::write(path.join("url"), "rediss://:password@redis:6379/0").expect("a file");
    for name in [
        "deploy/kubernetes/base/bearward.toml",
        "deploy/kubernetes/overlays/replicated/bearward.toml",
    ] {
        let text = text(name)
            .replace("/etc/bearward/tls/", "tls/")
            .replace("/etc/bearward/redis/", "");
        let (config, report) = config::read(&path.join("bearward.toml"), &text);
        assert!(config.is_some(), "{name}: {}", report.pretty());
        assert_eq!(report.pretty(), "", "{name}");
    }
    assert!(
        text("deploy/kubernetes/base/deployment.yaml")
            .contains("terminationGracePeriodSeconds: 40")
    );
}

#[test]
fn every_alert_fires_in_its_fault_and_has_a_runbook() {
    let test = "every_alert_fires_in_its_fault_and_has_a_runbook";
    let rules = text("deploy/prometheus/rules.yaml");
    let tests = text("deploy/prometheus/tests.yaml");
    let index = text("docs/runbooks/README.md");
    let alerts: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 15);
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert}");
        assert!(index.contains(&format!("[{alert}]({alert}.md)")), "{alert}");
        let page = text(&format!("docs/runbooks/{alert}.md"));
        for part in ["## What it means", "## Where to look", "## How to mend it"] {
            assert!(page.contains(part), "{alert}: {part}");
        }
    }
    let Some(promtool) = find(test, "promtool") else {
        return;
    };
    let folder = root().join("deploy/prometheus");
    for arguments in [
        ["check", "rules", "rules.yaml"],
        ["test", "rules", "tests.yaml"],
    ] {
        let (is_good, said) = told(Command::new(&promtool).args(arguments).current_dir(&folder));
        assert!(is_good, "{said}");
    }
}

#[test]
fn the_book_builds() {
    let Some(mdbook) = find("the_book_builds", "mdbook") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (is_good, said) = told(
        Command::new(mdbook)
            .args(["build", "--dest-dir"])
            .arg(folder.path())
            .arg(root().join("docs")),
    );
    assert!(
        is_good && !said.contains("ERROR") && !said.contains("WARN"),
        "{said}"
    );
    assert!(folder.path().join("clients.html").exists());
    // Every page is in it.
    let summary = text("docs/SUMMARY.md");
    for name in documents() {
        if let Some(name) = name.strip_prefix("docs/").filter(|it| *it != "SUMMARY.md") {
            assert!(summary.contains(&format!("({name})")), "{name}");
        }
    }
}

#[test]
fn what_a_release_is_made_of_is_told() {
    let Some(python) = find("what_a_release_is_made_of_is_told", "python3") else {
        return;
    };
    let made = Command::new(python)
        .arg(root().join("deploy/sbom"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let told: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let components = told["components"].as_array().expect("components");
    let find = |name: &str| components.iter().find(|it| it["name"] == name);
    for name in [
        "rustls",
        "aws-lc-rs",
        "hyper",
        "jsonwebtoken",
        "moka",
        "tokio",
    ] {
        let it = find(name).unwrap_or_else(|| panic!("{name}"));
        assert!(it["licenses"].is_array() && it["hashes"].is_array(), "{it}");
    }
    // What only tests it is not in it.
    assert!(find("proptest").is_none());
}
