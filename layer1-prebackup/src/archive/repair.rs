//! `verify --repair`: a damaged, missing or unverified content is healed from the source, from the
//! other store or from another generation, wherever the recorded hash is met. What is replaced moves
//! to quarantine and is never dropped.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::append::{self, Source};
use super::compress::resolve_forms;
use super::ledger::{Entry, Record};
use super::paths::Form;
use super::quarantine::quarantine;
use super::rebuild_ledger::{contents_on_disk, record_of_slot, unrecorded, windows_of};
use super::session::{OpenSession, SessionLock};
use super::store::Archive;
use super::types::{ArchiveError, SessionKey, Verification};
use crate::claude::side_files;
use crate::fs;
use crate::names::{FileName, SessionId, StoredName};

/// What `repair` did about one content.
#[derive(Debug, Clone)]
pub struct Repair {
    /// The session.
    pub key: SessionKey,
    /// The content.
    pub path: String,
    /// Whether it is well now.
    pub healed: bool,
    /// For people: what was done, or why nothing could be.
    pub detail: String,
}

/// Bytes that may be the right ones.
enum Candidate<'a> {
    /// A content of a store.
    Stored(&'a Archive, SessionKey, StoredName),
    /// The transcript that the session was copied from, and which of its files is meant.
    Original(PathBuf, FileName),
}

impl Archive {
    /// Heals what [`Archive::verify`] finds, from the source, from `other`, or from another
    /// generation, wherever the recorded hash is met; says what it did about each content. What it
    /// replaces moves to `.state/damaged/`.
    pub fn repair(&self, only: Option<&SessionKey>, other: Option<&Archive>) -> Result<Vec<Repair>, ArchiveError> {
        let mut repairs = Vec::new();
        let (mut moved, mut keys) = (Vec::new(), BTreeSet::new());
        for key in self.those_or_all(only)? {
            // Of one that cannot be looked at, its own repair tells that.
            if self.is_moved(&key).unwrap_or(false) {
                // It is put back where it is recorded.
                keys.extend(self.recorded(&key.id).unwrap_or_default());
                moved.push(key);
            } else {
                keys.insert(key);
            }
        }
        for key in keys {
            self.repair_or_tell(key, other, &mut repairs);
        }
        for key in moved {
            // What could not be put back is all that is left.
            if self.is_moved(&key).unwrap_or(true) {
                self.repair_or_tell(key, other, &mut repairs);
            }
        }
        for key in repairs.iter().map(|repair| &repair.key).collect::<BTreeSet<_>>() {
            let healed = repairs.iter().filter(|repair| repair.healed && repair.key == *key);
            // What cannot be taken back now, the next verification takes back.
            let _ = self.were_healed(key, &healed.map(|repair| repair.path.as_str()).collect());
        }
        Ok(repairs)
    }

    fn repair_or_tell(&self, key: SessionKey, other: Option<&Archive>, repairs: &mut Vec<Repair>) {
        if let Err(error) = self.repair_one(&key, other, repairs) {
            let path = StoredName::newest(FileName::Transcript).to_text(&key.id);
            repairs.push(Repair { key, path, healed: false, detail: format!("failed to {error}") });
        }
    }

    fn repair_one(
        &self,
        key: &SessionKey,
        other: Option<&Archive>,
        repairs: &mut Vec<Repair>,
    ) -> Result<(), ArchiveError> {
        let lock = SessionLock::wait(self, &key.id)?;
        // Opening it would finish its removal without layer 3's index: `prune` does that.
        if self.ledger(key)?.is_going {
            return Ok(());
        }
        let mut session = OpenSession::open(self, key.clone(), lock)?;
        repair_session(&mut session, other, repairs)?;
        session.finish();
        Ok(())
    }
}

