//! An explanation on a terminal: header and claims laid out, then each check.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::cli::output::{Paint, data};
use crate::clock::{UnixTime, spoken};
use crate::explain::{Explanation, State, Told};
use crate::observe::shown;

/// Where the keys were from, a line an issuer.
pub(super) type Keys = Vec<String>;

/// Characters of a claim that are shown.
const VALUE_CHARS_MAX: usize = 300;
/// Claims that are times (RFC 7519 section 4.1, OpenID Connect Core section 2).
const TIMES: [&str; 5] = ["exp", "nbf", "iat", "auth_time", "updated_at"];

/// Header and claims for whoever holds the token; `None` if it is no token.
pub(super) fn says(text: &[u8]) -> Option<[Value; 2]> {
    let token = text.rsplit(|byte| byte.is_ascii_whitespace()).next()?;
    let mut parts = token.split(|byte| *byte == b'.');
    let mut part = || {
        let json = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        serde_json::from_slice::<Value>(&json).ok()
    };
    Some([part()?, part()?])
}

/// Writes an explanation for a person.
pub(super) fn print(explanation: &Explanation, says: Option<&[Value; 2]>, keys: &[String]) {
    let paint = Paint::of_stdout();
    let now = UnixTime::parse_rfc3339(&explanation.at).unwrap_or_default();
    if let Some([header, claims]) = says {
        for (title, value) in [("header", header), ("claims", claims)] {
            data(&paint.bold(title));
            for line in members(value.as_object(), now) {
                data(&format!("  {line}"));
            }
        }
        data("");
    }
    let route = explanation.route.as_deref().unwrap_or_default();
    data(&format!(
        "route {route}, method {}, at {}",
        explanation.method, explanation.at
    ));
    for line in keys {
        data(line);
    }
    data("");
    print_steps(paint, &explanation.steps);
    match (explanation.allowed, explanation.status) {
        (false, Some(status)) => {
            if explanation
                .steps
                .iter()
                .all(|told| told.state != State::Failed)
            {
                // It was not about the token.
                let member = |name| explanation.refusal.as_ref()?.get(name)?.as_str();
                for text in [member("detail"), member("hint")].into_iter().flatten() {
                    data(text);
                }
            }
            let refused = format!("refused: {status} {}", explanation.code);
            data(&format!("\n{}", paint.red(&refused)));
            data(&format!("more: bearward explain {}", explanation.code));
        }
        _ => {
            let open = explanation.steps.iter();
            let open = open.filter(|told| told.state == State::Skipped);
            let open: Vec<_> = open.map(|told| &*told.check).collect();
            let but = match open.is_empty() {
                true => String::new(),
                false => format!(
                    ", as far as could be told here: not looked at is {}",
                    open.join(", ")
                ),
            };
            data(&format!("\n{}{but}", paint.green("allowed")));
        }
    }
}

/// Writes each check on a line, with what was found and what to do.
pub(in crate::cli) fn print_steps(paint: Paint, steps: &[Told]) {
    for told in steps {
        let text = told.text.as_deref().unwrap_or_default();
        let (mark, word) = match told.state {
            State::Passed => (paint.green("✓"), "passed"),
            State::Failed => (paint.red("✗"), "FAILED"),
            State::NotReached => (paint.dim("·"), "not reached"),
            State::Skipped => (paint.dim("?"), "skipped"),
        };
        data(format!("{mark} {:<11} {word:<11} {text}", told.check).trim_end());
        if let Some(found) = &told.found {
            data(&format!("{:>26}found: {found}", ""));
        }
        if let Some(expected) = &told.expected {
            data(&format!("{:>26}expected: {expected}", ""));
        }
        if let Some(hint) = &told.hint {
            data(&format!("{:>26}to do: {hint}", ""));
        }
    }
}

/// The members of an object, a line each; times as dates and distances too.
fn members(object: Option<&Map<String, Value>>, now: UnixTime) -> Vec<String> {
    let Some(object) = object else {
        return vec!["(no JSON object)".to_owned()];
    };
    let width = object.keys().map(|name| name.chars().count()).max();
    let width = width.unwrap_or_default().min(24);
    object
        .iter()
        .map(|(name, value)| {
            let time = TIMES.contains(&name.as_str()).then(|| value.as_f64());
            let time = time.flatten().and_then(UnixTime::from_numeric_date);
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let text = shown(&text, VALUE_CHARS_MAX);
            let name = shown(name, VALUE_CHARS_MAX);
            let distance = |at: UnixTime| match at > now {
                true => format!("in {}", spoken(at.since(now))),
                false => format!("{} ago", spoken(now.since(at))),
            };
            match time {
                Some(at) => {
                    format!("{name:<width$}  {text}  {}, {}", at.rfc3339(), distance(at))
                }
                None => format!("{name:<width$}  {text}"),
            }
        })
        .collect()
}
