//! Reading a response's head (RFC 9112 section 4) and how its body is delimited (section 6.3).
//!
//! Stricter than a browser: a response that another reader could frame differently is invalid, and
//! its connection is not used again.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};

use crate::forward::{ForwardError, length};
use crate::http::headers::has_option;
use crate::http::http1::Decoder;

/// The largest head of a response.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields of a head.
const FIELDS_MAX: usize = 128;

/// A response's head and how to go on.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) decoder: Decoder,
    /// The upstream keeps the connection open after this response.
    pub(super) keep_alive: bool,
}

/// Reads a head from the front of `incoming`, if all of it is there, and takes it off. Interim
/// responses (1xx) are dropped, but for 101 where an upgrade was asked for.
///
/// # Errors
/// The bytes are no head, or one that cannot be framed safely.
pub(super) fn read(
    incoming: &mut BytesMut,
    method: &Method,
    upgrades: bool,
) -> Result<Option<Head>, ForwardError> {
    loop {
        match read_one(incoming, method)? {
            Some(head) if head.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                if upgrades {
                    return Ok(Some(head));
                }
                return Err(ForwardError::Invalid("it switches protocols unasked"));
            }
            Some(head) if head.response.status().is_informational() => {}
            head => return Ok(head),
        }
    }
}

fn read_one(incoming: &mut BytesMut, method: &Method) -> Result<Option<Head>, ForwardError> {
    if incoming.is_empty() {
        return Ok(None);
    }
    // Left as it is: filling 128 fields costs more than reading the usual ten.
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut parsed, incoming, &mut fields)
    {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if incoming.len() > HEAD_BYTES_MAX => {
            return Err(ForwardError::Invalid("its head is too large"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(ForwardError::Invalid("its head is not HTTP/1.1")),
    };
    let minor = parsed.version;
    let status = parsed
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(ForwardError::Invalid("its status is out of range"))?;
    let mut places = Vec::with_capacity(parsed.headers.len());
    let start = incoming.as_ptr().addr();
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| ForwardError::Invalid("a field name is malformed"))?;
        let at = field.value.as_ptr().addr().wrapping_sub(start);
        places.push((name, at..at.wrapping_add(field.value.len())));
    }
    let head = incoming.split_to(length).freeze();
    let mut headers = HeaderMap::with_capacity(places.len() + 2);
    for (name, place) in places {
        // An empty value may point anywhere.
        let bytes = if place.is_empty() {
            bytes::Bytes::new()
        } else {
            head.slice(place)
        };
        let value = HeaderValue::from_maybe_shared(bytes)
            .map_err(|_| ForwardError::Invalid("a field value is malformed"))?;
        headers.append(name, value);
    }
    let http11 = minor == Some(1);
    let length = length::settle(&mut headers, status)?;
    let decoder = decoder(status, &headers, length, (method, http11))?;
    let keep_alive = http11
        && !has_option(&headers, header::CONNECTION, "close")
        && decoder != Decoder::UntilClose;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(Some(Head {
        response,
        decoder,
        keep_alive,
    }))
}

