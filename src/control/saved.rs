//! Key sets on disk: what the provider last confirmed, for a restart while it is down.
//!
//! One file an issuer, in `keys` of the state folder, written under another name, synced and moved,
//! so that a crash at any moment leaves the old or the new one. A file counts only for the very
//! issuer and place that it was fetched from, within the hard limit since the provider last
//! confirmed it. It also remembers which keys must never be trusted again.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::status::KeyStatus;
use crate::clock::{Clock, UnixTime};
use crate::keys::Thumbprint;

/// The folder inside the state folder.
const FOLDER: &str = "keys";
/// The form of the files.
const VERSION: u32 = 1;
/// Files that are being written; what is left of a crash is removed at the next start.
const UNFINISHED: &str = "unfinished-";
/// More than the largest document that is taken, with everything around it.
const FILE_BYTES_MAX: u64 = 40 * 1024 * 1024;

/// Where key sets are kept.
#[derive(Clone, Debug)]
pub(crate) struct SavedKeys {
    folder: PathBuf,
}

/// What is kept of one issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    issuer: String,
    /// The URL, or the issuer for discovery.
    from: String,
    /// When the provider last confirmed the set, in seconds since the epoch.
    seen_at: Option<i64>,
    document: Option<String>,
    /// Digests of keys that were once published with their private part, in hex.
    distrusted: Vec<String>,
}

impl Record {
    pub(super) fn new(
        issuer: &str,
        from: &str,
        held: Option<(UnixTime, &[u8])>,
        distrusted: &HashSet<Thumbprint>,
    ) -> Option<Self> {
        let document = match held {
            Some((_, document)) => Some(std::str::from_utf8(document).ok()?.to_owned()),
            None => None,
        };
        let mut distrusted: Vec<_> = distrusted.iter().map(|print| hex(&print.0)).collect();
        distrusted.sort_unstable();
        Some(Self {
            version: VERSION,
            issuer: issuer.to_owned(),
            from: from.to_owned(),
            seen_at: held.map(|(seen_at, _)| seen_at.secs()),
            document,
            distrusted,
        })
    }

    /// The document and when the provider last confirmed it, if it came from there.
    pub(super) fn document(&self, from: &str) -> Option<(UnixTime, &str)> {
        if self.from != from {
            return None;
        }
        let seen_at = UnixTime::from_secs(self.seen_at?);
        Some((seen_at, self.document.as_deref()?))
    }

    /// Keys that must not be trusted, wherever the set comes from by now.
    pub(super) fn distrusted(&self) -> HashSet<Thumbprint> {
        let prints = self.distrusted.iter().filter_map(|text| unhex(text));
        prints.map(Thumbprint).collect()
    }
}

impl SavedKeys {
    /// What a gateway with this state folder has saved, to be read only.
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self {
            folder: state_dir.join(FOLDER),
        }
    }

    /// The folder, made if it is not there. What a crash left unfinished is removed.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let saved = Self::of(state_dir);
        std::fs::create_dir_all(&saved.folder)?;
        for entry in std::fs::read_dir(&saved.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(saved)
    }

    /// What is kept of an issuer. A file that cannot be read is named in the log and counts as
    /// none.
    pub(crate) fn load(&self, issuer: &str) -> Option<Record> {
        let path = self.path(issuer);
        let record = match read(&path) {
            Ok(Some(record)) if record.version == VERSION && record.issuer == issuer => record,
            Ok(None) => return None,
            Ok(Some(_)) => {
                tracing::warn!(path = %path.display(), "a saved key set is of another version or issuer and is not used");
                return None;
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a saved key set cannot be read and is not used");
                return None;
            }
        };
        Some(record)
    }

    fn write(&self, record: &Record) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&self.folder)?;
        serde_json::to_writer(&mut file, record)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(self.path(&record.issuer))
            .map_err(|error| error.error)?;
        // The name is part of the folder.
        File::open(&self.folder)?.sync_all()
    }

    /// Writes what a keeper gives, the newest at a time, until the keeper has gone.
    pub(super) async fn write_newest(
        self,
        mut records: watch::Receiver<Option<Record>>,
        status: Arc<KeyStatus>,
        clock: Arc<dyn Clock>,
    ) {
        while records.changed().await.is_ok() {
            let Some(record) = records.borrow_and_update().clone() else {
                continue;
            };
            let folder = self.clone();
            let written = tokio::task::spawn_blocking(move || folder.write(&record)).await;
            let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
            let written = written.map(|()| clock.now());
            status.note_saved(written.map_err(|error| error.to_string()));
        }
    }

    /// Issuers are URLs; a digest makes them names.
    fn path(&self, issuer: &str) -> PathBuf {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, issuer.as_bytes());
        self.folder.join(format!("{}.json", hex(digest.as_ref())))
    }
}

fn read(path: &Path) -> io::Result<Option<Record>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(document: &str) -> Record {
        let print = Thumbprint([7; 32]);
        let held = Some((UnixTime::from_secs(100), document.as_bytes()));
        let distrusted = [print].into_iter().collect();
        Record::new("https://a.test/", "https://a.test/keys", held, &distrusted).expect("UTF-8")
    }

    #[test]
    fn what_is_written_is_read_for_the_same_issuer_and_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let saved = SavedKeys::open(folder.path()).expect("a folder");
        saved.write(&record("one")).expect("room");
        saved.write(&record("two")).expect("room");
        let found = saved.load("https://a.test/").expect("a record");
        let (seen_at, document) = found.document("https://a.test/keys").expect("a document");
        assert_eq!((seen_at.secs(), document), (100, "two"));
        assert_eq!(found.document("https://b.test/keys"), None);
        assert!(found.distrusted().contains(&Thumbprint([7; 32])));
        assert_eq!(saved.load("https://a.test"), None);
    }

    #[test]
    fn crashes_and_damage_cost_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let saved = SavedKeys::open(folder.path()).expect("a folder");
        saved.write(&record("one")).expect("room");
        let unfinished = saved.folder.join("unfinished-x");
        std::fs::write(&unfinished, "{").expect("room");
        let saved = SavedKeys::open(folder.path()).expect("a folder");
        assert!(!unfinished.exists());
        assert!(saved.load("https://a.test/").is_some());
        std::fs::write(saved.path("https://a.test/"), "{\"version\":1").expect("room");
        assert_eq!(saved.load("https://a.test/"), None);
    }
}
