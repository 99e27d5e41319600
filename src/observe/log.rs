//! The operator's log: to standard error, readable on a terminal and JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Readable if standard error is a terminal.
    Auto,
    Readable,
    Json,
}

/// Starts the log for this process. A second call changes nothing.
pub(crate) fn start(format: LogFormat, level: LevelFilter) {
    let json = match format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Readable => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_writer(std::io::stderr);
    // An earlier start stands; tests run many gateways in one process.
    let _ = if json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        tracing::subscriber::set_global_default(builder.with_ansi(color).finish())
    };
}
