//! `bearward revoke` and `bearward revocations`, through the admin API.

use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Map, Value, json};

use super::Outcome;
use super::admin_client::{AdminArguments, AdminClient};
use super::output::{Code, Failure, data, progress, say};
use super::token::read_token;
use crate::clock::{Clock, SystemClock, UnixTime};
use crate::observe::{hex, shown};
use crate::revocation::{Kind, fingerprint};

const REVOCATIONS: &str = "/api/v1/revocations";
/// What is shown of a text.
const SHOWN_CHARS_MAX: usize = 256;
/// Lines that are sent in one import.
const IMPORTED_AT_ONCE: usize = 1000;

#[derive(Debug, Args)]
pub(super) struct RevokeArguments {
    /// What tokens are selected by.
    #[arg(value_enum)]
    by: By,
    /// The value of the claim; for `token`, `-` for standard input or `@FILE`;
    /// nothing for `issuer`.
    value: Option<String>,
    /// The configured name of the issuer; a token says its own.
    #[arg(long)]
    issuer: Option<String>,
    /// Only tokens issued at this time (RFC 3339, or `now`) or earlier.
    #[arg(long, value_name = "TIME")]
    issued_before: Option<String>,
    /// When it may be forgotten (RFC 3339); never before the tokens can have ended.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Why, for the list and the audit log.
    #[arg(long)]
    reason: Option<String>,
    /// Change nothing; say how many cached tokens it would hit.
    #[arg(long)]
    dry_run: bool,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// One token, which is read and not sent.
    Token,
    /// One token, by its `jti`.
    Jti,
    /// All tokens of a session, by `sid`.
    Session,
    /// All tokens of a subject.
    Subject,
    /// All tokens of a client.
    Client,
    /// All tokens that the key of this `kid` signed.
    Key,
    /// All tokens of the issuer.
    Issuer,
}

