//! A session opened for writing: its lock, its ledger, its temporary file.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::FileType;

use super::ledger::{Entry, Ledger};
use super::marks::Marks;
use super::paths::{Form, QUARANTINE, ledger_name, project_folder, session_folder};
use super::slot::Slot;
use super::store::Archive;
use super::synced_folders::holds_verified;
use super::types::{ArchiveError, SessionKey};
use crate::fs::{self, Dir, Lock};
use crate::log::now_ms;
use crate::names::{FileName, SessionId, StoredName};

/// Name of the one temporary file of a session, beside its ledger.
const TEMP_NAME: &str = "new";
const LOCK_NAME: &str = "lock";

/// A session under its lock.
///
/// The lock's clean mark ([`Lock`]) spares the syncs of what an earlier run may have left. It speaks
/// of what is written under this lock alone: the ledgers of the id, and the session's own entries in
/// its folders. Not of the folders themselves: a project's folder, `.state/sessions` and everything
/// above are made by any session's run; see [`super::synced_folders`].
#[derive(Debug)]
pub(super) struct OpenSession<'a> {
    pub(super) archive: &'a Archive,
    pub(super) key: SessionKey,
    pub(super) ledger: Ledger,
    pub(super) lock: SessionLock,
    /// Whether the lock is marked as clean now.
    is_clean: Cell<bool>,
    /// Whether something of this run failed: then it does not end clean.
    has_failed: Cell<bool>,
    /// What the user had forgotten of it.
    pub(super) marks: Rc<Marks>,
    /// The transcript that is being copied, to be recorded with its first commit.
    source: Option<PathBuf>,
    /// Whether its unverified records are of what a killed run left and never acknowledged.
    pub(super) is_unacknowledged: bool,
}

/// The lock of a session id: whoever writes anything of it holds this.
#[derive(Debug)]
pub(super) struct SessionLock {
    lock: Lock,
    /// Where it lies, and the ledgers beside it.
    pub(super) state: Dir,
    /// Whether a run before this one made it.
    was_there: bool,
}

/// [`SessionLock::was_left_by_killed`], for one who only reads.
pub(super) fn was_left_by_killed(archive: &Archive, id: &SessionId, ledger: &Ledger) -> Result<bool, ArchiveError> {
    let Some(state) = archive.root.open_beneath(&session_folder(id))? else { return Ok(false) };
    let was_there = state.stat(OsStr::new(LOCK_NAME))?.is_some();
    Ok(was_there && !ledger.is_damaged && !was_left_clean(&state)?)
}

/// Whether the last run that wrote anything of the sessions whose state lies in `state` finished.
/// To be asked after what it is asked about was read.
pub(super) fn was_left_clean(state: &Dir) -> Result<bool, ArchiveError> {
    Ok(Lock::is_clean_at(state, OsStr::new(LOCK_NAME))?)
}

impl SessionLock {
    /// Waits for the lock of `id`.
    pub(super) fn wait(archive: &Archive, id: &SessionId) -> Result<SessionLock, ArchiveError> {
        let rel = session_folder(id);
        let state = match archive.state_of(id)? {
            Some(state) => state,
            None => archive.synced_dir(&rel, &|_| Ok(false))?,
        };
        let was_there = state.stat(OsStr::new(LOCK_NAME))?.is_some();
        Ok(SessionLock { lock: Lock::wait_in(&state, OsStr::new(LOCK_NAME))?, state, was_there })
    }

    /// Whether what no ledger records was left by a run that was killed before it acknowledged anything of it: that one
    /// made the lock, and took its mark away. Where the bookkeeping was lost there is no lock, or one with its mark.
    pub(super) fn was_left_by_killed(&self, ledger: &Ledger) -> Result<bool, ArchiveError> {
        Ok(self.was_there && !ledger.is_damaged && !self.lock.is_clean()?)
    }

    /// Reads a ledger. Nobody else writes it while the lock is held.
    pub(super) fn ledger(&self, key: &SessionKey) -> Result<Ledger, ArchiveError> {
        Ledger::read(&self.state, key)
    }
}

