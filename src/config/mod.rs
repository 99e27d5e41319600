//! The configuration: one TOML file, read to the last fault.
//!
//! Three layers: `raw` walks the file by the one table of `keys` and gathers every fault of syntax
//! and type; `check` follows references, reads the files that are named, and builds the settings
//! of all stages; warnings tell what is legal and unsafe. After faults of one layer the next still
//! runs where it can, so that one run names them all. Only then does anything start.

mod check;
mod diagnostic;
mod effective;
mod keys;
mod raw;
mod settings;
mod suggest;
mod typed;
mod value;

use std::path::Path;

pub(crate) use effective::effective;
pub(crate) use suggest::nearest;
pub(crate) use value::duration;

pub use diagnostic::{Diagnostic, Report, Severity};
pub use settings::Config;
pub(crate) use settings::{
    AdminPlace, AdminSettings, CertificateFiles, ClientAuth, FeedSettings, FetchSettings,
    FixedSettings, FreshnessSettings, IntrospectionSettings, IssuerSettings, KeyPlace,
    KeySourceSettings, ListenerSettings, TracingSettings,
};

/// Reads and checks a configuration file. Talks to no network.
///
/// # Errors
/// Every fault that was found. Warnings come with the configuration in both cases.
pub fn load(path: &Path) -> (Option<Config>, Report) {
    match std::fs::read_to_string(path) {
        Ok(text) => read(path, text),
        Err(error) => {
            let mut report = Report::new(path, String::new());
            report.push(
                Diagnostic::error("BW0002", format!("the file cannot be read: {error}"))
                    .help("name the file, or write one by the example in the README"),
            );
            (None, report)
        }
    }
}

/// Where the admin listener of a configuration is, whatever else is wrong with it.
///
/// # Errors
/// The faults that keep that from being known.
pub(crate) fn admin_place(path: &Path) -> Result<AdminPlace, Report> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Err(load(path).1);
    };
    let mut report = Report::new(path, text);
    let text = report.text().to_owned();
    let Some(root) = raw::read(&text, &mut report) else {
        return Err(report);
    };
    // Of the rest nothing is said here.
    let mut report = Report::new(path, text);
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    check::admin_place(&root, folder, &mut report).ok_or(report)
}

/// Variables of the environment that a text uses and another does not.
pub(crate) fn variables_beyond(text: &str, other: &str) -> Vec<String> {
    let known = raw::variables(other);
    let all = raw::variables(text).into_iter();
    all.filter(|name| !known.contains(name)).collect()
}

/// Checks a configuration that is in memory; relative paths are relative to `path`'s folder.
pub fn read(path: &Path, text: String) -> (Option<Config>, Report) {
    let mut report = Report::new(path, text);
    let text = report.text().to_owned();
    let Some(root) = raw::read(&text, &mut report) else {
        return (None, report);
    };
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let config = check::check(&root, folder, &mut report);
    let config = config.filter(|_| !report.has_errors());
    (config, report)
}
