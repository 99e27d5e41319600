//! One attack a test, named after it: RFC 8725 and the traps that other gateways fell into.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::support::gateway::{Gateway, ORDERS};
use crate::support::issuer::raw_token;
use crate::support::{Bearward, TestIssuer, Upstream, block_on, usual};

fn main_issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

/// Sends tokens and expects the code for each, with nothing reaching the upstream.
fn refused(gateway: &Gateway, upstream: &Upstream, tokens: &[(String, &str)]) {
    block_on(async {
        for (token, code) in tokens {
            for client in [gateway.http1(), gateway.http2()] {
                // Twice: the second time the caches know it.
                for _ in 0..2 {
                    let answer = client.get("/orders/1", token).await;
                    assert_eq!(answer.code(), *code, "{token}");
                }
            }
        }
    });
    assert!(upstream.seen().is_empty());
}

fn claims(issuer: &TestIssuer) -> String {
    issuer.token().claims().to_string()
}

#[test]
fn alg_none_in_any_case() {
    let (main, upstream, gateway) = usual();
    let tokens: Vec<_> = ["none", "None", "NONE", "nOnE"]
        .into_iter()
        .flat_map(|name| {
            let header = format!(r#"{{"alg":"{name}","typ":"at+jwt","kid":"main-1"}}"#);
            [
                (raw_token(&header, &claims(&main), b""), "alg_not_allowed"),
                (raw_token(&header, &claims(&main), b"x"), "alg_not_allowed"),
            ]
        })
        .collect();
    refused(&gateway, &upstream, &tokens);
}

#[test]
fn hmac_with_the_public_key() {
    let (main, upstream, gateway) = usual();
    let pem = main.key.public_pem().expect("a public key");
    let secrets = [pem.into_bytes(), main.jwks().to_string().into_bytes()];
    let tokens: Vec<_> = secrets
        .iter()
        .map(|secret| {
            let key = bearward::signing::SigningKey::read("HS256", Some("main-1"), secret)
                .expect("a key");
            let token = key
                .sign(Some("at+jwt"), main.token().claims())
                .expect("a token");
            (token, "alg_not_allowed")
        })
        .collect();
    refused(&gateway, &upstream, &tokens);
}

#[test]
fn key_of_another_issuer() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    // Both are trusted by the route, and both publish the same key id.
    let partner = TestIssuer::new("https://partner.test/", "ES256", "main-1");
    let gateway = Bearward::new()
        .trusting("main", &main, "")
        .trusting("partner", &partner, "")
        .upstream("orders", upstream.address, "")
        .table(&ORDERS.replace("[\"main\"]", "[\"main\", \"partner\"]"))
        .start();
    let forged = main.token().signed_by(&partner).sign();
    refused(&gateway, &upstream, &[(forged, "signature_invalid")]);
}

#[test]
fn embedded_keys_are_not_looked_at() {
    let (main, upstream) = (main_issuer(), Upstream::echo());
    let attacker = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let gateway = Bearward::usual(&main, &upstream).start();
    let signed = attacker.token().sign();
    let signature = signed.rsplit_once('.').expect("three parts").1;
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("a signature");
    let tokens: Vec<_> = [
        json!({ "jwk": attacker.key.jwk() }),
        json!({ "jku": "https://attacker.test/jwks.json" }),
        json!({ "x5u": "https://attacker.test/chain.pem" }),
        json!({ "x5c": ["MIIB"] }),
    ]
    .into_iter()
    .map(|mut header| {
        header["alg"] = "ES256".into();
        header["typ"] = "at+jwt".into();
        header["kid"] = "main-1".into();
        (
            raw_token(&header.to_string(), &claims(&attacker), &signature),
            "signature_invalid",
        )
    })
    .collect();
    refused(&gateway, &upstream, &tokens);
}

