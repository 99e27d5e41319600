//! Attacks by the request around the token: headers, hosts, paths. One a test, named after it.

use crate::support::{Bearward, TestIssuer, Upstream, block_on, usual};

fn setting() -> (TestIssuer, Upstream) {
    (
        TestIssuer::new("https://login.test/", "ES256", "main-1"),
        Upstream::echo(),
    )
}

#[test]
fn forged_identity_headers_in_any_spelling() {
    let (main, upstream) = setting();
    let gateway = Bearward::usual(&main, &upstream)
        .table("[routes.open]\npath = \"/open\"\nupstream = \"orders\"\nauth = \"none\"")
        .start();
    let bearer = format!("Bearer {}", main.token().sign());
    let forged = [
        ("x-auth-subject", "mallory"),
        ("x_auth_subject", "mallory"),
        ("X-AUTH_Subject", "mallory"),
        ("x-auth-scopes", "mallory"),
    ];
    block_on(async {
        for client in [gateway.http1(), gateway.http2()] {
            let mut headers = forged.map(|(name, value)| (name, value)).to_vec();
            if headers.len() == 4 {
                headers[2].0 = "x-auth_subject";
            }
            headers.push(("authorization", &bearer));
            let seen = client.send("GET", "/orders/1", &headers, "").await.text();
            assert!(!seen.contains("mallory"), "{seen}");
            assert_eq!(
                seen.matches("x-auth-subject: alice\r\n").count(),
                1,
                "{seen}"
            );
            // On every route, also on one that sets no such header.
            let seen = client.send("GET", "/open", &headers, "").await.text();
            assert!(
                !seen.contains("mallory") && !seen.contains("x-auth-subject"),
                "{seen}"
            );
        }
    });
}

#[test]
fn connection_cannot_drop_what_we_set() {
    let (main, _upstream, gateway) = usual();
    let bearer = format!("Bearer {}", main.token().sign());
    block_on(async {
        let headers = [
            ("authorization", bearer.as_str()),
            (
                "connection",
                "keep-alive, X-Auth-Subject, X-Forwarded-For, X-Custom",
            ),
            ("x-custom", "dropped"),
        ];
        let seen = gateway
            .http1()
            .send("GET", "/orders/1", &headers, "")
            .await
            .text();
        assert!(seen.contains("x-auth-subject: alice\r\n"), "{seen}");
        assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n"), "{seen}");
        assert!(
            !seen.contains("dropped") && !seen.contains("connection:"),
            "{seen}"
        );
    });
}

#[test]
fn an_escaped_path_cannot_reach_a_laxer_route() {
    let (main, upstream) = setting();
    let gateway = Bearward::usual(&main, &upstream)
        .table("[routes.rest]\npath = \"/{*rest}\"\nupstream = \"orders\"\nauth = \"none\"")
        .start();
    block_on(async {
        for path in [
            "/%6frders/1",
            "/orders%2f1",
            "/orders%2F1",
            "/x/../orders/1",
            "/x/..;/orders/1",
            "/x/%2e%2e/orders/1",
            "//orders/1",
            "/orders//1",
            "/./orders/1",
            "/orders/%00",
            "/orders/%c0%af",
        ] {
            for client in [gateway.http1(), gateway.http2()] {
                let answer = client.send("GET", path, &[], "").await;
                assert_eq!(answer.code(), "request_malformed", "{path}");
            }
        }
        assert_eq!(
            gateway
                .http1()
                .send("GET", "/Orders/1", &[], "")
                .await
                .status,
            200
        );
    });
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn underscore_twins_of_what_the_proxy_says() {
    let (main, _upstream, gateway) = usual();
    let bearer = format!("Bearer {}", main.token().sign());
    block_on(async {
        for client in [gateway.http1(), gateway.http2()] {
            let headers = [
                ("authorization", bearer.as_str()),
                ("x_forwarded_for", "forged"),
                ("x-forwarded_proto", "forged"),
                ("x_real_ip", "forged"),
                ("content_length", "forged"),
                ("transfer_encoding", "forged"),
                ("x_plain", "kept"),
            ];
            let seen = client.send("GET", "/orders/1", &headers, "").await.text();
            assert!(!seen.contains("forged"), "{seen}");
            assert!(seen.contains("x_plain: kept\r\n"), "{seen}");
        }
    });
}

#[test]
fn connection_cannot_take_the_credential_away() {
    let (main, _upstream, gateway) = usual();
    let bearer = format!("Bearer {}", main.token().sign());
    block_on(async {
        let headers = [
            ("authorization", bearer.as_str()),
            ("cookie", "a=b"),
            ("connection", "authorization, cookie"),
        ];
        let seen = gateway
            .http1()
            .send("GET", "/orders/1", &headers, "")
            .await
            .text();
        assert!(
            seen.contains(&format!("authorization: {bearer}\r\n")),
            "{seen}"
        );
        assert!(seen.contains("cookie: a=b\r\n"), "{seen}");
    });
}

#[test]
fn another_spelling_of_a_host_does_not_reach_a_laxer_route() {
    let (main, upstream) = setting();
    let gateway = Bearward::usual(&main, &upstream)
        .table("[listeners.plain]\naddress = \"127.0.0.1:0\"\nclear_text = true")
        .table("[routes.secure]\nhosts = [\"secure.test\"]\npath = \"/{*rest}\"\nupstream = \"orders\"\nissuers = [\"main\"]")
        .table("[routes.rest]\npath = \"/{*rest}\"\nupstream = \"orders\"\nauth = \"none\"")
        .start();
    let plain = gateway.listener("plain").expect("the listener");
    block_on(async {
        for (host, status) in [
            ("secure.test", 401),
            ("SECURE.test:80", 401),
            ("secure.test.", 400),
            ("secure.test,other.test", 400),
            ("secure%2etest", 400),
            ("other.test", 200),
        ] {
            let request = http::Request::get("/x")
                .header("host", host)
                .body(http_body_util::Full::default())
                .expect("a request");
            let answer = crate::support::client::plain_exchange(plain, request).await;
            assert_eq!(answer.status, status, "{host}");
        }
    });
}

#[test]
fn allowed_slashes_do_not_allow_dot_segments() {
    let (main, upstream) = setting();
    let gateway = Bearward::usual(&main, &upstream)
        .table("[routes.files]\npath = \"/files/{*rest}\"\nupstream = \"orders\"\nauth = \"none\"\nencoded_slashes = \"allow\"")
        .start();
    block_on(async {
        for (path, status) in [
            ("/files/a%2Fb", 200),
            ("/files/..%2Forders", 400),
            ("/files/a%2f..%2F..%2forders", 400),
            ("/files/a%2F%2Forders", 400),
        ] {
            let answer = gateway.http1().send("GET", path, &[], "").await;
            assert_eq!(answer.status, status, "{path}");
        }
    });
}
