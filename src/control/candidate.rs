//! Making a configuration judge that does not serve.
//!
//! Of its listeners nothing is bound, of its upstreams nothing is asked, and no keys are fetched for it: an issuer
//! that serves already, or did so from the same place, brings its keys along; of others it has those that the
//! configuration names, or an earlier run has saved.

use std::path::Path;

use super::{Active, SavedKeys, issuers, policy};
use crate::config;
use crate::gateway::{Candidate, Gateway};

/// Why a configuration cannot be tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTried {
    /// As `check` tells them, for people and for programs.
    #[error("the configuration has faults")]
    Faults(String, String),
    #[error("{0}")]
    Unusable(String),
}

/// How a configuration that was sent is called in what is said of it.
const NAME: &str = "(the configuration that was sent)";

/// Makes one of a text. Relative paths in it are relative to the folder of `file`, the configuration that serves.
///
/// # Errors
/// It has faults, or names what cannot be used.
pub(crate) fn candidate(
    file: &Path,
    text: String,
    active: &Active,
    saved: &SavedKeys,
    gateway: &Gateway,
) -> Result<(Candidate, String), NotTried> {
    // Whoever holds the admin token may not read the environment, or files, by having them told in findings.
    if let [what, ..] = &config::taken_beyond(&text, &active.texts)[..] {
        let why = format!(
            "the configuration uses {what}, which the one that serves does not: only its variables and files may be used"
        );
        return Err(NotTried::Unusable(why));
    }
    let (config, report) = config::read(&file.with_file_name(NAME), &text);
    let Some(mut config) = config else {
        return Err(NotTried::Faults(report.pretty(), report.json()));
    };
    let settings = std::mem::take(&mut config.issuers);
    let made = issuers::prepare(settings, saved, &gateway.clock, &active.issuers);
    let (kept, _) = made.map_err(|error| NotTried::Unusable(error.to_string()))?;
    let listeners: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| (std::sync::Arc::clone(&listener.name), listener.token_bytes))
        .collect();
    let policy = policy(&config, listeners.len(), &kept);
    let candidate = Candidate::new(config.digest, policy, listeners, gateway.clock.now());
    Ok((candidate, report.pretty()))
}
