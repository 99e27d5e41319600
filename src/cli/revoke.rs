//! `bearward revoke` and `bearward revocations`, through the admin API.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::Outcome;
use super::admin_client::{AdminArguments, AdminClient};
use super::output::{data, say};

const REVOCATIONS: &str = "/api/v1/revocations";

#[derive(Debug, Args)]
pub(super) struct RevokeArguments {
    /// What tokens are selected by.
    #[arg(value_enum)]
    by: By,
    /// The value of the claim.
    value: String,
    /// The configured name of the issuer.
    #[arg(long)]
    issuer: String,
    /// Only tokens issued at this time (RFC 3339) or earlier.
    #[arg(long, value_name = "TIME")]
    issued_before: Option<String>,
    /// When it may be forgotten (RFC 3339); never before the tokens can have ended.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Why, for the list and the audit log.
    #[arg(long)]
    reason: Option<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// One token, by its `jti`.
    Jti,
    /// All tokens of a subject.
    Subject,
}

#[derive(Debug, Subcommand)]
pub(super) enum RevocationsCommand {
    /// List them, the newest first.
    #[command(after_help = "Example: bearward revocations list --json")]
    List {
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Take one back by its id.
    #[command(after_help = "Example: bearward revocations remove 019ab4c2-…")]
    Remove {
        /// The revocation's id.
        id: String,
        #[command(flatten)]
        admin: AdminArguments,
    },
}

pub(super) fn revoke(arguments: &RevokeArguments) -> Outcome {
    let by = match arguments.by {
        By::Jti => "jti",
        By::Subject => "subject",
    };
    let mut body = json!({ "selector": { "issuer": arguments.issuer, by: arguments.value } });
    for (name, value) in [
        ("issued_before", &arguments.issued_before),
        ("until", &arguments.until),
        ("reason", &arguments.reason),
    ] {
        if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
            body.insert(name.to_owned(), json!(value));
        }
    }
    let client = AdminClient::find(&arguments.admin)?;
    let answer = client.send(Method::POST, REVOCATIONS, Some(&body))?;
    if arguments.json {
        data(&format!("{answer:#}"));
    } else {
        data(&format!("revoked {}", line(&answer)));
    }
    if answer.get("durable") == Some(&json!(false)) {
        say("It holds until the gateway restarts: this version keeps revocations in memory.");
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn revocations(command: &RevocationsCommand) -> Outcome {
    match command {
        RevocationsCommand::List { json, admin } => {
            let answer = AdminClient::find(admin)?.send(Method::GET, REVOCATIONS, None)?;
            if *json {
                data(&format!("{answer:#}"));
            } else {
                for revocation in answer
                    .get("revocations")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    data(&line(revocation));
                }
            }
        }
        RevocationsCommand::Remove { id, admin } => {
            let path = format!("{REVOCATIONS}/{id}");
            AdminClient::find(admin)?.send(Method::DELETE, &path, None)?;
            data(&format!("removed {id}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One revocation on one line.
fn line(revocation: &Value) -> String {
    let text = |name: &str| {
        revocation
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("-")
            .to_owned()
    };
    let selector: Vec<_> = revocation
        .get("selector")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    format!(
        "{}  {}  issued_before={}  until={}  {}",
        text("id"),
        selector.join(" "),
        text("issued_before"),
        text("until"),
        text("reason"),
    )
}
