//! Removing by the user's command: older generations, whole sessions, what a repair put in quarantine.
//!
//! What is to go is written into the ledger first, synced: from then on it counts as gone for every
//! reader, and the rest is only unlinking ([`super::removal`]). So a run that is killed leaves either all of
//! it or a removal that was begun; the same command, or whoever opens the session next, finishes that.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::{Entry, Ledger, Record, StoredFile};
use super::rebuild_ledger::unrecorded;
use super::removal::{Quarantined, finish, quarantined, unlink};
use super::session::{OpenSession, SessionLock};
use super::store::Archive;
use super::types::{ArchiveError, SessionKey, Verification};
use crate::Hash;
use crate::fs;
use crate::names::StoredName;

/// An older content whose bytes stay in the same store without it.
#[derive(Debug, Clone)]
pub struct Superseded {
    /// The content.
    pub file: StoredFile,
    /// The content that begins with all of its bytes and stays: both were just read and hashed.
    pub by: StoredName,
}

/// Why contents may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneReason {
    /// Only what is [`Superseded`] goes; that is proven again before.
    Superseded,
    /// The user named them: they go, whether or not anything else has their bytes.
    Named,
}

impl Archive {
    /// The older contents among those that `may_go` whose bytes another content of the same file
    /// begins with, which stays. Everything that is said of them was read and hashed just now.
    /// Writes nothing.
    pub fn superseded(
        &self,
        key: &SessionKey,
        may_go: &dyn Fn(&StoredFile) -> bool,
    ) -> Result<Vec<Superseded>, ArchiveError> {
        superseded(self, key, &self.ledger(key)?, may_go)
    }

    /// Removes older contents of a session for good: those of `wanted` that are still as they are
    /// described there. Gives those that went; what did not stays untouched. With
    /// [`PruneReason::Named`], gaps between the generations of these files count as removed too. What counts as
    /// gone already and was not unlinked is unlinked, also where nothing is wanted.
    pub fn prune_generations(
        &self,
        key: &SessionKey,
        wanted: &[StoredFile],
        grounds: PruneReason,
    ) -> Result<Vec<StoredFile>, ArchiveError> {
        let mut session = self.open_session(key)?;
        let is_as_shown = |file: &StoredFile| {
            let record = session.ledger.record(&file.name);
            file.name.generation > 0 && record.is_some_and(|r| (r.bytes, r.blake3) == (file.bytes, file.blake3))
        };
        let shown: Vec<StoredFile> = wanted.iter().filter(|file| is_as_shown(file)).cloned().collect();
        let going = match grounds {
            PruneReason::Named => shown,
            PruneReason::Superseded => {
                let may_go = |file: &StoredFile| shown.iter().any(|shown| shown.name == file.name);
                superseded(self, key, &session.ledger, &may_go)?.into_iter().map(|found| found.file).collect()
            }
        };
        let mut names: Vec<StoredName> = going.iter().map(|file| file.name.clone()).collect();
        if grounds == PruneReason::Named {
            names.extend(session.ledger.gaps());
        }
        if !names.is_empty() {
            session.commit(&names.into_iter().map(Entry::Prune).collect::<Vec<_>>())?;
            finish(&mut session)?;
        }
        session.finish();
        Ok(going)
    }

    /// Removes all that the store holds of a session, for good: contents, metadata, journals, what
    /// is in quarantine, and the bookkeeping; the lock's empty file stays. `shown` is what the user was
    /// shown: if other contents are there by now, nothing is removed and the answer is false.
    /// `between` runs when the session counts as gone and is still there: for an index. What it gives is
    /// held until everything is unlinked: for a lock that is taken after the session's.
    pub fn prune_session<E: From<ArchiveError>, H>(
        &self,
        key: &SessionKey,
        shown: &[StoredFile],
        between: impl FnOnce() -> Result<H, E>,
    ) -> Result<bool, E> {
        let lock = SessionLock::wait(self, &key.id)?;
        if self.ledger(key)?.is_going {
            let _held = between()?;
            OpenSession::open(self, key.clone(), lock)?.finish();
            return Ok(true);
        }
        let mut session = OpenSession::open(self, key.clone(), lock)?;
        let of_now: Vec<_> = session.ledger.records().map(|(name, r)| (name.clone(), r.bytes, r.blake3)).collect();
        if of_now != shown.iter().map(|file| (file.name.clone(), file.bytes, file.blake3)).collect::<Vec<_>>() {
            return Ok(false);
        }
        // Nobody was shown what no record names.
        if let Some(name) = unrecorded(self, key, &session.ledger)?.into_iter().next() {
            let what = "no commit is recorded for it, so it was not shown; `verify --repair` records it".to_owned();
            return Err(ArchiveError::Damaged { path: self.slot(key, &name).path(), what }.into());
        }
        session.commit(&[Entry::PruneAll])?;
        let _held = between()?;
        finish(&mut session)?;
        session.finish();
        Ok(true)
    }

    /// Whether a removal of the whole session was begun and not finished.
    pub fn is_being_pruned(&self, key: &SessionKey) -> Result<bool, ArchiveError> {
        Ok(self.ledger(key)?.is_going)
    }

