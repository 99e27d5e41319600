//! Revocations that last: exact by every selector, durable over crashes, damage and full disks.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bearward::signing::SigningKey;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::plain_request;
use crate::support::gateway::{Gateway, ORDERS};
use crate::support::log;
use crate::support::process::free_port;
use crate::support::{
    Bearward, Client, Process, TestIssuer, Upstream, block_on, eventually, usual,
};

const PATH: &str = "/api/v1/revocations";

async fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.http1().get("/orders/1", token).await.status
}

async fn revoke(gateway: &Gateway, selector: Value) -> Value {
    let body = json!({ "selector": selector });
    let answer = gateway.ask_admin("POST", PATH, Some(&body)).await;
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    answer.json()
}

#[test]
fn each_selector_kills_its_tokens_and_no_other() {
    let upstream = Upstream::echo();
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let other = TestIssuer::new("https://other.test/", "ES256", "other-1");
    let orders = ORDERS.replace("[\"main\"]", "[\"main\", \"other\"]");
    for (selector, dead) in [
        (json!({ "jti": "one" }), vec!["one"]),
        (json!({ "session": "s1" }), vec!["one", "two"]),
        (json!({ "subject": "alice" }), vec!["one", "two", "three"]),
        (
            json!({ "client": "app" }),
            vec!["one", "two", "three", "four"],
        ),
        (
            json!({ "key": "main-1" }),
            vec!["one", "two", "three", "four", "five"],
        ),
        (
            json!({ "whole": "issuer" }),
            vec!["one", "two", "three", "four", "five"],
        ),
        // What is nobody's, and what is another kind's.
        (json!({ "jti": "s1" }), vec![]),
        (json!({ "session": "one" }), vec![]),
        (json!({ "subject": "ALICE" }), vec![]),
        (json!({ "client": "alice" }), vec![]),
        (json!({ "key": "other-1" }), vec![]),
    ] {
        let gateway = Bearward::new()
            .trusting("main", &main, "")
            .trusting("other", &other, "")
            .upstream("orders", upstream.address, "")
            .table(&orders)
            .start();
        let token = |issuer: &TestIssuer, jti: &str, sid: &str, sub: &str, client: &str| {
            let token = issuer.token().with("jti", jti).with("sid", sid);
            token.with("sub", sub).with("client_id", client).sign()
        };
        let tokens = [
            ("one", token(&main, "one", "s1", "alice", "app")),
            ("two", token(&main, "two", "s1", "alice", "app")),
            ("three", token(&main, "three", "s2", "alice", "app")),
            ("four", token(&main, "four", "s3", "bob", "app")),
            ("five", token(&main, "five", "s4", "carol", "web")),
            // The same values at another issuer.
            ("else", token(&other, "one", "s1", "alice", "app")),
        ];
        block_on(async {
            for (_, token) in &tokens {
                assert_eq!(status(&gateway, token).await, 200);
            }
            let mut whole = selector.clone();
            whole["issuer"] = json!("main");
            revoke(&gateway, whole).await;
            for (name, token) in &tokens {
                let answer = gateway.http1().get("/orders/1", token).await;
                let expected = if dead.contains(name) { 401 } else { 200 };
                assert_eq!(answer.status, expected, "{name} by {selector}");
                if expected == 401 {
                    assert_eq!(answer.code(), "token_revoked");
                    let kind = selector
                        .as_object()
                        .expect("one")
                        .keys()
                        .next()
                        .expect("one");
                    let kind = if kind == "whole" {
                        "issuer"
                    } else {
                        kind.as_str()
                    };
                    assert_eq!(answer.json()["revoked_by"], kind);
                }
            }
        });
    }
}

