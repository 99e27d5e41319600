//! The lines themselves: their members in their order, and what is made safe on the way.

use std::net::IpAddr;

use serde::Serialize;

use crate::observe::shown::shown;

/// What is kept of a `kid`, which is the sender's to choose.
pub(super) const KID_CHARS_MAX: usize = 64;

/// A change that an operator made.
#[derive(Debug, Serialize)]
pub(crate) struct AdminEvent<'a> {
    pub(crate) actor: &'a str,
    pub(crate) action: &'a str,
    pub(crate) target: &'a str,
    pub(crate) result: &'a str,
    /// The issuer, the kind of selector and its value, which is written by the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) selector: Option<SelectorNotes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
}

/// Whom a change is about.
#[derive(Debug, Serialize)]
pub(crate) struct SelectorNotes<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
}

/// A change of an issuer's keys.
#[derive(Debug, Serialize)]
pub(crate) struct KeyEvent<'a> {
    issuer: &'a str,
    action: &'static str,
    /// Keys in use now.
    keys: usize,
    came: Vec<String>,
    went: Vec<String>,
}

impl<'a> KeyEvent<'a> {
    /// `came` and `went` are key ids, which the provider chooses.
    pub(crate) fn new(
        issuer: &'a str,
        action: &'static str,
        keys: usize,
        came: &[String],
        went: &[String],
    ) -> Self {
        let safe = |kids: &[String]| kids.iter().map(|kid| shown(kid, KID_CHARS_MAX)).collect();
        Self {
            issuer,
            action,
            keys,
            came: safe(came),
            went: safe(went),
        }
    }
}

#[derive(Serialize)]
pub(super) struct ChangeLine<'a, T> {
    pub(super) ts: String,
    pub(super) event: &'static str,
    #[serde(flatten)]
    pub(super) change: &'a T,
}

#[derive(Serialize)]
pub(super) struct DecisionLine<'a> {
    pub(super) ts: String,
    pub(super) event: &'static str,
    pub(super) id: String,
    pub(super) outcome: &'static str,
    pub(super) reason: &'static str,
    /// On a route that only reports: what it would have been refused with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) would_deny: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) near_miss: Option<&'static str>,
    pub(super) status: u16,
    pub(super) listener: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<usize>,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) peer: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) alg: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) scopes_missing: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verify_us: Option<u64>,
    pub(super) total_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upstream_status: Option<u16>,
    /// Which configuration decided.
    pub(super) config: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<&'a str>,
}
