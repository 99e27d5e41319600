//! Several servers behind one route: how one is chosen, and what becomes of one that fails.

use crate::support::gateway::{Gateway, ORDERS, write_certificate};
use crate::support::process::free_port;
use crate::support::upstream::{Reply, server_config};
use crate::support::{Bearward, TestIssuer, Upstream, block_on, eventually};

fn main_issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

fn in_front_of(main: &TestIssuer, servers: &[&Upstream], more: &str) -> Gateway {
    let servers: Vec<_> = servers.iter().map(|it| url(it)).collect();
    let servers: Vec<_> = servers.iter().map(String::as_str).collect();
    Bearward::new()
        .trusting("main", main, "")
        .upstream_of("orders", &servers, more)
        .table(ORDERS)
        .start()
}

fn url(upstream: &Upstream) -> String {
    format!("http://{}", upstream.address)
}

async fn get(gateway: &Gateway, token: &str) -> u16 {
    gateway.http1().get("/orders/1", token).await.status
}

async fn is_healthy(gateway: &Gateway, upstream: &Upstream) -> bool {
    let labels = format!("server=\"{}\",upstream=\"orders\"", upstream.address);
    let series = format!("bearward_upstream_healthy{{{labels}}}");
    gateway.metric(&series).await == 1.0
}

#[test]
fn requests_are_spread_over_the_servers() {
    let main = main_issuer();
    for balance in ["round_robin", "least_requests"] {
        let servers = [Upstream::echo(), Upstream::echo(), Upstream::echo()];
        let [a, b, c] = &servers;
        let gateway = in_front_of(&main, &[a, b, c], &format!("balance = \"{balance}\""));
        let token = main.token().sign();
        block_on(async {
            for _ in 0..60 {
                assert_eq!(get(&gateway, &token).await, 200);
            }
        });
        let counts = servers.each_ref().map(|server| server.seen().len());
        if balance == "round_robin" {
            assert_eq!(counts, [20, 20, 20]);
        } else {
            assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
        }
    }
}

#[test]
fn one_value_leads_to_one_server_as_long_as_it_is_there() {
    let main = main_issuer();
    for hash_on in ["claim:sub", "header:x-tenant"] {
        let mut servers = vec![Upstream::echo(), Upstream::echo(), Upstream::echo()];
        let all: Vec<_> = servers.iter().collect();
        let more = format!("balance = \"hash\"\nhash_on = \"{hash_on}\"");
        let gateway = in_front_of(&main, &all, &more);
        let went_to = async |servers: &[Upstream], who: usize| {
            let before: Vec<_> = servers.iter().map(|it| it.seen().len()).collect();
            let token = match hash_on {
                "claim:sub" => main.token().with("sub", format!("user-{who}")).sign(),
                _ => main.token().sign(),
            };
            let bearer = format!("Bearer {token}");
            let tenant = format!("tenant-{who}");
            let headers = [("authorization", bearer.as_str()), ("x-tenant", &tenant)];
            let client = gateway.http2();
            let answer = client.send("GET", "/orders/1", &headers, "").await;
            assert_eq!(answer.status, 200);
            let mut after = servers.iter().map(|it| it.seen().len()).zip(before);
            after.position(|(after, before)| after > before)
        };
        block_on(async {
            let mut places = Vec::new();
            for who in 0..20 {
                let place = went_to(&servers, who).await;
                assert_eq!(went_to(&servers, who).await, place);
                places.push(place.expect("a server"));
            }
            assert!((0..3).all(|server| places.contains(&server)), "{places:?}");
            // What one served goes to others; nothing else moves.
            let _ = servers.pop();
            for (who, place) in places.iter().enumerate() {
                let now = went_to(&servers, who).await.expect("a server");
                assert!(*place == 2 || *place == now, "{who} moved");
            }
        });
    }
}

