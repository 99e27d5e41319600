//! The rules of HTTP/2 and HPACK that a client can break (RFC 9113, RFC 7541), one by one, as h2spec has
//! them: what is broken ends the stream or the connection with its code, and the server serves on.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use crate::support::frames::*;
use crate::support::{Bearward, TestIssuer, Upstream, block_on};

const PATIENCE: Duration = Duration::from_secs(10);

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The connection, with one of these codes (RFC 9113 section 5.4.1 lets it be closed without a word).
    Connection(&'static [u32]),
    /// The stream 1, with one of these codes, or the connection with one of them.
    Stream(&'static [u32]),
    /// A response on stream 1 with this status.
    Status(&'static str),
    /// An answer to a PING.
    Pong,
}

use End::{Connection as Ends, Pong, Status, Stream};

/// What came of the bytes, up to what ends the wait.
async fn outcome(address: SocketAddr, bytes: &[u8], end: End) -> Result<(), String> {
    let mut connection = Connection::open(address, &[]).await;
    connection.send(bytes).await;
    let mut seen = Vec::new();
    let waiting = async {
        while let Some(next) = connection.next().await {
            let ended = match (next.kind, end) {
                (GOAWAY, Ends(codes) | Stream(codes)) if codes.contains(&next.code()) => true,
                (RST_STREAM, Stream(codes)) => next.stream == 1 && codes.contains(&next.code()),
                (HEADERS, Status(status)) => {
                    // Ours has no table: the status is an index of the static one, or a literal.
                    let index = match status {
                        "200" => 0x88,
                        "400" => 0x8c,
                        _ => 0,
                    };
                    // Behind what the first block says of the table.
                    let block = next.payload.strip_prefix(&[0x20]).unwrap_or(&next.payload);
                    block.first() == Some(&index)
                        || next.payload.windows(3).any(|it| it == status.as_bytes())
                }
                (PING, Pong) => next.flags == ACK,
                _ => false,
            };
            if ended {
                return true;
            }
            seen.push((next.kind, next.flags, next.stream, next.payload));
        }
        // Closed without a word.
        matches!(end, Ends(_))
    };
    match timeout(PATIENCE, waiting).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("closed after {seen:?}")),
        Err(_) => Err(format!("nothing after {seen:?}")),
    }
}

fn head(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, stream, block)
}

/// A whole GET on a stream.
fn asked(stream: u32) -> Vec<u8> {
    head(END_HEADERS | END_STREAM, stream, &get("/orders/1", &[]))
}

/// A POST that goes on.
fn begun(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    head(END_HEADERS, stream, &request("POST", "/orders/1", more))
}

/// A GET whose fields are these.
fn with_fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let block: Vec<u8> = fields
        .iter()
        .flat_map(|(name, value)| literal(name, value))
        .collect();
    head(END_HEADERS | END_STREAM, 1, &block)
}

const GOOD: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/orders/1"),
    (":authority", "api.test"),
];

fn good_and(more: &[(&'static str, &'static str)]) -> Vec<u8> {
    with_fields(&[&GOOD[..], more].concat())
}

