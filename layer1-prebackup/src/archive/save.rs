//! Saving a session: which folder it belongs to, then its transcript, then its side files.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;

use rustix::fs::FileType;

use super::append::{self, Source};
use super::forgotten::Forgotten;
use super::ledger::{Entry, Ledger, Record, StoredFile};
use super::rebuild_ledger::windows_of;
use super::session::{OpenSession, SessionLock};
use super::store::Archive;
use super::types::{ArchiveError, Compare, SaveReport, SaveRequest, SessionKey, TranscriptState, Verification};
use crate::Hash;
use crate::claude::memory::is_memory;
use crate::claude::project_folder::cwd_of_folder;
use crate::claude::side_files::{self, FoundSideFile, SideFiles, side_files_by};
use crate::claude::survey::FoundTranscript;
use crate::claude::transcripts::{self, Identity};
use crate::fs;
use crate::names::{FileName, ProjectName, SessionId, StoredName};

/// With more side files than this, an unchanged one costs no look at its copy.
const SIDES_LOOKED_AT_MAX: usize = 200;

/// Makes one growing number of the progress of several files.
pub(super) struct Steps<'a> {
    done: Cell<u64>,
    tell: &'a dyn Fn(u64),
}

impl<'a> Steps<'a> {
    pub(super) fn new(tell: &'a dyn Fn(u64)) -> Steps<'a> {
        Steps { done: Cell::new(0), tell }
    }

    /// Runs one step; afterwards `bytes` and one more are done, so that the number always grows.
    pub(super) fn step<T>(&self, bytes: u64, step: impl FnOnce(&dyn Fn(u64)) -> T) -> T {
        let base = self.done.get();
        let result = step(&|now| {
            self.done.set(self.done.get().max(base + now));
            (self.tell)(self.done.get());
        });
        self.done.set(self.done.get().max(base + bytes) + 1);
        (self.tell)(self.done.get());
        result
    }
}

impl Archive {
    /// Saves transcript and side files; returns when all that it reports is on the disk, synced and
    /// read back. An error means that the transcript was not saved in full; a side file that could
    /// not be stored is one of the report's problems.
    pub fn save(&self, request: &SaveRequest<'_>) -> Result<SaveReport, ArchiveError> {
        let opened = match transcripts::open_transcript_by(self.reach(), request.transcript) {
            Ok(opened) => opened,
            Err(error) => return Err(self.save_sides_of_unreadable(request, error.into())),
        };
        let bytes = match &opened {
            Some(file) => fs::stat_of(file, request.transcript)?.st_size as u64,
            None => 0,
        };
        let transcript = match (&opened, bytes) {
            (None, _) => TranscriptState::Absent,
            (Some(_), 0) => TranscriptState::Empty,
            (Some(_), _) => TranscriptState::Stored,
        };
        let mut report = SaveReport {
            key: None,
            transcript,
            source_bytes: bytes,
            bytes_added: 0,
            generations_begun: 0,
            read_back: Vec::new(),
            problems: Vec::new(),
            sides_left: 0,
        };
        if transcript != TranscriptState::Stored
            && self.find(request.id)?.is_empty()
            && !side_files::has_rest_of(self.reach(), request.transcript, request.id)
        {
            return Ok(report);
        }
        let lock = SessionLock::wait(self, request.id)?;
        if self.is_forgotten(request.id)? {
            return Ok(SaveReport { transcript: TranscriptState::Forgotten, ..report });
        }
        let (key, ledger) = identify(self, &lock, request, opened)?;
        report.key = Some(key.clone());
        let mut session = OpenSession::open_with(self, key, lock, ledger)?;
        let steps = Steps::new(request.progress);
        let saved = save_transcript(&mut session, request, &steps, &mut report);
        if saved.is_err() {
            session.note_failure();
        }
        save_side_files(&mut session, request, &steps, &mut report);
        let key = session.key.clone();
        session.finish();
        let read: Vec<&FileName> = report.read_back.iter().map(|(file, ..)| file).collect();
        // What cannot be taken back now, the next verification takes back.
        let _ = self.newest_are_well(&key, &read);
        saved.map(|()| report)
    }

