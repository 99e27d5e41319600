//! `bearward decisions` and `bearward decision`: what a running gateway refused, and why; and what another
//! configuration would do.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Outcome;
use super::admin_client::{AdminArguments, AdminClient, refused, runtime};
use super::output::{Code, Failure, Paint, data, say};
use super::token::print_steps;
use crate::config::nearest;
use crate::explain::{Explanation, Told};
use crate::http::form;
use crate::observe::shown;
use crate::verdict::Reason;

/// How often new ones are asked for.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Of a path, in a line.
const PATH_CHARS_MAX: usize = 60;

#[derive(Debug, Args)]
pub(super) struct DecisionsArguments {
    /// Only refusals for this reason, such as `token_expired`.
    #[arg(long)]
    reason: Option<String>,
    /// Only those of this route.
    #[arg(long)]
    route: Option<String>,
    /// Only those about tokens of this issuer, by its configured name.
    #[arg(long)]
    issuer: Option<String>,
    /// What became of the requests: `refused` (or would have been), `allow` as the audit samples them, or `all`.
    #[arg(long, default_value = "refused", value_parser = ["refused", "deny", "error", "allow", "all"])]
    outcome: String,
    /// Go on with those that come.
    #[arg(long)]
    follow: bool,
    /// How many of the last.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// A line of JSON each.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

#[derive(Debug, Args)]
pub(super) struct DecisionArguments {
    /// The id that a client got: the body's `instance`, with or without `urn:uuid:`.
    id: String,
    /// Decide it again by this configuration, and say what would change.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

pub(super) fn decisions(arguments: &DecisionsArguments) -> Outcome {
    if let Some(reason) = &arguments.reason
        && Reason::parse(reason).is_none()
    {
        let known = Reason::ALL.iter().map(|reason| reason.code());
        let hint = nearest(reason, known).map(|near| format!("; did you mean `{near}`?"));
        let message = format!("`{reason}` is no reason{}", hint.unwrap_or_default());
        return Err(Failure::new(Code::Usage, message));
    }
    let client = AdminClient::find(&arguments.admin)?;
    let mut path = format!("/api/v1/decisions?limit={}", arguments.limit).into_bytes();
    let outcome = Some(&arguments.outcome).filter(|outcome| *outcome != "all");
    for (name, value) in [
        ("outcome", outcome),
        ("reason", arguments.reason.as_ref()),
        ("route", arguments.route.as_ref()),
        ("issuer", arguments.issuer.as_ref()),
    ] {
        if let Some(value) = value {
            path.extend_from_slice(format!("&{name}=").as_bytes());
            form::escape(value.as_bytes(), &mut path);
        }
    }
    let path = String::from_utf8_lossy(&path);
    let waiting = runtime()?;
    let mut seen: HashSet<String> = HashSet::new();
    loop {
        let answer = client.send(Method::GET, &path, None)?;
        let list = answer.get("decisions").and_then(Value::as_array);
        let list = list.map_or(&[][..], Vec::as_slice);
        let mut now = HashSet::new();
        // The newest come first, and are read last.
        for decision in list.iter().rev() {
            let id = text(decision, "id").to_owned();
            if !seen.contains(&id) {
                data(&match arguments.json {
                    true => decision.to_string(),
                    false => line(decision),
                });
            }
            now.insert(id);
        }
        if !arguments.follow {
            if list.is_empty() && !arguments.json {
                say("no such decision is kept; see --outcome, --route, --issuer and --reason");
            }
            return Ok(ExitCode::SUCCESS);
        }
        seen = now;
        waiting.block_on(async { tokio::time::sleep(ASK_EVERY).await });
    }
}

pub(super) fn decision(arguments: &DecisionArguments) -> Outcome {
    let client = AdminClient::find(&arguments.admin)?;
    let id = arguments.id.trim_start_matches("urn:uuid:");
    if id.parse::<uuid::Uuid>().is_err() {
        let message = format!("`{id}` is no id: it is the UUID in the body's `instance`");
        return Err(Failure::new(Code::Usage, message));
    }
    let path = format!("/api/v1/decisions/{id}");
    let decision = client.send(Method::GET, &path, None)?;
    let replayed = match &arguments.against {
        None => None,
        Some(file) => Some(replay(&client, &path, file)?),
    };
    if arguments.json {
        let all = match &replayed {
            None => decision,
            Some(replayed) => json!({ "decision": decision, "replay": replayed }),
        };
        data(&format!("{all:#}"));
    } else {
        print(&decision);
        if let Some(replayed) = &replayed {
            print_replay(replayed, decision.get("steps"));
        }
    }
    let changes = replayed.is_some_and(|it| it.get("same") == Some(&Value::Bool(false)));
    Ok(match changes {
        true => Code::Negative.into(),
        false => ExitCode::SUCCESS,
    })
}

fn replay(client: &AdminClient, path: &str, file: &Path) -> Result<Value, Failure> {
    let answer = send_configuration(client, Method::POST, &format!("{path}/replay"), file)?;
    Ok(answer)
}

/// Sends a configuration's text. Its faults are told as `check` tells them.
pub(super) fn send_configuration(
    client: &AdminClient,
    method: Method,
    path: &str,
    file: &Path,
) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(
            Code::Usage,
            format!("{} cannot be read: {error}", file.display()),
        )
    })?;
    let body = json!({ "configuration": text }).to_string();
    let answer = client.exchange(method, path, body)?;
    let value: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    match answer.status() {
        status if status.is_success() => Ok(value),
        StatusCode::UNPROCESSABLE_ENTITY => {
            let report = value.get("report").and_then(Value::as_str);
            let message = format!(
                "{} has faults\n{}",
                file.display(),
                report.unwrap_or_default().trim_end()
            );
            Err(Failure::new(Code::Configuration, message))
        }
        _ => Err(refused(&answer)),
    }
}

