//! The sentences about a credential that is no token, with what it probably was meant to be.

use super::{Words, plain};
use crate::authenticate::Malformed;
use crate::verdict::NearMiss;

/// The words for one way of being malformed.
pub(super) fn of<'a>(how: Malformed) -> Words<'a> {
    let (detail, hint) = match how {
        Malformed::Near(near) => (near.says(), near.mend()),
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
    if let Malformed::Near(near) = how {
        words.near = Some(near);
    }
    match how {
        Malformed::Claim(name) => words.extras.claim = Some(name.to_owned()),
        Malformed::Part(part) => words.extras.part = Some(part),
        Malformed::Near(NearMiss::Cut | NearMiss::CutInSignature) => {
            words.extras.part = Some("signature")
        }
        _ => words.extras.part = Some("token"),
    }
    words
}
