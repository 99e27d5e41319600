//! `Expect: 100-continue` (RFC 9110 section 10.1.1): the client is told to go on when something wants its body,
//! which is after the verdict.

use http::{HeaderMap, header};

use super::headers::has_option;

/// Whether the client waits for `100 Continue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    No,
    Yes,
    /// And somebody wants its body.
    Wanted,
}

impl Waits {
    pub(super) fn new(expects_continue: bool) -> Self {
        if expects_continue {
            Self::Yes
        } else {
            Self::No
        }
    }

    /// Somebody wants the body; whether the client is to be told of it.
    pub(super) fn want(&mut self) -> bool {
        let waits = *self == Self::Yes;
        if waits {
            *self = Self::Wanted;
        }
        waits
    }

    /// Whether it is to be told now; it is, only once.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = *self == Self::Wanted;
        if is_due {
            *self = Self::No;
        }
        is_due
    }
}

/// Whether a request asks for it.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    has_option(headers, header::EXPECT, "100-continue")
}