impl<'a> OpenSession<'a> {
    /// The session as its last run left it; [`super::recovery`] makes one of it that can be written.
    pub(super) fn as_left(
        archive: &'a Archive,
        key: SessionKey,
        lock: SessionLock,
        ledger: Ledger,
    ) -> Result<Self, ArchiveError> {
        let (is_clean, has_failed) = (lock.lock.is_clean()?.into(), Cell::default());
        let forgotten = archive.forgotten(&key.id)?;
        let marks = Rc::new(forgotten.map(|forgotten| forgotten.marks).unwrap_or_default());
        let is_unacknowledged = false;
        Ok(OpenSession { archive, key, ledger, lock, is_clean, has_failed, marks, source: None, is_unacknowledged })
    }

    /// To be called when all that was to be done is done; without it the session is left as one
    /// that a killed run may have left. Nothing that failed in between ends clean.
    pub(super) fn finish(self) {
        if !self.has_failed.get() && !self.is_clean.get() {
            // All is synced with or without the mark; without it the next run syncs some of it again.
            let _ = self.lock.lock.mark_clean();
        }
    }

    /// Something of the session failed, and the run goes on with the rest of it.
    pub(super) fn note_failure(&self) {
        self.has_failed.set(true);
    }

    /// Whether nothing was written since the last run that finished.
    pub(super) fn is_clean(&self) -> bool {
        self.is_clean.get()
    }

    /// Takes the clean mark away. To be called before anything whatever is written.
    pub(super) fn begin_writing(&self) -> Result<(), ArchiveError> {
        if self.is_clean.get() {
            self.lock.lock.mark_unknown()?;
            self.is_clean.set(false);
        }
        Ok(())
    }

    /// The place of one of its contents.
    pub(super) fn slot<'b>(&'b self, name: &'b StoredName) -> Slot<'b> {
        self.archive.slot(&self.key, name)
    }

    /// Where the temporary file lies.
    pub(super) fn temp_path(&self) -> PathBuf {
        self.lock.state.path().join(TEMP_NAME)
    }

    /// Makes the temporary file, empty.
    pub(super) fn create_temp(&self) -> Result<File, ArchiveError> {
        self.begin_writing()?;
        Ok(self.lock.state.create_temp(OsStr::new(TEMP_NAME))?)
    }

    /// Opens the temporary file for reading.
    pub(super) fn open_temp(&self) -> Result<File, ArchiveError> {
        let temp = self.lock.state.open_own_file(OsStr::new(TEMP_NAME))?;
        temp.ok_or_else(|| ArchiveError::damaged(self.temp_path(), "it is gone"))
    }

    /// Removes the temporary file.
    pub(super) fn remove_temp(&self) -> Result<(), ArchiveError> {
        self.begin_writing()?;
        self.lock.state.remove(OsStr::new(TEMP_NAME))?;
        Ok(())
    }

    /// Removes the temporary file of a run that was killed.
    pub(super) fn remove_left_temp(&self) -> Result<(), ArchiveError> {
        let name = OsStr::new(TEMP_NAME);
        if self.lock.state.is_taken(name)? {
            self.begin_writing()?;
            return Ok(self.lock.state.move_aside(name, FileType::RegularFile)?);
        }
        if self.lock.state.stat(name)?.is_some() { self.remove_temp() } else { Ok(()) }
    }

    /// Renames the temporary file to `name`, where nothing may stand, and syncs that. Its old name is left
    /// unsynced: should it come back, the next run removes it.
    pub(super) fn place_temp(&self, name: &StoredName) -> Result<(), ArchiveError> {
        self.place_temp_as(&self.create_dir_of(name)?, &self.slot(name).file_name(Form::Plain))
    }

    /// Renames the temporary file to `name`, whose bytes it has, over what stands there, and syncs both names.
    pub(super) fn place_temp_over(&self, name: &StoredName) -> Result<(), ArchiveError> {
        let (dir, name) = (self.create_dir_of(name)?, self.slot(name).file_name(Form::Plain));
        Ok(self.lock.state.rename_over(OsStr::new(TEMP_NAME), &dir, &name)?)
    }

    /// As [`OpenSession::place_temp`], to a name in a directory that [`OpenSession::create_dir_of`] gave.
    pub(super) fn place_temp_as(&self, dir: &Dir, name: &OsStr) -> Result<(), ArchiveError> {
        Ok(self.lock.state.place_new(OsStr::new(TEMP_NAME), dir, name)?)
    }

