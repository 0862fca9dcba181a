//! What a copy of a store brought back: files without any bookkeeping, and somebody's record of them. It is recorded
//! where it came to lie, and may be taken in from there by a store that others write to meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::ledger::{Entry, Record};
use super::paths::{Form, content_path, session_of_entry};
use super::rebuild_ledger::{contents_on_disk, record_of_slot, unrecorded};
use super::session::{OpenSession, SessionLock};
use super::store::Archive;
use super::types::{ArchiveError, SessionKey, Verification};
use crate::Hash;
use crate::fs;
use crate::names::{StoredName, spelled};

/// What was recorded of files, by their paths in the store, [`spelled`]: length, and plain BLAKE3 of so many bytes.
pub type Said = BTreeMap<PathBuf, (u64, Hash)>;

impl Archive {
    /// Records every content that lies in the store and of which no ledger says anything. One that begins with what was
    /// `said` of it is cut to that, synced, and counts as proven; what a newer version made of it meanwhile is looked
    /// for among the other contents of its session. One of which nothing was said is kept as it was found.
    ///
    /// Gives the paths of which something was said that nothing here proves; they are not recorded.
    pub fn record_returned(&self, said: &Said) -> Result<Vec<PathBuf>, ArchiveError> {
        let mut proven = BTreeSet::new();
        for key in self.sessions()? {
            let lock = SessionLock::wait(self, &key.id)?;
            let (mut session, unrecorded) = open(self, &key, lock)?;
            // A record that is worth nothing says nothing of what was sent either.
            let unverified = session.ledger.records().filter(|(_, record)| !record.is_proven());
            let names: BTreeSet<StoredName> = unverified.map(|(name, _)| name.clone()).chain(unrecorded).collect();
            for name in &names {
                session.ledger.leave_out(name);
            }
            for name in names {
                record_one(&mut session, &name, said, &mut proven)?;
            }
            // What a run before this one took in, it has recorded.
            prove_known(&mut session, said, &mut proven)?;
            session.finish();
        }
        let is_missing = |path: &&PathBuf| !proven.contains(*path);
        Ok(said.keys().filter(is_missing).cloned().collect())
    }

    /// Takes in what `from` has recorded, a copy of this store on the same file system in which
    /// [`Archive::record_returned`] was called, and what the user calls its conversations. A content that is not here is
    /// moved. Nothing that lies here is written over or cut: what went on from there stays as it is, and what is something
    /// else becomes a version. What the user had forgotten here is not wanted.
    ///
    /// Gives the paths of which something was said that no content here begins with.
    pub fn take_returned(&self, from: &Archive, said: &Said) -> Result<Vec<PathBuf>, ArchiveError> {
        for (id, labels) in from.all_labels()? {
            // Damaged ones are of no use here either.
            if let Ok(labels) = labels {
                self.merge_labels(&id, &labels)?;
            }
        }
        let mut held = BTreeSet::new();
        let keys: BTreeSet<SessionKey> = self.sessions()?.into_iter().chain(from.sessions()?).collect();
        for key in keys {
            if !self.is_forgotten(&key.id)? {
                take_in_one(self, from, &key, said, &mut held)?;
            }
        }
        said.keys()
            .filter(|path| !held.contains(*path))
            .filter_map(|path| self.unless_forgotten(path).transpose())
            .collect()
    }

    /// A file of a store, unless it is of what the user had forgotten.
    fn unless_forgotten(&self, path: &Path) -> Result<Option<PathBuf>, ArchiveError> {
        let mut parts = path.iter().skip(1);
        let entry = parts.next().unwrap_or_default();
        let kind = if parts.next().is_some() { FileType::Directory } else { FileType::RegularFile };
        let is_forgotten = session_of_entry(entry, kind).map_or(Ok(false), |id| self.is_forgotten(&id))?;
        Ok((!is_forgotten).then(|| path.to_owned()))
    }
}

