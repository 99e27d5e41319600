//! Path patterns of routes.
//!
//! A pattern is literal, or literal with a last segment `{*NAME}` that stands for any rest,
//! also none. Whole segments, case-sensitive, byte for byte: nothing is decoded, so what matches
//! here is what the upstream is sent. A pattern has no escapes: each has several spellings, and a
//! request in another one would pass by to a laxer route.

use std::fmt;
use std::str::FromStr;

/// Requests for what lies below are answered by Bearward itself, whatever the routes say: an endpoint
/// that is switched off must not fall through to an upstream.
pub(crate) const OWN_PATHS: &str = "/.well-known/bearward/";

/// Why a text is no pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("a path starts with `/`")]
    NoSlash,
    #[error("a path has no empty segment, dot segment, `?`, `#`, `%`, backslash, space or control")]
    Segment,
    #[error("only a last segment `{{*rest}}` can stand for other segments")]
    Braces,
    #[error("what lies below {OWN_PATHS} is Bearward's own")]
    Own,
}

/// A literal path, with or without any rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PathPattern {
    /// For `/orders/{*rest}` it is `/orders`; for `/{*rest}` the empty string.
    pub(crate) literal: Box<str>,
    pub(crate) any_rest: bool,
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let path = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        let (literal, any_rest) = match text.rsplit_once('/') {
            Some((head, last)) if last.starts_with("{*") && last.ends_with('}') => (head, true),
            _ => (text, false),
        };
        if literal.contains(['{', '}', '*']) {
            return Err(PatternError::Braces);
        }
        let segments = literal.strip_prefix('/').unwrap_or(literal).split('/');
        let last = segments.clone().count();
        for (index, segment) in segments.enumerate() {
            let bad = match segment {
                // `/orders/` is a literal path of its own; `/` is the root.
                "" => !(any_rest && path.starts_with('{')) && index + 1 != last,
                "." | ".." => true,
                _ => segment
                    .bytes()
                    .any(|b| b <= b' ' || b >= 0x7f || matches!(b, b'?' | b'#' | b'\\' | b'%')),
            };
            if bad || (segment.is_empty() && any_rest && !literal.is_empty()) {
                return Err(PatternError::Segment);
            }
        }
        if format!("{literal}/").starts_with(OWN_PATHS) {
            return Err(PatternError::Own);
        }
        Ok(Self {
            literal: literal.into(),
            any_rest,
        })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.literal)?;
        if self.any_rest {
            f.write_str("/{*rest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (text, expected) in [
            ("/orders/{*rest}", Ok(("/orders", true))),
            ("/{*rest}", Ok(("", true))),
            ("/orders", Ok(("/orders", false))),
            ("/orders/", Ok(("/orders/", false))),
            ("/", Ok(("/", false))),
            ("orders", Err(PatternError::NoSlash)),
            ("", Err(PatternError::NoSlash)),
            ("//x", Err(PatternError::Segment)),
            ("/a//{*rest}", Err(PatternError::Segment)),
            ("/a/../b", Err(PatternError::Segment)),
            ("/a?b", Err(PatternError::Segment)),
            ("/caf%C3%A9", Err(PatternError::Segment)),
            ("/orders/{id}", Err(PatternError::Braces)),
            ("/{*rest}/x", Err(PatternError::Braces)),
            ("/a{*rest}", Err(PatternError::Braces)),
            ("/*", Err(PatternError::Braces)),
            ("/orders/**", Err(PatternError::Braces)),
        ] {
            let parsed = text.parse::<PathPattern>();
            let parsed = parsed.map(|pattern| (pattern.literal.to_string(), pattern.any_rest));
            assert_eq!(parsed, expected.map(|(l, r)| (l.to_owned(), r)), "{text}");
        }
    }
}
