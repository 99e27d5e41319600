//! A day in an operator's life: begin, check, look, change, deploy. By the commands alone.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::process::free_port;
use crate::support::{Bearward, Process, Provider, TestIssuer, Upstream, block_on, usual};

/// The command in a folder, with variables of the environment.
fn bearward(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(arguments)
        .current_dir(folder)
        .envs(variables.iter().copied())
        .output()
        .expect("it runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, text).expect("a file");
}

const MAIN: &str = r#"version = 1
include = ["routes.d/*.toml"]
[server]
state_dir = "${WHERE:-state}"
[listeners.public]
address = "127.0.0.1:7001"
clear_text = true
[issuers.main]
issuer = "https://login.test/"
audiences = ["https://api.test"]
algorithms = ["RS256"]
discovery = true
[upstreams.api]
servers = ["http://127.0.0.1:7002"]
[routes.main]
path = "/"
upstream = "api"
issuers = ["main"]
rules = [{ scopes_all = ["read"] }]
"#;
const ORDERS: &str = r#"[routes.orders]
path = "/orders"
upstream = "api"
issuers = ["main"]
rules = [{ scopes_all = ["read"] }]
"#;

#[test]
fn files_that_are_included_count_as_one_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write(folder, "bearward.toml", MAIN);
    write(folder, "routes.d/a.toml", ORDERS);
    write(folder, "routes.d/b.toml~", "not TOML");
    let checked = bearward(folder, &["check", "--strict"], &[]);
    assert_eq!(checked.status.code(), Some(0), "{}", out(&checked));
    let shown = out(&bearward(folder, &["config", "show", "--said"], &[]));
    for line in [
        "routes.main.path = \"/\"",
        "# bearward.toml:16",
        "routes.orders.path = \"/orders\"",
        "# routes.d/a.toml:2",
    ] {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
    // What is wrong is told with its own file, and with the place that it has to do with.
    write(
        folder,
        "routes.d/b.toml",
        &ORDERS
            .replace("orders]", "other]")
            .replace("api\"", "apj\""),
    );
    write(
        folder,
        "routes.d/c.toml",
        "[routes.orders]\npath = \"/c\"\n[cache]\nentries = 5\n",
    );
    let checked = bearward(folder, &["check"], &[]);
    assert_eq!(checked.status.code(), Some(78));
    let shown = out(&checked);
    for words in [
        "routes.d/b.toml:3:12",
        "did you mean `api`?",
        "error[BW0111]: [routes.orders] is there twice",
        "::: routes.d/a.toml:1:1",
        "error[BW0111]: `cache` in an included file",
    ] {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
    assert!(said(&checked).contains("bearward explain BW"));
    // Two that collide: each is named.
    write(folder, "routes.d/c.toml", "");
    write(
        folder,
        "routes.d/b.toml",
        &ORDERS.replace("orders]", "other]"),
    );
    let shown = out(&bearward(folder, &["check"], &[]));
    assert!(shown.contains("error[BW0109]"), "{shown}");
    assert!(
        shown.contains("--> routes.d/b.toml:1:1") && shown.contains("::: routes.d/a.toml:1:1"),
        "{shown}"
    );
    for file in ["a.toml", "b.toml", "c.toml"] {
        std::fs::remove_file(folder.join("routes.d").join(file)).expect("a file");
    }
    let shown = out(&bearward(folder, &["check"], &[]));
    assert!(shown.contains("warning[BW0219]"), "{shown}");
    std::fs::remove_dir_all(folder.join("routes.d")).expect("a folder");
    let shown = out(&bearward(folder, &["check"], &[]));
    assert!(
        shown.contains("`include`: `routes.d/*.toml` cannot be read"),
        "{shown}"
    );
}

#[test]
fn the_environment_stands_before_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write(
        folder,
        "bearward.toml",
        &MAIN.replace("include", "# include"),
    );
    let show = |variables: &[(&str, &str)]| {
        let output = bearward(folder, &["config", "show", "--json"], variables);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let values: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        move |key: &str| {
            let value = values.iter().find(|value| value["key"] == key);
            let value = value.unwrap_or_else(|| panic!("{key}"));
            (value["value"].clone(), value["file"].clone())
        }
    };
    let find = show(&[]);
    assert_eq!(find("log.level"), (json!("\"info\""), Value::Null));
    assert_eq!(find("issuers.main.leeway"), (json!("\"30s\""), Value::Null));
    // What stands for a secret is not told.
    assert_eq!(
        find("server.state_dir"),
        (json!("\"${WHERE:-state}\""), json!("bearward.toml"))
    );
    let find = show(&[
        ("BEARWARD__SERVER__STATE_DIR", "/var/lib/x"),
        ("BEARWARD__SERVER__WORKERS", "3"),
        (
            "BEARWARD__ISSUERS__MAIN__AUDIENCES",
            "[\"https://other.test\"]",
        ),
        ("BEARWARD__ADMIN__CONSOLE", "false"),
    ]);
    assert_eq!(
        find("server.state_dir"),
        (
            json!("\"/var/lib/x\""),
            json!("BEARWARD__SERVER__STATE_DIR")
        )
    );
    assert_eq!(find("server.workers").0, "3");
    assert_eq!(find("issuers.main.audiences").0, "[\"https://other.test\"]");
    assert_eq!(find("admin.console").0, "false");
    for (name, value, words) in [
        (
            "BEARWARD__SERVER__WORKER",
            "3",
            "unknown key `worker` in [server]",
        ),
        (
            "BEARWARD__ADMIN__CONSOLE",
            "perhaps",
            "`console` has the wrong type",
        ),
        (
            "BEARWARD__ROUTES__MAIN__UPSTREAM",
            "nowhere",
            "an upstream that is not defined",
        ),
    ] {
        let checked = bearward(folder, &["check"], &[(name, value)]);
        assert_eq!(checked.status.code(), Some(78), "{name}");
        let shown = out(&checked);
        assert!(shown.contains(words), "{words} in\n{shown}");
        assert!(shown.contains(&format!("--> {name}:1:")), "{shown}");
    }
    // A secret is none of them, however it is written.
    for value in [
        "hunter2-hunter2-hunter2",
        "{hunter2",
        "{ file = [\"hunter2\"] }",
    ] {
        for arguments in [["check"], ["status"]] {
            let checked = bearward(folder, &arguments, &[("BEARWARD__ADMIN__TOKEN", value)]);
            let shown = format!("{}{}", out(&checked), said(&checked));
            assert!(!shown.contains("hunter2"), "{value}: {shown}");
            assert_ne!(checked.status.code(), Some(0), "{value}: {shown}");
        }
    }
    // What a variable stands for is not told either.
    let level = MAIN
        .replace("include", "# include")
        .replace("[server]", "[log]\nlevel = \"${LEVEL}\"\n[server]");
    write(folder, "bearward.toml", &level);
    let checked = bearward(folder, &["check"], &[("LEVEL", "hunter2")]);
    let shown = out(&checked);
    assert!(
        shown.contains("`${LEVEL}` is unknown") && !shown.contains("hunter2"),
        "{shown}"
    );
    // Of two that are alike none is meant.
    let two = format!(
        "{}[issuers.a-b]\nissuer = \"https://a.test/\"\naudiences = [\"a\"]\nalgorithms = [\"RS256\"]\ndiscovery = true\n",
        MAIN.replace("include", "# include")
    );
    write(folder, "bearward.toml", &two);
    let find = show(&[("BEARWARD__ISSUERS__A_B__AUDIENCES", "b, c")]);
    assert_eq!(find("issuers.a-b.audiences").0, "[\"b\", \"c\"]");
    let checked = bearward(folder, &["check"], &[("BEARWARD__INCLUDE", "x.toml")]);
    assert!(
        out(&checked).contains("`include` stands in the file alone"),
        "{}",
        out(&checked)
    );
}

#[test]
fn secrets_come_from_credentials_of_systemd_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let text = format!(
        "{}[admin]\ntoken = {{ credential = \"admin\" }}\n",
        MAIN.replace("include", "# include")
    );
    write(folder, "bearward.toml", &text);
    write(folder, "credentials/admin", "0123456789abcdef\n");
    let given = folder.join("credentials").display().to_string();
    let with = [("CREDENTIALS_DIRECTORY", given.as_str())];
    let checked = bearward(folder, &["check"], &with);
    assert_eq!(checked.status.code(), Some(0), "{}", out(&checked));
    let checked = bearward(folder, &["check"], &[("CREDENTIALS_DIRECTORY", "/nowhere")]);
    assert!(
        out(&checked).contains("`admin` cannot be read"),
        "{}",
        out(&checked)
    );
    let shown = out(&bearward(folder, &["check"], &[]));
    assert!(shown.contains("there is no credential `admin`"), "{shown}");
    write(
        folder,
        "bearward.toml",
        &text.replace("\"admin\"", "\"../bearward.toml\""),
    );
    let shown = out(&bearward(folder, &["check"], &with));
    assert!(shown.contains("there is no credential"), "{shown}");
}

