//! Opaque tokens: asked about once, remembered within bounds, decided anew.

use base64::Engine;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, ORDERS};
use crate::support::issuer::NOW;
use crate::support::{Bearward, Provider, TestIssuer, Upstream, block_on, eventually};

const ISSUER: &str = "https://opaque.test/";

fn table(provider: &Provider, more: &str) -> String {
    format!(
        "[issuers.opaque]\nissuer = \"{ISSUER}\"\naudiences = [\"https://api.test\"]\n[issuers.opaque.introspection]\nendpoint = \"{}/introspect\"\nclient_id = \"gate way\"\nclient_secret = {{ file = \"introspection\" }}\nallow_http_loopback = true\n{more}\n",
        provider.base
    )
}

fn asking(provider: &Provider, upstream: &Upstream, more: &str) -> Gateway {
    Bearward::new()
        .upstream("orders", upstream.address, "")
        .secret("introspection", "s:cret\n")
        .table(&table(provider, more))
        .table(&ORDERS.replace("main", "opaque"))
        .start()
}

/// What a good token's issuer says of it.
fn active() -> Value {
    json!({
        "active": true,
        "iss": ISSUER,
        "aud": ["https://api.test"],
        "sub": "alice",
        "client_id": "app",
        "token_type": "Bearer",
        "scope": "orders:read",
        "jti": "one",
        "exp": NOW + 600,
        "iat": NOW - 10,
    })
}

#[test]
fn a_good_token_is_asked_about_once_and_tells_the_upstream_who_calls() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    provider.say("good-token", active());
    let gateway = asking(&provider, &upstream, "");
    block_on(async {
        for client in [gateway.http1(), gateway.http2()] {
            let answer = client.get("/orders/1", "good-token").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(answer.text().contains("x-auth-subject: alice\r\n"));
        }
        let questions = provider.questions();
        assert_eq!(questions.len(), 1);
        let expected = base64::engine::general_purpose::STANDARD.encode("gate%20way:s%3Acret");
        assert_eq!(
            questions[0].authorization,
            Some(format!("Basic {expected}"))
        );
        assert_eq!(
            questions[0].form,
            "token_type_hint=access_token&token=good-token"
        );
        let asked =
            "bearward_introspection_duration_seconds_count{issuer=\"opaque\",result=\"active\"}";
        assert_eq!(gateway.metric(asked).await, 1.0);
    });
    let lines = gateway.stop();
    let line = lines
        .iter()
        .find(|line| line["event"] == "decision")
        .expect("a line");
    assert_eq!(
        (&line["issuer"], &line["sub"]),
        (&json!("opaque"), &json!("alice"))
    );
    assert!(line.get("alg").is_none());
    assert!(
        !lines
            .iter()
            .any(|line| line.to_string().contains("good-token"))
    );
}

#[test]
fn the_secret_can_stand_in_the_form() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    provider.say("good-token", active());
    let gateway = asking(&provider, &upstream, "client_auth = \"client_secret_post\"");
    block_on(async {
        assert_eq!(
            gateway.http1().get("/orders/1", "good-token").await.status,
            200
        );
        let question = &provider.questions()[0];
        assert_eq!(question.authorization, None);
        assert_eq!(
            question.form,
            "token_type_hint=access_token&token=good-token&client_id=gate%20way&client_secret=s%3Acret"
        );
    });
}

#[test]
fn a_burst_of_one_new_token_is_one_question() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    provider.say("good-token", active());
    let gateway = asking(&provider, &upstream, "cache_max = \"0s\"");
    block_on(async {
        // Even where nothing is remembered, those who wait together share the answer.
        let address = gateway.address();
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let client = crate::support::Client::http1(address);
                tokio::spawn(async move { client.get("/orders/1", "good-token").await.status })
            })
            .collect();
        for answer in waiting {
            assert_eq!(answer.await.expect("an answer"), 200);
        }
        assert!(provider.questions().len() <= 20);
        let before = provider.questions().len();
        assert_eq!(
            gateway.http1().get("/orders/1", "good-token").await.status,
            200
        );
        assert_eq!(
            provider.questions().len(),
            before + 1,
            "nothing is remembered"
        );
    });
}

