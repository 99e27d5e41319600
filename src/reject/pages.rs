//! The help pages of the reasons, served under `/.well-known/bearward/problems/`.

use http::HeaderMap;

use crate::verdict::Reason;

pub(crate) fn page(reason: Reason, _headers: &HeaderMap) -> (&'static str, String) {
    ("text/plain; charset=utf-8", reason.title().to_owned())
}

pub(crate) fn text(reason: Reason) -> String {
    reason.title().to_owned()
}
