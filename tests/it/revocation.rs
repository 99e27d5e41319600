//! Revoking through the admin API and the command line bites on the next request.

use std::process::Command;

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::client::{plain_exchange, plain_request};
use crate::support::issuer::NOW;
use crate::support::{block_on, usual};

const PATH: &str = "/api/v1/revocations";

#[test]
fn a_subject_is_cut_off_at_a_time_and_can_be_let_in_again() {
    let (main, _upstream, gateway) = usual();
    block_on(async {
        let old = main.token().with("iat", NOW - 100).sign();
        let at_the_cut = main.token().with("iat", NOW - 50).sign();
        let new = main.token().with("iat", NOW - 49).sign();
        let bob = main
            .token()
            .with("sub", "bob")
            .with("iat", NOW - 100)
            .sign();
        for token in [&old, &at_the_cut, &new, &bob] {
            assert_eq!(gateway.http1().get("/orders/1", token).await.status, 200);
        }
        let body = json!({
            "selector": { "issuer": "main", "subject": "alice" },
            "issued_before": NOW - 50,
            "reason": "lost laptop",
        });
        let added = gateway.ask_admin("POST", PATH, Some(&body)).await;
        assert_eq!(added.status, 201);
        let answer = added.json();
        assert_eq!(answer["durable"], true);
        assert_eq!(answer["reason"], "lost laptop");
        // Never forgotten before the tokens it kills can have ended.
        assert_eq!(answer["until"], "2026-11-25T15:05:06Z");
        for (token, status) in [(&old, 401), (&at_the_cut, 401), (&new, 200), (&bob, 200)] {
            let answer = gateway.http2().get("/orders/1", token).await;
            assert_eq!(answer.status, status);
            if status == 401 {
                assert_eq!(answer.json()["revoked_by"], "subject");
                assert!(answer.text().contains("Sign in again"));
            }
        }
        // The same selector again is the same revocation.
        let again = gateway.ask_admin("POST", PATH, Some(&body)).await;
        assert_eq!((again.status, &again.json()["id"]), (200, &answer["id"]));
        assert_eq!(
            (&answer["added"], &again.json()["added"]),
            (&json!(true), &json!(false))
        );
        let hits = "bearward_revocation_hits_total{selector=\"subject\"}";
        assert_eq!(gateway.metric(hits).await, 2.0);
        let list = gateway.ask_admin("GET", PATH, None).await.json();
        assert_eq!(list["count"], 1);
        assert_eq!(
            gateway
                .metric("bearward_revocations{selector=\"subject\"}")
                .await,
            1.0
        );
        let one = format!("{PATH}/{}", answer["id"].as_str().expect("an id"));
        assert_eq!(gateway.ask_admin("DELETE", &one, None).await.status, 200);
        assert_eq!(gateway.ask_admin("DELETE", &one, None).await.status, 404);
        assert_eq!(gateway.http1().get("/orders/1", &old).await.status, 200);
    });
    let admin: Vec<_> = gateway
        .stop()
        .into_iter()
        .filter(|line| line["event"] == "admin")
        .collect();
    let told: Vec<_> = admin
        .iter()
        .map(|line| (line["action"].as_str(), line["result"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Some("revocation.add"), Some("added")),
            (Some("revocation.add"), Some("known")),
            (Some("revocation.remove"), Some("removed")),
            (Some("revocation.remove"), Some("unknown")),
        ]
    );
}

#[test]
fn bad_revocations_are_refused_with_what_is_wrong() {
    let (_main, _upstream, gateway) = usual();
    block_on(async {
        for (body, words) in [
            (json!({}), "selector"),
            (
                json!({ "selector": { "issuer": "nobody", "jti": "1" } }),
                "selector.issuer",
            ),
            (
                json!({ "selector": { "issuer": "main" } }),
                "exactly one of",
            ),
            (
                json!({ "selector": { "issuer": "main", "jti": "1", "subject": "2" } }),
                "exactly one of",
            ),
            (
                json!({ "selector": { "issuer": "main", "jti": "" } }),
                "empty",
            ),
            (
                json!({ "selector": { "issuer": "main", "jti": "1" }, "until": "tomorrow" }),
                "until",
            ),
            (
                json!({ "selector": { "issuer": "main", "jti": "1" }, "issued_before": -1 }),
                "issued_before",
            ),
            (
                json!({ "selector": { "issuer": "main", "jti": "1" }, "unti": 1 }),
                "unti",
            ),
        ] {
            let answer = gateway.ask_admin("POST", PATH, Some(&body)).await;
            assert_eq!(answer.status, 400, "{body}");
            assert!(answer.text().contains(words), "{words}: {}", answer.text());
        }
        assert_eq!(
            gateway.ask_admin("GET", PATH, None).await.json()["count"],
            0
        );
    });
}

