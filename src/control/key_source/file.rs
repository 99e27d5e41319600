//! A JWK set in a file, which somebody may replace at any time.

use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{FetchError, Fetched};

/// A file that is read anew.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    shown: String,
    bytes_max: usize,
    last: Option<Bytes>,
}

impl KeyFile {
    pub(super) fn new(path: PathBuf, bytes_max: usize) -> Self {
        Self {
            shown: path.display().to_string(),
            path,
            bytes_max,
            last: None,
        }
    }

    pub(super) fn place(&self) -> &str {
        &self.shown
    }

    pub(super) async fn fetch(&mut self, in_use: bool) -> Result<Fetched, FetchError> {
        let (path, bytes_max) = (self.path.clone(), self.bytes_max);
        // A file on a dead network disk must not stand in the way of everything else.
        let read = tokio::task::spawn_blocking(move || read(&path, bytes_max)).await;
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
