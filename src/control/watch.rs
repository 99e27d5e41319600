//! Noticing that a file changed, by watching its folder: an editor replaces a file by another, and
//! Kubernetes swaps a link beside it (`..data`), so that the file itself would be watched in vain.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

/// How Kubernetes names what it swaps in a mounted volume.
const KUBERNETES: &str = "..";

type Told = Box<dyn Fn() + Send>;

/// One watched file.
struct Watched {
    folder: PathBuf,
    name: OsString,
    tell: Told,
}

/// Watches any number of files with one descriptor.
pub(crate) struct Watch {
    watcher: RecommendedWatcher,
    files: Arc<Mutex<Vec<Watched>>>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// A watch over nothing.
    ///
    /// # Errors
    /// The system has none to give.
    pub(crate) fn start() -> notify::Result<Self> {
        let files: Arc<Mutex<Vec<Watched>>> = Arc::default();
        let watched = Arc::clone(&files);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let files = watched.lock().unwrap_or_else(PoisonError::into_inner);
            for file in files.iter().filter(|file| concerns(&event, file)) {
                (file.tell)();
            }
        })?;
        Ok(Self { watcher, files })
    }

    /// Tells of every change that may concern a file, from the watcher's own thread.
    ///
    /// # Errors
    /// Its folder cannot be watched.
    pub(crate) fn add(
        &mut self,
        file: &Path,
        tell: impl Fn() + Send + 'static,
    ) -> notify::Result<()> {
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // Events name what they are about by the real path.
        let folder = folder.canonicalize().map_err(notify::Error::io)?;
        self.watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.push(Watched {
            folder,
            name: file.file_name().unwrap_or_default().to_owned(),
            tell: Box::new(tell),
        });
        Ok(())
    }
}

/// Whether an event may be about a file. Lost events and errors may be about any.
fn concerns(event: &notify::Result<Event>, file: &Watched) -> bool {
    let Ok(event) = event else { return true };
    if event.kind.is_access() {
        return false;
    }
    event.need_rescan()
        || event.paths.iter().any(|path| {
            let name = path.file_name().unwrap_or_default();
            let swapped = name.to_string_lossy().starts_with(KUBERNETES);
            path.parent() == Some(&file.folder) && (name == file.name || swapped)
        })
}
