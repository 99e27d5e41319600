//! Looking once at everything that a configuration leads to, as the gateway would: for `bearward doctor`.

use std::sync::Arc;

use super::feed;
use super::fetch::{FetchError, Trust};
use super::introspect::{IntrospectionStatus, Introspector};
use super::key_source::{self, KeySource};
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::config::{FeedSettings, IntrospectionSettings, IssuerSettings};
use crate::keys::jwks::{self, Skipped};

/// The keys that an issuer has now.
#[derive(Debug)]
pub(crate) struct SeenKeys {
    /// Where they came from.
    pub(crate) place: String,
    pub(crate) count: usize,
    /// Keys of the set that are not used.
    pub(crate) skipped: Vec<Skipped>,
    /// The provider's clock less ours, in seconds.
    pub(crate) clock_offset_seconds: Option<i64>,
}

/// Fetches an issuer's keys. `None` where nothing is fetched: they stand in the configuration, or it is asked about
/// each token.
///
/// # Errors
/// Why they did not come, in words for the operator.
pub(crate) async fn keys(
    issuer: &IssuerSettings,
    trust: &mut Trust,
) -> Result<Option<SeenKeys>, String> {
    let words = |error: FetchError| error.to_string();
    let Some(mut source) = key_source::made(issuer, trust).map_err(words)? else {
        return Ok(None);
    };
    let fetched = source.fetch(false, true).await.map_err(words)?;
    let now = SystemClock.now();
    let document = fetched.document.unwrap_or_default();
    let published = jwks::read(&document, issuer.rules.algorithms, &Default::default());
    let published = published.map_err(|error| error.to_string())?;
    let skipped = published.skipped.clone();
    let offset = fetched
        .date
        .map(|theirs| theirs.secs().saturating_sub(now.secs()));
    Ok(Some(SeenKeys {
        place: source.place().to_owned(),
        count: published.into_keys().len(),
        skipped,
        clock_offset_seconds: offset,
    }))
}

/// Asks an introspection endpoint about a token that nobody has made.
///
/// # Errors
/// Why there is no answer, in words for the operator.
pub(crate) async fn introspection(
    name: &Arc<str>,
    settings: &IntrospectionSettings,
    trust: &mut Trust,
) -> Result<(), String> {
    let status = Arc::new(IntrospectionStatus::default());
    let around = (status, Arc::new(SystemClock) as Arc<dyn Clock>);
    let introspector = Introspector::new(name, settings, trust, around);
    let introspector = introspector.map_err(|error| error.to_string())?;
    introspector
        .try_out()
        .await
        .map_err(|error| error.to_string())
}

/// Logs in at the server of the feed.
///
/// # Errors
/// Why that does not work, in words for the operator.
pub(crate) async fn revocation_feed(
    settings: &FeedSettings,
    trust: &mut Trust,
) -> Result<(), String> {
    feed::try_out(settings, trust).await
}
