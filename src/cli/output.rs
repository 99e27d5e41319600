//! What commands say, and how they fail.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// How long a failure may take to be told.
const REPORT_MAX: Duration = Duration::from_secs(2);

/// The exit codes beyond 0, 1 and 2 (sysexits.h).
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    /// A negative verdict, or findings.
    Negative = 1,
    Usage = 2,
    Unreachable = 69,
    Internal = 70,
    /// The system refuses: a taken port, a folder that cannot be written.
    System = 71,
    Configuration = 78,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A command that did not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    code: Code,
    message: String,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }

    /// The same, with what happened before it.
    pub(super) fn after(self, before: &str) -> Self {
        Self {
            message: format!("{before}: {}", self.message),
            ..self
        }
    }

    pub(super) fn internal(error: impl Display) -> Self {
        Self::new(Code::Internal, error)
    }

    /// Says it on standard error and gives the exit code. A pipe that nobody reads does not keep the process
    /// from ending.
    pub(super) fn report(self) -> ExitCode {
        let code = self.code.into();
        let (told, is_told) = std::sync::mpsc::channel();
        let telling = std::thread::Builder::new().spawn(move || {
            say(&format!("bearward: {}", self.message));
            // Whoever waited may have given up.
            let _ = told.send(());
        });
        if telling.is_ok() {
            let _ = is_told.recv_timeout(REPORT_MAX);
        }
        code
    }
}

/// Colours, where somebody looks: on a terminal, unless `NO_COLOR` is set (no-color.org).
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    pub(super) fn of_stdout() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        Self(!plain && std::io::stdout().is_terminal())
    }

    fn with(self, code: &str, text: &str) -> String {
        match self.0 {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.with("32", text)
    }
}

/// A line of data, on standard output. A reader that has gone is not our fault.
pub(super) fn data(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// How far something is that takes long: one line that changes, where somebody looks; empty at its end.
pub(super) fn progress(text: &str) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let _ = write!(out, "\r{text}\x1b[K");
        let _ = out.flush();
    }
}

/// A line of talk, on standard error.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
