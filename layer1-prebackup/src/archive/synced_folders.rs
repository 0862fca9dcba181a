//! The folders of a store, and that their names are on the disk before anything in them is spoken of.
//!
//! A content is safe when its bytes are, and every name from the root of the file system down to it.
//! Whoever makes a folder syncs its name at once; what remains are the folders that a killed run, of any
//! session, made and did not sync. A time stamp cannot rule that out. Only these can:
//!
//! * It was seen to already, through the same [`Archive`].
//! * A content that a ledger records as verified stands in it or below: whoever committed that had seen to its
//!   folders. (If the folder was removed in the meantime and made again, the content is not there.) An unverified
//!   record says nothing.
//! * For the store itself and all above: the mark of the store's lock. Where it is not there, everything up to the
//!   root of the file system is synced, and then it is.
//!
//! Otherwise the folder above it is synced. So a store that was made for good costs no sync above its root, and
//! the first copy of a session one for each folder that it did not make.
//!
//! The clean mark of a session's lock is no reason: the folders are not that session's alone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::ledger::{Ledger, Record};
use super::paths::{Form, STATE, STORE_FILE, STORE_LOCK, content_path, project_folder};
use super::store::Archive;
use super::types::{ArchiveError, SessionKey};
use crate::fs::{Dir, Lock};
use crate::names::StoredName;

impl Archive {
    /// The folder of a session, made where it is missing, for a file beside its contents: its name and
    /// all above are synced.
    pub fn folder_of(&self, key: &SessionKey) -> Result<Dir, ArchiveError> {
        let is_verified = |folder: &Path| holds_verified(self, key, &self.ledger(key)?, folder);
        self.synced_dir(project_folder(key), &is_verified)
    }

    /// Makes sure, once, that the store itself is on the disk: a killed run may have made it and no more.
    pub(super) fn sync_store(&self) -> Result<(), ArchiveError> {
        if self.synced.has_store.get() {
            return Ok(());
        }
        if !self.was_made_for_good()? {
            // Held meanwhile, so that nobody writes between the syncs and the mark. Whoever holds it makes the
            // store, and sets the mark.
            let name = Path::new(STORE_LOCK).file_name().unwrap_or(OsStr::new(STORE_LOCK));
            let lock = Lock::try_in(&self.state()?, name)?;
            self.root.open_beneath(Path::new(STATE))?.as_ref().unwrap_or(&self.root).sync_way_up()?;
            if let Some(lock) = lock.filter(|_| self.has_store_file().is_ok_and(|has| has)) {
                // Without the mark the next run makes sure of it again.
                let _ = lock.mark_clean();
            }
        }
        self.synced.has_store.set(true);
        self.synced.known.borrow_mut().insert(PathBuf::from(STATE));
        Ok(())
    }

    /// Opens the folder `rel` of the store, made where it is missing; its name and all above are synced
    /// when this returns. `is_verified` is asked of a folder whether a verified content stands in it or below.
    pub(crate) fn synced_dir(
        &self,
        rel: &Path,
        is_verified: &dyn Fn(&Path) -> Result<bool, ArchiveError>,
    ) -> Result<Dir, ArchiveError> {
        self.sync_store()?;
        let known = &self.synced.known;
        let mut at = PathBuf::new();
        let mut below: Option<Dir> = None;
        for name in rel.iter() {
            let above = below.as_ref().unwrap_or(&self.root);
            at.push(name);
            let (dir, is_new) = match above.create_child(name) {
                Err(error) if error.is_not_ours() => {
                    above.move_aside(name, FileType::Directory)?;
                    above.create_child(name)?
                }
                made => made?,
            };
            let is_safe = is_new || known.borrow().contains(&at) || is_verified(&at)?;
            if !is_safe {
                above.sync()?;
            }
            known.borrow_mut().insert(at.clone());
            below = Some(dir);
        }
        below.map_or_else(|| Ok(self.root.create_beneath(rel)?), Ok)
    }

    /// Syncs the names in the projects' folders, for those that a killed run may have left.
    pub fn sync_project_folders(&self) -> Result<(), ArchiveError> {
        Ok(self.project_folders()?.iter().try_for_each(|(_, dir)| dir.sync())?)
    }

    fn was_made_for_good(&self) -> Result<bool, ArchiveError> {
        let Some(state) = self.root.open_beneath(Path::new(STATE))? else { return Ok(false) };
        let lock = Path::new(STORE_LOCK).file_name().unwrap_or(OsStr::new(STORE_LOCK));
        Ok(self.has_store_file()? && Lock::is_clean_at(&state, lock)?)
    }

    pub(super) fn has_store_file(&self) -> Result<bool, ArchiveError> {
        match self.stat(Path::new(STORE_FILE)) {
            Err(ArchiveError::Durable(error)) if error.is_not_ours() => Ok(false),
            stat => Ok(stat?.is_some()),
        }
    }
}

/// Whether a content that the ledger records as verified stands in a folder of the store, or below it.
pub(super) fn holds_verified(
    archive: &Archive,
    key: &SessionKey,
    ledger: &Ledger,
    folder: &Path,
) -> Result<bool, ArchiveError> {
    let is_below = |(name, record): &(&StoredName, &Record)| {
        record.is_proven() && content_path(key, name, Form::Plain).starts_with(folder)
    };
    let Some((name, _)) = ledger.records().find(is_below) else { return Ok(false) };
    match archive.slot(key, name).form() {
        // Something else stands in the place of a folder below.
        Err(ArchiveError::Durable(error)) if error.is_not_ours() => Ok(false),
        form => Ok(form?.is_some()),
    }
}
