//! Writing header blocks (RFC 7541) in HEADERS and CONTINUATION frames.
//!
//! Without a table of our own: what one would save a client in bytes, it would cost each connection in memory
//! and each response in look-ups. The first block says so, which a client that has made its table smaller
//! demands (section 4.2). Names that are often met are written by their index.

use std::io::Write as _;

use http::header;
use http::{HeaderMap, HeaderName, StatusCode};

use super::fields::index;
use super::frame::{self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PAYLOAD_MAX};
use super::outgoing::Outgoing;
use crate::http::date;

const INDEXED: u8 = 0x80;
/// Without a place in the table (section 6.2.2), with four bits for the index of the name.
const LITERAL: u8 = 0x00;

/// A table without any room (section 6.3).
const NO_TABLE: u8 = 0x20;

/// Writes the head of a response; `length`: of its body, where that is known and not told yet.
pub(super) fn write_response(
    outgoing: &mut Outgoing,
    stream: u32,
    status: StatusCode,
    headers: &HeaderMap,
    (length, ends): (Option<u64>, bool),
) {
    let from = begin(outgoing);
    let out = &mut outgoing.frames;
    write_status(out, status);
    let mut has_date = false;
    for (name, value) in headers {
        if is_of_connection(name) {
            continue;
        }
        has_date |= *name == header::DATE;
        field(out, name, value.as_bytes());
    }
    if let Some(length) = length
        && !headers.contains_key(header::CONTENT_LENGTH)
    {
        write_name(out, &header::CONTENT_LENGTH);
        // At most twenty digits.
        out.push(length.checked_ilog10().unwrap_or(0) as u8 + 1);
        // Writing to a vector does not fail.
        let _ = write!(out, "{length}");
    }
    if !has_date && !status.is_informational() {
        write_name(out, &header::DATE);
        out.push(date::LENGTH);
        date::write(out);
    }
    finish(out, from, stream, ends);
}

/// Writes `100 Continue`.
pub(super) fn write_continue(outgoing: &mut Outgoing, stream: u32) {
    let from = begin(outgoing);
    let out = &mut outgoing.frames;
    write_status(out, StatusCode::CONTINUE);
    finish(out, from, stream, false);
}

/// Writes the trailers of a response, which end it.
pub(super) fn write_trailers(outgoing: &mut Outgoing, stream: u32, trailers: &HeaderMap) {
    let from = begin(outgoing);
    let out = &mut outgoing.frames;
    for (name, value) in trailers {
        if !is_of_connection(name) {
            field(out, name, value.as_bytes());
        }
    }
    finish(out, from, stream, true);
}

/// What belongs to a connection has no place in HTTP/2 (RFC 9113 section 8.2.2).
fn is_of_connection(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => true,
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}

/// Leaves room for the head of a frame; where that is.
fn begin(outgoing: &mut Outgoing) -> usize {
    let out = &mut outgoing.frames;
    let from = out.len();
    out.extend_from_slice(&[0; frame::HEAD_BYTES]);
    if !outgoing.has_said_no_table {
        outgoing.has_said_no_table = true;
        out.push(NO_TABLE);
    }
    from
}

/// Writes the head of the frame before its block, and divides what is too long for one.
fn finish(out: &mut Vec<u8>, from: usize, stream: u32, ends: bool) {
    let begin = from + frame::HEAD_BYTES;
    let length = out.len() - begin;
    let end_stream = if ends { END_STREAM } else { 0 };
    if length <= PAYLOAD_MAX {
        let head = frame::head(length, HEADERS, END_HEADERS | end_stream, stream);
        if let Some(place) = out.get_mut(from..begin) {
            place.copy_from_slice(&head);
        }
        return;
    }
    let block = out.split_off(begin);
    out.truncate(from);
    let mut kind = (HEADERS, end_stream);
    let mut parts = block.chunks(PAYLOAD_MAX).peekable();
    while let Some(part) = parts.next() {
        let last = if parts.peek().is_none() {
            END_HEADERS
        } else {
            0
        };
        frame::write_head(out, part.len(), kind.0, kind.1 | last, stream);
        out.extend_from_slice(part);
        kind = (CONTINUATION, 0);
    }
}

fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    let index = match status.as_u16() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            // The name by its index.
            out.extend_from_slice(&[LITERAL | 8, 3]);
            out.extend_from_slice(status.as_str().as_bytes());
            return;
        }
    };
    out.push(INDEXED | index);
}

fn field(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    write_name(out, name);
    number(out, value.len(), 0, 7);
    out.extend_from_slice(value);
}

