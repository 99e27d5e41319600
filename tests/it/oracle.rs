//! Our verdict beside jsonwebtoken's, over thousands of generated tokens.
//!
//! We may be stricter, for a reason that is named here; never laxer. The oracle reads the system's
//! clock, so the gateway does here too.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::support::client::tls;
use crate::support::{Bearward, TestIssuer, Upstream, block_on};

/// Tokens that are compared.
const TOKENS: usize = 4000;

/// Where we refuse and the oracle accepts, and why that is right.
const STRICTER: [(&str, &str); 7] = [
    (
        "type_not_allowed",
        "RFC 9068 section 4: the type keeps ID tokens out; the oracle does not look at `typ`",
    ),
    (
        "token_issued_in_future",
        "a token from the future shows a clock that is off; the oracle ignores `iat`",
    ),
    ("token_too_old", "age_max; the oracle ignores `iat`"),
    (
        "lifetime_too_long",
        "lifetime_max; the oracle has no such bound",
    ),
    (
        "claim_missing",
        "`iat` where age and lifetime are bounded, and `sub`; the oracle demands neither",
    ),
    (
        "token_malformed",
        "registered claims of a wrong type, and duplicate members; the oracle takes the last",
    ),
    (
        "critical_header_unsupported",
        "RFC 7515 section 4.1.11: what is not understood must be refused",
    ),
];

/// A generator that gives the same tokens on every run (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.next() % from.len() as u64).expect("small")]
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

struct Party {
    issuer: TestIssuer,
    key: DecodingKey,
    alg: Algorithm,
}

fn parties() -> Vec<Party> {
    [
        ("RS256", Algorithm::RS256),
        ("PS384", Algorithm::PS384),
        ("ES256", Algorithm::ES256),
        ("ES384", Algorithm::ES384),
        ("EdDSA", Algorithm::EdDSA),
    ]
    .into_iter()
    .map(|(name, alg)| {
        let issuer = TestIssuer::new(&format!("https://{name}.test/"), name, &format!("{name}-1"));
        let jwk: jsonwebtoken::jwk::Jwk =
            serde_json::from_value(issuer.key.jwk().expect("a key")).expect("a JWK");
        Party {
            key: DecodingKey::from_jwk(&jwk).expect("a key"),
            issuer,
            alg,
        }
    })
    .collect()
}

#[allow(clippy::disallowed_methods, reason = "the oracle has no other clock")]
fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after the epoch");
    i64::try_from(since.as_secs()).expect("in range")
}

fn generate(random: &mut Random, parties: &[Party]) -> (usize, String) {
    let place = usize::try_from(random.next() % parties.len() as u64).expect("small");
    let party = &parties[place];
    let now = now();
    let mut token = party
        .issuer
        .token()
        .with("iat", now - 60)
        .with("exp", now + 600);
    // One or two faults in most tokens, far from the edges of the leeway.
    for _ in 0..random.next() % 3 {
        token = match random.next() % 12 {
            0 => token.with("exp", now + random.pick(&[-1000, -100, -10, 10, 100_000])),
            1 => token.with("nbf", now + random.pick(&[-100, -10, 10, 100, 1000])),
            2 => token.with("iat", now + random.pick(&[-100_000, -1000, 10, 100])),
            3 => token.with(
                "aud",
                random
                    .pick(&[
                        json!("https://other.test"),
                        json!(["https://other.test", "https://api.test"]),
                        json!([]),
                        json!("https://api.test/"),
                    ])
                    .clone(),
            ),
            4 => token.with(
                "iss",
                random
                    .pick(&[
                        json!("https://RS256.test/"),
                        json!("https://es256.test/"),
                        json!("https://x.test"),
                    ])
                    .clone(),
            ),
            5 => token.without(random.pick::<&str>(&["exp", "iat", "aud", "iss", "sub", "nbf"])),
            6 => token.typed(*random.pick(&[None, Some("JWT"), Some("application/AT+JWT")])),
            7 => token.signed_by(&random.pick(parties).issuer),
            8 => token.with(
                random.pick::<&str>(&["sub", "jti", "client_id", "nbf"]),
                random.pick(&[json!(7), json!(null), json!(["x"])]).clone(),
            ),
            9 => token.with("exp", (now + 600) as f64 + 0.5),
            10 => token.with(
                "extra",
                random
                    .pick(&[json!({ "a": { "b": 1 } }), json!("x")])
                    .clone(),
            ),
            _ => token,
        };
    }
    let mut text = token.sign();
    if random.one_in(12) {
        // One character of it is another one.
        let at = usize::try_from(random.next() % text.len() as u64).expect("small");
        let letter = *random.pick(&["A", "b", "-", "_", ".", "="]);
        text.replace_range(at..=at, letter);
    }
    (place, text)
}

/// What jsonwebtoken says of a token, given the key of the issuer that it names.
#[allow(clippy::disallowed_methods, reason = "it is the oracle here")]
fn oracle(token: &str, parties: &[Party]) -> bool {
    parties.iter().any(|party| {
        let mut validation = Validation::new(party.alg);
        validation.leeway = 30;
        validation.validate_nbf = true;
        validation.set_audience(&["https://api.test"]);
        validation.set_issuer(&[&party.issuer.identifier]);
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        jsonwebtoken::decode::<Value>(token, &party.key, &validation).is_ok()
    })
}

#[test]
fn never_laxer_than_jsonwebtoken() {
    let parties = parties();
    let upstream = Upstream::echo();
    let names: Vec<_> = parties
        .iter()
        .map(|party| party.issuer.alg.to_ascii_lowercase())
        .collect();
    let mut gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[routes.any]\npath = \"/{{*rest}}\"\nupstream = \"orders\"\nissuers = {names:?}"
        ));
    for (party, name) in parties.iter().zip(&names) {
        gateway = gateway.trusting(name, &party.issuer, "");
    }
    let gateway = gateway.start_now();
    let mut random = Random(7);
    let mut stricter: BTreeMap<String, usize> = BTreeMap::new();
    let (mut both, mut neither) = (0, 0);
    block_on(async {
        let stream = TokioIo::new(tls(gateway.address(), "http/1.1").await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .expect("a handshake");
        tokio::spawn(connection);
        for _ in 0..TOKENS {
            let (_, token) = generate(&mut random, &parties);
            let request = Request::get("/x")
                .header("host", "api.test")
                .header("authorization", format!("Bearer {token}"))
                .body(Full::<Bytes>::default())
                .expect("a request");
            let answer = sender.send_request(request).await.expect("an answer");
            let status = answer.status().as_u16();
            let body = answer
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes();
            match (status == 200, oracle(&token, &parties)) {
                (true, true) => both += 1,
                (false, false) => neither += 1,
                (true, false) => panic!("we accept and the oracle refuses: {token}"),
                (false, true) => {
                    let body: Value = serde_json::from_slice(&body).expect("JSON");
                    let code = body["code"].as_str().expect("a code").to_owned();
                    *stricter.entry(code).or_default() += 1;
                }
            }
        }
    });
    assert!(both > 500 && neither > 500, "{both} {neither}");
    for (code, count) in &stricter {
        let why = STRICTER.iter().find(|(stricter, _)| stricter == code);
        assert!(why.is_some(), "{code} {count} times, and nobody says why");
    }
}
