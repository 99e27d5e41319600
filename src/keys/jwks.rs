//! A JWK set (RFC 7517) to the keys of a [`KeySet`], each alone: one bad key costs itself, not the set.
//!
//! What is skipped is named with its reason. A key that was published with its private part is
//! skipped in this set and in every later one: whoever read the set can sign with it. `x5c`, `x5u`
//! and `jku` are not followed: a key is what the set itself says.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::exposed::PRIVATE;
use super::{KeySet, Thumbprint, VerificationKey, numbers};

pub(crate) use super::exposed::exposed;
use crate::oauth::json::Members;
use crate::oauth::{Algorithm, AlgorithmSet, Json};
use crate::observe::shown;

/// Keys in one set that are used; the rest is skipped and named. Real providers publish under ten.
const KEYS_MAX: usize = 256;
/// Longest `kid` that is kept; tokens are bounded too.
const KID_BYTES_MAX: usize = 256;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// Why a document gives no key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwksError {
    #[error("not a JWK set: no JSON object with one array `keys`")]
    NotASet,
    #[error("not JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    #[error("not UTF-8")]
    NotUtf8,
    #[error("this is PEM and no JWK set; public keys in PEM are named by `keys`")]
    Pem,
    #[error("the JWK set has no usable key{}", first_of(*why, *skipped))]
    NoUsableKey {
        /// Of the first that is there.
        why: Option<&'static str>,
        skipped: usize,
    },
}

fn first_of(why: Option<&str>, skipped: usize) -> String {
    match (why, skipped) {
        (None, _) => ": it is empty".to_owned(),
        (Some(why), 1) => format!(": of its one key, {why}"),
        (Some(why), _) => format!(": of the first of {skipped}, {why}"),
    }
}

/// A key that was not taken: its place in the set, its `kid` if it has one, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) index: usize,
    pub(crate) kid: Option<Box<str>>,
    pub(crate) why: &'static str,
}

impl Skipped {
    /// The `kid` as a log or a page may show it: the provider chooses it.
    pub(crate) fn shown_kid(&self) -> String {
        shown(self.kid.as_deref().unwrap_or("without kid"), KID_BYTES_MAX)
    }
}

/// What a document holds.
#[derive(Debug)]
pub(crate) struct Published {
    keys: Vec<VerificationKey>,
    pub(crate) skipped: Vec<Skipped>,
    /// Keys of the set that lie in the same document with their private part.
    pub(crate) exposed: HashSet<Thumbprint>,
}

impl Published {
    /// The usable keys, however few.
    pub(crate) fn into_keys(self) -> Vec<VerificationKey> {
        self.keys
    }

    /// The usable keys, and what was skipped.
    ///
    /// # Errors
    /// There are none.
    pub(crate) fn into_set(self) -> Result<(KeySet, Vec<Skipped>), JwksError> {
        if self.keys.is_empty() {
            return Err(JwksError::NoUsableKey {
                why: self.skipped.first().map(|key| key.why),
                skipped: self.skipped.len(),
            });
        }
        Ok((KeySet::new(self.keys), self.skipped))
    }
}