    /// What lies beside a transcript that cannot be read is saved where the session's folder is known; the error
    /// that matters is the transcript's.
    fn save_sides_of_unreadable(&self, request: &SaveRequest<'_>, error: ArchiveError) -> ArchiveError {
        let save = || -> Result<(), ArchiveError> {
            let Some(key) = self.session_of(request.id, request.transcript)? else { return Ok(()) };
            let mut session = self.open_session(&key)?;
            if self.is_forgotten(request.id)? {
                return Ok(());
            }
            let mut report = SaveReport {
                key: Some(key),
                transcript: TranscriptState::Absent,
                source_bytes: 0,
                bytes_added: 0,
                generations_begun: 0,
                read_back: Vec::new(),
                problems: Vec::new(),
                sides_left: 0,
            };
            save_side_files(&mut session, request, &Steps::new(request.progress), &mut report);
            session.finish();
            Ok(())
        };
        // Of two failures the first is told; the next save tries both again.
        let _ = save();
        error
    }

    /// Takes contents over from another store in their order, under one lock, the recorded hash of each checked
    /// on the way, so that [`Archive::covers`] holds for it afterwards. An older generation stays an older one.
    /// One answer each.
    pub fn replicate(
        &self,
        key: &SessionKey,
        from: &Archive,
        from_key: &SessionKey,
        contents: &[StoredFile],
        progress: &dyn Fn(u64),
    ) -> Result<Vec<Result<(), ArchiveError>>, ArchiveError> {
        let in_versions = from.source_of(from_key)?.is_some_and(|source| is_memory(&source));
        let mut session = self.open_session(key)?;
        if self.is_forgotten(&key.id)? {
            return Err(ArchiveError::Forgotten { id: key.id.to_string() });
        }
        let steps = Steps::new(progress);
        let mut answers = Vec::with_capacity(contents.len());
        for content in contents {
            let taken = steps.step(content.bytes, |progress| {
                replicate_one(&mut session, (from, from_key), content, in_versions, progress)
            });
            if taken.is_err() {
                session.note_failure();
            }
            answers.push(taken);
        }
        session.finish();
        Ok(answers)
    }

    /// Whether some stored content of `file`, in any generation, begins with exactly these bytes:
    /// they are read from the disk and hashed.
    pub fn covers(&self, key: &SessionKey, file: &FileName, bytes: u64, blake3: &Hash) -> Result<bool, ArchiveError> {
        let covered = self.covers_all(key, &[(file, bytes, *blake3)], &|_| {})?;
        Ok(covered == [true])
    }

    /// [`Archive::covers`] for several contents: one answer each. `progress` is told a
    /// number that grows with the bytes read and the contents looked at.
    pub fn covers_all(
        &self,
        key: &SessionKey,
        wanted: &[(&FileName, u64, Hash)],
        progress: &dyn Fn(u64),
    ) -> Result<Vec<bool>, ArchiveError> {
        let ledger = self.ledger(key)?;
        let steps = Steps::new(progress);
        let mut covered = vec![false; wanted.len()];
        let mut files: BTreeMap<&FileName, Vec<usize>> = BTreeMap::new();
        wanted.iter().enumerate().for_each(|(at, (file, ..))| files.entry(file).or_default().push(at));
        for (file, at) in files {
            let prefixes: Vec<(u64, Hash)> = at.iter().map(|at| (wanted[*at].1, wanted[*at].2)).collect();
            let bytes = prefixes.iter().map(|(bytes, _)| *bytes).sum();
            let answers = steps.step(bytes, |progress| are_covered(self, key, &ledger, file, &prefixes, progress))?;
            at.into_iter().zip(answers).for_each(|(at, answer)| covered[at] = answer);
        }
        Ok(covered)
    }

    /// Whether the source (transcript or side files) has changed since its copy, by device, inode,
    /// size, mtime and ctime. One that nothing is stored of and that has nothing to store has not, nor has one that the
    /// user had forgotten.
    pub fn is_behind(&self, id: &SessionId, transcript: &Path) -> Result<bool, ArchiveError> {
        self.is_behind_by(id, transcript, &|| side_files_by(self.reach(), transcript, id))
    }

