//! The reference pages are what the program says of itself. `BEARWARD_BLESS=1` writes them anew.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::process::free_port;
use crate::support::{Bearward, TestIssuer, Upstream, block_on};

fn says(arguments: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(arguments)
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    output.status.success().then_some(text)
}

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/reference")
        .join(name);
    if std::env::var_os("BEARWARD_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/reference/{name} is old: BEARWARD_BLESS=1 cargo test reference"
    );
}

/// The tables below one, each with its keys.
fn tables(schema: &Value, place: &str, out: &mut String) {
    let Some(keys) = schema["properties"].as_object() else {
        return;
    };
    let name = if place.is_empty() { "The file" } else { place };
    let _ = write!(out, "\n## {name}\n\n");
    if let Some(text) = schema["description"].as_str().filter(|_| !place.is_empty()) {
        let _ = writeln!(out, "{text}\n");
    }
    let mut rows = String::new();
    let mut below = Vec::new();
    for (key, value) in keys {
        let is_list = value["type"] == "array" && value["items"]["properties"].is_object();
        let named = &value["additionalProperties"];
        let at = |more: &str| match place {
            "" => format!("{key}{more}"),
            place => format!("{place}.{key}{more}"),
        };
        // A secret says in one of three ways where it is.
        let is_secret = value["maxProperties"] == 1;
        let is_table = value["properties"].is_object() && !is_secret;
        if is_table {
            below.push((value.clone(), at("")));
        } else if is_list {
            let mut items = value["items"].clone();
            items["description"] = value["description"].clone();
            below.push((items, at("[]")));
        } else if named["properties"].is_object() {
            below.push((named.clone(), at(".NAME")));
        }
        let default = match &value["default"] {
            Value::Null => "–".to_owned(),
            other => format!("`{other}`"),
        };
        let when = match value["x-needs-restart"] == true {
            true => "restart",
            // Of a table it is said at its keys.
            false if is_table || is_list || named.is_object() => "",
            false => "reload",
        };
        let text = value["description"]
            .as_str()
            .unwrap_or_default()
            .replace('|', "\\|");
        let _ = writeln!(rows, "| `{key}` | {default} | {when} | {text} |");
    }
    if !rows.is_empty() {
        let _ = write!(
            out,
            "| key | default | counts after | |\n|---|---|---|---|\n{rows}"
        );
    }
    for (table, place) in below {
        tables(&table, &place, out);
    }
}

#[test]
fn the_configuration_page_has_every_key() {
    let schema = says(&["config", "schema"]).expect("it says");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let mut text = "# Configuration\n\nMade from `bearward config schema`. An example with every key is config/bearward.toml; \
                    `bearward config show` says what counts in your file. `–`: leaving the key out means something of its \
                    own, or it must be there.\n"
        .to_owned();
    tables(&schema, "", &mut text);
    compare("configuration.md", &text);
}

#[test]
fn the_page_of_findings_has_every_code() {
    let mut text = "# Findings of check\n\nMade from `bearward explain CODE`. `BW00` and `BW01` are errors, `BW02` are warnings.\n"
        .to_owned();
    for number in 1..300 {
        let code = format!("BW{number:04}");
        let Some(page) = says(&["explain", &code]) else {
            continue;
        };
        let mut parts = page.trim_end().split("\n\n");
        let title = parts.next().expect("a title");
        let _ = write!(text, "\n## {title}\n");
        for part in parts {
            let part = match part.split_once("\n  ") {
                Some((name, words)) => format!("{name}: {words}"),
                None => part.to_owned(),
            };
            let _ = write!(text, "\n{part}\n");
        }
    }
    compare("findings.md", &text);
}

/// The help of a command, and of those below it.
fn commands(words: &[&str], out: &mut String) {
    let mut arguments = words.to_vec();
    arguments.push("--help");
    let help = says(&arguments).expect("help");
    let _ = write!(
        out,
        "\n## bearward {}\n\n```text\n{}\n```\n",
        words.join(" "),
        help.trim_end()
    );
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    for line in list.lines().take_while(|line| !line.is_empty()) {
        let name = line
            .strip_prefix("  ")
            .filter(|rest| !rest.starts_with(' '));
        let name = name.and_then(|rest| rest.split_whitespace().next());
        if let Some(name) = name.filter(|name| *name != "help") {
            let mut words = words.to_vec();
            words.push(name);
            commands(&words, out);
        }
    }
}

