//! The folders of a store, and that their names are on the disk before anything in them is spoken of.
//!
//! A content is safe when its bytes are, and every name from the root of the file system down to it.
//! Whoever makes a folder syncs its name at once; what remains are the folders that a killed run, of any
//! session, made and did not sync. Nothing says of a folder that it is one of those, so where a folder was not
//! made just now, the one above it is synced if it changed lately, unless it is known that this is not needed:
//!
//! * It was seen to already, through the same [`Archive`].
//! * A content that a ledger records as proven stands in it or below: whoever committed that had seen to its folders.
//!   (If the folder was removed in the meantime and made again, the content is not there.) An unproven record says nothing.
//! * For the store itself and all above: the run that made the store says so by the mark of the store's lock,
//!   or made it so long ago that it was written back.
//!
//! The clean mark of a session's lock is no reason: the folders are not that session's alone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::ledger::{Ledger, Record};
use super::session::relative_path;
use super::{Archive, ArchiveError, Proof, STORE_FILE, STORE_LOCK, SessionKey};
use crate::fs::{Dir, Lock};
use crate::names::StoredName;

/// The folder of the bookkeeping.
const STATE: &str = ".state";

/// What is known of a store's folders. It is not asked again whether it still holds, so an archive is
/// opened for a piece of work and not for the life of a server.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    /// The store's own name, and all above it.
    is_store_anchored: Cell<bool>,
    /// Folders, relative to the store, whose names and all above are synced.
    known: RefCell<BTreeSet<PathBuf>>,
}

impl Anchors {
    /// The store's name, its bookkeeping's folder and its file are synced, as the run that made them knows.
    pub(super) fn note_store(&self) {
        self.is_store_anchored.set(true);
        self.known.borrow_mut().insert(PathBuf::from(STATE));
    }
}

impl Archive {
    /// Makes sure that the store itself is on the disk: a killed run may have made it and no more.
    pub(super) fn anchor_store(&self) -> Result<(), ArchiveError> {
        if self.anchors.is_store_anchored.get() {
            return Ok(());
        }
        if !self.was_made_for_good()? {
            if let Some(state) = self.root.open_beneath(Path::new(STATE))? {
                state.sync_if_recent()?;
            }
            self.root.sync_if_recent()?;
            self.root.sync_recent_ancestors()?;
        }
        self.anchors.note_store();
        Ok(())
    }

    /// Opens the folder `rel` of the store, made where it is missing; its name and all above are synced
    /// when this returns. `is_proven` is asked of a folder whether a proven content stands in it or below.
    pub(super) fn anchored_dir(
        &self,
        rel: &Path,
        is_proven: &dyn Fn(&Path) -> Result<bool, ArchiveError>,
    ) -> Result<Dir, ArchiveError> {
        self.anchor_store()?;
        let known = &self.anchors.known;
        let mut at = PathBuf::new();
        let mut below: Option<Dir> = None;
        for name in rel.iter() {
            let above = below.as_ref().unwrap_or(&self.root);
            at.push(name);
            let (dir, is_new) = above.create_child(name)?;
            let is_safe = is_new || known.borrow().contains(&at) || is_proven(&at)?;
            if !is_safe {
                above.sync_if_recent()?;
            }
            known.borrow_mut().insert(at.clone());
            below = Some(dir);
        }
        below.map_or_else(|| Ok(self.root.create_beneath(rel)?), Ok)
    }

    fn was_made_for_good(&self) -> Result<bool, ArchiveError> {
        let Some(state) = self.root.open_beneath(Path::new(STATE))? else { return Ok(false) };
        let name = |path: &'static str| Path::new(path).file_name().unwrap_or(OsStr::new(path));
        let is_made = state.stat(name(STORE_FILE))?.is_some();
        Ok(is_made && Lock::is_clean_at(&state, name(STORE_LOCK))?)
    }
}

/// Whether a content that the ledger records as proven stands in a folder of the store, or below it.
pub(super) fn holds_proven(
    archive: &Archive,
    key: &SessionKey,
    ledger: &Ledger,
    folder: &Path,
) -> Result<bool, ArchiveError> {
    let is_below = |(name, record): &(&StoredName, &Record)| {
        record.proof != Proof::Unproven && relative_path(key, name).starts_with(folder)
    };
    match ledger.records().find(is_below) {
        Some((name, _)) => archive.has(key, name),
        None => Ok(false),
    }
}
