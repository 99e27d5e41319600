//! `bearward doctor`: everything that a configuration leads to, looked at live, as the gateway will.

mod finding;
mod local;
mod remote;

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::Outcome;
use super::admin_client::{AdminArguments, AdminClient, runtime};
use super::output::{Code, say};
use crate::app::folder_is_taken;
use crate::config::{self, Severity};
use crate::observe::shown;
use finding::Findings;

/// What is shown of a text that the gateway gives.
const SHOWN_CHARS_MAX: usize = 100;

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
    let mut findings = Findings::new(arguments.json);
    let (config, report) = config::load(path);
    let Some(config) = config else {
        let count = report.count(Severity::Error);
        let text = format!("{} has {count} errors", path.display());
        findings.bad(
            "configuration",
            text,
            format!("bearward check {}", path.display()),
        );
        findings.end();
        return Ok(Code::Configuration.into());
    };
    findings.good("configuration", format!("{} has no errors", path.display()));
    let serving = Serving::ask(&arguments.admin);
    match &serving {
        None if folder_is_taken(&config.fixed.state_dir) => findings.bad(
            "gateway",
            "one runs with this state folder, and does not answer at `admin.address`",
            "if that was changed, say where it still is: --admin URL; or restart it",
        ),
        None => findings.skipped(
            "gateway",
            "does not run here, so ports and folder have to be free",
        ),
        Some(serving) if serving.digest != *config.digest => findings.bad(
            "gateway",
            format!(
                "serves with another configuration: {} is not {}",
                serving.digest, config.digest
            ),
            "`bearward config diff` shows what is different, `bearward reload` applies it",
        ),
        Some(serving) if !serving.restart.is_empty() => findings.bad(
            "gateway",
            format!(
                "serves with this configuration but for {}",
                serving.restart.join(", ")
            ),
            "restart it: these count from then on",
        ),
        Some(serving) => {
            findings.good(
                "gateway",
                format!("serves with this configuration, {}", serving.digest),
            );
        }
    }
    let addresses = serving.map(|serving| serving.addresses).unwrap_or_default();
    local::look(&config, &addresses, &mut findings);
    runtime()?.block_on(remote::look(&config, &mut findings));
    match findings.end() {
        0 => Ok(ExitCode::SUCCESS),
        bad => {
            say(&format!("{bad} to mend"));
            Ok(Code::Negative.into())
        }
    }
}

/// What the gateway that runs says of itself.
struct Serving {
    digest: String,
    /// Keys that wait for a restart.
    restart: Vec<String>,
    /// Where it listens, as its configuration writes it.
    addresses: Vec<String>,
}

impl Serving {
    fn ask(admin: &AdminArguments) -> Option<Self> {
        let client = AdminClient::find(admin).ok()?;
        let told = client.send(Method::GET, "/api/v1/config", None).ok()?;
        // Whoever has taken the port may answer anything.
        let text = |value: &Value| Some(shown(value.as_str()?, SHOWN_CHARS_MAX));
        let list = |name: &str| {
            told.get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        let restart: Vec<_> = list("needs_restart").filter_map(text).collect();
        let addresses = list("values").filter_map(|value| {
            let key = value.get("key")?.as_str()?;
            // What waits for a restart is not bound yet.
            let is_bound = !restart.iter().any(|waits| waits == key);
            let written = value.get("value")?.as_str()?;
            (key.ends_with(".address") && is_bound).then(|| written.trim_matches('"').to_owned())
        });
        Some(Self {
            digest: told.get("config").and_then(text)?,
            addresses: addresses.collect(),
            restart,
        })
    }
}
