//! Noticing that a file changed, by looking at it once a second.
//!
//! A look sees what a watch of a folder does not: a link that is swapped anywhere on the way to the
//! file (Kubernetes' `..data`, a release's `current`), a folder that is made anew, a network disk. It
//! costs one `stat` a second for each file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What tells one state of a file from another, links followed. `None`: it cannot be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    fn at(path: &Path) -> Option<Self> {
        let seen = std::fs::metadata(path).ok()?;
        Some(Self {
            device: seen.dev(),
            inode: seen.ino(),
            size: seen.size(),
            modified: (seen.mtime(), seen.mtime_nsec()),
            changed: (seen.ctime(), seen.ctime_nsec()),
        })
    }
}

/// Tells of every change of a file, for as long as somebody listens: `tell` says whether.
pub(crate) async fn watch(path: PathBuf, tell: impl Fn() -> bool + Send + 'static) {
    let look = || {
        let path = path.clone();
        // A dead network disk must not stand in the way of everything else.
        tokio::task::spawn_blocking(move || Look::at(&path))
    };
    let mut last = look().await.ok().flatten();
    // The file may have changed between its first reading and this first look.
    let mut listens = tell();
    // Two writes within one tick of the file system's clock look alike: after a change it is read
    // once more.
    let mut again = false;
    while listens {
        tokio::time::sleep(LOOK_EVERY).await;
        let Ok(now) = look().await else { return };
        let changed = now != last;
        if changed || again {
            listens = tell();
        }
        again = changed;
        last = now;
    }
}
