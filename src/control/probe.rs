//! Looking at a provider as the gateway would, before it is trusted: metadata, keys, clock.

use std::time::Duration;

use super::discovery::{Metadata, discover};
use super::fetch::{FetchError, FetchLimits, Fetcher, Trust, date};
use crate::clock::Clock;
use crate::keys::VerificationKey;
use crate::keys::jwks::{self, Skipped};
use crate::oauth::{Algorithm, AlgorithmSet};

/// What is appended to an issuer and often copied with it.
const WELL_KNOWN: &str = "/.well-known/";
/// The defaults of `[issuers.*.jwks]`.
const LIMITS: FetchLimits = FetchLimits {
    timeout: Duration::from_secs(3),
    bytes_max: 256 * 1024,
};

/// What a provider looks like.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) metadata: Metadata,
    pub(crate) keys: Vec<VerificationKey>,
    pub(crate) skipped: Vec<Skipped>,
    /// Keys that lie there with their private part.
    pub(crate) exposed: usize,
    /// The provider's clock less ours, in seconds.
    pub(crate) clock_offset_seconds: Option<i64>,
}

/// Asks a provider for its metadata and keys. `url` is the issuer's identifier; a metadata URL is
/// understood too.
///
/// # Errors
/// Which document did not come, and why.
pub(crate) async fn probe(
    url: &str,
    ca: Option<&[u8]>,
    allow_http_loopback: bool,
    clock: &dyn Clock,
) -> Result<Probe, (&'static str, FetchError)> {
    let connector = Trust::default().connector(ca, allow_http_loopback);
    let fetcher = Fetcher::new(connector.map_err(|error| ("the roots", error))?, LIMITS);
    let issuer = url.split_once(WELL_KNOWN).map_or(url, |(issuer, _)| issuer);
    let metadata = match discover(&fetcher, issuer).await {
        // Half of all issuers end with a slash.
        Err(FetchError::IssuerDiffers(named)) if named == format!("{issuer}/") => {
            discover(&fetcher, &named).await
        }
        other => other,
    };
    let metadata = metadata.map_err(|error| ("the metadata", error))?;
    let response = fetcher.get(&metadata.jwks_uri, None).await;
    let response = response.map_err(|error| ("the JWK set", error))?;
    let now = clock.now();
    let public: AlgorithmSet = Algorithm::ALL
        .into_iter()
        .filter(|alg| !alg.is_hmac())
        .collect();
    let exposed = jwks::exposed(response.body());
    let published = jwks::read(response.body(), public, &Default::default());
    let published = published.map_err(|error| ("the JWK set", error.into()))?;
    Ok(Probe {
        metadata,
        clock_offset_seconds: date(response.headers())
            .map(|theirs| theirs.secs().saturating_sub(now.secs())),
        exposed: exposed.keys.len().max(exposed.kids.len()),
        skipped: published.skipped.clone(),
        keys: published.into_keys(),
    })
}