fn repair_session<'a>(
    session: &mut OpenSession<'a>,
    other: Option<&'a Archive>,
    repairs: &mut Vec<Repair>,
) -> Result<(), ArchiveError> {
    for name in unrecorded(session.archive, &session.key, &session.ledger)? {
        match record_of_slot(session.slot(&name), Verification::Unverified) {
            Ok(record) => session.commit(&[Entry::Commit(name, Box::new(record))])?,
            Err(error) => {
                session.note_failure();
                push(session, repairs, &name, (false, format!("no commit is recorded for it; failed to {error}")));
            }
        }
    }
    let records: Vec<(StoredName, Record)> =
        session.ledger.records().map(|(name, record)| (name.clone(), record.clone())).collect();
    for (name, record) in records {
        // One content that cannot be healed must not keep the others from it.
        match heal(session, other, &name, record) {
            Ok(None) => {}
            Ok(Some(outcome)) => push(session, repairs, &name, outcome),
            Err(error) => {
                session.note_failure();
                push(session, repairs, &name, (false, format!("failed to {error}")));
            }
        }
    }
    for name in session.ledger.gaps() {
        let outcome = fill_gap(session, other, &name)?;
        push(session, repairs, &name, outcome);
    }
    Ok(())
}

fn heal<'a>(
    session: &mut OpenSession<'a>,
    other: Option<&'a Archive>,
    name: &StoredName,
    record: Record,
) -> Result<Option<(bool, String)>, ArchiveError> {
    let mut state = state_of(session, other, name, &record)?;
    if matches!(state, State::Wrong) {
        // A compressed file beside it, which a killed run left, may be whole.
        resolve_forms(session, name, &record)?;
        state = state_of(session, other, name, &record)?;
        if matches!(state, State::Exact) && record.is_proven() {
            let detail = "restored from its compressed file; what stood there is in .state/damaged".to_owned();
            return Ok(Some((true, detail)));
        }
    }
    // A claim of a damaged ledger, of which a later line may be lost.
    if matches!(state, State::Wrong)
        && !record.is_proven()
        && let Ok(found) = record_of_slot(session.slot(name), Verification::Unverified)
        && let Some(candidate) = right_candidate(session, other, name, &found)?
    {
        session.sync_content(name)?;
        let proven = Record { verification: Verification::Compared, ..found };
        session.commit(&[Entry::Commit(name.clone(), Box::new(proven))])?;
        return Ok(Some((true, format!("recorded anew: it is equal to {}", candidate.path(session).display()))));
    }
    let outcome = match (state, record.verification) {
        (State::Exact, Verification::Unverified) => match prove(session, other, name, record.clone())? {
            (false, _) if session.is_unacknowledged => {
                session.sync_content(name)?;
                let found = Record { verification: Verification::Found, ..record };
                session.commit(&[Entry::Commit(name.clone(), Box::new(found))])?;
                (true, "a run that was killed left it, and nobody was told that it is saved; kept as found".to_owned())
            }
            proven => proven,
        },
        (State::Exact, _) => return Ok(None),
        (State::Windows, _) => refresh_windows(session, name, record)?,
        (State::Wrong | State::Missing, _) => restore(session, other, name, &record)?,
    };
    Ok(Some(outcome))
}

/// How a content stands against its record.
enum State {
    Exact,
    /// The bytes are right, the recorded windows are not.
    Windows,
    Wrong,
    Missing,
}

fn state_of(
    session: &OpenSession<'_>,
    other: Option<&Archive>,
    name: &StoredName,
    record: &Record,
) -> Result<State, ArchiveError> {
    let slot = session.slot(name);
    if slot.form()?.is_none() {
        return Ok(State::Missing);
    }
    // Whatever keeps it from being read, it is not the recorded content; and what is somebody's too is no copy.
    if !slot.is_exact(record).unwrap_or(false) || slot.is_one_with(record, other)? {
        return Ok(State::Wrong);
    }
    if let Some(compressed) = &record.compressed
        && !slot.has(Form::Plain)?
        && !slot.is_as_recorded(compressed)?
    {
        return Ok(State::Wrong);
    }
    let windows = windows_of(&slot.open()?, record.bytes, &slot.path())?;
    Ok(if windows == record.windows { State::Exact } else { State::Windows })
}