#[test]
fn the_admin_listener_guards_itself() {
    let (_main, _upstream, gateway) = usual();
    let admin = gateway.admin();
    let token = gateway.admin_token();
    block_on(async {
        for token in [None, Some("wrong"), Some("")] {
            let answer = plain_request(admin, "GET", PATH, token, None).await;
            assert_eq!(answer.status, 401);
        }
        let ask = |headers: &[(&str, &str)], method: &str, body: &str| {
            let mut request = Request::builder().method(method).uri(PATH);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request
                .body(Full::new(body.to_owned().into()))
                .expect("a request")
        };
        let bearer = format!("Bearer {token}");
        let good = json!({ "selector": { "issuer": "main", "jti": "1" } }).to_string();
        let host = admin.to_string();
        for (headers, method, status) in [
            // DNS rebinding: the right address under another name.
            (
                vec![("host", "evil.test"), ("authorization", &bearer)],
                "GET",
                421,
            ),
            (vec![("authorization", &bearer)], "GET", 421),
            // A page of another origin.
            (
                vec![
                    ("host", &host),
                    ("origin", "https://evil.test"),
                    ("authorization", &bearer),
                ],
                "GET",
                403,
            ),
            (
                vec![
                    ("host", &host),
                    ("origin", "null"),
                    ("authorization", &bearer),
                ],
                "GET",
                403,
            ),
            // A form that a browser sends without asking.
            (
                vec![
                    ("host", &host),
                    ("content-type", "text/plain"),
                    ("authorization", &bearer),
                ],
                "POST",
                415,
            ),
            (
                vec![
                    ("host", &host),
                    ("content-type", "application/json"),
                    ("authorization", &bearer),
                ],
                "PUT",
                405,
            ),
        ] {
            let answer = plain_exchange(admin, ask(&headers, method, &good)).await;
            assert_eq!(answer.status, status, "{headers:?} {method}");
        }
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = plain_request(admin, "GET", path, None, None).await;
            assert_eq!(answer.status, 200, "{path}");
        }
    });
}

#[test]
fn the_command_line_revokes_lists_and_removes() {
    let (main, _upstream, gateway) = usual();
    let token_file = gateway.folder().join("state/admin-token");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&token_file)
            .expect("a file")
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bearward"))
            .args(arguments)
            .args(["--admin", &format!("http://{}", gateway.admin())])
            .arg("--admin-token-file")
            .arg(&token_file)
            .output()
            .expect("it runs");
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("UTF-8"),
            String::from_utf8(output.stderr).expect("UTF-8"),
        )
    };
    let token = main.token().sign();
    block_on(async {
        assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
    });
    let (_, text, said) = run(&["revocations", "list"]);
    assert_eq!(text, "");
    assert!(said.contains("there are no revocations"), "{said}");
    let (code, text, _) = run(&[
        "revoke", "jti", "token-1", "--issuer", "main", "--reason", "leaked", "--json",
    ]);
    assert_eq!(code, Some(0), "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    let id = answer["id"].as_str().expect("an id").to_owned();
    block_on(async {
        assert_eq!(
            gateway.http1().get("/orders/1", &token).await.code(),
            "token_revoked"
        );
    });
    let (code, text, _) = run(&["revocations", "list"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains(&id) && text.contains("jti=token-1") && text.contains("leaked"),
        "{text}"
    );
    assert_eq!(run(&["revocations", "remove", &id]).0, Some(0));
    block_on(async {
        assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
    });
    assert_eq!(
        run(&["revoke", "jti", "x", "--issuer", "nobody"]).0,
        Some(1)
    );
    let gone = Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args([
            "revocations",
            "list",
            "--admin",
            "http://127.0.0.1:9",
            "--admin-token-file",
        ])
        .arg(&token_file)
        .output()
        .expect("it runs");
    assert_eq!(gone.status.code(), Some(69));
}

#[test]
fn whoever_is_locked_out_is_not_told_to_sign_in_again() {
    let (main, _upstream, gateway) = usual();
    block_on(async {
        for (selector, helps) in [
            (json!({ "issuer": "main", "jti": "token-1" }), true),
            (json!({ "issuer": "main", "subject": "alice" }), false),
        ] {
            let body = json!({ "selector": selector });
            let added = gateway.ask_admin("POST", PATH, Some(&body)).await.json();
            let answer = gateway.http1().get("/orders/1", &main.token().sign()).await;
            assert_eq!(answer.code(), "token_revoked");
            let hint = answer.json()["hint"].to_string();
            assert_eq!(hint.contains("Sign in again"), helps, "{hint}");
            assert_eq!(hint.contains("ask the operator"), !helps, "{hint}");
            let one = format!("{PATH}/{}", added["id"].as_str().expect("an id"));
            assert_eq!(gateway.ask_admin("DELETE", &one, None).await.status, 200);
        }
    });
}

#[test]
fn a_dry_run_has_no_place_in_a_list() {
    let (main, _upstream, gateway) = usual();
    let line = json!({ "selector": { "issuer": "main", "subject": "alice" }, "dry_run": true });
    let request = Request::post(format!("{PATH}/import"))
        .header("host", "127.0.0.1")
        .header("authorization", format!("Bearer {}", gateway.admin_token()))
        .body(Full::from(line.to_string()))
        .expect("a request");
    block_on(async {
        let answer = plain_exchange(gateway.admin(), request).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("dry_run"), "{}", answer.text());
        let token = main.token().sign();
        assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
    });
}
