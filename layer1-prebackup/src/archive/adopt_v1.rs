//! Taking in what another program wrote into a store, as it stands: nothing is moved, and no byte changes.

use std::path::Path;

use super::append::{self, Source};
use super::ledger::{Entry, Record};
use super::save::is_covered;
use super::session::{OpenSession, SessionLock};
use super::store::Archive;
use super::types::{ArchiveError, Compare, SessionKey, Verification};
use crate::claude::transcripts;
use crate::fs;
use crate::names::FileName;

/// What becomes of a transcript that is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenInAs {
    /// The newest content; what stood there becomes a generation.
    Newest,
    /// An older content.
    Older,
}

impl Archive {
    /// Records what lies in a session's place and has no record, as found there: for what another
    /// program wrote and kept no record of. From then on a byte that changes is noticed. The contents are
    /// synced first: nobody knows whether they ever were.
    pub fn record_found(&self, key: &SessionKey) -> Result<(), ArchiveError> {
        let lock = SessionLock::wait(self, &key.id)?;
        let known = self.ledger(key)?;
        if !known.is_empty() || known.is_damaged {
            return Ok(());
        }
        // Opening rebuilds the records, unverified, from the contents.
        let mut session = OpenSession::open(self, key.clone(), lock)?;
        let mut entries = Vec::new();
        for (name, record) in session.ledger.records() {
            session.sync_content(name)?;
            let record = Record { verification: Verification::Found, ..record.clone() };
            entries.push(Entry::Commit(name.clone(), Box::new(record)));
        }
        if !entries.is_empty() {
            session.commit(&entries)?;
        }
        session.finish();
        Ok(())
    }

    /// Copies a transcript that another program left under a name of its own into the session,
    /// unless a content of it begins with these bytes. The file itself stays as it is.
    pub fn take_in(&self, key: &SessionKey, path: &Path, taken_in: TakenInAs) -> Result<(), ArchiveError> {
        let Some(file) = transcripts::open_regular(path)? else { return Ok(()) };
        let bytes = fs::stat_of(&file, path)?.st_size as u64;
        let blake3 = fs::hash_of_prefix(&file, bytes, path)?;
        let mut session = self.open_session(key)?;
        if self.is_forgotten(&key.id)? {
            return Ok(());
        }
        let transcript = FileName::Transcript;
        if bytes > 0 && !is_covered(self, key, &session.ledger, &transcript, bytes, &blake3, &|_| {})? {
            let open = || Ok(transcripts::open_regular(path)?);
            let (marks, dir) = (session.marks.clone(), session.archive.root());
            let source = Source { path, open: &open, may_lag: false, in_versions: false, marks: &marks, dir };
            match taken_in {
                TakenInAs::Newest => drop(append::save(&mut session, &transcript, &source, Compare::Whole, &|_| {})?),
                TakenInAs::Older => append::add_generation(&mut session, &transcript, &source, bytes)?,
            }
        }
        session.finish();
        Ok(())
    }
}
