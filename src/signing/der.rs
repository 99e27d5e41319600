//! As much of DER as it takes to look into keys that were just made.

/// The first element: its tag, its content, and what follows it.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        let length = digits
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// The elements of a SEQUENCE.
pub(super) fn sequence(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let (0x30, mut content, _) = element(bytes)? else {
        return None;
    };
    let mut elements = Vec::new();
    while !content.is_empty() {
        let (_, inner, rest) = element(content)?;
        elements.push(inner);
        content = rest;
    }
    Some(elements)
}
