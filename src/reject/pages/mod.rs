//! The help pages of the reasons, served under `/.well-known/bearward/problems/` and printed by
//! `bearward explain`: what it means, the usual causes, how to mend it, one example.

mod text;

use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::json;

use super::prefers_html;
use super::problem::escaped;
use crate::verdict::Reason;

/// One reason's page.
#[derive(Debug)]
struct Page {
    meaning: &'static str,
    causes: &'static [&'static str],
    mend: &'static str,
}

/// The page in the form that the client asks for, with its content type: HTML for a browser, JSON
/// where that is named, plain text else.
pub(crate) fn page(reason: Reason, headers: &HeaderMap) -> (&'static str, String) {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    if prefers_html(headers) {
        ("text/html; charset=utf-8", html(reason))
    } else if accept.is_some_and(|accept| accept.contains("json")) {
        ("application/json", json(reason))
    } else {
        ("text/plain; charset=utf-8", text(reason))
    }
}

/// The page as plain text.
pub(crate) fn text(reason: Reason) -> String {
    let page = text::of(reason);
    let causes: String = page
        .causes
        .iter()
        .map(|cause| format!("  - {cause}\n"))
        .collect();
    format!(
        "{code}: {title}\n\nStatus {status}{step}\n\nWhat it means\n  {meaning}\n\nUsual causes\n{causes}\nHow to mend it\n  {mend}\n\nExample\n{example}\n",
        code = reason.code(),
        title = reason.title(),
        status = reason.status().as_u16(),
        step = step(reason),
        meaning = page.meaning,
        mend = page.mend,
        example = example(reason),
    )
}

fn step(reason: Reason) -> String {
    reason
        .step()
        .map(|step| format!(", step {}", step.name()))
        .unwrap_or_default()
}

fn json(reason: Reason) -> String {
    let page = text::of(reason);
    let value = json!({
        "code": reason.code(),
        "title": reason.title(),
        "status": reason.status().as_u16(),
        "step": reason.step().map(crate::verdict::Step::name),
        "retryable": reason.retryable(),
        "meaning": page.meaning,
        "causes": page.causes,
        "mend": page.mend,
        "example": example(reason),
    });
    format!("{value:#}\n")
}

fn html(reason: Reason) -> String {
    let page = text::of(reason);
    let causes: String = page
        .causes
        .iter()
        .map(|cause| format!("<li>{}</li>", escaped(cause)))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{code}</title>\n<style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:2rem auto;padding:0 1rem}}pre{{overflow:auto;padding:1rem;border:1px solid}}</style>\n\
         <h1><code>{code}</code></h1>\n<p><strong>{title}</strong> ({status}{step})</p>\n<p>{meaning}</p>\n\
         <h2>Usual causes</h2>\n<ul>{causes}</ul>\n<h2>How to mend it</h2>\n<p>{mend}</p>\n<h2>Example</h2>\n<pre>{example}</pre>\n</html>\n",
        code = reason.code(),
        title = escaped(reason.title()),
        status = reason.status().as_u16(),
        step = step(reason),
        meaning = escaped(page.meaning),
        mend = escaped(page.mend),
        example = escaped(&example(reason)),
    )
}

/// The head of an answer with this reason.
fn example(reason: Reason) -> String {
    let status = reason.status();
    let mut example = format!("  HTTP/1.1 {status}\n");
    if reason.challenges() {
        example.push_str("  WWW-Authenticate: Bearer realm=\"api.example.com\"");
        if let Some(error) = reason.bearer_error() {
            example.push_str(&format!(", error=\"{error}\""));
        }
        example.push('\n');
    }
    example.push_str(&format!(
        "  Content-Type: application/problem+json\n\n  {{ \"status\": {}, \"code\": \"{}\", … }}",
        status.as_u16(),
        reason.code()
    ));
    example
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_page() {
        for reason in Reason::ALL {
            let page = text::of(*reason);
            assert!(
                page.meaning.len() > 20 && page.mend.len() > 10,
                "{}",
                reason.code()
            );
            assert!(!page.causes.is_empty(), "{}", reason.code());
            assert!(text(*reason).contains(reason.code()));
            let value: serde_json::Value = serde_json::from_str(&json(*reason)).expect("JSON");
            assert_eq!(value["code"], reason.code());
        }
    }
}
