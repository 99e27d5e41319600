//! Tokens that speak to the gateway: given up by their holders, logout tokens, security events.

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::gateway::{Gateway, ORDERS};
use crate::support::issuer::NOW;
use crate::support::{Bearward, TestIssuer, Upstream, block_on};

const REVOKE: &str = "/.well-known/bearward/revoke";
const LOGOUT: &str = "/.well-known/bearward/backchannel-logout";
const EVENTS: &str = "/.well-known/bearward/security-events";
const FORM: &str = "application/x-www-form-urlencoded";

fn main_issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

fn gateway(issuer: &TestIssuer, upstream: &Upstream, rules: &str, more: &str) -> Gateway {
    Bearward::new()
        .trusting("main", issuer, rules)
        .upstream("orders", upstream.address, "")
        .table(ORDERS)
        .table(more)
        .start()
}

async fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.http1().get("/orders/1", token).await.status
}

async fn post(gateway: &Gateway, path: &str, kind: &str, body: &str) -> Answer {
    let client = gateway.http2();
    client
        .send("POST", path, &[("content-type", kind)], body)
        .await
}

async fn listed(gateway: &Gateway) -> Value {
    let answer = gateway.ask_admin("GET", "/api/v1/revocations", None).await;
    answer.json()["revocations"].clone()
}

#[test]
fn whoever_holds_a_token_may_give_it_up() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let gateway = gateway(&main, &upstream, "", "[endpoints]\nrevoke = true");
    let token = main.token().sign();
    let other = main.token().with("jti", "other").sign();
    block_on(async {
        assert_eq!(status(&gateway, &token).await, 200);
        for _ in 0..2 {
            // A library also sends who it is.
            let form =
                format!("token={token}&token_type_hint=access_token&client_id=app&client_secret=x");
            let answer = post(&gateway, REVOKE, FORM, &form).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, ""));
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        let refused = gateway.http1().get("/orders/1", &token).await;
        assert_eq!(
            (refused.status, refused.code()),
            (401, "token_revoked".to_owned())
        );
        assert_eq!(refused.json()["revoked_by"], "token");
        assert_eq!(status(&gateway, &other).await, 200);
        let all = listed(&gateway).await;
        assert_eq!(
            all.as_array().map(Vec::len),
            Some(1),
            "the same again is nothing new"
        );
        assert_eq!(all[0]["author"], "holder");
        assert!(!all.to_string().contains(&token));
        // Until the token is dead by its own end, and not for ever.
        assert_eq!(all[0]["until"], "2026-11-24T15:15:06Z");
    });
    let lines = gateway.stop();
    let line = lines
        .iter()
        .find(|line| line["action"] == "revocation.add")
        .expect("a line");
    assert_eq!(
        (&line["actor"], &line["result"]),
        (&json!("holder"), &json!("added"))
    );
}

