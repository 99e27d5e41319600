//! Names and values as forms and queries carry them (`application/x-www-form-urlencoded`).

/// The fields of a form in their order; `None` if one is badly escaped or no UTF-8.
pub(crate) fn fields(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescaped(name, true)?, unescaped(value, true)?))
        })
        .collect()
}

/// Text without its percent escapes (RFC 3986 section 2.1); in a form a plus is a space.
pub(crate) fn unescaped(text: &str, is_form: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'+' if is_form => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Bytes as a form or a query carries them; what is not surely plain is escaped.
pub(crate) fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._".contains(byte) {
            out.push(*byte);
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        let mut out = Vec::new();
        escape("a-._9~+/= &:é".as_bytes(), &mut out);
        assert_eq!(out, b"a-._9%7E%2B%2F%3D%20%26%3A%C3%A9");
    }

    #[test]
    fn forms() {
        for (text, expected) in [
            ("", Some(vec![])),
            ("a=b+c&d=%2B%25", Some(vec![("a", "b c"), ("d", "+%")])),
            ("a&b=", Some(vec![("a", ""), ("b", "")])),
            ("a=b=c&&", Some(vec![("a", "b=c")])),
            ("a=%", None),
            ("a=%2", None),
            ("a=%+1", None),
            ("a=%ff", None),
        ] {
            let expected = expected.map(|fields| {
                let owned = fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()));
                owned.collect::<Vec<_>>()
            });
            assert_eq!(fields(text), expected, "{text}");
        }
        assert_eq!(unescaped("a+b%2f", false).as_deref(), Some("a+b/"));
    }
}
