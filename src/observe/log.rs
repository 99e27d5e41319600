//! The operator's log: to standard error, readable on a terminal and JSON otherwise.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use tracing_subscriber::filter::LevelFilter;

use super::lines::{Lines, To};

/// The log of this process. A worker that wrote to standard error itself would wait for whoever
/// reads it.
static LINES: OnceLock<Lines> = OnceLock::new();

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Readable if standard error is a terminal.
    Auto,
    Readable,
    Json,
}

/// Starts the log for this process. A second call changes nothing.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(format: LogFormat, level: LevelFilter) -> io::Result<()> {
    let json = match format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Readable => false,
        LogFormat::Json => true,
    };
    let _ = LINES.set(Lines::start("log", To(io::stderr()))?);
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_writer(|| OneLine);
    // An earlier start stands.
    let _ = if json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        tracing::subscriber::set_global_default(builder.with_ansi(color).finish())
    };
    Ok(())
}

/// Waits until the log is written, for a bounded time.
pub(crate) fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// Lines for which there was no room.
pub(crate) fn dropped() -> u64 {
    LINES.get().map_or(0, Lines::dropped)
}

/// Takes one line, as the subscriber writes it: whole, in one call.
struct OneLine;

impl Write for OneLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(lines) = LINES.get() {
            lines.send(line.to_vec());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
