//! A JWK set behind a URL that is known, or that the issuer's metadata leads to.

use std::time::Duration;

use http::header::ETAG;
use http::{HeaderValue, StatusCode, Uri};
use tokio::time::Instant;

use super::{FetchError, Fetched, Fetcher};
use crate::control::discovery::discover;
use crate::control::fetch::{date, fresh_for};

/// The longest `ETag` that is sent back.
const ETAG_BYTES_MAX: usize = 256;

/// Keys behind a URL.
#[derive(Debug)]
pub(crate) struct RemoteKeys {
    fetcher: Fetcher,
    place: Place,
    origin: String,
    /// Which set the provider sent last: the URL and its name for the document.
    last: Option<(String, HeaderValue)>,
}

#[derive(Debug)]
enum Place {
    Url(String),
    Discovery {
        issuer: String,
        /// What the metadata said, and until when that is believed without asking again: long
        /// enough for a burst of fetches, short enough for a set that moves.
        found: Option<(String, Instant)>,
        good_for: Duration,
    },
}

impl RemoteKeys {
    /// Keys at a known URL.
    pub(super) fn at(url: &str, fetcher: Fetcher) -> Self {
        Self {
            fetcher,
            origin: origin_of(url),
            place: Place::Url(url.to_owned()),
            last: None,
        }
    }

    /// Keys that the issuer's metadata leads to.
    pub(super) fn discovered(issuer: &str, fetcher: Fetcher, good_for: Duration) -> Self {
        Self {
            fetcher,
            origin: origin_of(issuer),
            place: Place::Discovery {
                issuer: issuer.to_owned(),
                found: None,
                good_for,
            },
            last: None,
        }
    }

    pub(super) fn place(&self) -> &str {
        match &self.place {
            Place::Url(place) | Place::Discovery { issuer: place, .. } => place,
        }
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) async fn fetch(&mut self, in_use: bool, anew: bool) -> Result<Fetched, FetchError> {
        if anew && let Place::Discovery { found, .. } = &mut self.place {
            *found = None;
        }
        let url = self.url().await?;
        let etag = self.last.as_ref().filter(|(of, _)| in_use && *of == url);
        let response = match self.fetcher.get(&url, etag.map(|(_, etag)| etag)).await {
            Ok(response) => response,
            Err(error) => {
                // The set may have moved.
                if let Place::Discovery { found, .. } = &mut self.place {
                    *found = None;
                }
                return Err(error);
            }
        };
        let same = response.status() == StatusCode::NOT_MODIFIED;
        if !same {
            let etag = response.headers().get(ETAG).cloned();
            self.last = etag
                .filter(|etag| etag.len() <= ETAG_BYTES_MAX)
                .map(|etag| (url, etag));
        }
        Ok(Fetched {
            fresh_for: fresh_for(response.headers()),
            date: date(response.headers()),
            document: (!same).then(|| response.into_body()),
        })
    }

    async fn url(&mut self) -> Result<String, FetchError> {
        match &mut self.place {
            Place::Url(url) => Ok(url.clone()),
            Place::Discovery {
                issuer,
                found,
                good_for,
            } => {
                if let Some((url, until)) = found
                    && Instant::now() < *until
                {
                    return Ok(url.clone());
                }
                let metadata = discover(&self.fetcher, issuer).await;
                let metadata = metadata.map_err(|error| FetchError::Discovery(Box::new(error)))?;
                let url = metadata.jwks_uri;
                *found = Some((url.clone(), Instant::now() + *good_for));
                Ok(url)
            }
        }
    }
}

/// Scheme and authority.
fn origin_of(url: &str) -> String {
    let uri = url.parse::<Uri>().ok();
    let authority = uri.as_ref().and_then(Uri::authority);
    authority.map_or_else(|| url.to_owned(), ToString::to_string)
}