#[test]
fn nothing_is_written_that_could_not_open_anything() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let gateway = gateway(&main, &upstream, "", "[endpoints]\nrevoke = true");
    let stranger = TestIssuer::new("https://other.test/", "ES256", "main-1");
    let good = || main.token();
    let ask = async |form: &str| post(&gateway, REVOKE, FORM, form).await;
    block_on(async {
        for (what, token) in [
            ("garbage", "garbage".to_owned()),
            (
                "forged",
                good()
                    .signed_by(&TestIssuer::new("x", "ES256", "main-1"))
                    .sign(),
            ),
            ("of an unknown issuer", stranger.token().sign()),
            ("expired", good().with("exp", NOW - 100).sign()),
            (
                "for another audience, later",
                good()
                    .with("aud", "https://else.test")
                    .with("nbf", NOW + 300)
                    .sign(),
            ),
            (
                "for another audience",
                good().with("aud", "https://else.test").sign(),
            ),
        ] {
            let answer = ask(&format!("token={token}")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{what}");
        }
        for (what, form, error) in [
            (
                "an ID token",
                format!("token={}", good().typed(Some("JWT")).sign()),
                "unsupported_token_type",
            ),
            (
                "a refresh token",
                "token=opaque&token_type_hint=refresh_token".to_owned(),
                "unsupported_token_type",
            ),
            ("nothing", String::new(), "invalid_request"),
            ("an empty token", "token=".to_owned(), "invalid_request"),
            (
                "two tokens",
                format!("token=a&token={}", good().sign()),
                "invalid_request",
            ),
            ("no form", "token=%".to_owned(), "invalid_request"),
            (
                "too much",
                format!("token={}", "a".repeat(70_000)),
                "invalid_request",
            ),
        ] {
            let answer = ask(&form).await;
            assert_eq!(
                (answer.status, &answer.json()["error"]),
                (400, &json!(error)),
                "{what}"
            );
        }
        let answer = post(&gateway, REVOKE, "application/json", "{}").await;
        assert_eq!(answer.status, 400);
        let answer = gateway.http1().send("GET", REVOKE, &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
        assert_eq!(listed(&gateway).await, json!([]));
        // One that is not valid yet would be.
        let early = good().with("nbf", NOW + 300).sign();
        assert_eq!(ask(&format!("token={early}")).await.status, 200);
        gateway.clock.advance(300);
        assert_eq!(status(&gateway, &early).await, 401);
    });
}

#[test]
fn giving_up_is_off_unless_it_is_said_and_is_limited() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    // A route that would take anything gets none of it.
    let all = "[routes.all]\npath = \"/{*rest}\"\nupstream = \"orders\"\nauth = \"none\"";
    let silent = gateway(&main, &upstream, "", all);
    let token = main.token().sign();
    let form = format!("token={token}");
    block_on(async {
        assert_eq!(post(&silent, "/other", FORM, &form).await.status, 200);
        for path in [REVOKE, LOGOUT, EVENTS, "/.well-known/bearward/other"] {
            let answer = post(&silent, path, FORM, &form).await;
            let expected = (404, "route_not_found".to_owned());
            assert_eq!((answer.status, answer.code()), expected, "{path}");
        }
        assert_eq!(status(&silent, &token).await, 200);
    });
    let gateway = gateway(&main, &upstream, "", "[endpoints]\nrevoke = true");
    block_on(async {
        for _ in 0..50 {
            assert_eq!(post(&gateway, REVOKE, FORM, "token=x").await.status, 200);
        }
        let answer = post(&gateway, REVOKE, FORM, &form).await;
        assert_eq!(
            (answer.status, answer.code()),
            (429, "rate_limited".to_owned())
        );
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(status(&gateway, &token).await, 200);
        gateway.clock.advance(1);
        assert_eq!(post(&gateway, REVOKE, FORM, &form).await.status, 200);
        assert_eq!(status(&gateway, &token).await, 401);
    });
}

#[test]
fn an_opaque_token_is_for_its_issuer_to_revoke() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let opaque = "[issuers.opaque]\nissuer = \"https://opaque.test/\"\naudiences = [\"https://api.test\"]\n[issuers.opaque.introspection]\nendpoint = \"https://127.0.0.1:1/\"\nclient_id = \"a\"\nclient_secret = { file = \"secret\" }\n[endpoints]\nrevoke = true";
    let gateway = Bearward::usual(&main, &upstream)
        .secret("secret", "s")
        .table(opaque)
        .start();
    let answer = block_on(post(&gateway, REVOKE, FORM, "token=opaque"));
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("unsupported_token_type"))
    );
}

const LOGOUT_RULES: &str = "backchannel_logout = { client_ids = [\"web\", \"mobile\"] }";

fn logout_token(main: &TestIssuer, jti: &str) -> crate::support::issuer::TestToken {
    main.token()
        .typed(Some("logout+jwt"))
        .with("aud", "web")
        .with("jti", jti)
        .with("iat", NOW)
        .with("exp", NOW + 120)
        .with("sid", "s1")
        .with(
            "events",
            json!({ "http://schemas.openid.net/event/backchannel-logout": {} }),
        )
}

