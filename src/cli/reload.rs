//! `bearward reload`, through the admin API.

use std::process::ExitCode;

use clap::Args;
use http::{Method, StatusCode};
use serde_json::Value;

use super::Outcome;
use super::admin_client::{AdminArguments, AdminClient, refused};
use super::output::{Code, data, say};

#[derive(Debug, Args)]
pub(super) struct ReloadArguments {
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

/// Has a running gateway read its configuration again. Faults are told as `check` tells them.
pub(super) fn reload(arguments: &ReloadArguments) -> Outcome {
    let client = AdminClient::find(&arguments.admin)?;
    let answer = client.exchange(Method::POST, "/api/v1/reload", String::new())?;
    let json: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default();
    if arguments.json {
        data(&format!("{json:#}"));
    }
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNPROCESSABLE_ENTITY => {
            say(text("report").trim_end());
            say(&format!("bearward: {}", text("detail")));
            return Ok(Code::Configuration.into());
        }
        _ => return Err(refused(&answer)),
    }
    let warnings = text("warnings");
    if !warnings.is_empty() {
        say(warnings.trim_end());
    }
    let keys = json.get("needs_restart").and_then(Value::as_array);
    let keys: Vec<_> = keys
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !keys.is_empty() {
        say(&format!(
            "changed, and counts after a restart: {}",
            keys.join(", ")
        ));
    }
    if !arguments.json {
        data(&format!("configuration {} serves", text("config")));
    }
    Ok(ExitCode::SUCCESS)
}
