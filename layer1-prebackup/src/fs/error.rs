//! How a durable operation fails.

use std::io;
use std::path::{Path, PathBuf};

/// A durable operation failed. Nothing that was there before is lost; the operation is to be
/// started again from its source, never from the point of failure.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}: {source}", path = path.display())]
pub struct DurableError {
    /// What was being done, as a verb: `write`, `sync`, `rename`, …
    pub(crate) operation: &'static str,
    /// To which file or directory.
    pub(crate) path: PathBuf,
    /// The system's word.
    pub source: io::Error,
}

impl DurableError {
    pub(super) fn new(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> DurableError {
        DurableError { operation, path: path.to_owned(), source: source.into() }
    }

    /// Whether the disk or a quota is full: the one failure a user can mend at once.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

pub(super) type Result<T> = std::result::Result<T, DurableError>;
