//! What the doctor finds: a line each, with a tick or a cross, and what to do about a cross.

use serde::Serialize;
use serde_json::json;

use crate::cli::output::{Paint, data};

/// What is shown of names that the operator chose.
const NAME_CHARS: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Good,
    Bad,
    /// It cannot be looked at from here.
    Skipped,
}

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    what: String,
    state: State,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_do: Option<String>,
}

/// All findings, each told as soon as it is known.
#[derive(Debug)]
pub(super) struct Findings {
    all: Vec<Finding>,
    json: bool,
    paint: Paint,
}

impl Findings {
    pub(super) fn new(json: bool) -> Self {
        Self {
            all: Vec::new(),
            json,
            paint: Paint::of_stdout(),
        }
    }

    pub(super) fn good(&mut self, what: impl Into<String>, text: impl Into<String>) {
        self.take(what.into(), State::Good, text.into(), None);
    }

    pub(super) fn skipped(&mut self, what: impl Into<String>, text: impl Into<String>) {
        self.take(what.into(), State::Skipped, text.into(), None);
    }

    pub(super) fn bad(
        &mut self,
        what: impl Into<String>,
        text: impl Into<String>,
        to_do: impl Into<String>,
    ) {
        self.take(what.into(), State::Bad, text.into(), Some(to_do.into()));
    }

    fn take(&mut self, what: String, state: State, text: String, to_do: Option<String>) {
        if !self.json {
            let mark = match state {
                State::Good => self.paint.green("✓"),
                State::Bad => self.paint.red("✗"),
                State::Skipped => self.paint.dim("·"),
            };
            data(&format!("{mark} {what:<NAME_CHARS$} {text}"));
            if let Some(to_do) = &to_do {
                data(&format!("  {:NAME_CHARS$} to do: {to_do}", ""));
            }
        }
        self.all.push(Finding {
            what,
            state,
            text,
            to_do,
        });
    }

    /// Says the end; how many crosses there were.
    pub(super) fn end(&self) -> usize {
        if self.json {
            data(&format!("{:#}", json!(self.all)));
        }
        let bad = self.all.iter().filter(|it| it.state == State::Bad);
        bad.count()
    }
}
