//! Claims of the caller as header values for the upstream.

use http::HeaderValue;

use crate::authenticate::Principal;
use crate::http::headers::encode_value;
use crate::oauth::Json;

/// The value of an identity header; `None` if the token has no such claim.
///
/// A string is sent as it is, with what no header may carry percent-escaped; a number or a truth
/// value in JSON's own form; the elements of an array with commas between them, their own commas
/// escaped. Other values have no form that every upstream reads alike and are left out.
pub(super) fn value(principal: &Principal, claim: &str) -> Option<HeaderValue> {
    match principal.claim(claim)? {
        Json::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(scalar).collect();
            let items: Vec<_> = items?
                .iter()
                .map(|item| item.replace(',', "\u{0}"))
                .collect();
            let joined = encode_value(&items.join(","));
            // A comma of an element went through as NUL, which the encoding escaped.
            let text = joined.to_str().ok()?.replace("%00", "%2C");
            HeaderValue::from_str(&text).ok()
        }
        other => scalar(other).map(|text| encode_value(&text)),
    }
}

fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::Text(text) => Some(text.to_string()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(truth) => Some(truth.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}
