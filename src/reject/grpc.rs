//! Refusals of gRPC calls: trailers-only answers, since a gRPC client does not read a body that is
//! not gRPC ("gRPC over HTTP2", Responses).

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};

use super::Setting;
use super::words::Words;
use crate::http::Body;
use crate::policy::Disclosure;
use crate::verdict::Reason;

/// The longest subtype that is echoed: `-web-text+proto`.
const SUBTYPE_BYTES_MAX: usize = 24;

/// The content type to answer with, if the request is a gRPC or gRPC-Web call: the request's own.
pub(super) fn content_type(headers: &HeaderMap) -> Option<HeaderValue> {
    const PREFIX: &[u8] = b"application/grpc";
    let value = headers.get(CONTENT_TYPE)?;
    let bytes = value.as_bytes();
    if !bytes.get(..PREFIX.len())?.eq_ignore_ascii_case(PREFIX) {
        return None;
    }
    // A plain subtype is echoed; anything else is the sender's text and not repeated.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let rest = bytes.get(PREFIX.len()..)?;
    Some(
        if rest.len() <= SUBTYPE_BYTES_MAX && rest.iter().all(plain) {
            value.clone()
        } else {
            HeaderValue::from_static("application/grpc")
        },
    )
}

/// The answer: 200, and the meant status as a gRPC one.
pub(super) fn respond(
    reason: Reason,
    words: &Words<'_>,
    setting: &Setting<'_>,
    content_type: HeaderValue,
) -> Response<Body> {
    let message = match setting.disclosure() {
        Disclosure::Full => format!("{}: {}", reason.code(), words.detail),
        Disclosure::Reason => reason.code().to_owned(),
        Disclosure::Minimal => reason
            .status()
            .canonical_reason()
            .unwrap_or_default()
            .to_owned(),
    };
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert("grpc-status", status(reason).into());
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(&message)) {
        headers.insert("grpc-message", message);
    }
    response
}

/// The trailers of a call that ends in the middle.
pub(crate) fn trailers(reason: Reason) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status(reason).into());
    trailers.insert("grpc-message", HeaderValue::from_static(reason.code()));
    trailers
}

/// The gRPC status for an HTTP one.
fn status(reason: Reason) -> u16 {
    match reason.status().as_u16() {
        401 => 16,
        403 => 7,
        404 | 405 => 12,
        413 | 414 | 431 => 8,
        421 | 429 | 502 | 503 | 504 => 14,
        _ => 13,
    }
}

/// Percent-encoding of `grpc-message`: all but `%x20-24 / %x26-7E`.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            if (b' '..=b'~').contains(&byte) && byte != b'%' {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
            out
        })
}
