//! The only module of the workspace that may sync, rename, truncate or unlink.
#![allow(clippy::disallowed_methods)]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A durable operation failed. Nothing that was there before is lost; the operation is to be
/// started again from its source, never from the point of failure.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}", path = path.display())]
pub struct DurableError {
    /// What was being done, as a verb: `write`, `sync`, `rename`, …
    pub operation: &'static str,
    /// To which file or directory.
    pub path: PathBuf,
    /// The system's word.
    #[source]
    pub source: io::Error,
}

/// Makes `path` hold exactly `content`, mode 0600: temporary file in the same directory, write,
/// sync, read back and compare, rename over, sync the directory. Missing directories are made
/// (0700). When it returns an error, `path` holds what it held before.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<(), DurableError> {
    replace_file_with_mode(path, content, 0o600)
}

/// [`replace_file`] with another mode (settings.json keeps the user's, binaries are 0755).
pub fn replace_file_with_mode(_path: &Path, _content: &[u8], _mode: u32) -> Result<(), DurableError> {
    todo!()
}

/// Makes a directory and its missing parents, mode 0700 whatever the umask, each entry synced.
/// A symlink to a directory is accepted as the last component or above.
pub fn create_dir_all(_path: &Path) -> Result<(), DurableError> {
    todo!()
}

/// Unlinks a file and syncs its directory; true if it was there.
pub fn remove_file(_path: &Path) -> Result<bool, DurableError> {
    todo!()
}

/// Removes an empty directory and syncs its parent; true if it was there.
pub fn remove_dir(_path: &Path) -> Result<bool, DurableError> {
    todo!()
}

/// Renames within one file system, refusing to replace anything, and syncs both directories.
pub fn rename_new(_from: &Path, _to: &Path) -> Result<(), DurableError> {
    todo!()
}

/// An advisory lock that dies with its holder.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock. The lock file is made (0600) and never removed.
    pub fn wait(_path: &Path) -> Result<Lock, DurableError> {
        todo!()
    }

    /// Takes the lock if it is free.
    pub fn try_now(_path: &Path) -> Result<Option<Lock>, DurableError> {
        todo!()
    }
}
