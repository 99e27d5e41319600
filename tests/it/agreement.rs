//! One verdict, whoever asks: the proxy, the token check, the admin API (which the console asks) and the
//! command line agree on thousands of tokens that are made by chance.

use std::process::{Command, Stdio};

use bearward::clock::UnixTime;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::issuer::{NOW, TestToken, raw_token};
use crate::support::{Bearward, TestIssuer, Upstream, block_on};

const TOKENS: usize = 2000;
/// One in so many is shown to the command line too, which is a process each.
const BY_COMMAND: usize = 25;

/// What is done to a good token.
#[derive(Clone, Debug)]
enum Change {
    Claim(&'static str, Value),
    Without(&'static str),
    Typed(Option<&'static str>),
    SignedByOther,
}

/// What is done to its text.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Cut(usize),
    Flip(usize),
    Before(&'static str),
    Behind(&'static str),
    Unsigned,
}

fn change() -> impl Strategy<Value = Change> {
    let time = prop_oneof![
        Just(NOW),
        Just(NOW - 31),
        Just(NOW - 30),
        Just(NOW - 29),
        Just(NOW + 29),
        Just(NOW + 30),
        Just(NOW + 31),
        Just(NOW - 90_000),
        Just(NOW + 90_000),
        Just(NOW - 86_431),
        Just(0),
    ];
    let time = time.prop_map(Value::from);
    let odd = prop_oneof![
        Just(json!(null)),
        Just(json!("")),
        Just(json!("text")),
        Just(json!(-1)),
        Just(json!(1e300)),
        Just(json!([])),
        Just(json!({})),
        Just(json!(true)),
    ];
    let times = prop_oneof![Just("exp"), Just("iat"), Just("nbf")];
    let texts = prop_oneof![
        Just("iss"),
        Just("aud"),
        Just("sub"),
        Just("scope"),
        Just("scp"),
        Just("jti"),
        Just("client_id"),
        Just("tier"),
    ];
    let values = prop_oneof![
        Just(json!("https://login.test/")),
        Just(json!("https://login.test")),
        Just(json!("https://partner.test/")),
        Just(json!("https://api.test")),
        Just(json!(["https://api.test", "x"])),
        Just(json!(["x"])),
        Just(json!("orders:read")),
        Just(json!("orders:read orders:write")),
        Just(json!("a,orders:read")),
        Just(json!(["orders:read"])),
        Just(json!("gold")),
        Just(json!(["gold"])),
        Just(json!("revoked")),
    ];
    let names = prop_oneof![
        Just("exp"),
        Just("iat"),
        Just("iss"),
        Just("aud"),
        Just("sub"),
        Just("scope"),
    ];
    let types = prop_oneof![
        Just(None),
        Just(Some("JWT")),
        Just(Some("application/at+jwt")),
        Just(Some("AT+JWT")),
        Just(Some("dpop+jwt")),
    ];
    prop_oneof![
        4 => (times.clone(), time).prop_map(|(name, value)| Change::Claim(name, value)),
        2 => (times, odd.clone()).prop_map(|(name, value)| Change::Claim(name, value)),
        4 => (texts.clone(), values).prop_map(|(name, value)| Change::Claim(name, value)),
        1 => (texts, odd).prop_map(|(name, value)| Change::Claim(name, value)),
        1 => names.prop_map(Change::Without),
        1 => types.prop_map(Change::Typed),
        1 => Just(Change::SignedByOther),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        12 => Just(Damage::None),
        1 => any::<usize>().prop_map(Damage::Cut),
        1 => any::<usize>().prop_map(Damage::Flip),
        1 => prop_oneof![Just("Bearer "), Just("\""), Just(" "), Just("a.")].prop_map(Damage::Before),
        1 => prop_oneof![Just("\""), Just(" x"), Just("%0A"), Just("\\n"), Just("=="), Just(".a")].prop_map(Damage::Behind),
        1 => Just(Damage::Unsigned),
    ]
}

fn made(main: &TestIssuer, other: &TestIssuer, changes: &[Change], damage: &Damage) -> String {
    let apply = |token: TestToken, change: &Change| match change {
        Change::Claim(name, value) => token.with(name, value.clone()),
        Change::Without(name) => token.without(name),
        Change::Typed(typ) => token.typed(*typ),
        Change::SignedByOther => token.signed_by(other),
    };
    let token = changes.iter().fold(main.token(), apply);
    let text = token.sign();
    match damage {
        Damage::None => text,
        Damage::Cut(at) => text[..at % text.len()].to_owned(),
        Damage::Flip(at) => {
            let at = at % text.len();
            let with = if &text[at..=at] == "A" { "B" } else { "A" };
            format!("{}{with}{}", &text[..at], &text[at + 1..])
        }
        Damage::Before(what) => format!("{what}{text}"),
        Damage::Behind(what) => format!("{text}{what}"),
        Damage::Unsigned => raw_token(r#"{"alg":"none"}"#, &token.claims().to_string(), b""),
    }
}

fn by_command(gateway: &Gateway, pasted: &str, now: i64) -> Value {
    let now = UnixTime::from_secs(now).rfc3339();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args([
            "token", "explain", "--json", "--route", "orders", "--at", &now,
        ])
        .arg("--config")
        .arg(gateway.folder().join("bearward.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("an input");
    std::io::Write::write_all(&mut stdin, pasted.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Each check with how it ended and what is said of it. The operator is told more of what was found.
fn ways(told: &Value) -> Vec<[Value; 4]> {
    let steps = told["steps"].as_array().expect("steps").iter();
    steps
        .map(|step| ["check", "state", "text", "hint"].map(|name| step[name].clone()))
        .collect()
}

#[test]
fn everybody_gives_the_same_verdict() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let other = TestIssuer::new("https://partner.test/", "ES256", "other-1");
    let upstream = Upstream::echo();
    let gateway = Bearward::usual(&main, &upstream)
        .trusting("partner", &other, "")
        .table("[endpoints]\ncheck = true")
        .start();
    let mut runner = TestRunner::default();
    let strategy = (proptest::collection::vec(change(), 0..3), damage());
    let mut verdicts = std::collections::BTreeMap::<String, usize>::new();
    let mut elapsed = 0;
    block_on(async {
        let mut api = gateway.http1().keep().await;
        let mut check = gateway.http1().keep().await;
        for n in 0..TOKENS {
            // The times stand; one client may ask for a check five times a second.
            if n % 20 == 19 {
                gateway.clock.advance(4);
                elapsed += 4;
            }
            let tree = strategy.new_tree(&mut runner).expect("a value");
            let (changes, damage) = tree.current();
            let token = made(&main, &other, &changes, &damage);
            let what = format!("{changes:?} {damage:?}");
            let (status, body) = api.get("/orders/1", &token).await;
            let path = "/.well-known/bearward/check?route=orders";
            let (asked, told) = check.get(path, &token).await;
            assert_eq!(asked, 200, "{what}: {told:?}");
            let told: Value = serde_json::from_slice(&told).expect("JSON");
            let pasted = format!("Authorization: Bearer {token}");
            let question = json!({ "token": pasted, "route": "orders" });
            let admin = gateway
                .ask_admin("POST", "/api/v1/tokens/explain", Some(&question))
                .await
                .json();
            assert_eq!(told["allowed"], status == 200, "{what}");
            assert_eq!(ways(&told), ways(&admin), "{what}");
            let mut all = vec![told, admin];
            if n % BY_COMMAND == 0 {
                all.push(by_command(&gateway, &pasted, NOW + elapsed));
            }
            if status == 200 {
                assert!(all.iter().all(|told| told["code"] == "none"), "{what}");
                *verdicts.entry("allowed".to_owned()).or_default() += 1;
                continue;
            }
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            for told in &all {
                for member in ["code", "status", "step", "detail", "hint", "near_miss"] {
                    assert_eq!(told["refusal"][member], body[member], "{what}: {told}");
                }
            }
            let code = body["code"].as_str().expect("a code").to_owned();
            *verdicts.entry(code).or_default() += 1;
        }
    });
    // Chance has been everywhere.
    assert!(verdicts.len() >= 14, "{verdicts:?}");
    assert!(verdicts["allowed"] > TOKENS / 20, "{verdicts:?}");
}
