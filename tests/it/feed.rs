//! One list of revocations on every replica, through a real Redis: each behaviour of its own. The whole
//! of it under every fault is `fleet.rs`.

use serde_json::{Value, json};

use crate::support::client::plain_request;
use crate::support::gateway::{Gateway, ORDERS};
use crate::support::issuer::NOW;
use crate::support::redis::Redis;
use crate::support::{Bearward, Client, Process, TestIssuer, Upstream, block_on, eventually};

pub const PATH: &str = "/api/v1/revocations";

/// A gateway with a feed.
pub fn fed(main: &TestIssuer, upstream: &Upstream, url: &str, more: &str) -> Bearward {
    let feed = format!("{more}\n[revocation.feed]\nurl = {{ file = \"redis-url\" }}\n");
    Bearward::usual(main, upstream)
        .secret("redis-url", url)
        .table(&feed)
}

pub fn parts() -> (TestIssuer, Upstream) {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    (main, Upstream::echo())
}

async fn revoke(gateway: &Gateway, selector: Value) -> Value {
    let body = json!({ "selector": selector });
    let answer = gateway.ask_admin("POST", PATH, Some(&body)).await;
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    answer.json()
}

async fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.http1().get("/orders/1", token).await.status
}

async fn is_connected(gateway: &Gateway) -> bool {
    gateway.metric("bearward_revocation_feed_connected").await == 1.0
}

async fn connected(gateways: &[&Gateway]) {
    for gateway in gateways {
        eventually("the feed", async || is_connected(gateway).await).await;
    }
}

#[test]
fn what_one_replica_revokes_or_takes_back_the_others_do_too() {
    let Some(redis) = Redis::start("the feed", "") else {
        return;
    };
    let (main, upstream) = parts();
    let gateway = || fed(&main, &upstream, &redis.url(), "").start();
    let (one, two) = (gateway(), gateway());
    let token = main.token().sign();
    block_on(async {
        connected(&[&one, &two]).await;
        assert_eq!(status(&two, &token).await, 200);
        let selector = json!({ "issuer": "main", "jti": "token-1" });
        let revoked = revoke(&one, selector.clone()).await;
        assert_eq!(revoked["feed"], "connected");
        assert_eq!(
            status(&one, &token).await,
            401,
            "at once where it was revoked"
        );
        eventually("the revocation", async || status(&two, &token).await == 401).await;
        // The same there is the same: its id, author and time came with it.
        let again = revoke(&two, selector).await;
        for member in ["id", "author", "at", "until"] {
            assert_eq!(again[member], revoked[member], "{member}");
        }
        let id = revoked["id"].as_str().expect("an id");
        let answer = two.ask_admin("DELETE", &format!("{PATH}/{id}"), None).await;
        assert_eq!(answer.status, 200);
        eventually("its end", async || status(&one, &token).await == 200).await;
        // And once more, after it was taken back.
        revoke(&one, json!({ "issuer": "main", "jti": "token-1" })).await;
        eventually("the revocation", async || status(&two, &token).await == 401).await;
        // Who comes later gets all of it before it is ready, and what was taken back is not in it.
        let odd = revoke(&one, json!({ "issuer": "main", "jti": "taken-back" })).await;
        let id = odd["id"].as_str().expect("an id");
        let answer = one.ask_admin("DELETE", &format!("{PATH}/{id}"), None).await;
        assert_eq!(answer.status, 200);
        eventually("quiet", async || {
            one.metric("bearward_revocation_feed_untold").await == 0.0
        })
        .await;
        let three = gateway();
        three.ready().await;
        assert_eq!(
            three.metric("bearward_revocations{selector=\"jti\"}").await,
            1.0
        );
        assert_eq!(status(&three, &token).await, 401);
    });
}