fn line(decision: &Value) -> String {
    let paint = Paint::of_stdout();
    let status = decision.get("status").and_then(Value::as_u64).unwrap_or(0);
    let would = text(decision, "would_deny");
    let word = match (would, text(decision, "reason")) {
        ("", "none") => paint.green("allowed"),
        ("", reason) => paint.red(reason),
        (would, _) => format!("would be {would}"),
    };
    let who = match text(decision, "client_id") {
        "" => text(decision, "peer"),
        client => client,
    };
    format!(
        "{} {status} {word} {} {} {} {} {}",
        text(decision, "ts"),
        or_dash(text(decision, "route")),
        text(decision, "method"),
        shown(text(decision, "path"), PATH_CHARS_MAX),
        shown(who, PATH_CHARS_MAX),
        paint.dim(text(decision, "id")),
    )
}

fn or_dash(text: &str) -> &str {
    match text {
        "" => "-",
        text => text,
    }
}

fn print(decision: &Value) {
    let paint = Paint::of_stdout();
    data(&line(decision));
    for name in [
        "host",
        "listener",
        "rule",
        "issuer",
        "alg",
        "kid",
        "sub",
        "jti",
        "client_id",
        "peer",
        "cache",
        "upstream",
        "upstream_status",
        "near_miss",
        "cause",
        "config",
    ] {
        let value = match decision.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        data(&format!("  {name:<16} {}", shown(&value, 200)));
    }
    let steps = decision.get("steps").cloned().unwrap_or_default();
    let steps: Vec<Told> = serde_json::from_value(steps).unwrap_or_default();
    if !steps.is_empty() {
        data("");
        print_steps(paint, &steps);
    }
}

/// The way is told once where it is the same.
fn print_replay(replayed: &Value, steps_then: Option<&Value>) {
    let paint = Paint::of_stdout();
    data("");
    if let Some(why) = replayed.get("unknown").and_then(Value::as_str) {
        data(&format!("by the other configuration: not known; {why}"));
        return;
    }
    let (was, would) = (text(replayed, "was"), text(replayed, "would_be"));
    let word = |code: &str| match code {
        "none" => "allowed".to_owned(),
        code => code.to_owned(),
    };
    data(&match was == would {
        true => paint.green(&format!(
            "by the other configuration: the same, {}",
            word(was)
        )),
        false => paint.red(&format!(
            "by the other configuration: {} in place of {}",
            word(would),
            word(was)
        )),
    });
    let verdict = replayed.get("verdict").cloned().unwrap_or_default();
    if verdict.get("steps") == steps_then {
        return;
    }
    if let Ok(verdict) = serde_json::from_value::<Explanation>(verdict) {
        print_steps(paint, &verdict.steps);
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