/// Opens a session; gives the contents as well of which its ledger says nothing. Nothing is said of them in memory either,
/// so that no commit writes what proves nothing and a run after a killed one takes for recorded. What a damaged ledger may
/// have said of them nobody knows.
fn open<'a>(
    archive: &'a Archive,
    key: &SessionKey,
    lock: SessionLock,
) -> Result<(OpenSession<'a>, Vec<StoredName>), ArchiveError> {
    let recorded = lock.ledger(key)?;
    let unrecorded = if recorded.is_damaged { Vec::new() } else { unrecorded(archive, key, &recorded)? };
    let mut session = OpenSession::open_with(archive, key.clone(), lock, recorded)?;
    for name in &unrecorded {
        session.ledger.leave_out(name);
    }
    Ok((session, unrecorded))
}

fn take_in_one(
    into: &Archive,
    from: &Archive,
    key: &SessionKey,
    said: &Said,
    held: &mut BTreeSet<PathBuf>,
) -> Result<(), ArchiveError> {
    let (mut session, unrecorded) = open(into, key, SessionLock::wait(into, &key.id)?)?;
    // A run before this one was killed when it had moved them.
    for name in unrecorded {
        record_one(&mut session, &name, &Said::new(), &mut BTreeSet::new())?;
    }
    prove_known(&mut session, said, held)?;
    let theirs = from.ledger(key)?;
    let (mut moved, mut others) = (Vec::new(), Vec::new());
    for file in from.files(key)? {
        let Some(record) = theirs.record(&file.name).filter(|record| record.is_proven()) else { continue };
        let path = PathBuf::from(spelled(&path_of(key, &file.name, record)));
        if move_here(&session, from, &file.name)? {
            held.insert(path);
            moved.push(Entry::Commit(file.name, Box::new(record.clone())));
        } else if session.ledger.is_pruned(&file.name) {
            held.insert(path);
        } else if !held.contains(&path) {
            others.push((path, file));
        }
    }
    if !moved.is_empty() {
        session.commit(&moved)?;
    }
    session.finish();
    for (path, file) in others {
        let is_held = || into.covers(key, &file.name.file, file.bytes, &file.blake3);
        if !is_held()? {
            for taken in into.replicate(key, from, key, std::slice::from_ref(&file), &|_| {})? {
                match taken {
                    // It is among those that are missing.
                    Err(ArchiveError::Forgotten { .. } | ArchiveError::Damaged { .. }) => continue,
                    taken => taken?,
                }
            }
        }
        if is_held()? {
            held.insert(path);
        }
    }
    Ok(())
}

/// Moves a content to where nothing is known of it and nothing lies; false where something does.
fn move_here(session: &OpenSession<'_>, from: &Archive, name: &StoredName) -> Result<bool, ArchiveError> {
    let (theirs, ours) = (from.slot(&session.key, name), session.slot(name));
    if session.ledger.record(name).is_some() || session.ledger.is_pruned(name) || ours.form()?.is_some() {
        return Ok(false);
    }
    let (Some(form), Some(dir)) = (theirs.form()?, theirs.dir()?) else { return Ok(false) };
    let file_name = ours.file_name(form);
    dir.rename_new(&file_name, &session.create_dir_of(name)?, &file_name)?;
    Ok(true)
}

/// Adds what was said of the recorded contents of a session and is so. A record that proves nothing does where all of it
/// was said.
fn prove_known(session: &mut OpenSession<'_>, said: &Said, proven: &mut BTreeSet<PathBuf>) -> Result<(), ArchiveError> {
    let mut now_proven = Vec::new();
    for (name, record) in session.ledger.records() {
        let path = path_of(&session.key, name, record);
        let spelled = PathBuf::from(spelled(&path));
        let Some((bytes, blake3)) = said.get(&spelled).filter(|_| !proven.contains(&spelled)) else { continue };
        let begins = begins_with(session.archive, &path, *bytes, blake3)?;
        if begins && !record.is_proven() && (record.bytes, record.blake3) == (*bytes, *blake3) {
            // Equal in every byte, as was just seen. Whether it was ever synced is not known.
            session.sync_content(name)?;
            let record = Record { verification: Verification::Compared, ..record.clone() };
            now_proven.push(Entry::Commit(name.clone(), Box::new(record)));
        }
        if begins || has_moved(session, said, *bytes, blake3)? {
            proven.insert(spelled);
        }
    }
    if now_proven.is_empty() { Ok(()) } else { session.commit(&now_proven) }
}

