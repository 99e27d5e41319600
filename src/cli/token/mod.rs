//! `bearward token`: making tokens for development, and explaining any token.

mod explain;
mod mint;
mod told;

use std::io::Read;

use clap::Subcommand;
pub(super) use told::print_steps;

use super::Outcome;
use super::output::{Code, Failure};

/// The longest input that is read.
const INPUT_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Give the verdict over a token, step by step.
    #[command(after_help = "Example: pbpaste | bearward token explain --route orders --method GET")]
    Explain(explain::ExplainArguments),
    /// Sign a token for development and print it.
    #[command(
        after_help = "Example: bearward token mint --key private.pem --iss https://dev.test/ \\\n    --aud https://api.test --scope orders:read"
    )]
    Mint(mint::MintArguments),
}

pub(super) fn token(command: &TokenCommand) -> Outcome {
    match command {
        TokenCommand::Explain(arguments) => explain::explain(arguments),
        TokenCommand::Mint(arguments) => mint::mint(arguments),
    }
}

/// A token from standard input (`-`) or a file (`@FILE`), without what is around it.
pub(super) fn read_token(source: &str) -> Result<Vec<u8>, Failure> {
    let text = read_text(source)?;
    let token = match text.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer ") => rest.trim_ascii(),
        _ => &*text,
    };
    if !token.iter().all(u8::is_ascii_graphic) || token.contains(&b'"') {
        let message =
            "the input is no token: give it alone, without quotes and the name of a header";
        return Err(Failure::new(Code::Usage, message));
    }
    Ok(token.to_vec())
}

/// What stands in a source, whatever it is.
fn read_text(source: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = match source.strip_prefix('@') {
        Some(path) => std::fs::File::open(path)
            .and_then(|file| file.take(INPUT_BYTES_MAX).read_to_end(&mut bytes)),
        None if source == "-" => std::io::stdin()
            .take(INPUT_BYTES_MAX)
            .read_to_end(&mut bytes),
        None => {
            // What stands there may be a token: it is not repeated.
            let message = if std::path::Path::new(source).is_file() {
                "write @ before the name of a file that holds the token"
            } else {
                "a token never comes from the arguments, which every user of the machine can see: \
                 use standard input or @FILE"
            };
            return Err(Failure::new(Code::Usage, message));
        }
    };
    read.map_err(|error| Failure::new(Code::Usage, format!("the token cannot be read: {error}")))?;
    let text = bytes.trim_ascii();
    if text.is_empty() {
        let message = "there is no token on the input";
        return Err(Failure::new(Code::Usage, message));
    }
    Ok(text.to_vec())
}
