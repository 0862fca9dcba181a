//! Finding the sessions of a store, and what is recorded of them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::ledger::{self, StoredFile};
use super::paths::{Form, SESSIONS, content_file_name, session_folder, session_of_entry};
use super::rebuild_ledger::rebuild;
use super::store::{Archive, is_forbidden};
use super::types::{ArchiveError, SessionKey};
use crate::names::{FileName, SessionId, StoredName};

impl Archive {
    /// All sessions, by project and id. One that cannot be read is among them where anything tells of it.
    pub fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError> {
        let mut keys = BTreeSet::new();
        for (project, dir) in self.project_folders()? {
            let entries = match dir.entries() {
                Err(error) if is_forbidden(&error) => continue,
                entries => entries?,
            };
            let ids = entries.into_iter().filter_map(|(entry, kind)| session_of_entry(&entry, kind));
            keys.extend(ids.map(|id| SessionKey { project: project.clone(), id }));
        }
        if let Some(sessions) = self.root.open_beneath(Path::new(SESSIONS))? {
            for (entry, _) in sessions.entries()? {
                if let Some(id) = entry.to_str().and_then(|text| SessionId::parse(text).ok()) {
                    match self.recorded(&id) {
                        Err(ArchiveError::Durable(error)) if is_forbidden(&error) => {}
                        recorded => keys.extend(recorded?),
                    }
                }
            }
        }
        Ok(keys.into_iter().collect())
    }

    /// One session, or all.
    pub(super) fn those_or_all(&self, only: Option<&SessionKey>) -> Result<Vec<SessionKey>, ArchiveError> {
        only.map_or_else(|| self.sessions(), |key| Ok(vec![key.clone()]))
    }

    /// The sessions with this id that the bookkeeping knows: those whose source is known are among them.
    pub fn recorded(&self, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
        match self.root.open_beneath(&session_folder(id))? {
            Some(state) => ledger::keys_in(&state, id),
            None => Ok(Vec::new()),
        }
    }

    /// The sessions with this id; more than one only when two sources bore it.
    pub fn find(&self, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
        let keys = self.recorded(id)?;
        if keys.is_empty() { self.find_without_ledger(id) } else { Ok(keys) }
    }

    pub(super) fn find_without_ledger(&self, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
        let newest = StoredName::newest(FileName::Transcript);
        let first = StoredName { file: FileName::Transcript, generation: 1 };
        let mut keys = Vec::new();
        for (project, dir) in self.project_folders()? {
            let key = SessionKey { project, id: id.clone() };
            // Every folder is looked at for every session that is new, so each is opened once.
            let is_there = |name: &OsString| Ok::<_, ArchiveError>(dir.stat(name)?.is_some());
            for name in [&newest, &first] {
                let forms = [Form::Plain, Form::Compressed].map(|form| content_file_name(&key, name, form));
                if is_there(&forms[0])? || is_there(&forms[1])? {
                    keys.push(key);
                    break;
                }
            }
        }
        Ok(keys)
    }

    /// The stored session whose recorded source is `transcript`, else the session of that id if it is the only one.
    pub fn session_of(&self, id: &SessionId, transcript: &Path) -> Result<Option<SessionKey>, ArchiveError> {
        self.session_among(self.find(id)?, transcript)
    }

    /// [`Archive::session_of`] of these, which bear its id.
    pub(super) fn session_among(
        &self,
        known: Vec<SessionKey>,
        transcript: &Path,
    ) -> Result<Option<SessionKey>, ArchiveError> {
        for key in &known {
            if self.source_of(key)?.as_deref() == Some(transcript) {
                return Ok(Some(key.clone()));
            }
        }
        Ok(if known.len() == 1 { known.into_iter().next() } else { None })
    }

    /// Everything committed of a session: newest contents and older generations, transcript first.
    /// Where the bookkeeping is lost or damaged, what lies on the disk is hashed and given as unverified.
    pub fn files(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError> {
        let mut ledger = self.ledger(key)?;
        if ledger.is_empty() || ledger.is_damaged {
            rebuild(self, key, &mut ledger)?;
        }
        Ok(ledger.stored_files(key))
    }

    /// The transcript that the session was last copied from.
    pub fn source_of(&self, key: &SessionKey) -> Result<Option<PathBuf>, ArchiveError> {
        Ok(self.ledger(key)?.source)
    }
}
