//! `bearward status`: a running gateway on one screen.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::Outcome;
use super::admin_client::{AdminArguments, AdminClient};
use super::output::{Code, Paint, data};
use crate::observe::shown;

/// What is shown of a text that others chose.
const SHOWN_CHARS_MAX: usize = 500;
/// Reasons that are listed.
const REASONS_MAX: usize = 5;
const MIB: f64 = 1024.0 * 1024.0;

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

/// Exit code 0: it is ready; 1: it is not; 69: it cannot be reached.
pub(super) fn status(arguments: &StatusArguments) -> Outcome {
    let client = AdminClient::find(&arguments.admin)?;
    let get = |path: &str| client.send(Method::GET, path, None);
    let (config, cache) = (get("/api/v1/config")?, get("/api/v1/cache")?);
    let (summary, upstreams) = (get("/api/v1/decisions/summary")?, get("/api/v1/upstreams")?);
    let ready = client.exchange(Method::GET, "/readyz?verbose", String::new())?;
    let is_ready = ready.status().is_success();
    let checks = String::from_utf8_lossy(ready.body()).into_owned();
    if arguments.json {
        let told = json!({
            "ready": is_ready,
            "checks": checks.lines().collect::<Vec<_>>(),
            "config": config.get("config"),
            "since": config.get("since"),
            "version": config.get("version"),
            "decisions": summary,
            "cache": cache,
            "upstreams": upstreams.get("upstreams"),
        });
        data(&format!("{told:#}"));
    } else {
        print(&config, &checks, is_ready);
        print_decisions(&summary);
        print_cache(&cache);
        print_upstreams(&upstreams);
    }
    Ok(match is_ready {
        true => ExitCode::SUCCESS,
        false => Code::Negative.into(),
    })
}

fn line(label: &str, text: &str) {
    data(format!("{label:<12} {text}").trim_end());
}

fn text(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str).unwrap_or_default();
    shown(text, SHOWN_CHARS_MAX)
}

fn print(config: &Value, checks: &str, is_ready: bool) {
    let paint = Paint::of_stdout();
    line(
        "bearward",
        &format!(
            "{}, configuration {} since {}",
            text(config, "version"),
            text(config, "config"),
            text(config, "since")
        ),
    );
    let restart = config.get("needs_restart").and_then(Value::as_array);
    let restart: Vec<_> = restart
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !restart.is_empty() {
        line(
            "restart",
            &format!("is waited for by {}", restart.join(", ")),
        );
    }
    let ready = match is_ready {
        true => paint.green("yes"),
        false => paint.red("no"),
    };
    line("ready", &ready);
    for check in checks.lines() {
        let check = shown(check, SHOWN_CHARS_MAX);
        match check.strip_prefix("[ok] ") {
            Some(check) => line("", &format!("{} {check}", paint.green("✓"))),
            None => {
                let check = check.trim_start_matches("[fail] ");
                line("", &format!("{} {check}", paint.red("✗")));
            }
        }
    }
}

/// Counts by minute, added up.
fn sum(counts: Option<&Value>) -> u64 {
    let counts = counts.and_then(Value::as_array);
    counts
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .fold(0, u64::saturating_add)
}

fn print_decisions(summary: &Value) {
    let minutes = summary
        .get("minutes")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let allowed = sum(summary.get("allowed"));
    let reasons = summary.get("reasons").and_then(Value::as_object);
    let mut refused: Vec<_> = reasons
        .into_iter()
        .flatten()
        .map(|(reason, counts)| (sum(Some(counts)), reason))
        .collect();
    refused.sort_by(|one, other| other.cmp(one));
    let all = refused
        .iter()
        .fold(0, |all: u64, (count, _)| all.saturating_add(*count));
    line(
        "decisions",
        &format!("in the last {minutes} minutes: {allowed} allowed, {all} refused or failed"),
    );
    for (count, reason) in refused.into_iter().take(REASONS_MAX) {
        line(
            "",
            &format!("{count:>8} {}", shown(reason, SHOWN_CHARS_MAX)),
        );
    }
}

fn print_cache(cache: &Value) {
    let number = |name: &str| cache.get(name).and_then(Value::as_u64).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
    let mib = number("bytes") as f64 / MIB;
    line(
        "cache",
        &format!("{} tokens, {mib:.1} MiB", number("entries")),
    );
}

fn print_upstreams(upstreams: &Value) {
    let paint = Paint::of_stdout();
    let list = |value: &Value, name: &str| {
        value
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    for upstream in list(upstreams, "upstreams") {
        for server in list(&upstream, "servers") {
            let well = match server.get("healthy").and_then(Value::as_bool) {
                Some(false) => paint.red("not well"),
                _ => paint.green("well"),
            };
            let open = server
                .get("connections")
                .and_then(Value::as_u64)
                .unwrap_or_default();
            let name = text(&upstream, "name");
            let server = text(&server, "server");
            line(
                "upstream",
                &format!("{name} {server}: {well}, {open} connections"),
            );
        }
    }
}
