//! Where key sets come from: a JWK set URL, or discovery (OpenID Connect Discovery, RFC 8414).

use bytes::Bytes;
use serde::Deserialize;

use super::fetch::Fetcher;
use crate::config::JwksSettings;
use crate::keys::{KeySet, Skipped, jwks};
use crate::oauth::AlgorithmSet;

/// What the log shows of a text that a provider sent.
const SHOWN_CHARS_MAX: usize = 128;

/// Why a key set did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the provider names another issuer in its metadata: {0}")]
    IssuerDiffers(String),
    #[error("the provider's metadata is no JSON with `issuer` and `jwks_uri`")]
    Metadata,
    #[error("{0}")]
    Jwks(#[from] jwks::JwksError),
    #[error("the provider redirects to another origin, or too often")]
    Redirect,
    #[error("there are no root certificates")]
    Roots,
    #[error("the provider answers with status {0}")]
    Status(u16),
    #[error("the provider took too long")]
    Timeout,
    #[error("the provider's certificate is not trusted, or TLS failed")]
    Tls,
    #[error("the document is larger than allowed")]
    TooLarge,
    #[error("the provider cannot be reached, or broke the connection")]
    Unreachable,
    #[error("the URL is not https, and not loopback where that is allowed")]
    Url,
}

impl FetchError {
    /// The `result` labels of failed fetches.
    pub(crate) const KINDS: [&'static str; 6] = [
        "invalid",
        "redirect",
        "status",
        "timeout",
        "tls",
        "unreachable",
    ];

    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::IssuerDiffers(_) | Self::Metadata | Self::Jwks(_) | Self::TooLarge => "invalid",
            Self::Redirect | Self::Url => "redirect",
            Self::Status(_) => "status",
            Self::Timeout => "timeout",
            Self::Roots | Self::Tls => "tls",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Where key sets come from. Production has [`RemoteKeys`]; tests have a double that they move.
pub(crate) trait KeySource: Send + 'static {
    /// Where it comes from, for the log.
    fn place(&self) -> &str;

    /// Gets the present set.
    fn fetch(
        &self,
        allowed: AlgorithmSet,
    ) -> impl Future<Output = Result<(KeySet, Vec<Skipped>), FetchError>> + Send;
}

/// Keys at a URL that is known or found.
#[derive(Debug)]
pub(crate) struct RemoteKeys {
    fetcher: Fetcher,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Url(String),
    /// The issuer's identifier.
    Discovery(String),
}

/// What is read of a provider's metadata.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl RemoteKeys {
    /// Keys at a known URL.
    ///
    /// # Errors
    /// There are no roots to trust.
    pub(crate) fn at(url: String, settings: &JwksSettings) -> Result<Self, FetchError> {
        Ok(Self {
            fetcher: fetcher(settings)?,
            place: Place::Url(url),
        })
    }

    /// Keys that the issuer's metadata leads to.
    ///
    /// # Errors
    /// There are no roots to trust.
    pub(crate) fn discovered(issuer: &str, settings: &JwksSettings) -> Result<Self, FetchError> {
        Ok(Self {
            fetcher: fetcher(settings)?,
            place: Place::Discovery(issuer.to_owned()),
        })
    }

    /// The URL of the JWK set, by the first metadata document that there is.
    async fn discover(&self, issuer: &str) -> Result<String, FetchError> {
        let [openid, oauth] = metadata_urls(issuer).ok_or(FetchError::Url)?;
        let document: Bytes = match self.fetcher.get(&openid).await {
            Err(FetchError::Status(404)) => self.fetcher.get(&oauth).await?,
            other => other?,
        };
        let metadata: Metadata =
            serde_json::from_slice(&document).map_err(|_| FetchError::Metadata)?;
        // Byte for byte (OpenID Connect Discovery section 4.3, RFC 8414 section 3.3).
        if metadata.issuer != issuer {
            let shown = metadata.issuer.escape_default().take(SHOWN_CHARS_MAX);
            return Err(FetchError::IssuerDiffers(shown.collect()));
        }
        Ok(metadata.jwks_uri)
    }
}

impl KeySource for RemoteKeys {
    fn place(&self) -> &str {
        match &self.place {
            Place::Url(place) | Place::Discovery(place) => place,
        }
    }

    async fn fetch(&self, allowed: AlgorithmSet) -> Result<(KeySet, Vec<Skipped>), FetchError> {
        let document = match &self.place {
            Place::Url(url) => self.fetcher.get(url).await?,
            Place::Discovery(issuer) => {
                let url = self.discover(issuer).await?;
                self.fetcher.get(&url).await?
            }
        };
        Ok(jwks::read(&document, allowed)?)
    }
}

fn fetcher(settings: &JwksSettings) -> Result<Fetcher, FetchError> {
    Fetcher::new(
        settings.ca.as_deref(),
        settings.timeout,
        settings.bytes_max,
        settings.allow_http_loopback,
    )
}

/// OpenID appends its path to the issuer; RFC 8414 section 3.1 puts its between host and path.
fn metadata_urls(issuer: &str) -> Option<[String; 2]> {
    let (scheme, rest) = issuer.split_once("://")?;
    let trimmed = rest.trim_end_matches('/');
    let (host, path) = match trimmed.split_once('/') {
        Some((host, path)) => (host, format!("/{path}")),
        None => (trimmed, String::new()),
    };
    Some([
        format!("{scheme}://{trimmed}/.well-known/openid-configuration"),
        format!("{scheme}://{host}/.well-known/oauth-authorization-server{path}"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_stands_at_two_places() {
        for (issuer, openid, oauth) in [
            (
                "https://a.test",
                "https://a.test/.well-known/openid-configuration",
                "https://a.test/.well-known/oauth-authorization-server",
            ),
            (
                "https://a.test/",
                "https://a.test/.well-known/openid-configuration",
                "https://a.test/.well-known/oauth-authorization-server",
            ),
            (
                "https://a.test/x/y",
                "https://a.test/x/y/.well-known/openid-configuration",
                "https://a.test/.well-known/oauth-authorization-server/x/y",
            ),
        ] {
            assert_eq!(
                metadata_urls(issuer),
                Some([openid.to_owned(), oauth.to_owned()])
            );
        }
    }
}
