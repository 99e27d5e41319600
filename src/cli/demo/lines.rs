//! The tokens of the demo and the lines that show what becomes of each.

use serde_json::{Value, json};

use super::AUDIENCE;
use crate::clock::{Clock, SystemClock};
use crate::signing::{SigningKey, SigningKeyError};

/// An hour, in seconds.
const HOUR: i64 = 3600;

/// One token for each thing that can happen to it.
pub(super) struct Tokens {
    good: String,
    expired: String,
    forged: String,
    other_audience: String,
    revoked: String,
    pub(super) revoked_jti: String,
    read_only: String,
}

impl Tokens {
    pub(super) fn mint(key: &SigningKey, issuer: &str) -> Result<Self, SigningKeyError> {
        let now = SystemClock.now().secs();
        let claims = |change: Value| {
            let mut claims = json!({
                "iss": issuer,
                "aud": AUDIENCE,
                "sub": "demo-user",
                "client_id": "demo-client",
                "iat": now - 1,
                "exp": now + HOUR,
                "jti": uuid::Uuid::now_v7().to_string(),
                "scope": "orders:read orders:write",
            });
            if let (Value::Object(claims), Value::Object(change)) = (&mut claims, change) {
                claims.extend(change);
            }
            claims
        };
        let sign = |change: Value| key.sign(Some("at+jwt"), &claims(change));
        let stranger = SigningKey::generate("ES256", Some("demo-1"))?;
        let revoked_jti = uuid::Uuid::now_v7().to_string();
        Ok(Self {
            good: sign(json!({}))?,
            expired: sign(json!({ "iat": now - 2 * HOUR, "exp": now - HOUR }))?,
            forged: stranger.sign(Some("at+jwt"), &claims(json!({})))?,
            other_audience: sign(json!({ "aud": "https://billing.example.test" }))?,
            revoked: sign(json!({ "jti": revoked_jti }))?,
            revoked_jti,
            read_only: sign(json!({ "scope": "orders:read" }))?,
        })
    }
}

/// The curl lines, each with what comes back.
pub(super) fn print(tokens: &Tokens, port: u16) -> String {
    let url = format!("https://localhost:{port}/orders");
    let with = |token: &str, comment: &str| {
        format!("curl -sk {url} -H \"Authorization: Bearer {token}\"   # {comment}")
    };
    let cut = tokens
        .good
        .rsplit_once('.')
        .map_or(tokens.good.as_str(), |(head, _)| head);
    [
        format!("curl -sk {url}   # 401 token_missing"),
        with(&tokens.good, "200"),
        with(&tokens.expired, "401 token_expired"),
        with(&tokens.forged, "401 signature_invalid"),
        with(&tokens.other_audience, "401 audience_mismatch"),
        with(&tokens.revoked, "401 token_revoked"),
        with(cut, "401 token_malformed"),
        format!(
            "curl -sk -X POST {url} -H \"Authorization: Bearer {}\"   # 403 scope_missing",
            tokens.read_only
        ),
    ]
    .join("\n")
}
