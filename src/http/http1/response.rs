//! Writing a response's head (RFC 9112 section 4) and delimiting its body (section 6.3).

use std::io::Write as _;

use http::header::{self, HeaderMap};
use http::{Method, Response, StatusCode, Version};
use http_body::Body as _;

use crate::http::headers::has_option;
use crate::http::{Body, date};

/// What of the request decides how its response is framed.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) is_head: bool,
    pub(super) version: Version,
    /// The connection may go on after the response.
    pub(super) keep_alive: bool,
}

impl Asked {
    pub(super) fn new(method: &Method, version: Version, keep_alive: bool) -> Self {
        Self {
            is_head: *method == Method::HEAD,
            version,
            keep_alive,
        }
    }
}

/// How the body follows its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, whatever the head says.
    None,
    Length(u64),
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// What was written of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
}

/// Writes the head of a response.
pub(super) fn write_head(out: &mut Vec<u8>, response: &Response<Body>, asked: &Asked) -> Begun {
    let (status, headers) = (response.status(), response.headers());
    let framing = framing(response, asked);
    let is_upgrade = status == StatusCode::SWITCHING_PROTOCOLS;
    let keep_alive = asked.keep_alive
        && framing != Framing::UntilClose
        && !has_option(headers, header::CONNECTION, "close");
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut has_date = false;
    for (name, value) in headers {
        match *name {
            header::CONNECTION if !is_upgrade => continue,
            // What follows is framed by us.
            header::TRANSFER_ENCODING => continue,
            header::CONTENT_LENGTH if drops_length(status, framing) => continue,
            header::DATE => has_date = true,
            _ => {}
        }
        field(out, name.as_str(), value.as_bytes());
    }
    match framing {
        Framing::Chunked => field(out, "transfer-encoding", b"chunked"),
        Framing::Length(length) if !headers.contains_key(header::CONTENT_LENGTH) => {
            length_field(out, length);
        }
        Framing::None if asked.is_head => {
            let length = response.body().size_hint().exact().filter(|it| *it > 0);
            if let Some(length) = length
                && !headers.contains_key(header::CONTENT_LENGTH)
            {
                length_field(out, length);
            }
        }
        _ => {}
    }
    if !keep_alive && !is_upgrade {
        field(out, "connection", b"close");
    } else if asked.version == Version::HTTP_10 {
        field(out, "connection", b"keep-alive");
    }
    if !has_date {
        out.extend_from_slice(b"date: ");
        date::write(out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Begun {
        framing,
        keep_alive,
    }
}

fn framing(response: &Response<Body>, asked: &Asked) -> Framing {
    let status = response.status();
    let has_none = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_none || asked.is_head {
        return Framing::None;
    }
    match announced(response.headers()).or_else(|| response.body().size_hint().exact()) {
        Some(length) => Framing::Length(length),
        None if asked.version == Version::HTTP_11 => Framing::Chunked,
        None => Framing::UntilClose,
    }
}

/// The length that the head promises. What is in it was checked where it came in.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Where the length would say what the framing does not.
const fn drops_length(status: StatusCode, framing: Framing) -> bool {
    let has_no_length = status.as_u16() == 204 || status.as_u16() < 200;
    has_no_length || matches!(framing, Framing::Chunked | Framing::UntilClose)
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn length_field(out: &mut Vec<u8>, length: u64) {
    // Writing to a vector does not fail.
    let _ = write!(out, "content-length: {length}\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn head(response: &Response<Body>, asked: &Asked) -> (String, Begun) {
        let mut out = Vec::new();
        let begun = write_head(&mut out, response, asked);
        (String::from_utf8(out).expect("text"), begun)
    }

    fn response(status: u16, fields: &[(&str, &str)], body: &'static [u8]) -> Response<Body> {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let body = match body {
            [] => Body::Empty,
            body => Body::Fixed(Bytes::from_static(body)),
        };
        response.body(body).expect("a response")
    }

    #[test]
    fn every_body_has_one_end() {
        let ask =
            |method: &str, version| Asked::new(&method.parse().expect("a method"), version, true);
        let (get, old) = (ask("GET", Version::HTTP_11), ask("GET", Version::HTTP_10));
        let head_of = ask("HEAD", Version::HTTP_11);
        for (asked, status, fields, body, framing, told) in [
            (
                &get,
                200,
                &[][..],
                &b"hello"[..],
                Framing::Length(5),
                Some("5"),
            ),
            (&get, 200, &[], b"", Framing::Length(0), Some("0")),
            (
                &get,
                200,
                &[("content-length", "5")],
                b"hello",
                Framing::Length(5),
                Some("5"),
            ),
            (
                &head_of,
                200,
                &[("content-length", "5")],
                b"",
                Framing::None,
                Some("5"),
            ),
            (&head_of, 200, &[], b"hello", Framing::None, Some("5")),
            (&head_of, 200, &[], b"", Framing::None, None),
            (
                &get,
                304,
                &[("content-length", "5")],
                b"",
                Framing::None,
                Some("5"),
            ),
            (
                &get,
                204,
                &[("content-length", "0")],
                b"",
                Framing::None,
                None,
            ),
            (&old, 200, &[], b"hello", Framing::Length(5), Some("5")),
        ] {
            let response = response(status, fields, body);
            let (text, begun) = head(&response, asked);
            assert_eq!(begun.framing, framing, "{text}");
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            assert_eq!(length, told, "{text}");
            assert_eq!(text.matches("\r\ndate: ").count(), 1, "{text}");
            assert!(
                text.ends_with("\r\n\r\n") && !text.contains("transfer-encoding"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_connection_goes_on_as_both_sides_said() {
        let asked = |version, keep_alive| Asked::new(&Method::GET, version, keep_alive);
        for (version, keeps, fields, told) in [
            (Version::HTTP_11, true, &[][..], None),
            (Version::HTTP_11, false, &[], Some("close")),
            (Version::HTTP_10, true, &[], Some("keep-alive")),
            (Version::HTTP_10, false, &[], Some("close")),
            (
                Version::HTTP_11,
                true,
                &[("connection", "close")],
                Some("close"),
            ),
        ] {
            let (text, begun) = head(&response(200, fields, b"x"), &asked(version, keeps));
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("connection: "));
            assert_eq!(line, told, "{text}");
            assert_eq!(begun.keep_alive, told != Some("close"), "{text}");
        }
        let fields = [("connection", "upgrade"), ("upgrade", "websocket")];
        let (text, _) = head(&response(101, &fields, b""), &asked(Version::HTTP_11, true));
        assert!(text.contains("\r\nconnection: upgrade\r\n"), "{text}");
        assert!(!text.contains("content-length"), "{text}");
    }
}
