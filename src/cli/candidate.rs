//! `bearward candidate`: has a running gateway judge by another configuration beside its own, and shows what
//! that would do otherwise.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::Outcome;
use super::admin_client::{AdminArguments, AdminClient};
use super::decisions::send_configuration;
use super::output::{Paint, data, say};
use crate::observe::shown;

const PATH: &str = "/api/v1/candidate";

/// What is shown of a text that the gateway gives.
const SHOWN_CHARS_MAX: usize = 500;

#[derive(Debug, Subcommand)]
pub(super) enum CandidateCommand {
    /// Begin: every request is judged by this configuration too, and nobody is refused by it.
    #[command(after_help = "Example: bearward candidate try candidate.toml")]
    Try {
        /// The configuration; paths in it are relative to the gateway's own.
        file: PathBuf,
        #[command(flatten)]
        asked: Asked,
    },
    /// Show what it would have done otherwise.
    Show {
        #[command(flatten)]
        asked: Asked,
    },
    /// Show that, and end.
    Stop {
        #[command(flatten)]
        asked: Asked,
    },
}

#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

pub(super) fn candidate(command: &CandidateCommand) -> Outcome {
    let (told, asked) = match command {
        CandidateCommand::Try { file, asked } => {
            let client = AdminClient::find(&asked.admin)?;
            (send_configuration(&client, Method::PUT, PATH, file)?, asked)
        }
        CandidateCommand::Show { asked } => {
            let client = AdminClient::find(&asked.admin)?;
            (client.send(Method::GET, PATH, None)?, asked)
        }
        CandidateCommand::Stop { asked } => {
            let client = AdminClient::find(&asked.admin)?;
            (client.send(Method::DELETE, PATH, None)?, asked)
        }
    };
    if asked.json {
        data(&format!("{told:#}"));
    } else {
        print(&told);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(told: &Value) {
    let paint = Paint::of_stdout();
    let text = |value: &Value, name: &str| match value.get(name) {
        // A terminal obeys what it is shown.
        Some(Value::String(text)) => shown(text, SHOWN_CHARS_MAX),
        Some(Value::Null) | None => "none".to_owned(),
        Some(other) => other.to_string(),
    };
    let list = |name: &str| told.get(name).and_then(Value::as_array).cloned();
    if let Some(warnings) = told.get("warnings").and_then(Value::as_str) {
        for line in warnings.trim_end().lines() {
            say(&shown(line, SHOWN_CHARS_MAX));
        }
    }
    data(&format!(
        "configuration {}, tried since {}",
        text(told, "config"),
        text(told, "since")
    ));
    for issuer in list("issuers_without_keys").unwrap_or_default() {
        let name = shown(issuer.as_str().unwrap_or_default(), SHOWN_CHARS_MAX);
        data(&format!(
            "no keys of issuer {name}: none are fetched for a configuration that does not serve, and its tokens count as keys_unavailable"
        ));
    }
    data(&format!(
        "requests judged: {}, of them the same: {}; left out, since their issuer would have to be asked: {}",
        text(told, "judged"),
        text(told, "same"),
        text(told, "left_out")
    ));
    for difference in list("differences").unwrap_or_default() {
        let word = |name: &str| match text(&difference, name).as_str() {
            "none" => paint.green("allowed"),
            code => paint.red(code),
        };
        data(&format!(
            "{:>8}  {}: {} would be {}, such as {}",
            text(&difference, "count"),
            text(&difference, "route"),
            word("is"),
            word("would_be"),
            text(&difference, "example")
        ));
    }
}
