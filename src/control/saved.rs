//! Key sets on disk: what the provider last confirmed, for a restart while it is down.
//!
//! One file an issuer, in `keys` of the state folder, written under another name, synced and moved,
//! so that a crash at any moment leaves the old or the new one. A file counts only for the very
//! issuer and place that it was fetched from, within the hard limit since the provider last
//! confirmed it. Keys that must never be trusted again have a file of their own: a damaged set is
//! fetched anew, a damaged memory of exposed keys is for the operator to mend.

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::status::KeyStatus;
use crate::clock::{Clock, UnixTime};
use crate::keys::Thumbprint;
use crate::observe::{hex, unhex};

/// The folder inside the state folder.
const FOLDER: &str = "keys";
/// The form of the files.
const VERSION: u32 = 1;
/// A set, and the keys that may not be trusted.
const SET: &str = "json";
const EXPOSED: &str = "exposed";
/// Files that are being written; what is left of a crash is removed at the next start.
const UNFINISHED: &str = "unfinished-";
/// A record that could not be written is tried again after this.
const WRITE_AGAIN: Duration = Duration::from_secs(5);
/// More than the largest document that is taken, with everything around it.
const FILE_BYTES_MAX: u64 = 40 * 1024 * 1024;

/// Where key sets are kept.
#[derive(Clone, Debug)]
pub(crate) struct SavedKeys {
    folder: PathBuf,
    /// Another process has the folder.
    let_go: Arc<AtomicBool>,
}

/// What is kept of one issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Which it is.
    pub(super) serial: u64,
    issuer: String,
    set: Option<SavedSet>,
    /// Keys that were once published with their private part. In a file of their own, which is
    /// never given up for damage to the other.
    pub(super) exposed: HashSet<Thumbprint>,
}

/// A set as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedSet {
    version: u32,
    issuer: String,
    /// The URL, or the issuer for discovery.
    from: String,
    /// When the provider last confirmed the set, in seconds since the epoch.
    seen_at: i64,
    document: String,
}

/// Keys that may not be trusted, as they lie on disk.
#[derive(Debug, Serialize, Deserialize)]
struct SavedExposed {
    version: u32,
    issuer: String,
    /// Digests in hex.
    exposed: Vec<String>,
}

/// Why there is no saved set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSet {
    #[error("{0} cannot be read: {1}")]
    Damaged(String, String),
    #[error("the saved set is from the future, {0}: a clock was wrong")]
    Future(UnixTime),
    #[error("no gateway has saved a set here")]
    None,
    #[error("the issuer has exposed too many private keys to remember; nothing of it is trusted")]
    TooManyExposed,
    #[error("the saved set has no usable key: {0}")]
    Unusable(String),
    #[error("the saved set came from another place")]
    OtherPlace,
    #[error("the saved set is too old: the provider last confirmed it at {0}")]
    Stale(UnixTime),
}

impl Record {
    pub(super) fn new(
        issuer: &str,
        from: &str,
        held: Option<(UnixTime, &[u8])>,
        exposed: &HashSet<Thumbprint>,
    ) -> Self {
        // A set is UTF-8, or it was not taken.
        let set = held.and_then(|(seen_at, document)| {
            Some(SavedSet {
                version: VERSION,
                issuer: issuer.to_owned(),
                from: from.to_owned(),
                seen_at: seen_at.secs(),
                document: std::str::from_utf8(document).ok()?.to_owned(),
            })
        });
        Self {
            serial: 0,
            issuer: issuer.to_owned(),
            set,
            exposed: exposed.clone(),
        }
    }

    /// Its set, if it came from this place, and when the provider last confirmed it.
    pub(super) fn set_of(self, from: &str) -> Option<(UnixTime, String)> {
        let set = self.set.filter(|set| set.from == from)?;
        Some((UnixTime::from_secs(set.seen_at), set.document))
    }
}

