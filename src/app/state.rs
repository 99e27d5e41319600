//! What the gateway needs of the system before it starts: the state folder, the admin token, and
//! descriptors.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::StartError;
use crate::clock::UnixTime;
use crate::config::{Config, FixedSettings};
use crate::control::SavedKeys;
use crate::revocation::Revocations;
use crate::secret::Secret;

/// The configured token, or the one in the state folder, made on the first start.
pub(super) fn admin_token(config: &Config) -> Result<Secret, StartError> {
    let state = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::State { path, source }
    };
    let folder = &config.fixed.state_dir;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(state(folder))?;
    folder_is_ours(folder).map_err(state(folder))?;
    // The folder is needed later, perhaps at night: find out now.
    tempfile::tempfile_in(folder).map_err(state(folder))?;
    if let Some(token) = &config.admin.token {
        return Ok(token.clone());
    }
    let path = folder.join("admin-token");
    match std::fs::read(&path) {
        Ok(token) if !token.trim_ascii().is_empty() => Ok(Secret::new(token.trim_ascii().to_vec())),
        Ok(_) => Err(state(&path)(io::Error::other(
            "it is empty; remove it to have a new one made",
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
            let token = URL_SAFE_NO_PAD.encode(bytes);
            // Made under another name and moved, so that it is never half there.
            let mut file = tempfile::NamedTempFile::new_in(folder).map_err(state(&path))?;
            writeln!(file, "{token}").map_err(state(&path))?;
            file.persist(&path)
                .map_err(|error| state(&path)(error.error))?;
            Ok(Secret::new(token.into_bytes()))
        }
        Err(error) => Err(state(&path)(error)),
    }
}

/// The folder of the key sets of earlier runs.
pub(super) fn saved_keys(fixed: &FixedSettings) -> Result<SavedKeys, StartError> {
    SavedKeys::open(&fixed.state_dir).map_err(|source| StartError::State {
        path: fixed.state_dir.clone(),
        source,
    })
}

/// The list of revocations, read back.
pub(super) fn revocations(fixed: &FixedSettings, now: UnixTime) -> Result<Revocations, StartError> {
    let opened = if fixed.revocations_kept {
        Revocations::open(&fixed.state_dir)
    } else {
        Revocations::in_memory()
    };
    let feed = fixed.feed.as_ref();
    let feed = feed.map(|feed| (feed.stream.as_str(), feed.staleness_max));
    let opened = opened.and_then(|list| list.shared(feed, now));
    opened.map_err(|error| StartError::State {
        path: fixed.state_dir.clone(),
        source: io::Error::other(error.to_string()),
    })
}

/// The state folder, for this process alone as long as it has the lock: two that write to it would undo
/// each other's work.
#[derive(Debug)]
pub(super) struct StateLock {
    path: PathBuf,
    lock: Mutex<Option<File>>,
}

impl StateLock {
    /// Lets another process have the folder.
    pub(super) fn let_go(&self) {
        *self.lock() = None;
    }

    /// Has the folder again.
    ///
    /// # Errors
    /// Another process has it.
    pub(super) fn take_back(&self) -> io::Result<()> {
        let mut lock = self.lock();
        if lock.is_none() {
            *lock = Some(taken(&self.path)?);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lock of a path, if nobody has it.
fn taken(path: &Path) -> io::Result<File> {
    // Whoever can open it can lock it.
    let mut options = File::options();
    let lock = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    lock.set_permissions(Permissions::from_mode(0o600))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(io::Error::other(
            "another gateway uses this folder; `run --take-over` replaces it",
        )),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

/// # Errors
/// Whoever may write there can plant keys, so that must not be anybody.
pub(crate) fn folder_is_ours(folder: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(folder)?.permissions().mode();
    if mode & 0o002 != 0 {
        let why = "everybody may write to it, and so plant keys; take that right away (chmod o-w)";
        return Err(io::Error::other(why));
    }
    Ok(())
}

/// Whether a gateway has the state folder.
pub(crate) fn folder_is_taken(folder: &Path) -> bool {
    let lock = File::open(folder.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Takes the state folder.
pub(super) fn take_folder(fixed: &FixedSettings) -> Result<StateLock, StartError> {
    let folder = &fixed.state_dir;
    let state = |path: &Path, source| StartError::State {
        path: path.to_owned(),
        source,
    };
    let path = folder.join("lock");
    let lock = taken(&path).map_err(|source| state(folder, source))?;
    Ok(StateLock {
        path,
        lock: Mutex::new(Some(lock)),
    })
}

/// The descriptors that a configuration may come to, and those that the system allows; `None`: as many as one likes.
/// Each connection costs one, each request to an upstream another.
pub(crate) fn descriptors(config: &Config) -> (u64, Option<u64>) {
    let wanted: usize = config
        .listeners
        .iter()
        .map(|listener| listener.connections)
        .sum::<usize>()
        + config
            .upstreams
            .iter()
            .map(|upstream| upstream.limits.connections)
            .sum::<usize>()
        + 256;
    (wanted as u64, getrlimit(Resource::Nofile).maximum)
}

pub(super) fn raise_descriptor_limit(config: &Config) {
    let (wanted, _) = descriptors(config);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let new = Rlimit {
        current: Some(raised),
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, new).is_err() || raised < wanted {
        tracing::warn!(
            wanted,
            allowed = raised,
            "the limit of open files is below the configured connections"
        );
    }
}