    /// [`Archive::is_behind`] of what was found just now, without another look at the folder.
    pub fn is_behind_found(&self, found: &FoundTranscript) -> Result<bool, ArchiveError> {
        self.is_behind_by(&found.id, &found.path, &|| found.side_files())
    }

    /// How many of its side files have changed since their copy, or have none.
    pub fn sides_behind(&self, found: &FoundTranscript) -> Result<u64, ArchiveError> {
        let key = self.session_of(&found.id, &found.path)?;
        let ledger = key.map_or_else(|| Ok(Ledger::default()), |key| self.ledger(&key))?;
        let is_saved = |side: &FoundSideFile| {
            let record = ledger.record(&StoredName::newest(FileName::Side(side.rel.clone())));
            record.is_some_and(|record| record.source == Some(side.identity))
        };
        Ok(found.side_files().found.iter().filter(|side| !is_saved(side)).count() as u64)
    }

    fn is_behind_by(
        &self,
        id: &SessionId,
        transcript: &Path,
        look: &dyn Fn() -> SideFiles,
    ) -> Result<bool, ArchiveError> {
        let forgotten = self.forgotten(id)?;
        if forgotten.as_ref().is_some_and(Forgotten::is_whole) {
            return Ok(false);
        }
        let opened = transcripts::open_transcript_by(self.reach(), transcript)?;
        let identity = match &opened {
            Some(file) => Some(transcripts::Identity::of(&fs::stat_of(file, transcript)?)),
            None => None,
        };
        let mut known = self.recorded(id)?;
        if known.is_empty() {
            // Of what has no bookkeeping nothing is known to be saved, whatever folder it lies in.
            if identity.is_some_and(|identity| identity.bytes > 0) {
                return Ok(true);
            }
            known = self.find_without_ledger(id)?;
        }
        let has_rest = || look().found.iter().any(FoundSideFile::is_beside_transcript);
        let Some(key) = self.session_among(known, transcript)? else {
            return Ok(identity.is_some_and(|identity| identity.bytes > 0) || has_rest());
        };
        let ledger = self.ledger(&key)?;
        if ledger.is_damaged {
            return Ok(true);
        }
        if let Some(file) = opened.filter(|_| ledger.source.as_deref() != Some(transcript)) {
            return Ok(!is_twin(&ledger, &file, transcript, look)?);
        }
        let is_saved = |file: FileName, identity: transcripts::Identity| {
            let record = ledger.record(&StoredName::newest(file));
            let is_as_long = |record: &Record| record.bytes == identity.bytes;
            record.is_some_and(|record| match (&forgotten, record.source) {
                // What was replaced in the copy makes it longer or shorter.
                (Some(_), Some(known)) => known == Identity { bytes: record.bytes, ..identity },
                (_, known) => known == Some(identity) && is_as_long(record),
            })
        };
        if identity.is_some_and(|identity| !is_saved(FileName::Transcript, identity)) {
            return Ok(true);
        }
        Ok(look().found.into_iter().any(|side| !is_saved(FileName::Side(side.rel), side.identity)))
    }
}

fn save_transcript(
    session: &mut OpenSession<'_>,
    request: &SaveRequest<'_>,
    steps: &Steps<'_>,
    report: &mut SaveReport,
) -> Result<(), ArchiveError> {
    let may_lag = is_second_source(session.ledger.source.as_deref(), request.transcript)?;
    let moved = session.ledger.source.as_deref() != Some(request.transcript);
    if moved && !may_lag {
        session.note_source(request.transcript);
    }
    let reach = session.archive.reach();
    let open = || Ok(transcripts::open_transcript_by(reach, request.transcript)?);
    let (marks, dir) = (session.marks.clone(), session.archive.root());
    let source = Source { path: request.transcript, open: &open, may_lag, in_versions: false, marks: &marks, dir };
    let saved = steps.step(report.source_bytes, |progress| {
        append::save(session, &FileName::Transcript, &source, request.compare, progress)
    })?;
    match saved {
        None => {
            report.transcript = TranscriptState::Absent;
            if moved && session.ledger.record(&StoredName::newest(FileName::Transcript)).is_none() {
                // Only what is left of it: that tells where it belongs.
                session.commit_source()?;
            }
        }
        Some(saved) => {
            report.source_bytes = saved.source_bytes;
            if moved && saved.added > 0 && may_lag {
                session.note_source(request.transcript);
            }
            session.commit_source()?;
        }
    }
    count(report, FileName::Transcript, saved);
    Ok(())
}

/// Each by itself: what cannot be saved of one is one of the report's problems.
fn save_side_files(
    session: &mut OpenSession<'_>,
    request: &SaveRequest<'_>,
    steps: &Steps<'_>,
    report: &mut SaveReport,
) {
    let reach = session.archive.reach();
    let sides = side_files_by(reach, request.transcript, request.id);
    report.problems.extend(sides.problems.into_iter().map(ArchiveError::from));
    let newest = |side: &FoundSideFile| StoredName::newest(FileName::Side(side.rel.clone()));
    let is_recorded = |ledger: &Ledger, side: &FoundSideFile| {
        let record = ledger.record(&newest(side)).filter(|record| record.is_proven());
        record.is_some_and(|record| record.source == Some(side.identity) && record.bytes == side.identity.bytes)
    };
    // Of many, an unchanged one is not looked at any further with each turn. The end of a session compares them all.
    let are_many = request.compare == Compare::Windows && sides.found.len() > SIDES_LOOKED_AT_MAX;
    // First what is not saved at all: what changes all the time must not keep it from that.
    let (known, new): (Vec<_>, Vec<_>) =
        sides.found.into_iter().partition(|side| session.ledger.record(&newest(side)).is_some());
    let mut taken = 0;
    for side in new.into_iter().chain(known) {
        let is_over = taken > 0 && session.archive.is_time_up();
        if (are_many || is_over) && is_recorded(&session.ledger, &side) {
            continue;
        }
        if is_over {
            report.sides_left += 1;
            continue;
        }
        taken += 1;
        let name = FileName::Side(side.rel);
        let open = || Ok(side_files::open_source_by(reach, request.transcript, request.id, &name)?);
        let path = side_files::source_path(request.transcript, request.id, &name);
        let in_versions = is_memory(request.transcript);
        let (marks, dir) = (session.marks.clone(), session.archive.root());
        let source = Source { path: &path, open: &open, may_lag: false, in_versions, marks: &marks, dir };
        let saved = steps
            .step(side.identity.bytes, |progress| append::save(session, &name, &source, request.compare, progress));
        match saved {
            Ok(saved) => count(report, name, saved),
            Err(error) => {
                session.note_failure();
                report.problems.push(error);
            }
        }
    }
}

fn replicate_one(
    session: &mut OpenSession<'_>,
    (from, from_key): (&Archive, &SessionKey),
    wanted: &StoredFile,
    in_versions: bool,
    progress: &dyn Fn(u64),
) -> Result<(), ArchiveError> {
    let file = &wanted.name.file;
    // One that goes on is a version too, so that its beginning is covered says nothing of it.
    let is_version = || session.ledger.records_of(file).any(|(_, record)| record.blake3 == wanted.blake3);
    if (!in_versions || is_version())
        && is_covered(session.archive, &session.key, &session.ledger, file, wanted.bytes, &wanted.blake3, progress)?
    {
        return Ok(());
    }
    let slot = from.slot(from_key, &wanted.name);
    let path = slot.path();
    let opened = slot.open()?;
    match fs::hash_of_prefix_with(&opened, wanted.bytes, &path, progress) {
        Ok(hash) if hash == wanted.blake3 => {}
        Ok(_) => return Err(ArchiveError::damaged(&path, "its bytes do not match its recorded hash")),
        Err(error) if error.source.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(ArchiveError::damaged(&path, "it is shorter than recorded"));
        }
        Err(error) => return Err(error.into()),
    }
    // What was forgotten here is not taken over from a store that still has it.
    if session.marks.view(&opened, &path, session.archive.root())?.is_some() {
        return Err(ArchiveError::Forgotten { id: session.key.id.to_string() });
    }
    if verify_by(session, file, &wanted.blake3)? {
        return Ok(());
    }
    let open = || slot.open().map(Some);
    let (marks, dir) = (session.marks.clone(), session.archive.root());
    let source = Source { path: &path, open: &open, may_lag: false, in_versions, marks: &marks, dir };
    let newest = StoredName::newest(file.clone());
    let extends_newest = match session.ledger.record(&newest) {
        Some(record) if record.bytes <= wanted.bytes => {
            fs::hash_of_prefix(&opened, record.bytes, &path)? == record.blake3
        }
        _ => false,
    };
    if wanted.name.generation == 0 || extends_newest {
        append::save(session, file, &source, Compare::Whole, progress)?;
    }
    if wanted.name.generation == 0 {
        return Ok(());
    }
    if extends_newest {
        let record = session
            .ledger
            .record(&newest)
            .cloned()
            .ok_or_else(|| ArchiveError::damaged(&path, "it was not taken over"))?;
        return session.rotate(file, record);
    }
    append::add_generation(session, file, &source, wanted.bytes)
}

