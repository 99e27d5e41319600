//! Private keys that lie in a document, however broken it is otherwise.
//!
//! Here the reading is as generous as an attacker's: a document that was cut off or is no JSON at
//! all, twice the same member, a wrong case, padding, a key at any depth. Whoever read the document
//! can sign with such a key, so that it must not be trusted again; the strict reader of
//! [`super::jwks`] would never see it. One pass over the bytes, without recursion.

use std::collections::HashSet;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::numbers::{self, Numbers};
use super::verification_key::Thumbprint;

/// The members of a JWK that only its owner may know (RFC 7518 sections 6.2.2 and 6.3.2).
pub(super) const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];
/// Values of one member of one object that are looked at, where it is written more than once.
const VALUES_MAX: usize = 4;
/// Bits that mean nothing may be there; padding is taken off before.
const GENEROUS: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// What lies open in a document.
#[derive(Debug, Default)]
pub(crate) struct Exposed {
    pub(crate) keys: HashSet<Thumbprint>,
    /// The names of private keys whose public part is not beside them.
    pub(crate) kids: HashSet<Box<str>>,
}

/// One object, as far as it is read.
#[derive(Debug, Default)]
struct Object {
    /// The member whose value comes next.
    name: Option<String>,
    private: bool,
    members: Vec<(&'static str, String)>,
}

/// The members that say which key it is.
const TELLING: [&str; 6] = ["kty", "kid", "n", "e", "x", "y"];

/// Looks for private keys in a document.
pub(crate) fn exposed(document: &[u8]) -> Exposed {
    let mut found = Exposed::default();
    // `None` stands for a list: its strings are no members.
    let mut open: Vec<Option<Object>> = Vec::new();
    let mut rest = document;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'{' => open.push(Some(Object::default())),
            b'[' => open.push(None),
            b'}' | b']' => {
                if let Some(Some(object)) = open.pop() {
                    object.close(&mut found);
                }
            }
            b',' => {
                if let Some(Some(object)) = open.last_mut() {
                    object.name = None;
                }
            }
            b'"' => {
                let end = string_end(rest);
                let text = unescaped(rest.get(..end).unwrap_or(rest));
                rest = rest.get(end + 1..).unwrap_or_default();
                if let Some(Some(object)) = open.last_mut() {
                    object.take(text);
                }
            }
            _ => {}
        }
    }
    // A document that was cut off.
    for object in open.into_iter().flatten() {
        object.close(&mut found);
    }
    found
}

/// Where a string ends; `bytes` begins behind its first quote.
fn string_end(bytes: &[u8]) -> usize {
    let mut escaped = false;
    let end = bytes.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.unwrap_or(bytes.len())
}

fn unescaped(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains('\\') {
        return text.into_owned();
    }
    serde_json::from_str(&format!("\"{text}\"")).unwrap_or_else(|_| text.into_owned())
}

impl Object {
    /// A string: the name of a member, or the value of the last one.
    fn take(&mut self, text: String) {
        let Some(name) = self.name.take() else {
            self.name = Some(text);
            return;
        };
        let is = |known: &&&str| known.eq_ignore_ascii_case(&name);
        self.private |= PRIVATE.iter().any(|known| is(&known)) && !text.is_empty();
        if let Some(known) = TELLING.iter().find(is)
            && self.values(known).count() < VALUES_MAX
        {
            self.members.push((known, text));
        }
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let own = self.members.iter().filter(move |(own, _)| *own == name);
        own.map(|(_, text)| text.as_str())
    }

    fn decoded(&self, name: &str) -> Vec<Vec<u8>> {
        let plain = self.values(name).map(|text| {
            let text = text.replace('+', "-").replace('/', "_");
            let plain = |c: &char| !c.is_whitespace() && *c != '=';
            text.chars().filter(plain).collect::<String>()
        });
        plain
            .filter_map(|text| GENEROUS.decode(text).ok())
            .collect()
    }