/// The order of P-256, big-endian.
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The other valid form of an ECDSA signature: (r, n - s).
fn other_form(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let mut borrow = 0_i16;
    for (digit, order) in signature[32..].iter_mut().zip(N).rev() {
        let left = i16::from(order) - i16::from(*digit) - borrow;
        borrow = i16::from(left < 0);
        *digit = u8::try_from(left + borrow * 256).expect("a byte");
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn no_other_encoding_of_a_revoked_token_slips_past() {
    let (main, _upstream, gateway) = usual();
    let token = main.token().sign();
    let twin = other_form(&token);
    assert_ne!(token, twin);
    let mut process = bearward(&gateway, &["revoke", "token", "-"]).0;
    block_on(async {
        assert_eq!(status(&gateway, &token).await, 200);
        assert_eq!(status(&gateway, &twin).await, 200, "as good as the first");
    });
    let mut input = process.stdin.take().expect("a pipe");
    writeln!(input, "Bearer {token}").expect("room");
    drop(input);
    let output = process.wait_with_output().expect("an end");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains(&token));
    block_on(async {
        for token in [&token, &twin] {
            let answer = gateway.http1().get("/orders/1", token).await;
            assert_eq!(answer.code(), "token_revoked");
            assert_eq!(answer.json()["revoked_by"], "token");
        }
        // Base64url that decodes to the same is no token at all.
        for odd in [format!("{token}="), format!("{token}==")] {
            let answer = gateway.http1().get("/orders/1", &odd).await;
            assert_eq!(answer.code(), "token_malformed");
        }
        assert_eq!(
            status(&gateway, &main.token().with("jti", "2").sign()).await,
            200
        );
    });
}

#[test]
fn a_revoked_key_is_dead_under_no_name_too() {
    let (main, _upstream, gateway) = usual();
    let nameless = SigningKey::read("ES256", None, &main.key.private_file()).expect("the key");
    let token = main.token();
    let nameless = nameless
        .sign(Some("at+jwt"), token.claims())
        .expect("a token");
    block_on(async {
        assert_eq!(status(&gateway, &nameless).await, 200);
        let one = revoke(&gateway, json!({ "issuer": "main", "key": "main-1" })).await;
        assert_eq!(
            one["until"],
            Value::Null,
            "it kills what is yet to be signed"
        );
        assert_eq!(status(&gateway, &nameless).await, 401);
        assert_eq!(status(&gateway, &token.sign()).await, 401);
    });
}

#[test]
fn what_is_no_token_is_not_revoked() {
    let (main, _upstream, gateway) = usual();
    let token = main.token().sign();
    let give = |input: &str, arguments: &[&str]| {
        let mut process = bearward(&gateway, &[&["revoke", "token", "-"], arguments].concat()).0;
        let mut pipe = process.stdin.take().expect("a pipe");
        pipe.write_all(input.as_bytes()).expect("room");
        drop(pipe);
        process.wait_with_output().expect("an end")
    };
    for (input, arguments) in [
        ("", &["--issuer", "main"][..]),
        (&format!("\"{token}\""), &[]),
        (&format!("Authorization: Bearer {token}"), &[]),
        (&token, &["--issuer", "main"]),
    ] {
        let output = give(input, arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert!(!String::from_utf8_lossy(&output.stderr).contains(&token));
    }
    assert_eq!(block_on(status(&gateway, &token)), 200);
    let output = give(&format!("bearer  {token}\n"), &[]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(block_on(status(&gateway, &token)), 401);
    // Whatever somebody wrote into the list, a terminal is not told.
    let bad = json!({ "issuer": "main", "jti": "\u{1b}[2J\nforged" });
    block_on(revoke(&gateway, bad));
    let listed = text(&done(&gateway, &["revocations", "list"]));
    assert!(
        !listed.contains('\u{1b}') && listed.lines().count() == 2,
        "{listed}"
    );
}

/// Starts a command against a gateway's admin listener, with pipes.
fn bearward(gateway: &Gateway, arguments: &[&str]) -> (std::process::Child, SocketAddr) {
    let child = Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(arguments)
        .arg("--admin")
        .arg(format!("http://{}", gateway.admin()))
        .arg("--admin-token-file")
        .arg(gateway.folder().join("state/admin-token"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    (child, gateway.admin())
}

fn done(gateway: &Gateway, arguments: &[&str]) -> Output {
    bearward(gateway, arguments)
        .0
        .wait_with_output()
        .expect("an end")
}

fn text(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn lists_are_paged_named_exported_and_imported() {
    let (main, upstream, gateway) = usual();
    block_on(async {
        for n in 0..25 {
            let selector = json!({ "issuer": "main", "jti": format!("j{n}") });
            revoke(&gateway, selector).await;
        }
        revoke(
            &gateway,
            json!({ "issuer": "https://login.test/", "subject": "böse" }),
        )
        .await;
        let mut seen = BTreeSet::new();
        let mut path = format!("{PATH}?limit=10");
        let mut pages = 0;
        loop {
            let page = gateway.ask_admin("GET", &path, None).await.json();
            assert_eq!(page["count"], 26);
            pages += 1;
            for one in page["revocations"].as_array().expect("a list") {
                assert_eq!(one["selector"]["issuer"], "main", "by its name");
                seen.insert(one["id"].as_str().expect("an id").to_owned());
            }
            match page["next"].as_str() {
                Some(next) => path = format!("{PATH}?limit=10&before={next}"),
                None => break,
            }
        }
        assert_eq!((seen.len(), pages), (26, 3));
        for (query, count) in [
            ("by=subject", 1),
            ("by=jti", 25),
            ("value=j7", 1),
            ("value=b%C3%B6se", 1),
            ("issuer=main&by=jti&value=j3", 1),
            ("issuer=nobody", 0),
        ] {
            let page = gateway
                .ask_admin("GET", &format!("{PATH}?{query}"), None)
                .await
                .json();
            assert_eq!(
                page["revocations"].as_array().map(Vec::len),
                Some(count),
                "{query}"
            );
        }
        for query in [
            "limit=0",
            "limit=x",
            "before=x",
            "by=x",
            "nothing=1",
            "value=%zz",
        ] {
            let answer = gateway
                .ask_admin("GET", &format!("{PATH}?{query}"), None)
                .await;
            assert_eq!(answer.status, 400, "{query}");
        }
        // The list has a name, and another one after a change.
        let first = gateway.ask_admin("GET", PATH, None).await;
        let etag = first.header("etag").to_owned();
        let request = |etag: &str| {
            http::Request::get(PATH)
                .header("host", "127.0.0.1")
                .header("authorization", format!("Bearer {}", gateway.admin_token()))
                .header("if-none-match", etag)
                .body(http_body_util::Full::default())
                .expect("a request")
        };
        let ask = |request| crate::support::client::plain_exchange(gateway.admin(), request);
        assert_eq!(ask(request(&etag)).await.status, 304);
        // A dry run changes nothing, and counts what is cached.
        let alice = main.token().sign();
        assert_eq!(status(&gateway, &alice).await, 200);
        let body = json!({ "selector": { "issuer": "main", "subject": "alice" }, "dry_run": true });
        let answer = gateway.ask_admin("POST", PATH, Some(&body)).await;
        assert_eq!(
            (answer.status, &answer.json()["cached_tokens"]),
            (200, &json!(1))
        );
        assert_eq!(status(&gateway, &alice).await, 200);
        assert_eq!(ask(request(&etag)).await.status, 304);
        revoke(&gateway, json!({ "issuer": "main", "subject": "alice" })).await;
        assert_eq!(ask(request(&etag)).await.status, 200);
    });
    // From one gateway to another.
    let exported = text(&done(&gateway, &["revocations", "export"]));
    assert_eq!(exported.lines().count(), 27);
    let file = gateway.folder().join("revocations.jsonl");
    std::fs::write(&file, &exported).expect("a file");
    // There the issuer has another name.
    let second = Bearward::new()
        .trusting("login", &main, "")
        .upstream("orders", upstream.address, "")
        .table(&ORDERS.replace("\"main\"", "\"login\""))
        .start();
    let path = file.display().to_string();
    assert_eq!(
        text(&done(&second, &["revocations", "import", &path])),
        "27 added, 0 known before\n"
    );
    assert_eq!(
        text(&done(&second, &["revocations", "import", &path])),
        "0 added, 27 known before\n"
    );
    block_on(async {
        assert_eq!(status(&second, &main.token().sign()).await, 401);
        assert_eq!(
            status(
                &second,
                &main.token().with("sub", "bob").with("jti", "j3").sign()
            )
            .await,
            401
        );
        assert_eq!(
            status(&second, &main.token().with("sub", "bob").sign()).await,
            200
        );
    });
    assert_eq!(text(&done(&second, &["revocations", "export"])), exported);
    // One bad line, and nothing of the file is taken.
    let bad = format!(
        "{}\n{{\"selector\":{{\"issuer\":\"nobody\",\"jti\":\"1\"}}}}\n",
        exported.lines().next().expect("a line")
    );
    std::fs::write(&file, bad).expect("a file");
    let third = Bearward::usual(&main, &upstream).start();
    let output = done(&third, &["revocations", "import", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 2"));
    assert_eq!(text(&done(&third, &["revocations", "export"])), "");
    let shown = text(&done(
        &gateway,
        &["revoke", "client", "app", "--issuer", "main", "--dry-run"],
    ));
    assert!(shown.contains("would hit 0 of the tokens"), "{shown}");
}

/// The usual gateway as a process of its own.
fn files(main: &TestIssuer, upstream: &Upstream) -> TempDir {
    Bearward::usual(main, upstream)
        .at_port(free_port())
        .into_files()
}

fn token_of(folder: &Path) -> String {
    let token = std::fs::read_to_string(folder.join("state/admin-token"));
    token.expect("a token").trim().to_owned()
}

async fn add(process: &Process, token: &str, jti: &str) -> u16 {
    let body = json!({ "selector": { "issuer": "main", "jti": jti } });
    plain_request(process.admin, "POST", PATH, Some(token), Some(&body))
        .await
        .status
}

#[test]
fn acknowledged_revocations_survive_kills_at_any_moment() {
    const ROUNDS: usize = 5;
    const EACH: usize = 100;
    let upstream = Upstream::echo();
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let folder = files(&main, &upstream);
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let process = Process::start_in(folder.path());
        let token = token_of(folder.path());
        block_on(async {
            // What was acknowledged before the last kill holds.
            let client = Client::http1(process.public);
            let mut kept = client.keep().await;
            for jti in &acknowledged {
                let token = main.token_now().with("jti", jti as &str).sign();
                assert_eq!(kept.get("/orders/1", &token).await.0, 401, "{jti}");
            }
            let alive = main.token_now().with("jti", "alive").sign();
            assert_eq!(kept.get("/orders/1", &alive).await.0, 200);
            // Some are on their way when it is killed.
            let admin = process.admin;
            let late = token.clone();
            let racing = tokio::spawn(async move {
                for n in 0.. {
                    let body = json!({ "selector": { "issuer": "main", "jti": format!("late-{round}-{n}") } });
                    let stream = tokio::net::TcpStream::connect(admin).await;
                    let Ok(stream) = stream else { return };
                    drop(stream);
                    let asked = tokio::spawn({
                        let late = late.clone();
                        async move {
                            plain_request(admin, "POST", PATH, Some(&late), Some(&body))
                                .await
                                .status
                        }
                    });
                    if asked.await.is_err() {
                        return;
                    }
                }
            });
            for n in 0..EACH {
                let jti = format!("{round}-{n}");
                assert_eq!(add(&process, &token, &jti).await, 201);
                acknowledged.push(jti);
            }
            process.signal("KILL");
            racing.abort();
        });
    }
    let process = Process::start_in(folder.path());
    block_on(async {
        let mut kept = Client::http1(process.public).keep().await;
        for jti in &acknowledged {
            let token = main.token_now().with("jti", jti as &str).sign();
            assert_eq!(kept.get("/orders/1", &token).await.0, 401, "{jti}");
        }
        assert_eq!(acknowledged.len(), ROUNDS * EACH);
    });
}

#[test]
fn a_damaged_list_is_named_set_aside_and_waits_for_a_decision() {
    let upstream = Upstream::echo();
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let strict = "[routes.strict]\npath = \"/strict/{*rest}\"\nupstream = \"orders\"\nissuers = [\"main\"]\nrevocations_required = true\n";
    let folder = Bearward::usual(&main, &upstream)
        .table(strict)
        .at_port(free_port())
        .into_files();
    let process = Process::start_in(folder.path());
    let token = token_of(folder.path());
    block_on(async {
        assert_eq!(add(&process, &token, "dead").await, 201);
    });
    drop(process);
    let file = folder.path().join("state/revocations.redb");
    // One that somebody else holds is no damaged one.
    let held = std::fs::File::open(&file).expect("a file");
    held.lock().expect("a lock");
    let output = Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(["run", "--config"])
        .arg(folder.path().join("bearward.toml"))
        .output()
        .expect("it runs");
    assert_eq!(
        output.status.code(),
        Some(71),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    drop(held);
    // Nor is an empty one a new one.
    for damage in ["", "not a store at all"] {
        std::fs::write(&file, damage).expect("a file");
        let process = Process::start_in(folder.path());
        let answer = block_on(async {
            let good = main.token_now().sign();
            Client::http1(process.public).get("/strict/1", &good).await
        });
        assert_eq!(answer.code(), "revocations_unavailable", "{damage}");
    }
    for start in 0..2 {
        let process = Process::start_in(folder.path());
        block_on(async {
            let client = Client::http1(process.public);
            let good = main.token_now().sign();
            assert_eq!(client.get("/orders/1", &good).await.status, 200, "goes on");
            let answer = client.get("/strict/1", &good).await;
            assert_eq!(answer.code(), "revocations_unavailable", "start {start}");
            assert_eq!(answer.header("retry-after"), "5");
            let list = plain_request(process.admin, "GET", PATH, Some(&token), None)
                .await
                .json();
            let lost = list["lost"].as_array().expect("names");
            let kept: BTreeSet<_> = lost
                .iter()
                .map(|name| std::fs::read_to_string(name.as_str().expect("text")).expect("a file"))
                .collect();
            let expected = ["", "not a store at all"].map(str::to_owned);
            assert_eq!(kept, expected.into(), "each has a name of its own");
            let page = plain_request(process.admin, "GET", "/readyz?verbose", None, None).await;
            assert!(
                page.text().contains("a list of revocations was lost"),
                "{}",
                page.text()
            );
        });
    }
    let process = Process::start_in(folder.path());
    block_on(async {
        let path = format!("{PATH}/accept-loss");
        let answer = plain_request(process.admin, "POST", &path, Some(&token), None).await;
        assert_eq!(answer.status, 200);
        let good = main.token_now().sign();
        let client = Client::http1(process.public);
        assert_eq!(client.get("/strict/1", &good).await.status, 200);
    });
}

#[test]
fn a_full_disk_refuses_a_revocation_and_keeps_none_by_halves() {
    let upstream = Upstream::echo();
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let folder = files(&main, &upstream);
    // A limit on the size of files is what a full disk looks like to the store.
    let script = "trap '' XFSZ; ulimit -f 4000; exec \"$0\" run --config \"$1\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_bearward")])
        .arg(folder.path().join("bearward.toml"));
    let process = Process::of(command);
    let token = token_of(folder.path());
    let mut acknowledged = Vec::new();
    let refused = block_on(async {
        for part in 0.. {
            let lines: Vec<_> = (0..500)
                .map(|n| json!({ "selector": { "issuer": "main", "jti": format!("{part}-{n}") }, "reason": "x".repeat(900) }).to_string())
                .collect();
            let request = http::Request::post(format!("{PATH}/import"))
                .header("host", "127.0.0.1")
                .header("authorization", format!("Bearer {token}"))
                .body(http_body_util::Full::from(lines.join("\n")))
                .expect("a request");
            let answer = crate::support::client::plain_exchange(process.admin, request).await;
            if answer.status != 200 {
                assert_eq!(answer.status, 507, "{}", answer.text());
                assert!(
                    answer.text().contains("cannot be written"),
                    "{}",
                    answer.text()
                );
                let mut kept = Client::http1(process.public).keep().await;
                let token = main.token_now().with("jti", format!("{part}-0")).sign();
                assert_eq!(
                    kept.get("/orders/1", &token).await.0,
                    200,
                    "refused is refused"
                );
                let token = main.token_now().with("jti", "0-0").sign();
                assert_eq!(
                    kept.get("/orders/1", &token).await.0,
                    401,
                    "what was said holds"
                );
                return part;
            }
            acknowledged.push(format!("{part}-0"));
        }
        0
    });
    drop(process);
    let process = Process::start_in(folder.path());
    block_on(async {
        let mut kept = Client::http1(process.public).keep().await;
        for jti in &acknowledged {
            let token = main.token_now().with("jti", jti as &str).sign();
            assert_eq!(kept.get("/orders/1", &token).await.0, 401, "{jti}");
        }
        let token = main.token_now().with("jti", format!("{refused}-0")).sign();
        assert_eq!(kept.get("/orders/1", &token).await.0, 200);
    });
}

#[test]
fn a_file_of_revocations_is_watched_and_taken_whole() {
    let upstream = Upstream::echo();
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let gateway = Bearward::usual(&main, &upstream)
        .table("[revocation]\nwatch = \"revoked.jsonl\"")
        .start();
    let file = gateway.folder().join("revoked.jsonl");
    let token = |jti: &str| main.token().with("jti", jti).sign();
    let line = |jti: &str| json!({ "selector": { "issuer": "main", "jti": jti } }).to_string();
    block_on(async {
        // It comes after the start.
        assert_eq!(status(&gateway, &token("one")).await, 200);
        std::fs::write(&file, line("one")).expect("a file");
        let dead = async || status(&gateway, &token("one")).await == 401;
        eventually("the file counts", dead).await;
        // One bad line, and nothing of it is taken; what was taken before holds.
        log::gather();
        let bad = format!("{}\n{}\nnonsense\n", line("one"), line("two"));
        std::fs::write(&file, bad).expect("a file");
        let shown = file.display().to_string();
        let told = async || {
            let lines = log::lines_with(&shown);
            lines
                .iter()
                .any(|line| line.contains("was not taken") && line.contains("line 3"))
        };
        eventually("the fault is told", told).await;
        assert_eq!(status(&gateway, &token("one")).await, 401);
        assert_eq!(status(&gateway, &token("two")).await, 200);
        // What is taken out of it stays revoked.
        std::fs::write(&file, line("three")).expect("a file");
        let dead = async || status(&gateway, &token("three")).await == 401;
        eventually("the mended file counts", dead).await;
        assert_eq!(status(&gateway, &token("one")).await, 401);
        let list = gateway.ask_admin("GET", PATH, None).await.json();
        assert_eq!(list["count"], 2);
        assert_eq!(list["revocations"][0]["author"], "file");
    });
    let lines = gateway.stop();
    let told = lines
        .iter()
        .filter(|line| line["action"] == "revocation.file");
    assert!(
        told.clone()
            .any(|line| line["result"] == "1 added, 0 known")
    );
}
