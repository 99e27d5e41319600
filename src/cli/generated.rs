//! `bearward completions` and `bearward man`: made from the commands themselves.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::output::{Code, Failure, say};
use super::{Arguments, Outcome};

#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell.
    #[arg(value_enum)]
    shell: OwnShell,
}

/// Those that completions are made for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OwnShell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

#[derive(Debug, Args)]
pub(super) struct ManArguments {
    /// Write one page for each command into this folder, in place of the main page to standard output.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(super) fn completions(arguments: &CompletionsArguments) -> Outcome {
    let shell = match arguments.shell {
        OwnShell::Bash => Shell::Bash,
        OwnShell::Elvish => Shell::Elvish,
        OwnShell::Fish => Shell::Fish,
        OwnShell::Powershell => Shell::PowerShell,
        OwnShell::Zsh => Shell::Zsh,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "bearward", &mut script);
    // A reader that has gone is not our fault.
    let _ = io::stdout().write_all(&script);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(arguments: &ManArguments) -> Outcome {
    match &arguments.out {
        None => {
            let mut page = Vec::new();
            let rendered = Man::new(Arguments::command()).render(&mut page);
            rendered.map_err(Failure::internal)?;
            let _ = io::stdout().write_all(&page);
        }
        Some(folder) => {
            let written = std::fs::create_dir_all(folder)
                .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder));
            written.map_err(|error| {
                let message = format!("{} cannot be written: {error}", folder.display());
                Failure::new(Code::System, message)
            })?;
            say(&format!("pages are in {}", folder.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
