//! Sets that are good, bad in one key, and no sets at all.

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
    let whys: Vec<_> = published.skipped.iter().map(|key| key.why).collect();
    assert_eq!(whys, [EXPOSED, "it carries its private part"]);
    // Under another name, alone, in another set: the key is the same.
    let distrusted: HashSet<_> = exposed(both.as_bytes()).keys.into_iter().collect();
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
        (
            format!(
                r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#,
                "A".repeat(43)
            ),
            "its point has a small order: anybody could sign for it",
        ),
        (
            format!(
                r#"{{"kty":"OKP","crv":"Ed25519","x":"AQ{}"}}"#,
                "A".repeat(41)
            ),
            "its point has a small order: anybody could sign for it",
        ),
        (
            r#"{"kty":"OKP","crv":"Ed25519","x":"7P_______________________________________38"}"#
                .to_owned(),
            "its point has a small order: anybody could sign for it",
        ),
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
    let (same, skipped) = set(&[key.clone(), key.clone()]).expect("one key, twice");
    assert_eq!((same.len(), skipped.len()), (1, 0));
    let twin = RFC_EC
        .replace(
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
        )
        .replace(
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
        );
    let none = set(&[key.clone(), format!("{{{twin},\"kid\":\"a\"}}")]).err();
    assert!(matches!(
        none,
        Some(JwksError::NoUsableKey { skipped: 2, .. })
    ));
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
    for (text, line, column) in [("", 1, 0), ("<html>", 1, 1), ("{\"keys\":\n [", 2, 2)] {
        let fault = JwksError::NotJson { line, column };
        assert_eq!(set_of(text).err(), Some(fault), "{text}");
    }
    let pem = "-----BEGIN PUBLIC KEY-----";
    assert_eq!(set_of(pem).err(), Some(JwksError::Pem));
    for text in ["[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        assert_eq!(set_of(text).err(), Some(JwksError::NotASet), "{text}");
    }
    assert_eq!(
        set_of(r#"{"keys":[]}"#).err(),
        Some(JwksError::NoUsableKey {
            why: None,
            skipped: 0
        })
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

#[test]
fn keys_beyond_the_bound_are_named() {
    let mut keys: Vec<_> = (0..KEYS_MAX + 2)
        .map(|n| format!("{{{RFC_EC},\"kid\":\"{n}\"}}"))
        .collect();
    keys.push(format!("{{{RFC_OKP},\"kid\":\"{}\"}}", "x".repeat(100_000)));
    let (set, skipped) = set(&keys).expect("a set");
    assert_eq!((set.len(), skipped.len()), (KEYS_MAX, 3));
    assert_eq!(skipped[0].why, "the set has more than 256 keys");
    assert!(skipped[2].shown_kid().len() < 300, "the provider chose it");
}

#[test]
fn the_order_of_the_keys_does_not_matter() {
    let (a, b) = (
        format!("{{{RFC_EC},\"kid\":\"a\"}}"),
        format!("{{{RFC_RSA},\"kid\":\"b\"}}"),
    );
    let (one, _) = set(&[a.clone(), b.clone()]).expect("a set");
    let (other, _) = set(&[b.clone(), a]).expect("a set");
    let (less, _) = set(&[b]).expect("a set");
    assert!(one.same_keys(&other));
    assert!(!one.same_keys(&less));
}

#[test]
fn any_document_is_a_set_or_none() {
    crate::fuzz::target("jwks", |bytes| {
        let all: AlgorithmSet = Algorithm::ALL.into_iter().collect();
        let exposed = exposed(bytes);
        if let Ok(published) = read(bytes, all, &HashSet::new()) {
            for key in published.into_keys() {
                assert!(key.algorithms().next().is_some());
            }
        }
        assert!(exposed.keys.len() <= bytes.len());
    });
}