/// Where a rebuilt record says the same as the other store's, whose bytes were just read, it is
/// verified: synced, because nobody knows whether it ever was, and recorded so. False if there is none.
pub(super) fn verify_by(session: &mut OpenSession<'_>, file: &FileName, wanted: &Hash) -> Result<bool, ArchiveError> {
    let same = |record: &Record| !record.is_proven() && record.blake3 == *wanted;
    let found = session.ledger.records_of(file).find(|(_, record)| same(record));
    let Some((name, record)) = found.map(|(name, record)| (name.clone(), record.clone())) else { return Ok(false) };
    let slot = session.slot(&name);
    if fs::hash_of_prefix(&slot.open()?, record.bytes, &slot.path())? != record.blake3 {
        return Ok(false);
    }
    session.sync_content(&name)?;
    session.commit(&[Entry::Commit(name, Box::new(Record { verification: Verification::Compared, ..record }))])?;
    Ok(true)
}

/// Whether a verified content of `file` begins with exactly these bytes, as the disk has them now.
pub(super) fn is_covered(
    archive: &Archive,
    key: &SessionKey,
    ledger: &Ledger,
    file: &FileName,
    bytes: u64,
    blake3: &Hash,
    progress: &dyn Fn(u64),
) -> Result<bool, ArchiveError> {
    Ok(are_covered(archive, key, ledger, file, &[(bytes, *blake3)], progress)? == [true])
}

