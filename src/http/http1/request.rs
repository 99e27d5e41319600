//! Reading a request's head (RFC 9112 sections 3 and 5) and how its body is delimited (section 6.3).

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Uri, Version};

use super::framing::Decoder;
use crate::http::expect;
use crate::http::garbled::Garbled;
use crate::http::headers::{digits, has_option};
use crate::http::serve::{FIELDS_MAX, MessageLimits, Unreadable};

/// A request's head and how to go on.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) decoder: Decoder,
    /// The client goes on with this connection after the response.
    pub(super) keep_alive: bool,
    /// It waits for a word before it sends its body (RFC 9110 section 10.1.1).
    pub(super) expects_continue: bool,
}

/// The most that is read of a head. Up to there a refusal is the gateway's, with its reason.
pub(super) const fn head_max(limits: MessageLimits) -> usize {
    const LEAST: usize = 8 * 1024;
    let max = 2 * limits.header_bytes + limits.target_bytes;
    if max > LEAST { max } else { LEAST }
}

/// Reads a head from the front of `incoming`, if all of it is there, and takes it off.
///
/// # Errors
/// The bytes are no head, one that is too large, or one that cannot be framed safely.
pub(super) fn read(incoming: &mut BytesMut, head_max: usize) -> Result<Option<Head>, Unreadable> {
    // Left as it is: filling all fields costs more than reading the usual ten.
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let length = match parser.parse_request_with_uninit_headers(&mut parsed, incoming, &mut fields)
    {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if incoming.len() > head_max => {
            return Err(Unreadable::HeadersTooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Unreadable::TooManyHeaders),
        Err(error) => return Err(Unreadable::Syntax(Garbled::of(error, incoming))),
    };
    let method = parsed.method.unwrap_or_default();
    let method = Method::from_bytes(method.as_bytes());
    let method = method.map_err(|_| Unreadable::Syntax(Garbled::RequestLine))?;
    let version = match parsed.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let start = incoming.as_ptr().addr();
    let place = |bytes: &[u8]| {
        let at = bytes.as_ptr().addr().wrapping_sub(start);
        at..at.wrapping_add(bytes.len())
    };
    let target = place(parsed.path.unwrap_or_default().as_bytes());
    let mut places = Vec::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| Unreadable::Syntax(Garbled::HeaderName))?;
        places.push((name, place(field.value)));
    }
    let head = incoming.split_to(length).freeze();
    // The URI of the `http` crate holds no more than 64 KiB.
    if target.len() > usize::from(u16::MAX) - 1 {
        return Err(Unreadable::TargetTooLong);
    }
    let target = head.slice(target);
    // It would be cut off here, and may not be elsewhere (RFC 9112 section 3.2).
    if target.contains(&b'#') {
        return Err(Unreadable::Syntax(Garbled::Target));
    }
    let uri = Uri::from_maybe_shared(target);
    let uri = uri.map_err(|_| Unreadable::Syntax(Garbled::Target))?;
    let mut headers = HeaderMap::with_capacity(places.len());
    for (name, place) in places {
        // An empty value may point anywhere.
        let bytes = if place.is_empty() {
            Bytes::new()
        } else {
            head.slice(place)
        };
        let value = HeaderValue::from_maybe_shared(bytes);
        let value = value.map_err(|_| Unreadable::Syntax(Garbled::HeaderValue))?;
        headers.append(name, value);
    }
    let (decoder, is_doubtful) = decoder(&mut headers, version)?;
    let closes = has_option(&headers, header::CONNECTION, "close");
    let keeps =
        version == Version::HTTP_11 || has_option(&headers, header::CONNECTION, "keep-alive");
    let expects_continue =
        version == Version::HTTP_11 && decoder != Decoder::Done && expect::is_asked(&headers);
    Ok(Some(Head {
        method,
        uri,
        version,
        headers,
        decoder,
        keep_alive: keeps && !closes && !is_doubtful,
        expects_continue,
    }))
}