impl SavedKeys {
    /// What a gateway with this state folder has saved, to be read only.
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self {
            folder: state_dir.join(FOLDER),
            let_go: Arc::default(),
        }
    }

    /// Whether another process has the folder: until it is given back, nothing is written here.
    pub(crate) fn let_go(&self, gone: bool) {
        self.let_go.store(gone, Ordering::SeqCst);
    }

    /// The folder, made if it is not there. What a crash left unfinished is removed.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let saved = Self::of(state_dir);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&saved.folder)?;
        if std::fs::metadata(&saved.folder)?.permissions().mode() & 0o002 != 0 {
            let why = "everybody may write to its folder `keys`, and so plant keys";
            return Err(io::Error::other(why));
        }
        for entry in std::fs::read_dir(&saved.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(saved)
    }

    /// The set of an issuer that came from a place, and when the provider last confirmed it.
    ///
    /// # Errors
    /// There is none that counts.
    pub(super) fn set(&self, issuer: &str, from: &str) -> Result<(UnixTime, String), NoSet> {
        let path = self.path(issuer, SET);
        let set: SavedSet = match read(&path) {
            Ok(Some(set)) => set,
            Ok(None) => return Err(NoSet::None),
            Err(error) => {
                let path = path.display().to_string();
                return Err(NoSet::Damaged(path, error.to_string()));
            }
        };
        if set.version != VERSION || set.issuer != issuer || set.from != from {
            return Err(NoSet::OtherPlace);
        }
        Ok((UnixTime::from_secs(set.seen_at), set.document))
    }

    /// The keys of an issuer that may not be trusted.
    ///
    /// # Errors
    /// The file is there and cannot be read: then nobody knows which keys those are.
    pub(crate) fn exposed(&self, issuer: &str) -> Result<HashSet<Thumbprint>, DamagedExposed> {
        let path = self.path(issuer, EXPOSED);
        let damaged = |why: String| DamagedExposed {
            path: path.clone(),
            why,
        };
        let saved: SavedExposed = match read(&path) {
            Ok(Some(saved)) => saved,
            Ok(None) => return Ok(HashSet::new()),
            Err(error) => return Err(damaged(error.to_string())),
        };
        if saved.version != VERSION || saved.issuer != issuer {
            return Err(damaged("it is of another version or issuer".to_owned()));
        }
        let prints: Option<_> = saved
            .exposed
            .iter()
            .map(|text| unhex(text).map(Thumbprint))
            .collect();
        prints.ok_or_else(|| damaged("a line in it is no digest".to_owned()))
    }

    /// Writes what changed against the last record.
    fn write(&self, record: &Record, last: &Record) -> io::Result<()> {
        if self.let_go.load(Ordering::SeqCst) {
            return Err(io::Error::other("another gateway takes the folder over"));
        }
        if record.exposed != last.exposed {
            let mut exposed: Vec<_> = record.exposed.iter().map(|print| hex(&print.0)).collect();
            exposed.sort_unstable();
            let saved = SavedExposed {
                version: VERSION,
                issuer: record.issuer.clone(),
                exposed,
            };
            self.put(&self.path(&record.issuer, EXPOSED), &saved)?;
        }
        match &record.set {
            Some(set) => self.put(&self.path(&record.issuer, SET), set),
            // What is not in use must not be used after a restart either.
            None => match std::fs::remove_file(self.path(&record.issuer, SET)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// Under another name, synced, moved, and the folder synced too.
    fn put(&self, path: &Path, value: &impl Serialize) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&self.folder)?;
        serde_json::to_writer(&mut file, value)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Writes what a keeper gives, the newest at a time, until the keeper has gone. `last`: what the
    /// files hold.
    pub(super) async fn write_newest(
        self,
        mut records: watch::Receiver<Record>,
        mut last: Record,
        done: watch::Sender<u64>,
        status: Arc<KeyStatus>,
        clock: Arc<dyn Clock>,
    ) {
        let mut failed = false;
        loop {
            let changed = tokio::select! {
                changed = records.changed() => changed,
                // What was not written is written when there is room again.
                () = tokio::time::sleep(WRITE_AGAIN), if failed => Ok(()),
            };
            if changed.is_err() {
                return;
            }
            let record = records.borrow_and_update().clone();
            let serial = record.serial;
            last.serial = serial;
            if record == last {
                let _ = done.send(serial);
                continue;
            }
            let (folder, before) = (self.clone(), last.clone());
            let writing = tokio::task::spawn_blocking(move || {
                let written = folder.write(&record, &before);
                (record, written)
            });
            let Ok((record, written)) = writing.await else {
                continue;
            };
            failed = written.is_err();
            if !failed {
                last = record;
                // Nobody may be waiting.
                let _ = done.send(serial);
            }
            let written = written.map(|()| clock.now());
            status.note_saved(written.map_err(|error| error.to_string()));
        }
    }

    /// Issuers are URLs; a digest makes them names.
    fn path(&self, issuer: &str, what: &str) -> PathBuf {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, issuer.as_bytes());
        self.folder.join(format!("{}.{what}", hex(digest.as_ref())))
    }
}