/// [`is_covered`] of several beginnings: one answer each. A content is read once for all of them, and only where its
/// record does not say that it is another one of the same length.
fn are_covered(
    archive: &Archive,
    key: &SessionKey,
    ledger: &Ledger,
    file: &FileName,
    wanted: &[(u64, Hash)],
    progress: &dyn Fn(u64),
) -> Result<Vec<bool>, ArchiveError> {
    let mut covered = vec![false; wanted.len()];
    let (read, mut done) = (Cell::new(0), 0);
    let is_exact = |record: &Record, (bytes, blake3): &(u64, Hash)| record.bytes == *bytes && record.blake3 == *blake3;
    let may_begin =
        |record: &Record, (bytes, blake3): &(u64, Hash)| record.bytes > *bytes || is_exact(record, &(*bytes, *blake3));
    let mut contents: Vec<(&StoredName, &Record)> = ledger.records_of(file).collect();
    contents.sort_by_key(|(_, record)| !wanted.iter().any(|want| is_exact(record, want)));
    for (name, record) in contents {
        let open = wanted.iter().zip(&covered).filter(|(want, covered)| !**covered && may_begin(record, want));
        let lengths: BTreeSet<u64> = open.map(|((bytes, _), _)| *bytes).collect();
        let slot = archive.slot(key, name);
        if lengths.is_empty() || !record.is_proven() || slot.form()?.is_none() {
            continue;
        }
        let tell = |bytes| {
            read.set(bytes);
            progress(done + bytes);
        };
        let hashes = fs::hashes_of_prefixes(&slot.open()?, &lengths, &slot.path(), &tell)?;
        done += read.replace(0);
        for (covered, (bytes, blake3)) in covered.iter_mut().zip(wanted) {
            *covered |= hashes.get(bytes) == Some(blake3);
        }
    }
    Ok(covered)
}