/// RFC 9112 section 6.3, in its order.
fn decoder(
    status: StatusCode,
    headers: &HeaderMap,
    length: Option<u64>,
    (method, http11): (&Method, bool),
) -> Result<Decoder, ForwardError> {
    let coded = headers.contains_key(header::TRANSFER_ENCODING);
    if coded {
        if length.is_some() {
            return Err(ForwardError::Invalid(
                "it has Transfer-Encoding and Content-Length",
            ));
        }
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let chunked = codings
            .next()
            .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() || !http11 {
            return Err(ForwardError::Invalid(
                "its Transfer-Encoding is not just chunked",
            ));
        }
    }
    if status == StatusCode::NO_CONTENT && (coded || length.is_some_and(|length| length > 0)) {
        // Were the body sent all the same, it would be the next client's response.
        return Err(ForwardError::Invalid(
            "it has no content and announces a body",
        ));
    }
    if *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok(Decoder::Done);
    }
    Ok(match length {
        _ if coded => Decoder::chunked(),
        Some(0) => Decoder::Done,
        Some(length) => Decoder::Length(length),
        None => Decoder::UntilClose,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder_of(text: &str, method: &Method) -> Result<Decoder, ForwardError> {
        let mut bytes = BytesMut::from(text);
        read(&mut bytes, method, false).map(|head| head.expect("whole").decoder)
    }

    #[test]
    fn framing_is_read_in_one_way_only() {
        let get = &Method::GET;
        for (head, method, expected) in [
            ("200 OK\r\ncontent-length: 5", get, Ok(Decoder::Length(5))),
            (
                "200 OK\r\ncontent-length: 5\r\ncontent-length: 5",
                get,
                Ok(Decoder::Length(5)),
            ),
            ("200 OK\r\ncontent-length: 0", get, Ok(Decoder::Done)),
            (
                "200 OK\r\ntransfer-encoding: Chunked",
                get,
                Ok(Decoder::chunked()),
            ),
            ("200 OK", get, Ok(Decoder::UntilClose)),
            (
                "304 Not Modified\r\ncontent-length: 5",
                get,
                Ok(Decoder::Done),
            ),
            (
                "200 OK\r\ncontent-length: 5",
                &Method::HEAD,
                Ok(Decoder::Done),
            ),
        ] {
            let text = format!("HTTP/1.1 {head}\r\n\r\n");
            assert_eq!(decoder_of(&text, method), expected, "{head}");
        }
        for head in [
            "200 OK\r\ncontent-length: 5\r\ncontent-length: 6",
            "200 OK\r\ncontent-length: 5, 5",
            "200 OK\r\ncontent-length: +5",
            "200 OK\r\ncontent-length: -1",
            "200 OK\r\ncontent-length: 99999999999999999999",
            "200 OK\r\ncontent-length:",
            "200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5",
            "200 OK\r\ntransfer-encoding: gzip, chunked",
            "200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "200 OK\r\ntransfer-encoding: identity",
            "101 Switching Protocols",
            "204 No Content\r\ncontent-length: 5",
            "204 No Content\r\ntransfer-encoding: chunked",
            "200 OK\r\nbad name: x",
            "200 OK\r\n folded: x",
        ] {
            let text = format!("HTTP/1.1 {head}\r\n\r\n");
            let error = decoder_of(&text, get);
            assert!(
                matches!(error, Err(ForwardError::Invalid(_))),
                "{head}: {error:?}"
            );
        }
        assert!(decoder_of("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", get).is_err());
    }

    #[test]
    fn interim_responses_are_dropped() {
        let mut bytes = BytesMut::from(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
        );
        let head = read(&mut bytes, &Method::GET, false)
            .expect("valid")
            .expect("whole");
        assert_eq!(head.response.status(), StatusCode::OK);
        assert!(!head.response.headers().contains_key("link"));
        assert_eq!(&bytes[..], b"x");
    }

    #[test]
    fn connections_that_end() {
        for (text, keep) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, Close\r\n\r\n",
                false,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", false),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n",
                false,
            ),
        ] {
            let mut bytes = BytesMut::from(text);
            let head = read(&mut bytes, &Method::GET, false)
                .expect("valid")
                .expect("whole");
            assert_eq!(head.keep_alive, keep, "{text}");
        }
    }

    #[test]
    fn an_endless_head_is_cut() {
        let mut bytes = BytesMut::from("HTTP/1.1 200 OK\r\n");
        while bytes.len() <= HEAD_BYTES_MAX {
            bytes.extend_from_slice(b"a: b\r\n");
        }
        assert!(read(&mut bytes, &Method::GET, false).is_err());
    }

    #[test]
    fn any_response_is_read_alike_however_it_comes() {
        /// What a response comes to, or that it is none.
        fn outcome(bytes: &[u8], piece: usize) -> Result<(u16, Vec<u8>, bool, usize), ()> {
            let mut incoming = BytesMut::new();
            let mut seen: Option<Head> = None;
            let mut body = Vec::new();
            for bytes in bytes.chunks(piece.max(1)) {
                incoming.extend_from_slice(bytes);
                if seen.is_none() {
                    seen = read(&mut incoming, &Method::GET, false).map_err(drop)?;
                }
                if let Some(head) = &mut seen {
                    while let Some(frame) = head.decoder.next(&mut incoming).map_err(drop)? {
                        body.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
                    }
                }
            }
            let head = seen.ok_or(())?;
            let done = head.decoder == Decoder::Done;
            Ok((head.response.status().as_u16(), body, done, incoming.len()))
        }
        crate::fuzz::target("response", |bytes| {
            let whole = outcome(bytes, bytes.len());
            for piece in [1, 2, 7] {
                let pieces = outcome(bytes, piece);
                // What is no response may be noticed later, but never be taken for one.
                assert_eq!(whole, pieces, "{piece}");
            }
        });
    }
}