#[test]
fn an_answer_counts_within_its_bound_and_never_past_the_tokens_end() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    provider.say("long", active());
    let mut short = active();
    short["exp"] = json!(NOW + 10);
    provider.say("short", short);
    let gateway = asking(&provider, &upstream, "");
    let status = async |token: &str| gateway.http1().get("/orders/1", token).await.status;
    block_on(async {
        assert_eq!(status("long").await, 200);
        assert_eq!(status("short").await, 200);
        assert_eq!(provider.questions().len(), 2);
        // Both are taken back at the issuer.
        provider.say("long", json!({ "active": false }));
        provider.say("short", json!({ "active": false }));
        gateway.clock.advance(9);
        assert_eq!(status("long").await, 200);
        assert_eq!(status("short").await, 200);
        assert_eq!(provider.questions().len(), 2);
        gateway.clock.advance(1);
        // At its `exp`, though leeway would still let it pass.
        assert_eq!(status("short").await, 401);
        assert_eq!(status("long").await, 200);
        gateway.clock.advance(20);
        let answer = gateway.http1().get("/orders/1", "long").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "token_inactive")
        );
        assert_eq!(answer.json()["step"], "revocation");
        assert!(
            answer
                .header("www-authenticate")
                .contains("error=\"invalid_token\"")
        );
        // That it is inactive is remembered too, briefly.
        let asked = provider.questions().len();
        assert_eq!(status("long").await, 401);
        assert_eq!(provider.questions().len(), asked);
        provider.say("long", active());
        gateway.clock.advance(5);
        assert_eq!(status("long").await, 200);
    });
}

#[test]
fn scope_audience_time_and_revocation_are_decided_anew() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let say = |token: &str, change: Value| {
        let mut answer = active();
        for (name, value) in change.as_object().expect("an object") {
            if value.is_null() {
                answer.as_object_mut().expect("an object").remove(name);
            } else {
                answer[name] = value.clone();
            }
        }
        provider.say(token, answer);
    };
    for (token, change, status, code) in [
        ("no-aud", json!({ "aud": null }), 401, "claim_missing"),
        (
            "other-aud",
            json!({ "aud": "https://other.test" }),
            401,
            "audience_mismatch",
        ),
        (
            "other-iss",
            json!({ "iss": "https://other.test/" }),
            401,
            "issuer_untrusted",
        ),
        ("no-sub", json!({ "sub": null }), 401, "claim_missing"),
        ("expired", json!({ "exp": NOW - 60 }), 401, "token_expired"),
        (
            "early",
            json!({ "nbf": NOW + 60 }),
            401,
            "token_not_yet_valid",
        ),
        (
            "bound",
            json!({ "token_type": "DPoP" }),
            401,
            "type_not_allowed",
        ),
        (
            "refresh",
            json!({ "token_type": "refresh_token" }),
            401,
            "type_not_allowed",
        ),
        ("bad-exp", json!({ "exp": "soon" }), 401, "token_malformed"),
        ("no-scope", json!({ "scope": null }), 403, "scope_missing"),
        ("no-exp", json!({ "exp": null, "iat": null }), 200, ""),
        (
            "no-iss",
            json!({ "iss": null, "token_type": null }),
            200,
            "",
        ),
    ] {
        say(token, change);
        let gateway = asking(&provider, &upstream, "");
        block_on(async {
            // Remembered or not, the verdict is the same.
            for _ in 0..2 {
                let answer = gateway.http1().get("/orders/1", token).await;
                assert_eq!(answer.status, status, "{token}: {}", answer.text());
                if status != 200 {
                    assert_eq!(answer.code(), code, "{token}");
                }
            }
        });
    }
    say("good", json!({}));
    let gateway = asking(&provider, &upstream, "");
    block_on(async {
        assert_eq!(gateway.http1().get("/orders/1", "good").await.status, 200);
        let bearer = [("authorization", "Bearer good")];
        let post = gateway.http1().send("POST", "/orders/1", &bearer, "").await;
        assert_eq!(
            post.code(),
            "scope_missing",
            "another rule, the same answer"
        );
        let body = json!({ "selector": { "issuer": "opaque", "subject": "alice" } });
        gateway
            .ask_admin("POST", "/api/v1/revocations", Some(&body))
            .await;
        let answer = gateway.http1().get("/orders/1", "good").await;
        assert_eq!(
            answer.code(),
            "token_revoked",
            "revoked here, whatever the issuer said"
        );
    });
}