fn record_one(
    session: &mut OpenSession<'_>,
    name: &StoredName,
    said: &Said,
    proven: &mut BTreeSet<PathBuf>,
) -> Result<(), ArchiveError> {
    let (key, slot) = (session.key.clone(), session.slot(name));
    let Some(form) = slot.form()? else { return Ok(()) };
    let path = content_path(&key, name, form);
    let spelled = PathBuf::from(spelled(&path));
    let (verification, is_held) = match said.get(&spelled) {
        Some((bytes, blake3)) if begins_with(session.archive, &path, *bytes, blake3)? => {
            cut(session, &path, *bytes)?;
            (Verification::Compared, true)
        }
        // Another content was recorded under this name, and lies under another one now: this one is newer.
        Some((bytes, blake3)) if has_moved(session, said, *bytes, blake3)? => (Verification::Found, true),
        // It may have been said of another that is spelled alike.
        Some(_) if spelled == path => return Ok(()),
        _ => (Verification::Found, false),
    };
    let record = record_of_slot(session.slot(name), verification)?;
    session.sync_content(name)?;
    session.commit(&[Entry::Commit(name.clone(), Box::new(record))])?;
    if is_held {
        proven.insert(spelled);
    }
    Ok(())
}

fn begins_with(archive: &Archive, rel: &Path, bytes: u64, blake3: &Hash) -> Result<bool, ArchiveError> {
    let path = archive.root().join(rel);
    let Some(dir) = archive.parent_of(rel)? else { return Ok(false) };
    let Some(file) = dir.open_own_file(rel.file_name().unwrap_or_default())? else { return Ok(false) };
    let there = fs::stat_of(&file, &path)?.st_size as u64;
    Ok(there >= bytes && fs::hash_of_prefix(&file, bytes, &path)? == *blake3)
}

fn cut(session: &OpenSession<'_>, rel: &Path, bytes: u64) -> Result<(), ArchiveError> {
    let path = session.archive.root().join(rel);
    let Some(dir) = session.archive.parent_of(rel)? else { return Ok(()) };
    let Some(file) = dir.open_own_file_for_writing(rel.file_name().unwrap_or_default())? else { return Ok(()) };
    if fs::stat_of(&file, &path)?.st_size as u64 > bytes {
        session.begin_writing()?;
        fs::truncate(&file, bytes, &path)?;
    }
    Ok(())
}

