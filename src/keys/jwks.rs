//! A JWK set (RFC 7517) to the keys of a [`KeySet`], each alone: one bad key costs itself, not the set.
//!
//! What is skipped is named with its reason. A key that was published with its private part is
//! skipped in this set and in every later one: whoever read the set can sign with it. `x5c`, `x5u`
//! and `jku` are not followed: a key is what the set itself says.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{KeySet, Thumbprint, VerificationKey, numbers};
use crate::oauth::json::Members;
use crate::oauth::{Algorithm, AlgorithmSet, Json};

/// Keys in one set that are looked at; the rest is ignored. Real providers publish under ten.
const KEYS_MAX: usize = 64;
/// Longest `kid` that is kept; tokens are bounded too.
const KID_BYTES_MAX: usize = 256;
/// The members of a JWK that only its owner may know (RFC 7518 sections 6.2.2, 6.3.2, 6.4).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

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
    #[error("the JWK set has no usable key{}", first_of(.0))]
    NoUsableKey(Vec<Skipped>),
}

fn first_of(skipped: &[Skipped]) -> String {
    skipped.first().map_or_else(
        || ": it is empty".to_owned(),
        |key| format!("; of {} the first: {}", skipped.len(), key.why),
    )
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
        let kid = self.kid.as_deref().unwrap_or("without kid");
        kid.escape_default().to_string()
    }
}

