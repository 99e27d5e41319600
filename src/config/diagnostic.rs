//! A fault or warning as an operator reads it, in the form of a compiler's.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::hidden::Hidden;
use super::texts::{Place, Texts};

/// Findings that are told to people, and to programs: a file that is wrong from end to end is known by the first.
const TOLD_MAX: usize = 500;
const JSON_MAX: usize = 5_000;
/// Columns of a line that are shown, and before the place.
const COLUMNS_MAX: usize = 240;
const COLUMNS_BEFORE: usize = 160;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Bearward does not start with it.
    Error,
    /// Legal, and probably not what was meant, or unsafe.
    Warning,
}

/// One fault or warning.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// `BW` and four digits; stable.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, naming key, value and expectation.
    pub message: String,
    span: Option<Range<usize>>,
    label: String,
    /// Another place that has to do with it, and what stands there.
    related: Option<(Range<usize>, String)>,
    help: Option<String>,
}

impl Diagnostic {
    pub(super) const fn error(code: &'static str, message: String) -> Self {
        Self::new(code, Severity::Error, message)
    }

    pub(super) const fn warning(code: &'static str, message: String) -> Self {
        Self::new(code, Severity::Warning, message)
    }

    const fn new(code: &'static str, severity: Severity, message: String) -> Self {
        Self {
            code,
            severity,
            message,
            span: None,
            label: String::new(),
            related: None,
            help: None,
        }
    }

    /// Where in the file.
    pub(super) fn at(mut self, span: &Range<usize>) -> Self {
        self.span = Some(span.clone());
        self
    }

    /// What stands under the carets.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Another place that has to do with it, and what stands there.
    pub(super) fn related(mut self, span: &Range<usize>, what: impl Into<String>) -> Self {
        self.related = Some((span.clone(), what.into()));
        self
    }

    /// What to do.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Everything that was found in a configuration.
#[derive(Debug)]
pub struct Report {
    texts: Arc<Texts>,
    found: Vec<Diagnostic>,
    hidden: Hidden,
}

/// A finding for programs.
#[derive(Debug, Serialize)]
pub(super) struct Finding<'a> {
    pub(super) code: &'static str,
    pub(super) severity: Severity,
    pub(super) message: &'a str,
    pub(super) file: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) column: Option<usize>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) related: Option<Related<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) help: Option<&'a str>,
}

/// Another place that has to do with a finding.
#[derive(Debug, Serialize)]
pub(super) struct Related<'a> {
    pub(super) file: &'a Path,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: &'a str,
}

impl Report {
    pub(super) fn new(texts: Arc<Texts>) -> Self {
        Self {
            texts,
            found: Vec::new(),
            hidden: Hidden::default(),
        }
    }

    /// Forgets what was found, and keeps hidden what is.
    pub(super) fn clear(&mut self) {
        self.found.clear();
    }

    pub(super) const fn texts(&self) -> &Arc<Texts> {
        &self.texts
    }

    /// Keeps a part of the file out of every finding, whatever the finding is about.
    pub(super) fn hide(&mut self, span: &Range<usize>) {
        self.hidden.add(span);
    }

    /// What is kept out of every finding.
    pub(super) const fn hidden(&mut self) -> &mut Hidden {
        &mut self.hidden
    }

    /// A line of the file with what is hidden in asterisks.
    fn source(&self, start: usize) -> String {
        let rest = self.texts.all().get(start..).unwrap_or_default();
        let source = rest.lines().next().unwrap_or_default();
        // A login may stand in a place that nobody thought of.
        self.hidden.masked(start, &without_login(source))
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        // Beyond, a file is known.
        if self.found.len() >= JSON_MAX {
            return;
        }
        let clean = |text: &str| self.hidden.without_values(without_login(text));
        self.found.push(Diagnostic {
            message: clean(&diagnostic.message),
            label: clean(&diagnostic.label),
            help: diagnostic.help.as_deref().map(clean),
            related: diagnostic.related.map(|(span, what)| (span, clean(&what))),
            ..diagnostic
        });
    }

