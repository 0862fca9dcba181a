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

/// What no file of ours can be: it is neither read nor written, whatever it holds.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotOurs(pub(super) String);

impl DurableError {
    /// Whether something else stands there than a file of ours: a link, a folder, a FIFO, a file with a second name,
    /// one that is longer than ours ever are.
    pub fn is_not_ours(&self) -> bool {
        self.source.get_ref().is_some_and(|source| source.is::<NotOurs>())
    }

    pub(super) fn new(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> DurableError {
        DurableError { operation, path: path.to_owned(), source: source.into() }
    }

    /// Whether the disk or a quota is full: the one failure a user can mend at once.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

pub(super) type Result<T> = std::result::Result<T, DurableError>;
