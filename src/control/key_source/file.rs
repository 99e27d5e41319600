//! A JWK set in a file, which somebody may replace at any time.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{FetchError, Fetched};

/// For one reading.
const READ_MAX: Duration = Duration::from_secs(5);

/// A file that is read anew.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    shown: String,
    bytes_max: usize,
    last: Option<Bytes>,
    /// A reading that has not come back.
    reading: Option<JoinHandle<Result<Bytes, FetchError>>>,
}

impl KeyFile {
    pub(super) fn new(path: PathBuf, bytes_max: usize) -> Self {
        Self {
            shown: path.display().to_string(),
            path,
            bytes_max,
            last: None,
            reading: None,
        }
    }

    pub(super) fn place(&self) -> &str {
        &self.shown
    }

    pub(super) async fn fetch(&mut self, in_use: bool) -> Result<Fetched, FetchError> {
        // One that hangs on a dead network disk is waited for again: it must not stand in the way of
        // everything else, and not be joined by others without end.
        let (path, bytes_max) = (self.path.clone(), self.bytes_max);
        let reading = self
            .reading
            .get_or_insert_with(|| tokio::task::spawn_blocking(move || read(&path, bytes_max)));
        let read = tokio::time::timeout(READ_MAX, reading).await;
        let read = read.map_err(|_| FetchError::Timeout)?;
        self.reading = None;
        let bytes = read.map_err(|error| FetchError::File(error.to_string()))??;
        let same = in_use && self.last.as_ref() == Some(&bytes);
        self.last = Some(bytes.clone());
        Ok(Fetched {
            document: (!same).then_some(bytes),
            fresh_for: None,
            date: None,
        })
    }
}

fn read(path: &Path, bytes_max: usize) -> Result<Bytes, FetchError> {
    let fault = |error: std::io::Error| FetchError::File(error.to_string());
    // A pipe would be waited for.
    if !std::fs::metadata(path).map_err(fault)?.is_file() {
        return Err(FetchError::File("it is no regular file".to_owned()));
    }
    let file = std::fs::File::open(path).map_err(fault)?;
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(fault)?;
    if bytes.len() > bytes_max {
        return Err(FetchError::TooLarge);
    }
    Ok(bytes.into())
}
