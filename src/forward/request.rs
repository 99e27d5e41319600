//! The request that the upstream gets, and the response that the client gets, as header sections.
//!
//! One pass writes the client's fields without those that end at this hop, those that only a
//! trusted proxy may claim, and every spelling of those that only Bearward may set; then ours.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode, Version};

use super::tunnel::handshake;
use super::{ForwardError, HostHeader, Outgoing, Server, identity};
use crate::authenticate::Caller;
use crate::http::Body;
use crate::http::body::LimitedBody;
use crate::http::headers::{
    dashed_twin, ends_here, is_end_to_end, is_forwarding_claim, named_by_connection,
};
use crate::http::upgrade;

/// How the request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// The framing of the outgoing request, from what the client's framing was found to be.
pub(super) fn framing(outgoing: &Outgoing<'_>, body: Option<&LimitedBody>) -> Framing {
    let Some(body) = body else {
        return Framing::None;
    };
    match http_body::Body::size_hint(body).exact() {
        // A length of zero that the client gave is passed on: some servers demand one for POST.
        Some(0) if outgoing.headers.contains_key(header::CONTENT_LENGTH) => Framing::Length(0),
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

/// Writes the header section of the outgoing request.
pub(super) fn write_head(
    out: &mut Vec<u8>,
    outgoing: &Outgoing<'_>,
    (host, server): (HostHeader, &Server),
    framing: Framing,
) {
    out.clear();
    let headers = outgoing.headers;
    out.extend_from_slice(outgoing.method.as_str().as_bytes());
    out.push(b' ');
    let target = outgoing
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");

    let authority = authority(outgoing);
    let host = match host {
        HostHeader::Client => authority,
        HostHeader::Upstream => server.authority.as_bytes(),
    };
    field(out, b"host", host);
    let named = headers.contains_key(header::CONNECTION);
    let mut cookies = 0;
    for (name, value) in headers {
        let dropped = named && !is_end_to_end(name) && named_by_connection(headers, name);
        if dropped || is_ours(name, outgoing) {
            continue;
        }
        if *name == header::COOKIE && outgoing.version == Version::HTTP_2 {
            cookies += 1;
            continue;
        }
        field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    if cookies > 0 {
        write_cookies(out, headers);
    }
    match framing {
        Framing::None => {}
        Framing::Length(length) => field(out, b"content-length", length.to_string().as_bytes()),
        Framing::Chunked => field(out, b"transfer-encoding", b"chunked"),
    }
    if let Some((upgrade, key)) = &outgoing.upgrade {
        field(out, b"connection", b"upgrade");
        field(out, b"upgrade", upgrade.protocol.as_bytes());
        if upgrade.of_stream {
            field(out, b"sec-websocket-key", key.as_bytes());
        }
    }
    write_forwarded(out, outgoing, authority);
    if let Caller::Authenticated(principal) = outgoing.permit.caller() {
        for (name, claim) in &outgoing.route.identity {
            if let Some(value) = identity::value(principal, claim) {
                field(out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Fields of the client that are not passed on as they are, in any spelling that an upstream may
/// read as the same name.
fn is_ours(name: &HeaderName, outgoing: &Outgoing<'_>) -> bool {
    is_hops_own(name)
        || (*name == header::AUTHORIZATION && outgoing.strips_authorization())
        || outgoing.reserved.contains(name)
        || dashed_twin(name).is_some_and(|twin| is_hops_own(&twin) || is_end_to_end(&twin))
}

fn is_hops_own(name: &HeaderName) -> bool {
    *name == header::HOST
        || *name == header::CONTENT_LENGTH
        || *name == header::EXPECT
        || ends_here(name)
        || is_forwarding_claim(name)
}

/// HTTP/2 may split `Cookie`; HTTP/1.1 has one (RFC 9113 section 8.2.3).
fn write_cookies(out: &mut Vec<u8>, headers: &HeaderMap) {
    out.extend_from_slice(b"cookie: ");
    for (index, value) in headers.get_all(header::COOKIE).iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn write_forwarded(out: &mut Vec<u8>, outgoing: &Outgoing<'_>, authority: &[u8]) {
    let via: &[u8] = match outgoing.version {
        Version::HTTP_2 => b"2 bearward",
        Version::HTTP_10 => b"1.0 bearward",
        _ => b"1.1 bearward",
    };
    field(out, b"via", via);
    out.extend_from_slice(b"x-forwarded-for: ");
    write_address(out, outgoing.peer);
    out.extend_from_slice(b"\r\n");
    field(
        out,
        b"x-forwarded-proto",
        if outgoing.tls { b"https" } else { b"http" },
    );
    field(out, b"x-forwarded-host", authority);
}

fn write_address(out: &mut Vec<u8>, address: std::net::IpAddr) {
    use std::io::Write as _;
    // Writing to a vector does not fail.
    let _ = write!(out, "{address}");
}

/// The authority as the client wrote it; target and `Host` were found to agree.
fn authority<'a>(outgoing: &'a Outgoing<'_>) -> &'a [u8] {
    outgoing
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes())
        .or_else(|| {
            outgoing
                .headers
                .get(header::HOST)
                .map(HeaderValue::as_bytes)
        })
        .unwrap_or_default()
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The response to a client whose upgrade the upstream carries out.
///
/// # Errors
/// It is not the one that was asked for.
pub(super) fn switched(
    mut response: Response<()>,
    outgoing: &Outgoing<'_>,
) -> Result<Response<Body>, ForwardError> {
    let other = ForwardError::Invalid("it switches to another protocol than was asked for");
    let (upgrade, key) = outgoing.upgrade.as_ref().ok_or(other)?;
    let headers = response.headers_mut();
    if upgrade::one(headers, &header::UPGRADE).as_ref() != Some(&upgrade.protocol) {
        return Err(other);
    }
    if upgrade.of_stream {
        let accept = headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        let expected = handshake::accept_of(key);
        if accept.as_ref().map(HeaderValue::as_bytes) != Some(expected.as_bytes()) {
            return Err(ForwardError::Invalid("it did not understand the handshake"));
        }
    }
    let mut response = response.map(|()| Body::Empty);
    finish_response(&mut response, outgoing);
    if upgrade.of_stream {
        *response.status_mut() = StatusCode::OK;
    } else {
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        let protocol = HeaderValue::from_str(&upgrade.protocol).map_err(|_| other)?;
        headers.insert(header::UPGRADE, protocol);
    }
    Ok(response)
}

/// Makes the upstream's header section one that may go to the client.
pub(super) fn finish_response(response: &mut Response<Body>, outgoing: &Outgoing<'_>) {
    let headers = response.headers_mut();
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .keys()
            .filter(|name| named_by_connection(headers, name))
            .cloned()
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in [
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ] {
        headers.remove(name);
    }
    headers.append(header::VIA, HeaderValue::from_static("1.1 bearward"));
    if let Some(cors) = &outgoing.route.cors {
        cors.write(outgoing.headers.get(header::ORIGIN), headers);
    }
}
