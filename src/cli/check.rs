//! `bearward check`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::output::{Code, data, say};
use super::{CONFIG, Outcome};
use crate::config::{self, Severity};

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The configuration file.
    #[arg(value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Warnings fail too, with exit code 1.
    #[arg(long)]
    strict: bool,
    /// How findings are written.
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Pretty,
    /// A JSON array.
    Json,
    /// SARIF 2.1.0, for code hosts and editors.
    Sarif,
}

pub(super) fn check(arguments: &CheckArguments) -> Outcome {
    let (_, report) = config::load(&arguments.config);
    match arguments.format {
        Format::Pretty => {
            let text = report.pretty();
            if !text.is_empty() {
                data(text.trim_end());
            }
        }
        Format::Json => data(&report.json()),
        Format::Sarif => data(&report.sarif()),
    }
    let (errors, warnings) = (
        report.count(Severity::Error),
        report.count(Severity::Warning),
    );
    let counted =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    say(&format!(
        "{}: {}, {}",
        arguments.config.display(),
        counted(errors, "error"),
        counted(warnings, "warning")
    ));
    let all = report.diagnostics();
    if let Some(worst) = all.iter().min_by_key(|finding| finding.severity) {
        let code = worst.code;
        say(&format!("more on a finding: bearward explain {code}"));
    }
    Ok(if errors > 0 {
        Code::Configuration.into()
    } else if warnings > 0 && arguments.strict {
        Code::Negative.into()
    } else {
        ExitCode::SUCCESS
    })
}