#[test]
fn any_crit() {
    let (main, upstream, gateway) = usual();
    let tokens: Vec<_> = [r#"["b64"]"#, r#"["exp"]"#, "[]", "null"]
        .into_iter()
        .map(|crit| {
            let header = format!(
                r#"{{"alg":"ES256","typ":"at+jwt","kid":"main-1","b64":true,"crit":{crit}}}"#
            );
            (
                raw_token(&header, &claims(&main), &[1; 64]),
                "critical_header_unsupported",
            )
        })
        .collect();
    refused(&gateway, &upstream, &tokens);
}

#[test]
fn duplicate_members() {
    let (main, upstream, gateway) = usual();
    let header = r#"{"alg":"ES256","typ":"at+jwt","kid":"main-1"}"#;
    let twice = claims(&main).replacen('{', r#"{"sub":"mallory","#, 1);
    let tokens = [
        (raw_token(header, &twice, &[1; 64]), "token_malformed"),
        (
            raw_token(
                r#"{"alg":"none","alg":"ES256","kid":"main-1"}"#,
                &claims(&main),
                &[1; 64],
            ),
            "token_malformed",
        ),
    ];
    refused(&gateway, &upstream, &tokens);
}

#[test]
fn non_canonical_base64url() {
    let (main, upstream, gateway) = usual();
    let good = main.token().sign();
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    // 64 bytes end in a character of which two bits are spare: set them.
    let last = signature.chars().last().expect("a character");
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.find(last).expect("base64url");
    let stray = &alphabet[place + 1..place + 2];
    let stray = format!("{head}.{}{stray}", &signature[..signature.len() - 1]);
    let mut tokens: Vec<_> = [
        stray,
        format!("{good}=="),
        format!("{good}="),
        good.replace('.', ".="),
        good.replacen('e', "e ", 1),
    ]
    .into_iter()
    .map(|token| (token, "token_malformed"))
    .collect();
    tokens.push((format!("{}+/", good), "token_malformed"));
    refused(&gateway, &upstream, &tokens);
    block_on(async {
        assert_eq!(gateway.http1().get("/orders/1", &good).await.status, 200);
    });
}

#[test]
fn missing_exp() {
    let (main, upstream, gateway) = usual();
    let tokens = [
        (main.token().without("exp").sign(), "claim_missing"),
        (
            main.token().with("exp", serde_json::Value::Null).sign(),
            "token_malformed",
        ),
        (main.token().with("exp", "never").sign(), "token_malformed"),
    ];
    refused(&gateway, &upstream, &tokens);
}

#[test]
fn ecdsa_signatures_of_zeros_in_der_and_of_the_wrong_size() {
    let (main, upstream, gateway) = usual();
    let header = r#"{"alg":"ES256","typ":"at+jwt","kid":"main-1"}"#;
    let good = main.token().sign();
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("a signature");
    let der = der_of(&signature);
    let p384 = TestIssuer::new("https://login.test/", "ES384", "main-1");
    let tokens = [
        (
            raw_token(header, &claims(&main), &[0; 64]),
            "signature_invalid",
        ),
        (
            raw_token(header, &claims(&main), &[0; 96]),
            "signature_invalid",
        ),
        (
            format!("{head}.{}", URL_SAFE_NO_PAD.encode(&der)),
            "signature_invalid",
        ),
        (
            format!(
                "{head}.{}",
                URL_SAFE_NO_PAD.encode([signature.as_slice(), &[0]].concat())
            ),
            "signature_invalid",
        ),
        (main.token().signed_by(&p384).sign(), "alg_not_allowed"),
    ];
    refused(&gateway, &upstream, &tokens);
    block_on(async {
        assert_eq!(gateway.http1().get("/orders/1", &good).await.status, 200);
    });
}

/// The same signature as ASN.1 has it.
fn der_of(signature: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let mut body = bytes.to_vec();
        while body.len() > 1 && body[0] == 0 && body[1] < 0x80 {
            body.remove(0);
        }
        if body[0] >= 0x80 {
            body.insert(0, 0);
        }
        [
            &[0x02, u8::try_from(body.len()).expect("short")],
            body.as_slice(),
        ]
        .concat()
    };
    let body = [integer(&signature[..32]), integer(&signature[32..])].concat();
    [
        &[0x30, u8::try_from(body.len()).expect("short")],
        body.as_slice(),
    ]
    .concat()
}

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

#[test]
fn the_other_form_of_an_ecdsa_signature_is_good_and_as_dead_as_the_first() {
    let (main, _upstream, gateway) = usual();
    let good = main.token().sign();
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("a signature");
    let mut borrow = 0;
    for index in (0..32).rev() {
        let difference = i16::from(ORDER[index]) - i16::from(signature[32 + index]) - borrow;
        borrow = i16::from(difference < 0);
        signature[32 + index] = u8::try_from(difference.rem_euclid(256)).expect("a byte");
    }
    let other = format!("{head}.{}", URL_SAFE_NO_PAD.encode(&signature));
    assert_ne!(other, good);
    block_on(async {
        for token in [&good, &other] {
            assert_eq!(gateway.http1().get("/orders/1", token).await.status, 200);
        }
        let revocation = json!({ "selector": { "issuer": "main", "jti": "token-1" } });
        let added = gateway
            .ask_admin("POST", "/api/v1/revocations", Some(&revocation))
            .await;
        assert_eq!(added.status, 201);
        for token in [&good, &other] {
            assert_eq!(
                gateway.http1().get("/orders/1", token).await.code(),
                "token_revoked"
            );
        }
    });
    let lines = gateway.stop();
    let prints: Vec<_> = lines
        .iter()
        .filter_map(|line| line["token_fingerprint"].as_str())
        .collect();
    assert!(
        prints.len() == 4 && prints.windows(2).all(|pair| pair[0] == pair[1]),
        "{prints:?}"
    );
}

#[test]
fn a_cached_token_does_not_skip_the_rules_of_another_route() {
    let (main, _upstream, gateway) = usual();
    block_on(async {
        let token = main.token().with("scope", "orders:read").sign();
        let bearer = format!("Bearer {token}");
        assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
        let post = gateway
            .http1()
            .send("POST", "/orders/1", &[("authorization", &bearer)], "")
            .await;
        assert_eq!(post.code(), "scope_missing");
        gateway.clock.advance(700);
        assert_eq!(
            gateway.http1().get("/orders/1", &token).await.code(),
            "token_expired"
        );
        assert_eq!(
            gateway
                .metric("bearward_token_cache_lookups_total{result=\"miss\"}")
                .await,
            1.0
        );
        assert_eq!(
            gateway
                .metric("bearward_token_cache_lookups_total{result=\"hit\"}")
                .await,
            2.0
        );
    });
}

#[test]
fn a_forged_token_alone_cannot_choose_the_503() {
    let (_main, upstream, gateway) = usual();
    let stranger = TestIssuer::new("https://login.test/", "ES256", "unknown");
    refused(
        &gateway,
        &upstream,
        &[
            (stranger.token().sign(), "key_unknown"),
            (
                stranger.token().with("iss", "https://x.test").sign(),
                "issuer_untrusted",
            ),
        ],
    );
}
