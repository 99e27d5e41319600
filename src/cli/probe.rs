//! `bearward issuer probe`: what a provider publishes, what Bearward would refuse of it and why, and
//! a table for the configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Outcome;
use super::admin_client::runtime;
use super::output::{Code, Failure, data, progress};
use crate::clock::SystemClock;
use crate::control::{self, FetchError, Probe};
use crate::oauth::Algorithm;
use crate::observe::shown;

/// What is shown of a text that a provider chose.
const SHOWN_CHARS_MAX: usize = 256;
/// Clocks that differ by more than this will make tokens early or late.
const OFFSET_WARNED_SECS: u64 = 5;

#[derive(Debug, Subcommand)]
pub(super) enum IssuerCommand {
    /// Fetch its metadata and keys as the gateway would, and say what is good.
    #[command(after_help = "Example: bearward issuer probe https://login.example.com")]
    Probe(ProbeArguments),
}

#[derive(Debug, Args)]
pub(super) struct ProbeArguments {
    /// The issuer's identifier, as in `iss` of its tokens.
    url: String,
    /// Roots in PEM, in place of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Allow http to loopback addresses, for development.
    #[arg(long)]
    allow_http_loopback: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn issuer(command: &IssuerCommand) -> Outcome {
    let IssuerCommand::Probe(arguments) = command;
    if !arguments.url.contains("://") {
        let message = format!("`{0}` is no URL; write https://{0}", arguments.url);
        return Err(Failure::new(Code::Usage, message));
    }
    let ca = match &arguments.ca {
        None => None,
        Some(path) => Some(std::fs::read(path).map_err(|error| {
            let message = format!("{} cannot be read: {error}", path.display());
            Failure::new(Code::Usage, message)
        })?),
    };
    let probing = control::probe(
        &arguments.url,
        ca.as_deref(),
        arguments.allow_http_loopback,
        &SystemClock,
    );
    progress(&format!("asking {}", arguments.url));
    let probed = runtime()?.block_on(probing);
    progress("");
    let probe = probed.map_err(|(what, error)| {
        let hint = hint(&error);
        Failure::new(
            Code::Negative,
            format!("{what} did not come: {error}{hint}"),
        )
    })?;
    let warnings = warnings(&probe);
    if arguments.json {
        data(&as_json(&probe, &warnings));
    } else {
        print(&probe, &warnings, arguments.allow_http_loopback);
    }
    Ok(if probe.keys.is_empty() || !warnings.is_empty() {
        Code::Negative.into()
    } else {
        ExitCode::SUCCESS
    })
}

pub(super) fn hint(error: &FetchError) -> &'static str {
    match error {
        FetchError::IssuerDiffers(_) => {
            "\nthe gateway compares byte for byte: probe that name instead"
        }
        FetchError::Status(404) => "\nis this the issuer as it stands in `iss`?",
        FetchError::Tls(why) if why.contains("certificate") => {
            "\ngive the provider's own roots by --ca FILE"
        }
        FetchError::Url => "\nhttp goes to loopback addresses alone, with --allow-http-loopback",
        _ => "",
    }
}

/// What an operator should know before trusting it.
fn warnings(probe: &Probe) -> Vec<String> {
    let mut warnings = Vec::new();
    if probe.exposed > 0 {
        warnings.push(format!(
            "{} private keys lie open in the set: whoever read it can sign tokens",
            probe.exposed
        ));
    }
    if probe.keys.is_empty() {
        warnings.push("no key can be used: every token would be refused".to_owned());
    }
    let nameless = probe.keys.iter().filter(|key| key.kid().is_none()).count();
    if nameless > 0 && probe.keys.len() > 1 {
        warnings.push(format!(
            "{nameless} of {} keys have no `kid`: tokens without one are refused where several fit",
            probe.keys.len()
        ));
    }
    if let Some(offset) = probe.clock_offset_seconds
        && offset.unsigned_abs() > OFFSET_WARNED_SECS
    {
        warnings.push(format!(
            "its clock is {offset} seconds off from this machine's: fresh tokens may be refused"
        ));
    }
    warnings
}

