//! HTTP/2 by hand: frames of any kind, and header blocks without compression.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITIZED: u8 = 32;

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("a code"))
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A field as a literal without indexing (RFC 7541 section 6.2.2).
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0];
    for text in [name, value] {
        number(text.len(), 0x7f, 0, &mut block);
        block.extend_from_slice(text.as_bytes());
    }
    block
}

/// An integer with a prefix (RFC 7541 section 5.1).
fn number(value: usize, prefix: u8, flags: u8, block: &mut Vec<u8>) {
    let max = usize::from(prefix);
    if value < max {
        block.push(flags | u8::try_from(value).expect("small"));
        return;
    }
    block.push(flags | prefix);
    let mut rest = value - max;
    while rest >= 128 {
        block.push(0x80 | u8::try_from(rest % 128).expect("small"));
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("small"));
}

/// The header block of a GET, with more fields.
pub fn get(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    request("GET", path, more)
}

pub fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let usual = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "api.test"),
    ];
    for (name, value) in usual.iter().chain(more) {
        block.extend(literal(name, value));
    }
    block
}

/// A connection in clear text, after the preface and our first SETTINGS.
pub struct Connection {
    pub stream: TcpStream,
}

impl Connection {
    pub async fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let mut begin = PREFACE.to_vec();
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        begin.extend(frame(SETTINGS, 0, 0, &payload));
        stream.write_all(&begin).await.expect("room");
        Self { stream }
    }

    /// Sends bytes; whether the other side still takes any.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next frame; none at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("small")];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(head[5..9].try_into().expect("four")) & 0x7fff_ffff,
            payload,
        })
    }
}
