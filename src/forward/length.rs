//! The length that an upstream announces, whichever protocol it speaks.

use http::{HeaderMap, StatusCode, header};

use super::ForwardError;
use crate::http::headers::digits;

/// Leaves one `Content-Length` at most, and none where there is no content (RFC 9110 section 8.6); gives what it
/// said.
///
/// # Errors
/// It is not one number.
pub(super) fn settle(
    headers: &mut HeaderMap,
    status: StatusCode,
) -> Result<Option<u64>, ForwardError> {
    let length = announced(headers)?;
    if status == StatusCode::NO_CONTENT && length == Some(0) {
        headers.remove(header::CONTENT_LENGTH);
    }
    let mut all = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(first) = all.next().filter(|_| all.next().is_some()).cloned() {
        headers.insert(header::CONTENT_LENGTH, first);
    }
    Ok(length)
}

/// One length, or the same several times.
fn announced(headers: &HeaderMap) -> Result<Option<u64>, ForwardError> {
    let invalid = ForwardError::Invalid("its Content-Length is not one number");
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let number = digits(value).ok_or(invalid)?;
        if length.is_some_and(|before| before != number) {
            return Err(invalid);
        }
        length = Some(number);
    }
    Ok(length)
}
