//! Why something did not come, in words for the operator's log and the admin listener.

use crate::keys::jwks;

/// Why a key set, metadata or an answer did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the provider's name leads to a link-local address, which is refused")]
    Address,
    #[error("the provider broke the connection off")]
    Broken,
    #[error("discovery: {0}")]
    Discovery(Box<Self>),
    #[error("the file cannot be read: {0}")]
    File(String),
    #[error("the provider names another issuer in its metadata: {0}")]
    IssuerDiffers(String),
    #[error("{0}")]
    Jwks(#[from] jwks::JwksError),
    #[error("the provider's metadata is no JSON with `issuer` and `jwks_uri`")]
    Metadata,
    #[error("the provider's name does not resolve")]
    Name,
    #[error("the proxy does not connect to the provider")]
    Proxy,
    #[error("the provider redirects to another origin, or too often")]
    Redirect,
    #[error("there are no root certificates")]
    Roots,
    #[error("the provider answers with status {0}")]
    Status(u16),
    #[error("the provider took too long")]
    Timeout,
    #[error("TLS with the provider failed: {0}")]
    Tls(String),
    #[error("the issuer has exposed too many private keys to remember; no set of it is taken")]
    TooManyExposed,
    #[error("the document is larger than allowed")]
    TooLarge,
    /// Where, and the system's reason.
    #[error("the provider cannot be reached: {0}")]
    Unreachable(String),
    #[error("the URL is not https, and not loopback where that is allowed")]
    Url,
}

impl FetchError {
    /// The `result` labels of failed fetches.
    pub(crate) const KINDS: [&'static str; 8] = [
        "file",
        "invalid",
        "redirect",
        "refused",
        "status",
        "timeout",
        "tls",
        "unreachable",
    ];

    /// The label for it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Discovery(error) => error.kind(),
            Self::File(_) => "file",
            Self::IssuerDiffers(_)
            | Self::Metadata
            | Self::Jwks(_)
            | Self::TooLarge
            | Self::TooManyExposed => "invalid",
            Self::Redirect => "redirect",
            Self::Address | Self::Url => "refused",
            Self::Status(_) => "status",
            Self::Timeout => "timeout",
            Self::Roots | Self::Tls(_) => "tls",
            Self::Broken | Self::Name | Self::Proxy | Self::Unreachable(_) => "unreachable",
        }
    }
}
