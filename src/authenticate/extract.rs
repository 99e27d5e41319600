//! Step 0: exactly one bearer credential (RFC 6750 section 2.1, RFC 9110 section 11.6.2).
//!
//! `Bearer` in any case, one or more spaces, the token, nothing else. Two credentials are a
//! client that does not know which it means, and another reader behind us might choose the other
//! one, so that is 400 and not a guess.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Uri};

use super::Credential;
use super::error::{AuthenticationError, Malformed};
use super::near;
use crate::http::form;
use crate::policy::{Route, TokenPlace};
use crate::verdict::NearMiss;

pub(super) const SCHEME: &[u8] = b"bearer";

/// The protocol that a browser offers with the token behind it, since it can set no header.
pub(crate) const BEARER_PROTOCOL: &str = "bearer";

/// Finds the one token of a credential.
///
/// # Errors
/// There is none, there are several, or what is there is no bearer credential.
pub(crate) fn found<'a>(
    credential: Credential<'a>,
    route: &Route,
) -> Result<Cow<'a, [u8]>, AuthenticationError> {
    match credential {
        Credential::Of { uri, headers } => token(headers, uri, &route.token_from),
        Credential::Pasted(text) => pasted(text).map(Cow::Borrowed),
    }
}

/// The token of a text that somebody pasted: a token alone, or what stands in a request.
fn pasted(text: &[u8]) -> Result<&[u8], AuthenticationError> {
    const FIELD: &[u8] = b"authorization:";
    let text = text.trim_ascii();
    if text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        // No header can hold it.
        let near = Malformed::Near(NearMiss::LineBreak);
        return Err(AuthenticationError::Malformed(near));
    }
    let starts = |start: &[u8]| {
        let head = text.get(..start.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(start))
    };
    let is_field = starts(FIELD);
    let value = match is_field {
        true => text.get(FIELD.len()..).unwrap_or_default(),
        false => text,
    };
    let names_scheme = starts(SCHEME) && text.get(SCHEME.len()).is_none_or(u8::is_ascii_whitespace);
    match (is_field || names_scheme, text.is_empty()) {
        (true, _) => credential(value),
        (false, true) => Err(AuthenticationError::Missing),
        (false, false) => Ok(text),
    }
}

/// Finds the one token of a request, in the places that its route allows.
///
/// # Errors
/// There is none, there are several, or what is there is no bearer credential.
fn token<'a>(
    headers: &'a HeaderMap,
    uri: &'a Uri,
    places: &[TokenPlace],
) -> Result<Cow<'a, [u8]>, AuthenticationError> {
    if let [TokenPlace::Header] = places {
        return bearer(headers).map(Cow::Borrowed);
    }
    let mut found = None;
    for place in places {
        let here = match place {
            TokenPlace::Header => match bearer(headers) {
                Err(AuthenticationError::Missing) => continue,
                here => Cow::Borrowed(here?),
            },
            place => match at(place, headers, uri)? {
                Some(token) => Cow::Owned(token),
                None => continue,
            },
        };
        if found.replace(here).is_some() {
            return Err(AuthenticationError::Ambiguous);
        }
    }
    found.ok_or(AuthenticationError::Missing)
}

/// The place of a token that was found to be good, and the token, if it is not in the header.
pub(crate) fn elsewhere(
    headers: &HeaderMap,
    uri: &Uri,
    places: &[TokenPlace],
) -> Option<(TokenPlace, Vec<u8>)> {
    let mut others = places.iter().filter(|place| **place != TokenPlace::Header);
    others.find_map(|place| Some((place.clone(), at(place, headers, uri).ok()??)))
}

