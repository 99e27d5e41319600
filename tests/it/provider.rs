//! Real input: a real OpenID provider, real curl, HTTP/1.1 and HTTP/2.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, ORDERS};
use crate::support::openid::Programs;
use crate::support::process::free_port;
use crate::support::{Bearward, Upstream, block_on};

/// Asks for an order through the gateway; gives status and HTTP version.
fn ask(programs: &Programs, gateway: &Gateway, version: &str, token: &str) -> (String, String) {
    let port = gateway.address().port();
    programs.curl(&[
        version,
        "--resolve",
        &format!("api.test:{port}:127.0.0.1"),
        &format!("https://api.test:{port}/orders/1"),
        "-H",
        &format!("Authorization: Bearer {token}"),
    ])
}

#[test]
fn a_real_provider_with_real_tokens_and_a_rotation() {
    let Some(programs) = Programs::find("a_real_provider_with_real_tokens_and_a_rotation") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let provider = programs.start(&folder.path().join("first.json"));
    let (issuer, port) = (provider.base(), provider.port);
    let upstream = Upstream::echo();
    let gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.main]\nissuer = \"{issuer}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"RS256\", \"ES256\"]\ndiscovery = true\njwks = {{ allow_http_loopback = true }}\n"
        ))
        .table(ORDERS)
        .start_now();
    block_on(gateway.ready());
    for (resource, version, spoken) in [
        ("rs", "--http1.1", "200 1.1"),
        ("rs", "--http2", "200 2"),
        ("es", "--http1.1", "200 1.1"),
        ("es", "--http2", "200 2"),
    ] {
        let token = programs.token(&provider, "reader", "orders:read", resource);
        let (status, body) = ask(&programs, &gateway, version, &token);
        assert_eq!(status, spoken, "{body}");
        assert!(body.contains("x-auth-subject: reader\r\n"), "{body}");
    }
    let lacking = programs.token(&provider, "stranger", "orders:write", "rs");
    let (status, body) = ask(&programs, &gateway, "--http2", &lacking);
    assert_eq!(status, "403 2");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["code"], "scope_missing");
    assert_eq!(body["missing"], json!(["orders:read"]));

    // The provider rotates all of its keys.
    drop(provider);
    let provider = programs.provider(port, &folder.path().join("second.json"), &issuer);
    for resource in ["rs", "es"] {
        let token = programs.token(&provider, "reader", "orders:read", resource);
        let (status, body) = ask(&programs, &gateway, "--http1.1", &token);
        assert_eq!(status, "200 1.1", "{body}");
    }
    assert_eq!(upstream.seen().len(), 6);
}

#[test]
fn a_real_introspection_endpoint_and_its_revocation() {
    let Some(programs) = Programs::find("a_real_introspection_endpoint_and_its_revocation") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let provider = programs.start(&folder.path().join("keys.json"));
    let issuer = provider.base();
    let upstream = Upstream::echo();
    for (client, auth) in [
        ("gateway: basic", "client_secret_basic"),
        ("gateway-post", "client_secret_post"),
    ] {
        let gateway = Bearward::new()
            .upstream("orders", upstream.address, "")
            .secret("introspection", "test-secret\n")
            .table(&format!(
                "[issuers.main]\nissuer = \"{issuer}\"\naudiences = [\"https://api.test\"]\nrequire = []\n[issuers.main.introspection]\nendpoint = \"{issuer}/token/introspection\"\nclient_id = \"{client}\"\nclient_secret = {{ file = \"introspection\" }}\nclient_auth = \"{auth}\"\nallow_http_loopback = true\n"
            ))
            .table(ORDERS)
            .start_now();
        let token = programs.token(&provider, "reader", "orders:read", "opaque");
        assert!(!token.contains('.'), "opaque: {token}");
        let (status, body) = ask(&programs, &gateway, "--http2", &token);
        assert_eq!(status, "200 2", "{auth}: {body}");
        let (status, body) = programs.curl(&[
            &format!("{issuer}/token/revocation"),
            "-u",
            "reader:test-secret",
            "-d",
            &format!("token={token}"),
        ]);
        assert!(status.starts_with("200"), "{body}");
        // What was said before counts within the cache's bound, and no longer.
        let (status, _) = ask(&programs, &gateway, "--http2", &token);
        assert_eq!(status, "200 2");
        gateway.clock.advance(30);
        let (status, body) = ask(&programs, &gateway, "--http1.1", &token);
        assert_eq!(status, "401 1.1", "{auth}: {body}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["code"], "token_inactive");
        let unknown = ask(&programs, &gateway, "--http1.1", "never-issued");
        assert_eq!(unknown.0, "401 1.1");
    }
    drop(provider);
    let gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .secret("introspection", "test-secret")
        .table(&format!(
            "[issuers.main]\nissuer = \"{issuer}\"\naudiences = [\"https://api.test\"]\n[issuers.main.introspection]\nendpoint = \"{issuer}/token/introspection\"\nclient_id = \"gateway\"\nclient_secret = {{ file = \"introspection\" }}\nallow_http_loopback = true\n"
        ))
        .table(ORDERS)
        .start_now();
    let (status, body) = ask(&programs, &gateway, "--http1.1", "any-token");
    assert_eq!(status, "503 1.1");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["code"], "introspection_unavailable");
}

#[test]
fn a_real_logout_and_a_token_given_up_by_a_standard_library() {
    let Some(programs) = Programs::find("a_real_logout") else {
        return;
    };
    let upstream = Upstream::echo();
    let port = free_port();
    let gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.main]\nissuer = \"http://127.0.0.1:{port}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"RS256\"]\ndiscovery = true\njwks = {{ allow_http_loopback = true }}\nbackchannel_logout = {{ client_ids = [\"web\"] }}\n[endpoints]\nrevoke = true\n"
        ))
        .table(ORDERS)
        .start_now();
    let keys = gateway.folder().join("provider.json");
    let certificate = gateway.folder().join("tls.crt");
    let own = format!(
        "https://localhost:{}/.well-known/bearward",
        gateway.address().port()
    );
    let logout = format!("{own}/backchannel-logout");
    let provider = programs.telling(port, &keys, &logout, &certificate);
    block_on(gateway.ready());
    let status = |token: &str| block_on(gateway.http1().get("/orders/1", token)).status;
    let mut application = programs.application(&provider, &format!("{own}/revoke"), &certificate);
    let (one, two) = (application.line(), application.line());
    assert_eq!((status(&one), status(&two)), (200, 200));
    application.does("logout 0");
    assert_eq!(
        (status(&one), status(&two)),
        (401, 200),
        "the other session goes on"
    );
    application.does(&format!("revoke {two}"));
    assert_eq!(status(&two), 401);
    let lines = gateway.stop();
    let actors: Vec<_> = lines
        .iter()
        .filter_map(|line| line["actor"].as_str())
        .collect();
    assert_eq!(actors, ["logout:main", "holder"]);
}
