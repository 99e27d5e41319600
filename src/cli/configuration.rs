//! `bearward config`: what counts and where it comes from, the schema, and what a reload would change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::admin_client::{AdminArguments, AdminClient};
use super::output::{Code, Paint, data, say};
use super::{CONFIG, Outcome, load};
use crate::config::{effective, needs_restart, schema};
use crate::observe::shown;

/// What is shown of one value.
const SHOWN_CHARS_MAX: usize = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show what counts, and where each value comes from. Secrets stay where they lie.
    #[command(after_help = "Example: bearward config show | grep timeout")]
    Show(ShowArguments),
    /// Print the JSON Schema of the configuration, for editors.
    #[command(after_help = "Example: bearward config schema > bearward.schema.json
In the file: #:schema ./bearward.schema.json")]
    Schema,
    /// Say what a reload would change, by the running gateway or another file.
    #[command(after_help = "Example: bearward config diff --against old.toml")]
    Diff(DiffArguments),
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// The configuration file.
    #[arg(value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Leave out what is a default.
    #[arg(long)]
    said: bool,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    /// A file in place of the running gateway.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

pub(super) fn config(command: &ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Show(arguments) => show(arguments),
        ConfigCommand::Schema => {
            data(&format!("{:#}", schema()));
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Diff(arguments) => diff(arguments),
    }
}

fn show(arguments: &ShowArguments) -> Outcome {
    let config = load(&arguments.config)?;
    let mut values = effective(&config.texts);
    values.retain(|value| !arguments.said || value.file.is_some());
    if arguments.json {
        data(&format!("{:#}", json!(values)));
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint::of_stdout();
    for value in values {
        let origin = match (&value.file, value.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            _ => "default".to_owned(),
        };
        let text = format!("{} = {}", value.key, value.value);
        data(&format!("{text:<56} {}", paint.dim(&format!("# {origin}"))));
    }
    Ok(ExitCode::SUCCESS)
}

/// One value that is not what it was.
struct Change {
    key: String,
    was: Option<String>,
    is: Option<String>,
}

/// Exit code 0: nothing would change; 1: something would.
fn diff(arguments: &DiffArguments) -> Outcome {
    let is = values_of(arguments.admin.config())?;
    let mut waiting = Vec::new();
    let was = match &arguments.against {
        Some(file) => values_of(file)?,
        None => {
            let client = AdminClient::find(&arguments.admin)?;
            let told = client.send(Method::GET, "/api/v1/config", None)?;
            let keys = told.get("needs_restart").and_then(Value::as_array);
            let keys = keys.into_iter().flatten().filter_map(Value::as_str);
            waiting.extend(keys.map(|key| shown(key, SHOWN_CHARS_MAX)));
            served(&told)
        }
    };
    let changes = changes(was, is);
    if arguments.json {
        let list: Vec<_> = changes
            .iter()
            .map(|change| {
                json!({
                    "key": change.key,
                    "was": change.was,
                    "is": change.is,
                    "needs_restart": needs_restart(&change.key),
                })
            })
            .collect();
        data(&format!("{:#}", json!(list)));
    } else {
        print(&changes);
    }
    if !waiting.is_empty() {
        say(&format!(
            "reloaded already, and counts after a restart: {}",
            waiting.join(", ")
        ));
    }
    Ok(match changes.is_empty() && waiting.is_empty() {
        true => ExitCode::SUCCESS,
        false => Code::Negative.into(),
    })
}

fn print(changes: &[Change]) {
    let paint = Paint::of_stdout();
    for change in changes {
        let when = match needs_restart(&change.key) {
            true => "  (counts after a restart)",
            false => "",
        };
        if let Some(was) = &change.was {
            data(&paint.red(&format!("- {} = {was}", change.key)));
        }
        if let Some(is) = &change.is {
            data(&format!(
                "{}{when}",
                paint.green(&format!("+ {} = {is}", change.key))
            ));
        }
    }
    if changes.is_empty() {
        say("nothing would change");
    }
}

/// The values of a file, by key.
fn values_of(path: &Path) -> Result<BTreeMap<String, String>, super::output::Failure> {
    let config = load(path)?;
    let values = effective(&config.texts).into_iter();
    let clean = |text: &str| shown(text, SHOWN_CHARS_MAX);
    Ok(values
        .map(|value| (clean(&value.key), clean(&value.value)))
        .collect())
}

/// The values of a running gateway, by key.
fn served(told: &Value) -> BTreeMap<String, String> {
    let values = told.get("values").and_then(Value::as_array);
    // A terminal obeys what it is shown.
    let text = |value: &Value, name: &str| Some(shown(value.get(name)?.as_str()?, SHOWN_CHARS_MAX));
    values
        .into_iter()
        .flatten()
        .filter_map(|value| Some((text(value, "key")?, text(value, "value")?)))
        .collect()
}

fn changes(was: BTreeMap<String, String>, is: BTreeMap<String, String>) -> Vec<Change> {
    let mut all: BTreeMap<String, Change> = BTreeMap::new();
    for (key, was) in was {
        let change = Change {
            key: key.clone(),
            was: Some(was),
            is: None,
        };
        all.insert(key, change);
    }
    for (key, is) in is {
        let change = all.entry(key.clone()).or_insert(Change {
            key,
            was: None,
            is: None,
        });
        change.is = Some(is);
    }
    all.into_values()
        .filter(|change| change.was != change.is)
        .collect()
}