#[test]
fn while_the_feed_is_down_the_known_list_serves_and_what_demands_more_refuses() {
    let Some(mut redis) = Redis::start("a feed that is down", "") else {
        return;
    };
    let (main, upstream) = parts();
    let strict = ORDERS
        .replace("orders]", "strict]")
        .replace("[[routes.orders", "[[routes.strict")
        .replace("/orders/", "/strict/")
        .replace(
            "upstream = \"orders\"",
            "upstream = \"orders\"\nrevocations_required = true",
        );
    let more = format!("{strict}\n[revocation]\nstaleness_max = \"30s\"");
    let url = redis.url();
    let gateway = || fed(&main, &upstream, &url, &more).start();
    let (one, two) = (gateway(), gateway());
    let tokens: Vec<_> = ["1", "2", "3"]
        .iter()
        .map(|jti| main.token().with("jti", *jti).sign())
        .collect();
    block_on(async {
        connected(&[&one, &two]).await;
        revoke(&one, json!({ "issuer": "main", "jti": "1" })).await;
        eventually("the revocation", async || {
            status(&two, &tokens[0]).await == 401
        })
        .await;
        redis.kill();
        for gateway in [&one, &two] {
            eventually("the loss", async || !is_connected(gateway).await).await;
        }
        let revoked = revoke(&one, json!({ "issuer": "main", "jti": "2" })).await;
        assert_eq!(
            (&revoked["feed"], &revoked["durable"]),
            (&json!("disconnected"), &json!(true))
        );
        assert_eq!(status(&one, &tokens[1]).await, 401);
        // Within the bound the strict route serves by the known list, behind it not at all.
        let strict =
            async |gateway: &Gateway, token: &str| gateway.http1().get("/strict/1", token).await;
        assert_eq!(strict(&two, &tokens[2]).await.status, 200);
        assert_eq!(strict(&two, &tokens[0]).await.code(), "token_revoked");
        two.clock.advance(31);
        let refused = strict(&two, &tokens[2]).await;
        assert_eq!(
            (refused.status, refused.code()),
            (503, "revocations_unavailable".to_owned())
        );
        assert_eq!(
            strict(&two, "forged").await.status,
            401,
            "never for a forged token"
        );
        assert_eq!(
            status(&two, &tokens[2]).await,
            200,
            "a route that does not demand it"
        );
        assert_eq!(status(&two, &tokens[1]).await, 200, "not known there yet");
        assert_eq!(
            two.metric("bearward_revocation_feed_lag_seconds").await,
            31.0
        );
        assert!(two.is_ready().await);
        let readiness = two.readiness().await;
        for words in ["disconnected for 31 s: ", "answer 503: strict"] {
            assert!(readiness.contains(words), "{words}: {readiness}");
        }
        redis.restart();
        connected(&[&one, &two]).await;
        eventually("what was missed", async || {
            status(&two, &tokens[1]).await == 401
        })
        .await;
        assert_eq!(strict(&two, &tokens[2]).await.status, 200);
        assert_eq!(
            status(&two, &tokens[0]).await,
            401,
            "what the server lost they brought back"
        );
        // Whoever starts while it is down serves what it knows, and refuses where more is demanded.
        redis.kill();
        let three = gateway();
        three.ready().await;
        assert_eq!(status(&three, &tokens[2]).await, 200);
        assert_eq!(strict(&three, &tokens[2]).await.status, 503);
    });
}

#[test]
fn a_login_over_tls_that_never_shows_its_password() {
    let acl = "user default off\nuser bearward on >correct-horse ~bearward:revocations ~{bearward:revocations}:all +xadd +xrange +xread +hset +hdel +hlen +hscan +multi +exec +select";
    let Some(redis) = Redis::start("a feed with TLS and a login", acl) else {
        return;
    };
    let (main, upstream) = parts();
    let certificate =
        std::fs::read_to_string(redis.folder.path().join("redis.crt")).expect("a file");
    let gateway = |password: &str| {
        let url = format!("rediss://bearward:{password}@localhost:{}", redis.tls_port);
        let more =
            "[revocation]\n[revocation.feed]\nurl = { file = \"redis-url\" }\nca = \"redis.crt\"\n";
        let gateway = Bearward::usual(&main, &upstream).table(more);
        gateway
            .secret("redis-url", &url)
            .secret("redis.crt", &certificate)
    };
    let token = main.token_now().sign();
    block_on(async {
        let (one, two) = (
            gateway("correct-horse").start(),
            gateway("correct-horse").start(),
        );
        connected(&[&one, &two]).await;
        let token = main.token().sign();
        revoke(&one, json!({ "issuer": "main", "jti": "token-1" })).await;
        eventually("the revocation", async || status(&two, &token).await == 401).await;
    });
    let (mut process, _folder) = Process::start(gateway("wrong-horse"));
    let line = process.wait_for("feed of revocations is interrupted");
    assert!(line.contains("refuses the login (WRONGPASS)"), "{line}");
    assert!(!line.contains("horse"), "{line}");
    let client = Client::http1(process.public);
    assert_eq!(block_on(client.get("/orders/1", &token)).status, 200);
}

