//! Step 1: the compact form (RFC 7515 section 7.1), strictly.
//!
//! Three parts of base64url without padding and without stray bits, so that one token has one
//! spelling; header and payload are JSON objects in UTF-8 without duplicate members. Of the header
//! only `alg`, `kid`, `typ` and `crit` are read: `jwk`, `jku`, `x5u` and `x5c` offer a key of the
//! sender's choice and are not looked at (RFC 8725 section 3.10).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::{AuthenticationError, Malformed};
use crate::oauth::json::Members;
use crate::oauth::{Algorithm, Json};
use crate::verdict::NearMiss;

/// A token taken apart. Nothing in it is verified.
#[derive(Debug)]
pub(super) struct Jws<'a> {
    pub(super) alg: Alg,
    pub(super) kid: Option<Box<str>>,
    pub(super) typ: Option<Box<str>>,
    pub(super) payload: Members,
    /// Header and payload as they were sent, with the dot between them.
    pub(super) signing_input: &'a [u8],
    pub(super) signature: Vec<u8>,
}

/// The `alg` of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alg {
    Known(Algorithm),
    /// `none` in any case.
    Unsigned,
    /// A name that no key here can have.
    Other,
}

impl Alg {
    pub(super) const fn known(self) -> Option<Algorithm> {
        match self {
            Self::Known(alg) => Some(alg),
            Self::Unsigned | Self::Other => None,
        }
    }
}

/// Takes a token apart.
///
/// # Errors
/// It is no compact JWS, or it has a `crit`.
pub(super) fn parse(token: &[u8]) -> Result<Jws<'_>, AuthenticationError> {
    let malformed = AuthenticationError::Malformed;
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed(wrong_parts(token)));
    };
    let signing_input = token
        .get(..header.len() + 1 + payload.len())
        .unwrap_or_default();

    let header = object(header, "header")?;
    let alg = match header.get("alg") {
        Some(Json::Text(name)) => match Algorithm::parse(name) {
            Some(alg) => Alg::Known(alg),
            None if name.eq_ignore_ascii_case("none") => Alg::Unsigned,
            None => Alg::Other,
        },
        _ => return Err(malformed(Malformed::Part("header"))),
    };
    let payload = object(payload, "payload")?;
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| malformed(bad_signature(signature)))?;
    if signature.is_empty() && alg != Alg::Unsigned {
        return Err(malformed(Malformed::Near(NearMiss::Cut)));
    }
    if header.get("crit").is_some() {
        return Err(AuthenticationError::CriticalHeader);
    }
    Ok(Jws {
        alg,
        kid: optional_text(&header, "kid")?,
        typ: optional_text(&header, "typ")?,
        payload,
        signing_input,
        signature,
    })
}

/// Characters of base64url that are no whole number of bytes are the beginning of a signature.
fn bad_signature(part: &[u8]) -> Malformed {
    let is_base64url = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match part.iter().all(is_base64url) {
        true => Malformed::Near(NearMiss::CutInSignature),
        false => Malformed::Part("signature"),
    }
}

fn object(part: &[u8], name: &'static str) -> Result<Members, AuthenticationError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .ok()
        .and_then(|json| Json::object(&json))
        .ok_or(AuthenticationError::Malformed(Malformed::Part(name)))
}

fn optional_text(header: &Members, name: &str) -> Result<Option<Box<str>>, AuthenticationError> {
    match header.get(name) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err(AuthenticationError::Malformed(Malformed::Part("header"))),
    }
}

