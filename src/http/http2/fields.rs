//! The fields of header blocks, and the table of those that every peer knows (RFC 7541 appendix A).

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// A pseudo-header field of a request (RFC 9113 section 8.3.1, RFC 8441 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pseudo {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
}

/// The name of a field. One that is none makes its message malformed, and has its place in the table all the
/// same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Pseudo(Pseudo),
    Ordinary(HeaderName),
    Malformed,
}

impl Name {
    fn read(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Pseudo(Pseudo::Method),
            b":scheme" => Self::Pseudo(Pseudo::Scheme),
            b":authority" => Self::Pseudo(Pseudo::Authority),
            b":path" => Self::Pseudo(Pseudo::Path),
            b":protocol" => Self::Pseudo(Pseudo::Protocol),
            // Upper case is malformed (RFC 9113 section 8.2.1).
            name => HeaderName::from_lowercase(name).map_or(Self::Malformed, Self::Ordinary),
        }
    }
}

/// The value of a field, as its name needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Pseudo(Bytes),
    Ordinary(HeaderValue),
    Malformed,
}

impl Value {
    /// That of a field with this name.
    pub(super) fn read(name: &Name, value: Bytes) -> Self {
        match name {
            Name::Pseudo(_) => Self::Pseudo(value),
            Name::Ordinary(_) => {
                let value = HeaderValue::from_maybe_shared(trimmed(value));
                value.map_or(Self::Malformed, Self::Ordinary)
            }
            Name::Malformed => Self::Malformed,
        }
    }
}

/// A value without the white space at its ends, which it must not have (RFC 9113 section 8.2.1): HTTP/1.1, and so
/// the next hop, reads it without. It is not refused: `Bearer ` without a token behind it is a mistake that is to
/// get an answer which says so.
fn trimmed(value: Bytes) -> Bytes {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let begin = value.iter().position(is_text).unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(is_text)
        .map_or(begin, |last| last + 1);
    if end - begin == value.len() {
        return value;
    }
    value.slice(begin..end)
}

/// A field of a header block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Name,
    pub(super) value: Value,
    /// As a table and a list count it: name, value and 32 bytes (RFC 7541 section 4.1).
    pub(super) bytes: usize,
    /// Of the name alone.
    pub(super) name_bytes: usize,
}

/// What a field costs beyond its text.
const FIELD_BYTES: usize = 32;

impl Field {
    pub(super) fn new(name: (Name, usize), value: Value, value_bytes: usize) -> Self {
        let (name, name_bytes) = name;
        Self {
            name,
            value,
            bytes: name_bytes + value_bytes + FIELD_BYTES,
            name_bytes,
        }
    }

    /// A name with its length.
    pub(super) fn name(text: &[u8]) -> (Name, usize) {
        (Name::read(text), text.len())
    }
}

/// The fields that have an index from the first on.
pub(super) static STATIC: LazyLock<[Field; 61]> = LazyLock::new(|| {
    TEXTS.map(|(name, value)| {
        let (name, length) = Field::name(name.as_bytes());
        let text = Value::read(&name, Bytes::from_static(value.as_bytes()));
        Field::new((name, length), text, value.len())
    })
});

const TEXTS: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    // Of responses: malformed in a request.
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The index of a name in the static table, for those that responses have often; 0: it is written out.
pub(super) fn index(name: &HeaderName) -> u8 {
    use http::header;
    match *name {
        header::ACCEPT_RANGES => 18,
        header::ACCESS_CONTROL_ALLOW_ORIGIN => 20,
        header::AGE => 21,
        header::ALLOW => 22,
        header::CACHE_CONTROL => 24,
        header::CONTENT_DISPOSITION => 25,
        header::CONTENT_ENCODING => 26,
        header::CONTENT_LANGUAGE => 27,
        header::CONTENT_LENGTH => 28,
        header::CONTENT_LOCATION => 29,
        header::CONTENT_RANGE => 30,
        header::CONTENT_TYPE => 31,
        header::DATE => 33,
        header::ETAG => 34,
        header::EXPIRES => 36,
        header::LAST_MODIFIED => 44,
        header::LINK => 45,
        header::LOCATION => 46,
        header::RETRY_AFTER => 53,
        header::SERVER => 54,
        header::SET_COOKIE => 55,
        header::STRICT_TRANSPORT_SECURITY => 56,
        header::VARY => 59,
        header::VIA => 60,
        header::WWW_AUTHENTICATE => 61,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_that_of_its_name() {
        let mut known = 0;
        for (at, (name, _)) in TEXTS.iter().enumerate() {
            let Ok(name) = HeaderName::from_lowercase(name.as_bytes()) else {
                continue;
            };
            let index = usize::from(index(&name));
            if index > 0 {
                assert_eq!(index, at + 1, "{name}");
                known += 1;
            }
        }
        assert_eq!(known, 25);
    }

    #[test]
    fn a_value_has_no_white_space_at_its_ends() {
        let (name, _) = Field::name(b"x");
        for (text, due) in [
            ("a b", Some("a b")),
            (" \ta b\t ", Some("a b")),
            (" ", Some("")),
            ("", Some("")),
            ("a\r", None),
            ("\na", None),
        ] {
            let value = Value::read(&name, Bytes::from_static(text.as_bytes()));
            let due = due.map_or(Value::Malformed, |due| {
                Value::Ordinary(HeaderValue::from_static(due))
            });
            assert_eq!(value, due, "{text:?}");
        }
    }
}