#[test]
fn a_server_that_is_gone_costs_no_request_and_is_put_aside() {
    let main = main_issuer();
    let (good, gone) = (Upstream::echo(), Upstream::echo());
    let gateway = in_front_of(&main, &[&good, &gone], "balance = \"round_robin\"");
    let token = main.token().sign();
    block_on(async {
        for _ in 0..4 {
            assert_eq!(get(&gateway, &token).await, 200);
        }
        assert!(is_healthy(&gateway, &gone).await);
        let address = gone.address;
        drop(gone);
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        for _ in 0..40 {
            let client = gateway.http1();
            // Nothing was sent, so that what has a body goes to the other one too.
            let answer = client.send("POST", "/orders/1", &headers, "body").await;
            assert_eq!(answer.status, 200);
        }
        let labels = format!("server=\"{address}\",upstream=\"orders\"");
        let healthy = format!("bearward_upstream_healthy{{{labels}}}");
        assert_eq!(gateway.metric(&healthy).await, 0.0);
        let readiness = gateway.readiness().await;
        let line = "upstream orders: 1 of 2 servers";
        assert!(readiness.contains(line), "{readiness}");
        let retries = "bearward_upstream_retries_total{upstream=\"orders\"}";
        let retries = gateway.metric(retries).await;
        assert!(
            (4.0..=6.0).contains(&retries),
            "{retries}: put aside by then"
        );
    });
}

#[test]
fn what_is_safe_goes_to_another_server_until_there_is_a_response() {
    let main = main_issuer();
    let garbage = b"HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\n".to_vec();
    let half = b"HTTP/1.1 200 OK\r\ncontent-".to_vec();
    for (reply, code) in [
        (Reply::Bytes(garbage, false), "upstream_invalid"),
        (Reply::Bytes(half, false), "upstream_reset"),
        (Reply::Hang, "upstream_timeout"),
    ] {
        let (good, bad) = (Upstream::echo(), Upstream::replying(reply));
        let more = "balance = \"round_robin\"\nresponse_timeout = \"100ms\"";
        let gateway = in_front_of(&main, &[&good, &bad], more);
        let token = main.token().sign();
        block_on(async {
            for _ in 0..4 {
                assert_eq!(get(&gateway, &token).await, 200, "{code}");
            }
            assert!(bad.seen().len() >= 2);
            // What may have been done already is not done again.
            let bearer = format!("Bearer {token}");
            let headers = [("authorization", bearer.as_str())];
            let mut codes = Vec::new();
            for _ in 0..2 {
                let answer = gateway
                    .http1()
                    .send("POST", "/orders/1", &headers, "x")
                    .await;
                codes.push(if answer.status == 200 {
                    "good".to_owned()
                } else {
                    answer.code()
                });
            }
            codes.sort();
            assert_eq!(codes, ["good", code]);
        });
    }
}

#[test]
fn where_all_seem_to_be_ill_they_are_asked_all_the_same() {
    let main = main_issuer();
    let (one, two) = (
        Upstream::replying(Reply::Close),
        Upstream::replying(Reply::Close),
    );
    let gateway = in_front_of(&main, &[&one, &two], "");
    let token = main.token().sign();
    block_on(async {
        for _ in 0..20 {
            let answer = gateway.http1().get("/orders/1", &token).await;
            assert_eq!(answer.code(), "upstream_reset");
        }
        assert!(!is_healthy(&gateway, &one).await);
        assert!(!is_healthy(&gateway, &two).await);
        one.then(Reply::Echo);
        two.then(Reply::Echo);
        for _ in 0..20 {
            assert_eq!(get(&gateway, &token).await, 200);
        }
    });
}

#[test]
fn retries_have_a_budget() {
    let main = main_issuer();
    let down = Upstream::replying(Reply::Close);
    let servers = [&down, &Upstream::replying(Reply::Close)];
    let gateway = in_front_of(&main, &servers, "retries = 3");
    let token = main.token().sign();
    block_on(async {
        let mut kept = gateway.http1().keep().await;
        for _ in 0..300 {
            assert_eq!(kept.get("/orders/1", &token).await.0, 502);
        }
        let retries = "bearward_upstream_retries_total{upstream=\"orders\"}";
        let retries = gateway.metric(retries).await;
        assert!(
            (150.0..=162.0).contains(&retries),
            "100, and one in five: {retries}"
        );
    });
}

