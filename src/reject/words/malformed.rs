//! The sentences about a credential that is no token, with what it probably was meant to be.

use super::{Words, plain};
use crate::authenticate::Malformed;

/// The words for one way of being malformed.
pub(super) fn of<'a>(how: Malformed) -> Words<'a> {
    let (detail, hint) = match how {
        Malformed::Empty => (
            "There is no token behind the word Bearer.",
            "Check that the variable that holds the token is set.",
        ),
        Malformed::Placeholder => (
            "There is a placeholder where the token should be.",
            "The variable that holds the token was not filled in.",
        ),
        Malformed::BearerTwice => (
            "The word Bearer stands twice before the token.",
            "Send it once; the client library may add it for you.",
        ),
        Malformed::Quoted => ("The token is in quotes.", "Send it without quotes."),
        Malformed::LineBreak => (
            "There is a line break in the token, escaped or as a literal \\n.",
            "Take the line break off, for example with `tr -d '\\n'`.",
        ),
        Malformed::Trailing => (
            "Something stands behind the token, or a tab before it.",
            "Send the scheme, one space, the token, and nothing else.",
        ),
        Malformed::Encrypted => (
            "The token has five parts: it is encrypted.",
            "Ask the issuer for signed access tokens (JWS), not encrypted ones (JWE).",
        ),
        Malformed::Opaque => (
            "The token has no parts: it looks opaque, or like an API key.",
            "Send a JWT access token; you may have to name an audience when you ask for it.",
        ),
        Malformed::Cut => (
            "The token was cut: its last part is missing.",
            "Copy the whole token; check the length of the field that stored it.",
        ),
        Malformed::Parts => (
            "The token does not have the three parts of a signed JWT.",
            "Send the access token as the issuer gave it.",
        ),
        Malformed::Part("header") => (
            "The token's header is not base64url of a JSON object with `alg`.",
            "Send the access token as the issuer gave it.",
        ),
        Malformed::Part("payload") => (
            "The token's payload is not base64url of a JSON object without duplicate members.",
            "Send the access token as the issuer gave it.",
        ),
        Malformed::Part(_) => (
            "The token's signature is not base64url.",
            "Send the access token as the issuer gave it.",
        ),
        Malformed::Claim(_) => (
            "A registered claim of the token has the wrong type.",
            "The issuer makes tokens that RFC 7519 does not allow; tell its operator.",
        ),
    };
    let mut words = plain(detail, hint);
    match how {
        Malformed::Claim(name) => words.extras.claim = Some(name.to_owned()),
        Malformed::Part(part) => words.extras.part = Some(part),
        Malformed::Cut => words.extras.part = Some("signature"),
        _ => words.extras.part = Some("token"),
    }
    words
}