    fn close(self, found: &mut Exposed) {
        // A shared secret is no private part of the key whose name it may bear.
        let secret = |kty: &str| kty.eq_ignore_ascii_case("oct");
        let (mut kinds, is_key) = (self.values("kty").peekable(), !self.members.is_empty());
        if !self.private || !is_key || kinds.peek().is_some() && kinds.all(secret) {
            return;
        }
        let [n, e, x, y] = ["n", "e", "x", "y"].map(|name| self.decoded(name));
        let rsa = n
            .iter()
            .flat_map(|n| e.iter().map(|e| numbers::rsa_of(n, e)));
        let ec = x
            .iter()
            .flat_map(|x| y.iter().map(|y| numbers::ec_of(x, y)));
        let okp = x
            .iter()
            .filter(|_| y.is_empty())
            .map(|x| numbers::okp_of(x));
        let print = |numbers: Result<Numbers, _>| Some(Thumbprint::of(&numbers.ok()?.bytes));
        let prints: Vec<_> = rsa.chain(ec).chain(okp).filter_map(print).collect();
        // Where the public part is not there, or cannot be read, the name has to do.
        if prints.is_empty() && self.values("kty").next().is_some() {
            found.kids.extend(self.values("kid").map(Into::into));
        }
        found.keys.extend(prints);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public numbers of RFC 7515 appendix A.3.
    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    #[test]
    fn private_keys_are_found_wherever_and_however_they_lie() {
        let key = format!(r#""x":"{X}","y":"{Y}","d":"AA""#);
        let set = format!(r#"{{"keys":[{{"kty":"EC",{key}}}]}}"#);
        let known = exposed(set.as_bytes()).keys;
        assert_eq!(known.len(), 1);
        for document in [
            // In a set, deeper, after many others, in a document that is none.
            format!(r#"{{"keys":[{}{{{key}}}]}}"#, "{},".repeat(2000)),
            format!(r#"{{"a":[{{"b":{{{key}}}}}]}}"#),
            format!("{}{{{key}}}", "[".repeat(100_000)),
            format!("garbage {{{key}}} garbage"),
            format!("\u{feff}{set}"),
            set[..set.len() - 3].to_owned(),
            format!(r#"{{"z":1e999,"w":"\ud800",{key}}}"#),
            // Two `keys`, two `d`, the wrong case, no kind at all, an escaped name.
            format!(r#"{{"keys":[{{{key}}}],"keys":[]}}"#),
            format!(r#"{{"kty":"ec",{key},"d":7}}"#),
            format!(r#"{{"kty":"EC","kty":"oct",{key}}}"#),
            format!(r#"{{"x":"{X}=","y":"{Y}==","D":"AA"}}"#),
            format!(r#"{{"x":"{X}\n","y":" {Y}","\u0064":"AA"}}"#),
        ] {
            let found = exposed(document.as_bytes()).keys;
            assert_eq!(found, known, "{document:.80}");
        }
        let mut latin = set.into_bytes();
        latin.extend_from_slice(b" \xff");
        assert_eq!(exposed(&latin).keys, known);
    }

    #[test]
    fn a_name_counts_only_where_the_public_part_is_not_there() {
        let named = |document: &str| exposed(document.as_bytes()).kids;
        let found = named(r#"{"keys":[{"kty":"EC","kid":"a","d":"AA"}]}"#);
        assert_eq!(found, ["a".into()].into());
        for document in [
            format!(r#"{{"kty":"EC","kid":"a","x":"{X}","y":"{Y}","d":"AA"}}"#),
            format!(r#"{{"kty":"EC","kid":"a","x":"{X}","y":"{Y}"}}"#),
            r#"{"kid":"a","p":1}"#.to_owned(),
            r#"{"kid":"a","d":"AA"}"#.to_owned(),
            r#"{"kty":"oct","kid":"a","k":"AA","d":"AA"}"#.to_owned(),
            r#"["kid","a","d","AA"]"#.to_owned(),
        ] {
            assert!(named(&document).is_empty(), "{document}");
        }
    }

    #[test]
    fn many_members_do_not_multiply() {
        let pairs = format!(r#""x":"{X}","y":"{Y}","#).repeat(3000);
        let found = exposed(format!(r#"{{{pairs}"d":"AA"}}"#).as_bytes());
        assert_eq!(found.keys.len(), 1);
    }
}
