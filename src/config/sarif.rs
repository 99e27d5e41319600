//! Findings in the form of SARIF 2.1.0, which code hosts and editors show at their lines.

use serde_json::{Value, json};

use super::diagnostic::{Finding, Report, Severity};
use super::pages;

impl Report {
    /// All findings as a SARIF log.
    #[must_use]
    pub fn sarif(&self) -> String {
        let findings = self.list();
        let rules: Vec<_> = pages::PAGES
            .iter()
            .filter(|page| findings.iter().any(|finding| finding.code == page.code))
            .map(|page| {
                json!({
                    "id": page.code,
                    "shortDescription": { "text": page.title },
                    "help": { "text": page.text() },
                    "defaultConfiguration": { "level": level(page.severity()) },
                })
            })
            .collect();
        let results: Vec<_> = findings.iter().map(result).collect();
        let log = json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "bearward",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                } },
                "columnKind": "unicodeCodePoints",
                "results": results,
            }],
        });
        format!("{log:#}")
    }
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn result(finding: &Finding<'_>) -> Value {
    let mut text = finding.message.to_owned();
    for more in [finding.label, finding.help.unwrap_or_default()] {
        if !more.is_empty() {
            text = format!("{text}. {more}");
        }
    }
    let at = finding.line.zip(finding.column);
    let related = finding.related.iter().map(|related| {
        json!({
            "id": 1,
            "message": { "text": related.message },
            "physicalLocation": place(related.file, Some((related.line, related.column))),
        })
    });
    json!({
        "ruleId": finding.code,
        "level": level(finding.severity),
        "message": { "text": text },
        "locations": [{ "physicalLocation": place(finding.file, at) }],
        "relatedLocations": related.collect::<Vec<_>>(),
    })
}

fn place(file: &std::path::Path, at: Option<(usize, usize)>) -> Value {
    let file = json!({ "uri": uri(&file.to_string_lossy()) });
    match at {
        None => json!({ "artifactLocation": file }),
        Some((line, column)) => json!({
            "artifactLocation": file,
            "region": { "startLine": line, "startColumn": column },
        }),
    }
}

/// A path as a reference (RFC 3986 section 4.2): what is not plain is escaped.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        match plain {
            true => uri.push(char::from(byte)),
            false => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
