//! `bearward token mint`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::Outcome;
use crate::cli::output::{Code, Failure, data, say};
use crate::clock::{Clock, SystemClock};
use crate::develop::DevelopmentKey;

#[derive(Debug, Args)]
pub(in crate::cli) struct MintArguments {
    /// The private key in PEM, or the file of a shared secret.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The signature algorithm.
    #[arg(long, default_value = "ES256")]
    alg: String,
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
    /// Minutes until it expires; negative for one that has.
    #[arg(
        long,
        default_value_t = 15,
        allow_negative_numbers = true,
        value_name = "MINUTES"
    )]
    expires: i64,
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
    let key = DevelopmentKey::read(&arguments.alg, Some(&arguments.kid), &bytes)
        .map_err(|error| Failure::new(Code::Usage, error))?;
    let claims = claims(arguments)?;
    let token = key
        .sign(Some(&arguments.typ), &Value::Object(claims))
        .map_err(|error| Failure::new(Code::Usage, error))?;
    say("This token is for development.");
    data(&token);
    Ok(ExitCode::SUCCESS)
}

fn claims(arguments: &MintArguments) -> Result<Map<String, Value>, Failure> {
    let now = SystemClock.now();
    let exp = now
        .secs()
        .saturating_add(arguments.expires.saturating_mul(60));
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