#[test]
fn what_is_no_change_stops_nobody() {
    let Some(redis) = Redis::start("a feed with garbage", "") else {
        return;
    };
    let (main, upstream) = parts();
    let gateway = || fed(&main, &upstream, &redis.url(), "").start();
    let (one, two) = (gateway(), gateway());
    let token = main.token().sign();
    block_on(async {
        connected(&[&one, &two]).await;
        let large = "x".repeat(300_000);
        for garbage in ["{}", "other", &large] {
            redis.write(&["XADD", "bearward:revocations", "*", "change", garbage]);
            redis.write(&["HSET", "{bearward:revocations}:all", garbage, garbage]);
        }
        revoke(&one, json!({ "issuer": "main", "jti": "token-1" })).await;
        eventually("the revocation", async || status(&two, &token).await == 401).await;
        let unreadable = "bearward_revocation_feed_unreadable_total";
        // After the first the whole list is compared, which leaves the other entries behind.
        assert!(two.metric(unreadable).await >= 1.0);
        // Nor does it one who comes later and reads the list.
        let three = gateway();
        three.ready().await;
        assert_eq!(status(&three, &token).await, 401);
    });
}

#[test]
fn what_was_damaged_on_the_server_is_written_again() {
    let Some(redis) = Redis::start("a feed with damage", "") else {
        return;
    };
    let (main, upstream) = parts();
    let gateway = || fed(&main, &upstream, &redis.url(), "").start();
    let (one, two) = (gateway(), gateway());
    let token = main.token().sign();
    let all = "{bearward:revocations}:all";
    block_on(async {
        connected(&[&one, &two]).await;
        revoke(&one, json!({ "issuer": "main", "jti": "token-1" })).await;
        eventually("the revocation", async || status(&two, &token).await == 401).await;
        let fields = redis.say(&format!("HKEYS {all}"));
        let field = fields.lines().last().expect("a field").trim_end();
        let whole = || redis.say(&format!("HGET {all} {field}"));
        let written = whole();
        let damaged = written.lines().last().expect("a change");
        let damaged = damaged.replace("token-1", "token-2");
        // Here and there alike, as by a bit that flipped.
        redis.write(&["HSET", all, field, &damaged]);
        redis.write(&["XADD", "bearward:revocations", "*", "change", &damaged]);
        eventually("what was written", async || whole() == written).await;
        assert_eq!(status(&two, &token).await, 401);
        let other = main.token().with("jti", "token-2").sign();
        assert_eq!(status(&two, &other).await, 200, "nobody revoked it");
        let three = gateway();
        three.ready().await;
        assert_eq!(status(&three, &token).await, 401);
        assert_eq!(status(&three, &other).await, 200);
    });
}

#[test]
fn two_who_revoke_the_same_at_once_leave_one_state() {
    let Some(redis) = Redis::start("a feed of two", "") else {
        return;
    };
    let (main, upstream) = parts();
    let gateway = || fed(&main, &upstream, &redis.url(), "").start();
    let (one, two) = (gateway(), gateway());
    block_on(async {
        connected(&[&one, &two]).await;
        redis.signal("STOP");
        for gateway in [&one, &two] {
            eventually("the loss", async || !is_connected(gateway).await).await;
            for n in 0..20 {
                revoke(
                    gateway,
                    json!({ "issuer": "main", "jti": format!("r-{n}") }),
                )
                .await;
            }
        }
        redis.signal("CONT");
        connected(&[&one, &two]).await;
        let length = "HLEN {bearward:revocations}:all";
        eventually("one state each", async || redis.say(length) == ":20").await;
    });
}

#[test]
fn one_that_is_not_let_in_and_never_read_the_list_is_not_ready() {
    let Some(redis) = Redis::start("a feed that lets nobody in", "requirepass correct") else {
        return;
    };
    let (main, upstream) = parts();
    let url = |password: &str| {
        redis
            .url()
            .replace("redis://", &format!("redis://:{password}@"))
    };
    let good = fed(&main, &upstream, &url("correct"), "").start();
    let (mut barred, _folder) = Process::start(fed(&main, &upstream, &url("wrong"), ""));
    barred.wait_for("feed of revocations is interrupted");
    block_on(async {
        connected(&[&good]).await;
        assert!(good.is_ready().await);
        let answer = plain_request(barred.admin, "GET", "/readyz?verbose", None, None).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("[fail] feed of revocations"));
    });
}

