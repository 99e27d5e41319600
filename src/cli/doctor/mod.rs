//! `bearward doctor`: everything that a configuration leads to, looked at live, as the gateway will.

mod finding;
mod local;
mod remote;

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::admin_client::{AdminArguments, AdminClient, runtime};
use super::output::{Code, say};
use super::{Outcome, load};
use finding::Findings;

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

/// Exit code 0: ticks alone; 1: a cross; 78: the configuration has faults.
pub(super) fn doctor(arguments: &DoctorArguments) -> Outcome {
    let path = arguments.admin.config();
    let config = load(path)?;
    let mut findings = Findings::new(arguments.json);
    findings.good("configuration", format!("{} has no errors", path.display()));
    let serving = serving(&arguments.admin);
    match &serving {
        Some(digest) if **digest == *config.digest => {
            findings.good(
                "gateway",
                format!("serves with this configuration, {digest}"),
            );
        }
        Some(digest) => findings.bad(
            "gateway",
            format!(
                "serves with another configuration: {digest} is not {}",
                config.digest
            ),
            "`bearward config diff` shows what is different, `bearward reload` applies it",
        ),
        None => findings.skipped(
            "gateway",
            "does not run here, so ports and folder have to be free",
        ),
    }
    local::look(&config, serving.is_some(), &mut findings);
    runtime()?.block_on(remote::look(&config, &mut findings));
    match findings.end() {
        0 => Ok(ExitCode::SUCCESS),
        bad => {
            say(&format!("{bad} to mend"));
            Ok(Code::Negative.into())
        }
    }
}

/// The configuration of the gateway that runs, if one does.
fn serving(admin: &AdminArguments) -> Option<String> {
    let client = AdminClient::find(admin).ok()?;
    let told = client.send(Method::GET, "/api/v1/config", None).ok()?;
    told.get("config")
        .and_then(Value::as_str)
        .map(str::to_owned)
}
