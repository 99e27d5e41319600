//! `bearward audit verify`: whether a chain of audit lines is whole.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::Outcome;
use super::output::{Code, Failure, data, say};
use crate::observe::audit::hash;
use crate::observe::hex;

/// Findings that are told; beyond, they are counted.
const TOLD_MAX: usize = 50;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Find lines that were changed, taken out or put in.
    #[command(after_help = "Example: bearward audit verify audit.jsonl.1 audit.jsonl")]
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The files, the oldest first.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The hash of the line before the first that is shown, which an earlier run printed as its last. Needed where
    /// the files do not begin with the chain.
    #[arg(long, value_name = "HASH")]
    after: Option<String>,
    /// A hash that an earlier run printed as the last: its line must still be there.
    #[arg(long, value_name = "HASH")]
    contains: Option<String>,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
}

/// What a line says of its place.
#[derive(Deserialize)]
struct Link {
    seq: u64,
    prev: String,
}

/// A chain, as far as it was read.
#[derive(Default)]
struct Read {
    /// Number and hash of the last line.
    last: Option<(u64, String)>,
    first: Option<u64>,
    lines: u64,
    /// Lines before the chain begins.
    unchained: u64,
    last_unchained: String,
    is_contained: bool,
    /// Of the line before the first.
    after: Option<String>,
    findings: Vec<String>,
    more: u64,
}

impl Read {
    fn find(&mut self, place: &str, what: &str) {
        if self.findings.len() < TOLD_MAX {
            self.findings.push(format!("{place}: {what}"));
        } else {
            self.more += 1;
        }
    }

    fn line(&mut self, line: &[u8], place: &str, wanted: Option<&str>) {
        let own = hex(&hash(line));
        self.is_contained |= wanted.is_some_and(|wanted| wanted == own);
        self.lines += 1;
        let Ok(link) = serde_json::from_slice::<Link>(line) else {
            let is_json = serde_json::from_slice::<serde_json::Value>(line).is_ok();
            match (is_json, &self.last) {
                (true, None) => {
                    self.unchained += 1;
                    place.clone_into(&mut self.last_unchained);
                }
                (true, Some(_)) => self.find(place, "a line without a place in the chain"),
                (false, _) => self.find(place, "the line is broken off, or no JSON"),
            }
            return;
        };
        match &self.last {
            None => {
                self.first = Some(link.seq);
                let begins = "0".repeat(link.prev.len());
                let after = self.after.as_ref().unwrap_or(&begins);
                let follows = link.prev == *after && (self.after.is_some() || link.seq == 1);
                if !follows {
                    let what = match (&self.after, link.seq) {
                        (Some(_), _) => "it does not follow the line with that hash".to_owned(),
                        (None, 1) => "the first line of a chain follows no other".to_owned(),
                        (None, seq) => format!(
                            "the chain begins before: this is number {seq}; give the files before it, or --after HASH"
                        ),
                    };
                    self.find(place, &what);
                }
            }
            Some((seq, hash)) if link.seq == seq + 1 && link.prev == *hash => {}
            Some((seq, _)) if link.seq == 1 => {
                let what = format!("a new chain begins after line number {seq}");
                self.find(place, &what);
            }
            Some((seq, _)) if link.seq > seq + 1 => {
                let what = format!("missing before it: {}", lines(link.seq - seq - 1));
                self.find(place, &what);
            }
            Some((seq, _)) if link.seq == seq + 1 => {
                self.find(place, "the line before it was changed");
            }
            Some((seq, _)) => {
                let what = format!(
                    "number {} after number {seq}: put in, or out of order",
                    link.seq
                );
                self.find(place, &what);
            }
        }
        self.last = Some((link.seq, own));
    }
}

fn lines(count: u64) -> String {
    match count {
        1 => "1 line".to_owned(),
        count => format!("{count} lines"),
    }
}

pub(super) fn audit(command: &AuditCommand) -> Outcome {
    let AuditCommand::Verify(arguments) = command;
    let wanted = arguments.contains.as_deref().map(str::to_ascii_lowercase);
    let mut read = Read {
        after: arguments.after.as_deref().map(str::to_ascii_lowercase),
        ..Read::default()
    };
    for file in &arguments.files {
        verify(file, &mut read, wanted.as_deref()).map_err(|error| {
            Failure::new(
                Code::Usage,
                format!("{} cannot be read: {error}", file.display()),
            )
        })?;
    }
    if wanted.is_some() && !read.is_contained {
        read.find("all files", "no line has the hash that was asked for");
    }
    if read.unchained > 0 && read.first.is_some_and(|first| first > 1) {
        let place = read.last_unchained.clone();
        let what = format!(
            "{} without a chain, where it has begun before",
            lines(read.unchained)
        );
        read.find(&place, &what);
    }
    if read.last.is_none() {
        read.find("all files", "there is no chain: `audit.chain` is off");
    }
    let (seq, last) = read.last.clone().unwrap_or_default();
    if arguments.json {
        let told = json!({
            "lines": read.lines,
            "unchained": read.unchained,
            "first": read.first,
            "last": seq,
            "last_hash": last,
            "findings": read.findings,
            "more_findings": read.more,
        });
        data(&format!("{told:#}"));
    } else {
        for finding in &read.findings {
            data(finding);
        }
        if read.more > 0 {
            data(&format!("and {} more", read.more));
        }
        if let Some(first) = read.first {
            data(&format!(
                "{}, numbers {first} to {seq}, the last with the hash {last}",
                lines(read.lines)
            ));
        }
        if read.unchained > 0 {
            say(&format!(
                "before it, in no chain: {}",
                lines(read.unchained)
            ));
        }
    }
    Ok(match read.findings.is_empty() {
        true => ExitCode::SUCCESS,
        false => Code::Negative.into(),
    })
}

fn verify(path: &Path, read: &mut Read, wanted: Option<&str>) -> std::io::Result<()> {
    let mut lines = BufReader::new(File::open(path)?);
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        number += 1;
        let place = format!("{}:{number}", path.display());
        match line.strip_suffix(b"\n") {
            Some(whole) => read.line(whole, &place, wanted),
            None => read.find(
                &place,
                "the line is broken off: a crash, or a gateway that writes",
            ),
        }
    }
}
