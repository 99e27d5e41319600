//! The help pages of the reasons, served under `/.well-known/bearward/problems/` and printed by
//! `bearward explain`: what it means, the usual causes, how to mend it, one example.

mod text;

use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::json;

use super::prefers_html;
use super::problem::escaped;
use crate::verdict::{NearMiss, Reason};

/// Short, readable in light and dark, and without anything from elsewhere.
const STYLE: &str = ":root{color-scheme:light dark;--line:#d5d9e0;--soft:#f4f6f9;--ink:#1c2230;--dim:#586074;--mark:#0b6b50}@media(prefers-color-scheme:dark){:root{--line:#343b4a;--soft:#1b2029;--ink:#e6e9f0;--dim:#9aa3b5;--mark:#4fd0a5}body{background:#12151b}}body{margin:0;color:var(--ink);font:1rem/1.6 system-ui,sans-serif}main{max-width:44rem;margin:0 auto;padding:3rem 1.25rem}.status{margin:0;color:var(--dim)}h1{margin:.25rem 0 0;font-size:1.9rem;letter-spacing:-.02em}h2{margin:2.2rem 0 .4rem;font-size:1.05rem}.title{margin-top:.25rem;font-size:1.15rem}.mend{padding:.8rem 1rem;background:var(--soft);border-left:4px solid var(--mark);border-radius:4px}dt{margin-top:.9rem;font-weight:600}dd{margin:0;color:var(--dim)}pre{overflow:auto;padding:1rem;background:var(--soft);border:1px solid var(--line);border-radius:6px;font-size:.875rem}";

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
        "{code}: {title}\n\nStatus {status}{step}\n\nWhat it means\n  {meaning}\n\nUsual causes\n{causes}\nHow to mend it\n  {mend}\n{near}\nExample\n{example}\n",
        code = reason.code(),
        title = reason.title(),
        status = reason.status().as_u16(),
        step = step(reason),
        meaning = page.meaning,
        mend = page.mend,
        near = near_misses_as_text(reason),
        example = example(reason),
    )
}

/// The slips that are known, each with what mends it.
fn near_misses_as_text(reason: Reason) -> String {
    let slips: String = NearMiss::of(reason)
        .map(|near| {
            let (name, says, mend) = (near.name(), near.says(), near.mend());
            format!("  {name}\n    {says}\n    {mend}\n")
        })
        .collect();
    match &*slips {
        "" => slips,
        _ => format!("\nWhat the body may name (`near_miss`)\n{slips}"),
    }
}

fn step(reason: Reason) -> String {
    reason
        .step()
        .map(|step| format!(", step {}", step.name()))
        .unwrap_or_default()
}

fn json(reason: Reason) -> String {
    let page = text::of(reason);
    let near_misses: Vec<_> = NearMiss::of(reason)
        .map(|near| json!({ "name": near.name(), "says": near.says(), "mend": near.mend() }))
        .collect();
    let value = json!({
        "code": reason.code(),
        "title": reason.title(),
        "status": reason.status().as_u16(),
        "step": reason.step().map(crate::verdict::Step::name),
        "retryable": reason.retryable(),
        "meaning": page.meaning,
        "causes": page.causes,
        "mend": page.mend,
        "near_misses": near_misses,
        "example": example(reason),
    });
    format!("{value:#}\n")
}

fn html(reason: Reason) -> String {
    let page = text::of(reason);
    let causes: String = page
        .causes
        .iter()
        .map(|cause| format!("<li>{}</li>", coded(cause)))
        .collect();
    let slips: String = NearMiss::of(reason)
        .map(|near| {
            format!(
                "<dt id=\"{name}\">{says} <code>{name}</code></dt><dd>{mend}</dd>",
                name = near.name(),
                says = coded(near.says()),
                mend = coded(near.mend())
            )
        })
        .collect();
    let slips = match &*slips {
        "" => slips,
        _ => format!("<h2>Does one of these fit?</h2>\n<dl>{slips}</dl>\n"),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{code}</title>\n<style>{STYLE}</style>\n\
         <main>\n<p class=\"status\">{status}{step}</p>\n<h1><code>{code}</code></h1>\n<p class=\"title\">{title}</p>\n<p>{meaning}</p>\n\
         <h2>How to mend it</h2>\n<p class=\"mend\">{mend}</p>\n{slips}<h2>Usual causes</h2>\n<ul>{causes}</ul>\n<h2>Example</h2>\n<pre tabindex=\"0\">{example}</pre>\n</main>\n</html>\n",
        code = reason.code(),
        title = escaped(reason.title()),
        status = reason.status().as_u16(),
        step = step(reason),
        meaning = coded(page.meaning),
        mend = coded(page.mend),
        example = escaped(&example(reason)),
    )
}

/// Text in HTML, with what stands between backticks as code.
fn coded(text: &str) -> String {
    let parts = escaped(text);
    let parts = parts.split('`').enumerate().map(|(n, part)| match n % 2 {
        0 => part.to_owned(),
        _ => format!("<code>{part}</code>"),
    });
    parts.collect()
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