#[test]
fn a_logout_ends_the_session_and_no_other() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let of = |sid: &str, iat: i64| {
        main.token()
            .with("sid", sid)
            .with("iat", iat)
            .with("jti", sid)
            .sign()
    };
    for (rules, other) in [
        (LOGOUT_RULES.to_owned(), 200),
        (LOGOUT_RULES.replace(" }", ", ends = \"subject\" }"), 401),
    ] {
        let gateway = gateway(&main, &upstream, &rules, "");
        block_on(async {
            let (one, two) = (of("s1", NOW - 5), of("s2", NOW - 5));
            assert_eq!(status(&gateway, &one).await, 200);
            assert_eq!(status(&gateway, &two).await, 200);
            let logout = logout_token(&main, "logout-1").sign();
            let form = format!("logout_token={logout}");
            let answer = post(&gateway, LOGOUT, FORM, &form).await;
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, ""),
                "{}",
                answer.text()
            );
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(status(&gateway, &one).await, 401);
            assert_eq!(status(&gateway, &two).await, other);
            // A new session begins later.
            gateway.clock.advance(10);
            assert_eq!(status(&gateway, &of("s3", NOW + 5)).await, 200);
            let again = post(&gateway, LOGOUT, FORM, &form).await;
            assert_eq!(again.status, 400, "the same token again");
            assert!(again.text().contains("has been used"));
            let all = listed(&gateway).await;
            assert_eq!(all.as_array().map(Vec::len), Some(1));
            assert_eq!(all[0]["author"], "logout:main");
            assert_eq!(all[0]["issued_before"], "2026-11-24T15:04:05Z");
            assert_ne!(all[0]["until"], Value::Null, "it does not stay for ever");
        });
    }
}

#[test]
fn a_logout_of_a_subject_ends_what_was_issued_up_to_it() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let gateway = gateway(&main, &upstream, LOGOUT_RULES, "");
    block_on(async {
        let logout = logout_token(&main, "logout-1")
            .without("sid")
            .typed(None)
            .sign();
        let answer = post(&gateway, LOGOUT, FORM, &format!("logout_token={logout}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        for (sub, iat, expected) in [
            ("alice", NOW, 401),
            ("alice", NOW + 1, 200),
            ("bob", NOW, 200),
        ] {
            let token = main.token().with("sub", sub).with("iat", iat).sign();
            assert_eq!(status(&gateway, &token).await, expected, "{sub} {iat}");
        }
    });
}

#[test]
fn what_is_no_good_logout_token_ends_nothing() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let silent = TestIssuer::new("https://silent.test/", "ES256", "silent-1");
    let gateway = Bearward::new()
        .trusting("main", &main, LOGOUT_RULES)
        .trusting("silent", &silent, "")
        .upstream("orders", upstream.address, "")
        .table(ORDERS)
        .start();
    let good = || logout_token(&main, "never");
    let backchannel = "http://schemas.openid.net/event/backchannel-logout";
    let session = main.token().with("sid", "s1").sign();
    block_on(async {
        for (what, token) in [
            ("an access token", main.token().sign()),
            (
                "an access token's type",
                good().typed(Some("at+jwt")).sign(),
            ),
            (
                "a security event's type",
                good().typed(Some("secevent+jwt")).sign(),
            ),
            ("another client", good().with("aud", "desktop").sign()),
            ("no audience", good().without("aud").sign()),
            ("a nonce", good().with("nonce", "n").sign()),
            ("no events", good().without("events").sign()),
            (
                "other events",
                good().with("events", json!({ "https://else": {} })).sign(),
            ),
            (
                "an event that is no object",
                good().with("events", json!({ backchannel: true })).sign(),
            ),
            (
                "events as a list",
                good().with("events", json!([backchannel])).sign(),
            ),
            ("no jti", good().without("jti").sign()),
            ("no iat", good().without("iat").sign()),
            ("no exp", good().without("exp").sign()),
            ("expired", good().with("exp", NOW - 31).sign()),
            ("of the future", good().with("iat", NOW + 31).sign()),
            ("nobody", good().without("sid").without("sub").sign()),
            (
                "an empty session",
                good().with("sid", "").without("sub").sign(),
            ),
            (
                "a session too long",
                good().with("sid", "x".repeat(1025)).sign(),
            ),
            ("a session that is a number", good().with("sid", 7).sign()),
            (
                "forged",
                good()
                    .signed_by(&TestIssuer::new("x", "ES256", "main-1"))
                    .sign(),
            ),
            (
                "of an issuer without rules",
                logout_token(&silent, "x").sign(),
            ),
            (
                "of an unknown issuer",
                good().with("iss", "https://else.test/").sign(),
            ),
            ("unsigned", {
                let token = good().sign();
                let (_, rest) = token.split_once('.').expect("three parts");
                let (payload, _) = rest.split_once('.').expect("three parts");
                format!("eyJhbGciOiJub25lIiwidHlwIjoibG9nb3V0K2p3dCJ9.{payload}.")
            }),
            ("garbage", "garbage".to_owned()),
        ] {
            let answer = post(&gateway, LOGOUT, FORM, &format!("logout_token={token}")).await;
            assert_eq!(answer.status, 400, "{what}");
            assert_eq!(answer.json()["error"], "invalid_request", "{what}");
            assert!(!answer.text().contains("alice"), "{what}");
        }
        let twice = format!("logout_token={0}&logout_token={0}", good().sign());
        assert_eq!(post(&gateway, LOGOUT, FORM, &twice).await.status, 400);
        assert_eq!(listed(&gateway).await, json!([]));
        assert_eq!(status(&gateway, &session).await, 200);
        // A logout token opens nothing either.
        assert_eq!(
            status(&gateway, &good().with("aud", "https://api.test").sign()).await,
            401
        );
    });
    // The operator sees each, with what was wrong.
    let lines = gateway.stop();
    let refused = lines.iter().filter(|line| line["path"] == LOGOUT);
    let refused: Vec<_> = refused
        .map(|line| (&line["outcome"], &line["cause"]))
        .collect();
    assert!(refused.len() > 20, "{}", refused.len());
    assert!(refused.iter().all(|(outcome, _)| *outcome == "deny"));
    let why = json!("its `aud` is not a client id that is configured");
    assert!(
        refused.iter().any(|(_, cause)| **cause == why),
        "{refused:?}"
    );
}

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const DISABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
const SET: &str = "application/secevent+jwt";

