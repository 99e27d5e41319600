//! Tokens of our own for upstreams: who the caller is, signed by the gateway (RFC 9068).
//!
//! An upstream that trusts the gateway need not know the issuers of its callers, and what it is sent opens
//! nothing else. One that was made serves the same caller's next requests for half of its lifetime: making
//! one costs a signature.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use moka::sync::Cache;
use serde_json::{Map, Value, json};

use crate::authenticate::Principal;
use crate::clock::UnixTime;
use crate::policy::Issuer;
use crate::signing::SigningKey;

/// Tokens that are kept to serve again; at about 1 KiB each, 10 MiB.
const KEPT_MAX: u64 = 10_000;
/// The type of such a token (RFC 9068 section 2.1).
const TYPE: &str = "at+jwt";

/// The settings of `[internal_token]`.
#[derive(Clone, Debug)]
pub(crate) struct InternalTokenSettings {
    pub(crate) issuer: Box<str>,
    /// Signs.
    pub(crate) key: SigningKey,
    /// Signed before, and is still published.
    pub(crate) previous: Option<SigningKey>,
    pub(crate) lifetime: Duration,
    /// Claims of the caller's token that are copied.
    pub(crate) claims: Vec<Box<str>>,
}

/// Makes them.
#[derive(Debug)]
pub(crate) struct InternalTokens {
    settings: InternalTokenSettings,
    /// The public keys, as upstreams fetch them (RFC 7517).
    document: Bytes,
    /// By the caller's token and the audience.
    made: Cache<([u8; 32], Arc<str>), Made>,
}

/// One that was made.
#[derive(Clone, Debug)]
struct Made {
    /// As it is sent.
    authorization: HeaderValue,
    at: UnixTime,
    exp: UnixTime,
}

impl InternalTokens {
    pub(crate) fn new(settings: InternalTokenSettings) -> Self {
        let keys = [Some(&settings.key), settings.previous.as_ref()];
        let keys: Vec<_> = keys
            .into_iter()
            .flatten()
            .filter_map(SigningKey::jwk)
            .collect();
        Self {
            document: json!({ "keys": keys }).to_string().into(),
            settings,
            made: Cache::new(KEPT_MAX),
        }
    }

    /// The JWK set.
    pub(crate) fn document(&self) -> Bytes {
        self.document.clone()
    }

    /// What the upstream gets in `Authorization`, for a route that wants it. `None`: none can be made.
    pub(crate) fn authorization(
        &self,
        principal: &Principal,
        issuer: &Issuer,
        audience: &Arc<str>,
        now: UnixTime,
    ) -> Option<HeaderValue> {
        let key = (*principal.fingerprint(), Arc::clone(audience));
        if let Some(made) = self.made.get(&key)
            && made.at <= now
            && now < made.at.plus(self.settings.lifetime / 2)
            && now < made.exp
        {
            return Some(made.authorization);
        }
        let made = self.make(principal, issuer, audience, now)?;
        self.made.insert(key, made.clone());
        Some(made.authorization)
    }

    fn make(
        &self,
        principal: &Principal,
        issuer: &Issuer,
        audience: &str,
        now: UnixTime,
    ) -> Option<Made> {
        let settings = &self.settings;
        let exp = now.plus(settings.lifetime);
        // It does not outlive what it stands for.
        let exp = principal.over_at(issuer).map_or(exp, |over| over.min(exp));
        let mut claims = Map::new();
        for name in &settings.claims {
            if let Some(value) = principal.claim(name) {
                claims.insert(name.to_string(), value.to_value());
            }
        }
        let scopes: Vec<_> = principal.scopes(issuer).iter().collect();
        let ours: [(&str, Option<Value>); 9] = [
            ("iss", Some(json!(settings.issuer))),
            ("aud", Some(json!(audience))),
            ("sub", principal.subject().map(Value::from)),
            ("client_id", principal.client_id().map(Value::from)),
            (
                "scope",
                (!scopes.is_empty()).then(|| scopes.join(" ").into()),
            ),
            // Two issuers may have the same subject.
            ("caller_iss", Some(json!(issuer.issuer))),
            ("iat", Some(now.secs().into())),
            ("exp", Some(exp.secs().into())),
            ("jti", Some(uuid::Uuid::now_v7().to_string().into())),
        ];
        for (name, value) in ours {
            match value {
                Some(value) => claims.insert(name.to_owned(), value),
                // A copied claim says nothing about what is ours to say.
                None => claims.remove(name),
            };
        }
        let token = settings.key.sign(Some(TYPE), &Value::Object(claims)).ok()?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        authorization.set_sensitive(true);
        Some(Made {
            authorization,
            at: now,
            exp,
        })
    }
}
