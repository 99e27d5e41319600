//! The audit lines in a file: opened anew when told to, and chained where that is configured.
//!
//! In a chain each line has its number (`seq`) and the hash of the line before (`prev`, SHA-256 of all its
//! bytes without the line break), so that a line that was changed, taken out or put in is found. Whoever may
//! write the file can make a new chain: the hash of the last line, kept elsewhere, is what nobody can make up
//! for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest;

use crate::clock::Clock;
use crate::observe::hex;
use crate::observe::lines::{Sink, write_all};

/// Who may read it: its user and group.
const MODE: u32 = 0o640;
/// The longest line that is looked for at the end of a file.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSettings {
    pub(crate) path: PathBuf,
    pub(crate) is_chained: bool,
}

/// Says that the file is to be opened anew: somebody has moved it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reopen(Arc<AtomicBool>);

impl Reopen {
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The file.
pub(super) struct AuditFile {
    settings: FileSettings,
    clock: Arc<dyn Clock>,
    file: Option<File>,
    reopen: Reopen,
    chain: Option<Chain>,
    /// A line was broken off: the next begins on a line of its own.
    is_broken: bool,
    /// Lost lines that the file speaks of.
    told_lost: u64,
    is_failing: bool,
}

/// Where the chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Of the last line; 0 is none.
    pub(crate) seq: u64,
    /// Of the last line; zeros before the first.
    pub(crate) hash: [u8; 32],
}

impl Chain {
    const START: Self = Self {
        seq: 0,
        hash: [0; 32],
    };

    /// Adds number and hash to a line without its line break.
    fn link(&mut self, line: &[u8]) -> Vec<u8> {
        let body = line.strip_suffix(b"}").unwrap_or(line);
        let seq = self.seq + 1;
        let mut linked = body.to_vec();
        let more = format!(",\"seq\":{seq},\"prev\":\"{}\"}}", hex(&self.hash));
        linked.extend_from_slice(more.as_bytes());
        *self = Self {
            seq,
            hash: hash(&linked),
        };
        linked
    }
}

/// Of a line without its line break.
pub(crate) fn hash(line: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, line).as_ref());
    hash
}

impl AuditFile {
    /// Opens the file, and goes on with the chain that it holds.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub(super) fn open(
        settings: FileSettings,
        clock: Arc<dyn Clock>,
        reopen: Reopen,
    ) -> io::Result<Self> {
        let mut file = Self {
            chain: settings.is_chained.then_some(Chain::START),
            settings,
            clock,
            file: None,
            reopen,
            is_broken: false,
            told_lost: 0,
            is_failing: false,
        };
        file.reopened()?;
        Ok(file)
    }

    fn reopened(&mut self) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(MODE)
            .open(&self.settings.path)?;
        let (last, is_broken) = last_line(&mut file)?;
        self.is_broken = is_broken;
        // A new file goes on with the chain of the one before.
        if let (Some(chain), Some(line)) = (&mut self.chain, last)
            && let Some(seq) = seq(&line)
        {
            *chain = Chain {
                seq,
                hash: hash(&line),
            };
        }
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, block: &[u8], lost: u64) -> io::Result<()> {
        if self.reopen.0.swap(false, Ordering::AcqRel) || self.file.is_none() {
            self.file = None;
            self.reopened()?;
        }
        let mut chain = self.chain;
        let mut out = Vec::with_capacity(block.len() + block.len() / 4);
        if self.is_broken {
            out.push(b'\n');
        }
        let gap = lost.saturating_sub(self.told_lost);
        let gap = (gap > 0).then(|| {
            let now = self.clock.now().rfc3339_millis();
            format!("{{\"ts\":\"{now}\",\"event\":\"dropped\",\"lines\":{gap}}}")
        });
        let lines = block.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        for line in gap.iter().map(String::as_bytes).chain(lines) {
            match &mut chain {
                Some(chain) => out.extend_from_slice(&chain.link(line)),
                None => out.extend_from_slice(line),
            }
            out.push(b'\n');
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let before = file.metadata().map(|it| it.len());
        if let Err(error) = write_all(file, &out) {
            // What was written of it would be lines that were broken off.
            if let Ok(before) = before {
                let _ = file.set_len(before);
            }
            self.file = None;
            return Err(error);
        }
        (self.chain, self.is_broken, self.told_lost) = (chain, false, lost);
        Ok(())
    }
}

