//! Scopes (RFC 6749 section 3.3): compared whole and case-sensitive.
//!
//! A token carries them as one string with spaces (RFC 9068) or, at some providers, as an array
//! of strings. Both are read in place: a hot token pays for a scan of a short string, and its
//! cache entry holds nothing twice.

use super::Json;

/// The scopes of a token, borrowed from its claims.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scopes<'a> {
    /// The token carries no scope claim.
    Absent,
    /// One string, split at spaces.
    Text(&'a str),
    /// An array of strings, each whole.
    Array(&'a [Json]),
}

impl<'a> Scopes<'a> {
    /// Reads a scope claim. `None` if it is neither a string nor an array of strings.
    pub(crate) fn from_claim(claim: &'a Json) -> Option<Self> {
        match claim {
            Json::Text(text) => Some(Self::Text(text)),
            Json::Array(items) if items.iter().all(|item| item.as_text().is_some()) => {
                Some(Self::Array(items))
            }
            _ => None,
        }
    }

    pub(crate) fn contains(self, scope: &str) -> bool {
        self.iter().any(|have| have == scope)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'a str> {
        let (text, items) = match self {
            Self::Absent => ("", [].as_slice()),
            Self::Text(text) => (text, [].as_slice()),
            Self::Array(items) => ("", items),
        };
        text.split(' ')
            .filter(|part| !part.is_empty())
            .chain(items.iter().filter_map(Json::as_text))
    }
}

/// Whether `text` is a scope token of RFC 6749: `1*( %x21 / %x23-5B / %x5D-7E )`. It is also safe
/// in a quoted string of a challenge.
pub(crate) fn is_scope_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_claim() {
        for (claim, scopes) in [
            (r#"{"s":"a b"}"#, Some(vec!["a", "b"])),
            (r#"{"s":" a  b "}"#, Some(vec!["a", "b"])),
            (r#"{"s":""}"#, Some(vec![])),
            (r#"{"s":["a","b c"]}"#, Some(vec!["a", "b c"])),
            (r#"{"s":[1]}"#, None),
            (r#"{"s":7}"#, None),
        ] {
            let claims = Json::object(claim.as_bytes()).expect("an object");
            let read = claims.get("s").and_then(Scopes::from_claim);
            let read: Option<Vec<_>> = read.map(|scopes| scopes.iter().collect());
            assert_eq!(read, scopes, "{claim}");
        }
    }

    #[test]
    fn comparison_is_whole_and_case_sensitive() {
        let scopes = Scopes::Text("orders:read");
        assert!(scopes.contains("orders:read"));
        for other in ["orders", "orders:reads", "Orders:read", "orders:read ", ""] {
            assert!(!scopes.contains(other), "{other}");
        }
    }

    #[test]
    fn scope_tokens() {
        for (text, good) in [
            ("a:b", true),
            ("", false),
            ("a b", false),
            ("a\"", false),
            ("a\\", false),
            ("é", false),
        ] {
            assert_eq!(is_scope_token(text), good, "{text}");
        }
    }
}
