//! A JWK set (RFC 7517) to a [`KeySet`], each key alone: one bad key costs itself, not the set.
//!
//! What is skipped is named with its reason. A key with its private part in it is skipped: whoever
//! read the set could sign with it.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{KeySet, VerificationKey, numbers};
use crate::oauth::json::Members;
use crate::oauth::{Algorithm, AlgorithmSet, Json};

/// Keys in one set that are looked at; the rest is ignored. Real providers publish under ten.
const KEYS_MAX: usize = 64;
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

/// Reads a JWK set for an issuer that allows `allowed`.
///
/// # Errors
/// It is no JWK set, or no key of it can be used.
pub(crate) fn read(
    text: &[u8],
    allowed: AlgorithmSet,
) -> Result<(KeySet, Vec<Skipped>), JwksError> {
    let document: Document<'_> = serde_json::from_slice(text).map_err(|_| JwksError::NotASet)?;
    let mut skipped = Vec::new();
    let mut taken: Vec<(usize, Kty, VerificationKey)> = Vec::new();
    for (index, raw) in document.keys.iter().take(KEYS_MAX).enumerate() {
        let members = Json::object(raw.get().as_bytes());
        let kid = members
            .as_ref()
            .and_then(|jwk| jwk.get("kid")?.as_text())
            .map(Into::into);
        match members
            .ok_or(NOT_AN_OBJECT)
            .and_then(|jwk| key(&jwk, allowed))
        {
            Ok((kty, key)) => taken.push((index, kty, key)),
            Err(why) => skipped.push(Skipped { index, kid, why }),
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
    if keys.is_empty() {
        return Err(JwksError::NoUsableKey(skipped));
    }
    let keys = keys.into_iter().map(|(_, _, key)| key).collect();
    Ok((KeySet::new(keys), skipped))
}

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
    if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
        .iter()
        .any(|name| jwk.get(name).is_some())
    {
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
    let (fitting, bytes): (&[Algorithm], Vec<u8>) = match kty {
        Kty::Rsa => numbers::rsa(jwk)?,
        Kty::Ec => numbers::ec(jwk)?,
        Kty::Okp => numbers::okp(jwk)?,
    };
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
    let key = VerificationKey::public(kid, algorithms, &bytes).ok_or("its numbers make no key")?;
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

    fn set(keys: &[String]) -> Result<(KeySet, Vec<Skipped>), JwksError> {
        read(
            format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes(),
            all(),
        )
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
            assert_eq!(
                read(text.as_bytes(), all()).err(),
                Some(JwksError::NotASet),
                "{text}"
            );
        }
        assert_eq!(
            read(br#"{"keys":[]}"#, all()).err(),
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
