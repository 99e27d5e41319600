//! `[audit]`: where the lines go, and which are written.

use super::Checker;
use crate::config::node::Node;
use crate::observe::audit::{AuditSettings, FileSettings, Output, SubjectPolicy};

/// Where audit lines go.
pub(super) fn output(audit: &Node, checker: &mut Checker<'_>) -> Output {
    let file = audit.text("file").map(|path| checker.path(&path));
    let (output, chained) = (audit.text("output"), audit.flag("chain"));
    match (output.as_deref(), file) {
        (Some("file"), Some(path)) => {
            return Output::File(FileSettings {
                path,
                is_chained: chained,
            });
        }
        (Some("file"), None) => {
            let message = "`audit.output` is \"file\", and there is no `audit.file`".to_owned();
            checker.error_help(
                "BW0103",
                message,
                &audit.span,
                "write file = \"audit.jsonl\"",
            );
        }
        (_, file) => {
            let misplaced = file.is_some().then_some("file");
            let misplaced = misplaced.or_else(|| chained.then_some("chain"));
            if let Some((name, (_, span))) = misplaced.and_then(|it| Some((it, audit.value(it)?))) {
                let message = format!("`audit.{name}` counts with `output = \"file\"` alone");
                checker.error("BW0106", message, span);
            }
        }
    }
    match output.as_deref() {
        Some("off") => Output::Off,
        _ => Output::Stdout,
    }
}

/// Which lines are written, and how.
pub(super) fn settings(audit: &Node) -> Option<AuditSettings> {
    Some(AuditSettings {
        allow_one_in: audit.one_in("allow"),
        deny_per_second: audit.count("deny_rate")?,
        subject: match audit.text("subject").as_deref() {
            Some("plain") => SubjectPolicy::Plain,
            Some("off") => SubjectPolicy::Off,
            _ => SubjectPolicy::Hash,
        },
    })
}