#[test]
fn the_page_of_commands_has_every_one() {
    let mut text = "# Commands\n\nMade from `--help`. Data goes to standard output, talk to standard error. Exit codes: 0 good, 1 a \
                    negative verdict or findings, 2 usage, 69 the gateway's admin listener is not reachable, 70 a fault of \
                    ours, 71 the system refuses, 78 a configuration with faults.\n"
        .to_owned();
    commands(&[], &mut text);
    assert!(
        text.lines()
            .all(|line| line.starts_with("Made from") || line.chars().count() <= 80)
    );
    compare(
        "commands.md",
        &text.replace("## bearward \n", "## bearward\n"),
    );
}

#[test]
fn the_page_of_metrics_has_every_one() {
    let (main, upstream) = (
        TestIssuer::new("https://login.test/", "ES256", "main-1"),
        Upstream::echo(),
    );
    let nobody = format!("127.0.0.1:{}", free_port());
    let provider = crate::support::Provider::start();
    provider.publish(&[&main]);
    let gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.main]\nissuer = \"{}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{}/jwks\"\njwks = {{ allow_http_loopback = true }}",
            main.identifier, provider.base
        ))
        .table("[routes.orders]\npath = \"/orders/{*rest}\"\nupstream = \"orders\"\nissuers = [\"main\"]\nauth = \"report\"")
        .secret("redis-url", &format!("redis://{nobody}"))
        .table("[revocation.feed]\nurl = { file = \"redis-url\" }")
        .table(&format!("[tracing]\notlp = \"http://{nobody}\""))
        .table("[issuers.asked]\nissuer = \"https://asked.test/\"\naudiences = [\"https://api.test\"]\n[issuers.asked.introspection]\nendpoint = \"https://asked.test/introspect\"\nclient_id = \"x\"\nclient_secret = { file = \"redis-url\" }")
        .start();
    let page = block_on(async {
        crate::support::eventually("the clock of the issuer", async || {
            gateway.http1().get("/orders/1", &main.token().sign()).await;
            gateway.http1().get("/orders/1", "a.b.c").await;
            gateway
                .metrics()
                .await
                .contains("bearward_clock_offset_seconds{")
        })
        .await;
        gateway.metrics().await
    });
    let mut text = "# Metrics\n\nMade from `/metrics` of the admin and `[probes]` listeners. Labels are bounded: routes, issuers, \
                    upstreams and listeners are names of the configuration.\n\n| metric | kind | labels | |\n|---|---|---|---|\n"
        .to_owned();
    for line in page.lines() {
        let Some((name, help)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let kind = format!("# TYPE {name} ");
        let kind = page
            .lines()
            .find_map(|line| line.strip_prefix(&kind))
            .expect("a kind");
        let of = |line: &&str| {
            let rest = line.strip_prefix(name)?;
            let rest = rest.strip_prefix("_bucket").unwrap_or(rest);
            rest.starts_with(['{', ' ']).then(|| rest.to_owned())
        };
        let series = page.lines().find_map(|line| of(&line)).unwrap_or_default();
        let labels: Vec<_> = series
            .split(['{', ','])
            .filter_map(|part| part.split_once("=\""))
            .map(|(label, _)| format!("`{label}`"))
            .filter(|label| label != "`le`")
            .collect();
        let _ = writeln!(
            text,
            "| `{name}` | {kind} | {} | {help} |",
            labels.join(" ")
        );
    }
    compare("metrics.md", &text);
}

#[test]
fn the_page_of_audit_lines_has_every_member() {
    let schema: Value =
        serde_json::from_str(include_str!("../../config/audit.schema.json")).expect("JSON");
    let mut text = "# Audit lines\n\nMade from config/audit.schema.json, which a line can be checked by. One JSON object a line; members \
                    are only ever added. A member in bold is always there.\n"
        .to_owned();
    for kind in schema["oneOf"].as_array().expect("kinds") {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let _ = write!(
            text,
            "\n## {}\n\n{}\n\n| member | type | |\n|---|---|---|\n",
            word(&kind["title"]),
            word(&kind["description"])
        );
        let required = kind["required"].as_array().cloned().unwrap_or_default();
        for (name, member) in kind["properties"].as_object().expect("members") {
            let of = match (&member["const"], &member["enum"]) {
                (Value::String(word), _) => format!("`{word}`"),
                (_, Value::Array(words)) => {
                    let words: Vec<_> = words.iter().map(|it| format!("`{}`", word(it))).collect();
                    words.join(", ")
                }
                _ => match &member["type"] {
                    Value::Array(kinds) => kinds.iter().map(word).collect::<Vec<_>>().join(" or "),
                    kind => word(kind),
                },
            };
            let bold = if required.iter().any(|it| it == name) {
                "**"
            } else {
                ""
            };
            let about = word(&member["description"]).replace('|', "\\|");
            let _ = writeln!(text, "| {bold}`{name}`{bold} | {of} | {about} |");
        }
    }
    compare("audit.md", &text);
}