/// Whether an older content of the session, of which nothing was said, is what was said of a newest one.
fn has_moved(session: &OpenSession<'_>, said: &Said, bytes: u64, blake3: &Hash) -> Result<bool, ArchiveError> {
    let names = contents_on_disk(session.archive, &session.key)?;
    for name in names.into_iter().filter(|name| name.generation > 0) {
        let other = content_path(&session.key, &name, Form::Plain);
        if !said.contains_key(Path::new(&spelled(&other))) && begins_with(session.archive, &other, bytes, blake3)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The file of a record, relative to the store.
fn path_of(key: &SessionKey, name: &StoredName, record: &Record) -> PathBuf {
    content_path(key, name, if record.compressed.is_some() { Form::Compressed } else { Form::Plain })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Compare, Forgotten, SaveRequest, committed};
    use crate::fs::replace_file;
    use crate::names::{FileName, SessionId};

    fn said(files: &[(&str, &str)]) -> Said {
        files.iter().map(|(path, text)| (path.into(), (text.len() as u64, blake3::hash(text.as_bytes())))).collect()
    }

    fn store(dir: &tempfile::TempDir, name: &str) -> (PathBuf, Archive) {
        let root = dir.path().join(name);
        let archive = Archive::create(&root).unwrap();
        (root, archive)
    }

    #[test]
    fn what_is_said_is_cut_to_and_proven_and_what_is_not_is_kept_as_found() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create(dir.path()).unwrap();
        for (path, text) in [
            ("p/a.jsonl", "one\nand what came after\n"),
            ("p/a/side.txt", "side"),
            ("p/a/later.txt", "not said"),
            // It was sealed as the newest one; a version began before it was read.
            ("p/b.jsonl", "new"),
            ("p/b.gen-0001.jsonl", "old and more"),
            ("p/c.jsonl", "damaged"),
        ] {
            replace_file(&dir.path().join(path), text.as_bytes()).unwrap();
        }
        let said = said(&[
            ("p/a.jsonl", "one\n"),
            ("p/a/side.txt", "side"),
            ("p/b.jsonl", "old"),
            ("p/c.jsonl", "DAMAGED"),
            ("p/d.jsonl", "gone"),
        ]);
        for _ in 0..2 {
            // A second run takes in nothing and says the same.
            let wrong = archive.record_returned(&said).unwrap();
            assert_eq!(wrong, [Path::new("p/c.jsonl"), Path::new("p/d.jsonl")]);
        }
        assert_eq!(std::fs::read(dir.path().join("p/a.jsonl")).unwrap(), b"one\n");
        assert_eq!(std::fs::read(dir.path().join("p/b.gen-0001.jsonl")).unwrap(), b"old and more");
        let findings = archive.verify(None).unwrap();
        let found: Vec<_> = findings.iter().map(|it| format!("{} {}", it.path, it.kind.as_str())).collect();
        assert_eq!(found, ["c.jsonl bookkeeping-lost"]);
        assert_eq!(committed(dir.path()).unwrap().len(), 6, "and what is not recorded, as it lies there");
    }

    #[test]
    fn what_is_taken_in_writes_over_nothing_that_went_on_here() {
        let dir = tempfile::tempdir().unwrap();
        let [(here, into), (there, from)] = ["here", "there"].map(|name| store(&dir, name));
        let save = |id: &str, text: &str| {
            let transcript = dir.path().join("projects/-p").join(format!("{id}.jsonl"));
            replace_file(&transcript, text.as_bytes()).unwrap();
            let id = SessionId::parse(id).unwrap();
            let (compare, progress) = (Compare::Whole, &|_: u64| {});
            let request =
                SaveRequest { id: &id, transcript: &transcript, project: None, cwd: Some("/p"), compare, progress };
            into.save(&request).unwrap();
        };
        save("grown", "one\ntwo\n");
        save("another", "something else\n");
        // Moved by a run that was killed before it recorded that.
        replace_file(&here.join("p/moved.jsonl"), b"moved\n").unwrap();
        let unwanted = SessionId::parse("unwanted").unwrap();
        into.note_forgotten(&unwanted, &Forgotten::new(&unwanted, 1)).unwrap();
        let sent = [
            ("p/grown.jsonl", "one\n"),
            ("p/another.jsonl", "one\n"),
            ("p/absent.jsonl", "new\n"),
            ("p/absent.gen-0001.jsonl", "old\n"),
            ("p/absent/side.txt", "side"),
            ("p/unwanted.jsonl", "one\n"),
        ];
        for (path, text) in sent {
            replace_file(&there.join(path), text.as_bytes()).unwrap();
        }
        let said = said(&[&sent[..], &[("p/moved.jsonl", "moved\n"), ("p/damaged.jsonl", "one\n")]].concat());
        from.record_returned(&said).unwrap();
        for _ in 0..2 {
            // A second run takes in nothing and says the same.
            assert_eq!(into.take_returned(&from, &said).unwrap(), [Path::new("p/damaged.jsonl")]);
        }
        let read = |path: &str| std::fs::read_to_string(here.join(path)).unwrap();
        for (path, text) in [
            ("p/grown.jsonl", "one\ntwo\n"),
            ("p/another.jsonl", "one\n"),
            ("p/another.gen-0001.jsonl", "something else\n"),
            ("p/absent.jsonl", "new\n"),
            ("p/absent.gen-0001.jsonl", "old\n"),
            ("p/absent/side.txt", "side"),
        ] {
            assert_eq!(read(path), text, "{path}");
        }
        assert!(!here.join("p/unwanted.jsonl").exists());
        assert!(!there.join("p/absent.jsonl").exists(), "it was moved");
        assert!(into.verify(None).unwrap().is_empty(), "{:?}", into.verify(None));
    }

    #[test]
    fn a_damaged_file_is_missing_whatever_came_back_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let [(here, into), (there, from)] = ["here", "there"].map(|name| store(&dir, name));
        for (path, text) in [("p/a.jsonl", "damaged"), ("p/a.gen-0001.jsonl", "old"), ("p/a/side.txt", "side")] {
            replace_file(&there.join(path), text.as_bytes()).unwrap();
        }
        let said = said(&[("p/a.jsonl", "DAMAGED"), ("p/a.gen-0001.jsonl", "old"), ("p/a/side.txt", "side")]);
        for _ in 0..2 {
            assert_eq!(from.record_returned(&said).unwrap(), [Path::new("p/a.jsonl")]);
        }
        for _ in 0..2 {
            assert_eq!(into.take_returned(&from, &said).unwrap(), [Path::new("p/a.jsonl")]);
        }
        assert!(!here.join("p/a.jsonl").exists() && here.join("p/a/side.txt").exists());
    }

    #[test]
    fn what_was_killed_between_two_records_is_proven_by_the_next_run() {
        let sent = [("p/a.jsonl", "new\n"), ("p/a.gen-0001.jsonl", "old\n"), ("p/a/side.txt", "side")];
        let said = said(&sent);
        let key = SessionKey::parse("p", "a").unwrap();
        // A run has recorded one of them; before, that wrote of the others what proves nothing. Or it had moved them all.
        for (is_of_before, is_moved) in [(false, false), (true, false), (false, true), (true, true)] {
            let dir = tempfile::tempdir().unwrap();
            let [(here, into), (there, from)] = ["here", "there"].map(|name| store(&dir, name));
            let (archive, root) = if is_moved { (&into, &here) } else { (&from, &there) };
            for (path, text) in sent {
                replace_file(&root.join(path), text.as_bytes()).unwrap();
            }
            let lock = SessionLock::wait(archive, &key.id).unwrap();
            let mut session = match is_of_before {
                true => OpenSession::open(archive, key.clone(), lock).unwrap(),
                false => open(archive, &key, lock).unwrap().0,
            };
            let name = StoredName::newest(FileName::Transcript);
            record_one(&mut session, &name, &said, &mut BTreeSet::new()).unwrap();
            drop(session);
            let recorded = archive.ledger(&key).unwrap().records().count();
            assert_eq!(recorded, if is_of_before { 3 } else { 1 });
            from.record_returned(&said).unwrap();
            assert!(into.take_returned(&from, &said).unwrap().is_empty());
            assert_eq!(into.files(&key).unwrap().len(), 3);
            assert!(into.verify(None).unwrap().is_empty(), "{:?}", into.verify(None));
        }
    }

    #[test]
    fn what_a_damaged_ledger_said_is_proven_by_what_was_sent_alone() {
        let dir = tempfile::tempdir().unwrap();
        let [(here, into), (_, from)] = ["here", "there"].map(|name| store(&dir, name));
        let sent = [("p/a.jsonl", "new\n"), ("p/a/side.txt", "side"), ("p/a/other.txt", "flipped")];
        for (path, text) in sent {
            replace_file(&here.join(path), text.as_bytes()).unwrap();
        }
        into.record_returned(&said(&sent)).unwrap();
        let ledger = here.join(".state/sessions/a/p.ledger");
        std::fs::write(&ledger, "damaged\n").unwrap();
        assert!(into.take_returned(&from, &said(&sent[..2])).unwrap().is_empty());
        let findings = into.verify(None).unwrap();
        let found: Vec<_> = findings.iter().map(|it| format!("{} {}", it.path, it.kind.as_str())).collect();
        assert_eq!(found, ["a/other.txt unproven"]);
    }
}
