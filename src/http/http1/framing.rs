//! Taking a body out of its framing (RFC 9112 sections 6 and 7.1), of a client or of an upstream.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use http_body::Frame;

/// The longest line of a chunk's size with its extensions, which are ignored.
const SIZE_LINE_MAX: usize = 1024;
/// The largest trailer section.
const TRAILERS_MAX: usize = 16 * 1024;
/// Fields of a trailer section.
const TRAILER_FIELDS_MAX: usize = 64;

/// The bytes are not framed as HTTP demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unframed;

/// Where in the body we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decoder {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Chunk),
    /// The body ends with the connection.
    UntilClose,
    Done,
}

/// Where in a chunked body we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    Size,
    Bytes(u64),
    /// The line break after a chunk's bytes.
    End,
    Trailers,
}

impl Decoder {
    pub(crate) const fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    /// The next frame out of `incoming`; `None` if more bytes are needed, or the body is done.
    ///
    /// # Errors
    /// The bytes are not framed as they should be.
    pub(crate) fn next(
        &mut self,
        incoming: &mut BytesMut,
    ) -> Result<Option<Frame<Bytes>>, Unframed> {
        loop {
            match self {
                Self::Done => return Ok(None),
                _ if incoming.is_empty() => return Ok(None),
                Self::UntilClose => return Ok(Some(Frame::data(incoming.split().freeze()))),
                Self::Length(rest) => {
                    let bytes = take(incoming, rest);
                    if *rest == 0 {
                        *self = Self::Done;
                    }
                    return Ok(Some(Frame::data(bytes)));
                }
                Self::Chunked(Chunk::Bytes(rest)) => {
                    let bytes = take(incoming, rest);
                    if *rest == 0 {
                        *self = Self::Chunked(Chunk::End);
                    }
                    return Ok(Some(Frame::data(bytes)));
                }
                Self::Chunked(Chunk::Size) => match size_line(incoming)? {
                    None => return Ok(None),
                    Some(0) => *self = Self::Chunked(Chunk::Trailers),
                    Some(size) => *self = Self::Chunked(Chunk::Bytes(size)),
                },
                Self::Chunked(Chunk::End) => {
                    if incoming.len() < 2 {
                        return Ok(None);
                    }
                    if !incoming.starts_with(b"\r\n") {
                        return Err(Unframed);
                    }
                    incoming.advance(2);
                    *self = Self::Chunked(Chunk::Size);
                }
                Self::Chunked(Chunk::Trailers) => {
                    let Some(trailers) = trailers(incoming)? else {
                        return Ok(None);
                    };
                    *self = Self::Done;
                    return Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)));
                }
            }
        }
    }

    /// The bytes that are still to come, where that is known.
    pub(crate) const fn remaining(&self) -> Option<u64> {
        match self {
            Self::Length(rest) => Some(*rest),
            Self::Done => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }
}

fn take(incoming: &mut BytesMut, rest: &mut u64) -> Bytes {
    let count = usize::try_from(*rest)
        .unwrap_or(usize::MAX)
        .min(incoming.len());
    *rest -= count as u64;
    incoming.split_to(count).freeze()
}

/// `chunk-size [ chunk-ext ] CRLF`. The size is hexadecimal digits alone; a bare LF ends nothing.
fn size_line(incoming: &mut BytesMut) -> Result<Option<u64>, Unframed> {
    let Some(end) = incoming.iter().position(|byte| *byte == b'\n') else {
        return if incoming.len() > SIZE_LINE_MAX {
            Err(Unframed)
        } else {
            Ok(None)
        };
    };
    let line = incoming.split_to(end + 1);
    let line = line.strip_suffix(b"\r\n").ok_or(Unframed)?;
    let digits = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let (digits, extension) = line.split_at_checked(digits).unwrap_or((line, &[]));
    let extension = extension.trim_ascii_start();
    if line.len() > SIZE_LINE_MAX
        || !(extension.is_empty() || extension.starts_with(b";"))
        || extension.contains(&b'\r')
    {
        return Err(Unframed);
    }
    // Sixteen digits are all that a u64 holds; leading zeros do not make a number longer lived.
    if digits.is_empty() || digits.len() > 16 {
        return Err(Unframed);
    }
    let size = digits.iter().fold(0_u64, |size, digit| {
        let digit = char::from(*digit).to_digit(16).unwrap_or(0);
        (size << 4) | u64::from(digit)
    });
    Ok(Some(size))
}

