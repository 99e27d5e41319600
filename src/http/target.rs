//! The request target, checked and never rewritten (RFC 9112 section 3.2, RFC 3986).
//!
//! The path that is matched is the path that is sent. Whatever another reader could take for a
//! different path is refused: dot segments (also `..;x`), backslashes, controls, escapes that are
//! cut, that hide a slash, a dot, a letter or a digit, or that are no UTF-8, and empty segments. A
//! route for `/admin` could otherwise be passed by `/%61dmin` under a laxer route.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Method, Uri};

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("the authority is missing, given twice, or malformed")]
    Authority,
    #[error("the Host header and the target name different authorities")]
    AuthorityConflict,
    #[error("the target is not a path or an absolute URI")]
    Form,
    #[error("the path has a dot segment")]
    DotSegment,
    #[error("the path has an empty segment")]
    EmptySegment,
    #[error("the path has a backslash, a control or another byte that must be escaped")]
    Byte,
    #[error(
        "the path has an escape that is cut, not UTF-8, or hides a letter, digit, dot or slash"
    )]
    Escape,
}

impl TargetError {
    /// What the client can do.
    pub(crate) const fn mend(self) -> &'static str {
        match self {
            Self::Authority => {
                "Send one Host header: a name or an address, with or without a port, and nothing else."
            }
            Self::AuthorityConflict => "Send the Host header that the target's authority is.",
            Self::Form => "Ask for a path. CONNECT and `OPTIONS *` are not for an API's gateway.",
            Self::DotSegment | Self::EmptySegment | Self::Byte | Self::Escape => {
                "Send the path in its one plain form, without dot segments, empty segments and needless escapes."
            }
        }
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// Lower case, without a port.
    pub(crate) host: Cow<'a, str>,
    pub(crate) path: &'a str,
    /// An escaped slash is in the path; only some routes allow that.
    pub(crate) encoded_slash: bool,
}

impl<'a> Target<'a> {
    /// Checks the target of a request.
    ///
    /// # Errors
    /// It could be read in more than one way.
    pub(crate) fn check(
        method: &Method,
        uri: &'a Uri,
        headers: &'a HeaderMap,
    ) -> Result<Self, TargetError> {
        if method == Method::CONNECT {
            return Err(TargetError::Form);
        }
        let host = host(uri, headers)?;
        let path = uri.path();
        // A query without a path would be matched as `/` and sent as it is.
        let whole = uri.path_and_query().map_or("/", |whole| whole.as_str());
        if !path.starts_with('/') || !whole.starts_with('/') {
            return Err(TargetError::Form);
        }
        let encoded_slash = check_path(path)?;
        Ok(Self {
            host,
            path,
            encoded_slash,
        })
    }
}

/// The host of the one authority that target and `Host` agree on (RFC 9112 section 3.2).
pub(crate) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<Cow<'a, str>, TargetError> {
    let mut fields = headers.get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => Some(field.to_str().map_err(|_| TargetError::Authority)?),
        (None, None) => None,
        _ => return Err(TargetError::Authority),
    };
    let target = uri.authority().map(Authority::as_str);
    match (target, field) {
        (Some(target), Some(field)) if !target.eq_ignore_ascii_case(field) => {
            host_of(field)?;
            Err(TargetError::AuthorityConflict)
        }
        (Some(authority), _) | (None, Some(authority)) => host_of(authority),
        (None, None) => Err(TargetError::Authority),
    }
}

/// The host of an authority, in lower case, an IPv6 address in its one canonical form. One name or
/// address: no list, no user, no escape, no dot at the end, which would make another name of the
/// same host.
fn host_of(authority: &str) -> Result<Cow<'_, str>, TargetError> {
    let fault = TargetError::Authority;
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, behind) = rest.split_once(']').ok_or(fault)?;
        let address: Ipv6Addr = address.parse().map_err(|_| fault)?;
        let port = match behind {
            "" => None,
            _ => Some(behind.strip_prefix(':').ok_or(fault)?),
        };
        (Cow::Owned(format!("[{address}]")), port)
    } else {
        let (name, port) = match authority.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if name.is_empty()
            || !name.bytes().all(plain)
            || name.ends_with('.')
            || name.starts_with('.')
            || name.contains("..")
        {
            return Err(fault);
        }
        let lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
        let name = if lower {
            Cow::Borrowed(name)
        } else {
            Cow::Owned(name.to_ascii_lowercase())
        };
        (name, port)
    };
    let digits =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    if !port.is_none_or(digits) {
        return Err(fault);
    }
    Ok(host)
}