impl Sink for AuditFile {
    fn take(&mut self, block: &[u8], dropped: u64) -> io::Result<()> {
        let written = self.write(block, dropped);
        // Once for all that fail in a row.
        match (&written, self.is_failing) {
            (Err(error), false) => {
                let path = self.settings.path.display();
                tracing::error!(%error, %path, "audit lines are lost: the file cannot be written");
            }
            (Ok(()), true) => tracing::info!("audit lines are written again"),
            _ => {}
        }
        self.is_failing = written.is_err();
        written
    }
}

/// The last whole line of a file, and whether something stands behind it.
fn last_line(file: &mut File) -> io::Result<(Option<Vec<u8>>, bool)> {
    let length = file.seek(SeekFrom::End(0))?;
    let from = length.saturating_sub(LINE_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(LINE_BYTES_MAX).read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
        return Ok((None, !tail.is_empty()));
    };
    let is_broken = end + 1 < tail.len();
    let line = tail.get(..end).unwrap_or_default();
    let start = line.iter().rposition(|byte| *byte == b'\n');
    let start = start.map_or(0, |at| at + 1);
    Ok((line.get(start..).map(<[u8]>::to_vec), is_broken))
}

/// The number of a line in its chain.
fn seq(line: &[u8]) -> Option<u64> {
    let line: serde_json::Value = serde_json::from_slice(line).ok()?;
    line.get("seq")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn open(path: &std::path::Path, reopen: &Reopen) -> AuditFile {
        let settings = FileSettings {
            path: path.to_owned(),
            is_chained: true,
        };
        AuditFile::open(settings, Arc::new(SystemClock), reopen.clone()).expect("a file")
    }

    fn lines(path: &std::path::Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).expect("a file");
        text.lines().map(str::to_owned).collect()
    }

    fn number(line: &str) -> u64 {
        seq(line.as_bytes()).expect("a number")
    }

    #[test]
    fn a_chain_goes_on_over_rotations_restarts_and_broken_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, moved) = (folder.path().join("audit"), folder.path().join("audit.1"));
        let reopen = Reopen::default();
        let mut file = open(&path, &reopen);
        file.take(b"{\"a\":1}\n{\"a\":2}\n", 0).expect("room");
        std::fs::rename(&path, &moved).expect("a move");
        // Until it is told, it writes where it wrote.
        file.take(b"{\"a\":3}\n", 0).expect("room");
        reopen.ask();
        file.take(b"{\"a\":4}\n", 2).expect("room");
        drop(file);
        let old = lines(&moved);
        assert_eq!(
            old.iter().map(|line| number(line)).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        let new = lines(&path);
        assert!(
            new[0].contains("\"event\":\"dropped\",\"lines\":2"),
            "{}",
            new[0]
        );
        let prev = |line: &str, before: &str| line.contains(&hex(&hash(before.as_bytes())));
        assert!(prev(&old[1], &old[0]) && prev(&new[0], &old[2]) && prev(&new[1], &new[0]));
        // A crash in the middle of a line.
        let mut text = std::fs::read_to_string(&path).expect("a file");
        text.push_str("{\"a\":5,\"se");
        std::fs::write(&path, text).expect("a file");
        open(&path, &reopen).take(b"{\"a\":6}\n", 0).expect("room");
        let all = lines(&path);
        assert_eq!(all.len(), 4);
        assert_eq!(number(&all[3]), 6);
        assert!(prev(&all[3], &all[1]));
    }
}