/// The trailer section with its last empty line, if all of it is there.
fn trailers(incoming: &mut BytesMut) -> Result<Option<HeaderMap>, Unframed> {
    if incoming.starts_with(b"\r\n") {
        incoming.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
    let parsed = httparse::parse_headers(incoming, &mut fields);
    match parsed.map_err(|_| Unframed)? {
        httparse::Status::Partial if incoming.len() > TRAILERS_MAX => Err(Unframed),
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete((length, fields)) => {
            let mut trailers = HeaderMap::with_capacity(fields.len());
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes());
                let value = HeaderValue::from_bytes(field.value);
                let (Ok(name), Ok(value)) = (name, value) else {
                    return Err(Unframed);
                };
                trailers.append(name, value);
            }
            incoming.advance(length);
            Ok(Some(trailers))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in pieces of every size and gathers what comes out.
    fn decode(text: &[u8], decoder: &Decoder) -> Result<(Vec<u8>, bool, usize), Unframed> {
        let mut outcomes = Vec::new();
        for piece in 1..=text.len() {
            let mut decoder = decoder.clone();
            let mut incoming = BytesMut::new();
            let mut body = Vec::new();
            let mut fault = None;
            for bytes in text.chunks(piece) {
                incoming.extend_from_slice(bytes);
                while let Some(frame) = decoder.next(&mut incoming).unwrap_or_else(|error| {
                    fault = Some(error);
                    None
                }) {
                    body.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
                }
            }
            outcomes.push(match fault {
                Some(fault) => Err(fault),
                None => Ok((body, decoder == Decoder::Done, incoming.len())),
            });
        }
        assert!(
            outcomes.windows(2).all(|pair| pair[0] == pair[1]),
            "{outcomes:?}"
        );
        outcomes.pop().expect("at least one piece")
    }

    #[test]
    fn chunked() {
        for (text, expected) in [
            ("5\r\nhello\r\n0\r\n\r\n", Ok((b"hello".to_vec(), true, 0))),
            (
                "5;a=b\r\nhello\r\n1 \r\n!\r\n0\r\n\r\n",
                Ok((b"hello!".to_vec(), true, 0)),
            ),
            (
                "A\r\n0123456789\r\n0\r\nx: y\r\n\r\n",
                Ok((b"0123456789".to_vec(), true, 0)),
            ),
            ("5\r\nhel", Ok((b"hel".to_vec(), false, 0))),
            // What comes behind belongs to nobody.
            ("1\r\nx\r\n0\r\n\r\nHTTP", Ok((b"x".to_vec(), true, 4))),
            ("5\nhello\r\n0\r\n\r\n", Err(Unframed)),
            ("5\r\nhelloX\r\n", Err(Unframed)),
            ("\r\n", Err(Unframed)),
            ("0x5\r\nhello\r\n", Err(Unframed)),
            ("-5\r\nhello\r\n", Err(Unframed)),
            ("10000000000000005\r\nhello\r\n", Err(Unframed)),
            ("5 x\r\nhello\r\n", Err(Unframed)),
        ] {
            let decoded = decode(text.as_bytes(), &Decoder::chunked());
            assert_eq!(decoded, expected, "{text:?}");
        }
    }

    #[test]
    fn lengths() {
        assert_eq!(
            decode(b"hello world", &Decoder::Length(5)),
            Ok((b"hello".to_vec(), true, 6))
        );
        assert_eq!(
            decode(b"hel", &Decoder::Length(5)),
            Ok((b"hel".to_vec(), false, 0))
        );
        assert_eq!(
            decode(b"all", &Decoder::UntilClose),
            Ok((b"all".to_vec(), false, 0))
        );
    }
}