/// The token in a place that is not the header.
fn at(
    place: &TokenPlace,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Option<Vec<u8>>, AuthenticationError> {
    let mut values: Vec<Vec<u8>> = match place {
        TokenPlace::Header => Vec::new(),
        TokenPlace::Query(name) => {
            // What is badly escaped elsewhere in the query is the upstream's business.
            let pairs = uri.query().unwrap_or_default().split('&');
            let pairs = pairs.filter_map(|pair| pair.split_once('='));
            let own = pairs.filter(|(field, _)| {
                form::unescaped(field, true).is_some_and(|field| field == **name)
            });
            let malformed = AuthenticationError::Malformed(Malformed::Near(NearMiss::Trailing));
            let values =
                own.map(|(_, value)| form::unescaped(value, true).ok_or_else(|| malformed.clone()));
            let values = values.map(|value| value.map(String::into_bytes));
            values.collect::<Result<_, _>>()?
        }
        TokenPlace::Cookie(name) => {
            let cookies = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
            let pairs = cookies.flat_map(|value| value.split(|byte| *byte == b';'));
            let values = pairs.filter_map(|pair| {
                let pair = pair.trim_ascii();
                pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
            });
            values.map(<[u8]>::to_vec).collect()
        }
        TokenPlace::WebSocketProtocol => {
            let offered: Vec<_> = offered(headers).collect();
            let pairs = offered.windows(2).filter_map(|pair| match pair {
                [first, token] if *first == BEARER_PROTOCOL => Some(token.as_bytes().to_vec()),
                _ => None,
            });
            pairs.collect()
        }
    };
    match (values.pop(), values.is_empty()) {
        (Some(_), false) => Err(AuthenticationError::Ambiguous),
        (Some(token), true) if token.is_empty() => Err(AuthenticationError::Malformed(
            Malformed::Near(NearMiss::Empty),
        )),
        (token, _) => Ok(token),
    }
}

/// The protocols that a client offers for its WebSocket.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// What is offered beside `bearer` and the token behind it.
pub(crate) fn protocols_beside_token(headers: &HeaderMap) -> String {
    let mut rest = Vec::new();
    let mut offered = offered(headers);
    while let Some(protocol) = offered.next() {
        if protocol == BEARER_PROTOCOL {
            offered.next();
        } else {
            rest.push(protocol);
        }
    }
    rest.join(", ")
}

/// A target without a parameter of its query, the others as they are.
pub(crate) fn without_parameter(target: &str, name: &str) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let is_it = |pair: &&str| {
        let field = pair.split('=').next().unwrap_or_default();
        form::unescaped(field, true).is_some_and(|field| field == name)
    };
    let rest: Vec<_> = query.split('&').filter(|pair| !is_it(pair)).collect();
    match rest.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", rest.join("&")),
    }
}

/// The one bearer token of the header.
fn bearer(headers: &HeaderMap) -> Result<&[u8], AuthenticationError> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), second) = (fields.next(), fields.next()) else {
        return Err(AuthenticationError::Missing);
    };
    if second.is_some() {
        return Err(AuthenticationError::Ambiguous);
    }
    credential(field.as_bytes())
}

/// The token of one `Authorization` value.
fn credential(value: &[u8]) -> Result<&[u8], AuthenticationError> {
    let value = value.trim_ascii();
    if value.is_empty() {
        return Err(AuthenticationError::Missing);
    }
    let end = value
        .iter()
        .position(|byte| !byte.is_ascii_graphic() || *byte == b',')
        .unwrap_or(value.len());
    let (scheme, rest) = value.split_at_checked(end).unwrap_or((value, &[]));
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        if another_bearer(rest) {
            return Err(AuthenticationError::Ambiguous);
        }
        return Err(AuthenticationError::SchemeUnsupported(near::scheme(
            scheme, rest,
        )));
    }
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let token = rest.get(spaces..).unwrap_or_default();
    // JSON has commas of its own; and a comma at the end begins no other credential.
    let list = token.strip_suffix(b",").unwrap_or(token);
    if list.contains(&b',') && !token.starts_with(b"{") {
        return Err(AuthenticationError::Ambiguous);
    }
    let malformed = match (token.is_empty(), spaces) {
        (true, _) => Malformed::Near(NearMiss::Empty),
        // A tab, or another separator that is not a space.
        (false, 0) => Malformed::Near(NearMiss::Trailing),
        (false, _) => return Ok(token),
    };
    Err(AuthenticationError::Malformed(malformed))
}

