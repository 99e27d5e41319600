//! Text that somebody else chose, made safe for a log line, a page or a terminal.

/// Printable ASCII stays; everything else is escaped. What is longer than the bound is cut.
pub(crate) fn shown(text: &str, chars_max: usize) -> String {
    let mut out = String::new();
    for (count, char) in text.chars().enumerate() {
        if count == chars_max {
            out.push_str("...");
            break;
        }
        match char {
            ' '..='~' if char != '\\' => out.push(char),
            _ => out.extend(char.escape_default()),
        }
    }
    out
}

/// Bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// So many bytes in hexadecimal digits.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_senders_text_cannot_break_a_line_or_a_terminal() {
        assert_eq!(shown("it's \"a\"", 64), "it's \"a\"");
        assert_eq!(
            shown("a\\b\n\u{202e}\u{1b}[2J", 64),
            "a\\\\b\\n\\u{202e}\\u{1b}[2J"
        );
        assert_eq!(shown(&"x".repeat(100), 64).len(), 67);
    }
}
