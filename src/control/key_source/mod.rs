//! Where key sets come from: a JWK set URL, discovery, or a watched file.
//!
//! A source gives the document and what was said about its age; what the document holds is for the
//! keeper to read, which knows the keys that are not to be trusted. Production makes its sources in
//! [`made`]; tests have a double that they move.

mod file;
mod remote;

use std::time::Duration;

use bytes::Bytes;

use super::fetch::{FetchError, Fetcher, Trust};
use crate::clock::UnixTime;
use crate::config::{IssuerSettings, KeySourceSettings};

use file::KeyFile;
use remote::RemoteKeys;

/// What a source gave.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// `None`: the same as the last time.
    pub(crate) document: Option<Bytes>,
    /// How long the provider says that it stays fresh.
    pub(crate) fresh_for: Option<Duration>,
    /// The provider's clock, in whole seconds.
    pub(crate) date: Option<UnixTime>,
}

/// Where key sets come from.
pub(crate) trait KeySource: Send + 'static {
    /// Where it comes from, for people.
    fn place(&self) -> &str;

    /// The server that is asked; `None` if none is.
    fn origin(&self) -> Option<&str>;

    /// Gets the present document. `in_use` says whether the last one is, so that "the same as the
    /// last time" is an answer; of garbage it would be none. `anew`: nothing that was found on the
    /// way to it before is believed.
    fn fetch(
        &mut self,
        in_use: bool,
        anew: bool,
    ) -> impl Future<Output = Result<Fetched, FetchError>> + Send;
}

/// The sources of production.
#[derive(Debug)]
pub(crate) enum ConfiguredSource {
    File(KeyFile),
    Remote(RemoteKeys),
}

impl KeySource for ConfiguredSource {
    fn place(&self) -> &str {
        match self {
            Self::File(file) => file.place(),
            Self::Remote(remote) => remote.place(),
        }
    }

    fn origin(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Remote(remote) => Some(remote.origin()),
        }
    }

    async fn fetch(&mut self, in_use: bool, anew: bool) -> Result<Fetched, FetchError> {
        match self {
            Self::File(file) => file.fetch(in_use).await,
            Self::Remote(remote) => remote.fetch(in_use, anew).await,
        }
    }
}

/// The source of an issuer; `None` where its keys never change.
///
/// # Errors
/// Its roots cannot be used.
pub(crate) fn made(
    issuer: &IssuerSettings,
    trust: &mut Trust,
) -> Result<Option<ConfiguredSource>, FetchError> {
    let (settings, url) = match &issuer.source {
        KeySourceSettings::Fixed(_) | KeySourceSettings::Introspection(_) => return Ok(None),
        KeySourceSettings::File(file) => {
            let file = KeyFile::new(file.path.clone(), file.bytes_max);
            return Ok(Some(ConfiguredSource::File(file)));
        }
        KeySourceSettings::Url(url, settings) => (settings, Some(url)),
        KeySourceSettings::Discovery(settings) => (settings, None),
    };
    let fetcher = Fetcher::by(&settings.fetch, trust)?;
    Ok(Some(ConfiguredSource::Remote(match url {
        Some(url) => RemoteKeys::at(url, fetcher),
        None => RemoteKeys::discovered(
            &issuer.rules.issuer,
            fetcher,
            settings.freshness.unknown_kid_gap,
        ),
    })))
}
