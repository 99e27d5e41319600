//! A request's head from its fields (RFC 9113 section 8.3.1), and its trailers.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, Method, Request, Uri, Version};
use std::borrow::Cow;

use super::fields::{Field, Name, Pseudo, Value};
use crate::http::expect;
use crate::http::headers::digits;
use crate::http::serve::{FIELDS_MAX, Unreadable};
use crate::http::upgrade::Protocol;

/// Fields of a usual request.
const FIELDS: usize = 16;

/// What is gathered of a header block.
#[derive(Debug)]
pub(super) struct Fields {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    protocol: Option<Bytes>,
    headers: HeaderMap,
    /// As a list counts them (RFC 9113 section 6.5.2).
    bytes: usize,
    bytes_max: usize,
    malformed: bool,
}

/// A request without its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request<()>,
    /// The length of its body, where it says so.
    pub(super) length: Option<u64>,
    /// It waits for a word before it sends its body (RFC 9110 section 10.1.1).
    pub(super) expects_continue: bool,
    /// Its stream is to become something else (RFC 8441).
    pub(super) connects: bool,
}

/// Why there is no request in a header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// RFC 9113 section 8.1.1.
    Malformed,
    /// It is one, but more than can be looked at.
    TooLarge(Unreadable),
}

impl Fields {
    /// None yet, of at most so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            method: None,
            scheme: None,
            authority: None,
            path: None,
            protocol: None,
            headers: HeaderMap::with_capacity(FIELDS),
            bytes: 0,
            bytes_max,
            malformed: false,
        }
    }

    /// Takes the next field.
    pub(super) fn take(&mut self, field: Cow<'_, Field>) {
        self.bytes += field.bytes;
        // What is too much is not kept, nor made.
        if self.bytes > self.bytes_max {
            return;
        }
        let field = field.into_owned();
        match (field.name, field.value) {
            (Name::Pseudo(pseudo), Value::Pseudo(value)) => self.take_pseudo(pseudo, value),
            (Name::Ordinary(name), Value::Ordinary(value)) if may_be_here(&name, &value) => {
                // Without a panic, however many there are.
                self.malformed |= self.headers.try_append(name, value).is_err();
            }
            _ => self.malformed = true,
        }
    }

    fn take_pseudo(&mut self, pseudo: Pseudo, value: Bytes) {
        let place = match pseudo {
            Pseudo::Method => &mut self.method,
            Pseudo::Scheme => &mut self.scheme,
            Pseudo::Authority => &mut self.authority,
            Pseudo::Path => &mut self.path,
            Pseudo::Protocol => &mut self.protocol,
        };
        // Each once, and before all other fields.
        self.malformed |= place.is_some() || !self.headers.is_empty();
        *place = Some(value);
    }

    /// The trailers that these fields are.
    pub(super) fn trailers(self) -> Result<HeaderMap, Unfit> {
        let pseudo = [
            self.method,
            self.scheme,
            self.authority,
            self.path,
            self.protocol,
        ];
        if self.malformed || self.bytes > self.bytes_max || pseudo.iter().any(Option::is_some) {
            return Err(Unfit::Malformed);
        }
        Ok(self.headers)
    }

    /// The request that these fields begin.
    pub(super) fn request(self) -> Result<Head, Unfit> {
        if self.malformed {
            return Err(Unfit::Malformed);
        }
        if self.bytes > self.bytes_max {
            return Err(Unfit::TooLarge(Unreadable::HeadersTooLarge));
        }
        if self.headers.len() > FIELDS_MAX && fields(&self.headers) > FIELDS_MAX {
            return Err(Unfit::TooLarge(Unreadable::TooManyHeaders));
        }
        let length = length(&self.headers)?;
        let method = self.method.ok_or(Unfit::Malformed)?;
        let method = Method::from_bytes(&method).map_err(|_| Unfit::Malformed)?;
        let connects = self.protocol.is_some();
        let is_plain_connect = method == Method::CONNECT && !connects;
        if connects && method != Method::CONNECT {
            return Err(Unfit::Malformed);
        }
        let uri = if is_plain_connect {
            if self.scheme.is_some() || self.path.is_some() {
                return Err(Unfit::Malformed);
            }
            let authority = self.authority.ok_or(Unfit::Malformed)?;
            let mut parts = http::uri::Parts::default();
            parts.authority = Some(authority_of(authority)?);
            Uri::from_parts(parts)
        } else {
            let scheme = self.scheme.ok_or(Unfit::Malformed)?;
            let path = self.path.ok_or(Unfit::Malformed)?;
            let mut parts = http::uri::Parts::default();
            // A scheme stands in a URI only beside an authority.
            let scheme = scheme_of(&scheme)?;
            if let Some(authority) = self.authority {
                parts.scheme = Some(scheme);
                parts.authority = Some(authority_of(authority)?);
            }
            parts.path_and_query = Some(path_of(path)?);
            Uri::from_parts(parts)
        };
        let mut request = Request::new(());
        if let Some(protocol) = self.protocol {
            let protocol = str::from_utf8(&protocol).map_err(|_| Unfit::Malformed)?;
            request.extensions_mut().insert(Protocol(protocol.into()));
        }
        let expects_continue = expect::is_asked(&self.headers);
        *request.method_mut() = method;
        *request.uri_mut() = uri.map_err(|_| Unfit::Malformed)?;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers;
        Ok(Head {
            request,
            length,
            expects_continue,
            connects,
        })
    }
}

/// Whether a field is for the message and not for a connection (RFC 9113 section 8.2.2).
fn may_be_here(name: &HeaderName, value: &HeaderValue) -> bool {
    match *name {
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => false,
        header::TE => value.as_bytes().eq_ignore_ascii_case(b"trailers"),
        _ => !matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}

/// The length that a request promises, told once or several times (RFC 9110 section 8.6).
fn length(headers: &HeaderMap) -> Result<Option<u64>, Unfit> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let told = digits(value).ok_or(Unfit::Malformed)?;
        if length.is_some_and(|length| length != told) {
            return Err(Unfit::Malformed);
        }
        length = Some(told);
    }
    Ok(length)
}

/// How many fields there are, the pieces of a cookie counted as one (RFC 9113 section 8.2.3).
fn fields(headers: &HeaderMap) -> usize {
    let pieces = headers.get_all(header::COOKIE).iter().count();
    headers.len() - pieces.saturating_sub(1)
}

fn scheme_of(scheme: &[u8]) -> Result<Scheme, Unfit> {
    match scheme {
        b"https" => Ok(Scheme::HTTPS),
        b"http" => Ok(Scheme::HTTP),
        other => Scheme::try_from(other).map_err(|_| Unfit::Malformed),
    }
}

fn authority_of(authority: Bytes) -> Result<Authority, Unfit> {
    Authority::from_maybe_shared(authority).map_err(|_| Unfit::Malformed)
}

fn path_of(path: Bytes) -> Result<PathAndQuery, Unfit> {
    // What the `http` crate holds of one.
    if path.len() >= usize::from(u16::MAX) {
        return Err(Unfit::TooLarge(Unreadable::TargetTooLong));
    }
    let begins = path.first() == Some(&b'/') || *path == *b"*";
    // The `http` crate cuts a fragment off, where others read it.
    if !begins || path.contains(&b'#') {
        return Err(Unfit::Malformed);
    }
    PathAndQuery::from_maybe_shared(path).map_err(|_| Unfit::Malformed)
}