#[test]
fn what_is_no_clear_answer_is_no_answer() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    provider.say("good-token", active());
    for (status, document, said) in [
        (500, "down", "answers with status 500"),
        (401, "{}", "client id and secret"),
        (403, "{}", "client id and secret"),
        (200, "<html>", "no JSON object with `active`"),
        (200, "{}", "no JSON object with `active`"),
        (200, "{\"active\":\"true\"}", "no JSON object with `active`"),
        (
            200,
            "{\"active\":true,\"active\":false}",
            "no JSON object with `active`",
        ),
        (302, "", "answers with status 302"),
    ] {
        let gateway = asking(&provider, &upstream, "");
        block_on(async {
            assert_eq!(
                gateway.http1().get("/orders/1", "good-token").await.status,
                200
            );
            provider.set("/introspect", status, document);
            // What is known goes on to count; what is not is 503, and no challenge.
            assert_eq!(
                gateway.http1().get("/orders/1", "good-token").await.status,
                200
            );
            let answer = gateway.http1().get("/orders/1", "new-token").await;
            assert_eq!(answer.status, 503, "{document}");
            assert_eq!(answer.code(), "introspection_unavailable");
            assert_eq!(answer.header("retry-after"), "5");
            assert_eq!(answer.header("www-authenticate"), "");
            let page = gateway.readiness().await;
            assert!(
                page.contains("introspection of issuer opaque") && page.contains(said),
                "{page}"
            );
            assert_eq!(gateway.issuer("opaque").await["state"], "failing");
            let failed = "bearward_introspection_duration_seconds_count{issuer=\"opaque\",result=\"failed\"}";
            assert_eq!(gateway.metric(failed).await, 1.0);
        });
        provider.forget("/introspect");
    }
    // One that does not like a token says so with 400, which is the token's fault and not its own.
    provider.set("/introspect", 400, "{\"error\":\"invalid_request\"}");
    let gateway = asking(&provider, &upstream, "");
    block_on(async {
        let answer = gateway.http1().get("/orders/1", "odd-token").await;
        assert_eq!(answer.code(), "token_inactive");
        assert_eq!(gateway.issuer("opaque").await["state"], "ok");
    });
    provider.set("/introspect", 400, "{\"error\":\"invalid_client\"}");
    let gateway = asking(&provider, &upstream, "");
    block_on(async {
        let answer = gateway.http1().get("/orders/1", "odd-token").await;
        assert_eq!(answer.code(), "introspection_unavailable");
    });
    provider.forget("/introspect");
    // Nobody there at all.
    let gone = Provider::start();
    let gateway = asking(&gone, &upstream, "");
    drop(gone);
    block_on(async {
        let answer = gateway.http1().get("/orders/1", "new-token").await;
        assert_eq!(answer.code(), "introspection_unavailable");
    });
}

#[test]
fn what_is_no_token_is_not_asked_about() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let gateway = asking(&provider, &upstream, "");
    block_on(async {
        for token in [
            "undefined",
            "$TOKEN",
            "\"quoted\"",
            "Bearer x",
            "a b",
            "a%0A",
            "a\\n",
            "=",
            "{}",
        ] {
            let answer = gateway.http1().get("/orders/1", token).await;
            assert_eq!(answer.code(), "token_malformed", "{token}");
        }
        let long = "x".repeat(9000);
        assert_eq!(
            gateway.http1().get("/orders/1", &long).await.code(),
            "token_too_large"
        );
        assert!(provider.questions().is_empty());
    });
}

#[test]
fn a_jwt_is_asked_about_only_where_nobody_else_could_have_signed_it() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let jwt = main.token().sign();
    provider.say(&jwt, active());
    provider.say("opaque-token", active());
    // Both kinds on one route.
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .upstream("orders", upstream.address, "")
        .secret("introspection", "secret")
        .table(&table(&provider, ""))
        .table(&ORDERS.replace("[\"main\"]", "[\"main\", \"opaque\"]"))
        .start();
    block_on(async {
        assert_eq!(gateway.http1().get("/orders/1", &jwt).await.status, 200);
        assert!(provider.questions().is_empty(), "its signature speaks");
        assert_eq!(
            gateway
                .http1()
                .get("/orders/1", "opaque-token")
                .await
                .status,
            200
        );
        assert_eq!(provider.questions().len(), 1);
        let forged = main.token().with("iss", ISSUER).sign();
        let answer = gateway.http1().get("/orders/1", &forged).await;
        assert_eq!(
            answer.code(),
            "issuer_untrusted",
            "that issuer signs nothing here"
        );
    });
    // The opaque issuer alone.
    let gateway = asking(&provider, &upstream, "");
    block_on(async {
        assert_eq!(gateway.http1().get("/orders/1", &jwt).await.status, 200);
        assert_eq!(provider.questions().len(), 2);
    });
}

