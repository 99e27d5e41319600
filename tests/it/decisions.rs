//! The last decisions: a client's id leads to the way of its verdict; another configuration can be asked what it
//! would have done.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::issuer::NOW;
use crate::support::{Bearward, TestIssuer, Upstream, block_on, eventually, usual};

fn id_of(answer: &Answer) -> String {
    let body = answer.json();
    let instance = body["instance"].as_str().expect("an instance");
    instance
        .strip_prefix("urn:uuid:")
        .expect("a UUID")
        .to_owned()
}

#[test]
fn the_id_that_a_client_got_leads_to_the_way_of_its_verdict() {
    let (main, _upstream, gateway) = usual();
    block_on(async {
        let token = main.token().with("aud", "https://other.test").sign();
        let refused = gateway.http1().get("/orders/1?secret=hidden", &token).await;
        let id = id_of(&refused);
        let decision = gateway.told(&format!("/api/v1/decisions/{id}")).await;
        assert_eq!(decision["id"], id.as_str());
        assert_eq!(decision["reason"], "audience_mismatch");
        assert_eq!(decision["status"], 401);
        assert_eq!(decision["route"], "orders");
        assert_eq!(decision["host"], "api.test");
        assert_eq!(decision["path"], "/orders/1");
        assert_eq!(decision["sub"], "alice");
        let states: BTreeMap<_, _> = decision["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .map(|step| {
                (
                    step["check"].as_str().unwrap(),
                    step["state"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(states["signature"], "passed");
        assert_eq!(states["audience"], "failed");
        assert_eq!(states["scope"], "not_reached");
        let failed = &decision["steps"][6];
        assert_eq!(failed["found"], "`aud` is https://other.test");
        assert_eq!(failed["text"], refused.json()["detail"]);
        let text = decision.to_string();
        assert!(!text.contains(&token) && !text.contains("hidden"), "{text}");
        // By the command line, too.
        let (code, told, said) = gateway.command(&["decision", &format!("urn:uuid:{id}")]);
        assert_eq!(code, Some(0), "{said}");
        assert!(told.contains("✗ audience    FAILED"), "{told}");
        let other = "0193a6c2-7f3e-7c21-9a41-2f6d0d2f9b11";
        let (code, _, said) = gateway.command(&["decision", other]);
        assert_eq!(code, Some(1));
        assert!(said.contains("no decision of this id is kept"), "{said}");
        assert_eq!(gateway.command(&["decision", "x"]).0, Some(2));
        assert_eq!(
            gateway
                .ask_admin("GET", "/api/v1/decisions/x", None)
                .await
                .status,
            400
        );
    });
}

#[test]
fn decisions_are_listed_by_what_is_wanted_and_summed_up() {
    let (main, _upstream, gateway) = usual();
    block_on(async {
        let late = main.token().with("exp", NOW - 300).sign();
        let poor = main
            .token()
            .with("scope", "x")
            .with("client_id", "other")
            .sign();
        for token in [&*late, "nonsense", &*poor, &*late] {
            assert!(gateway.http2().get("/orders/1", token).await.status > 400);
        }
        // All that is allowed is sampled here.
        assert_eq!(
            gateway
                .http1()
                .get("/orders/1", &main.token().sign())
                .await
                .status,
            200
        );
        assert_eq!(gateway.http1().get("/nothing", "").await.status, 404);
        let reasons = |list: &Value| -> Vec<String> {
            let all = list["decisions"].as_array().expect("a list");
            all.iter()
                .map(|it| it["reason"].as_str().unwrap().to_owned())
                .collect()
        };
        let all = gateway.told("/api/v1/decisions").await;
        // The newest first.
        assert_eq!(
            reasons(&all),
            [
                "route_not_found",
                "none",
                "token_expired",
                "scope_missing",
                "token_malformed",
                "token_expired"
            ]
        );
        assert!(all["decisions"][0].get("steps").is_none());
        let of = async |query: &str| {
            let path = format!("/api/v1/decisions?{query}");
            reasons(&gateway.told(&path).await)
        };
        assert_eq!(of("reason=token_expired").await.len(), 2);
        assert_eq!(of("outcome=allow").await, ["none"]);
        assert_eq!(
            of("route=orders&issuer=main&limit=2").await,
            ["none", "token_expired"]
        );
        assert_eq!(of("route=none").await, ["route_not_found"]);
        for bad in ["limit=0", "limit=5000", "colour=red", "reason=%zz"] {
            let path = format!("/api/v1/decisions?{bad}");
            assert_eq!(
                gateway.ask_admin("GET", &path, None).await.status,
                400,
                "{bad}"
            );
        }
        let summary = gateway.told("/api/v1/decisions/summary").await;
        let last = |counts: &Value| counts.as_array().and_then(|all| all.last().cloned());
        assert_eq!(
            last(&summary["minutes"]),
            Some(json!("2026-11-24T15:04:00Z"))
        );
        assert_eq!(last(&summary["reasons"]["token_expired"]), Some(json!(2)));
        assert_eq!(last(&summary["allowed"]), Some(json!(1)));
        assert_eq!(
            summary["refusals"]["by_route"][0],
            json!({ "name": "orders", "count": 4 })
        );
        assert_eq!(summary["refusals"]["by_client"][0]["count"], 2);
        // A minute later it is a minute back, and in half an hour nobody speaks of it.
        gateway.clock.advance(60);
        let summary = gateway.told("/api/v1/decisions/summary").await;
        let counts = summary["reasons"]["token_expired"]
            .as_array()
            .expect("counts");
        assert_eq!(counts[counts.len() - 2], 2);
        gateway.clock.advance(1800);
        let summary = gateway.told("/api/v1/decisions/summary").await;
        assert_eq!(summary["reasons"], json!({}));
        let (code, told, _) = gateway.command(&["decisions", "--reason", "scope_missing"]);
        assert_eq!(code, Some(0));
        assert!(
            told.contains("403 scope_missing orders GET /orders/1 other"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1);
        let (code, _, said) = gateway.command(&["decisions", "--reason", "scope_mising"]);
        assert_eq!(code, Some(2));
        assert!(said.contains("did you mean `scope_missing`?"), "{said}");
    });
}

#[test]
fn who_follows_sees_each_refusal_as_it_comes() {
    let (main, _upstream, gateway) = usual();
    block_on(async {
        let wanted = "/api/v1/decisions?reason=token_expired";
        let mut events = gateway.follow_admin(wanted).await;
        assert_eq!(events.head.status, 200);
        assert_eq!(events.head.header("content-type"), "text/event-stream");
        let late = main.token().with("exp", NOW - 300).sign();
        gateway.http1().get("/orders/1", "nonsense").await;
        let first = id_of(&gateway.http1().get("/orders/1", &late).await);
        let event = events.next().await;
        assert!(
            event.starts_with(&format!("id: {first}\ndata: ")),
            "{event}"
        );
        let data: Value =
            serde_json::from_str(event.split_once("data: ").unwrap().1.trim()).expect("JSON");
        assert_eq!(data["reason"], "token_expired");
        let second = id_of(&gateway.http1().get("/orders/1", &late).await);
        assert!(events.next().await.contains(&second));
        // Only so many, and a place is free again when one goes.
        let mut others = Vec::new();
        for _ in 0..15 {
            others.push(gateway.follow_admin(wanted).await);
        }
        assert!(others.iter().all(|other| other.head.status == 200));
        assert_eq!(gateway.follow_admin(wanted).await.head.status, 503);
        drop(others);
        eventually("a free place", async || {
            gateway.follow_admin(wanted).await.head.status == 200
        })
        .await;
        // Without the admin token nobody follows.
        let answer =
            crate::support::client::plain_request(gateway.admin(), "GET", wanted, None, None).await;
        assert_eq!(answer.status, 401);
    });
}

#[test]
fn what_is_kept_is_bounded_and_survives_a_reload() {
    let (main, _upstream, gateway) = usual();
    block_on(async {
        let first = id_of(&gateway.http1().get("/orders/1", "nonsense").await);
        gateway.change("allow = \"100%\"", "allow = \"0%\"").await;
        gateway.told(&format!("/api/v1/decisions/{first}")).await;
        let mut client = gateway.http1().keep().await;
        for n in 0..1100 {
            // At a rate that is kept.
            if n % 400 == 399 {
                gateway.clock.advance(1);
            }
            client.get("/orders/1", "nonsense").await;
        }
        let kept = gateway.told("/api/v1/decisions?limit=1").await["kept"].as_u64();
        assert_eq!(kept, Some(1024));
        let answer = gateway
            .ask_admin("GET", &format!("/api/v1/decisions/{first}"), None)
            .await;
        assert_eq!(answer.status, 404);
        // What is allowed is kept only where the audit has it.
        client.get("/orders/1", &main.token().sign()).await;
        assert_eq!(
            gateway.told("/api/v1/decisions?outcome=allow").await["decisions"],
            json!([])
        );
    });
}

#[test]
fn another_configuration_says_what_it_would_have_done() {
    let (main, _upstream, gateway) = usual();
    let configuration =
        std::fs::read_to_string(gateway.folder().join("bearward.toml")).expect("a file");
    let lax = configuration.replace(
        "scopes_all = [\"orders:read\"]",
        "scopes_any = [\"x\", \"orders:read\"]",
    );
    let wide = configuration.replace(
        "audiences = [\"https://api.test\"]",
        "audiences = [\"https://other.test\"]",
    );
    let open = configuration.replace("issuers = [\"main\"]\nidentity = { \"X-Auth-Subject\" = \"sub\", \"X-Auth-Scopes\" = \"scope\" }", "auth = \"none\"");
    let open = open
        .split("[[routes.orders.rules]]")
        .next()
        .expect("a beginning")
        .to_owned();
    let gone = configuration.replace("/orders/{*rest}", "/elsewhere/{*rest}");
    block_on(async {
        let replay = async |id: &str, text: &str| {
            let path = format!("/api/v1/decisions/{id}/replay");
            let body = json!({ "configuration": text });
            let answer = gateway.ask_admin("POST", &path, Some(&body)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.json()
        };
        let poor = id_of(
            &gateway
                .http1()
                .get("/orders/1", &main.token().with("scope", "x").sign())
                .await,
        );
        let same = replay(&poor, &configuration).await;
        assert_eq!(same["same"], true);
        assert_eq!(same["would_be"], "scope_missing");
        let changed = replay(&poor, &lax).await;
        assert_eq!(
            (&changed["was"], &changed["would_be"]),
            (&json!("scope_missing"), &json!("none"))
        );
        assert_eq!(changed["verdict"]["steps"][8]["state"], "passed");
        assert_eq!(replay(&poor, &wide).await["would_be"], "audience_mismatch");
        assert_eq!(replay(&poor, &gone).await["would_be"], "route_not_found");
        assert_eq!(replay(&poor, &open).await["would_be"], "none");
        // By the time of then: a token that has expired meanwhile had not.
        gateway.clock.advance(3600);
        assert_eq!(replay(&poor, &lax).await["would_be"], "none");
        // What never held cannot be judged again, since no token is kept.
        let forged = id_of(&gateway.http1().get("/orders/1", "a.b.c").await);
        let unknown = replay(&forged, &lax).await;
        assert_eq!(unknown["would_be"], Value::Null);
        assert!(
            unknown["unknown"]
                .as_str()
                .is_some_and(|why| why.contains("form"))
        );
        assert_eq!(replay(&forged, &open).await["would_be"], "none");
        // Faults are told as `check` tells them.
        let file = gateway.folder().join("candidate.toml");
        std::fs::write(
            &file,
            configuration.replace("[routes.orders]", "[routes.orders]\ncolour = 1"),
        )
        .expect("a file");
        let against = file.display().to_string();
        let (code, _, said) = gateway.command(&["decision", &poor, "--against", &against]);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("colour"), "{said}");
        std::fs::write(&file, &lax).expect("a file");
        let (code, told, said) = gateway.command(&["decision", &poor, "--against", &against]);
        assert_eq!(code, Some(1), "{said}");
        assert!(told.contains("allowed in place of scope_missing"), "{told}");
        let ways = |told: &str| told.matches("credentials").count();
        assert_eq!(ways(&told), 2, "{told}");
        // The way to it is told once where it is the same.
        std::fs::write(&file, &configuration).expect("a file");
        let (code, told, said) = gateway.command(&["decision", &poor, "--against", &against]);
        assert_eq!(code, Some(0), "{said}");
        assert!(told.contains("the same, scope_missing"), "{told}");
        assert_eq!(ways(&told), 1, "{told}");
    });
}

#[test]
fn a_flood_of_one_client_pushes_nothing_out() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let gateway = Bearward::usual(&main, &upstream)
        .limits("failures_per_peer = \"5/m\"")
        .start();
    block_on(async {
        let first = id_of(&gateway.http1().get("/orders/1", "nonsense").await);
        let mut client = gateway.http1().keep().await;
        for _ in 0..1200 {
            client.get("/orders/1", "nonsense").await;
        }
        gateway.told(&format!("/api/v1/decisions/{first}")).await;
    });
}

#[test]
fn the_operator_is_told_what_an_unverified_token_says_and_the_client_is_not() {
    let (main, _upstream, gateway) = usual();
    block_on(async {
        let token = main.token().with("iss", "https://elsewhere.test/").sign();
        let answer = gateway.http1().get("/orders/1", &token).await;
        assert!(!answer.text().contains("elsewhere"));
        let decision = gateway
            .told(&format!("/api/v1/decisions/{}", id_of(&answer)))
            .await;
        let failed = &decision["steps"][2];
        assert_eq!(
            failed["found"],
            "`iss` is https://elsewhere.test/ (not verified)"
        );
        assert_eq!(failed["expected"], "https://login.test/");
    });
}

#[test]
fn follow_goes_on() {
    let (_main, _upstream, gateway) = usual();
    block_on(async {
        gateway.http1().get("/orders/1", "nonsense").await;
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args([
            "decisions",
            "--follow",
            "--admin",
            &format!("http://{}", gateway.admin()),
            "--config",
        ])
        .arg(gateway.folder().join("bearward.toml"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        child.stdout.take().expect("a pipe"),
    ));
    let mut next = || lines.next().expect("a line").expect("text");
    assert!(next().contains("401 token_malformed orders GET /orders/1"));
    block_on(async {
        gateway.http1().get("/nothing", "").await;
    });
    assert!(next().contains("404 route_not_found - GET /nothing"));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}
