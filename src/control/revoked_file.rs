//! Revocations from a watched file: JSON lines as they are exported, put there by other tools.
//!
//! Each change of the file is taken whole or not at all. What is taken out of it stays revoked: a
//! file that was cut short by accident must not bring tokens back to life.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::active::Active;
use super::{revocations, watch};
use crate::clock::UnixTime;
use crate::gateway::Gateway;
use crate::observe::audit::AdminEvent;
use crate::policy::Policy;
use crate::published::Published;
use crate::revocation::{Added, Again, Revocations};

/// Lines of the file.
const LINES_MAX: usize = 100_000;
/// Bytes of the file.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What the disk did not take is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);
/// Who revokes, where a line does not say.
const AUTHOR: &str = "file";

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("line {0}: {1}")]
    Line(usize, String),
    #[error("it cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("{0}")]
    Store(String),
    #[error("it is larger than 64 MiB")]
    TooLarge,
}

/// Takes in a file, now and after each change.
pub(super) async fn keep(
    path: PathBuf,
    gateway: Arc<Gateway>,
    active: Arc<Published<Active>>,
    list: Arc<Revocations>,
) {
    // One place: a change that comes while the last is taken in is seen by what is read then.
    let (tell, mut changed) = mpsc::channel(1);
    tokio::spawn(watch::watch(path.clone(), move || {
        !matches!(
            tell.try_send(()),
            Err(mpsc::error::TrySendError::Closed(()))
        )
    }));
    while changed.recv().await.is_some() {
        loop {
            let (file, now, list) = (path.clone(), gateway.clock.now(), Arc::clone(&list));
            let policy = Arc::clone(&active.look().setup.policy);
            let taking = move || take_in(&file, (&policy, now), &list);
            let taking = tokio::task::spawn_blocking(taking);
            let taken = match taking.await {
                Ok(taken) => taken,
                Err(error) => Err(NotTaken::Store(error.to_string())),
            };
            let shown = path.display().to_string();
            let result = match &taken {
                Ok((0, _)) => break,
                Ok((added, known)) => format!("{added} added, {known} known"),
                Err(NotTaken::Read(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                    tracing::info!(path = shown, "there is no file of revocations");
                    break;
                }
                Err(error) => {
                    tracing::error!(path = shown, %error, "the file of revocations was not taken; what was taken before holds");
                    format!("not taken: {error}")
                }
            };
            let event = AdminEvent {
                actor: AUTHOR,
                action: "revocation.file",
                target: &shown,
                result: &result,
                selector: None,
                reason: None,
            };
            gateway.audit.admin(gateway.clock.now(), &event);
            if !matches!(taken, Err(NotTaken::Store(_))) {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// How many were new, and how many were known.
fn take_in(
    path: &Path,
    at: (&Policy, UnixTime),
    list: &Revocations,
) -> Result<(usize, usize), NotTaken> {
    // A pipe would be waited for.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no regular file").into());
    }
    let mut text = Vec::new();
    std::fs::File::open(path)?
        .take(BYTES_MAX + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(NotTaken::TooLarge);
    }
    let read = revocations::read_lines(&text, LINES_MAX, at, AUTHOR);
    let read = read.map_err(|(line, why)| NotTaken::Line(line, why))?;
    let added = list.add_again(read, Again::Said);
    let added = added.map_err(|error| NotTaken::Store(error.to_string()))?;
    let is_new = |added: &&Added| matches!(added, Added::New(_));
    let new = added.iter().filter(is_new).count();
    Ok((new, added.len() - new))
}