/// Reads a JWK set for an issuer that allows `allowed`. Keys in `distrusted` were exposed before.
///
/// # Errors
/// It is no JWK set.
pub(crate) fn read(
    text: &[u8],
    allowed: AlgorithmSet,
    distrusted: &HashSet<Thumbprint>,
) -> Result<Published, JwksError> {
    if std::str::from_utf8(text).is_err() {
        // RFC 8259 section 8.1; nothing else could be kept on disk.
        return Err(JwksError::NotUtf8);
    }
    let document: Document<'_> = serde_json::from_slice(text).map_err(|error| {
        if text.starts_with(b"-----BEGIN") {
            return JwksError::Pem;
        }
        match error.classify() {
            Category::Syntax | Category::Eof => JwksError::NotJson {
                line: error.line(),
                column: error.column(),
            },
            Category::Data | Category::Io => JwksError::NotASet,
        }
    })?;
    let exposed = exposed(text);
    let mut skipped = Vec::new();
    let mut taken: Vec<(usize, Kty, VerificationKey)> = Vec::new();
    let mut named = HashSet::new();
    for (index, raw) in document.keys.iter().enumerate() {
        let members = Json::object(raw.get().as_bytes());
        let key = match members.as_ref().ok_or(NOT_AN_OBJECT) {
            Ok(_) if index >= KEYS_MAX => Err("the set has more than 256 keys"),
            Ok(jwk) => key(jwk, allowed),
            Err(why) => Err(why),
        };
        let key = key.and_then(|(kty, key)| {
            let known = key
                .thumbprint()
                .is_some_and(|print| exposed.keys.contains(&print) || distrusted.contains(&print));
            if key.kid().is_some_and(|kid| exposed.kids.contains(kid)) {
                named.extend(key.thumbprint());
                return Err(EXPOSED);
            }
            if known { Err(EXPOSED) } else { Ok((kty, key)) }
        });
        match key {
            // The same key under the same name, twice: no harm in it.
            Ok((_, key)) if taken.iter().any(|(_, _, own)| own.is_same(&key)) => {}
            Ok((kty, key)) => taken.push((index, kty, key)),
            Err(why) => {
                let kid = members.as_ref().and_then(|jwk| jwk.get("kid")?.as_text());
                let kid = kid.map(|kid| kid.chars().take(KID_BYTES_MAX).collect());
                skipped.push(Skipped { index, kid, why });
            }
        }
    }
    let (ambiguous, keys): (Vec<_>, Vec<_>) = {
        let names: Vec<_> = taken
            .iter()
            .map(|(_, kty, key)| (key.kid().map(str::to_owned), *kty))
            .collect();
        taken.into_iter().partition(|(_, kty, key)| {
            key.kid().is_some_and(|kid| {
                names
                    .iter()
                    .filter(|(name, other)| name.as_deref() == Some(kid) && other == kty)
                    .count()
                    > 1
            })
        })
    };
    skipped.extend(ambiguous.iter().map(|(index, _, key)| Skipped {
        index: *index,
        kid: key.kid().map(Into::into),
        why: "another key of the set has the same `kid` and `kty`",
    }));
    Ok(Published {
        keys: keys.into_iter().map(|(_, _, key)| key).collect(),
        skipped,
        exposed: named,
    })
}

const EXPOSED: &str = "it was published with its private part, and is never trusted again";
const NOT_AN_OBJECT: &str = "not a JSON object without duplicate members";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kty {
    Ec,
    Okp,
    Rsa,
}

/// One JWK to one key, or why not.
fn key(jwk: &Members, allowed: AlgorithmSet) -> Result<(Kty, VerificationKey), &'static str> {
    let text = |name: &str| jwk.get(name).and_then(Json::as_text);
    let kty = match text("kty") {
        Some("RSA") => Kty::Rsa,
        Some("EC") => Kty::Ec,
        Some("OKP") => Kty::Okp,
        Some("oct") => return Err("a symmetric key does not belong in a JWK set"),
        _ => return Err("its `kty` is not RSA, EC or OKP"),
    };
    let private = |name: &&str| jwk.get(name).is_some();
    if PRIVATE.iter().any(private) || jwk.get("k").is_some() {
        return Err("it carries its private part");
    }
    if jwk
        .get("use")
        .is_some_and(|value| value.as_text() != Some("sig"))
    {
        return Err("its `use` is not `sig`");
    }
    if let Some(operations) = jwk.get("key_ops") {
        let verify = operations
            .as_array()
            .is_some_and(|items| items.iter().any(|item| item.as_text() == Some("verify")));
        if !verify {
            return Err("its `key_ops` lack `verify`");
        }
    }
    let kid = match jwk.get("kid") {
        None => None,
        Some(Json::Text(kid)) if kid.len() <= KID_BYTES_MAX => Some(&**kid),
        Some(_) => return Err("its `kid` is not a short string"),
    };
    let numbers = match kty {
        Kty::Rsa => numbers::rsa(jwk)?,
        Kty::Ec => numbers::ec(jwk)?,
        Kty::Okp => numbers::okp(jwk)?,
    };
    let fitting = numbers.algorithms;
    let own = match jwk.get("alg") {
        None => None,
        Some(value) => match value.as_text().and_then(Algorithm::parse) {
            Some(alg) if fitting.contains(&alg) => Some(alg),
            _ => return Err("its `alg` is unknown or does not fit its kind"),
        },
    };
    let algorithms: AlgorithmSet = fitting
        .iter()
        .copied()
        .filter(|alg| allowed.contains(*alg) && own.is_none_or(|own| own == *alg))
        .collect();
    if algorithms.is_empty() {
        return Err("it serves none of the issuer's `algorithms`");
    }
    let key =
        VerificationKey::published(kid, algorithms, &numbers).ok_or("its numbers make no key")?;
    Ok((kty, key))
}

#[cfg(test)]
mod tests;
