//! How the index fails.

use std::path::{Path, PathBuf};

use layer1_prebackup::archive::ArchiveError;
use layer1_prebackup::fs::DurableError;
use layer1_prebackup::names::{LAYER3, typed};
use rusqlite::{Error, ErrorCode, ffi};

use crate::failure::{Failure, Kind};

/// The index failed to do something. The store is not touched by any of this.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// SQLite failed.
    #[error("{doing} in the index {path}", path = path.display())]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// The index.
        path: PathBuf,
        /// SQLite's word.
        source: rusqlite::Error,
    },
    /// The index is damaged, of an older version or another program's. `Index::open` sets it aside and makes a fresh one.
    #[error("use the index {path}: {what}; `{}` makes it again from the store", typed(LAYER3, "rebuild"), path = path.display())]
    Unusable {
        /// The index.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// The index was made by an older version: it is made again before it is used.
    #[error("use the index {path}: it is of version {version}, this program makes another; `{}` makes it again from the store", typed(LAYER3, "rebuild"), path = path.display())]
    Outdated {
        /// The index.
        path: PathBuf,
        /// Its version.
        version: i32,
    },
    /// The index was made by a newer version. Nothing was touched.
    #[error(
        "use the index {path}: it is of version {version}, made by a newer Threefold; update this one, or give it an index of its own (SESSION_DB_PATH)",
        path = path.display()
    )]
    Newer {
        /// The index.
        path: PathBuf,
        /// Its version.
        version: i32,
    },
    /// Another program holds a lock of the index, or hangs with it.
    #[error("write into the index {path}: another program has held its lock for {seconds} s", path = path.display())]
    Busy {
        /// The index.
        path: PathBuf,
        /// How long that was waited for.
        seconds: u64,
    },
    /// The index file could not be made or set aside.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A file could not be read or made.
    #[error("read {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store changed again and again while a session was indexed. The next update goes on.
    #[error("index session {session}: its stored copy kept changing; the next save goes on")]
    Changing {
        /// The session.
        session: String,
    },
}

impl IndexError {
    /// Whether the index has to be made again: see `Index::renew`.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, IndexError::Unusable { .. } | IndexError::Outdated { .. })
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Failure {
        Failure::caused(error.to_string(), Kind::Other, error)
    }
}

/// Says what was being done when SQLite failed.
pub(super) trait Sqlite<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, IndexError>;
}

impl<T> Sqlite<T> for rusqlite::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, IndexError> {
        self.map_err(|source| match is_damage(&source) {
            true => IndexError::Unusable { path: path.to_owned(), what: source.to_string() },
            false => IndexError::Sqlite { doing, path: path.to_owned(), source },
        })
    }
}

/// SQLite bounds the size of an expression by rules of its own. What it does not take as words is still
/// searched for by parts; no text of a user is an error.
pub(super) fn none_if_refused<T: Default>(found: rusqlite::Result<T>) -> rusqlite::Result<T> {
    match found {
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::Unknown => Ok(T::default()),
        found => found,
    }
}

/// Whether the database is no database, or none that holds together.
fn is_damage(error: &rusqlite::Error) -> bool {
    // A damaged schema or FTS5 structure shows as a plain error of SQLite; no query text of a user
    // can cause these, because none reaches SQLite unquoted.
    let says = |words: &str| error.to_string().contains(words);
    // A page that was written and is not there to be read: the log, or the file, ends before it. What was moved of
    // such a log is half of something, and only SQLite's other files know that it was never whole.
    let ends_early = error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHORT_READ);
    // A row that we never wrote: of another type, out of range, or longer than any of ours.
    let is_no_row_of_ours = matches!(
        error,
        Error::InvalidColumnType(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::FromSqlConversionFailure(..)
            // One that another row names, and that is not there.
            | Error::QueryReturnedNoRows
    ) || error.sqlite_error_code() == Some(ErrorCode::TooBig);
    ends_early
        || is_no_row_of_ours
        || matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || ["vtable constructor failed", "malformed", "no such table", "no such column"].into_iter().any(says)
}
