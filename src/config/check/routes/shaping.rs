//! What a route changes of what passes: where tokens are looked for, paths, headers of responses.

use http::{HeaderName, HeaderValue};

use super::Parts;
use crate::config::check::Checker;
use crate::config::check::issuers::span_of;
use crate::config::node::{Node, Value};
use crate::config::value;
use crate::http::headers::ends_here;
use crate::limit::{Buckets, Quota};
use crate::policy::{PathPattern, Per, RateLimit, ResponseHeaders, TokenPlace};

/// Subjects, clients or peers that the limit of one route remembers, about: some 4 MiB.
const BUCKETS_MAX: usize = 100_000;
/// How a rate is written.
pub(in crate::config::check) const RATE_HELP: &str = "write \"100/s\", \"50/m\" or \"10/h\"";

impl Parts<'_> {
    /// Where the token is looked for.
    pub(super) fn token_from(&self, checker: &mut Checker<'_>) -> Vec<TokenPlace> {
        let Some(texts) = self.node.texts("token_from") else {
            return vec![TokenPlace::Header];
        };
        let what = &self.what;
        if texts.is_empty() {
            let message = format!("`token_from` of {what} is empty");
            checker.error("BW0104", message, &span_of(self.node, "token_from"));
        }
        let mut places = Vec::new();
        for (text, span) in texts {
            let place = match text.split_once(':') {
                None if text == "header" => Some(TokenPlace::Header),
                None if text == "websocket_protocol" => Some(TokenPlace::WebSocketProtocol),
                Some(("query", name)) if is_plain(name) => Some(TokenPlace::Query(name.into())),
                Some(("cookie", name)) if is_plain(name) => Some(TokenPlace::Cookie(name.into())),
                _ => None,
            };
            let Some(place) = place else {
                let message = format!("`token_from` of {what}: `{text}` is no place for a token");
                let help = "known: header, query:NAME, cookie:NAME, websocket_protocol";
                checker.error_help("BW0104", message, span, help);
                continue;
            };
            if matches!(place, TokenPlace::Query(_)) {
                let message = format!(
                    "{what} takes tokens from the query, where logs, caches and histories keep them (RFC 9700 section 4.3.2)"
                );
                checker.warn(
                    "BW0214",
                    message,
                    span,
                    "let clients send the Authorization header",
                );
            }
            if matches!(place, TokenPlace::Cookie(_)) {
                let message = format!(
                    "{what} takes tokens from a cookie, which browsers send along with requests of other sites"
                );
                let help = "give the cookie SameSite=Strict, or check the Origin in the service";
                checker.warn("BW0215", message, span, help);
            }
            if places.contains(&place) {
                let message = format!("`token_from` of {what}: `{text}` stands there twice");
                checker.error("BW0110", message, span);
            }
            places.push(place);
        }
        places
    }

    /// What is taken off the front of paths.
    pub(super) fn strip_prefix(
        &self,
        path: Option<&PathPattern>,
        checker: &mut Checker<'_>,
    ) -> Option<Box<str>> {
        let prefix = self.node.text("strip_prefix")?;
        let literal = &*path?.literal;
        let rest = literal.strip_prefix(prefix.as_str());
        let whole = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !prefix.starts_with('/') || prefix.ends_with('/') || !whole {
            let message = format!(
                "`strip_prefix` of {} is not the beginning of its path, in whole segments: `{prefix}`",
                self.what
            );
            let help = "for path = \"/orders/{*rest}\" write \"/orders\"";
            checker.error_help("BW0104", message, &span_of(self.node, "strip_prefix"), help);
        }
        Some(prefix.into())
    }

    /// How often the route may be used; `None` also where that is faulty.
    pub(super) fn limit(&self, checker: &mut Checker<'_>) -> Option<RateLimit> {
        let node = self.node.table("limit")?;
        let what = format!("`limit` of {}", self.what);
        let per = checker.required(node, &what, "per");
        let (text, span) = checker.required(node, &what, "rate")?;
        let Some((number, time)) = value::rate(&text) else {
            let message = format!("`rate` of {what} is no rate: `{text}`");
            checker.error_help("BW0104", message, &span, RATE_HELP);
            return None;
        };
        let burst = match node.value("burst") {
            None => number,
            Some(_) => u32::try_from(node.count("burst")?).unwrap_or(u32::MAX),
        };
        let quota = Quota {
            every: time / number,
            burst,
        };
        Some(RateLimit {
            per: match per?.0.as_str() {
                "subject" => Per::Subject,
                "client" => Per::Client,
                "peer" => Per::Peer,
                _ => Per::Route,
            },
            buckets: Buckets::new(quota, BUCKETS_MAX).into(),
        })
    }

    /// What responses get and lose.
    pub(super) fn response_headers(&self, checker: &mut Checker<'_>) -> ResponseHeaders {
        let mut headers = ResponseHeaders::default();
        let Some(node) = self.node.table("response_headers") else {
            return headers;
        };
        let what = &self.what;
        for (name, value, span) in node.table("set").into_iter().flat_map(Node::values) {
            let Value::Text(text) = value else { continue };
            match (settable(name), HeaderValue::from_str(text)) {
                (Some(name), Ok(value)) => headers.set.push((name, value)),
                (None, _) => {
                    let message = format!("`response_headers` of {what}: `{name}` cannot be set");
                    checker.error("BW0104", message, span);
                }
                (_, Err(_)) => {
                    let message = format!(
                        "`response_headers` of {what}: the value of `{name}` is none of a header"
                    );
                    checker.error("BW0104", message, span);
                }
            }
        }
        for (name, span) in node.texts("remove").unwrap_or_default() {
            match settable(name) {
                Some(name) => headers.remove.push(name),
                None => {
                    let message =
                        format!("`response_headers` of {what}: `{name}` cannot be removed");
                    checker.error("BW0104", message, span);
                }
            }
        }
        headers
    }
}

/// The name of a parameter or a cookie.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !name.is_empty() && name.bytes().all(plain)
}

/// A field that is not of the framing, and that no other rule writes.
fn settable(name: &str) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let ours = matches!(
        name.as_str(),
        "content-length" | "via" | "www-authenticate" | "set-cookie" | "content-type"
    );
    let cors = name.as_str().starts_with("access-control-");
    (!ends_here(&name) && !ours && !cors).then_some(name)
}