    /// Whether [`Archive::prune_generations`] was killed before it had unlinked what counts as gone.
    pub fn has_unfinished_removals(&self, key: &SessionKey) -> Result<bool, ArchiveError> {
        let ledger = self.ledger(key)?;
        Ok(!ledger.is_going && !ledger.to_unlink().is_empty())
    }

    /// What repairs put in quarantine of a session although all that is recorded of it is whole by now: each
    /// recorded content was read and hashed just now. Empty where anything is wrong.
    pub fn healed_quarantine(&self, key: &SessionKey) -> Result<Vec<Quarantined>, ArchiveError> {
        let files = quarantined(self, key)?;
        if files.is_empty() || !is_whole(self, key, &self.ledger(key)?)? {
            return Ok(Vec::new());
        }
        Ok(files)
    }

    /// Removes what is in quarantine, if the session is still whole: see [`Archive::healed_quarantine`].
    /// Gives what went.
    pub fn prune_quarantine(&self, key: &SessionKey, wanted: &[Quarantined]) -> Result<Vec<Quarantined>, ArchiveError> {
        let session = self.open_session(key)?;
        let mut going = self.healed_quarantine(key)?;
        going.retain(|file| wanted.contains(file));
        session.begin_writing()?;
        for file in &going {
            unlink(session.archive, &file.path)?;
        }
        session.finish();
        Ok(going)
    }
}

fn superseded(
    archive: &Archive,
    key: &SessionKey,
    ledger: &Ledger,
    may_go: &dyn Fn(&StoredFile) -> bool,
) -> Result<Vec<Superseded>, ArchiveError> {
    let mut found = Vec::new();
    for file in ledger.files() {
        let records: Vec<(&StoredName, &Record)> = ledger.records_of(file).collect();
        let reader = Reader { archive, key, records: &records };
        let mut intact = BTreeMap::new();
        let mut going = BTreeSet::new();
        for (name, record) in &records {
            let stored = StoredFile::of(name, record, key);
            if name.generation == 0 || !may_go(&stored) || !reader.is_intact(name, record, &mut intact)? {
                continue;
            }
            if reader.cover_of(name, record, &going, &mut intact)?.is_some() {
                going.insert((*name).clone());
            }
        }
        for (name, record) in records.iter().filter(|(name, _)| going.contains(*name)) {
            // What covered it may itself be going; then what covers that one covers both.
            if let Some(by) = reader.cover_of(name, record, &going, &mut intact)? {
                found.push(Superseded { file: StoredFile::of(name, record, key), by });
            }
        }
    }
    Ok(found)
}

/// Looks at the contents of one file of a session.
struct Reader<'a> {
    archive: &'a Archive,
    key: &'a SessionKey,
    records: &'a [(&'a StoredName, &'a Record)],
}

impl Reader<'_> {
    /// A content that does not go, is whole, and begins with the bytes of `record`.
    fn cover_of(
        &self,
        name: &StoredName,
        record: &Record,
        going: &BTreeSet<StoredName>,
        intact: &mut BTreeMap<StoredName, bool>,
    ) -> Result<Option<StoredName>, ArchiveError> {
        // The newest first, then the latest generation.
        let (newest, older): (Vec<_>, Vec<_>) = self.records.iter().partition(|(other, _)| other.generation == 0);
        for (other, content) in newest.into_iter().chain(older.into_iter().rev()) {
            let may_cover = other != name
                && !going.contains(other)
                && content.bytes >= record.bytes
                && content.verification != Verification::Unverified;
            if !may_cover || !self.is_intact(other, content, intact)? {
                continue;
            }
            if self.hash(other, record.bytes)? == record.blake3 {
                return Ok(Some(other.clone()));
            }
        }
        Ok(None)
    }

    /// Whether the file holds exactly what is recorded of it.
    fn is_intact(
        &self,
        name: &StoredName,
        record: &Record,
        known: &mut BTreeMap<StoredName, bool>,
    ) -> Result<bool, ArchiveError> {
        if let Some(known) = known.get(name) {
            return Ok(*known);
        }
        let is_intact = self.archive.slot(self.key, name).is_exact(record)?;
        known.insert(name.clone(), is_intact);
        Ok(is_intact)
    }

    fn hash(&self, name: &StoredName, bytes: u64) -> Result<Hash, ArchiveError> {
        let slot = self.archive.slot(self.key, name);
        Ok(fs::hash_of_prefix(&slot.open()?, bytes, &slot.path())?)
    }
}

/// Whether everything recorded of a session is there as recorded, and proven.
fn is_whole(archive: &Archive, key: &SessionKey, ledger: &Ledger) -> Result<bool, ArchiveError> {
    if ledger.is_damaged || ledger.records().next().is_none() || !ledger.gaps().is_empty() {
        return Ok(false);
    }
    for (name, record) in ledger.records() {
        if !record.is_proven() || !archive.slot(key, name).is_exact(record)? {
            return Ok(false);
        }
    }
    Ok(true)
}
