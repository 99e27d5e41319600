//! A provider's metadata: OpenID Connect Discovery 1.0 and RFC 8414.

use serde::Deserialize;

use super::fetch::{FetchError, Fetcher};
use crate::observe::shown;

/// What the log shows of a text that a provider sent.
const SHOWN_CHARS_MAX: usize = 128;

/// What is read of a provider's metadata.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    pub(crate) jwks_uri: String,
    pub(crate) token_endpoint: Option<String>,
    pub(crate) introspection_endpoint: Option<String>,
}

/// The metadata of an issuer, by the first of the two documents that there is.
///
/// # Errors
/// Neither came, it cannot be read, or it names another issuer.
pub(crate) async fn discover(fetcher: &Fetcher, issuer: &str) -> Result<Metadata, FetchError> {
    let [openid, oauth] = metadata_urls(issuer).ok_or(FetchError::Url)?;
    let response = match fetcher.get(&openid, None).await {
        Err(FetchError::Status(404)) => fetcher.get(&oauth, None).await?,
        other => other?,
    };
    let metadata: Metadata =
        serde_json::from_slice(response.body()).map_err(|_| FetchError::Metadata)?;
    // Byte for byte (OpenID Connect Discovery section 4.3, RFC 8414 section 3.3).
    if metadata.issuer != issuer {
        let named = shown(&metadata.issuer, SHOWN_CHARS_MAX);
        return Err(FetchError::IssuerDiffers(named));
    }
    Ok(metadata)
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
