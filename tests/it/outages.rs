//! A real provider that misbehaves: for each fault, at the start and after it, good tokens go on
//! being accepted, and log, metric and readiness say what is wrong.

use std::net::SocketAddr;

use crate::support::double::{Does, TcpDouble};
use crate::support::gateway::{Gateway, ORDERS};
use crate::support::log;
use crate::support::openid::Programs;
use crate::support::{Bearward, Upstream, block_on, eventually};

/// A fault, what is said of it with a known URL and with discovery, and the metric's word.
fn faults(provider: SocketAddr) -> Vec<(Does, [&'static str; 2], [&'static str; 2])> {
    let answers = |status: &str, more: &str, body: &str| {
        Does::Answers(format!(
            "HTTP/1.1 {status}\r\n{more}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ))
    };
    let same = |words| [words, words];
    vec![
        (Does::Hang, same("took too long"), same("timeout")),
        (
            Does::Reset,
            same("broke the connection off"),
            same("unreachable"),
        ),
        (
            Does::Drips(provider),
            same("took too long"),
            same("timeout"),
        ),
        (
            answers("500 Internal Server Error", "", "down"),
            same("answers with status 500"),
            same("status"),
        ),
        (
            answers("200 OK", "", "<html>garbage"),
            ["not JSON (line 1, column 1)", "metadata is no JSON"],
            same("invalid"),
        ),
        (
            answers("200 OK", "", "{\"keys\":[]}"),
            ["no usable key: it is empty", "metadata is no JSON"],
            same("invalid"),
        ),
        (
            answers("302 Found", "location: https://elsewhere.test/jwks\r\n", ""),
            same("redirects to another origin"),
            same("redirect"),
        ),
        (
            Does::Answers("HTTP/9.9 nonsense\r\n\r\n".to_owned()),
            same("broke the connection off"),
            same("unreachable"),
        ),
        (Does::Endless, same("larger than allowed"), same("invalid")),
    ]
}

fn gateway(source: &str, issuer: &str, name: &str, upstream: &Upstream) -> Bearward {
    let source = match source {
        "url" => format!("jwks_url = \"{issuer}/jwks\""),
        _ => "discovery = true".to_owned(),
    };
    let orders = ORDERS.replace("\"main\"", &format!("\"{name}\""));
    Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.{name}]\nissuer = \"{issuer}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\n{source}\n[issuers.{name}.jwks]\nallow_http_loopback = true\ntimeout = \"400ms\"\n"
        ))
        .table(&orders)
}

async fn accepts(gateway: &Gateway, token: &str) -> bool {
    gateway.http1().get("/orders/1", token).await.status == 200
}

#[test]
fn every_fault_at_the_start_and_after_it() {
    let Some(programs) = Programs::find("every_fault_at_the_start_and_after_it") else {
        return;
    };
    log::gather();
    let folder = tempfile::tempdir().expect("a folder");
    // The double's address is the issuer; the provider stands behind it.
    let double = TcpDouble::start(Does::Hang);
    let issuer = format!("http://{}", double.address);
    let port = crate::support::process::free_port();
    let provider = programs.provider(port, &folder.path().join("first.json"), &issuer);
    let behind = SocketAddr::from(([127, 0, 0, 1], port));
    let token = programs.token(&provider, "reader", "orders:read", "es");
    let upstream = Upstream::echo();
    for (place, source) in ["url", "discovery"].into_iter().enumerate() {
        let name = format!("outage-{source}");
        double.then(Does::Forward(behind));
        let running = gateway(source, &issuer, &name, &upstream).start_now();
        block_on(async {
            running.ready().await;
            let saved = async || running.issuer(&name).await["saved_at"].is_string();
            eventually("a saved set", saved).await;
            assert!(accepts(&running, &token).await);
            for (fault, words, kinds) in faults(behind) {
                let (words, kind) = (words[place], kinds[place]);
                let series =
                    format!("bearward_jwks_fetches_total{{issuer=\"{name}\",result=\"{kind}\"}}");
                let before = running.metric(&series).await;
                double.then(fault.clone());
                let (status, detail) = running.refresh(&name).await;
                assert_eq!(status, 502, "{fault:?}");
                assert!(detail.contains(words), "{fault:?}: {detail}");
                assert!(accepts(&running, &token).await, "{fault:?}");
                assert!(running.metric(&series).await > before, "{fault:?}");
                assert!(running.is_ready().await, "{fault:?}");
                let page = running.readiness().await;
                let line = format!("[ok] keys of issuer {name}: 1; the last fetch failed at");
                assert!(page.contains(&line) && page.contains(words), "{page}");
                let logged = log::lines_with(&name);
                let logged = logged
                    .iter()
                    .any(|line| line.contains("WARN") && line.contains(words));
                assert!(logged, "{fault:?} is in the log");

                // The same fault, and a gateway that starts into it.
                let started = gateway(source, &issuer, &name, &upstream)
                    .with_state_of(&running.folder())
                    .start_now();
                assert!(accepts(&started, &token).await, "{fault:?} at the start");
                let failed = async || started.readiness().await.contains("the last fetch failed");
                eventually("a failed fetch", failed).await;
                assert!(started.is_ready().await);
                assert!(accepts(&started, &token).await, "{fault:?} at the start");
                assert_eq!(started.issuer(&name).await["state"], "failing");
            }
            double.then(Does::Forward(behind));
            assert_eq!(running.refresh(&name).await.0, 200);
            assert_eq!(running.issuer(&name).await["state"], "ok");
            assert!(!running.readiness().await.contains("failed"));
        });
    }
    // A rotation behind the double: all keys are others.
    let port = crate::support::process::free_port();
    let rotated = programs.provider(port, &folder.path().join("second.json"), &issuer);
    let running = gateway("discovery", &issuer, "rotated", &upstream).start_now();
    block_on(async {
        running.ready().await;
        double.then(Does::Forward(SocketAddr::from(([127, 0, 0, 1], port))));
        let new = programs.token(&rotated, "reader", "orders:read", "es");
        assert!(accepts(&running, &new).await, "found by its unknown key id");
        let answer = running.http1().get("/orders/1", &token).await;
        assert_eq!(answer.code(), "key_unknown", "its key is gone");
    });
}