#[test]
fn a_list_that_vanishes_beside_its_stream_is_brought_back() {
    let Some(redis) = Redis::start("a feed that lost its list", "") else {
        return;
    };
    let (main, upstream) = parts();
    let gateway = fed(&main, &upstream, &redis.url(), "").start();
    block_on(async {
        connected(&[&gateway]).await;
        revoke(&gateway, json!({ "issuer": "main", "jti": "token-1" })).await;
        let length = "HLEN {bearward:revocations}:all";
        eventually("the list there", async || redis.say(length) == ":1").await;
        // As a server does that must make room.
        redis.say("DEL {bearward:revocations}:all");
        eventually("the list there again", async || redis.say(length) == ":1").await;
    });
}

#[test]
fn a_server_that_takes_nothing_is_told_to_who_revokes() {
    let Some(redis) = Redis::start("a feed that is full", "") else {
        return;
    };
    let (main, upstream) = parts();
    let gateway = || fed(&main, &upstream, &redis.url(), "").start();
    let (one, two) = (gateway(), gateway());
    let token = main.token().sign();
    block_on(async {
        connected(&[&one, &two]).await;
        redis.say("CONFIG SET maxmemory 1");
        let revoked = revoke(&one, json!({ "issuer": "main", "jti": "token-1" })).await;
        assert_eq!(revoked["feed"], "disconnected");
        assert_eq!(status(&one, &token).await, 401);
        assert_eq!(status(&two, &token).await, 200);
        assert!(!is_connected(&one).await && is_connected(&two).await);
        let list = one.ask_admin("GET", PATH, None).await.json();
        let why = list["feed_error"].as_str().expect("a reason");
        assert!(why.starts_with("the server takes nothing: OOM"), "{why}");
        redis.say("CONFIG SET maxmemory 0");
        eventually("the revocation", async || status(&two, &token).await == 401).await;
        connected(&[&one]).await;
    });
}

#[test]
fn one_that_starts_while_the_list_is_lost_waits_for_those_who_have_it() {
    let Some(redis) = Redis::start("a feed whose list was lost", "") else {
        return;
    };
    let (main, upstream) = parts();
    let gateway = || fed(&main, &upstream, &redis.url(), "").start();
    let one = gateway();
    let token = main.token().sign();
    block_on(async {
        connected(&[&one]).await;
        revoke(&one, json!({ "issuer": "main", "jti": "token-1" })).await;
        redis.say("DEL {bearward:revocations}:all");
        let two = gateway();
        two.ready().await;
        assert_eq!(status(&two, &token).await, 401, "ready with the list");
    });
}

#[test]
fn what_was_taken_back_stays_so_though_another_revoked_it_for_longer_before() {
    let Some(mut redis) = Redis::start("a feed and a removal", "") else {
        return;
    };
    let (main, upstream) = parts();
    let url = redis.url();
    let gateway = || fed(&main, &upstream, &url, "").start();
    let (one, two) = (gateway(), gateway());
    // Also with the time that passes meanwhile.
    let days = 3 * 86_400;
    let later = || {
        main.token()
            .with("iat", NOW + days)
            .with("exp", NOW + days + 60)
            .sign()
    };
    block_on(async {
        connected(&[&one, &two]).await;
        let body = json!({ "selector": { "issuer": "main", "subject": "alice" }, "until": NOW + 2 * 86_400 });
        let revoked = one.ask_admin("POST", PATH, Some(&body)).await.json();
        eventually("the revocation", async || {
            two.metric("bearward_revocations{selector=\"subject\"}")
                .await
                == 1.0
        })
        .await;
        redis.kill();
        for gateway in [&one, &two] {
            eventually("the loss", async || !is_connected(gateway).await).await;
        }
        revoke(&two, json!({ "issuer": "main", "subject": "alice" })).await;
        let id = revoked["id"].as_str().expect("an id");
        let answer = one.ask_admin("DELETE", &format!("{PATH}/{id}"), None).await;
        assert_eq!(answer.status, 200);
        for gateway in [&one, &two] {
            gateway.clock.advance(days);
        }
        redis.restart();
        connected(&[&one, &two]).await;
        eventually("its end", async || status(&two, &later()).await == 200).await;
        assert_eq!(status(&one, &later()).await, 200);
    });
}
