//! What an answer's headers say of time: how long it stays fresh (RFC 9111 section 4.2), and what
//! the other side's clock shows.

use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES};
use http::{HeaderMap, HeaderName};

use crate::clock::UnixTime;

/// How long the answer says that it stays fresh; `None` if it says nothing. `no-store`, `no-cache`
/// and an `Expires` that is no date are "not at all".
pub(crate) fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let mut max_age = None;
    for field in headers.get_all(CACHE_CONTROL) {
        for directive in field.to_str().unwrap_or_default().split(',') {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim(), value.trim().trim_matches('"')),
                None => (directive.trim(), ""),
            };
            let is = |word: &str| name.eq_ignore_ascii_case(word);
            if is("no-store") || is("no-cache") {
                return Some(Duration::ZERO);
            }
            if is("max-age") && max_age.is_none() {
                // What cannot be read is stale (RFC 9111 section 4.2.1).
                max_age = Some(value.parse::<u32>().unwrap_or(0));
            }
        }
    }
    if let Some(max_age) = max_age {
        let left = max_age.saturating_sub(age(headers));
        return Some(Duration::from_secs(left.into()));
    }
    headers.get(EXPIRES)?;
    let (expires, date) = (time_in(headers, &EXPIRES), date(headers));
    Some(match (expires, date) {
        (Some(expires), Some(date)) => expires.since(date),
        _ => Duration::ZERO,
    })
}

/// What the other side's clock shows now, in whole seconds: the `Date` of the answer (RFC 9110 section
/// 6.6.1) and its `Age` in caches on the way.
pub(crate) fn date(headers: &HeaderMap) -> Option<UnixTime> {
    let age = Duration::from_secs(age(headers).into());
    Some(time_in(headers, &DATE)?.plus(age))
}

fn age(headers: &HeaderMap) -> u32 {
    let text = headers.get(AGE).and_then(|age| age.to_str().ok());
    text.and_then(|age| age.trim().parse().ok()).unwrap_or(0)
}

fn time_in(headers: &HeaderMap, name: &HeaderName) -> Option<UnixTime> {
    UnixTime::parse_http_date(headers.get(name)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness() {
        type Fields<'a> = &'a [(&'a str, &'a str)];
        let cases: &[(Fields<'_>, Option<u64>)] = &[
            (&[], None),
            (&[("cache-control", "public, max-age=300")], Some(300)),
            (&[("cache-control", "MAX-AGE=\"300\"")], Some(300)),
            (
                &[("cache-control", "max-age=300"), ("age", "100")],
                Some(200),
            ),
            (&[("cache-control", "max-age=300"), ("age", "400")], Some(0)),
            (&[("cache-control", "max-age=soon")], Some(0)),
            (&[("cache-control", "max-age=-1")], Some(0)),
            (&[("cache-control", "max-age=300, no-store")], Some(0)),
            (&[("cache-control", "no-cache")], Some(0)),
            (&[("cache-control", "public")], None),
            (&[("expires", "0")], Some(0)),
            (
                &[
                    ("date", "Tue, 24 Nov 2026 15:04:05 GMT"),
                    ("expires", "Tue, 24 Nov 2026 15:14:05 GMT"),
                ],
                Some(600),
            ),
            (
                &[
                    ("date", "Tue, 24 Nov 2026 15:04:05 GMT"),
                    ("expires", "Tue, 24 Nov 2026 15:04:00 GMT"),
                ],
                Some(0),
            ),
            (
                &[
                    ("cache-control", "max-age=60"),
                    ("expires", "Tue, 24 Nov 2026 15:14:05 GMT"),
                ],
                Some(60),
            ),
        ];
        for (fields, seconds) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in *fields {
                let name = HeaderName::from_static(name);
                headers.append(name, http::HeaderValue::from_static(value));
            }
            let found = fresh_for(&headers);
            assert_eq!(found.map(|fresh| fresh.as_secs()), *seconds, "{fields:?}");
        }
    }
}