/// Whether the session's recorded source is another file that still exists: then two files bear
/// one content, and the shorter one is no news. One file under two spellings is not two.
fn is_second_source(recorded: Option<&Path>, transcript: &Path) -> Result<bool, ArchiveError> {
    let Some(recorded) = recorded.filter(|recorded| *recorded != transcript) else { return Ok(false) };
    let file_at = |path: &Path| -> Result<Option<(u64, u64)>, ArchiveError> {
        let Some(file) = transcripts::open_transcript(path)? else { return Ok(None) };
        let identity = transcripts::Identity::of(&fs::stat_of(&file, path)?);
        Ok(Some((identity.dev, identity.ino)))
    };
    let other = file_at(recorded)?;
    Ok(other.is_some() && other != file_at(transcript)?)
}

/// Whether this file, which is not the recorded source, is another one that bears the same content beside it, as a
/// conversation does that was restored into a second configuration directory: as long as the copy, and the same at its
/// beginning and its end, each side file as long as its copy. Neither of the two is then news.
fn is_twin(
    ledger: &Ledger,
    file: &File,
    transcript: &Path,
    look: &dyn Fn() -> SideFiles,
) -> Result<bool, ArchiveError> {
    if !is_second_source(ledger.source.as_deref(), transcript)? {
        return Ok(false);
    }
    let record = |file: FileName| ledger.record(&StoredName::newest(file));
    let bytes = fs::stat_of(file, transcript)?.st_size as u64;
    let is_same = match record(FileName::Transcript) {
        Some(record) => record.bytes == bytes && windows_of(file, bytes, transcript)? == record.windows,
        None => false,
    };
    let has = |side: FoundSideFile| record(FileName::Side(side.rel)).is_some_and(|r| r.bytes == side.identity.bytes);
    Ok(is_same && look().found.into_iter().all(has))
}

/// Which (project, id) the source belongs to: the job's word, else the folder that was copied from
/// it before, else the folder whose source is gone or begins alike, else a new one. With its ledger.
fn identify(
    archive: &Archive,
    lock: &SessionLock,
    request: &SaveRequest<'_>,
    opened: Option<File>,
) -> Result<(SessionKey, Ledger), ArchiveError> {
    let with_ledger = |project: ProjectName| {
        let key = SessionKey { project, id: request.id.clone() };
        lock.ledger(&key).map(|ledger| (key, ledger))
    };
    if let Some(project) = request.project {
        return with_ledger(project.clone());
    }
    let mut known = archive.recorded(request.id)?;
    if known.is_empty() {
        known = archive.find_without_ledger(request.id)?;
    }
    let mut candidates = Vec::new();
    for candidate in &known {
        let ledger = lock.ledger(candidate)?;
        if ledger.source.as_deref() == Some(request.transcript) {
            return Ok((candidate.clone(), ledger));
        }
        candidates.push((candidate.clone(), ledger));
    }
    let Some(opened) = opened else {
        // Nothing to compare: side files alone go to the only folder there is.
        return match candidates.into_iter().next() {
            Some(only) => Ok(only),
            None => {
                let named = side_files::cwd_of_session(archive.reach(), request.transcript, request.id)?;
                with_ledger(project_of(named.as_deref(), request))
            }
        };
    };
    for (candidate, ledger) in candidates {
        let is_free = !is_second_source(ledger.source.as_deref(), request.transcript)?;
        if is_free || begin_alike(archive, &candidate, &opened, request.transcript)? {
            return Ok((candidate, ledger));
        }
    }
    let base = project_of(transcripts::first_cwd_in(opened, request.transcript)?.as_deref(), request);
    with_ledger(free_folder(archive, &base, &known)?)
}

