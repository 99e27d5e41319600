//! `bearward init`: a small configuration that works, by what the provider says of itself.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use http::Uri;

use super::admin_client::runtime;
use super::output::{Code, Failure, data, say};
use super::probe::{algorithms, hint};
use super::{CONFIG, Outcome};
use crate::clock::SystemClock;
use crate::config;
use crate::control;

/// Nobody's.
const ISSUER: &str = "https://login.example.com/";

#[derive(Debug, Args)]
pub(super) struct InitArguments {
    /// The issuer's identifier, as in `iss` of its tokens; it is asked for its keys.
    #[arg(long, value_name = "URL", default_value = ISSUER)]
    issuer: String,
    /// What `aud` of the tokens for your API holds.
    #[arg(long, value_name = "TEXT", default_value = "https://api.example.com")]
    audience: String,
    /// Your API.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000")]
    upstream: String,
    /// Where clients connect. In clear text, and so on a loopback address.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The file to write. What is there is left as it is.
    #[arg(value_name = "FILE", default_value = CONFIG)]
    file: PathBuf,
    /// Where the gateway keeps its state; by default `state` beside the file.
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// Roots of the issuer in PEM, in place of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Allow http to loopback addresses, for development.
    #[arg(long)]
    allow_http_loopback: bool,
    /// Do not ask the issuer: write what most have.
    #[arg(long)]
    offline: bool,
}

/// What the issuer says of itself.
struct Issuer {
    identifier: String,
    algorithms: Vec<&'static str>,
}

pub(super) fn init(arguments: &InitArguments) -> Outcome {
    let usage = |message: String| Failure::new(Code::Usage, message);
    if !arguments.listen.ip().is_loopback() {
        return Err(usage(format!(
            "{} can be reached from elsewhere, where tokens must not go in clear text: begin on a loopback address, and give the listener TLS as the file says",
            arguments.listen
        )));
    }
    let uri = arguments.upstream.parse::<Uri>().ok();
    let uri = uri.filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.path() == "/"
            && uri.query().is_none()
    });
    if uri.is_none() {
        let message = format!(
            "`{}` is no scheme with a host: write http://HOST:PORT or https://HOST",
            arguments.upstream
        );
        return Err(usage(message));
    }
    if !arguments.issuer.contains("://") {
        let message = format!("`{0}` is no URL; write https://{0}", arguments.issuer);
        return Err(usage(message));
    }
    if arguments.file.exists() {
        return Err(there_already(arguments));
    }
    let asks = !arguments.offline && arguments.issuer != ISSUER;
    let issuer = match asks {
        true => ask(arguments)?,
        false => Issuer {
            identifier: arguments.issuer.clone(),
            algorithms: vec!["RS256"],
        },
    };
    let text = text(arguments, &issuer, asks);
    let (config, report) = config::read(&arguments.file, &text);
    if config.is_none() {
        let message = format!(
            "nothing is written, since it would have faults:\n{}",
            report.pretty().trim_end()
        );
        return Err(usage(message));
    }
    // Not over a file that somebody made meanwhile.
    let written =
        File::create_new(&arguments.file).and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(there_already(arguments));
        }
        Err(error) => {
            let message = format!("{} cannot be written: {error}", arguments.file.display());
            return Err(Failure::new(Code::System, message));
        }
    }
    let shown = arguments.file.display();
    data(&format!("{shown} is written"));
    let name = match arguments.file == *CONFIG {
        true => String::new(),
        false => format!(" --config {shown}"),
    };
    if arguments.issuer == ISSUER {
        say("put your issuer, audience and API in: they are examples");
    }
    say(&format!("next: bearward doctor{name}; bearward run{name}"));
    Ok(ExitCode::SUCCESS)
}

fn there_already(arguments: &InitArguments) -> Failure {
    let message = format!(
        "{} is there already, and is left as it is; name another file",
        arguments.file.display()
    );
    Failure::new(Code::Usage, message)
}

