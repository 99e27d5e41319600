//! The body of a refusal (RFC 9457), at the route's level of disclosure.

use serde::Serialize;

use super::words::{Extras, Words};
use super::{Rejection, Setting};
use crate::policy::Disclosure;

/// A problem as it is sent.
#[derive(Debug, Serialize)]
pub(super) struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(flatten)]
    extras: Extras<'a>,
    instance: String,
}

/// The problem for a refusal.
pub(super) fn of<'a>(
    rejection: &Rejection,
    words: Words<'a>,
    setting: &Setting<'_>,
) -> Problem<'a> {
    let reason = rejection.reason();
    let status = reason.status();
    let mut problem = Problem {
        kind: format!("{}{}", setting.site.problem_base, reason.code()),
        title: reason.title(),
        status: status.as_u16(),
        detail: None,
        code: Some(reason.code()),
        step: rejection.step().map(crate::verdict::Step::name),
        retryable: None,
        server_time: None,
        hint: None,
        extras: Extras::default(),
        instance: setting.id.urn().to_string(),
    };
    match setting.disclosure() {
        Disclosure::Full => {
            problem.detail = Some(words.detail);
            problem.hint = Some(words.hint);
            problem.retryable = Some(reason.retryable());
            problem.server_time = Some(setting.now.rfc3339());
            problem.extras = words.extras;
            problem.extras.retry_after = rejection.retry_after();
        }
        Disclosure::Reason => {}
        Disclosure::Minimal => {
            problem.kind = "about:blank".to_owned();
            problem.title = status.canonical_reason().unwrap_or_default();
            problem.code = None;
            problem.step = None;
        }
    }
    problem
}

impl Problem<'_> {
    pub(super) fn json(&self) -> Vec<u8> {
        // Strings and numbers only: there is nothing that could fail to be written.
        let mut body = serde_json::to_vec(self).unwrap_or_default();
        // For those who read it in a terminal.
        body.push(b'\n');
        body
    }

    /// A page for a person; everything in it is escaped.
    pub(super) fn html(&self) -> String {
        let paragraph = |text: &Option<String>| {
            text.as_ref()
                .map(|text| format!("<p>{}</p>", escaped(text)))
                .unwrap_or_default()
        };
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{status} {title}</title>\
             <h1>{title}</h1>{detail}{hint}<p><small>{status} {code} {instance}</small></p></html>\n",
            status = self.status,
            title = escaped(self.title),
            detail = paragraph(&self.detail),
            hint = paragraph(&self.hint),
            code = self.code.unwrap_or_default(),
            instance = self.instance,
        )
    }
}

/// Text in HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
