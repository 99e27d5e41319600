//! Where clients come from: through proxies, by the PROXY protocol, with certificates of their own.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{read_to_end, tls_over};
use crate::support::gateway::{Gateway, write_certificate};
use crate::support::{Bearward, TestIssuer, Upstream, block_on, eventually};

fn parts() -> (TestIssuer, Upstream) {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    (main, Upstream::echo())
}

/// A gateway with one more listener.
fn with_listener(main: &TestIssuer, upstream: &Upstream, listener: &str) -> (Gateway, SocketAddr) {
    let gateway = Bearward::usual(main, upstream)
        .table(&format!(
            "[listeners.more]\naddress = \"127.0.0.1:0\"\n{listener}"
        ))
        .start();
    let address = gateway.listener("more").expect("a listener");
    (gateway, address)
}

/// One request in clear text behind some bytes; gives all that comes back.
async fn exchange(address: SocketAddr, first: &[u8], token: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(first).await.expect("room");
    let request = format!(
        "GET /orders/1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n{fields}\r\n"
    );
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn peers(gateway: Gateway) -> Vec<String> {
    let lines = gateway.stop();
    let decisions = lines.iter().filter(|line| line["event"] == "decision");
    decisions
        .map(|line| line["peer"].as_str().expect("a peer").to_owned())
        .collect()
}

#[test]
fn the_word_of_a_trusted_proxy_counts_and_its_chain_goes_on() {
    let (main, upstream) = parts();
    let token = main.token().sign();
    let fields = "x-forwarded-for: 6.6.6.6, 203.0.113.7\r\nx-forwarded-proto: https\r\nx-forwarded-host: api.example\r\nx-real-ip: 203.0.113.7\r\nforwarded: for=203.0.113.7\r\n";
    for (trusted, peer, seen) in [
        (
            "[\"127.0.0.0/8\"]",
            "203.0.113.7",
            &[
                "\r\nx-forwarded-for: 6.6.6.6, 203.0.113.7, 127.0.0.1\r\n",
                "\r\nx-forwarded-proto: https\r\n",
                "\r\nx-forwarded-host: api.example\r\n",
                "\r\nx-real-ip: 203.0.113.7\r\n",
                "\r\nforwarded: for=203.0.113.7, for=127.0.0.1\r\n",
            ][..],
        ),
        (
            "[\"10.0.0.0/8\"]",
            "127.0.0.1",
            &[
                "\r\nx-forwarded-for: 127.0.0.1\r\n",
                "\r\nx-forwarded-proto: http\r\n",
                "\r\nx-forwarded-host: localhost\r\n",
            ],
        ),
    ] {
        let more = format!("clear_text = true\ntrusted_proxies = {trusted}");
        let (gateway, address) = with_listener(&main, &upstream, &more);
        let answer = block_on(exchange(address, b"", &token, fields));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        for line in seen {
            assert!(answer.contains(line), "{line} in {answer}");
        }
        assert_eq!(answer.contains("203.0.113.7"), peer == "203.0.113.7");
        assert_eq!(peers(gateway), [peer]);
    }
    // One that says all in `Forwarded` is not contradicted.
    let more = "clear_text = true\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let (gateway, address) = with_listener(&main, &upstream, more);
    let fields = "forwarded: for=203.0.113.7;proto=https\r\n";
    let answer = block_on(exchange(address, b"", &token, fields));
    assert!(
        answer.contains("\r\nforwarded: for=203.0.113.7;proto=https, for=127.0.0.1\r\n"),
        "{answer}"
    );
    assert!(!answer.contains("x-forwarded-"), "{answer}");
    assert_eq!(peers(gateway), ["203.0.113.7"]);
}

#[test]
fn trusted_proxies_may_have_many_connections() {
    let (main, upstream) = parts();
    for (trusted, all) in [("", false), ("trusted_proxies = [\"127.0.0.1\"]", true)] {
        let more = format!(
            "clear_text = true\n{trusted}\n[listeners.more.limits]\nconnections_per_peer = 2"
        );
        let (gateway, address) = with_listener(&main, &upstream, &more);
        block_on(async {
            let mut streams = Vec::new();
            for _ in 0..5 {
                streams.push(TcpStream::connect(address).await.expect("a connection"));
            }
            let open = if all { 5.0 } else { 2.0 };
            let connections = "bearward_connections{listener=\"more\"}";
            eventually("the connections", async || {
                gateway.metric(connections).await == open
            })
            .await;
        });
    }
}

#[test]
fn the_proxy_protocol_tells_who_connects() {
    let (main, upstream) = parts();
    let token = main.token().sign();
    let more = "clear_text = true\nproxy_protocol = \"required\"";
    let (gateway, address) = with_listener(&main, &upstream, more);
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    second.extend([198, 51, 100, 9, 10, 0, 0, 1, 1, 2, 3, 4]);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    block_on(async {
        for (first, expected) in [
            (
                &b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n"[..],
                "203.0.113.7",
            ),
            (&second, "198.51.100.9"),
            (local, "127.0.0.1"),
        ] {
            let answer = exchange(address, first, &token, "").await;
            let line = format!("\r\nx-forwarded-for: {expected}\r\n");
            assert!(answer.contains(&line), "{answer}");
        }
        for first in [&b""[..], b"PROXY TCP4 nonsense\r\n"] {
            assert_eq!(exchange(address, first, &token, "").await, "");
        }
        let errors = "bearward_protocol_errors_total{kind=\"proxy_protocol\",listener=\"more\"}";
        assert_eq!(gateway.metric(errors).await, 2.0);
    });
    let mut seen = peers(gateway);
    seen.sort();
    assert_eq!(seen, ["127.0.0.1", "198.51.100.9", "203.0.113.7"]);
}

#[test]
fn tls_comes_behind_the_proxy_protocol() {
    let (main, upstream) = parts();
    let token = main.token().sign();
    let more = "proxy_protocol = \"required\"\n[listeners.more.tls]\ncertificates = [{ chain = \"tls.crt\", key = { file = \"tls.key\" } }]";
    let (_gateway, address) = with_listener(&main, &upstream, more);
    block_on(async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let first = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n";
        stream.write_all(first).await.expect("room");
        let mut stream = tls_over(stream, "http/1.1", None)
            .await
            .expect("a handshake");
        let request = format!(
            "GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("room");
        let answer = read_to_end(&mut stream).await;
        assert!(
            answer.contains("\r\nx-forwarded-for: 203.0.113.7\r\n"),
            "{answer}"
        );
    });
}

#[test]
fn clients_show_certificates_where_they_must() {
    let (main, upstream) = parts();
    let folder = tempfile::tempdir().expect("a folder");
    write_certificate(folder.path(), "ours", &["client.test"]);
    write_certificate(folder.path(), "others", &["client.test"]);
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("a file");
    let (ours, our_key) = (read("ours.crt"), read("ours.key"));
    let (others, their_key) = (read("others.crt"), read("others.key"));
    let token = main.token().sign();
    for (auth, without, with_others) in [("required", false, false), ("optional", true, false)] {
        let ca = folder.path().join("ours.crt").display().to_string();
        let more = format!(
            "[listeners.more.tls]\ncertificates = [{{ chain = \"tls.crt\", key = {{ file = \"tls.key\" }} }}]\nclient_auth = \"{auth}\"\nclient_ca = {ca:?}"
        );
        let (_gateway, address) = with_listener(&main, &upstream, &more);
        for (own, good) in [
            (Some((&ours[..], &our_key[..])), true),
            (Some((&others[..], &their_key[..])), with_others),
            (None, without),
        ] {
            block_on(async {
                let stream = TcpStream::connect(address).await.expect("a connection");
                // With TLS 1.3 a client learns of the refusal when it reads.
                let Ok(mut stream) = tls_over(stream, "http/1.1", own).await else {
                    assert!(!good);
                    return;
                };
                let request = format!(
                    "GET /orders/1 HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
                );
                let _ = stream.write_all(request.as_bytes()).await;
                let answer = read_to_end(&mut stream).await;
                assert_eq!(
                    answer.starts_with("HTTP/1.1 200 "),
                    good,
                    "{auth}: {answer}"
                );
            });
        }
    }
}

#[test]
fn rules_want_certain_certificates_or_that_of_the_token() {
    let (main, upstream) = parts();
    let folder = tempfile::tempdir().expect("a folder");
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("a file");
    let mut clients = Vec::new();
    let mut ca = Vec::new();
    for name in ["ours", "others"] {
        write_certificate(folder.path(), name, &["client.test"]);
        let (chain, key) = (read(&format!("{name}.crt")), read(&format!("{name}.key")));
        ca.extend_from_slice(&chain);
        let der = CertificateDer::from_pem_slice(&chain).expect("a certificate");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
        clients.push((chain, key, digest.as_ref().to_vec()));
    }
    std::fs::write(folder.path().join("ca.crt"), ca).expect("a file");
    let ca = folder.path().join("ca.crt").display().to_string();
    let hex: Vec<_> = clients[0]
        .2
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let thumbprint = URL_SAFE_NO_PAD.encode(&clients[0].2);
    let bound = main
        .token()
        .with("cnf", json!({ "x5t#S256": thumbprint }))
        .sign();
    let free = main.token().sign();
    let other = main
        .token()
        .with("cnf", json!({ "x5t#S256": "AAAA" }))
        .sign();
    let listed = format!("client_certificates = [\"{}\"]", hex.join(":"));
    for (rule, allowed) in [
        // By client, none at last: with a free token, one bound to ours, one bound to another.
        (
            listed.as_str(),
            [[true, true, true], [false; 3], [false; 3]],
        ),
        (
            "certificate_bound = true",
            [[false, true, false], [false; 3], [false; 3]],
        ),
    ] {
        let gateway = Bearward::usual(&main, &upstream)
            .table(&format!(
                "[listeners.more]\naddress = \"127.0.0.1:0\"\n[listeners.more.tls]\ncertificates = [{{ chain = \"tls.crt\", key = {{ file = \"tls.key\" }} }}]\nclient_auth = \"optional\"\nclient_ca = {ca:?}"
            ))
            .table(&format!(
                "[routes.bound]\npath = \"/bound\"\nupstream = \"orders\"\nissuers = [\"main\"]\n[[routes.bound.rules]]\n{rule}"
            ))
            .start();
        let address = gateway.listener("more").expect("an address");
        let own = |client: usize| {
            let (chain, key, _) = clients.get(client)?;
            Some((&chain[..], &key[..]))
        };
        for (client, allowed) in allowed.into_iter().enumerate() {
            for (token, allowed) in [&free, &bound, &other].into_iter().zip(allowed) {
                let answer = block_on(async {
                    let stream = TcpStream::connect(address).await.expect("a connection");
                    let stream = tls_over(stream, "http/1.1", own(client)).await;
                    let mut stream = stream.expect("a handshake");
                    let request = format!(
                        "GET /bound HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
                    );
                    stream.write_all(request.as_bytes()).await.expect("room");
                    read_to_end(&mut stream).await
                });
                let is_refused = answer.starts_with("HTTP/1.1 403 ")
                    && answer.contains("\"code\":\"claim_not_allowed\"")
                    && answer.contains("certificate");
                assert_eq!(!is_refused, allowed, "{rule}, client {client}: {answer}");
                assert_eq!(answer.starts_with("HTTP/1.1 200 "), allowed, "{answer}");
            }
        }
    }
}

#[test]
fn a_listener_in_clear_text_may_only_lead_to_https() {
    let (main, upstream) = parts();
    let more = "clear_text = true\nredirect_to_https = true";
    let (gateway, address) = with_listener(&main, &upstream, more);
    let ask = async |request: &str| {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("room");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let token = main.token().sign();
    block_on(async {
        for (method, path) in [
            ("GET", "/orders/a%20b?q=1"),
            ("POST", "/"),
            ("GET", "/nothing"),
        ] {
            let answer = ask(&format!(
                "{method} {path} HTTP/1.1\r\nhost: API.test:80\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
            ))
            .await;
            assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
            let location = format!("\r\nlocation: https://api.test{path}\r\n");
            assert!(answer.contains(&location), "{answer}");
            assert!(!answer.contains(&token));
        }
        let answer = ask("GET / HTTP/1.1\r\nhost: evil.test\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
        let answer =
            ask("GET //evil.test/ HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    });
    assert!(upstream.seen().is_empty());
    drop(gateway);
}
