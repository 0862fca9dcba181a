//! An open index: made or set aside where it has to be, its log moved into the database.

use std::path::{Path, PathBuf};

use layer1_prebackup::archive::SessionKey;
use rusqlite::Connection;

use super::checksums;
use super::contents::Contents;
use super::error::{IndexError, Sqlite};
use super::files;
use super::owed;
use super::schema;

/// Key of the id of the store that the index was filled from.
pub(super) const FILLED_FROM: &str = "filled_from";
/// Key of the place in the store's list of what is owed up to which the index has all.
pub(super) const COVERS: &str = "covers";

/// An open index.
#[derive(Debug)]
pub struct Index {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) identity: (u64, u64),
    set_aside: Option<PathBuf>,
}

impl Index {
    /// Opens the index for reading and writing, makes it (0600) where there is none. A damaged
    /// one, or one of an older version or another program, is set aside under a dated name beside it
    /// and a fresh one is made; see [`Index::set_aside`] and [`Index::is_incomplete`]. A newer
    /// version's is refused and left alone.
    pub fn open(path: &Path) -> Result<Index, IndexError> {
        let mut index = Index::of(path, schema::open(path)?);
        // What a killed run left in the log is proven before anything is written over it.
        match index.checkpoint().and_then(|()| checksums::require_sums(&mut index.connection, path)) {
            Err(error) if error.is_damage() => index.renew()?,
            moved => moved?,
        }
        Ok(index)
    }

    /// Opens an existing index for reading only; `None` where there is none. A damaged one or
    /// one of another version is [`IndexError::Unusable`]; damage can also show later.
    pub(crate) fn open_read_only(path: &Path) -> Result<Option<Index>, IndexError> {
        Ok(schema::open_read_only(path)?.map(|opened| Index::of(path, opened)))
    }

    fn of(path: &Path, opened: schema::Opened) -> Index {
        let schema::Opened { connection, set_aside, identity } = opened;
        Index { path: path.to_owned(), connection, identity, set_aside }
    }

    /// Whether the database at `path` is another program's, as far as its header tells.
    pub(crate) fn is_foreign(path: &Path) -> Result<bool, IndexError> {
        Ok(schema::look(path)? == schema::Whose::Foreign)
    }

    /// Indexes that were set aside from `path` and are still there, with their sizes. Nothing reads them any more.
    pub(crate) fn set_asides(path: &Path) -> Vec<(PathBuf, u64)> {
        files::set_asides(path)
    }

    /// Where [`Index::open`] or [`Index::renew`] put an index that could not be used.
    pub(crate) fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// Sets the index aside, because it turned out damaged, and opens a fresh one in its place;
    /// if another process has done so already, opens that one. Then [`Index::fill`] it.
    pub(crate) fn renew(&mut self) -> Result<(), IndexError> {
        let set_aside = schema::set_aside(&self.path, Some(self.identity))?;
        // Not `open`: whoever renews goes on to write, and what cannot be proven then is renewed again.
        let fresh = Index::of(&self.path, schema::open(&self.path)?);
        *self = Index { set_aside: set_aside.or(fresh.set_aside), ..fresh };
        Ok(())
    }

    /// Removes the index at `path` and every one that was set aside from there. The next [`Index::open`] makes a fresh one.
    pub(crate) fn remove(path: &Path) -> Result<(), IndexError> {
        schema::remove(path)
    }

    /// Whether the index was never filled from this store from end to end: it is fresh, or
    /// filling it was interrupted, or the store is another one; or something was saved that it lacks, because it could
    /// not be written then or was put back to an older state. [`Index::fill`] heals that.
    pub(crate) fn is_incomplete(&self, contents: &dyn Contents) -> Result<bool, IndexError> {
        if self.meta(FILLED_FROM)?.as_deref() != Some(contents.store_id()) {
            return Ok(true);
        }
        let Some(root) = contents.root() else { return Ok(false) };
        Ok(owed::end(root)? != self.meta(COVERS)?)
    }

    /// The sessions that were saved and that the index may lack; `None` where it may lack any.
    pub(super) fn owed(&self, contents: &dyn Contents) -> Result<Option<Vec<SessionKey>>, IndexError> {
        let is_filled = self.meta(FILLED_FROM)?.as_deref() == Some(contents.store_id());
        let (Some(root), Some(covers), true) = (contents.root(), self.meta(COVERS)?, is_filled) else {
            return Ok(None);
        };
        Ok(owed::behind(root, &covers)?.map(|keys| keys.into_iter().collect()))
    }

    /// How many sessions of the store are not indexed, or not wholly.
    pub(crate) fn unindexed(&self, contents: &dyn Contents) -> Result<usize, IndexError> {
        let keys = match self.owed(contents)? {
            Some(keys) => keys,
            None => contents.sessions()?,
        };
        // One that cannot be read cannot be indexed either, and is told by others.
        Ok(keys.iter().filter(|key| self.is_behind(contents, key).unwrap_or(false)).count())
    }

    fn meta(&self, key: &str) -> Result<Option<String>, IndexError> {
        let mut statement =
            self.connection.prepare_cached("SELECT value FROM meta WHERE key = ?1").doing("read", &self.path)?;
        let mut rows = statement.query([key]).doing("read", &self.path)?;
        match rows.next().doing("read", &self.path)? {
            Some(row) => Ok(Some(row.get(0).doing("read", &self.path)?)),
            None => Ok(None),
        }
    }

    /// The result of a last attempt. What is damaged even then does not stay where the next run
    /// would take it for good.
    pub(super) fn abandoned<T>(&self, result: Result<T, IndexError>) -> Result<T, IndexError> {
        if result.as_ref().is_err_and(IndexError::is_damage) {
            schema::set_aside(&self.path, Some(self.identity))?;
        }
        result
    }

    /// Moves what was committed from the write-ahead log into the database and proves both by
    /// reading them back. What cannot be proven is [`IndexError::Unusable`]. Called before a write
    /// too: one that failed half-way is made up for before anything is written over the log.
    pub(super) fn checkpoint(&mut self) -> Result<(), IndexError> {
        checksums::checkpoint(&mut self.connection, &self.path)
    }

    /// [`Index::checkpoint`] where much is waiting.
    pub(super) fn checkpoint_if_large(&mut self) -> Result<(), IndexError> {
        if files::log_bytes(&self.path)? < checksums::LOG_BYTES_MAX { Ok(()) } else { self.checkpoint() }
    }

    /// Re-reads the whole database file at `path` and compares it with what was written. What is
    /// wrong, in plain words, if anything is: then [`Index::renew`] it. One that is not there is well.
    pub(crate) fn verify(path: &Path) -> Result<Option<String>, IndexError> {
        let verify = || {
            let Some(mut index) = Index::open_read_only(path)? else { return Ok(None) };
            // Moving what waits in the log takes the write lock for a moment.
            index.connection.pragma_update(None, "query_only", false).doing("open", path)?;
            checksums::verify(&mut index.connection, path)
        };
        match verify() {
            // A snapshot of hard links is nothing wrong. Who uses it next makes the files its own.
            Err(IndexError::Unusable { .. }) if !files::linked(path)?.is_empty() => Ok(None),
            Err(IndexError::Unusable { what, .. }) => Ok(Some(what)),
            // It is whole, and made again when it is used next.
            Err(IndexError::Outdated { .. }) => Ok(None),
            verified => verified,
        }
    }
}
