//! `bearward token mint`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::Outcome;
use crate::cli::output::{Code, Failure, data, say};
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::signing::SigningKey;

#[derive(Debug, Args)]
pub(in crate::cli) struct MintArguments {
    /// The private key in PEM, or the file of a shared secret.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The signature algorithm; by default what the key serves: ES256, ES384, EdDSA or RS256.
    #[arg(long)]
    alg: Option<String>,
    /// The key id.
    #[arg(long, default_value = "development")]
    kid: String,
    /// The token's type.
    #[arg(long, default_value = "at+jwt")]
    typ: String,
    /// The issuer.
    #[arg(long)]
    iss: String,
    /// The audience; several times for several.
    #[arg(long, required = true)]
    aud: Vec<String>,
    /// The subject.
    #[arg(long, default_value = "developer")]
    sub: String,
    /// The scopes, with spaces between them.
    #[arg(long)]
    scope: Option<String>,
    /// When it expires: "15m", "1h"; "-5m" for one that has.
    #[arg(
        long,
        default_value = "15m",
        allow_hyphen_values = true,
        value_name = "SPAN"
    )]
    expires: String,
    /// Another claim, as NAME=VALUE; VALUE is JSON, or else text.
    #[arg(long, value_name = "NAME=VALUE")]
    claim: Vec<String>,
}

/// Signs a token and prints it.
pub(super) fn mint(arguments: &MintArguments) -> Outcome {
    let bytes = std::fs::read(&arguments.key).map_err(|error| {
        Failure::new(
            Code::Usage,
            format!("{} cannot be read: {error}", arguments.key.display()),
        )
    })?;
    let key = key(arguments, &bytes)?;
    let claims = claims(arguments)?;
    let token = key
        .sign(Some(&arguments.typ), &Value::Object(claims))
        .map_err(|error| Failure::new(Code::Usage, error))?;
    say("This token is for development.");
    data(&token);
    Ok(ExitCode::SUCCESS)
}

/// The key with the algorithm that was asked for, or the first that it serves.
fn key(arguments: &MintArguments, bytes: &[u8]) -> Result<SigningKey, Failure> {
    let usual = ["ES256", "ES384", "EdDSA", "RS256"];
    let candidates = match &arguments.alg {
        Some(alg) => vec![alg.as_str()],
        None => usual.to_vec(),
    };
    let mut last = None;
    for alg in candidates {
        match SigningKey::read(alg, Some(&arguments.kid), bytes) {
            Ok(key) => return Ok(key),
            Err(error) => last = Some(error.to_string()),
        }
    }
    let why = match (&arguments.alg, last) {
        (Some(_), Some(why)) => why,
        _ => format!(
            "not a private key in PKCS #8 PEM that fits one of {}",
            usual.join(", ")
        ),
    };
    Err(Failure::new(
        Code::Usage,
        format!("{}: {why}", arguments.key.display()),
    ))
}

/// Seconds until it expires.
fn expires(text: &str) -> Result<i64, Failure> {
    let (sign, span) = match text.strip_prefix('-') {
        Some(span) => (-1, span),
        None => (1, text),
    };
    config::duration(span)
        .and_then(|span| i64::try_from(span.as_secs()).ok())
        .map(|seconds| sign * seconds)
        .ok_or_else(|| {
            Failure::new(
                Code::Usage,
                format!("`{text}` is no span like \"15m\" or \"-5m\""),
            )
        })
}

fn claims(arguments: &MintArguments) -> Result<Map<String, Value>, Failure> {
    let now = SystemClock.now();
    let exp = now.secs().saturating_add(expires(&arguments.expires)?);
    // An expired token was issued before it expired.
    let iat = now
        .minus(Duration::from_secs(1))
        .secs()
        .min(exp.saturating_sub(60));
    let mut claims = Map::new();
    let aud = match &*arguments.aud {
        [one] => json!(one),
        many => json!(many),
    };
    claims.insert("iss".into(), json!(arguments.iss));
    claims.insert("aud".into(), aud);
    claims.insert("sub".into(), json!(arguments.sub));
    claims.insert("client_id".into(), json!("development"));
    claims.insert("iat".into(), json!(iat));
    claims.insert("exp".into(), json!(exp));
    claims.insert("jti".into(), json!(uuid::Uuid::now_v7().to_string()));
    if let Some(scope) = &arguments.scope {
        claims.insert("scope".into(), json!(scope));
    }
    for claim in &arguments.claim {
        let (name, value) = claim
            .split_once('=')
            .ok_or_else(|| Failure::new(Code::Usage, format!("`{claim}` is not NAME=VALUE")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        claims.insert(name.to_owned(), value);
    }
    Ok(claims)
}
