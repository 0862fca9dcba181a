//! Taking in what another program wrote into a store, as it stands: nothing is moved, and no byte changes.

use std::path::Path;

use super::append::{self, Source};
use super::ledger::Entry;
use super::save::is_covered;
use super::session::{OpenSession, SessionLock};
use super::{Archive, ArchiveError, Compare, Proof, SessionKey};
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

/// Records each content of a session that has no ledger, as something that was found. They are
/// synced first: nobody knows whether they ever were.
pub(super) fn record_found(archive: &Archive, key: &SessionKey) -> Result<(), ArchiveError> {
    let lock = SessionLock::wait(archive, &key.id)?;
    let known = archive.ledger(key)?;
    if !known.is_empty() || known.is_damaged {
        return Ok(());
    }
    // Opening rebuilds the records, unproven, from the contents.
    let mut session = OpenSession::open(archive, key.clone(), lock)?;
    let found: Vec<_> = session.ledger.records().map(|(name, record)| (name.clone(), record.clone())).collect();
    let mut entries = Vec::with_capacity(found.len());
    for (name, mut record) in found {
        archive.sync_content(key, &name)?;
        session.create_dir_of(&name)?.sync()?;
        record.proof = Proof::Found;
        entries.push(Entry::Commit(name, Box::new(record)));
    }
    if !entries.is_empty() {
        session.commit(&entries)?;
    }
    session.finish();
    Ok(())
}

/// Copies the transcript at `path` into the session, unless a content of it begins with these bytes.
pub(super) fn take_in(
    archive: &Archive,
    key: &SessionKey,
    path: &Path,
    taken_in: TakenInAs,
) -> Result<(), ArchiveError> {
    let Some(file) = transcripts::open_regular(path)? else { return Ok(()) };
    let bytes = fs::stat_of(&file, path)?.st_size as u64;
    let blake3 = fs::hash_of_prefix(&file, bytes, path)?;
    let lock = SessionLock::wait(archive, &key.id)?;
    let mut session = OpenSession::open(archive, key.clone(), lock)?;
    let transcript = FileName::Transcript;
    if bytes == 0 || is_covered(archive, key, &session.ledger, &transcript, bytes, &blake3, &|_| {})? {
        session.finish();
        return Ok(());
    }
    let open = || Ok(transcripts::open_regular(path)?);
    let source = Source { path, open: &open, may_lag: false };
    match taken_in {
        TakenInAs::Newest => drop(append::save(&mut session, &transcript, &source, Compare::Whole, &|_| {})?),
        TakenInAs::Older => append::add_generation(&mut session, &transcript, &source, bytes)?,
    }
    session.finish();
    Ok(())
}