#[test]
fn one_route_does_not_answer_for_another() {
    let (provider, other, upstream) = (Provider::start(), Provider::start(), Upstream::echo());
    provider.say("shared-token", active());
    let second = table(&other, "")
        .replace("issuers.opaque", "issuers.second")
        .replace(ISSUER, "https://second.test/");
    let gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .secret("introspection", "secret")
        .table(&table(&provider, ""))
        .table(&second)
        .table(&ORDERS.replace("main", "opaque"))
        .table("[routes.second]\npath = \"/second/{*rest}\"\nupstream = \"orders\"\nissuers = [\"second\"]")
        .start();
    block_on(async {
        assert_eq!(
            gateway
                .http1()
                .get("/orders/1", "shared-token")
                .await
                .status,
            200
        );
        let answer = gateway.http1().get("/second/1", "shared-token").await;
        assert_eq!(
            answer.code(),
            "token_inactive",
            "its own issuer does not know it"
        );
        eventually("both were asked", async || {
            provider.questions().len() == 1 && other.questions().len() == 1
        })
        .await;
    });
}

#[test]
fn made_up_tokens_do_not_stand_in_the_way_of_known_ones() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    provider.say("known-token", active());
    let gateway = asking(&provider, &upstream, "timeout = \"4s\"");
    block_on(async {
        assert_eq!(
            gateway.http1().get("/orders/1", "known-token").await.status,
            200
        );
        // What was said is over; the endpoint is slow with everything but known tokens.
        gateway.clock.advance(30);
        provider.hold(Some("forged"));
        let address = gateway.address();
        let flood: Vec<_> = (0..200)
            .map(|n| {
                let client = crate::support::Client::http1(address);
                tokio::spawn(
                    async move { client.get("/orders/1", &format!("forged-{n}")).await.status },
                )
            })
            .collect();
        eventually("every turn is taken", async || {
            provider.questions().len() > 48
        })
        .await;
        assert_eq!(
            gateway.http1().get("/orders/1", "known-token").await.status,
            200
        );
        let asked = provider.questions().len();
        assert_eq!(asked, 1 + 48 + 1, "no more than the bound at once");
        // Those who made them up go away: nobody is asked on their behalf any more.
        for asker in &flood {
            asker.abort();
        }
        for asker in flood {
            let _ = asker.await;
        }
        let open = "bearward_connections{listener=\"public\"}";
        eventually("they are gone", async || gateway.metric(open).await == 0.0).await;
        provider.hold(None);
        provider.say("new-token", active());
        let accepted = async || gateway.http1().get("/orders/1", "new-token").await.status == 200;
        eventually("a new token", accepted).await;
        let asked = provider.questions().len();
        assert!(asked <= 1 + 48 + 1 + 2, "{asked} questions");
    });
}

#[test]
fn an_opaque_token_in_the_form_of_a_jwt_is_revoked_by_its_fingerprint() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let token = "aaaa.bbbb.cccc";
    provider.say(token, active());
    let gateway = asking(&provider, &upstream, "");
    block_on(async {
        assert_eq!(gateway.http1().get("/orders/1", token).await.status, 200);
    });
    let file = gateway.folder().join("token");
    std::fs::write(&file, token).expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(["revoke", "token", "--issuer", "opaque", "--admin"])
        .arg(format!("http://{}", gateway.admin()))
        .arg("--admin-token-file")
        .arg(gateway.folder().join("state/admin-token"))
        .arg(format!("@{}", file.display()))
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    block_on(async {
        let answer = gateway.http1().get("/orders/1", token).await;
        assert_eq!(answer.code(), "token_revoked");
    });
}