/// Exposed keys are remembered in a file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} names keys that must not be trusted, and cannot be read: {why}; mend it from a backup, or remove it if the issuer has replaced all of its keys"
)]
pub(crate) struct DamagedExposed {
    path: PathBuf,
    why: String,
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(document: &str) -> Record {
        let print = Thumbprint([7; 32]);
        let held = Some((UnixTime::from_secs(100), document.as_bytes()));
        let exposed = [print].into_iter().collect();
        Record::new("https://a.test/", "https://a.test/keys", held, &exposed)
    }

    fn saved() -> (tempfile::TempDir, SavedKeys) {
        let folder = tempfile::tempdir().expect("a folder");
        let saved = SavedKeys::open(folder.path()).expect("a folder");
        saved
            .write(&record("one"), &Record::default())
            .expect("room");
        (folder, saved)
    }

    #[test]
    fn what_is_written_is_read_for_the_same_issuer_and_place() {
        let (_folder, saved) = saved();
        saved.write(&record("two"), &record("one")).expect("room");
        let set = saved.set("https://a.test/", "https://a.test/keys");
        assert_eq!(set, Ok((UnixTime::from_secs(100), "two".to_owned())));
        let elsewhere = saved.set("https://a.test/", "https://b.test/keys");
        assert_eq!(elsewhere, Err(NoSet::OtherPlace));
        assert_eq!(saved.set("https://a.test", "x"), Err(NoSet::None));
        let exposed = saved.exposed("https://a.test/").expect("a file");
        assert!(exposed.contains(&Thumbprint([7; 32])));
    }

    #[test]
    fn crashes_and_damage_of_a_set_cost_nothing_else() {
        let (folder, saved) = saved();
        let unfinished = saved.folder.join("unfinished-x");
        std::fs::write(&unfinished, "{").expect("room");
        let saved = SavedKeys::open(folder.path()).expect("a folder");
        assert!(!unfinished.exists());
        std::fs::write(saved.path("https://a.test/", SET), "{\"version\":1").expect("room");
        let damaged = saved.set("https://a.test/", "https://a.test/keys");
        assert!(matches!(damaged, Err(NoSet::Damaged(..))));
        assert_eq!(saved.exposed("https://a.test/").expect("a file").len(), 1);
    }

    #[test]
    fn a_damaged_memory_of_exposed_keys_is_an_error() {
        let (_folder, saved) = saved();
        let path = saved.path("https://a.test/", EXPOSED);
        let whole = std::fs::read(&path).expect("a file");
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).expect("room");
            assert!(saved.exposed("https://a.test/").is_err(), "{length} bytes");
        }
        std::fs::remove_file(&path).expect("a file");
        assert!(saved.exposed("https://a.test/").expect("none").is_empty());
    }
}
