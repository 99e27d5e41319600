//! The verdict step by step.
//!
//! The checks fill the trace while they decide, so an explanation cannot differ from the
//! decision. On the proxy's way the trace is off and its closures never run.

use super::Step;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) step: Step,
    pub(crate) text: String,
}

/// The findings so far, or nothing where nobody wants them.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    findings: Option<Vec<Finding>>,
}

impl Trace {
    /// A trace that keeps nothing.
    pub(crate) const fn off() -> Self {
        Self { findings: None }
    }

    /// A trace that keeps what it is told.
    pub(crate) const fn on() -> Self {
        Self {
            findings: Some(Vec::new()),
        }
    }

    /// A check passed; `text` says what was compared.
    pub(crate) fn pass(&mut self, step: Step, text: impl FnOnce() -> String) {
        if let Some(findings) = &mut self.findings {
            findings.push(Finding { step, text: text() });
        }
    }

    /// What was found, in order.
    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings.unwrap_or_default()
    }
}