/// An unproven content is proven by the same bytes elsewhere. Where the other store has a proven
/// content of the same name and length with another hash, ours is the damaged one.
fn prove<'a>(
    session: &mut OpenSession<'a>,
    other: Option<&'a Archive>,
    name: &StoredName,
    record: Record,
) -> Result<(bool, String), ArchiveError> {
    if let Some(candidate) = right_candidate(session, other, name, &record)? {
        // Whether it was ever synced is not known.
        session.sync_content(name)?;
        let proven = Record { verification: Verification::Compared, ..record };
        session.commit(&[Entry::Commit(name.clone(), Box::new(proven))])?;
        return Ok((true, format!("proven equal to {}", candidate.path(session).display())));
    }
    if let Some(right) = proven_elsewhere(session, other, name, record.bytes)? {
        return restore(session, other, name, &right);
    }
    Ok((false, "its record was rebuilt, and no other copy is there to prove it".to_owned()))
}

fn refresh_windows(
    session: &mut OpenSession<'_>,
    name: &StoredName,
    record: Record,
) -> Result<(bool, String), ArchiveError> {
    let windows = windows_of(&session.slot(name).open()?, record.bytes, &session.slot(name).path())?;
    session.commit(&[Entry::Commit(name.clone(), Box::new(Record { windows, ..record }))])?;
    Ok((true, "bookkeeping was made anew from the proven bytes".to_owned()))
}

/// Puts the recorded bytes back at `name`, from whatever has them.
fn restore<'a>(
    session: &mut OpenSession<'a>,
    other: Option<&'a Archive>,
    name: &StoredName,
    record: &Record,
) -> Result<(bool, String), ArchiveError> {
    let Some(candidate) = right_candidate(session, other, name, record)? else {
        return Ok((false, format!("no copy with the recorded hash {} was found", record.blake3.to_hex())));
    };
    let from = candidate.path(session);
    let id = session.key.id.clone();
    let open = || candidate.open(&id);
    let (marks, dir) = (session.marks.clone(), session.archive.root());
    let source = Source { path: &from, open: &open, may_lag: false, in_versions: false, marks: &marks, dir };
    let mut written = append::write_from(session, &source, record.bytes)?;
    if written.blake3 != record.blake3 {
        session.remove_temp()?;
        return Ok((false, format!("{} changed while it was read", from.display())));
    }
    written.verification = Verification::Compared;
    written.source = record.source;
    let form = if session.slot(name).has(Form::Plain)? { Form::Plain } else { Form::Compressed };
    let replaced = quarantine(session, name, form)?;
    session.place_temp(name)?;
    session.commit(&[Entry::Commit(name.clone(), Box::new(written))])?;
    let kept = replaced.map_or_else(String::new, |path| format!("; what stood there is {}", path.display()));
    Ok((true, format!("restored from {}{kept}", from.display())))
}

/// A generation that is nowhere here is taken from the other store, if that has one that we lack.
fn fill_gap(
    session: &mut OpenSession<'_>,
    other: Option<&Archive>,
    name: &StoredName,
) -> Result<(bool, String), ArchiveError> {
    for (other, key) in others(session, other)? {
        for stored in other.files(&key)?.into_iter().filter(|stored| stored.name.file == name.file) {
            if session.archive.covers(&session.key, &name.file, stored.bytes, &stored.blake3)? {
                continue;
            }
            let slot = other.slot(&key, &stored.name);
            let from = slot.path();
            let open = || slot.open().map(Some);
            let (marks, dir) = (session.marks.clone(), session.archive.root());
            let source = Source { path: &from, open: &open, may_lag: false, in_versions: false, marks: &marks, dir };
            let written = append::write_from(session, &source, stored.bytes)?;
            if written.blake3 != stored.blake3 {
                session.remove_temp()?;
                continue;
            }
            session.place_temp(name)?;
            session.commit(&[Entry::Commit(name.clone(), Box::new(written))])?;
            return Ok((true, format!("filled from {}", from.display())));
        }
    }
    Ok((false, "neither the file nor its record is here, and no other store has a generation we lack".to_owned()))
}

