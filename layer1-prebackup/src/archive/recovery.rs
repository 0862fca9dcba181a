//! Opening a session for writing: what a killed run left is synced, finished or undone first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::ledger::{Entry, Intent, Ledger, Record};
use super::paths::{QUARANTINE, ledger_name, project_folder};
use super::rebuild_ledger::{rebuild, record_of_slot};
use super::removal;
use super::session::{OpenSession, SessionLock, was_left_clean};
use super::slot::Slot;
use super::store::Archive;
use super::types::{ArchiveError, SessionKey, Verification};
use crate::fs;
use crate::names::{SessionId, StoredName};

impl Archive {
    /// Waits for the session's lock and opens it: see [`OpenSession::open`].
    pub(super) fn open_session(&self, key: &SessionKey) -> Result<OpenSession<'_>, ArchiveError> {
        OpenSession::open(self, key.clone(), SessionLock::wait(self, &key.id)?)
    }

    /// Syncs what a killed run may have left of the sessions of this id, unless the last run that wrote them
    /// finished. For one that was found not to be behind and so is not saved, before it is said to be saved.
    /// Nothing that was begun is finished here.
    pub fn checkpoint(&self, id: &SessionId) -> Result<(), ArchiveError> {
        let Some(state) = self.state_of(id)? else { return Ok(()) };
        self.sync_store()?;
        if was_left_clean(&state)? {
            return Ok(());
        }
        let lock = SessionLock::wait(self, id)?;
        if let Some(key) = self.recorded(id)?.into_iter().next() {
            let ledger = lock.ledger(&key)?;
            let session = OpenSession::as_left(self, key, lock, ledger)?;
            session.sync_what_was_left()?;
            session.finish();
        }
        Ok(())
    }
}

impl<'a> OpenSession<'a> {
    /// Opens the session and finishes or undoes what a killed run had begun. Bookkeeping that is
    /// damaged or lost is rebuilt from the contents, marked unverified.
    pub(super) fn open(archive: &'a Archive, key: SessionKey, lock: SessionLock) -> Result<Self, ArchiveError> {
        let ledger = lock.ledger(&key)?;
        OpenSession::open_with(archive, key, lock, ledger)
    }

    /// [`OpenSession::open`] with the ledger that was read under this lock.
    pub(super) fn open_with(
        archive: &'a Archive,
        key: SessionKey,
        lock: SessionLock,
        ledger: Ledger,
    ) -> Result<Self, ArchiveError> {
        archive.sync_store()?;
        let mut session = OpenSession::as_left(archive, key, lock, ledger)?;
        session.put_foreign_aside()?;
        if !session.is_clean() {
            session.sync_what_was_left()?;
        }
        session.remove_left_temp()?;
        session.finish_intents()?;
        removal::finish(&mut session)?;
        if session.ledger.is_damaged {
            session.keep_damaged_ledger()?;
        }
        if session.ledger.is_damaged || session.ledger.is_empty() {
            session.is_unacknowledged = session.lock.was_left_by_killed(&session.ledger)?;
            rebuild(archive, &session.key, &mut session.ledger)?;
        }
        Ok(session)
    }

    /// Something else may stand in the place of a folder of contents: what belongs there is missing, and comes back into one.
    fn put_foreign_aside(&self) -> Result<(), ArchiveError> {
        let names = self.ledger.records().map(|(name, _)| (self.slot(name).folder(), name));
        for (folder, name) in names.collect::<BTreeMap<PathBuf, &StoredName>>() {
            if self.archive.root.open_beneath(&folder).is_err_and(|error| error.is_not_ours()) {
                self.create_dir_of(name)?;
            }
        }
        Ok(())
    }

    /// A killed run may have written commits and not synced them, or put a content in its place and
    /// not synced that. They are believed from here on, so they are synced first: those of all
    /// sessions under this lock, because it is marked for all of them.
    fn sync_what_was_left(&self) -> Result<(), ArchiveError> {
        let keys = self.archive.recorded(&self.key.id)?;
        for key in &keys {
            match self.lock.state.open_own_file_under_any_names(&ledger_name(key)) {
                Ok(Some(file)) => fs::sync_data(&file, &self.lock.state.path().join(ledger_name(key)))?,
                Ok(None) => continue,
                // It is put aside, and made again.
                Err(error) if error.is_not_ours() => {}
                Err(error) => return Err(error.into()),
            }
            match self.lock.ledger(key) {
                _ if *key == self.key => self.sync_folders(key, &self.ledger)?,
                Ok(ledger) => self.sync_folders(key, &ledger)?,
                // That session's own runs tell of it.
                Err(_) => self.note_failure(),
            }
        }
        if !keys.is_empty() {
            // Their names too: a killed run may have renamed one into place and no more.
            self.lock.state.sync()?;
        }
        Ok(())
    }

    fn sync_folders(&self, key: &SessionKey, ledger: &Ledger) -> Result<(), ArchiveError> {
        let mut folders: BTreeSet<PathBuf> =
            ledger.records().map(|(name, _)| self.archive.slot(key, name).folder()).collect();
        folders.insert(Path::new(QUARANTINE).join(project_folder(key)));
        for folder in folders {
            match self.archive.root.open_beneath(&folder) {
                Ok(Some(dir)) => dir.sync()?,
                // Of another session, or of what was damaged: put aside by whoever writes there.
                Err(error) if !error.is_not_ours() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// What was begun is finished if its rename happened, and forgotten if it did not.
    fn finish_intents(&mut self) -> Result<(), ArchiveError> {
        for (file, intent) in self.ledger.intents() {
            let (Intent::Rotate { to } | Intent::Add { to }) = intent;
            let newest = StoredName::newest(file.clone());
            let target = StoredName { file: file.clone(), generation: to };
            let record = self.ledger.record(&newest).cloned();
            let happened = self.slot(&target).form()?.is_some();
            if happened {
                // The rename is there to be seen; whether it was synced is not.
                for name in [&newest, &target] {
                    if self.slot(name).dir()?.is_some() {
                        self.create_dir_of(name)?.sync()?;
                    }
                }
            }
            let entries = match (happened, intent, record) {
                (true, Intent::Rotate { .. }, record) => {
                    let record = record_of_rotated(self.slot(&target), record)?;
                    vec![Entry::Commit(target, Box::new(record)), Entry::Gone(newest)]
                }
                // Whoever asked for it asks again, and verifies it.
                (true, Intent::Add { .. }, _) => {
                    let found = record_of_slot(self.slot(&target), Verification::Unverified)?;
                    vec![Entry::Commit(target, Box::new(found))]
                }
                (false, _, Some(record)) => vec![Entry::Commit(newest, Box::new(record))],
                (false, _, None) => vec![Entry::Gone(newest)],
            };
            self.commit(&entries)?;
        }
        Ok(())
    }
}

/// The record of what was renamed: its own, whatever the bytes are by now, so that `verify` goes on asking for those
/// that it names; of what is there, if that has all of them and more, or nothing was recorded of it.
fn record_of_rotated(target: Slot<'_>, record: Option<Record>) -> Result<Record, ArchiveError> {
    let Some(known) = record else { return record_of_slot(target, Verification::Found) };
    let found = match record_of_slot(target, Verification::Found) {
        Ok(found) => found,
        Err(error) if target.is_unreadable(&error) => return Ok(known),
        Err(error) => return Err(error),
    };
    let has_more = found.bytes > known.bytes && target.begins_with(&known)?;
    Ok(if has_more { found } else { Record { compressed: found.compressed, ..known } })
}
