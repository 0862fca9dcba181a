//! What a copy of a store brought back: files without any bookkeeping, and somebody's record of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::ledger::{Entry, Record};
use super::paths::{Form, content_path};
use super::rebuild_ledger::{contents_on_disk, record_of_slot, unrecorded};
use super::session::{OpenSession, SessionLock};
use super::store::Archive;
use super::types::{ArchiveError, SessionKey, Verification};
use crate::Hash;
use crate::fs;
use crate::names::StoredName;

/// What was recorded of files, by their paths in the store: length, and plain BLAKE3 of so many bytes.
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
            // Of a session without a ledger the opened one knows every content as it lies there, which proves nothing.
            let recorded = lock.ledger(&key)?;
            let mut session = OpenSession::open(self, key.clone(), lock)?;
            for name in unrecorded(self, &key, &recorded)? {
                record_one(&mut session, &name, said, &mut proven)?;
            }
            // What a run before this one took in, it has recorded.
            let known = session.ledger.records().map(|(name, record)| path_of(&key, name, record));
            for path in known.filter(|path| !proven.contains(path)).collect::<Vec<_>>() {
                let Some((bytes, blake3)) = said.get(&path) else { continue };
                if begins_with(self, &path, *bytes, blake3)? || has_moved(&session, said, *bytes, blake3)? {
                    proven.insert(path);
                }
            }
            session.finish();
        }
        let is_missing = |path: &&PathBuf| !proven.contains(*path);
        Ok(said.keys().filter(is_missing).cloned().collect())
    }
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
    let is_proven = match said.get(&path) {
        Some((bytes, blake3)) if begins_with(session.archive, &path, *bytes, blake3)? => {
            cut(session, &path, *bytes)?;
            true
        }
        // Another content was recorded under this name, and lies under another one now: this one is newer.
        Some((bytes, blake3)) if has_moved(session, said, *bytes, blake3)? => false,
        Some(_) => return Ok(()),
        None => false,
    };
    let verification = if is_proven { Verification::Compared } else { Verification::Found };
    let record = record_of_slot(session.slot(name), verification)?;
    session.sync_content(name)?;
    session.commit(&[Entry::Commit(name.clone(), Box::new(record))])?;
    if said.contains_key(&path) {
        proven.insert(path);
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
        if !said.contains_key(&other) && begins_with(session.archive, &other, bytes, blake3)? {
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
    use crate::archive::committed;
    use crate::fs::replace_file;

    fn said(files: &[(&str, &str)]) -> Said {
        files.iter().map(|(path, text)| (path.into(), (text.len() as u64, blake3::hash(text.as_bytes())))).collect()
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
}
