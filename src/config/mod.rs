//! The configuration: one TOML file, read to the last fault.
//!
//! Three layers: `raw` walks the file by the one table of `keys` and gathers every fault of syntax
//! and type; `check` follows references, reads the files that are named, and builds the settings
//! of all stages; warnings tell what is legal and unsafe. After faults of one layer the next still
//! runs where it can, so that one run names them all. Only then does anything start.

mod check;
mod diagnostic;
mod effective;
mod environment;
mod files;
mod hidden;
mod include;
mod keys;
mod node;
pub(crate) mod pages;
mod raw;
mod sarif;
mod schema;
mod settings;
mod suggest;
mod taken;
mod texts;
mod typed;
mod value;

use std::path::Path;
use std::sync::Arc;

pub(crate) use effective::effective;
pub(crate) use schema::schema;
pub(crate) use suggest::nearest;
pub(crate) use taken::taken_beyond;
pub(crate) use texts::Texts;
pub(crate) use value::duration;

pub use diagnostic::{Diagnostic, Report, Severity};
pub use settings::Config;
pub(crate) use settings::{
    AdminPlace, AdminSettings, CertificateFiles, ClientAuth, FeedSettings, FetchSettings,
    FixedSettings, FreshnessSettings, IntrospectionSettings, IssuerSettings, KeyPlace,
    KeySourceSettings, ListenerSettings, TracingSettings, needs_restart,
};

/// Reads and checks a configuration file. Talks to no network.
///
/// # Errors
/// Every fault that was found. Warnings come with the configuration in both cases.
pub fn load(path: &Path) -> (Option<Config>, Report) {
    match text_of(path) {
        Ok(text) => read(path, &text),
        Err(report) => (None, report),
    }
}

fn text_of(path: &Path) -> Result<String, Report> {
    std::fs::read_to_string(path).map_err(|error| {
        let mut report = Report::new(Arc::new(Texts::of(path, "")));
        report.push(
            Diagnostic::error("BW0002", format!("the file cannot be read: {error}"))
                .help("name the file, or write one with `bearward init`"),
        );
        report
    })
}

/// Where the admin listener of a configuration is, whatever else is wrong with it.
///
/// # Errors
/// The faults that keep that from being known.
pub(crate) fn admin_place(path: &Path) -> Result<AdminPlace, Report> {
    let mut report = gathered(path, &text_of(path)?);
    // In an incident a slip in another line must not stand in the way; and of the rest nothing is said here.
    let (root, is_toml) = raw::read_what_can(&mut report);
    let admin = root.table("admin");
    let is_said = admin.is_some_and(|admin| admin.value("address").is_some());
    let is_faulty = admin.is_some_and(|admin| admin.is_faulty("address"));
    // It may have been lost with the line that is none. A guess would give the token to whoever listens there.
    if is_faulty || root.is_faulty("admin") || !(is_toml || is_said) {
        return Err(report);
    }
    if is_toml {
        report.clear();
    }
    check::admin_place(&root, folder(path), &mut report).ok_or(report)
}

/// Checks a configuration that is in memory; relative paths are relative to `path`'s folder.
pub fn read(path: &Path, text: &str) -> (Option<Config>, Report) {
    let mut report = gathered(path, text);
    let Some(root) = raw::read(&mut report) else {
        return (None, report);
    };
    let config = check::check(&root, folder(path), &mut report);
    let config = config.filter(|_| !report.has_errors());
    (config, report)
}

/// All texts of a configuration, and what could not be read of them.
fn gathered(path: &Path, text: &str) -> Report {
    let mut texts = Texts::of(path, text);
    let faults = include::add(&mut texts, folder(path));
    // A variable that is not UTF-8 overrides nothing that is.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let variables = environment::overrides(variables);
    environment::add(&mut texts, &variables);
    let mut report = Report::new(Arc::new(texts));
    for (name, value) in &variables {
        report.hidden().conceal(name, value);
    }
    for fault in faults {
        report.push(fault);
    }
    report
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("."))
}