fn event(
    main: &TestIssuer,
    name: &str,
    subject: Value,
    event: Value,
) -> crate::support::issuer::TestToken {
    main.token()
        .typed(Some("secevent+jwt"))
        .without("exp")
        .without("sub")
        .with("aud", "https://api.test/events")
        .with("sub_id", subject)
        .with("events", json!({ name: event }))
}

fn heard(main: &TestIssuer, transmitter: &TestIssuer, upstream: &Upstream) -> Gateway {
    let events = "security_events = { audiences = [\"https://api.test/events\"]";
    Bearward::new()
        .trusting("main", main, &format!("{events} }}"))
        .trusting(
            "risc",
            transmitter,
            &format!("{events}, speaks_for = [\"main\"] }}"),
        )
        .upstream("orders", upstream.address, "")
        .table(ORDERS)
        .start()
}

#[test]
fn security_events_end_what_they_name() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let risc = TestIssuer::new("https://risc.test/", "ES256", "risc-1");
    let alice = json!({ "format": "iss_sub", "iss": "https://login.test/", "sub": "alice" });
    let of = |sub: &str, sid: &str, iat: i64| {
        main.token()
            .with("sub", sub)
            .with("sid", sid)
            .with("iat", iat)
            .sign()
    };
    for (what, token, dead) in [
        (
            "a session of CAEP by its subject, at the event's time",
            event(&main, CAEP, alice.clone(), json!({ "event_timestamp": NOW - 20 })),
            [false, true, false],
        ),
        (
            "an account of RISC, at the token's own time",
            event(&main, DISABLED, alice.clone(), json!({ "reason": "hijacking" })),
            [true, true, false],
        ),
        (
            "a transmitter of its own, that speaks for the issuer",
            event(&risc, DISABLED, alice.clone(), json!({})),
            [true, true, false],
        ),
        (
            "a draft's subject in the event",
            event(&main, DISABLED, Value::Null, json!({ "subject": { "subject_type": "iss-sub", "iss": "https://login.test/", "sub": "alice" } })).without("sub_id"),
            [true, true, false],
        ),
        (
            "a session by its id",
            event(&main, CAEP, json!({ "format": "opaque", "id": "s1" }), json!({})),
            [true, false, false],
        ),
        (
            "a session of a user",
            event(&main, CAEP, json!({ "format": "complex", "user": alice, "session": { "format": "opaque", "id": "s1" } }), json!({})),
            [true, false, false],
        ),
        (
            "an event of the future ends nothing that is yet to be issued",
            event(&main, DISABLED, alice.clone(), json!({ "event_timestamp": NOW + 100_000 })),
            [true, true, false],
        ),
        (
            "a session of another issuer",
            event(
                &main,
                CAEP,
                json!({ "format": "complex", "session": { "format": "opaque", "iss": "https://risc.test/", "id": "s1" } }),
                json!({}),
            ),
            [false; 3],
        ),
        (
            "somebody of another issuer",
            event(&main, DISABLED, json!({ "format": "iss_sub", "iss": "https://risc.test/", "sub": "alice" }), json!({})),
            [false; 3],
        ),
        (
            "a subject of another form",
            event(&main, DISABLED, json!({ "format": "email", "email": "alice@example.com" }), json!({})),
            [false; 3],
        ),
        (
            "an event that ends nothing",
            event(&main, "https://schemas.openid.net/secevent/ssf/event-type/verification", alice, json!({ "state": "x" })),
            [false; 3],
        ),
    ] {
        let gateway = heard(&main, &risc, &upstream);
        block_on(async {
            for _ in 0..2 {
                let answer = post(&gateway, EVENTS, SET, &token.sign()).await;
                assert_eq!((answer.status, answer.text().as_str()), (202, ""), "{what}");
            }
            let all = listed(&gateway).await;
            assert!(all.as_array().expect("a list").len() <= 1, "{what}");
            let tokens = [of("alice", "s1", NOW - 15), of("alice", "s2", NOW - 25), of("bob", "s3", NOW - 25)];
            for (token, dead) in tokens.iter().zip(dead) {
                let expected = if dead { 401 } else { 200 };
                assert_eq!(status(&gateway, token).await, expected, "{what}");
            }
            gateway.clock.advance(100);
            assert_eq!(status(&gateway, &of("alice", "s9", NOW + 50)).await, 200, "{what}");
        });
    }
}