#[test]
fn findings_are_told_to_code_hosts_and_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write(
        folder,
        "bearward.toml",
        &MAIN
            .replace("\"main\"]", "\"mian\"]")
            .replace("rules", "# rules"),
    );
    write(folder, "routes.d/a.toml", "");
    let checked = bearward(folder, &["check", "--format", "sarif"], &[]);
    assert_eq!(checked.status.code(), Some(78));
    let log: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let result = run["results"].as_array().expect("results").iter();
    let result = result
        .clone()
        .find(|it| it["ruleId"] == "BW0107")
        .expect("it");
    assert_eq!(result["level"], "error");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "bearward.toml");
    assert_eq!(
        place["region"],
        json!({ "startLine": 18, "startColumn": 12 })
    );
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    assert!(rules.iter().any(|rule| rule["id"] == "BW0107"));
    for code in ["BW0107", "bw0201", "token_expired"] {
        let explained = bearward(folder, &["explain", code], &[]);
        assert_eq!(explained.status.code(), Some(0));
        assert!(out(&explained).contains("How to mend it"), "{code}");
    }
    let explained = bearward(folder, &["explain", "BW017"], &[]);
    assert_eq!(explained.status.code(), Some(2));
    assert!(
        said(&explained).contains("did you mean `BW0"),
        "{}",
        said(&explained)
    );
}