    /// Unlinks the ledger: nothing is known of the session any more.
    pub(super) fn remove_ledger(&mut self) -> Result<(), ArchiveError> {
        self.begin_writing()?;
        self.lock.state.remove(&ledger_name(&self.key))?;
        // What a killed run unlinked there may not be synced.
        self.lock.state.sync()?;
        self.ledger = Ledger::default();
        Ok(())
    }

    /// A damaged ledger is about to be replaced; what it said is kept in quarantine.
    pub(super) fn keep_damaged_ledger(&self) -> Result<(), ArchiveError> {
        let text = match Ledger::text(&self.lock.state, &self.key) {
            Ok(None) => return Ok(()),
            // A second name: nothing of another's file is copied either.
            Ok(Some(_)) if self.lock.state.is_taken(&ledger_name(&self.key))? => None,
            Ok(Some(text)) => Some(text),
            // No ledger was ever like it: it is not read, but goes there as it stands.
            Err(ArchiveError::Durable(error)) if error.is_not_ours() => None,
            Err(error) => return Err(error),
        };
        self.begin_writing()?;
        let folder = Path::new(QUARANTINE).join(project_folder(&self.key));
        let quarantine = self.archive.synced_dir(&folder, &|_| Ok(false))?;
        let name = |hash: &str| format!("{}.ledger.{hash}", self.key.id);
        if let Some(text) = text {
            let digest = blake3::hash(&text).to_hex();
            return Ok(quarantine.replace_file(OsStr::new(&name(&digest[..8])), &text)?);
        }
        let mut number = now_ms();
        while quarantine.stat(OsStr::new(&name(&format!("{number:x}"))))?.is_some() {
            number += 1;
        }
        let aside = name(&format!("{number:x}"));
        Ok(self.lock.state.rename_new(&ledger_name(&self.key), &quarantine, OsStr::new(&aside))?)
    }

    /// Writes ledger entries durably.
    pub(super) fn commit(&mut self, entries: &[Entry]) -> Result<(), ArchiveError> {
        self.begin_writing()?;
        if self.ledger.is_unwritten() {
            // Where there is a ledger, whoever put it there had seen to its folder.
            self.archive.synced_dir(&session_folder(&self.key.id), &|_| Ok(false))?;
        }
        let newest = StoredName::newest(FileName::Transcript);
        let is_copied = entries.iter().any(|entry| matches!(entry, Entry::Commit(name, _) if *name == newest));
        let source = self.source.take_if(|_| is_copied).map(Entry::Source);
        let entries: Vec<Entry> = source.into_iter().chain(entries.iter().cloned()).collect();
        self.ledger.write(&self.lock.state, &self.key, &entries).inspect_err(|_| self.has_failed.set(true))
    }

    /// Records with the next commit of the transcript that it was copied from `source`.
    pub(super) fn note_source(&mut self, source: &Path) {
        self.source = Some(source.to_owned());
    }

    /// Records what [`OpenSession::note_source`] was told, if no commit has.
    pub(super) fn commit_source(&mut self) -> Result<(), ArchiveError> {
        match self.source.take() {
            Some(source) => self.commit(&[Entry::Source(source)]),
            None => Ok(()),
        }
    }

    /// The directory that holds `name`, made where it is missing.
    pub(super) fn create_dir_of(&self, name: &StoredName) -> Result<Dir, ArchiveError> {
        self.begin_writing()?;
        let is_verified = |folder: &Path| holds_verified(self.archive, &self.key, &self.ledger, folder);
        self.archive.synced_dir(&self.slot(name).folder(), &is_verified)
    }

    /// Syncs the files that a content lies in and their names, where nobody can say whether they ever were.
    pub(super) fn sync_content(&self, name: &StoredName) -> Result<(), ArchiveError> {
        let dir = self.create_dir_of(name)?;
        for form in [Form::Plain, Form::Compressed] {
            if let Some(file) = self.slot(name).open_as(form)? {
                fs::sync_data(&file, &self.slot(name).path_as(form))?;
            }
        }
        Ok(dir.sync()?)
    }

    /// Opens a content for reading and writing; `None` where it does not exist.
    pub(super) fn open_for_writing(&self, name: &StoredName) -> Result<Option<File>, ArchiveError> {
        self.begin_writing()?;
        let slot = self.slot(name);
        match slot.dir()? {
            Some(dir) => Ok(dir.open_own_file_for_writing(&slot.file_name(Form::Plain))?),
            None => Ok(None),
        }
    }
}