fn without(name: &str) -> Vec<u8> {
    let rest: Vec<_> = GOOD.into_iter().filter(|(it, _)| *it != name).collect();
    with_fields(&rest)
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    let payload = [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat();
    frame(SETTINGS, 0, 0, &payload)
}

fn joined(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

/// Section, what is sent, and how it ends.
fn cases() -> Vec<(&'static str, Vec<u8>, End)> {
    let malformed = &[PROTOCOL_ERROR][..];
    let closed = &[STREAM_CLOSED, PROTOCOL_ERROR][..];
    let rst = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    let window = |stream, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    let ping = frame(PING, 0, 0, b"01234567");
    vec![
        ("3.4 a ping after the preface", ping.clone(), Pong),
        (
            "4.1 an unknown kind is left out",
            joined(&[frame(0x16, 0, 0, b"any"), ping.clone()]),
            Pong,
        ),
        (
            "4.1 unknown flags are left out",
            frame(PING, 0x16, 0, b"01234567"),
            Pong,
        ),
        (
            "4.2 a frame above the largest",
            frame(DATA, 0, 1, &[0; 16_385]),
            Ends(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
        (
            "4.2 a header block above the largest",
            frame(HEADERS, END_HEADERS, 1, &[0; 16_385]),
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        (
            "4.3 a block that is no HPACK",
            head(END_HEADERS | END_STREAM, 1, &[0x40]),
            Ends(&[COMPRESSION_ERROR]),
        ),
        (
            "4.3 another frame inside a block",
            joined(&[head(END_STREAM, 1, &get("/", &[])), ping.clone()]),
            Ends(malformed),
        ),
        (
            "4.3 another stream's frame inside a block",
            joined(&[head(END_STREAM, 1, &get("/", &[])), asked(3)]),
            Ends(malformed),
        ),
        (
            "5.1 DATA on an idle stream",
            frame(DATA, END_STREAM, 1, b"x"),
            Ends(closed),
        ),
        ("5.1 RST_STREAM on an idle stream", rst(1), Ends(malformed)),
        (
            "5.1 WINDOW_UPDATE on an idle stream",
            window(1, 100),
            Ends(malformed),
        ),
        (
            "5.1 CONTINUATION on an idle stream",
            frame(CONTINUATION, END_HEADERS, 1, b""),
            Ends(malformed),
        ),
        (
            "5.1 DATA after the end",
            joined(&[asked(1), frame(DATA, END_STREAM, 1, b"x")]),
            Stream(closed),
        ),
        (
            "5.1 HEADERS after the end",
            joined(&[asked(1), asked(1)]),
            Stream(closed),
        ),
        (
            "5.1 CONTINUATION after the end",
            joined(&[asked(1), frame(CONTINUATION, END_HEADERS, 1, b"")]),
            Ends(closed),
        ),
        ("5.1.1 an even number", asked(2), Ends(malformed)),
        (
            "5.1.1 a number below the last",
            joined(&[asked(5), asked(3)]),
            Ends(closed),
        ),
        (
            "5.3.1 a stream that depends on itself",
            frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 9]),
            Stream(malformed),
        ),
        (
            "6.1 DATA on stream 0",
            frame(DATA, END_STREAM, 0, b"x"),
            Ends(malformed),
        ),
        (
            "6.1 more padding than payload",
            joined(&[
                begun(1, &[]),
                frame(DATA, PADDED | END_STREAM, 1, &[9, b'x']),
            ]),
            Ends(malformed),
        ),
        ("6.2 HEADERS on stream 0", asked(0), Ends(malformed)),
        (
            "6.2 HEADERS with more padding than payload",
            frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, &[200, 0x82]),
            Ends(malformed),
        ),
        (
            "6.2 HEADERS too short for its priority",
            frame(HEADERS, PRIORITIZED | END_HEADERS, 1, &[0, 0]),
            Ends(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
        (
            "6.3 PRIORITY on stream 0",
            frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 9]),
            Ends(malformed),
        ),
        (
            "6.3 PRIORITY of four bytes",
            frame(PRIORITY, 0, 1, &[0, 0, 0, 3]),
            Stream(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
        ("6.4 RST_STREAM on stream 0", rst(0), Ends(malformed)),
        (
            "6.4 RST_STREAM of three bytes",
            joined(&[begun(1, &[]), frame(RST_STREAM, 0, 1, &[0, 0, 8])]),
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        (
            "6.5 an acknowledgement with a payload",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        (
            "6.5 SETTINGS on a stream",
            frame(SETTINGS, 0, 1, &[0; 6]),
            Ends(malformed),
        ),
        (
            "6.5 SETTINGS of five bytes",
            frame(SETTINGS, 0, 0, &[0; 5]),
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        ("6.5.2 ENABLE_PUSH of 2", setting(2, 2), Ends(malformed)),
        (
            "6.5.2 a window above the largest",
            setting(4, 0x8000_0000),
            Ends(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.5.2 a frame size below the least",
            setting(5, 16_383),
            Ends(malformed),
        ),
        (
            "6.5.2 a frame size above the largest",
            setting(5, 16_777_216),
            Ends(malformed),
        ),
        (
            "6.5.2 an unknown setting",
            joined(&[setting(0xff, 1), ping.clone()]),
            Pong,
        ),
        (
            "6.6 PUSH_PROMISE of a client",
            joined(&[
                begun(1, &[]),
                frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
            ]),
            Ends(malformed),
        ),
        (
            "6.7 PING on a stream",
            frame(PING, 0, 1, b"01234567"),
            Ends(malformed),
        ),
        (
            "6.7 PING of seven bytes",
            frame(PING, 0, 0, b"0123456"),
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        (
            "6.7 an acknowledgement is not answered",
            joined(&[frame(PING, ACK, 0, b"01234567"), ping]),
            Pong,
        ),
        (
            "6.8 GOAWAY on a stream",
            frame(GOAWAY, 0, 1, &[0; 8]),
            Ends(malformed),
        ),
        (
            "6.9 an increment of 0 to the connection",
            window(0, 0),
            Ends(malformed),
        ),
        (
            "6.9 an increment of 0 to a stream",
            joined(&[begun(1, &[]), window(1, 0)]),
            Stream(malformed),
        ),
        (
            "6.9 WINDOW_UPDATE of three bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]),
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        (
            "6.9.1 the connection's window above the largest",
            joined(&[window(0, 0x7fff_ffff), window(0, 0x7fff_ffff)]),
            Ends(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.9.1 a stream's window above the largest",
            joined(&[
                begun(1, &[]),
                window(1, 0x7fff_ffff),
                window(1, 0x7fff_ffff),
            ]),
            Stream(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.10 CONTINUATION after a whole block",
            joined(&[begun(1, &[]), frame(CONTINUATION, END_HEADERS, 1, b"")]),
            Ends(malformed),
        ),
        (
            "6.10 CONTINUATION on stream 0",
            joined(&[
                head(END_STREAM, 1, &get("/", &[])),
                frame(CONTINUATION, END_HEADERS, 0, b""),
            ]),
            Ends(malformed),
        ),
        (
            "8.1 a second HEADERS without an end",
            joined(&[begun(1, &[]), begun(1, &[])]),
            Stream(malformed),
        ),
        (
            "8.1.1 a body shorter than its length",
            joined(&[
                begun(1, &[("content-length", "2")]),
                frame(DATA, END_STREAM, 1, b"x"),
            ]),
            Stream(malformed),
        ),
        (
            "8.1.1 a body longer than its length",
            joined(&[
                begun(1, &[("content-length", "1")]),
                frame(DATA, 0, 1, b"x"),
                frame(DATA, END_STREAM, 1, b"x"),
            ]),
            Stream(malformed),
        ),
        (
            "8.1.1 no body and a length",
            head(
                END_HEADERS | END_STREAM,
                1,
                &request("POST", "/orders/1", &[("content-length", "1")]),
            ),
            Stream(malformed),
        ),
        (
            "8.2.1 a name in upper case",
            good_and(&[("X-Upper", "1")]),
            Stream(malformed),
        ),
        (
            "8.2.1 a name with a space",
            good_and(&[("x y", "1")]),
            Stream(malformed),
        ),
        (
            "8.2.1 a value with a line break",
            good_and(&[("x-y", "1\r\nx-z: 1")]),
            Stream(malformed),
        ),
        (
            "8.2.1 a value with NUL",
            good_and(&[("x-y", "1\0")]),
            Stream(malformed),
        ),
        (
            "8.2.2 `connection`",
            good_and(&[("connection", "keep-alive")]),
            Stream(malformed),
        ),
        (
            "8.2.2 `transfer-encoding`",
            good_and(&[("transfer-encoding", "chunked")]),
            Stream(malformed),
        ),
        (
            "8.2.2 `upgrade`",
            good_and(&[("upgrade", "h2c")]),
            Stream(malformed),
        ),
        (
            "8.2.2 `te` of something else",
            good_and(&[("te", "trailers, deflate")]),
            Stream(malformed),
        ),
        (
            "8.3 an unknown pseudo-header",
            good_and(&[(":unknown", "1")]),
            Stream(malformed),
        ),
        (
            "8.3 a pseudo-header of responses",
            good_and(&[(":status", "200")]),
            Stream(malformed),
        ),
        (
            "8.3 a pseudo-header behind a field",
            good_and(&[("x-y", "1"), (":method", "GET")]),
            Stream(malformed),
        ),
        (
            "8.3.1 two of `:method`",
            with_fields(&[&GOOD[..], &[(":method", "GET")]].concat()),
            Stream(malformed),
        ),
        (
            "8.3.1 two of `:path`",
            with_fields(&[&GOOD[..], &[(":path", "/")]].concat()),
            Stream(malformed),
        ),
        ("8.3.1 no `:method`", without(":method"), Stream(malformed)),
        ("8.3.1 no `:scheme`", without(":scheme"), Stream(malformed)),
        ("8.3.1 no `:path`", without(":path"), Stream(malformed)),
        (
            "8.3.1 an empty `:path`",
            with_fields(&[GOOD[0], GOOD[1], (":path", ""), GOOD[3]]),
            Stream(malformed),
        ),
        (
            "8.5 CONNECT with a path",
            with_fields(&[(":method", "CONNECT"), GOOD[1], GOOD[2], GOOD[3]]),
            Stream(malformed),
        ),
        (
            "7541 2.3.3 an index beyond the tables",
            head(END_HEADERS | END_STREAM, 1, &[0xff, 0x20]),
            Ends(&[COMPRESSION_ERROR]),
        ),
        (
            "7541 4.2 a table larger than allowed",
            head(END_HEADERS | END_STREAM, 1, &[0x3f, 0xff, 0xff, 0x03]),
            Ends(&[COMPRESSION_ERROR]),
        ),
        (
            "7541 5.2 Huffman with the end symbol",
            head(
                END_HEADERS | END_STREAM,
                1,
                &[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, b'x'],
            ),
            Ends(&[COMPRESSION_ERROR]),
        ),
        (
            "7541 5.2 Huffman with eight bits of padding",
            head(
                END_HEADERS | END_STREAM,
                1,
                &[0x00, 0x82, 0x1f, 0xff, 0x01, b'x'],
            ),
            Ends(&[COMPRESSION_ERROR]),
        ),
        (
            "7541 6.1 the index 0",
            head(END_HEADERS | END_STREAM, 1, &[0x80]),
            Ends(&[COMPRESSION_ERROR]),
        ),
        (
            "a good request",
            head(END_HEADERS | END_STREAM, 1, &get("/open", &[])),
            Status("200"),
        ),
        (
            "a good request in parts",
            joined(&[
                head(END_STREAM, 1, &get("/open", &[])),
                frame(CONTINUATION, 0, 1, &literal("x-a", "1")),
                frame(CONTINUATION, END_HEADERS, 1, &literal("x-b", "1")),
            ]),
            Status("200"),
        ),
    ]
}

#[test]
fn what_breaks_a_rule_of_http2_ends_as_the_rule_says() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let upstream = Upstream::echo();
    let gateway = Bearward::usual(&main, &upstream)
        .table("[routes.open]\npath = \"/open\"\nupstream = \"orders\"\nauth = \"none\"")
        .table("[listeners.h2]\naddress = \"127.0.0.1:0\"\nclear_text = true\nprotocols = [\"h2\"]")
        .start();
    let address = gateway.listener("h2").expect("an address");
    block_on(async {
        let mut wrong = Vec::new();
        for (name, bytes, end) in cases() {
            if let Err(why) = outcome(address, &bytes, end).await {
                wrong.push(format!("{name}: {end:?} was expected; {why}"));
            }
            let good = gateway.http2().get("/orders/1", &main.token().sign()).await;
            assert_eq!(good.status, 200, "after {name}");
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(
            upstream
                .seen()
                .iter()
                .filter(|it| !it.contains("authorization"))
                .count(),
            2
        );
    });
}
