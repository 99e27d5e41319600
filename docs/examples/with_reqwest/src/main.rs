//! Calls an API with a token of its own, by reqwest: renews it once when it has expired, stops where another token would
//! not help, and waits where the gateway asks it to. For https add the feature `rustls-tls`.
//!
//!   API_URL=… TOKEN_ENDPOINT=… CLIENT_ID=… CLIENT_SECRET=… with_reqwest
//!
//! Exit codes: 0 the answer is on standard output, 3 the token may not do this, 4 it is refused, 5 given up.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Client;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde::Deserialize;

const TRIES: usize = 4;

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

/// The body of a refusal, as far as this program acts on it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    hint: String,
    instance: String,
}

fn new_token(client: &Client) -> Result<String, Box<dyn Error>> {
    let answer = client
        .post(std::env::var("TOKEN_ENDPOINT")?)
        .basic_auth(
            std::env::var("CLIENT_ID")?,
            Some(std::env::var("CLIENT_SECRET")?),
        )
        .form(&[("grant_type", "client_credentials")])
        .send()?
        .error_for_status()?;
    Ok(answer.json::<Token>()?.access_token)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let client = Client::builder().timeout(Duration::from_secs(30)).build()?;
    let url = std::env::var("API_URL")?;
    let (mut token, mut renewed) = (new_token(&client)?, false);
    for _ in 0..TRIES {
        let answer = client.get(&url).bearer_auth(&token).send()?;
        let status = answer.status();
        if status.is_success() {
            println!("{}", answer.text()?);
            return Ok(ExitCode::SUCCESS);
        }
        let header = |name| answer.headers().get(name)?.to_str().ok();
        let retry_after = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        let is_problem = header(CONTENT_TYPE).is_some_and(|it| it.contains("problem+json"));
        let problem: Problem = match is_problem {
            true => answer.json()?,
            false => Problem::default(),
        };
        match (status, problem.code.as_str()) {
            (StatusCode::UNAUTHORIZED, "token_expired") if !renewed => {
                (token, renewed) = (new_token(&client)?, true);
            }
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _) => {
                // A date, or nothing, is five seconds; nobody waits for longer than a minute.
                std::thread::sleep(Duration::from_secs(retry_after.unwrap_or(5).min(60)));
            }
            _ => {
                let Problem {
                    code,
                    detail,
                    hint,
                    instance,
                } = problem;
                eprintln!("{status} {code} {detail} {hint} {instance}");
                let is_forbidden = status == StatusCode::FORBIDDEN;
                return Ok(ExitCode::from(if is_forbidden { 3 } else { 4 }));
            }
        }
    }
    eprintln!("given up");
    Ok(ExitCode::from(5))
}