/// How the body is delimited, and whether somebody else could read it in another way. Then its length is
/// dropped, and the connection is closed after it (RFC 9112 section 6.1).
fn decoder(headers: &mut HeaderMap, version: Version) -> Result<(Decoder, bool), Unreadable> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(last) = codings.next_back() {
        let last = last.as_bytes().rsplit(|byte| *byte == b',').next();
        let is_chunked = last.is_some_and(|it| it.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        if !is_chunked || version != Version::HTTP_11 {
            return Err(Unreadable::Syntax(Garbled::Coding));
        }
        let is_doubtful = headers.remove(header::CONTENT_LENGTH).is_some();
        return Ok((Decoder::chunked(), is_doubtful));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Ok((Decoder::Done, false));
    };
    let first = first.clone();
    let length = digits(&first).ok_or(Unreadable::Syntax(Garbled::Length))?;
    let mut repeated = false;
    for other in lengths {
        repeated = true;
        if digits(other) != Some(length) {
            return Err(Unreadable::Syntax(Garbled::Length));
        }
    }
    if repeated {
        headers.insert(header::CONTENT_LENGTH, first);
    }
    Ok(match length {
        0 => (Decoder::Done, false),
        length => (Decoder::Length(length), false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 64 * 1024;

    fn head_of(text: &str) -> Result<Option<Head>, Unreadable> {
        read(&mut BytesMut::from(text), MAX)
    }

    #[test]
    fn bodies_are_delimited_in_one_way_only() {
        let old = "HTTP/1.0";
        let new = "HTTP/1.1";
        for (version, fields, decoder, goes_on) in [
            (new, "", Decoder::Done, true),
            (new, "content-length: 0", Decoder::Done, true),
            (new, "content-length: 5", Decoder::Length(5), true),
            (
                new,
                "content-length: 5\r\ncontent-length: 05",
                Decoder::Length(5),
                true,
            ),
            (new, "transfer-encoding: Chunked", Decoder::chunked(), true),
            // The gateway refuses what this hop cannot take off.
            (
                new,
                "transfer-encoding: gzip, chunked",
                Decoder::chunked(),
                true,
            ),
            (
                new,
                "transfer-encoding: chunked\r\ncontent-length: 5",
                Decoder::chunked(),
                false,
            ),
            (
                new,
                "content-length: x\r\ntransfer-encoding: chunked",
                Decoder::chunked(),
                false,
            ),
            (new, "connection: x, Close", Decoder::Done, false),
            (
                new,
                "connection: keep-alive\r\nconnection: close",
                Decoder::Done,
                false,
            ),
            (old, "", Decoder::Done, false),
            (old, "connection: Keep-Alive", Decoder::Done, true),
            (old, "content-length: 5", Decoder::Length(5), false),
        ] {
            let text = format!("POST / {version}\r\nhost: a\r\n{fields}\r\n\r\n");
            let text = text.replace("\r\n\r\n\r\n", "\r\n\r\n");
            let head = head_of(&text).expect("valid").expect("whole");
            assert_eq!(
                (head.decoder, head.keep_alive),
                (decoder, goes_on),
                "{text}"
            );
            let lengths = head.headers.get_all(header::CONTENT_LENGTH).iter().count();
            assert!(lengths <= 1, "{text}");
        }
        use Garbled::{Coding, HeaderName, HeaderValue, Length};
        for (version, fields, what) in [
            (new, "content-length: 5\r\ncontent-length: 6", Length),
            (new, "content-length: 5, 5", Length),
            (new, "content-length: +5", Length),
            (new, "content-length: -1", Length),
            (new, "content-length:", Length),
            (new, "content-length: 18446744073709551616", Length),
            (new, "transfer-encoding: chunked, gzip", Coding),
            (new, "transfer-encoding: xchunked", Coding),
            (new, "transfer-encoding:", Coding),
            (old, "transfer-encoding: chunked", Coding),
            (new, "transfer-encoding : chunked", HeaderName),
            (new, "x: y\r\n folded: z", HeaderName),
            (new, "x\u{0}: y", HeaderName),
            (new, "x: y\u{0}", HeaderValue),
        ] {
            let text = format!("POST / {version}\r\nhost: a\r\n{fields}\r\n\r\n");
            let expected = Err(Unreadable::Syntax(what));
            assert_eq!(head_of(&text).map(drop), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_request() {
        use Garbled::{HeaderName, Http2, RequestLine, Target, Tls, Version};
        for (text, what) in [
            ("\u{16}\u{3}\u{1}", Tls),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Http2),
            ("GET /\r\n\r\n", RequestLine),
            ("GET / HTTP/2.0\r\n\r\n", Version),
            ("GET  / HTTP/1.1\r\n\r\n", RequestLine),
            ("G@T / HTTP/1.1\r\n\r\n", RequestLine),
            ("GET /#a HTTP/1.1\r\n\r\n", Target),
            ("GET / HTTP/1.1\r\n: x\r\n\r\n", HeaderName),
        ] {
            let expected = Err(Unreadable::Syntax(what));
            assert_eq!(head_of(text).map(drop), expected, "{text}");
        }
        let many = "a: b\r\n".repeat(FIELDS_MAX + 1);
        let text = format!("GET / HTTP/1.1\r\n{many}\r\n");
        assert_eq!(head_of(&text).map(drop), Err(Unreadable::TooManyHeaders));
        let long = format!("GET /{}", "a".repeat(MAX));
        assert_eq!(head_of(&long).map(drop), Err(Unreadable::HeadersTooLarge));
        assert!(
            head_of("GET / HTTP/1.1\r\nhost: a\r\n")
                .expect("valid")
                .is_none()
        );
    }

    #[test]
    fn who_waits_for_a_word() {
        for (text, waits) in [
            (
                "HTTP/1.1\r\nexpect: 100-Continue\r\ncontent-length: 5",
                true,
            ),
            ("HTTP/1.1\r\nexpect: 100-continue", false),
            (
                "HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 5",
                false,
            ),
            ("HTTP/1.1\r\nexpect: else\r\ncontent-length: 5", false),
        ] {
            let head = head_of(&format!("POST / {text}\r\n\r\n"));
            let head = head.expect("valid").expect("whole");
            assert_eq!(head.expects_continue, waits, "{text}");
        }
    }

    #[test]
    fn any_request_is_read_alike_however_it_comes() {
        /// What a request comes to, or that it is none.
        fn outcome(bytes: &[u8], piece: usize) -> Result<(String, Vec<u8>, bool, usize), ()> {
            let mut incoming = BytesMut::new();
            let mut seen: Option<Head> = None;
            let mut body = Vec::new();
            for bytes in bytes.chunks(piece.max(1)) {
                incoming.extend_from_slice(bytes);
                if seen.is_none() {
                    seen = read(&mut incoming, MAX).map_err(drop)?;
                }
                if let Some(head) = &mut seen {
                    while let Some(frame) = head.decoder.next(&mut incoming).map_err(drop)? {
                        body.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
                    }
                }
            }
            let head = seen.ok_or(())?;
            let done = head.decoder == Decoder::Done;
            Ok((
                format!("{} {}", head.method, head.uri),
                body,
                done,
                incoming.len(),
            ))
        }
        crate::fuzz::target("request", |bytes| {
            let whole = outcome(bytes, bytes.len());
            for piece in [1, 2, 7] {
                // What is no request may be noticed later, but never be taken for one.
                assert_eq!(whole, outcome(bytes, piece), "{piece}");
            }
        });
    }
}
