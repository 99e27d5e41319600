//! What can be wrong with bytes that are to be a request, told apart: "400" alone leaves whoever sent them to guess.

/// Why bytes are no request that could be read, or could be read in more than one way (RFC 9112).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Garbled {
    #[error("a TLS handshake came to a listener that speaks clear text")]
    Tls,
    #[error("HTTP/2 came to a listener in clear text that speaks HTTP/1.1")]
    Http2,
    #[error("the request line is not a method, a target and a version with one space between")]
    RequestLine,
    #[error("the version is not HTTP/1.0 or HTTP/1.1")]
    Version,
    #[error("the target is not a URI, or has a fragment")]
    Target,
    #[error("a header's name has a byte that names do not have, such as a space before the colon")]
    HeaderName,
    #[error("a header's value has a control character, or goes on in the next line")]
    HeaderValue,
    #[error("a line does not end as lines do")]
    LineEnd,
    #[error("Content-Length is not one number")]
    Length,
    #[error("Transfer-Encoding does not end with chunked, or is in an HTTP/1.0 request")]
    Coding,
}

impl Garbled {
    /// What is wrong where a head is not read further.
    pub(super) fn of(error: httparse::Error, bytes: &[u8]) -> Self {
        match error {
            // A record of a handshake, of any version.
            _ if bytes.starts_with(&[0x16, 0x03]) => Self::Tls,
            _ if bytes.starts_with(b"PRI * HTTP/2.0\r\n") => Self::Http2,
            httparse::Error::HeaderName => Self::HeaderName,
            httparse::Error::HeaderValue => Self::HeaderValue,
            httparse::Error::NewLine => Self::LineEnd,
            httparse::Error::Version => Self::Version,
            _ => Self::RequestLine,
        }
    }

    /// What whoever sent them can do.
    pub(crate) const fn mend(self) -> &'static str {
        match self {
            Self::Tls => "Use http:// for this port, or the port of a listener with TLS.",
            Self::Http2 => "Use HTTP/1.1 here; the listener may be set to HTTP/2 with `protocols`.",
            Self::RequestLine | Self::LineEnd => {
                "Send requests with an HTTP library, or as RFC 9112 has them."
            }
            Self::Version => "Send HTTP/1.1.",
            Self::Target => "Escape what is not plain in the target, and leave fragments out.",
            Self::HeaderName | Self::HeaderValue => {
                "Look for spaces before colons, line breaks and control characters in the headers."
            }
            Self::Length => "Send Content-Length once, as digits, or chunks without it.",
            Self::Coding => {
                "Send the body with a Content-Length, or with Transfer-Encoding: chunked alone."
            }
        }
    }
}
