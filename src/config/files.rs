//! Reading the files that a configuration names.

use std::io::Read;
use std::path::Path;

/// The largest of them.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The bytes of a file. A pipe would be waited for, and a device has no end.
pub(super) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let other = |why: &str| std::io::Error::other(why.to_owned());
    if !std::fs::metadata(path)?.is_file() {
        return Err(other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(other("it is larger than 16 MiB"));
    }
    Ok(bytes)
}
