//! What of a request is refused before anything else is looked at: its sizes and its framing.

use http::header::TRANSFER_ENCODING;
use http::request::Parts;

use super::Front;
use crate::http::body::RequestBody;
use crate::http::headers::section_bytes;
use crate::reject::Rejection;

/// # Errors
/// A part is larger than the listener allows.
pub(super) fn check_sizes(
    parts: &Parts,
    body: &RequestBody,
    front: &Front,
) -> Result<(), Rejection> {
    let target = parts
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > front.limits.target_bytes {
        return Err(Rejection::TargetTooLong);
    }
    if section_bytes(&parts.headers) > front.limits.header_bytes {
        return Err(Rejection::HeadersTooLarge);
    }
    let announced = http_body::Body::size_hint(body).lower();
    if front.limits.body_bytes.is_some_and(|max| announced > max) {
        return Err(Rejection::BodyTooLarge);
    }
    Ok(())
}

/// The chunks are taken off at this hop, whatever was coded before: the other codings would be lost on the way.
///
/// # Errors
/// There is another than `chunked`.
pub(super) fn check_transfer_coding(parts: &Parts) -> Result<(), Rejection> {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None)
            if coding
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(())
        }
        _ => Err(Rejection::TransferCoding),
    }
}
