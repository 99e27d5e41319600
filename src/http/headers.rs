//! Header lists: which fields end at this hop, and which only we may write.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

/// Fields that describe one connection and not the message (RFC 9110 section 7.6.1), and those
/// that the framing of the next hop writes anew.
pub(crate) fn ends_here(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
    ) || matches!(
        name.as_str(),
        "keep-alive" | "proxy-connection" | "http2-settings"
    )
}

/// Whether a list field has this option, in any case.
pub(crate) fn has_option(headers: &HeaderMap, name: HeaderName, option: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}

/// A number of digits alone, as a length must be (RFC 9110 section 8.6).
pub(crate) fn digits(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    value.to_str().ok()?.parse().ok()
}

/// Whether `Connection` names this field.
pub(crate) fn named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    has_option(headers, header::CONNECTION, name.as_str())
}

/// The media type of a message without its parameters, as it was written; empty where there is none.
pub(crate) fn media_type(headers: &HeaderMap) -> &[u8] {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let kind = value.unwrap_or_default().split(|byte| *byte == b';').next();
    kind.unwrap_or_default().trim_ascii()
}

/// Fields that cannot be taken away by naming them in `Connection`: they are for the upstream.
pub(crate) fn is_end_to_end(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::AUTHORIZATION | header::CONTENT_TYPE | header::COOKIE | header::HOST
    )
}

/// A name with underscores in the spelling that many servers read it as.
pub(crate) fn dashed_twin(name: &HeaderName) -> Option<HeaderName> {
    let name = name.as_str();
    if !name.contains('_') {
        return None;
    }
    HeaderName::from_bytes(name.replace('_', "-").as_bytes()).ok()
}

/// What a client may say of itself only through a trusted proxy: removed, then written by us.
pub(crate) fn is_forwarding_claim(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

/// The names that only Bearward may set, compared with `-` and `_` alike: many servers read both
/// as the same variable (CGI, RFC 3875 section 4.1.18).
#[derive(Debug, Default)]
pub(crate) struct ReservedNames(Vec<Box<[u8]>>);

impl ReservedNames {
    pub(crate) fn insert(&mut self, name: &HeaderName) {
        let name: Box<[u8]> = name.as_str().bytes().map(dashed).collect();
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    pub(crate) fn contains(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        self.0.iter().any(|reserved| {
            reserved.len() == name.len() && reserved.iter().zip(name).all(|(a, b)| *a == dashed(*b))
        })
    }
}

const fn dashed(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte }
}

/// Bytes of a header section as HTTP/1.1 would send it, the measure of `header_bytes`.
pub(crate) fn section_bytes(headers: &HeaderMap) -> usize {
    const SEPARATORS: usize = ": \r\n".len();
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + SEPARATORS)
        .sum()
}

/// Text in a form that any header may carry: visible ASCII and spaces, the rest percent-escaped.
pub(crate) fn encode_value(text: &str) -> HeaderValue {
    let plain = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b'%';
    let trimmed = !text.starts_with(' ') && !text.ends_with(' ');
    if trimmed
        && text.bytes().all(plain)
        && let Ok(value) = HeaderValue::from_str(text)
    {
        return value;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if plain(byte) && byte != b' ' {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    HeaderValue::from_str(&escaped).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_in_every_spelling() {
        let mut reserved = ReservedNames::default();
        reserved.insert(&HeaderName::from_static("x-auth-subject"));
        for name in ["X-Auth-Subject", "x_auth_subject", "X_AUTH-SUBJECT"] {
            let name: HeaderName = name.parse().expect("a name");
            assert!(reserved.contains(&name), "{name}");
        }
        assert!(!reserved.contains(&HeaderName::from_static("x-auth-subjects")));
    }

    #[test]
    fn values_are_made_safe() {
        for (text, value) in [
            ("alice", "alice"),
            ("a b", "a b"),
            ("a\r\nX-Evil: 1", "a%0D%0AX-Evil:%201"),
            ("é", "%C3%A9"),
            ("50%", "50%25"),
            (" a", "%20a"),
        ] {
            assert_eq!(encode_value(text), value, "{text}");
        }
    }

    #[test]
    fn twins() {
        let twin = |name: &str| dashed_twin(&name.parse().expect("a name"));
        assert_eq!(
            twin("x_forwarded-for"),
            Some(HeaderName::from_static("x-forwarded-for"))
        );
        assert_eq!(twin("content_length"), Some(header::CONTENT_LENGTH));
        assert_eq!(twin("x-forwarded-for"), None);
    }

    #[test]
    fn connection_options() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::CONNECTION,
            HeaderValue::from_static("close, X-Drop"),
        );
        assert!(named_by_connection(
            &headers,
            &HeaderName::from_static("x-drop")
        ));
        assert!(!named_by_connection(
            &headers,
            &HeaderName::from_static("x-keep")
        ));
    }
}
