//! The request that the upstream gets, and the response that the client gets, as header sections.
//!
//! One pass writes the client's fields without those that end at this hop, those that only a
//! trusted proxy may claim, and every spelling of those that only Bearward may set; then ours.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};

use super::http2::Upload;
use super::tunnel::handshake;
use super::{ForwardError, HostHeader, Moved, Outgoing, Server, Upstream, identity};
use crate::authenticate::{Caller, extract};
use crate::http::Body;
use crate::http::body::LimitedBody;
use crate::http::headers::{
    dashed_twin, ends_here, is_end_to_end, is_forwarding_claim, named_by_connection,
};
use crate::http::upgrade;
use crate::policy::{TokenPlace, without};

/// The longest text of an address: IPv6 with an IPv4 tail.
const ADDRESS_BYTES_MAX: usize = 45;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How the request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// The framing of the outgoing request, from what the client's framing was found to be.
pub(super) fn framing(outgoing: &Outgoing<'_>, body: Option<&LimitedBody>) -> Framing {
    body.map_or(Framing::None, |body| framing_of(outgoing, body))
}

fn framing_of(outgoing: &Outgoing<'_>, body: &impl http_body::Body) -> Framing {
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
    out.extend_from_slice(outgoing.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target(outgoing).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let host = match host {
        HostHeader::Client => authority(outgoing),
        HostHeader::Upstream => server.authority.as_bytes(),
    };
    field(out, b"host", host);
    fields(outgoing, |name, value| field(out, name, value));
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
    out.extend_from_slice(b"\r\n");
}

/// The outgoing request over HTTP/2.
///
/// # Errors
/// It has none of the forms of one.
pub(super) fn http2(
    outgoing: &Outgoing<'_>,
    upstream: &Upstream,
    server: &Server,
    upload: Upload,
) -> Result<Request<Upload>, ForwardError> {
    let malformed = ForwardError::Invalid("the request has no form in HTTP/2");
    let authority = match upstream.host {
        HostHeader::Client => authority(outgoing),
        HostHeader::Upstream => server.authority.as_bytes(),
    };
    let uri = Uri::builder()
        .scheme(if upstream.tls.is_some() {
            "https"
        } else {
            "http"
        })
        .authority(authority)
        .path_and_query(&*target(outgoing))
        .build();
    let mut headers = HeaderMap::with_capacity(outgoing.headers.len() + 8);
    fields(outgoing, |name, value| {
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_bytes(value);
        // What came as a field is one.
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    });
    if let Framing::Length(length) = framing_of(outgoing, &upload) {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if outgoing.is_grpc {
        // The one coding that HTTP/2 knows (RFC 9113 section 8.2.2); gRPC demands it.
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let mut request = Request::new(upload);
    *request.method_mut() = outgoing.method.clone();
    *request.uri_mut() = uri.map_err(|_| malformed)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The target as it is sent: that of the client, byte for byte, but for a prefix that the route takes off
/// and a token that was in the query.
fn target<'a>(outgoing: &'a Outgoing<'_>) -> Cow<'a, str> {
    let target = outgoing.uri.path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    let target = match &outgoing.route.strip_prefix {
        None => Cow::Borrowed(target),
        Some(prefix) => match without(target, prefix) {
            Some(rest) => Cow::Borrowed(rest),
            // The prefix was all of the path.
            None => Cow::Owned(format!(
                "/{}",
                target.get(prefix.len()..).unwrap_or_default()
            )),
        },
    };
    match &outgoing.moved {
        Some(Moved {
            from: TokenPlace::Query(name),
            ..
        }) => Cow::Owned(extract::without_parameter(&target, name)),
        _ => target,
    }
}

/// All fields that go upstream but for the host and those of the framing.
fn fields(outgoing: &Outgoing<'_>, mut field: impl FnMut(&[u8], &[u8])) {
    let headers = outgoing.headers;
    let named = headers.contains_key(header::CONNECTION);
    let mut cookies = 0;
    for (name, value) in headers {
        let dropped = named && !is_end_to_end(name) && named_by_connection(headers, name);
        if dropped || is_ours(name, outgoing) {
            continue;
        }
        if *name == header::SEC_WEBSOCKET_KEY && outgoing.makes_key() {
            continue;
        }
        if *name == header::SEC_WEBSOCKET_PROTOCOL && outgoing.offers_token() {
            continue;
        }
        if outgoing.traceparent.is_some() && *name == TRACEPARENT {
            continue;
        }
        if *name == header::COOKIE && outgoing.version == Version::HTTP_2 {
            cookies += 1;
            continue;
        }
        field(name.as_str().as_bytes(), value.as_bytes());
    }
    if cookies > 0 {
        field(b"cookie", &cookie(headers));
    }
    if outgoing.offers_token() {
        let rest = extract::protocols_beside_token(headers);
        if !rest.is_empty() {
            field(b"sec-websocket-protocol", rest.as_bytes());
        }
    }
    if let Some(internal) = &outgoing.internal {
        field(b"authorization", internal.as_bytes());
    } else if let Some(moved) = &outgoing.moved
        && !outgoing.strips_authorization()
    {
        field(b"authorization", &[b"Bearer ", &moved.token[..]].concat());
    }
    if let Some(traceparent) = &outgoing.traceparent {
        field(b"traceparent", traceparent.as_bytes());
    }
    let via: &[u8] = match outgoing.version {
        Version::HTTP_2 => b"2 bearward",
        Version::HTTP_10 => b"1.0 bearward",
        _ => b"1.1 bearward",
    };
    field(b"via", via);
    let mut address = [0; ADDRESS_BYTES_MAX];
    let peer = written(&mut address, outgoing.peer);
    let proto: &[u8] = if outgoing.tls { b"https" } else { b"http" };
    // A proxy that says all in `Forwarded` is not contradicted.
    let forwarded = outgoing.by_proxy && headers.contains_key(header::FORWARDED);
    if outgoing.by_proxy {
        chain(headers, peer, &mut field);
    } else {
        field(b"x-forwarded-for", peer);
    }
    let says = |name: &str| forwarded || outgoing.by_proxy && headers.contains_key(name);
    if !says("x-forwarded-proto") {
        field(b"x-forwarded-proto", proto);
    }
    if !says("x-forwarded-host") {
        field(b"x-forwarded-host", authority(outgoing));
    }
    if let Caller::Authenticated(principal) = outgoing.permit.caller() {
        for (name, claim) in &outgoing.route.identity {
            if let Some(value) = identity::value(principal, claim) {
                field(name.as_str().as_bytes(), value.as_bytes());
            }
        }
    }
}

/// Fields of the client that are not passed on as they are, in any spelling that an upstream may
/// read as the same name.
fn is_ours(name: &HeaderName, outgoing: &Outgoing<'_>) -> bool {
    if outgoing.by_proxy && is_forwarding_claim(name) {
        // The chain is written with the peer at its end; what else a trusted proxy says is kept.
        return *name == FORWARDED_FOR || *name == header::FORWARDED;
    }
    is_hops_own(name)
        || (*name == header::AUTHORIZATION && !outgoing.keeps_authorization())
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

/// The chain of a trusted proxy with that proxy at its end.
fn chain(headers: &HeaderMap, peer: &[u8], field: &mut impl FnMut(&[u8], &[u8])) {
    let with = |name: HeaderName, last: &[u8]| {
        let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        values.chain([last]).collect::<Vec<_>>().join(&b", "[..])
    };
    if headers.contains_key(FORWARDED_FOR) || !headers.contains_key(header::FORWARDED) {
        field(b"x-forwarded-for", &with(FORWARDED_FOR, peer));
    }
    if headers.contains_key(header::FORWARDED) {
        // An IPv6 address stands in brackets and quotes (RFC 7239 section 6).
        let node = match peer.contains(&b':') {
            true => [b"for=\"[", peer, b"]\""].concat(),
            false => [b"for=", peer].concat(),
        };
        field(b"forwarded", &with(header::FORWARDED, &node));
    }
}

/// HTTP/2 may split `Cookie`; others have one (RFC 9113 section 8.2.3).
fn cookie(headers: &HeaderMap) -> Vec<u8> {
    let values = headers.get_all(header::COOKIE).iter();
    let values: Vec<_> = values.map(HeaderValue::as_bytes).collect();
    values.join(&b"; "[..])
}

/// An address as text, without an allocation.
fn written(buffer: &mut [u8; ADDRESS_BYTES_MAX], address: IpAddr) -> &[u8] {
    use std::io::Write as _;
    let mut rest = &mut buffer[..];
    // The longest address fits.
    let _ = write!(rest, "{address}");
    let written = ADDRESS_BYTES_MAX - rest.len();
    buffer.get(..written).unwrap_or_default()
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
    // A response without a body has no length (RFC 9110 section 8.6).
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    let mut response = response.map(|()| Body::Empty);
    finish_response(&mut response, outgoing);
    if outgoing.offers_token() {
        // A browser wants one of those that it offered.
        let chosen = HeaderValue::from_static(extract::BEARER_PROTOCOL);
        let headers = response.headers_mut();
        headers
            .entry(header::SEC_WEBSOCKET_PROTOCOL)
            .or_insert(chosen);
    }
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
    let via = match response.version() {
        Version::HTTP_2 => "2 bearward",
        _ => "1.1 bearward",
    };
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
    headers.append(header::VIA, HeaderValue::from_static(via));
    outgoing.route.response_headers.apply(headers);
    if let Some(cors) = &outgoing.route.cors {
        cors.write(outgoing.headers.get(header::ORIGIN), headers);
    }
}
