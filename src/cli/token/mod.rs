//! `bearward token`: making tokens for development, and explaining any token.

mod explain;
mod mint;

use clap::Subcommand;

use super::Outcome;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Give the verdict over a token, step by step, without a network.
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