#[test]
fn a_server_whose_health_is_bad_gets_no_requests_until_it_is_good() {
    let main = main_issuer();
    let (good, sick) = (Upstream::echo(), Upstream::replying(Reply::Sick));
    let more = "balance = \"round_robin\"\nhealth = { path = \"/healthz\", interval = \"100ms\" }";
    let gateway = in_front_of(&main, &[&good, &sick], more);
    let token = main.token().sign();
    let served = |upstream: &Upstream| {
        let seen = upstream.seen();
        seen.iter().filter(|it| it.contains("/orders/")).count()
    };
    block_on(async {
        eventually("the bad news", async || !is_healthy(&gateway, &sick).await).await;
        let before = served(&sick);
        for _ in 0..10 {
            assert_eq!(get(&gateway, &token).await, 200);
        }
        assert_eq!(served(&sick), before);
        let probe = sick.seen().into_iter().find(|it| it.contains("/healthz"));
        let probe = probe.expect("it was asked");
        assert!(probe.contains("user-agent: bearward-health"), "{probe}");
        assert!(
            probe.contains(&format!("host: {}", sick.address)),
            "{probe}"
        );
        sick.then(Reply::Echo);
        eventually("the good news", async || is_healthy(&gateway, &sick).await).await;
        eventually("its requests", async || {
            assert_eq!(get(&gateway, &token).await, 200);
            served(&sick) > before
        })
        .await;
    });
}

#[test]
fn servers_are_reached_by_tls_if_they_are_who_they_should_be() {
    let main = main_issuer();
    let folder = tempfile::tempdir().expect("a folder");
    write_certificate(folder.path(), "server", &["orders.internal"]);
    write_certificate(folder.path(), "other", &["orders.internal"]);
    write_certificate(folder.path(), "client", &["gateway.internal"]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let anybody = Upstream::echo_tls(server_config(folder.path(), "server", None));
    let ours = Upstream::echo_tls(server_config(folder.path(), "server", Some("client")));
    let own = format!(
        "client_certificate = {{ chain = {:?}, key = {{ file = {:?} }} }}",
        path("client.crt"),
        path("client.key")
    );
    let body = "x".repeat(300_000);
    for (upstream, ca, more, good) in [
        (&anybody, "server.crt", "", true),
        (
            &anybody,
            "server.crt",
            "server_name = \"orders.internal\"",
            true,
        ),
        (
            &anybody,
            "server.crt",
            "server_name = \"else.internal\"",
            false,
        ),
        (&anybody, "other.crt", "", false),
        (&ours, "server.crt", own.as_str(), true),
        (&ours, "server.crt", "", false),
    ] {
        let table = format!("[upstreams.orders.tls]\nca = {:?}\n{more}", path(ca));
        let gateway = Bearward::new()
            .trusting("main", &main, "")
            .upstream_of(
                "orders",
                &[&format!("https://{}", upstream.address)],
                &table,
            )
            .table(ORDERS)
            .start();
        let bearer = format!("Bearer {}", main.token().sign());
        let headers = [("authorization", bearer.as_str())];
        block_on(async {
            let client = gateway.http1();
            for _ in 0..3 {
                let answer = client.send("POST", "/orders/1", &headers, &body).await;
                if good {
                    assert_eq!(answer.status, 200, "{ca} {more}");
                    assert!(answer.text().ends_with(&body));
                } else {
                    let told = (answer.status, answer.code());
                    let unreachable = (502, "upstream_unreachable".to_owned());
                    let reset = (502, "upstream_reset".to_owned());
                    assert!(
                        told == unreachable || told == reset,
                        "{ca} {more}: {told:?}"
                    );
                }
            }
        });
    }
}

#[test]
fn a_name_is_a_server_too() {
    let main = main_issuer();
    let upstream = Upstream::echo();
    let server = format!("http://localhost:{}", upstream.address.port());
    let dead = format!("http://localhost:{}", free_port());
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .upstream_of("orders", &[&server, &dead], "host = \"upstream\"")
        .table(ORDERS)
        .start();
    let token = main.token().sign();
    block_on(async {
        let answer = gateway.http1().get("/orders/1", &token).await;
        assert_eq!(answer.status, 200);
        let host = format!("host: localhost:{}\r\n", upstream.address.port());
        assert!(answer.text().contains(&host), "{}", answer.text());
    });
}
