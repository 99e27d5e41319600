//! A configuration that is tried on what comes.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::gateway::ORDERS;
use crate::support::issuer::NOW;
use crate::support::{Bearward, TestIssuer, Upstream, block_on, usual};

#[test]
fn a_candidate_is_judged_by_on_what_comes_and_refuses_nobody() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .upstream("orders", upstream.address, "")
        .table(&ORDERS.replace(
            "upstream = \"orders\"",
            "upstream = \"orders\"\nlisteners = [\"public\"]",
        ))
        .start();
    let configuration =
        std::fs::read_to_string(gateway.folder().join("bearward.toml")).expect("a file");
    let strict = configuration
        .replace(
            "scopes_all = [\"orders:read\"]",
            "scopes_all = [\"orders:read\", \"orders:all\"]",
        )
        .replace("[audit]", "[audit]\ndeny_rate = \"10/s\"");
    block_on(async {
        let candidate = async |method: &str, body: Option<&Value>| {
            gateway.ask_admin(method, "/api/v1/candidate", body).await
        };
        assert_eq!(candidate("GET", None).await.status, 404);
        let begun = candidate("PUT", Some(&json!({ "configuration": strict }))).await;
        assert_eq!(begun.status, 200, "{}", begun.text());
        assert_eq!(begun.json()["issuers_without_keys"], json!([]));
        let good = main.token().sign();
        let late = main.token().with("exp", NOW - 300).sign();
        for token in [&*good, &*good, &*late, "nonsense"] {
            let expected = if token == good { 200 } else { 401 };
            assert_eq!(
                gateway.http2().get("/orders/1", token).await.status,
                expected
            );
        }
        // What the gateway answers itself is not compared.
        let page = "/.well-known/bearward/problems/token_expired";
        assert_eq!(gateway.http1().send("GET", page, &[], "").await.status, 200);
        let told = candidate("GET", None).await.json();
        assert_eq!(told["judged"], 4, "{told}");
        assert_eq!(told["same"], 2);
        let difference = &told["differences"][0];
        assert_eq!(difference["route"], "orders");
        assert_eq!(difference["is"], "none");
        assert_eq!(difference["would_be"], "scope_missing");
        assert_eq!(difference["count"], 2);
        // The example is kept.
        let example = difference["example"].as_str().expect("an id");
        let decision = gateway.told(&format!("/api/v1/decisions/{example}")).await;
        assert_eq!(decision["status"], 200);
        let (code, told, said) = gateway.command(&["candidate", "show"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            told.contains("requests judged: 4, of them the same: 2"),
            "{told}"
        );
        assert!(told.contains("allowed would be scope_missing"), "{told}");
        assert_eq!(candidate("DELETE", None).await.status, 200);
        gateway.http1().get("/orders/1", &good).await;
        assert_eq!(candidate("GET", None).await.status, 404);
        // It names no file, and no secret, that the one that serves does not.
        for (more, told) in [
            (
                "[issuers.x]\nsecret = { file = \"/etc/hostname\" }\n",
                "file = ",
            ),
            ("[issuers.x]\nsecret = { env = \"HOME\" }\n", "env = "),
            ("[issuers.x]\njwks_file = \"/etc/passwd\"\n", "jwks_file = "),
        ] {
            let text = format!(
                "{}\n{more}",
                std::fs::read_to_string(gateway.folder().join("bearward.toml")).expect("a file")
            );
            let refused = candidate("PUT", Some(&json!({ "configuration": text }))).await;
            assert_eq!(refused.status, 409, "{more}: {}", refused.text());
            assert!(refused.text().contains(told), "{}", refused.text());
        }
        let bad = candidate("PUT", Some(&json!({ "configuration": "version = 1" }))).await;
        assert_eq!(bad.status, 422);
        assert!(
            bad.json()["report"]
                .as_str()
                .is_some_and(|report| report.contains("error["))
        );
    });
    let actions: Vec<String> = gateway
        .stop()
        .iter()
        .filter(|line| line["event"] == "admin")
        .map(|line| line["action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(actions, ["candidate.try", "candidate.stop"]);
}

#[test]
fn a_configuration_that_is_sent_harms_nobody() {
    let (_main, _upstream, gateway) = usual();
    let good = std::fs::read_to_string(gateway.folder().join("bearward.toml")).expect("a file");
    let fifo = gateway.folder().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("it runs");
    assert!(made.success());
    let keys =
        |path: &str| good.replace("jwks_file = \"main.json\"", &format!("keys = [{path:?}]"));
    let wide = format!(
        "{good}[routes.wide]\npath = \"/wide\"\nupstream = \"orders\"\nissuers = [{}]\n",
        "\"a\",".repeat(8_000)
    );
    let tables: String = (0..10_000).map(|n| format!("[zz{n}]\n")).collect();
    let escaped = good
        .replace("http://127.0.0.1", "\\u0024{HOME}")
        .replace("servers = [\"", "servers = [\"x");
    block_on(async {
        let send = async |text: &str| {
            let body = json!({ "configuration": text });
            gateway
                .ask_admin("PUT", "/api/v1/candidate", Some(&body))
                .await
        };
        // Files that do not serve are not looked at, and many faults are told by the first of them.
        let foreign = "which the one that serves does not";
        for (text, status, words) in [
            (keys(&fifo.display().to_string()), 409, foreign),
            (keys("/dev/zero"), 409, foreign),
            (wide, 422, "findings"),
            (tables, 422, "findings"),
        ] {
            let answer = send(&text).await;
            assert_eq!(answer.status, status);
            assert!(answer.text().contains(words), "{words}");
            assert!(
                answer.body.len() < 4 * 1024 * 1024,
                "{} bytes",
                answer.body.len()
            );
        }
        // The environment is not read by having it told.
        for text in [
            good.replace("path = \"/orders", "path = \"${HOME}/orders"),
            escaped,
        ] {
            let answer = send(&text).await;
            assert_eq!(answer.status, 409, "{}", answer.text());
            assert!(answer.text().contains("${HOME}"), "{}", answer.text());
            assert!(
                !answer
                    .text()
                    .contains(&std::env::var("HOME").expect("a home"))
            );
        }
        assert_eq!(send(&good).await.status, 200);
    });
}
