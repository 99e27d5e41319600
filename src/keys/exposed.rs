//! Private keys that lie in a document, however broken it is otherwise.
//!
//! Here the reading is as generous as an attacker's: twice the same member, a wrong case, padding, a
//! key at any depth. Whoever read the document can sign with such a key, so that it must not be
//! trusted again; the strict reader of [`super::jwks`] would never see it.

use std::fmt;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::numbers::{self, Numbers};
use super::verification_key::Thumbprint;

/// The members of a JWK that only its owner may know (RFC 7518 sections 6.2.2 and 6.3.2).
pub(super) const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];
/// Padding may be there, and bits that mean nothing.
const GENEROUS: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What lies open in a document.
#[derive(Debug, Default)]
pub(crate) struct Exposed {
    pub(crate) keys: Vec<Thumbprint>,
    /// Their names, for those whose public part is not beside the private one.
    pub(crate) kids: Vec<Box<str>>,
}

/// Looks for private keys in a document.
pub(crate) fn exposed(document: &[u8]) -> Exposed {
    let mut found = Exposed::default();
    if let Ok(text) = std::str::from_utf8(document)
        && let Ok(loose) = serde_json::from_str::<Loose>(text)
    {
        loose.search(&mut found);
    }
    found
}

/// JSON with every member that is written, equal ones too.
enum Loose {
    Text(String),
    List(Vec<Loose>),
    Object(Vec<(String, Loose)>),
    Other,
}

impl Loose {
    fn search(&self, found: &mut Exposed) {
        match self {
            Self::Text(_) | Self::Other => {}
            Self::List(items) => items.iter().for_each(|item| item.search(found)),
            Self::Object(members) => {
                key(members, found);
                members.iter().for_each(|(_, value)| value.search(found));
            }
        }
    }
}

fn key(members: &[(String, Loose)], found: &mut Exposed) {
    let texts = |wanted: &'static str| {
        members.iter().filter_map(move |(name, value)| match value {
            Loose::Text(text) if name == wanted => Some(text.as_str()),
            _ => None,
        })
    };
    let is_private = members
        .iter()
        .any(|(name, _)| PRIVATE.contains(&name.as_str()));
    // A shared secret is no private part of the key whose name it may bear.
    if !is_private || texts("kty").any(|kty| kty.eq_ignore_ascii_case("oct")) {
        return;
    }
    found.kids.extend(texts("kid").map(Into::into));
    let decoded = |name| {
        let plain = texts(name).map(|text| text.replace('+', "-").replace('/', "_"));
        plain.filter_map(|text| GENEROUS.decode(text).ok())
    };
    let mut take = |numbers: Result<Numbers, &str>| {
        let print = numbers.map(|numbers| Thumbprint::of(&numbers.bytes));
        found.keys.extend(print);
    };
    for n in decoded("n") {
        decoded("e").for_each(|e| take(numbers::rsa_of(&n, &e)));
    }
    let ys: Vec<_> = decoded("y").collect();
    for x in decoded("x") {
        if ys.is_empty() {
            take(numbers::okp_of(&x));
        }
        ys.iter().for_each(|y| take(numbers::ec_of(&x, y)));
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Loose::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Loose, A::Error> {
        let mut object = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            object.push((name, members.next_value()?));
        }
        Ok(Loose::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public numbers of RFC 7515 appendix A.3, and of RFC 8037 appendix A.2.
    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    #[test]
    fn private_keys_are_found_wherever_and_however_they_lie() {
        let public = |document: &str| exposed(document.as_bytes()).keys;
        let known = public(&format!(
            r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}","d":"AA"}}"#
        ));
        assert!(!known.is_empty());
        for document in [
            // In a set, deeper, after many others.
            format!(
                r#"{{"keys":[{}{{"x":"{X}","y":"{Y}","d":"AA"}}]}}"#,
                "{},".repeat(200)
            ),
            format!(r#"{{"a":[{{"b":{{"x":"{X}","y":"{Y}","d":"AA"}}}}]}}"#),
            // Two `keys`, two `d`, the wrong case, no kind at all.
            format!(r#"{{"keys":[{{"x":"{X}","y":"{Y}","d":"AA"}}],"keys":[]}}"#),
            format!(r#"{{"kty":"ec","x":"{X}","y":"{Y}","d":"AA","d":7}}"#),
            format!(r#"{{"x":"{X}=","y":"{Y}=","d":null}}"#),
        ] {
            assert!(
                public(&document).contains(&known[known.len() - 1]),
                "{document}"
            );
        }
        // Without its public part the name leads to it.
        let named = exposed(br#"{"keys":[{"kty":"EC","kid":"a","d":"AA"}]}"#);
        assert_eq!(named.kids, ["a".into()]);
        for document in [
            format!(r#"{{"x":"{X}","y":"{Y}"}}"#),
            r#"{"kty":"OCT","kid":"a","k":"AA","d":"AA"}"#.to_owned(),
            "garbage".to_owned(),
        ] {
            let found = exposed(document.as_bytes());
            assert!(found.keys.is_empty() && found.kids.is_empty(), "{document}");
        }
    }
}
