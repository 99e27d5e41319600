//! Keys that sign: the gateway's own tokens for upstreams, and tokens for development (`demo`,
//! `token mint`, `keys generate`, the tests).
//!
//! Signing is jsonwebtoken's work, the only place where it is used; checking is ours.

mod der;
mod key;

pub use key::{SigningKey, SigningKeyError};