fn wrong_parts(token: &[u8]) -> Malformed {
    match token.iter().filter(|byte| **byte == b'.').count() {
        // The beginning of a JSON object.
        0 if token.starts_with(b"eyJ") => Malformed::Near(NearMiss::Cut),
        0 => Malformed::Near(NearMiss::Opaque),
        1 => Malformed::Near(NearMiss::Cut),
        4 => Malformed::Near(NearMiss::Encrypted),
        _ => Malformed::Parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn fault(token: &str) -> Option<AuthenticationError> {
        parse(token.as_bytes()).err()
    }

    #[test]
    fn forms() {
        let header = encoded(r#"{"alg":"ES256"}"#);
        let body = encoded("{}");
        let malformed = |how| Some(AuthenticationError::Malformed(how));
        for (token, expected) in [
            (format!("{header}.{body}.AA"), None),
            (
                format!("{header}.{body}."),
                malformed(Malformed::Near(NearMiss::Cut)),
            ),
            (
                format!("{header}.{body}"),
                malformed(Malformed::Near(NearMiss::Cut)),
            ),
            (
                "opaque".to_owned(),
                malformed(Malformed::Near(NearMiss::Opaque)),
            ),
            (
                "a.b.c.d.e".to_owned(),
                malformed(Malformed::Near(NearMiss::Encrypted)),
            ),
            ("a.b.c.d".to_owned(), malformed(Malformed::Parts)),
            (format!(".{body}.AA"), malformed(Malformed::Part("header"))),
            (
                format!("{header}..AA"),
                malformed(Malformed::Part("payload")),
            ),
            // Padding, stray bits, the other alphabet, white space.
            (
                format!("{header}.{body}.AA=="),
                malformed(Malformed::Part("signature")),
            ),
            (
                format!("{header}.{body}.AB"),
                malformed(Malformed::Near(NearMiss::CutInSignature)),
            ),
            (
                format!("{header}.{body}.A+/A"),
                malformed(Malformed::Part("signature")),
            ),
            (
                format!("{header}=.{body}.AA"),
                malformed(Malformed::Part("header")),
            ),
            (
                format!("{header}.{body}.AA\n"),
                malformed(Malformed::Part("signature")),
            ),
            (
                format!("{}.{body}.AA", encoded("[]")),
                malformed(Malformed::Part("header")),
            ),
            (
                format!("{}.{body}.AA", encoded("{}")),
                malformed(Malformed::Part("header")),
            ),
            (
                format!("{}.{body}.AA", encoded(r#"{"alg":7}"#)),
                malformed(Malformed::Part("header")),
            ),
            (
                format!("{}.{body}.AA", encoded(r#"{"alg":"ES256","kid":7}"#)),
                malformed(Malformed::Part("header")),
            ),
            (
                format!("{}.{body}.AA", encoded(r#"{"alg":"none","alg":"ES256"}"#)),
                malformed(Malformed::Part("header")),
            ),
            (
                format!("{header}.{}.AA", encoded(r#"{"sub":"a","sub":"b"}"#)),
                malformed(Malformed::Part("payload")),
            ),
        ] {
            assert_eq!(fault(&token), expected, "{token}");
        }
    }

    #[test]
    fn crit_is_never_understood() {
        for crit in [r#"["b64"]"#, "[]", "7", r#"["exp"]"#] {
            let header = encoded(&format!(r#"{{"alg":"ES256","b64":false,"crit":{crit}}}"#));
            let token = format!("{header}.{}.AA", encoded("{}"));
            assert_eq!(
                fault(&token),
                Some(AuthenticationError::CriticalHeader),
                "{crit}"
            );
        }
    }

    #[test]
    fn none_has_a_form_but_no_algorithm() {
        for name in ["none", "None", "NONE", "nOnE"] {
            let token = format!(
                "{}.{}.",
                encoded(&format!(r#"{{"alg":"{name}"}}"#)),
                encoded("{}")
            );
            assert_eq!(parse(token.as_bytes()).expect("a form").alg, Alg::Unsigned);
        }
    }

    /// RFC 7515 appendix A.3: what is signed is what was sent.
    #[test]
    fn the_signing_input_is_borrowed() {
        let token = "eyJhbGciOiJFUzI1NiJ9.e30.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let jws = parse(token.as_bytes()).expect("a form");
        assert_eq!(jws.signing_input, b"eyJhbGciOiJFUzI1NiJ9.e30");
        assert_eq!(jws.signature.len(), 64);
    }

    #[test]
    fn any_token_that_is_taken_apart_has_one_spelling() {
        crate::fuzz::target("token", |bytes| {
            let Ok(jws) = parse(bytes) else {
                return;
            };
            let mut again = jws.signing_input.to_vec();
            again.push(b'.');
            again.extend(URL_SAFE_NO_PAD.encode(&jws.signature).into_bytes());
            assert_eq!(again, bytes);
            for part in jws.signing_input.split(|byte| *byte == b'.') {
                let decoded = URL_SAFE_NO_PAD.decode(part).expect("base64url");
                assert_eq!(URL_SAFE_NO_PAD.encode(&decoded).as_bytes(), part);
                // What another reader of JSON sees has no member twice.
                let value: serde_json::Value = serde_json::from_slice(&decoded).expect("JSON");
                assert!(value.is_object());
            }
        });
    }
}