/// The algorithms to allow: what the keys say, and of RSA keys that say nothing the usual one.
pub(super) fn algorithms(probe: &Probe) -> Vec<&'static str> {
    let mut names: Vec<_> = probe
        .keys
        .iter()
        .filter_map(|key| key.algorithms().next())
        .map(Algorithm::name)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn print(probe: &Probe, warnings: &[String], allow_http_loopback: bool) {
    let metadata = &probe.metadata;
    let shown = |text: &str| shown(text, SHOWN_CHARS_MAX);
    data(&format!("issuer        {}", shown(&metadata.issuer)));
    data(&format!("JWK set       {}", shown(&metadata.jwks_uri)));
    if let Some(endpoint) = &metadata.introspection_endpoint {
        data(&format!("introspection {}", shown(endpoint)));
    }
    if let Some(offset) = probe.clock_offset_seconds {
        data(&format!("clock offset  {offset} s"));
    }
    for key in &probe.keys {
        let (kind, bits) = key.kind().unwrap_or_default();
        let algorithms: Vec<_> = key.algorithms().map(Algorithm::name).collect();
        let kid = shown(key.kid().unwrap_or("without kid"));
        data(&format!(
            "key           {kid}  {kind} {bits} bit  {}",
            algorithms.join(" ")
        ));
    }
    for skipped in &probe.skipped {
        data(&format!(
            "REFUSED       {}: {}",
            skipped.shown_kid(),
            skipped.why
        ));
    }
    for warning in warnings {
        data(&format!("WARNING       {warning}"));
    }
    if !probe.keys.is_empty() {
        data(&format!(
            "\n{}",
            table(probe, allow_http_loopback).trim_end()
        ));
    }
}

/// A table that works; the audience is the operator's to say.
fn table(probe: &Probe, allow_http_loopback: bool) -> String {
    let metadata = &probe.metadata;
    // JSON's strings are TOML's, but for what no URL holds.
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let mut table = format!(
        "[issuers.main]\nissuer     = {}\naudiences  = [\"https://api.example.com\"]  # what `aud` of tokens for your API holds\nalgorithms = {}\ndiscovery  = true\n# token_types = [\"at+jwt\", \"JWT\"]  # if its access tokens have `typ` JWT or none\n",
        quoted(&metadata.issuer),
        format_args!("[\"{}\"]", algorithms(probe).join("\", \"")),
    );
    let plain = |url: &&String| url.bytes().all(|byte| byte.is_ascii_graphic());
    if let Some(endpoint) = metadata.token_endpoint.as_ref().filter(plain) {
        table.push_str(&format!(
            "renewal    = {{ token_endpoint = {} }}\n",
            quoted(endpoint)
        ));
    }
    if allow_http_loopback {
        table.push_str("\n[issuers.main.jwks]\nallow_http_loopback = true\n");
    }
    table
}

fn as_json(probe: &Probe, warnings: &[String]) -> String {
    let keys: Vec<_> = probe
        .keys
        .iter()
        .map(|key| {
            json!({
                "kid": key.kid(),
                "kind": key.kind().map(|(kind, _)| kind),
                "bits": key.kind().map(|(_, bits)| bits),
                "algorithms": key.algorithms().map(Algorithm::name).collect::<Vec<_>>(),
            })
        })
        .collect();
    let skipped: Vec<_> = probe
        .skipped
        .iter()
        .map(|key| json!({ "index": key.index, "kid": key.kid, "why": key.why }))
        .collect();
    let metadata = &probe.metadata;
    format!(
        "{:#}",
        json!({
            "issuer": metadata.issuer,
            "jwks_uri": metadata.jwks_uri,
            "token_endpoint": metadata.token_endpoint,
            "introspection_endpoint": metadata.introspection_endpoint,
            "clock_offset_seconds": probe.clock_offset_seconds,
            "keys": keys,
            "refused": skipped,
            "warnings": warnings,
        })
    )
}
