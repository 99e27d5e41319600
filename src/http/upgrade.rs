//! What a client wants its connection, or its stream, to become: `Upgrade` (RFC 9110 section 7.8), and
//! extended CONNECT over HTTP/2 (RFC 8441).

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Version};
use hyper::ext::Protocol;

use super::headers::has_option;

/// The protocol of WebSockets (RFC 6455).
pub(crate) const WEBSOCKET: &str = "websocket";
/// The longest name of a protocol.
const NAME_BYTES_MAX: usize = 64;

/// An upgrade that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upgrade {
    /// In lower case.
    pub(crate) protocol: Box<str>,
    /// It came as extended CONNECT: a stream is to be upgraded, and not a connection.
    pub(crate) of_stream: bool,
}

impl Upgrade {
    pub(crate) fn is_websocket(&self) -> bool {
        *self.protocol == *WEBSOCKET
    }
}

/// The upgrade that a request asks for, if it is one that can be carried out: one protocol, with GET and
/// without a body. An extended CONNECT for a WebSocket becomes the GET that it stands for.
pub(crate) fn asked(parts: &mut Parts, has_body: bool) -> Option<Upgrade> {
    if parts.version == Version::HTTP_2 {
        let protocol = parts.extensions.get::<Protocol>()?;
        if parts.method != Method::CONNECT || protocol.as_str() != WEBSOCKET {
            return None;
        }
        parts.method = Method::GET;
        return Some(Upgrade {
            protocol: WEBSOCKET.into(),
            of_stream: true,
        });
    }
    let headers = &parts.headers;
    let protocol = one(headers, &UPGRADE)?;
    let is_asked = parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && !has_body
        && has_option(headers, CONNECTION, "upgrade");
    is_asked.then_some(Upgrade {
        protocol,
        of_stream: false,
    })
}

/// The one protocol that a header section names, in lower case.
pub(crate) fn one(headers: &HeaderMap, name: &HeaderName) -> Option<Box<str>> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let value = value.to_str().ok()?.trim();
    is_protocol(value).then(|| value.to_ascii_lowercase().into())
}

/// Whether a text is the name of a protocol, perhaps with its version.
pub(crate) fn is_protocol(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+/".contains(&byte);
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn upgrades() {
        let wanted = |method: &str, version, fields: &[(&str, &str)], has_body| {
            let mut request = Request::builder().method(method).version(version);
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let (mut parts, ()) = request.body(()).expect("a request").into_parts();
            asked(&mut parts, has_body).map(|upgrade| upgrade.protocol)
        };
        let websocket = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
        ];
        let get = |fields: &[(&str, &str)]| wanted("GET", Version::HTTP_11, fields, false);
        assert_eq!(get(&websocket).as_deref(), Some("websocket"));
        assert_eq!(get(&[("upgrade", "websocket")]), None, "not for this hop");
        assert_eq!(get(&[("connection", "upgrade")]), None);
        for several in ["websocket, h2c", "", "a b", "x\"y"] {
            assert_eq!(
                get(&[("connection", "upgrade"), ("upgrade", several)]),
                None
            );
        }
        assert_eq!(wanted("GET", Version::HTTP_11, &websocket, true), None);
        assert_eq!(wanted("POST", Version::HTTP_11, &websocket, false), None);
        assert_eq!(wanted("GET", Version::HTTP_10, &websocket, false), None);
        assert_eq!(wanted("CONNECT", Version::HTTP_2, &websocket, false), None);
    }
}