/// A list of schemes with `Bearer` among them.
fn another_bearer(rest: &[u8]) -> bool {
    rest.split(|byte| *byte == b',').skip(1).any(|part| {
        let part = part.trim_ascii_start();
        part.get(..SCHEME.len())
            .is_some_and(|word| word.eq_ignore_ascii_case(SCHEME))
            && part.get(SCHEME.len()).is_none_or(u8::is_ascii_whitespace)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use AuthenticationError::{Ambiguous, Missing, SchemeUnsupported};

    #[test]
    fn one_header() {
        let malformed = |how| Err(AuthenticationError::Malformed(how));
        let other = |bare_token| Err(SchemeUnsupported(bare_token));
        type Extracted<'a> = Result<&'a [u8], AuthenticationError>;
        let cases: &[(&[u8], Extracted<'_>)] = &[
            (b"Bearer a.b.c", Ok(b"a.b.c")),
            (b"bEaReR    a.b.c", Ok(b"a.b.c")),
            (b"Bearer a.b.c ", Ok(b"a.b.c")),
            (b"", Err(Missing)),
            (b"   ", Err(Missing)),
            (b"Bearer", malformed(Malformed::Near(NearMiss::Empty))),
            (b"Bearer ", malformed(Malformed::Near(NearMiss::Empty))),
            (
                b"Bearer\ta.b.c",
                malformed(Malformed::Near(NearMiss::Trailing)),
            ),
            (b"Bearer a.b.c, Basic eA==", Err(Ambiguous)),
            (b"Basic eA==, Bearer a.b.c", Err(Ambiguous)),
            (b"Basic eA==", other(None)),
            (b"Digest username=\"a\", realm=\"b\"", other(None)),
            (b"Bearerx a", other(None)),
            (b"Bearer: eyJ.a.b", other(Some(NearMiss::BearerColon))),
            (b"\"Bearer eyJ.a.b\"", other(Some(NearMiss::HeaderQuoted))),
            (b"Token eyJ.a.b", other(Some(NearMiss::OtherWord))),
            (b"Bearer a.b.c,", Ok(b"a.b.c,")),
            (
                b"Bearer {\"access_token\":\"x\",\"a\":1}",
                Ok(b"{\"access_token\":\"x\",\"a\":1}"),
            ),
            (
                b"eyJhbGciOiJub25lIn0.e30.",
                other(Some(NearMiss::BareToken)),
            ),
        ];
        for (value, expected) in cases {
            let shown = String::from_utf8_lossy(value);
            assert_eq!(credential(value), *expected, "{shown}");
        }
    }

    #[test]
    fn pasted_texts() {
        let near = |near| Err(AuthenticationError::Malformed(Malformed::Near(near)));
        type Extracted<'a> = Result<&'a [u8], AuthenticationError>;
        let cases: &[(&[u8], Extracted<'_>)] = &[
            (b"a.b.c", Ok(b"a.b.c")),
            (b" a.b.c\n", Ok(b"a.b.c")),
            (b"Bearer a.b.c", Ok(b"a.b.c")),
            (b"Authorization: Bearer a.b.c\r\n", Ok(b"a.b.c")),
            (b"authorization: Basic eA==", Err(SchemeUnsupported(None))),
            (b"Bearer Bearer a.b.c", Ok(b"Bearer a.b.c")),
            (b"bearer", near(NearMiss::Empty)),
            (b"a.b\n.c", near(NearMiss::LineBreak)),
            (b"  ", Err(Missing)),
        ];
        for (text, expected) in cases {
            assert_eq!(pasted(text), *expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn two_headers_are_ambiguous_even_when_equal() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), Err(Missing));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert_eq!(bearer(&headers), Ok(b"a".as_slice()));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert_eq!(bearer(&headers), Err(Ambiguous));
    }
}