fn ask(arguments: &InitArguments) -> Result<Issuer, Failure> {
    let ca = arguments.ca.as_ref().map(std::fs::read).transpose();
    let ca = ca
        .map_err(|error| Failure::new(Code::Usage, format!("the roots cannot be read: {error}")))?;
    say(&format!("asking {}", arguments.issuer));
    let probing = control::probe(
        &arguments.issuer,
        ca.as_deref(),
        arguments.allow_http_loopback,
        &SystemClock,
    );
    let probe = runtime()?.block_on(probing).map_err(|(what, error)| {
        let message = format!("{what} did not come: {error}{}\nnothing is written; --offline does not ask, and `bearward issuer probe {}` says more", hint(&error), arguments.issuer);
        Failure::new(Code::Negative, message)
    })?;
    let algorithms = algorithms(&probe);
    if algorithms.is_empty() {
        let message = match probe.skipped.len() {
            0 => "there are no keys in its set".to_owned(),
            _ => format!(
                "none of its keys can be used; `bearward issuer probe {}` says why",
                arguments.issuer
            ),
        };
        return Err(Failure::new(Code::Negative, message));
    }
    Ok(Issuer {
        identifier: probe.metadata.issuer,
        algorithms,
    })
}

/// At most fifteen lines that are neither empty nor comments, for one issuer and one API.
fn text(arguments: &InitArguments, issuer: &Issuer, was_asked: bool) -> String {
    // JSON's strings are TOML's, but for a character that none of these may have.
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let algorithms: Vec<_> = issuer.algorithms.iter().map(|name| quoted(name)).collect();
    let by = if was_asked {
        "what its keys are for"
    } else {
        "what its keys are for; not asked"
    };
    let ca = arguments
        .ca
        .as_ref()
        .and_then(|ca| std::path::absolute(ca).ok());
    let mut jwks = String::new();
    if let Some(ca) = ca {
        jwks.push_str(&format!("ca = {}\n", quoted(&ca.to_string_lossy())));
    }
    if arguments.allow_http_loopback {
        jwks.push_str("allow_http_loopback = true\n");
    }
    let jwks = match jwks.is_empty() {
        true => jwks,
        false => format!("\n[issuers.main.jwks]\n{jwks}"),
    };
    let state = match &arguments.state_dir {
        Some(folder) => format!(
            "[server]\nstate_dir = {}\n\n",
            quoted(&folder.to_string_lossy())
        ),
        None => String::new(),
    };
    format!(
        "# Checked by `bearward check`, tried by `bearward doctor`, served by `bearward run`.\n\
         # All keys with their defaults: `bearward config show`.\n\
         version = 1\n\
         \n\
         {state}[listeners.public]\n\
         address = \"{listen}\"\n\
         clear_text = true  # for this machine alone; elsewhere in its place, with `public_url` in [server]:\n\
         # tls = {{ certificates = [{{ chain = \"api.crt\", key = {{ file = \"api.key\" }} }}] }}\n\
         \n\
         [issuers.main]\n\
         issuer = {issuer}\n\
         audiences = [{audience}]  # `aud` of the tokens for your API\n\
         algorithms = [{algorithms}]  # {by}\n\
         discovery = true\n\
         # token_types = [\"at+jwt\", \"JWT\"]  # if tokens are refused with type_not_allowed\n\
         {jwks}\n\
         [upstreams.api]\n\
         servers = [{upstream}]  # your API\n\
         \n\
         [routes.api]\n\
         path = \"/{{*rest}}\"\n\
         upstream = \"api\"\n\
         issuers = [\"main\"]\n\
         # Any token for this audience may do anything, until rules say what a method needs:\n\
         # rules = [{{ methods = [\"GET\"], scopes_all = [\"read\"] }}, {{ scopes_all = [\"write\"] }}]\n",
        listen = arguments.listen,
        issuer = quoted(&issuer.identifier),
        audience = quoted(&arguments.audience),
        algorithms = algorithms.join(", "),
        upstream = quoted(&arguments.upstream),
    )
}
