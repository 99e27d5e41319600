//! The `Date` of responses (RFC 9110 section 6.6.1).

use std::cell::RefCell;

use crate::clock::{Clock as _, SystemClock};

/// Bytes of a date.
pub(super) const LENGTH: u8 = 29;

/// Writes the time of the system, which is made to text once a second.
pub(super) fn write(out: &mut Vec<u8>) {
    thread_local! {
        static NOW: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemClock.now();
    NOW.with_borrow_mut(|(second, text)| {
        if *second != now.secs() || text.is_empty() {
            *second = now.secs();
            *text = now.http_date();
        }
        out.extend_from_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_has_its_length() {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(out.len(), usize::from(LENGTH));
    }
}