/// Everything that may hold the bytes of `name`: the source, the other store, our own other
/// generations, what stands there (its beginning may be right), and last what was moved to another folder of either store.
fn candidates<'a>(
    session: &OpenSession<'a>,
    other: Option<&'a Archive>,
    name: &StoredName,
) -> Result<Vec<Candidate<'a>>, ArchiveError> {
    let mut list = Vec::new();
    if let Some(transcript) = session.ledger.source.clone().filter(|source| session.archive.may_open(source)) {
        list.push(Candidate::Original(transcript, name.file.clone()));
    }
    for (other, key) in others(session, other)? {
        let names = contents_on_disk(other, &key)?.into_iter().filter(|stored| stored.file == name.file);
        list.extend(names.map(|stored| Candidate::Stored(other, key.clone(), stored)));
    }
    let (own, rest): (Vec<_>, Vec<_>) = contents_on_disk(session.archive, &session.key)?
        .into_iter()
        .filter(|stored| stored.file == name.file)
        .partition(|stored| stored == name);
    // A record that was rebuilt from the file itself is not proven by it.
    let is_unproven = session.ledger.record(name).is_some_and(|record| !record.is_proven());
    let own = own.into_iter().filter(|_| !is_unproven);
    list.extend(
        rest.into_iter().chain(own).map(|stored| Candidate::Stored(session.archive, session.key.clone(), stored)),
    );
    for archive in [Some(session.archive), other].into_iter().flatten() {
        for key in archive.lying_about(&session.key.id)? {
            let names =
                if archive.is_recorded_elsewhere(&key)? { contents_on_disk(archive, &key)? } else { Vec::new() };
            let of_file = names.into_iter().filter(|stored| stored.file == name.file);
            list.extend(of_file.map(|stored| Candidate::Stored(archive, key.clone(), stored)));
        }
    }
    Ok(list)
}

/// The other store's sessions with this id.
fn others<'a>(
    session: &OpenSession<'_>,
    other: Option<&'a Archive>,
) -> Result<Vec<(&'a Archive, SessionKey)>, ArchiveError> {
    let Some(other) = other else { return Ok(Vec::new()) };
    let mut keys = other.find(&session.key.id)?;
    // The folder of the same name first: two sources may bear one id.
    keys.sort_by_key(|key| key.project != session.key.project);
    Ok(keys.into_iter().map(|key| (other, key)).collect())
}

/// The other store's proven record of the same name and length.
fn proven_elsewhere(
    session: &OpenSession<'_>,
    other: Option<&Archive>,
    name: &StoredName,
    bytes: u64,
) -> Result<Option<Record>, ArchiveError> {
    for (other, key) in others(session, other)? {
        let ledger = other.ledger(&key)?;
        let proven = ledger.record(name).filter(|record| record.bytes == bytes && record.is_proven());
        if let Some(record) = proven {
            return Ok(Some(record.clone()));
        }
    }
    Ok(None)
}

/// The first candidate that begins with the recorded bytes.
fn right_candidate<'a>(
    session: &OpenSession<'a>,
    other: Option<&'a Archive>,
    name: &StoredName,
    record: &Record,
) -> Result<Option<Candidate<'a>>, ArchiveError> {
    let is_right = |candidate: &Candidate<'_>| {
        // A candidate that cannot be opened or read is none; its own verify reports it.
        let Ok(Some(file)) = candidate.open(&session.key.id) else { return false };
        fs::hash_of_prefix(&file, record.bytes, &candidate.path(session)).is_ok_and(|hash| hash == record.blake3)
    };
    Ok(candidates(session, other, name)?.into_iter().find(is_right))
}

impl Candidate<'_> {
    fn path(&self, session: &OpenSession<'_>) -> PathBuf {
        match self {
            Candidate::Stored(archive, key, name) => archive.slot(key, name).path(),
            Candidate::Original(transcript, file) => side_files::source_path(transcript, &session.key.id, file),
        }
    }

    fn open(&self, id: &SessionId) -> Result<Option<std::fs::File>, ArchiveError> {
        match self {
            Candidate::Stored(archive, key, name) => archive.slot(key, name).open().map(Some),
            Candidate::Original(transcript, file) => Ok(side_files::open_source(transcript, id, file)?),
        }
    }
}

fn push(session: &OpenSession<'_>, repairs: &mut Vec<Repair>, name: &StoredName, outcome: (bool, String)) {
    let (healed, detail) = outcome;
    repairs.push(Repair { key: session.key.clone(), path: name.to_text(&session.key.id), healed, detail });
}