#[test]
fn what_is_no_good_security_event_is_refused_by_its_code() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let risc = TestIssuer::new("https://risc.test/", "ES256", "risc-1");
    let gateway = heard(&main, &risc, &upstream);
    let alice = json!({ "format": "iss_sub", "iss": "https://login.test/", "sub": "alice" });
    let good = || event(&main, DISABLED, alice.clone(), json!({}));
    block_on(async {
        for (what, token, code) in [
            ("garbage", "garbage".to_owned(), "invalid_request"),
            ("an access token", main.token().sign(), "invalid_request"),
            (
                "a logout token's type",
                good().typed(Some("logout+jwt")).sign(),
                "invalid_request",
            ),
            ("no type", good().typed(None).sign(), "invalid_request"),
            (
                "another audience",
                good().with("aud", "https://api.test").sign(),
                "invalid_audience",
            ),
            (
                "no audience",
                good().without("aud").sign(),
                "invalid_audience",
            ),
            (
                "no events",
                good().without("events").sign(),
                "invalid_request",
            ),
            (
                "a subject too long",
                good()
                    .with(
                        "sub_id",
                        json!({ "format": "iss_sub", "iss": "https://login.test/", "sub": "x".repeat(1025) }),
                    )
                    .sign(),
                "invalid_request",
            ),
            ("no jti", good().without("jti").sign(), "invalid_request"),
            ("no iat", good().without("iat").sign(), "invalid_request"),
            (
                "of the future",
                good().with("iat", NOW + 31).sign(),
                "invalid_request",
            ),
            (
                "expired",
                good().with("exp", NOW - 31).sign(),
                "invalid_request",
            ),
            (
                "of an unknown issuer",
                good().with("iss", "https://else.test/").sign(),
                "invalid_issuer",
            ),
            (
                "forged",
                good()
                    .signed_by(&TestIssuer::new("x", "ES256", "main-1"))
                    .sign(),
                "authentication_failed",
            ),
            (
                "by an unknown key",
                good().signed_by(&TestIssuer::new("x", "ES256", "x")).sign(),
                "invalid_key",
            ),
        ] {
            let answer = post(&gateway, EVENTS, SET, &token).await;
            assert_eq!(
                (answer.status, &answer.json()["err"]),
                (400, &json!(code)),
                "{what}"
            );
            assert!(!answer.text().contains("alice"), "{what}");
        }
        let answer = post(&gateway, EVENTS, "application/jwt", &good().sign()).await;
        assert_eq!(
            (answer.status, &answer.json()["err"]),
            (400, &json!("invalid_request"))
        );
        assert_eq!(listed(&gateway).await, json!([]));
        assert_eq!(status(&gateway, &main.token().sign()).await, 200);
    });
}
