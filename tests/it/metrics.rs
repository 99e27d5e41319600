//! What Prometheus reads: sound, complete from the start, and bounded.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;

use crate::support::client::tls;
use crate::support::{Bearward, TestIssuer, Upstream, block_on, program, usual};

fn series(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').expect("a value").0.to_owned())
        .collect()
}

#[test]
fn promtool_accepts_the_page() {
    let Some(promtool) = program::find("promtool_accepts_the_page", "promtool") else {
        return;
    };
    let (main, _upstream, gateway) = usual();
    let page = block_on(async {
        gateway.http1().get("/orders/1", &main.token().sign()).await;
        gateway.http2().get("/orders/1", "a.b.c").await;
        gateway.metrics().await
    });
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    check
        .stdin
        .take()
        .expect("a pipe")
        .write_all(page.as_bytes())
        .expect("room");
    let output = check.wait_with_output().expect("an end");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "");
}

#[test]
fn random_input_adds_no_series() {
    let (main, _upstream, gateway) = usual();
    block_on(async {
        let stream = TokioIo::new(tls(gateway.address(), "http/1.1").await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .expect("a handshake");
        tokio::spawn(connection);
        let mut before = BTreeSet::new();
        for round in 0..10_100 {
            // The first hundred meet every kind of answer that comes.
            if round == 100 {
                before = series(&gateway.metrics().await);
            }
            let token = crate::support::issuer::raw_token(
                &format!(r#"{{"alg":"ES256","kid":"kid-{round}"}}"#),
                &format!(
                    r#"{{"iss":"{}","sub":"subject-{round}"}}"#,
                    if round % 2 == 0 {
                        main.identifier.clone()
                    } else {
                        format!("https://issuer-{round}.test")
                    }
                ),
                &[1; 64],
            );
            let path = if round % 3 == 0 {
                format!("/path-{round}")
            } else {
                format!("/orders/{round}")
            };
            let method = if round % 5 == 0 {
                format!("METHOD{round}")
            } else {
                "GET".to_owned()
            };
            let request = Request::builder()
                .method(method.as_str())
                .uri(path)
                .header("host", "api.test")
                .header("authorization", format!("Bearer {token}"))
                .body(Full::<Bytes>::default())
                .expect("a request");
            let answer = sender.send_request(request).await.expect("an answer");
            answer.into_body().collect().await.expect("a body");
        }
        let after = series(&gateway.metrics().await);
        let new: Vec<_> = after.difference(&before).collect();
        assert!(new.is_empty(), "{new:?}");
    });
}

#[test]
fn the_probe_address_has_health_and_metrics_alone() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let gateway = Bearward::usual(&main, &upstream)
        .table("[probes]\naddress = \"127.0.0.1:0\"")
        .start();
    let probes = gateway.probes().expect("an address");
    block_on(async {
        for (path, status) in [
            ("/livez", 200),
            ("/readyz", 200),
            ("/metrics", 200),
            ("/api/v1/revocations", 404),
        ] {
            let answer = crate::support::client::plain_request(
                probes,
                "GET",
                path,
                Some(&gateway.admin_token()),
                None,
            )
            .await;
            assert_eq!(answer.status, status, "{path}");
        }
    });
}
