//! The commands, one file each.
//!
//! Data goes to standard output, talk to standard error. Exit codes: 0 good, 1 a negative verdict
//! or findings, 2 usage, 69 the admin listener is not reachable, 70 our own fault, 71 the system refuses (a taken port, an unwritable folder), 78 bad
//! configuration. A token never comes from the arguments: those are seen by every user of a
//! machine.

mod admin_client;
mod audit;
mod candidate;
mod check;
mod configuration;
mod decisions;
mod demo;
mod doctor;
mod drain;
mod explain;
mod generated;
mod init;
mod issuers;
mod keys;
mod manager;
mod output;
mod probe;
mod reload;
mod revoke;
mod route;
mod run;
mod status;
mod token;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config};
use crate::observe::log;
use output::{Code, Failure};

/// Where the configuration is looked for when it is not named.
const CONFIG: &str = "bearward.toml";

/// Stands in front of your API, checks every bearer token, and says exactly why one is refused.
#[derive(Debug, Parser)]
#[command(
    name = "bearward",
    version,
    max_term_width = 80,
    after_help = "Try it: bearward demo"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: SIGHUP reloads, SIGTERM drains, a second one stops at once.
    #[command(after_help = "Example: bearward run --config bearward.toml")]
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
        /// Take the listeners over from the gateway that runs with the same state folder, which then
        /// drains and ends.
        #[arg(long)]
        take_over: bool,
    },
    /// Try Bearward: gateway, sample API and development issuer on this machine.
    #[command(after_help = "Example: bearward demo --port 9443")]
    Demo {
        /// The gateway's port; taken ports are replaced by free ones.
        #[arg(long, default_value_t = 8443)]
        port: u16,
    },
    /// Write a small configuration that works, by what the issuer says of itself.
    #[command(
        after_help = "Example: bearward init --issuer https://login.example.com \\
    --audience https://api.example.com --upstream http://127.0.0.1:3000"
    )]
    Init(init::InitArguments),
    /// Check a configuration: every fault in one run, without a network.
    #[command(after_help = "Example: bearward check bearward.toml --strict")]
    Check(check::CheckArguments),
    /// Look at everything a configuration leads to: keys, upstreams, ports, certificates.
    #[command(after_help = "Example: bearward doctor --config bearward.toml")]
    Doctor(doctor::DoctorArguments),
    /// Show a running gateway on one screen.
    #[command(after_help = "Example: bearward status --json")]
    Status(status::StatusArguments),
    /// Show the configuration as it counts, its schema, or what a reload would change.
    #[command(subcommand)]
    Config(configuration::ConfigCommand),
    /// Say what a reason, or a finding of `check`, means and how to mend it.
    #[command(after_help = "Example: bearward explain token_expired")]
    Explain {
        /// A reason or a near miss, as in the body of a refusal, or a code such as BW0107.
        code: String,
    },
    /// Explain a token, or make one for development.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Look at a provider before it is trusted.
    #[command(subcommand)]
    Issuer(probe::IssuerCommand),
    /// Show the issuers of a running gateway: keys, ages, what went wrong.
    #[command(after_help = "Example: bearward issuers refresh main")]
    Issuers(issuers::IssuersArguments),
    /// Say which route and rule match a request, and what they demand.
    #[command(subcommand)]
    Route(route::RouteCommand),
    /// Make keys for development.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Have a running gateway read its configuration again.
    #[command(after_help = "Example: bearward reload --config bearward.toml")]
    Reload(reload::ReloadArguments),
    /// Have a running gateway finish what runs and end, as SIGTERM does.
    #[command(after_help = "Example: bearward drain --config bearward.toml")]
    Drain(admin_client::AdminArguments),
    /// List what a running gateway refused of late, or follow it.
    #[command(after_help = "Example: bearward decisions --follow --reason token_expired")]
    Decisions(decisions::DecisionsArguments),
    /// Show one decision with the way to it, by the id that a client got.
    #[command(after_help = "Example: bearward decision 0193a6c2-7f3e-7c21-9a41-2f6d0d2f9b11")]
    Decision(decisions::DecisionArguments),
    /// Try another configuration on the requests that come, without refusing by it.
    #[command(subcommand)]
    Candidate(candidate::CandidateCommand),
    /// Verify audit files.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Revoke tokens at a running gateway.
    #[command(after_help = "Example: bearward revoke subject alice --issuer main")]
    Revoke(revoke::RevokeArguments),
    /// List revocations of a running gateway, or take one back.
    #[command(subcommand)]
    Revocations(revoke::RevocationsCommand),
    /// Print completions for a shell.
    #[command(after_help = "Example: source <(bearward completions bash)")]
    Completions(generated::CompletionsArguments),
    /// Print the manual page, or write all of them.
    #[command(after_help = "Example: bearward man | man -l -")]
    Man(generated::ManArguments),
}

/// Reads the command line, runs the command, gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run { config, take_over } => run::run(&config, take_over),
        Command::Demo { port } => demo::demo(port),
        Command::Check(arguments) => check::check(&arguments),
        Command::Config(command) => configuration::config(&command),
        Command::Explain { code } => explain::explain(&code),
        Command::Token(command) => token::token(&command),
        Command::Issuer(command) => probe::issuer(&command),
        Command::Issuers(arguments) => issuers::issuers(&arguments),
        Command::Route(command) => route::route(&command),
        Command::Keys(command) => keys::keys(&command),
        Command::Reload(arguments) => reload::reload(&arguments),
        Command::Drain(arguments) => drain::drain(&arguments),
        Command::Decisions(arguments) => decisions::decisions(&arguments),
        Command::Decision(arguments) => decisions::decision(&arguments),
        Command::Candidate(command) => candidate::candidate(&command),
        Command::Audit(command) => audit::audit(&command),
        Command::Revoke(arguments) => revoke::revoke(&arguments),
        Command::Revocations(command) => revoke::revocations(&command),
        Command::Init(arguments) => init::init(&arguments),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Completions(arguments) => generated::completions(&arguments),
        Command::Man(arguments) => generated::man(&arguments),
    };
    // What a command says about its end comes after what it logged.
    log::flush();
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// The configuration of a file, or its faults.
fn load(path: &Path) -> Result<Config, Failure> {
    let (config, report) = config::load(path);
    config.ok_or_else(|| {
        let faults = format!(
            "{} has faults:\n\n{}",
            path.display(),
            report.pretty().trim_end()
        );
        Failure::new(Code::Configuration, faults)
    })
}

/// What every command gives.
type Outcome = Result<ExitCode, Failure>;