#[test]
fn a_configuration_is_begun_by_what_the_issuer_says() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let issuer = format!("{}/", provider.base);
    let main = TestIssuer::new(&issuer, "ES256", "main-1");
    provider.publish(&[&main]);
    let metadata = json!({ "issuer": issuer, "jwks_uri": format!("{}/jwks", provider.base) });
    provider.set(
        "/.well-known/openid-configuration",
        200,
        &metadata.to_string(),
    );
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let listen = format!("127.0.0.1:{}", free_port());
    let api = format!("http://{}", upstream.address);
    let arguments = [
        "init",
        "--issuer",
        &provider.base,
        "--audience",
        "https://api.test",
        "--upstream",
        &api,
        "--listen",
        &listen,
        "--allow-http-loopback",
    ];
    let begun = bearward(folder, &arguments, &[]);
    assert_eq!(begun.status.code(), Some(0), "{}", said(&begun));
    let text = std::fs::read_to_string(folder.join("bearward.toml")).expect("a file");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    // Two of them are for a development issuer without TLS alone.
    assert!(lines.count() <= 15 + 2, "{text}");
    assert!(text.contains("algorithms = [\"ES256\"]"), "{text}");
    // Nothing is written over.
    let again = bearward(folder, &arguments, &[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(
        said(&again).contains("is there already"),
        "{}",
        said(&again)
    );
    // It works as it is: the first 200.
    let port = format!("127.0.0.1:{}", free_port());
    let variables = [
        ("BEARWARD__ADMIN__ADDRESS", port.as_str()),
        ("BEARWARD__LOG__FORMAT", "json"),
    ];
    let doctor = bearward(folder, &["doctor"], &variables);
    let shown = out(&doctor);
    for line in [
        "✓ issuer main              1 key from",
        "takes connections",
        "is free",
        "✓ state folder",
    ] {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
    command.arg("run").current_dir(folder).envs(variables);
    let gateway = Process::of(command);
    block_on(async {
        let request = http::Request::get("http://api.test/")
            .header("host", "api.test")
            .header(
                "authorization",
                format!("Bearer {}", main.token_now().sign()),
            )
            .body(http_body_util::Full::default())
            .expect("a request");
        let answer = crate::support::client::plain_exchange(gateway.public, request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
    let status = bearward(folder, &["status"], &variables);
    assert_eq!(status.status.code(), Some(0), "{}", said(&status));
    assert!(
        out(&status).contains("1 allowed, 0 refused or failed"),
        "{}",
        out(&status)
    );
    let doctor = bearward(folder, &["doctor", "--json"], &variables);
    let found: Vec<Value> = serde_json::from_slice(&doctor.stdout).expect("JSON");
    let gateway_found = found.iter().find(|it| it["what"] == "gateway").expect("it");
    assert_eq!(gateway_found["state"], "good", "{gateway_found}");
}

#[test]
fn an_issuer_that_does_not_answer_begins_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let base = format!("http://127.0.0.1:{}", free_port());
    for (arguments, code, words) in [
        (
            vec!["--issuer", &base, "--allow-http-loopback"],
            1,
            "did not come",
        ),
        (
            vec!["--issuer", "login.test"],
            2,
            "write https://login.test",
        ),
        (vec!["--offline", "--listen", "0.0.0.0:80"], 2, "clear text"),
        (
            vec!["--offline", "--upstream", "127.0.0.1:80"],
            2,
            "write http://HOST:PORT",
        ),
        (vec!["--offline", "--audience", ""], 2, "nothing is written"),
        (
            vec!["--offline", "nowhere/bearward.toml"],
            71,
            "cannot be written",
        ),
    ] {
        let mut all = vec!["init"];
        all.extend(arguments);
        let begun = bearward(folder, &all, &[]);
        assert_eq!(begun.status.code(), Some(code), "{all:?}");
        assert!(said(&begun).contains(words), "{words} in {}", said(&begun));
    }
    assert_eq!(std::fs::read_dir(folder).expect("a folder").count(), 0);
    assert_eq!(bearward(folder, &["init"], &[]).status.code(), Some(0));
}

#[test]
fn the_doctor_says_what_is_ill_and_what_to_do() {
    let (main, _) = (
        TestIssuer::new("https://login.test/", "ES256", "main-1"),
        (),
    );
    let (taken, nobody) = (Upstream::echo(), format!("127.0.0.1:{}", free_port()));
    let folder = Bearward::new()
        .at_port(taken.address.port())
        .trusting("main", &main, "")
        .table(&format!("[issuers.gone]\nissuer = \"http://{nobody}/\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"http://{nobody}/keys\"\njwks = {{ allow_http_loopback = true }}"))
        .upstream_of("orders", &[&format!("http://{nobody}")], "")
        .table("[routes.orders]\npath = \"/\"\nupstream = \"orders\"\nissuers = [\"main\", \"gone\"]\nrules = [{ scopes_all = [\"a\"] }]")
        .into_files();
    let doctor = bearward(folder.path(), &["doctor"], &[]);
    assert_eq!(doctor.status.code(), Some(1));
    let shown = out(&doctor);
    for line in [
        "✓ issuer main              1 key from",
        "✗ issuer gone",
        "✗ listener public",
        "end what listens there",
        "✗ upstream orders",
        "to do: start it",
    ] {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
    write(folder.path(), "bearward.toml", "version = 2");
    let doctor = bearward(folder.path(), &["doctor", "--json"], &[]);
    assert_eq!(doctor.status.code(), Some(78));
    let found: Vec<Value> = serde_json::from_slice(&doctor.stdout).expect("JSON");
    assert_eq!(
        (&found[0]["what"], &found[0]["state"]),
        (&json!("configuration"), &json!("bad"))
    );
    // A folder that anybody may write to is none for `run`, and so none for the doctor.
    let open = tempfile::tempdir().expect("a folder");
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(open.path(), everybody).expect("a folder");
    write(
        folder.path(),
        "bearward.toml",
        &MAIN.replace("include", "# include"),
    );
    let state = open.path().display().to_string();
    let doctor = bearward(folder.path(), &["doctor"], &[("WHERE", &state)]);
    assert!(
        out(&doctor).contains("everybody may write to it"),
        "{}",
        out(&doctor)
    );
    assert_eq!(std::fs::read_dir(open.path()).expect("a folder").count(), 0);
}

#[test]
fn what_a_reload_would_change_is_told_before_it() {
    let (_main, _upstream, gateway) = usual();
    let (code, _, said) = gateway.command(&["config", "diff"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("nothing would change"), "{said}");
    gateway.edit("drain_timeout = \"2s\"", "drain_timeout = \"3s\"");
    gateway.edit("workers = 1", "workers = 2");
    let (code, told, _) = gateway.command(&["config", "diff"]);
    assert_eq!(code, Some(1));
    for line in [
        "- server.drain_timeout = \"2s\"",
        "+ server.drain_timeout = \"3s\"",
        "+ server.workers = 2  (counts after a restart)",
    ] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    let (_, told, _) = gateway.command(&["config", "diff", "--json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told[0]["key"], "server.drain_timeout");
    assert_eq!(told[1]["needs_restart"], true);
    // What was reloaded and waits for a restart is not forgotten.
    block_on(gateway.reload()).expect("no faults");
    let (code, _, said) = gateway.command(&["config", "diff"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("counts after a restart: server.workers"),
        "{said}"
    );
    let (_, told, _) = gateway.command(&["doctor"]);
    assert!(
        told.contains("✗ gateway") && told.contains("but for server.workers"),
        "{told}"
    );
    let (_, told, _) = gateway.command(&["status"]);
    assert!(told.contains("waited for by server.workers"), "{told}");
    // A slip in the file keeps nobody from the gateway; where it has lost the address, none is guessed.
    gateway.edit("version = 1", "version = ");
    let (code, _, said) = gateway.command(&["status"]);
    assert_eq!(code, Some(0), "{said}");
    let place = |text: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "bearward.toml", text);
        let output = bearward(folder.path(), &["drain"], &[]);
        (output.status.code(), crate::operators::said(&output))
    };
    let nobody = format!("127.0.0.1:{}", free_port());
    let admin = format!("[admin]\naddress = \"{nobody}\"\ntoken = {{ file = \"t\" }}\n");
    for text in [
        format!("BAD\n{}", admin.replace("address", "adress")),
        admin.replace("[admin]", "[admin"),
        admin.replace(&format!("\"{nobody}\""), &nobody),
        format!("x = \"\"\"\n{admin}"),
    ] {
        let (code, said) = place(&text);
        assert_eq!(code, Some(78), "{text}: {said}");
        assert!(
            said.contains("--admin-token-file") && said.contains("error[BW"),
            "{said}"
        );
    }
    let (code, told, _) = gateway.command(&["status", "--json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, &told["ready"]), (Some(0), &json!(true)));
}

#[test]
fn shells_and_manuals_are_served() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = bearward(folder.path(), &["completions", shell], &[]);
        assert_eq!(script.status.code(), Some(0), "{shell}");
        assert!(out(&script).contains("decisions"), "{shell}");
    }
    let page = out(&bearward(folder.path(), &["man"], &[]));
    assert!(
        page.contains("bearward\\-revoke(1)") && page.contains("Try it"),
        "{page}"
    );
    let written = bearward(folder.path(), &["man", "--out", "man"], &[]);
    assert_eq!(written.status.code(), Some(0), "{}", said(&written));
    for page in ["bearward.1", "bearward-run.1", "bearward-token-explain.1"] {
        assert!(folder.path().join("man").join(page).exists(), "{page}");
    }
}

#[test]
fn the_service_manager_is_told() {
    let (main, upstream) = (
        TestIssuer::new("https://login.test/", "ES256", "main-1"),
        Upstream::echo(),
    );
    let folder = Bearward::usual(&main, &upstream).into_files();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let hear = || {
        let mut bytes = [0; 512];
        let count = socket.recv(&mut bytes).expect("a word");
        String::from_utf8(bytes[..count].to_vec()).expect("text")
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
    command
        .args(["run", "--config"])
        .arg(folder.path().join("bearward.toml"))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1000");
    let gateway = Process::of(command);
    let told = hear();
    assert!(told.starts_with("READY=1\n"), "{told}");
    assert!(
        told.contains(&format!("MAINPID={}", gateway.child.id())),
        "{told}"
    );
    gateway.signal("HUP");
    let told = hear();
    assert!(told.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told}");
    assert!(hear().starts_with("READY=1\n"));
    write(folder.path(), "bearward.toml", "version = 1");
    gateway.signal("HUP");
    assert!(hear().starts_with("RELOADING=1\n"));
    let told = hear();
    assert!(told.contains("the last reload failed"), "{told}");
    // Every worker has turned its loop meanwhile.
    assert_eq!(hear(), "WATCHDOG=1");
    gateway.signal("TERM");
    assert!(hear().starts_with("STOPPING=1\n"));
}

#[test]
fn a_service_manager_that_does_not_listen_keeps_nobody_from_ending() {
    let (main, upstream) = (
        TestIssuer::new("https://login.test/", "ES256", "main-1"),
        Upstream::echo(),
    );
    let folder = Bearward::usual(&main, &upstream).into_files();
    let path = folder.path().join("notify");
    let _deaf = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let teller = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    teller.set_nonblocking(true).expect("a socket");
    while teller.send_to(b"full", &path).is_ok() {}
    let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
    command
        .args(["run", "--config"])
        .arg(folder.path().join("bearward.toml"))
        .env("NOTIFY_SOCKET", &path);
    let mut gateway = Process::of(command);
    gateway.signal("TERM");
    assert_eq!(gateway.child.wait().expect("an end").code(), Some(0));
}

#[test]
fn commands_trust_neither_the_folder_of_the_service_nor_whoever_has_its_port() {
    let (main, upstream) = (
        TestIssuer::new("https://login.test/", "ES256", "main-1"),
        Upstream::echo(),
    );
    let (process, folder) = Process::start(Bearward::usual(&main, &upstream));
    let folder = folder.path();
    let admin = format!("http://{}", process.admin);
    let at = |arguments: &[&str], admin: &str| {
        let all = [arguments, &["--admin", admin]].concat();
        bearward(folder, &all, &[])
    };
    assert_eq!(at(&["status"], &admin).status.code(), Some(0));
    // Where the admin address was moved, the doctor sees by the lock that a gateway runs.
    let elsewhere = format!("http://127.0.0.1:{}", free_port());
    let doctor = at(&["doctor"], &elsewhere);
    assert!(
        out(&doctor).contains("one runs with this state folder"),
        "{}",
        out(&doctor)
    );
    // Whoever listens there instead may answer anything, and a terminal obeys none of it.
    let stranger = Provider::start();
    let escape = "\u{1b}]0;owned\u{7}";
    let told = json!({ "config": escape, "needs_restart": [escape], "values": [{ "key": escape, "value": escape }] });
    stranger.set("/api/v1/config", 200, &told.to_string());
    stranger.set(
        "/api/v1/drain",
        500,
        &json!({ "detail": escape }).to_string(),
    );
    for arguments in [
        ["config", "diff"].as_slice(),
        &["doctor"],
        &["drain"],
        &["candidate", "show"],
    ] {
        let output = at(arguments, &stranger.base);
        let shown = format!("{}{}", out(&output), said(&output));
        assert!(!shown.contains('\u{1b}'), "{arguments:?}: {shown:?}");
    }
    // A service that turns its token's file into a link leads root's commands nowhere.
    let token = folder.join("state/admin-token");
    std::fs::rename(&token, folder.join("other")).expect("a file");
    std::os::unix::fs::symlink(folder.join("other"), &token).expect("a link");
    let status = at(&["status"], &admin);
    assert_eq!(status.status.code(), Some(69));
    assert!(
        said(&status).contains("admin-token cannot be read"),
        "{}",
        said(&status)
    );
}
