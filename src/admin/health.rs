//! `/readyz`: whether this instance can judge what it is asked to judge.

use std::fmt::Write as _;

use http::StatusCode;

use super::{Admin, Answer, text};

/// Ready: not draining, and the keys of every issuer are there.
pub(super) fn ready(admin: &Admin, verbose: bool) -> Answer {
    let policy = admin.gateway.policy.load();
    let mut page = String::new();
    let mut all = true;
    let mut line = |good: bool, what: &str| {
        all &= good;
        // Writing to a string does not fail.
        let _ = writeln!(page, "[{}] {what}", if good { "ok" } else { "fail" });
    };
    line(!*admin.draining.borrow(), "not shutting down");
    for issuer in policy.issuers() {
        let what = match &issuer.keys {
            Some(keys) => format!("keys of issuer {}: {}", issuer.rules.name, keys.len()),
            None => format!("keys of issuer {}: none", issuer.rules.name),
        };
        line(issuer.keys.is_some(), &what);
    }
    let status = if all {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if !verbose {
        page = if all { "ready\n" } else { "not ready\n" }.to_owned();
    }
    text(status, "text/plain; charset=utf-8", page)
}
