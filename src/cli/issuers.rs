//! `bearward issuers`, through the admin API.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::Outcome;
use super::admin_client::{AdminArguments, AdminClient};
use super::output::{Code, Failure, data};
use crate::observe::shown;

const ISSUERS: &str = "/api/v1/issuers";
/// What is shown of a text that a provider chose.
const SHOWN_CHARS_MAX: usize = 256;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct IssuersArguments {
    #[command(subcommand)]
    command: Option<IssuersCommand>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
struct Show {
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

#[derive(Debug, Subcommand)]
enum IssuersCommand {
    /// Fetch an issuer's keys now.
    #[command(after_help = "Example: bearward issuers refresh main")]
    Refresh {
        /// The configured name of the issuer.
        name: String,
        #[command(flatten)]
        show: Show,
    },
}

pub(super) fn issuers(arguments: &IssuersArguments) -> Outcome {
    match &arguments.command {
        None => {
            let client = AdminClient::find(&arguments.show.admin)?;
            let answer = client.send(Method::GET, ISSUERS, None)?;
            if arguments.show.json {
                data(&format!("{answer:#}"));
            } else {
                let issuers = answer.get("issuers").and_then(Value::as_array);
                for issuer in issuers.into_iter().flatten() {
                    print(issuer);
                }
            }
        }
        Some(IssuersCommand::Refresh { name, show }) => {
            if name.contains(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)) {
                let message = "a name has letters, digits, `-`, `_` and `.` here; ask the admin API for others";
                return Err(Failure::new(Code::Usage, message));
            }
            let client = AdminClient::find(&show.admin)?;
            let answer = client.send(Method::POST, &format!("{ISSUERS}/{name}/refresh"), None)?;
            if show.json {
                data(&format!("{answer:#}"));
            } else {
                print(&answer);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(issuer: &Value) {
    let text = |value: &Value, name: &str| match value.get(name) {
        None | Some(Value::Null) => None,
        // The provider chooses some of it, and a terminal obeys what it is shown.
        Some(Value::String(text)) => Some(shown(text, SHOWN_CHARS_MAX)),
        Some(other) => Some(other.to_string()),
    };
    let own = |name: &str| text(issuer, name);
    let line = |label: &str, value: Option<String>| {
        if let Some(value) = value {
            data(&format!("  {label:<14} {value}"));
        }
    };
    let [name, state, source] =
        ["name", "state", "source"].map(|name| own(name).unwrap_or_default());
    data(&format!("{name}  {state}  ({source})"));
    line("issuer", own("issuer"));
    line(
        "from",
        own("from").filter(|from| Some(from) != own("issuer").as_ref()),
    );
    for key in list(issuer, "keys") {
        let kid = text(key, "kid").unwrap_or_else(|| "without kid".to_owned());
        let kind = text(key, "kind").unwrap_or_default();
        let bits = text(key, "bits").map(|bits| format!(" {bits} bit"));
        let algorithms: Vec<_> = list(key, "algorithms").filter_map(Value::as_str).collect();
        let bits = bits.unwrap_or_default();
        line(
            "key",
            Some(format!("{kid}  {kind}{bits}  {}", algorithms.join(" "))),
        );
    }
    for skipped in list(issuer, "skipped") {
        let kid = text(skipped, "kid").unwrap_or_else(|| "without kid".to_owned());
        line(
            "not used",
            text(skipped, "why").map(|why| format!("{kid}: {why}")),
        );
    }
    line("confirmed at", own("checked_at"));
    line("next fetch at", own("next_fetch_at"));
    line("too old at", own("stale_at"));
    if let Some(error) = issuer.get("last_error") {
        let at = text(error, "at")
            .map(|at| format!("{at}  "))
            .unwrap_or_default();
        line(
            "LAST ERROR",
            text(error, "error").map(|error| format!("{at}{error}")),
        );
    }
    line("NOT SAVED", own("save_error"));
    line(
        "clock offset",
        own("clock_offset_seconds").map(|offset| format!("{offset} s")),
    );
}

fn list<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    of.get(name).and_then(Value::as_array).into_iter().flatten()
}
