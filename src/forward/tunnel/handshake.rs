//! The opening handshake of a WebSocket, where we are the client (RFC 6455 section 4).

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What every server appends to the key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A `Sec-WebSocket-Key`: sixteen random bytes.
pub(in crate::forward) fn key() -> String {
    let parts = [super::mask(), super::mask(), super::mask(), super::mask()];
    STANDARD.encode(parts.concat())
}

/// The `Sec-WebSocket-Accept` of a server that has understood a key.
pub(in crate::forward) fn accept_of(key: &str) -> String {
    // RFC 6455 prescribes SHA-1; it proves understanding here, and guards nothing.
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(GUID);
    STANDARD.encode(context.finish())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_of_the_rfc() {
        let accept = super::accept_of("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_ne!(super::key(), super::key());
    }
}