/// Of the directory that the session names, else of the event's, else of the one that its folder is of.
fn project_of(named: Option<&str>, request: &SaveRequest<'_>) -> ProjectName {
    match named.or(request.cwd).filter(|cwd| !cwd.is_empty()) {
        Some(cwd) => ProjectName::from_cwd(cwd),
        None => {
            let is_claudes = transcripts::claude_dir_of_transcript(request.transcript).is_some();
            let folder = request.transcript.parent().filter(|_| is_claudes);
            ProjectName::from_cwd(&folder.and_then(cwd_of_folder).unwrap_or_default())
        }
    }
}

impl Archive {
    /// The project's folder in this store: the one of that name, or, where there is none yet, one by a name that a
    /// new folder may bear. Two stores need not call it alike.
    pub fn folder_for(&self, project: &ProjectName) -> Result<ProjectName, ArchiveError> {
        let is_its_folder = |(name, kind): &(OsString, FileType)| name == project.as_str() && is_folder(*kind);
        let is_there = self.root.entries()?.iter().any(is_its_folder);
        if is_there { Ok(project.clone()) } else { free_folder(self, &project.for_a_new_folder(), &[]) }
    }
}

/// `base`, or with a number behind it where that leads to what is not the project's, or to the folder of one of
/// `known`, which bear the session's id.
fn free_folder(archive: &Archive, base: &ProjectName, known: &[SessionKey]) -> Result<ProjectName, ArchiveError> {
    let entries = archive.root.entries()?;
    let find =
        |name: &str| Ok(archive.root.stat(OsStr::new(name))?.map(|stat| transcripts::Identity::of(&stat).file()));
    let folders = Folders { entries: &entries, find: &find };
    let mut project = base.clone();
    let mut n = 2;
    while folders.are_anothers(&project)? || folders.are_among(known, &project)? {
        project = base.with_suffix(n);
        n += 1;
    }
    Ok(project)
}

fn is_folder(kind: FileType) -> bool {
    kind == FileType::Directory
}

/// Gives device and inode of what a name leads to.
type Find<'a> = dyn Fn(&str) -> Result<Option<(u64, u64)>, ArchiveError> + 'a;

/// What stands in a store's root, as its file system spells and finds it.
struct Folders<'a> {
    entries: &'a [(OsString, FileType)],
    find: &'a Find<'a>,
}

