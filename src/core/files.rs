//! Atomic writes of files, and errors about files.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::error::Error;

pub(crate) fn file_error(path: &Path, reason: impl ToString) -> Error {
    Error::File { path: path.to_owned(), reason: reason.to_string() }
}

/// Replaces a file atomically: writes a temporary file and renames it. After a crash, the path has either the old
/// contents or the new contents.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside); // the write error is reported, not the error of this cleanup
    } else if let Some(folder) = path.parent().and_then(|folder| fs::File::open(folder).ok()) {
        let _ = folder.sync_all(); // makes the rename durable, where the system supports syncing directories
    }
    written
}