/// Checks every segment; whether an escaped slash is among them.
fn check_path(path: &str) -> Result<bool, TargetError> {
    let bytes = path.as_bytes();
    // The usual path has letters, digits, `-`, `_`, `~` and single slashes: one pass, no escape.
    let mut encoded_slash = false;
    if bytes.contains(&b'%') {
        encoded_slash = check_escapes(bytes)?;
    }
    check_segments(bytes)?;
    if encoded_slash {
        // An upstream may decode before it splits: its segments must be sound too.
        let decoded = path.replace("%2F", "/").replace("%2f", "/");
        check_segments(decoded.as_bytes())?;
    }
    Ok(encoded_slash)
}

fn check_segments(bytes: &[u8]) -> Result<(), TargetError> {
    let mut segments = bytes.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(TargetError::EmptySegment);
        }
        if segment.iter().any(|byte| {
            *byte <= b' '
                || *byte >= 0x7f
                || matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'^' | b'`')
        }) {
            return Err(TargetError::Byte);
        }
        let name = segment
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        if matches!(name, b"." | b"..") {
            return Err(TargetError::DotSegment);
        }
    }
    Ok(())
}

/// Checks the escapes of a path (RFC 3986 sections 2.1 and 6.2.2.2).
fn check_escapes(path: &[u8]) -> Result<bool, TargetError> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut encoded_slash = false;
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let (Some(high), Some(low)) = (hex(rest.next()), hex(rest.next())) else {
            return Err(TargetError::Escape);
        };
        let byte = u8::try_from(high * 16 + low).map_err(|_| TargetError::Escape)?;
        match byte {
            b'/' => encoded_slash = true,
            b'.' | b'-' | b'_' | b'\\' | 0x7f => return Err(TargetError::Escape),
            _ if byte < b' ' || byte.is_ascii_alphanumeric() => return Err(TargetError::Escape),
            _ => {}
        }
        decoded.push(byte);
    }
    // Overlong forms are not UTF-8 and fall with the rest.
    std::str::from_utf8(&decoded).map_err(|_| TargetError::Escape)?;
    Ok(encoded_slash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use TargetError::{Byte, DotSegment, EmptySegment, Escape};

    #[test]
    fn paths() {
        for (path, expected) in [
            ("/", Ok(false)),
            ("/orders/42/", Ok(false)),
            ("/a~b-c_d.e;v=1,x:y@z!$&'()*+=", Ok(false)),
            ("/%C3%A9%20x%7E", Ok(false)),
            ("/.well-known/x", Ok(false)),
            ("/a..b/...", Ok(false)),
            ("/a%2Fb", Ok(true)),
            ("/a%2fb", Ok(true)),
            ("/a/..%2Fb", Err(DotSegment)),
            ("/a%2f..%2Fb", Err(DotSegment)),
            ("/a%2F%2Fb", Err(EmptySegment)),
            ("/a/%2Fb", Err(EmptySegment)),
            ("//", Err(EmptySegment)),
            ("/a//b", Err(EmptySegment)),
            ("/a/./b", Err(DotSegment)),
            ("/a/..", Err(DotSegment)),
            ("/a/..;x/b", Err(DotSegment)),
            ("/a/.;/b", Err(DotSegment)),
            ("/a\\b", Err(Byte)),
            ("/a%5cb", Err(Escape)),
            ("/%2e%2e/b", Err(Escape)),
            ("/.%2e/b", Err(Escape)),
            ("/%61dmin", Err(Escape)),
            ("/%00", Err(Escape)),
            ("/%0a", Err(Escape)),
            ("/%7f", Err(Escape)),
            ("/%", Err(Escape)),
            ("/%4", Err(Escape)),
            ("/%zz", Err(Escape)),
            ("/%c0%af", Err(Escape)),
            ("/%e0%80%af", Err(Escape)),
            ("/%ff", Err(Escape)),
        ] {
            assert_eq!(check_path(path), expected, "{path}");
        }
    }

    fn check(uri: &str, hosts: &[&str]) -> Result<String, TargetError> {
        let uri: Uri = uri.parse().expect("a URI");
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().expect("a value"));
        }
        Target::check(&Method::GET, &uri, &headers).map(|target| target.host.into())
    }

    #[test]
    fn authorities() {
        let conflict = Err(TargetError::AuthorityConflict);
        let bad = Err(TargetError::Authority);
        for (uri, hosts, expected) in [
            ("/", vec!["API.test"], Ok("api.test".to_owned())),
            ("/", vec!["api.test:8443"], Ok("api.test".to_owned())),
            ("/", vec!["[::1]:8443"], Ok("[::1]".to_owned())),
            ("/", vec!["[0:0::0:1]"], Ok("[::1]".to_owned())),
            ("/", vec![], bad.clone()),
            ("/", vec!["a.test", "a.test"], bad.clone()),
            ("/", vec![""], bad.clone()),
            ("/", vec!["user@a.test"], bad.clone()),
            ("/", vec!["a.test:"], bad.clone()),
            ("/", vec!["a.test."], bad.clone()),
            ("/", vec!["a..test"], bad.clone()),
            ("/", vec!["a.test,b.test"], bad.clone()),
            ("/", vec!["a%2etest"], bad.clone()),
            ("/", vec!["a.test:99999"], bad.clone()),
            ("/", vec!["a.test/x"], bad),
            ("http://a.test/", vec!["A.test"], Ok("a.test".to_owned())),
            ("http://a.test/", vec![], Ok("a.test".to_owned())),
            ("http://a.test/", vec!["b.test"], conflict.clone()),
            ("http://a.test:1/", vec!["a.test:2"], conflict),
        ] {
            assert_eq!(check(uri, &hosts), expected, "{uri} {hosts:?}");
        }
        assert_eq!(
            Target::check(&Method::OPTIONS, &Uri::from_static("*"), &{
                let mut headers = HeaderMap::new();
                headers.insert(HOST, http::HeaderValue::from_static("a"));
                headers
            }),
            Err(TargetError::Form)
        );
    }

    #[test]
    fn any_target_that_is_taken_has_one_reading() {
        crate::fuzz::target("target", |bytes| {
            let Ok(uri) = Uri::try_from(bytes) else {
                return;
            };
            let mut headers = HeaderMap::new();
            if let Some(authority) = uri.authority()
                && let Ok(host) = http::HeaderValue::from_str(authority.as_str())
            {
                headers.insert(HOST, host);
            } else {
                headers.insert(HOST, http::HeaderValue::from_static("a.test"));
            }
            let Ok(target) = Target::check(&Method::GET, &uri, &headers) else {
                return;
            };
            // Whoever decodes it once, or twice, gets to no other place.
            let mut path = target.path.as_bytes().to_vec();
            for _ in 0..2 {
                let text = String::from_utf8(path.clone()).expect("UTF-8");
                let slashes = text.replace('\\', "/");
                let segments: Vec<_> = slashes.split('/').skip(1).collect();
                let (last, inner) = segments.split_last().expect("one at least");
                for segment in inner.iter().chain([last]) {
                    let name = segment.split(';').next().unwrap_or_default();
                    assert!(!matches!(name, "." | ".."), "{text}");
                }
                if !target.encoded_slash {
                    assert!(inner.iter().all(|segment| !segment.is_empty()), "{text}");
                }
                path = decoded(&path);
            }
        });
    }

    fn decoded(path: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = path;
        while let Some((byte, behind)) = rest.split_first() {
            let escape = (*byte == b'%').then(|| behind.get(..2)).flatten();
            let hex = escape.and_then(|hex| std::str::from_utf8(hex).ok());
            match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) => {
                    out.push(byte);
                    rest = behind.get(2..).unwrap_or_default();
                }
                None => {
                    out.push(*byte);
                    rest = behind;
                }
            }
        }
        out
    }
}
