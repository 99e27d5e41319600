//! An issuer with a key, and tokens that read as sentences.

use bearward::signing::SigningKey;
use serde_json::{Value, json};

/// The time at which every test clock starts, in seconds.
pub const NOW: i64 = 1_795_532_645;
pub const AUDIENCE: &str = "https://api.test";

/// An issuer that signs with one key.
#[derive(Clone)]
pub struct TestIssuer {
    pub identifier: String,
    pub alg: &'static str,
    pub key: SigningKey,
}

impl TestIssuer {
    pub fn new(identifier: &str, alg: &'static str, kid: &str) -> Self {
        Self {
            identifier: identifier.to_owned(),
            alg,
            key: SigningKey::generate(alg, Some(kid)).expect("a key"),
        }
    }

    /// The JWK set that it publishes.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.key.jwk().expect("a public key")] })
    }

    /// A token that is good by the system's clock.
    #[allow(
        clippy::disallowed_methods,
        reason = "for the real program, which has no other clock"
    )]
    pub fn token_now(&self) -> TestToken {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after the epoch");
        let now = i64::try_from(now.as_secs()).expect("in range");
        self.token().with("iat", now - 10).with("exp", now + 600)
    }

    /// A good token, to be changed.
    pub fn token(&self) -> TestToken {
        TestToken {
            key: self.key.clone(),
            typ: Some("at+jwt".to_owned()),
            claims: json!({
                "iss": self.identifier,
                "aud": AUDIENCE,
                "sub": "alice",
                "client_id": "test-client",
                "jti": "token-1",
                "iat": NOW - 10,
                "exp": NOW + 600,
                "scope": "orders:read orders:write",
                "tier": "pro",
            }),
        }
    }
}

/// A token in the making.
#[derive(Clone)]
pub struct TestToken {
    key: SigningKey,
    typ: Option<String>,
    claims: Value,
}

impl TestToken {
    pub fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims[claim] = value.into();
        self
    }

    pub fn without(mut self, claim: &str) -> Self {
        self.claims.as_object_mut().expect("claims").remove(claim);
        self
    }

    pub fn typed(mut self, typ: Option<&str>) -> Self {
        self.typ = typ.map(str::to_owned);
        self
    }

    pub fn signed_by(mut self, other: &TestIssuer) -> Self {
        self.key = other.key.clone();
        self
    }

    pub fn claims(&self) -> &Value {
        &self.claims
    }

    pub fn sign(&self) -> String {
        self.key
            .sign(self.typ.as_deref(), &self.claims)
            .expect("a signature")
    }
}

/// A header and claims of one's own, with any signature.
pub fn raw_token(header: &str, claims: &str, signature: &[u8]) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!(
        "{}.{}.{}",
        encode(header.as_bytes()),
        encode(claims.as_bytes()),
        encode(signature)
    )
}