    /// Whether Bearward refuses to start.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many of a kind.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.found.iter().filter(|d| d.severity == severity).count()
    }

    /// The findings in the order of the file.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<&Diagnostic> {
        let mut found: Vec<_> = self.found.iter().collect();
        found.sort_by_key(|d| d.span.as_ref().map_or(usize::MAX, |span| span.start));
        found
    }

    /// All findings as text.
    #[must_use]
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        let lines = self.texts.lines();
        let all = self.diagnostics();
        for diagnostic in all.iter().take(TOLD_MAX) {
            self.write(&mut out, diagnostic, &lines);
        }
        if let Some(more) = all.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
            // Writing to a string does not fail.
            let _ = writeln!(out, "and {more} more findings");
        }
        out
    }

    /// All findings as a JSON array.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(&self.list()).unwrap_or_default()
    }

    /// All findings for programs.
    pub(super) fn list(&self) -> Vec<Finding<'_>> {
        let lines = self.texts.lines();
        let place = |span: &Range<usize>| self.texts.place(span.start, &lines);
        let all = self.diagnostics().into_iter().take(JSON_MAX);
        all.map(|diagnostic| {
            let at = diagnostic.span.as_ref().map(place);
            Finding {
                code: diagnostic.code,
                severity: diagnostic.severity,
                message: &diagnostic.message,
                file: at.as_ref().map_or_else(|| self.texts.main(), |at| at.file),
                line: at.as_ref().map(|at| at.line),
                column: at.as_ref().map(|at| at.column),
                label: &diagnostic.label,
                related: diagnostic.related.as_ref().map(|(span, what)| {
                    let at = place(span);
                    Related {
                        file: at.file,
                        line: at.line,
                        column: at.column,
                        message: what,
                    }
                }),
                help: diagnostic.help.as_deref(),
            }
        })
        .collect()
    }

    // Writing to a string does not fail.
    fn write(&self, out: &mut String, diagnostic: &Diagnostic, lines: &[usize]) {
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = writeln!(
            out,
            "{severity}[{}]: {}",
            diagnostic.code, diagnostic.message
        );
        if let Some(span) = &diagnostic.span {
            self.write_place(out, "-->", span, &diagnostic.label, lines);
        } else {
            let _ = writeln!(out, "  --> {}", self.texts.main().display());
        }
        if let Some((span, what)) = &diagnostic.related {
            self.write_place(out, ":::", span, what, lines);
        }
        if let Some(help) = &diagnostic.help {
            let _ = writeln!(out, "  = help: {help}");
        }
        out.push('\n');
    }

    // Writing to a string does not fail.
    fn write_place(
        &self,
        out: &mut String,
        arrow: &str,
        span: &Range<usize>,
        label: &str,
        lines: &[usize],
    ) {
        let Place {
            file, line, column, ..
        } = self.texts.place(span.start, lines);
        let _ = writeln!(out, "  {arrow} {}:{line}:{column}", file.display());
        let start = lines.partition_point(|start| *start <= span.start).max(1);
        let whole = self.source(lines.get(start - 1).copied().unwrap_or(0));
        // Of a very long line the part around the place.
        let skipped = (column - 1).saturating_sub(COLUMNS_BEFORE);
        let source: String = whole.chars().skip(skipped).take(COLUMNS_MAX).collect();
        let column = column - skipped;
        let number = line.to_string();
        let _ = writeln!(out, "{number} | {source}");
        let rest = source.chars().count().saturating_sub(column - 1);
        let text = self.texts.all().get(span.clone());
        let width = text.map_or(1, |text| {
            text.lines().next().unwrap_or_default().chars().count()
        });
        let carets = format!(
            "{:indent$} | {:before$}{} {label}",
            "",
            "",
            "^".repeat(width.clamp(1, rest.max(1))),
            indent = number.len(),
            before = column - 1,
        );
        let _ = writeln!(out, "{}", carets.trim_end());
    }
}

/// Text with the user and the password of every URL in asterisks, of the same length in bytes.
pub(super) fn without_login(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`'))
            .unwrap_or(after.len());
        let login = after.get(..end).and_then(|url| url.rfind('@')).unwrap_or(0);
        // What our own words show of a URL's form is no login.
        let is_form = after.starts_with("USER:PASSWORD@");
        let login = if is_form { 0 } else { login };
        out.push_str(&"*".repeat(login));
        rest = after.get(login..).unwrap_or_default();
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_not_shown() {
        for (text, shown) in [
            (
                "a redis://me:pa/ss@w@host/0 b",
                "a redis://**********@host/0 b",
            ),
            (
                "url = { file = \"redis://:x@h\" }",
                "url = { file = \"redis://**@h\" }",
            ),
            ("https://host/a@b, c://d:e@f", "https://******@b, c://***@f"),
            ("https://host/ me@host", "https://host/ me@host"),
            (
                "write rediss://USER:PASSWORD@HOST:PORT",
                "write rediss://USER:PASSWORD@HOST:PORT",
            ),
        ] {
            assert_eq!(without_login(text), shown);
        }
    }
}
