//! Nothing secret in anything that is written: after a run that uses every surface, all of its output is searched
//! for pieces of every token, key and secret that was in it.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::gateway::ORDERS;
use crate::support::{Bearward, Process, TestIssuer, Upstream, block_on, eventually};

/// Pieces of this length are looked for: shorter ones could be there by chance.
const PIECE: usize = 16;

/// Every second piece of a secret: whatever longer part is written holds one.
fn pieces(secret: &str) -> Vec<String> {
    let chars: Vec<char> = secret.chars().collect();
    let starts = (0..chars.len().saturating_sub(PIECE - 1)).step_by(PIECE / 2);
    starts
        .map(|start| chars[start..start + PIECE].iter().collect())
        .collect()
}

#[test]
fn no_piece_of_a_secret_is_in_any_output() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let other = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    // It takes spans too, and keeps what it was sent.
    let collector = Upstream::echo();
    let mut secrets: Vec<String> = Vec::new();
    let shared = "shared-secret-0123456789-abcdefghijklmnopqrstuvwxyz";
    let admin_token = "admin-token-9876543210-zyxwvutsrqponmlkjihgfedcba";
    let bearward = Bearward::new()
        .trusting("main", &main, "")
        .secret("shared", shared)
        .secret("admin-token", admin_token)
        .upstream("orders", upstream.address, "")
        .upstream("down", "127.0.0.1:9".parse().expect("an address"), "")
        .table(&format!(
            "[tracing]\notlp = \"http://{}\"\nsample = \"100%\"",
            collector.address
        ))
        .auditing("output = \"file\"\nfile = \"audit.jsonl\"\nchain = true\nallow = \"100%\"")
        .table(&ORDERS.replace("issuers = [\"main\"]", "issuers = [\"main\", \"shared\"]\ntoken_from = [\"header\", \"query:access_token\"]\ntoken_expires_in = true"))
        .table("[issuers.shared]\nissuer = \"https://shared.test/\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"HS256\"]\nsecret = { file = \"shared\" }\n[endpoints]\ncheck = true\nrevoke = true\n[routes.down]\npath = \"/down\"\nupstream = \"down\"\nissuers = [\"main\"]\n[routes.report]\npath = \"/report\"\nupstream = \"orders\"\nissuers = [\"main\"]\nauth = \"report\"\n");
    let folder = bearward.into_files();
    let path = folder.path().join("bearward.toml");
    let text = std::fs::read_to_string(&path).expect("a file");
    let text = text.replace(
        "[admin]",
        "[log]\nlevel = \"trace\"\n[admin]\ntoken = { file = \"admin-token\" }",
    );
    std::fs::write(&path, &text).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
    command.args(["run", "--config"]).arg(&path);
    let mut process = Process::of(command);
    let log = process.read_log();
    secrets.extend([shared.to_owned(), admin_token.to_owned()]);
    let private = std::fs::read_to_string(folder.path().join("tls.key")).expect("a file");
    secrets.extend(
        private
            .lines()
            .filter(|line| line.len() > 30)
            .map(str::to_owned),
    );

    let now = main.token_now();
    let iat = now.claims()["iat"].as_i64().expect("a time");
    let good = now.sign();
    let forged = now.clone().signed_by(&other).with("jti", "forged").sign();
    let mut tokens = vec![
        good.clone(),
        forged,
        now.clone().with("exp", iat - 300).sign(),
        now.clone().with("aud", "https://other.test").sign(),
        now.clone().with("iss", "https://login.test").sign(),
        now.clone().with("scope", "a,orders:read").sign(),
        now.typed(Some("JWT")).with("nonce", "n-0S6_WzA2Mj").sign(),
        "opaque-token-that-somebody-took-for-a-jwt".to_owned(),
    ];
    let cut = good[..good.len() - 3].to_owned();
    tokens.extend([
        cut,
        format!("\"{good}\""),
        format!("{good}%0A"),
        format!("Bearer {good}"),
    ]);
    let mut outputs: Vec<(String, String)> = Vec::new();
    block_on(async {
        for client in [
            crate::support::Client::http1(process.public),
            crate::support::Client::http2(process.public),
        ] {
            for token in &tokens {
                let bearer = format!("Bearer {token}");
                let sent = [("authorization", &*bearer)];
                for (path, say) in [
                    ("/orders/1", false),
                    ("/down", true),
                    ("/nothing", true),
                    ("/report", false),
                    ("/.well-known/bearward/check?route=orders", true),
                ] {
                    let answer = client.send("GET", path, &sent, "").await;
                    // What the echo says back is the service's own.
                    if say || answer.status != 200 {
                        let headers = format!("{:?}", answer.headers);
                        outputs.push((path.to_owned(), headers + &answer.text()));
                    }
                }
                if token
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
                {
                    let path = format!("/orders/1?access_token={token}&x=1");
                    let answer = client.send("GET", &path, &[], "").await;
                    if answer.status != 200 {
                        outputs.push((
                            "query".to_owned(),
                            format!("{:?}{}", answer.headers, answer.text()),
                        ));
                    }
                    let form = format!("token={token}");
                    let kind = [("content-type", "application/x-www-form-urlencoded")];
                    let answer = client
                        .send("POST", "/.well-known/bearward/revoke", &kind, &form)
                        .await;
                    outputs.push((
                        "revoke".to_owned(),
                        format!("{:?}{}", answer.headers, answer.text()),
                    ));
                }
            }
        }
        // Everything that the admin side knows.
        let ask = async |method: &str, path: &str, body: Option<&serde_json::Value>| {
            let token = Some(admin_token).filter(|_| path.starts_with("/api"));
            crate::support::client::plain_request(process.admin, method, path, token, body).await
        };
        for token in &tokens {
            let question = json!({ "token": token, "route": "orders" });
            let told = ask("POST", "/api/v1/tokens/explain", Some(&question)).await;
            outputs.push(("explain".to_owned(), told.text()));
        }
        let bad = ask(
            "POST",
            "/api/v1/tokens/explain",
            Some(&json!({ "token": [good] })),
        )
        .await;
        outputs.push(("a bad question".to_owned(), bad.text()));
        for path in [
            "/metrics",
            "/readyz?verbose",
            "/api/v1/decisions?limit=1000",
            "/api/v1/decisions/summary",
            "/api/v1/oddities",
            "/api/v1/config",
            "/api/v1/issuers",
            "/api/v1/routes",
            "/api/v1/upstreams",
            "/api/v1/cache",
            "/api/v1/revocations",
            "/api/v1/revocations/export",
            "/nothing",
        ] {
            let answer = ask("GET", path, None).await;
            outputs.push((path.to_owned(), answer.text()));
        }
        let listed = ask("GET", "/api/v1/decisions?limit=1000", None)
            .await
            .json();
        for decision in listed["decisions"].as_array().expect("a list") {
            let id = decision["id"].as_str().expect("an id");
            let whole = ask("GET", &format!("/api/v1/decisions/{id}"), None).await;
            outputs.push((format!("decision {id}"), whole.text()));
        }
        let candidate = json!({ "configuration": text });
        outputs.push((
            "candidate".to_owned(),
            ask("PUT", "/api/v1/candidate", Some(&candidate))
                .await
                .text(),
        ));
        let broken = json!({ "configuration": text.replace("secret = {", "secrt = {") });
        outputs.push((
            "faults".to_owned(),
            ask("PUT", "/api/v1/candidate", Some(&broken)).await.text(),
        ));
        eventually("the audit", async || {
            std::fs::read_to_string(folder.path().join("audit.jsonl"))
                .is_ok_and(|text| text.lines().count() > 100)
        })
        .await;
    });
    // The command line, too.
    for token in &tokens {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bearward"))
            .args(["token", "explain", "--route", "orders", "--config"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        std::io::Write::write_all(&mut child.stdin.take().expect("an input"), token.as_bytes())
            .expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        outputs.push(("token explain".to_owned(), format!("{:?}", output)));
    }
    let mut spans = String::new();
    block_on(eventually("the spans", async || {
        spans = collector.seen().join("\n");
        spans.matches("\"spanId\"").count() > 100
    }));
    outputs.push(("spans".to_owned(), spans));
    process.signal("TERM");
    let log = log.join().expect("a log");
    println!("{} lines of log", log.lines().count());
    assert!(log.contains("shutting down"));
    outputs.push(("log".to_owned(), log));
    let audit = std::fs::read_to_string(folder.path().join("audit.jsonl")).expect("a file");
    outputs.push(("audit".to_owned(), audit));
    // A token's header is no secret, and says the same for all: `alg`, `typ`, `kid`.
    for token in &tokens {
        let clean = token
            .trim_matches('"')
            .trim_end_matches("%0A")
            .trim_start_matches("Bearer ");
        let parts: Vec<&str> = clean.split('.').collect();
        let secret_parts = if parts.len() == 3 {
            &parts[1..]
        } else {
            &parts[..]
        };
        secrets.extend(secret_parts.iter().map(|part| (*part).to_owned()));
    }
    assert!(outputs.len() > 200 && secrets.len() > 20);
    for secret in &secrets {
        let pieces = pieces(secret);
        assert!(!pieces.is_empty(), "{secret}");
        for (name, output) in &outputs {
            let found = pieces.iter().find(|piece| output.contains(&***piece));
            assert_eq!(found, None, "in {name}");
        }
    }
}
