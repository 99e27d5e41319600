//! Certificates of listeners, taken anew when their files change.
//!
//! Chain and key are two files, which nobody writes at once: after a change there is a moment for the
//! other, and what does not fit together leaves everything as it is. Connections that are open go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::tasks::Tasks;
use super::watch;
use crate::config::{CertificateFiles, KeyPlace};
use crate::secret::Secret;
use crate::tls::certificates::{Certificates, Served};

/// From a change to the reading.
const SETTLE: Duration = Duration::from_millis(500);

/// The certificates of one listener.
pub(crate) struct Watched {
    pub(crate) listener: Arc<str>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) files: Vec<CertificateFiles>,
}

/// Watches the files of a listener, until it is dropped.
pub(super) async fn keep(watched: Watched) {
    let (tell, mut changed) = mpsc::channel(1);
    let looking = Tasks::default();
    for files in &watched.files {
        let key = match &files.key {
            KeyPlace::File(path) => Some(path.clone()),
            KeyPlace::Fixed(_) => None,
        };
        for path in [Some(files.chain.clone()), key].into_iter().flatten() {
            let tell = tell.clone();
            // One place: a change that comes while the last is read is seen by the next.
            looking.spawn(watch::watch(path, move || {
                let told = tell.try_send(());
                !matches!(told, Err(mpsc::error::TrySendError::Closed(())))
            }));
        }
    }
    let mut last = None;
    while changed.recv().await.is_some() {
        tokio::time::sleep(SETTLE).await;
        let files = watched.files.clone();
        let reading = tokio::task::spawn_blocking(move || read(&files));
        let listener = &*watched.listener;
        match reading.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(new) => {
                if watched.certificates.replace(&new) {
                    tracing::info!(listener, "the certificates were replaced");
                }
                last = None;
            }
            Err(why) => {
                if last.as_ref() != Some(&why) {
                    tracing::error!(
                        listener,
                        why,
                        "changed certificates cannot be used; those from before serve on"
                    );
                }
                last = Some(why);
            }
        }
    }
}

fn read(files: &[CertificateFiles]) -> Result<Certificates, String> {
    let file = |path: &std::path::Path| {
        let bytes = std::fs::read(path);
        bytes.map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    let one = |files: &CertificateFiles| {
        let chain = file(&files.chain)?;
        let key = match &files.key {
            KeyPlace::File(path) => Secret::new(file(path)?),
            KeyPlace::Fixed(key) => key.clone(),
        };
        let served = Served::read(&chain, &key);
        served.map_err(|error| format!("{}: {error}", files.chain.display()))
    };
    let served = files.iter().map(one).collect::<Result<_, _>>()?;
    Certificates::new(served).ok_or_else(|| "there is none".to_owned())
}