fn write_name(out: &mut Vec<u8>, name: &HeaderName) {
    match index(name) {
        0 => {
            out.push(LITERAL);
            let name = name.as_str().as_bytes();
            number(out, name.len(), 0, 7);
            out.extend_from_slice(name);
        }
        index => number(out, usize::from(index), LITERAL, 4),
    }
}

/// Writes an integer behind the first bits of its first byte (section 5.1).
fn number(out: &mut Vec<u8>, number: usize, first: u8, bits: u8) {
    let max = (1_usize << bits) - 1;
    if number < max {
        // Less than a byte has room for.
        out.push(first | number as u8);
        return;
    }
    out.push(first | max as u8);
    let mut rest = number - max;
    while rest >= 0x80 {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::super::fields::{Field, Name, Value};
    use super::super::hpack::Decoder;
    use super::*;
    use http::HeaderValue;

    /// The frames in `out`, and the fields of their block.
    fn read(out: &[u8]) -> (Vec<frame::Head>, Vec<Field>) {
        let (mut heads, mut block, mut rest) = (Vec::new(), Vec::new(), out);
        while let Some(head) = frame::Head::read(rest) {
            let end = frame::HEAD_BYTES + head.length;
            block.extend_from_slice(&rest[frame::HEAD_BYTES..end]);
            rest = &rest[end..];
            heads.push(head);
        }
        assert!(rest.is_empty());
        let mut fields = Vec::new();
        let read = Decoder::new().read(&block, |field| fields.push(field.into_owned()));
        assert_eq!(read, Ok(()));
        (heads, fields)
    }

    fn value(fields: &[Field], name: &str) -> Option<String> {
        let field = fields
            .iter()
            .find(|field| matches!(&field.name, Name::Ordinary(it) if it == name))?;
        match &field.value {
            Value::Ordinary(value) => Some(value.to_str().expect("text").to_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_response_is_read_as_it_was_written() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("text/plain"));
        headers.insert("x-own", HeaderValue::from_static("1"));
        headers.insert("connection", HeaderValue::from_static("close"));
        headers.insert("keep-alive", HeaderValue::from_static("5"));
        for status in 100..600 {
            let status = StatusCode::from_u16(status).expect("a status");
            let mut out = Outgoing::default();
            out.frames.extend_from_slice(b"before");
            write_response(&mut out, 7, status, &headers, (Some(1234), false));
            let (heads, fields) = read(&out.frames[6..]);
            let [head] = heads[..] else {
                panic!("{heads:?}");
            };
            assert_eq!(
                (head.kind, head.flags, head.stream),
                (HEADERS, END_HEADERS, 7)
            );
            assert_eq!(
                value(&fields, "content-type").as_deref(),
                Some("text/plain")
            );
            assert_eq!(value(&fields, "x-own").as_deref(), Some("1"));
            assert_eq!(value(&fields, "content-length").as_deref(), Some("1234"));
            assert_eq!(value(&fields, "connection"), None);
            assert_eq!(value(&fields, "keep-alive"), None);
            let date = value(&fields, "date");
            assert_eq!(date.is_none(), status.is_informational());
            assert!(date.is_none_or(|date| date.ends_with(" GMT")));
        }
    }

    #[test]
    fn what_is_too_long_for_a_frame_is_divided() {
        for length in [100, PAYLOAD_MAX, 5 * PAYLOAD_MAX] {
            let long = "x".repeat(length);
            let mut trailers = HeaderMap::new();
            trailers.insert("x-long", HeaderValue::from_str(&long).expect("a value"));
            let mut out = Outgoing::default();
            write_trailers(&mut out, 1, &trailers);
            let (heads, fields) = read(&out.frames);
            assert_eq!(value(&fields, "x-long"), Some(long));
            let first = heads.first().expect("a frame");
            assert!(first.kind == HEADERS && first.has(END_STREAM));
            let (last, others) = heads.split_last().expect("a frame");
            assert!(last.has(END_HEADERS));
            assert!(others.iter().all(|head| !head.has(END_HEADERS)));
            assert!(heads[1..].iter().all(|head| head.kind == CONTINUATION));
            assert!(heads.iter().all(|head| head.length <= PAYLOAD_MAX));
        }
    }

    #[test]
    fn the_first_block_says_that_there_is_no_table() {
        let mut out = Outgoing::default();
        for n in 0..3 {
            let from = out.frames.len() + frame::HEAD_BYTES;
            write_continue(&mut out, 1);
            let says = out.frames[from] == NO_TABLE;
            assert_eq!(says, n == 0);
            // Also where the room is given back meanwhile.
            out.frames.clear();
            out.rest();
        }
    }
}