impl Folders<'_> {
    /// Whether this name leads to a file, or to the folder of a project that differs in the case of letters alone,
    /// because the file system does not tell them apart. One that only writes accents its own way
    /// (HFS+) leads to the same project.
    fn are_anothers(&self, project: &ProjectName) -> Result<bool, ArchiveError> {
        let text = project.as_str();
        if let Some((_, kind)) = self.entries.iter().find(|(name, _)| name == text) {
            return Ok(!is_folder(*kind));
        }
        let caseless = text.to_lowercase();
        let is_alike = |(name, _): &(OsString, _)| name.to_str().is_some_and(|name| name.to_lowercase() == caseless);
        Ok(self.entries.iter().any(is_alike) && (self.find)(text)?.is_some())
    }

    /// Whether this name leads to the folder of one of these sessions, however that is spelled: there, two sessions
    /// of one id would be taken for one.
    fn are_among(&self, known: &[SessionKey], project: &ProjectName) -> Result<bool, ArchiveError> {
        if known.iter().any(|key| key.project == *project) {
            return Ok(true);
        }
        let Some(found) = (self.find)(project.as_str())? else { return Ok(false) };
        for key in known {
            if (self.find)(key.project.as_str())? == Some(found) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether the stored transcript is the beginning of the file, or the file of the stored transcript.
fn begin_alike(archive: &Archive, key: &SessionKey, opened: &File, path: &Path) -> Result<bool, ArchiveError> {
    let newest = StoredName::newest(FileName::Transcript);
    let Some(stored) = archive.files(key)?.into_iter().find(|file| file.name == newest) else { return Ok(false) };
    let bytes = fs::stat_of(opened, path)?.st_size as u64;
    let common = bytes.min(stored.bytes);
    let theirs = fs::hash_of_prefix(opened, common, path)?;
    if common == stored.bytes {
        return Ok(theirs == stored.blake3);
    }
    let slot = archive.slot(key, &newest);
    Ok(theirs == fs::hash_of_prefix(&slot.open()?, common, &slot.path())?)
}

fn count(report: &mut SaveReport, file: FileName, saved: Option<append::Saved>) {
    if let Some(saved) = saved {
        report.read_back.extend(saved.read_back.map(|(bytes, blake3)| (file, bytes, blake3)));
        report.bytes_added += saved.added;
        report.generations_begun += u32::from(saved.rotated);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_of_several_steps_is_one_number_that_grows() {
        let told = std::cell::RefCell::new(Vec::new());
        let tell = |number| told.borrow_mut().push(number);
        let steps = Steps::new(&tell);
        steps.step(10, |progress| [4, 10, 7].map(progress));
        steps.step(5, |_| ());
        steps.step(0, |_| ());
        // One that turns out longer than was thought.
        steps.step(1, |progress| progress(9));
        assert_eq!(told.into_inner(), [4, 10, 10, 11, 17, 18, 27, 28]);
    }

    /// Asks of names as a folding file system would find them, with what it lists.
    fn ask<T>(listed: &[&str], folds: bool, ask: impl FnOnce(&Folders<'_>) -> Result<T, ArchiveError>) -> T {
        let kind = |name: &str| if name.ends_with(".db") { FileType::RegularFile } else { FileType::Directory };
        let entries: Vec<_> = listed.iter().map(|name| (OsString::from(name), kind(name))).collect();
        // Accents written in one way, as HFS+ does.
        let folded =
            |text: &str| if folds { text.to_lowercase().replace("e\u{301}", "\u{e9}") } else { text.to_owned() };
        let find = |name: &str| {
            let nth = listed.iter().position(|listed| folded(listed) == folded(name));
            Ok(nth.map(|nth| (1, nth as u64)))
        };
        ask(&Folders { entries: &entries, find: &find }).unwrap()
    }

    fn are_anothers(listed: &[&str], folds: bool, project: &str) -> bool {
        ask(listed, folds, |folders| folders.are_anothers(&ProjectName::parse(project).unwrap()))
    }

    #[test]
    fn no_file_is_taken_for_a_folder() {
        assert!(are_anothers(&["index.db"], false, "index.db"));
        assert!(are_anothers(&["Index.db"], true, "index.db"));
        assert!(!are_anothers(&["Index.db"], false, "index.db"));
    }

    #[test]
    fn two_sessions_of_one_id_never_share_a_folder_however_it_is_spelled() {
        let among = |folds: bool, project: &str| {
            let known = [SessionKey::parse("cafe\u{301}", "s1").unwrap()];
            let project = ProjectName::parse(project).unwrap();
            ask(&["cafe\u{301}", "bar"], folds, |folders| folders.are_among(&known, &project))
        };
        assert!(among(true, "caf\u{e9}") && among(true, "CAFE\u{301}") && among(false, "cafe\u{301}"));
        assert!(!among(false, "caf\u{e9}") && !among(true, "bar") && !among(true, "new"));
    }

    #[test]
    fn projects_that_differ_in_case_alone_share_no_folder_where_the_file_system_folds_them() {
        assert!(are_anothers(&["Foo"], true, "foo"));
        assert!(!are_anothers(&["Foo"], true, "Foo"));
        assert!(!are_anothers(&["Foo"], true, "foo~2"));
        // A later session of the second project finds its folder again.
        assert!(!are_anothers(&["Foo", "foo~2"], true, "foo~2"));
        assert!(!are_anothers(&["bar"], true, "foo"));
        // Where the file system tells them apart, so do we.
        assert!(!are_anothers(&["Foo"], false, "foo"));
        assert!(are_anothers(&["\u{c9}t\u{e9}"], true, "\u{e9}t\u{e9}"));
    }

    #[test]
    fn one_project_whose_accents_are_spelled_in_two_ways_keeps_its_folder() {
        assert!(!are_anothers(&["cafe\u{301}"], true, "caf\u{e9}"));
    }
}
