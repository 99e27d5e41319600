//! A value that must not be seen: keys, shared secrets, the admin token.
//!
//! `Debug` prints nothing of it and there is no `Display`, so a secret cannot reach a log line,
//! an error or a panic by accident; its memory is cleared when it is dropped.

use std::fmt;
use zeroize::Zeroizing;

/// Secret bytes. Comparison is in constant time.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    #[must_use]
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes; whoever calls this answers for where they go.
    #[must_use]
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Compares in a time that depends on the lengths alone, so that a secret cannot be guessed
    /// byte by byte.
    #[must_use]
    pub(crate) fn matches(&self, other: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, other).is_ok()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2".to_vec())), "Secret");
    }

    #[test]
    fn comparison() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert!(secret.matches(b"hunter2"));
        assert!(!secret.matches(b"hunter3"));
        assert!(!secret.matches(b"hunter22"));
    }
}