impl By {
    const fn kind(self) -> Kind {
        match self {
            Self::Token => Kind::Token,
            Self::Jti => Kind::Jti,
            Self::Session => Kind::Session,
            Self::Subject => Kind::Subject,
            Self::Client => Kind::Client,
            Self::Key => Kind::Key,
            Self::Issuer => Kind::Issuer,
        }
    }
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
    /// Write them all as JSON lines to standard output.
    #[command(after_help = "Example: bearward revocations export > revocations.jsonl")]
    Export {
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Add the JSON lines of a file, as they were exported.
    #[command(after_help = "Example: bearward revocations import revocations.jsonl")]
    Import {
        /// The file, or `-` for standard input.
        file: PathBuf,
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Go on after a list was lost: what was in it is given up, or was imported again.
    #[command(after_help = "Example: bearward revocations accept-loss")]
    AcceptLoss {
        #[command(flatten)]
        admin: AdminArguments,
    },
}

pub(super) fn revoke(arguments: &RevokeArguments) -> Outcome {
    let usage = |message: &str| Failure::new(Code::Usage, message);
    let mut issuer = arguments.issuer.clone();
    let mut selector = Map::new();
    let kind = arguments.by.kind();
    match (kind, arguments.value.as_deref()) {
        (Kind::Issuer, None) => _ = selector.insert("whole".to_owned(), json!("issuer")),
        (Kind::Issuer, Some(_)) => {
            return Err(usage(
                "name the issuer by --issuer; all of its tokens are revoked",
            ));
        }
        (Kind::Token, source) => {
            let token = read_token(source.unwrap_or("-"))?;
            let print = hex(&fingerprint(&token));
            selector.insert(kind.name().to_owned(), json!(print));
            match (issuer_of(&token), &issuer) {
                (Some(_), Some(_)) => {
                    return Err(usage("the token says its own issuer; leave --issuer out"));
                }
                (iss, _) => issuer = issuer.or(iss),
            }
        }
        (_, Some(value)) => {
            selector.insert(kind.name().to_owned(), json!(value));
        }
        (_, None) => return Err(usage("give the value that the tokens have")),
    }
    let issuer = issuer.ok_or_else(|| usage("name the issuer by --issuer"))?;
    selector.insert("issuer".to_owned(), json!(issuer));
    let mut body = json!({ "selector": selector, "dry_run": arguments.dry_run });
    let issued_before = match arguments.issued_before.as_deref() {
        Some("now") => Some(SystemClock.now().rfc3339_exact()),
        other => other.map(str::to_owned),
    };
    for (name, value) in [
        ("issued_before", &issued_before),
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
    } else if arguments.dry_run {
        let hit = answer.get("cached_tokens").and_then(Value::as_u64);
        data(&format!(
            "would hit {} of the tokens that this gateway has cached now; nothing was changed",
            hit.unwrap_or_default()
        ));
    } else {
        let known = answer.get("added") == Some(&json!(false));
        let what = if known { "revoked already:" } else { "revoked" };
        data(&format!("{what} {}", line(&answer)));
    }
    if !kind.is_of_one_token() && issued_before.is_none() {
        say(
            "It kills tokens that are made from now on too; `--issued-before now` would let them in.",
        );
    }
    say_what_differs(arguments, &answer, SystemClock.now());
    // What is configured is shown by its name.
    if issuer_shown(&answer).is_some_and(|issuer| issuer.contains("://")) {
        say("No configured issuer has this identifier: until one does, it hits no token.");
    }
    if answer.get("durable") == Some(&json!(false)) {
        say("It holds until the gateway restarts: revocation.store is \"memory\".");
    }
    warn_of_feed(&answer);
    Ok(ExitCode::SUCCESS)
}

/// Whose a token says it is, where it is a JWT.
fn issuer_of(token: &[u8]) -> Option<String> {
    let parts: Vec<_> = token.split(|byte| *byte == b'.').collect();
    let [_, payload, _] = *parts else { return None };
    let claims = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Some(claims.get("iss")?.as_str()?.to_owned())
}

pub(super) fn revocations(command: &RevocationsCommand) -> Outcome {
    match command {
        RevocationsCommand::List { json, admin } => {
            let client = AdminClient::find(admin)?;
            let mut path = REVOCATIONS.to_owned();
            let mut is_empty = true;
            loop {
                let answer = client.send(Method::GET, &path, None)?;
                if *json {
                    data(&format!("{answer:#}"));
                } else {
                    let listed = answer.get("revocations").and_then(Value::as_array);
                    for revocation in listed.into_iter().flatten() {
                        is_empty = false;
                        data(&line(revocation));
                    }
                    for lost in answer
                        .get("lost")
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten()
                    {
                        say(&format!(
                            "LOST: {lost}; see `bearward revocations accept-loss --help`"
                        ));
                    }
                }
                match answer.get("next").and_then(Value::as_str) {
                    Some(next) => path = format!("{REVOCATIONS}?before={next}"),
                    None => {
                        if is_empty && !json {
                            say("there are no revocations");
                        }
                        say_if_feed_is_down(&answer);
                        break;
                    }
                }
            }
        }
        RevocationsCommand::Remove { id, admin } => {
            if uuid::Uuid::try_parse(id).is_err() {
                return Err(Failure::new(
                    Code::Usage,
                    "that is no id; `revocations list` shows them",
                ));
            }
            let path = format!("{REVOCATIONS}/{id}");
            let answer = AdminClient::find(admin)?.send(Method::DELETE, &path, None)?;
            data(&format!("removed {id}"));
            warn_of_feed(&answer);
        }
        RevocationsCommand::Export { admin } => {
            let client = AdminClient::find(admin)?;
            let mut path = format!("{REVOCATIONS}/export");
            loop {
                let lines = client.send_text(Method::GET, &path, String::new())?;
                let last = lines.lines().last();
                let last = last.and_then(|line| serde_json::from_str::<Value>(line).ok());
                lines.lines().for_each(data);
                match last.as_ref().and_then(|last| last.get("id")?.as_str()) {
                    Some(id) => path = format!("{REVOCATIONS}/export?before={id}"),
                    None => break,
                }
            }
        }
        RevocationsCommand::Import { file, admin } => {
            let text = if file.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin())
            } else {
                std::fs::read_to_string(file)
            };
            let text = text.map_err(|error| {
                let message = format!("{} cannot be read: {error}", file.display());
                Failure::new(Code::Usage, message)
            })?;
            import(&AdminClient::find(admin)?, &text)?;
        }
        RevocationsCommand::AcceptLoss { admin } => {
            let path = format!("{REVOCATIONS}/accept-loss");
            let answer = AdminClient::find(admin)?.send(Method::POST, &path, None)?;
            let accepted = answer.get("accepted").and_then(Value::as_array);
            match accepted.map(Vec::len) {
                Some(0) | None => data("nothing was lost"),
                Some(_) => data(&format!("given up: {answer}")),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn import(client: &AdminClient, text: &str) -> Result<(), Failure> {
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let (mut added, mut known) = (0, 0);
    for (part, chunk) in lines.chunks(IMPORTED_AT_ONCE).enumerate() {
        let done = part * IMPORTED_AT_ONCE;
        progress(&format!("{done} of {} lines", lines.len()));
        let path = format!("{REVOCATIONS}/import");
        let answer = client.send_text(Method::POST, &path, chunk.join("\n"));
        let before = format!("{done} lines were imported before; of the next");
        let answer = answer.map_err(|failure| failure.after(&before))?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
        added += count("added");
        known += count("known");
        warn_of_feed(&answer);
    }
    progress("");
    data(&format!("{added} added, {known} known before"));
    Ok(())
}

/// Whoever revokes must know if the other replicas do not know it yet.
fn warn_of_feed(answer: &Value) {
    if answer.get("feed") == Some(&json!("disconnected")) {
        say("The feed is down: the other replicas will know it when it is back.");
    }
}

/// A list that others have changed meanwhile must not look like all there is.
fn say_if_feed_is_down(answer: &Value) {
    if answer.get("feed") == Some(&json!("disconnected")) {
        let why = answer.get("feed_error").and_then(Value::as_str);
        let why = why.map_or_else(|| "it was not reached yet".to_owned(), safe);
        say(&format!(
            "The feed is down: {why}. What the other replicas revoked since is not in this list."
        ));
    }
}

/// What is not as it was asked for.
fn say_what_differs(arguments: &RevokeArguments, answer: &Value, now: UnixTime) {
    let time = |name: &str| answer.get(name)?.as_str().and_then(UnixTime::parse_rfc3339);
    let asked = arguments.until.as_deref().and_then(UnixTime::parse_rfc3339);
    if let (Some(asked), Some(until)) = (asked, time("until"))
        && until > asked
    {
        say("It is kept longer than --until says: tokens that it kills may live that long.");
    }
    if time("issued_before").is_some_and(|cut| cut > now) {
        say("--issued-before lies in the future: until then new tokens are refused too.");
    }
}

/// The issuer of a revocation, or of one that would be added.
fn issuer_shown(answer: &Value) -> Option<&str> {
    let revocation = answer.get("would_add").unwrap_or(answer);
    revocation.get("selector")?.get("issuer")?.as_str()
}

/// Somebody else wrote it, and a terminal obeys what it is shown.
fn safe(text: &str) -> String {
    shown(text, SHOWN_CHARS_MAX)
}

/// One revocation on one line.
fn line(revocation: &Value) -> String {
    let text = |name: &str| {
        revocation
            .get(name)
            .and_then(Value::as_str)
            .map_or_else(|| "-".to_owned(), safe)
    };
    let selector: Vec<_> = revocation
        .get("selector")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", safe(value.as_str().unwrap_or_default())))
        .collect();
    format!(
        "{}  {}  issued_before={}  until={}  at={}  by={}  {}",
        text("id"),
        selector.join(" "),
        text("issued_before"),
        text("until"),
        text("at"),
        text("author"),
        text("reason"),
    )
}