/// What a document holds.
#[derive(Debug)]
pub(crate) struct Published {
    keys: Vec<VerificationKey>,
    pub(crate) skipped: Vec<Skipped>,
    /// Keys that lie there with their private part.
    pub(crate) exposed: Vec<Thumbprint>,
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
            return Err(JwksError::NoUsableKey(self.skipped));
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
    let document: Document<'_> = serde_json::from_slice(text).map_err(|_| JwksError::NotASet)?;
    let items: Vec<_> = document
        .keys
        .iter()
        .take(KEYS_MAX)
        .map(|raw| Json::object(raw.get().as_bytes()))
        .collect();
    let exposed: Vec<Thumbprint> = items.iter().flatten().filter_map(exposed).collect();
    let mut skipped = Vec::new();
    let mut taken: Vec<(usize, Kty, VerificationKey)> = Vec::new();
    for (index, members) in items.iter().enumerate() {
        let key = members
            .as_ref()
            .ok_or(NOT_AN_OBJECT)
            .and_then(|jwk| key(jwk, allowed))
            .and_then(|(kty, key)| {
                let known = key
                    .thumbprint()
                    .is_some_and(|print| exposed.contains(&print) || distrusted.contains(&print));
                if known { Err(EXPOSED) } else { Ok((kty, key)) }
            });
        match key {
            Ok((kty, key)) => taken.push((index, kty, key)),
            Err(why) => {
                let kid = members.as_ref().and_then(|jwk| jwk.get("kid")?.as_text());
                let kid = kid.map(Into::into);
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
        exposed,
    })
}

/// The public key of a JWK that carries its private part too.
fn exposed(jwk: &Members) -> Option<Thumbprint> {
    if !PRIVATE.iter().any(|name| jwk.get(name).is_some()) {
        return None;
    }
    let numbers = match jwk.get("kty").and_then(Json::as_text)? {
        "RSA" => numbers::rsa(jwk),
        "EC" => numbers::ec(jwk),
        "OKP" => numbers::okp(jwk),
        _ => return None,
    };
    Some(Thumbprint::of(&numbers.ok()?.bytes))
}

const EXPOSED: &str = "it was published with its private part";
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
    if PRIVATE.iter().any(|name| jwk.get(name).is_some()) {
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
mod tests {
    use super::*;

    /// The public key of RFC 7515 appendix A.2.
    const RFC_RSA: &str = r#""kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB""#;
    /// RFC 7515 appendix A.3.
    const RFC_EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
    /// RFC 8037 appendix A.2.
    const RFC_OKP: &str =
        r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    fn all() -> AlgorithmSet {
        Algorithm::ALL.into_iter().collect()
    }

    fn document(keys: &[String]) -> String {
        format!("{{\"keys\":[{}]}}", keys.join(","))
    }

    fn set(keys: &[String]) -> Result<(KeySet, Vec<Skipped>), JwksError> {
        set_of(&document(keys))
    }

    fn set_of(text: &str) -> Result<(KeySet, Vec<Skipped>), JwksError> {
        read(text.as_bytes(), all(), &HashSet::new())?.into_set()
    }

    #[test]
    fn an_exposed_key_is_distrusted_here_and_later() {
        let public = format!("{{{RFC_EC},\"kid\":\"a\"}}");
        let private = format!("{{{RFC_EC},\"kid\":\"b\",\"d\":\"AA\"}}");
        let other = format!("{{{RFC_OKP},\"kid\":\"c\"}}");
        let both = document(&[public.clone(), private, other.clone()]);
        let published = read(both.as_bytes(), all(), &HashSet::new()).expect("a set");
        assert_eq!(published.exposed.len(), 1);
        let whys: Vec<_> = published.skipped.iter().map(|key| key.why).collect();
        assert_eq!(whys, [EXPOSED, "it carries its private part"]);
        // Under another name, alone, in another set: the key is the same.
        let distrusted: HashSet<_> = published.exposed.into_iter().collect();
        let later = document(&[public.replace("\"a\"", "\"z\""), other]);
        let later = read(later.as_bytes(), all(), &distrusted).expect("a set");
        assert_eq!(later.skipped.first().map(|key| key.why), Some(EXPOSED));
        assert_eq!(later.into_set().expect("one key").0.len(), 1);
    }

    #[test]
    fn a_bad_key_costs_itself_alone() {
        let bad = [
            (
                format!("{{{RFC_EC},\"d\":\"AA\"}}"),
                "it carries its private part",
            ),
            (
                r#"{"kty":"oct","k":"AA"}"#.to_owned(),
                "a symmetric key does not belong in a JWK set",
            ),
            (
                format!("{{{RFC_EC},\"use\":\"enc\"}}"),
                "its `use` is not `sig`",
            ),
            (
                format!("{{{RFC_EC},\"key_ops\":[\"sign\"]}}"),
                "its `key_ops` lack `verify`",
            ),
            (
                format!("{{{RFC_EC},\"alg\":\"RS256\"}}"),
                "its `alg` is unknown or does not fit its kind",
            ),
            (
                format!("{{{RFC_EC},\"alg\":\"HS256\"}}"),
                "its `alg` is unknown or does not fit its kind",
            ),
            (
                format!("{{{RFC_EC},\"kid\":7}}"),
                "its `kid` is not a short string",
            ),
            (format!("{{{RFC_EC},\"kty\":\"EC\"}}"), NOT_AN_OBJECT),
            (
                r#"{"kty":"RSA","n":"_____w","e":"AQAB"}"#.to_owned(),
                "its RSA modulus has fewer than 2048 or more than 8192 bits",
            ),
            (
                RFC_RSA.replace("AQAB", "AQ").replace("\"kty", "{\"kty") + "}",
                "its RSA exponent is not sound",
            ),
            (
                RFC_EC.replace("f83O", "f83P").replace("\"kty", "{\"kty") + "}",
                "its numbers make no key",
            ),
            (
                r#"{"kty":"EC","crv":"P-521"}"#.to_owned(),
                "its `crv` is not P-256 or P-384",
            ),
            ("7".to_owned(), NOT_AN_OBJECT),
        ];
        let mut keys: Vec<_> = bad.iter().map(|(key, _)| key.clone()).collect();
        keys.push(format!("{{{RFC_OKP},\"kid\":\"good\"}}"));
        let (set, skipped) = set(&keys).expect("one good key");
        assert_eq!(set.len(), 1);
        for (skipped, (key, why)) in skipped.iter().zip(&bad) {
            assert_eq!(skipped.why, *why, "{key}");
        }
        assert_eq!(skipped.len(), bad.len());
    }

    #[test]
    fn same_kid_and_kind_is_ambiguous() {
        let key = format!("{{{RFC_EC},\"kid\":\"a\"}}");
        let other = format!("{{{RFC_RSA},\"kid\":\"a\"}}");
        let none = set(&[key.clone(), key.clone()]).err();
        assert!(matches!(none, Some(JwksError::NoUsableKey(skipped)) if skipped.len() == 2));
        let (set, skipped) = set(&[key, other]).expect("two kinds");
        assert_eq!((set.len(), skipped.len()), (2, 0));
        assert!(matches!(
            set.find(Some("a"), Algorithm::Es256),
            super::super::Lookup::Found(_)
        ));
        assert!(matches!(
            set.find(Some("a"), Algorithm::Ps512),
            super::super::Lookup::Found(_)
        ));
        assert!(matches!(
            set.find(Some("a"), Algorithm::EdDsa),
            super::super::Lookup::AlgorithmMismatch
        ));
    }

    #[test]
    fn documents_that_are_no_sets() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[],"keys":[]}"#,
            "<html>",
        ] {
            assert_eq!(set_of(text).err(), Some(JwksError::NotASet), "{text}");
        }
        assert_eq!(
            set_of(r#"{"keys":[]}"#).err(),
            Some(JwksError::NoUsableKey(vec![]))
        );
    }

    #[test]
    fn without_kid_only_the_one_key_that_fits() {
        use super::super::Lookup;
        let (one, _) = set(&[format!("{{{RFC_EC},\"kid\":\"a\"}}")]).expect("a set");
        assert!(matches!(one.find(None, Algorithm::Es256), Lookup::Found(_)));
        assert!(matches!(
            one.find(Some("b"), Algorithm::Es256),
            Lookup::Unknown
        ));
        let two = RFC_RSA.replace("ofgWC", "ofgWD");
        let (two, _) = set(&[
            format!("{{{RFC_RSA},\"kid\":\"a\"}}"),
            format!("{{{two},\"kid\":\"b\"}}"),
        ])
        .expect("a set");
        assert!(matches!(two.find(None, Algorithm::Rs256), Lookup::Unknown));
    }
}
