//! Development keys and tokens: for `demo`, `token mint`, `keys generate` and the tests.
//!
//! Nothing on the gateway's way uses this. Signing is jsonwebtoken's work, the only place where it
//! is used; checking is ours.

mod der;
mod key;

pub use key::{DevelopmentKey, DevelopmentKeyError};
