//! Forgetting, in one store: the tombstone, then the contents, or what of them holds a text.

use std::fs::File;
use std::path::Path;

use super::append::{self, Source};
use super::forgotten::{FOLDER, Forgotten, file_name};
use super::ledger::{Entry, Record};
use super::marks::{HeldBy, Needle};
use super::rebuild_ledger::contents_on_disk;
use super::removal::finish;
use super::save::verify_by;
use super::session::{OpenSession, SessionLock};
use super::store::Archive;
use super::types::{ArchiveError, Compare, SessionKey};
use crate::claude::side_files::{open_source, source_path};
use crate::claude::survey::FoundTranscript;
use crate::claude::transcripts::open_transcript;
use crate::fs;
use crate::names::{FileName, SessionId, StoredName};

impl Archive {
    /// Writes the tombstone durably. From then on nothing of the conversation is stored.
    pub fn note_forgotten(&self, id: &SessionId, forgotten: &Forgotten) -> Result<(), ArchiveError> {
        let _lock = SessionLock::wait(self, id)?;
        let folder = self.synced_dir(Path::new(FOLDER), &|_| Ok(false))?;
        // Plain fields: this cannot fail.
        let text = serde_json::to_string(forgotten).expect("it serialises") + "\n";
        Ok(folder.replace_file(&file_name(id), text.as_bytes())?)
    }

    /// Takes the tombstone away: what Claude Code has of the conversation is stored again. Whether there was one.
    pub fn let_back(&self, id: &SessionId) -> Result<bool, ArchiveError> {
        let _lock = SessionLock::wait(self, id)?;
        match self.root.open_beneath(Path::new(FOLDER))? {
            Some(dir) => Ok(dir.remove(&file_name(id))?),
            None => Ok(false),
        }
    }

    /// Removes all that the store holds of a session, as [`Archive::prune_session`] does, but whatever is there by now,
    /// recorded or not. `between` runs when the session counts as gone; what it gives is held until everything is unlinked.
    pub fn forget_session<E: From<ArchiveError>, H>(
        &self,
        key: &SessionKey,
        between: impl FnOnce() -> Result<H, E>,
    ) -> Result<(), E> {
        self.sync_store()?;
        let lock = SessionLock::wait(self, &key.id)?;
        let ledger = lock.ledger(key)?;
        let mut session = OpenSession::as_left(self, key.clone(), lock, ledger)?;
        // What a killed run had begun is not finished first: all of it goes.
        session.remove_left_temp()?;
        session.commit(&[Entry::PruneAll])?;
        let _held = between()?;
        finish(&mut session)?;
        session.finish();
        Ok(())
    }

    /// The lines of a session's contents that hold a text, recorded or not. What cannot be unpacked holds none.
    pub fn held_by(&self, key: &SessionKey, needle: &Needle) -> Result<HeldBy, ArchiveError> {
        let mut held = HeldBy::default();
        for name in contents_on_disk(self, key)? {
            let slot = self.slot(key, &name);
            match slot.open() {
                Ok(file) => held.add(needle.lines_of(&file, &slot.path())?),
                Err(error) if slot.is_unreadable(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(held)
    }

    /// How long a file of Claude Code's would be in this store, if messages of it were forgotten. `None` where all of it is
    /// stored as it is, or the file is no plain file.
    pub fn stored_bytes(&self, id: &SessionId, path: &Path) -> Result<Option<u64>, ArchiveError> {
        let Some(forgotten) = self.forgotten(id)?.filter(|forgotten| !forgotten.is_whole()) else { return Ok(None) };
        let Some(file) = open_transcript(path)? else { return Ok(None) };
        Ok(forgotten.marks.view(&file, path, self.root())?.map(|(_, bytes)| bytes))
    }

    /// Replaces what is marked ([`super::Forgotten`]) in every content of a session that holds it, and removes what was
    /// there; how many contents that were. Safe to kill at any point, and to repeat.
    pub fn redact(&self, key: &SessionKey) -> Result<u64, ArchiveError> {
        let mut session = self.open_session(key)?;
        let (marks, mut changed) = (session.marks.clone(), 0);
        let names: Vec<StoredName> = session.ledger.records().map(|(name, _)| name.clone()).collect();
        // The older ones first: they get the numbers behind.
        let (newest, older): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.generation == 0);
        for name in older.into_iter().chain(newest) {
            let slot = self.slot(key, &name);
            if slot.form()?.is_none() {
                continue;
            }
            let path = slot.path();
            let Some((view, bytes)) = marks.view(&slot.open()?, &path, self.root())? else { continue };
            let blake3 = fs::hash_of_prefix(&view, bytes, &path)?;
            let open = || slot.open().map(Some);
            let source =
                Source { path: &path, open: &open, may_lag: false, in_versions: true, marks: &marks, dir: self.root() };
            // A run that was killed may have put an older one there already, and nobody proved it; or it took the newest
            // content away, whose place the last of the older ones takes then.
            let records = || session.ledger.records_of(&name.file);
            let is_there = |record: &Record| record.blake3 == blake3 && record.is_proven();
            let is_done = records().any(|(_, record)| is_there(record));
            let is_newest =
                records().all(|(other, _)| name.generation == 0 || (1..=name.generation).contains(&other.generation));
            let before = session.ledger.generation_max(&name.file);
            let mut gone = name.clone();
            if is_newest {
                append::save(&mut session, &name.file, &source, Compare::Whole, &|_| {})?;
                if name.generation == 0 {
                    gone.generation = session.ledger.generation_max(&name.file);
                }
                // Its damaged form went to quarantine.
                if name.generation == 0 && gone.generation == before {
                    changed += 1;
                    continue;
                }
            } else if !is_done && !verify_by(&mut session, &name.file, &blake3)? {
                append::add_generation(&mut session, &name.file, &source, bytes)?;
            }
            session.commit(&[Entry::Prune(gone)])?;
            finish(&mut session)?;
            changed += 1;
        }
        session.finish();
        Ok(changed)
    }
}

/// The lines that hold a text of what Claude Code has of a conversation, side files included. What cannot be read holds
/// none, and is not copied either.
pub fn held_by_source(found: &FoundTranscript, needle: &Needle) -> HeldBy {
    let mut held = HeldBy::default();
    let mut look = |file: Option<File>, path: &Path| {
        let lines = file.map(|file| needle.lines_of(&file, path));
        held.add(lines.and_then(Result::ok).unwrap_or_default());
    };
    look(open_transcript(&found.path).ok().flatten(), &found.path);
    for side in found.side_files().found {
        let name = FileName::Side(side.rel);
        look(open_source(&found.path, &found.id, &name).ok().flatten(), &source_path(&found.path, &found.id, &name));
    }
    held
}

#[cfg(test)]
// A test plays the part of a user and of a killed run.
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::archive::ledger::Intent;
    use crate::archive::{Compare, SaveReport, SaveRequest, StoredFile, TranscriptState};

    fn id(text: &str) -> SessionId {
        SessionId::parse(text).unwrap()
    }

    fn save(archive: &Archive, transcript: &Path) -> SaveReport {
        let id = SessionId::of_transcript(transcript).unwrap();
        let (compare, progress) = (Compare::Whole, &|_| {});
        archive.save(&SaveRequest { id: &id, transcript, project: None, cwd: None, compare, progress }).unwrap()
    }

    #[test]
    fn what_is_forgotten_is_neither_stored_nor_behind_nor_taken_over_until_it_is_let_back() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| Archive::create(&dir.path().join(name)).unwrap());
        let transcript = dir.path().join("s1.jsonl");
        crate::fs::replace_file(&transcript, b"{\"cwd\":\"/h/p\"}\n").unwrap();
        let key = save(&other, &transcript).key.unwrap();
        assert_eq!(one.forgotten(&id("s1")).unwrap(), None);
        assert!(one.is_behind(&id("s1"), &transcript).unwrap());
        let forgotten = Forgotten::new(&id("s1"), 7);
        one.note_forgotten(&id("s1"), &forgotten).unwrap();
        assert_eq!(one.forgotten(&id("s1")).unwrap(), Some(forgotten));
        let report = save(&one, &transcript);
        assert_eq!((report.transcript, report.key), (TranscriptState::Forgotten, None));
        assert!(!one.is_behind(&id("s1"), &transcript).unwrap());
        let files = other.files(&key).unwrap();
        let refused = one.replicate(&key, &other, &key, &files, &|_| {}).unwrap_err();
        assert!(matches!(refused, ArchiveError::Forgotten { .. }), "{refused}");
        assert_eq!(one.sessions().unwrap(), []);
        // Other ids are nobody's but their own, be they spelled alike on this file system.
        let named = one.root().join(FOLDER).join("S1.json");
        std::fs::copy(one.root().join(FOLDER).join("s1.json"), named).unwrap();
        assert_eq!(one.forgotten(&id("S1")).unwrap(), None);
        assert_eq!(one.all_forgotten().unwrap().len(), 1);
        assert!(one.let_back(&id("s1")).unwrap() && !one.let_back(&id("s1")).unwrap());
        assert_eq!(save(&one, &transcript).transcript, TranscriptState::Stored);
    }

    #[test]
    fn all_that_is_there_goes_whatever_its_bookkeeping_says() {
        for damage in ["", "not a ledger\n", "recorded"] {
            let dir = tempfile::tempdir().unwrap();
            let archive = Archive::create(&dir.path().join("store")).unwrap();
            let transcript = dir.path().join("s1.jsonl");
            crate::fs::replace_file(&transcript, b"{\"cwd\":\"/h/p\"}\n").unwrap();
            let key = save(&archive, &transcript).key.unwrap();
            let at = |rel: &str| archive.root().join(rel);
            if damage != "recorded" {
                std::fs::write(at(".state/sessions/s1/p.ledger"), damage).unwrap();
            }
            for unrecorded in
                ["p/s1.gen-0007.jsonl", "p/s1/a/b", "p/s1.json", "p/s1.events.jsonl", ".state/sessions/s1/new"]
            {
                std::fs::create_dir_all(at(unrecorded).parent().unwrap()).unwrap();
                std::fs::write(at(unrecorded), "x").unwrap();
            }
            // The second time as after a run that was killed at its end.
            for _ in 0..2 {
                archive.forget_session::<ArchiveError, ()>(&key, || Ok(())).unwrap();
                let left: Vec<_> = std::fs::read_dir(at("p")).unwrap().collect();
                assert!(left.is_empty(), "{damage:?}: {left:?}");
                let state = std::fs::read_dir(at(".state/sessions/s1")).unwrap();
                let names: Vec<_> = state.map(|entry| entry.unwrap().file_name()).collect();
                assert_eq!(names, ["lock"], "{damage:?}");
                assert_eq!(archive.sessions().unwrap(), []);
            }
        }
    }

    /// Every content of a session as text, by its path.
    fn contents(archive: &Archive, key: &SessionKey) -> Vec<(String, String)> {
        let text = |file: &StoredFile| {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut archive.slot(key, &file.name).open().unwrap(), &mut text).unwrap();
            text
        };
        archive.files(key).unwrap().iter().map(|file| (file.path.clone(), text(file))).collect()
    }

    #[test]
    fn messages_that_are_forgotten_are_in_no_version_and_the_conversation_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create(&dir.path().join("store")).unwrap();
        let transcript = dir.path().join("s1.jsonl");
        let write = |text: &str| std::fs::write(&transcript, text).unwrap();
        let (first, hush, last) = ("{\"cwd\":\"/h/p\"}\n", "{\"a\":\"hush now\"}\n", "{\"a\":\"on\"}\n");
        for older in ["old\n", "older hush\n", ""] {
            write(&[first, older, hush].concat());
            std::fs::create_dir_all(dir.path().join("s1")).unwrap();
            std::fs::write(dir.path().join("s1/side.txt"), format!("{older}hush\nkept\n")).unwrap();
            save(&archive, &transcript);
        }
        let key = archive.sessions().unwrap().remove(0);
        let needle = Needle::new("hush");
        for file in archive.files(&key).unwrap().iter().filter(|file| file.path.ends_with(".gen-0001.jsonl")) {
            archive.compress(&key, file, 3).unwrap();
        }
        let held = archive.held_by(&key, &needle).unwrap();
        assert_eq!((held.lines, held.structural), (3 + 1 + 3 + 1, 0));
        let mut forgotten = Forgotten::new(&key.id, 1);
        forgotten.marks = held.marks;
        archive.note_forgotten(&key.id, &forgotten).unwrap();
        assert!(!archive.is_forgotten(&key.id).unwrap());
        // As a run leaves it that was killed after it had put an older one there, and before it recorded it.
        let replaced = [first, "old\n", "{\"a\":\"[removed by threefold forget]\"}\n"].concat();
        std::fs::write(archive.root().join("p/s1.gen-0003.jsonl"), &replaced).unwrap();
        let mut session = archive.open_session(&key).unwrap();
        session.commit(&[Entry::Begin(FileName::Transcript, Intent::Add { to: 3 })]).unwrap();
        drop(session);
        assert_eq!(archive.redact(&key).unwrap(), 6);
        assert_eq!(archive.redact(&key).unwrap(), 0);
        let check = |last: &str| {
            let all = contents(&archive, &key);
            assert!(all.iter().all(|(_, text)| !text.contains("hush")), "{all:?}");
            assert_eq!(all.len(), 6, "{all:?}");
            let newest = &all.iter().find(|(path, _)| path == "s1.jsonl").unwrap().1;
            let (begin, end) = newest.split_once("[removed by threefold forget]").unwrap();
            assert!(begin.starts_with(first) && end.ends_with(last), "{newest}");
            let findings: Vec<_> = archive.verify(None).unwrap();
            assert!(findings.is_empty(), "{findings:?}");
        };
        check("\"}\n");
        // The client goes on in its own file, which still has all of it.
        write(&[first, hush, last].concat());
        assert!(archive.is_behind(&key.id, &transcript).unwrap());
        let report = save(&archive, &transcript);
        assert_eq!((report.generations_begun, report.bytes_added), (0, last.len() as u64));
        assert!(!archive.is_behind(&key.id, &transcript).unwrap());
        check(last);
        // Another store that has it still does not give it back.
        let other = Archive::create(&dir.path().join("other")).unwrap();
        let from = save(&other, &transcript).key.unwrap();
        let taken = archive.replicate(&key, &other, &from, &other.files(&from).unwrap(), &|_| {}).unwrap();
        assert!(taken.iter().any(Result::is_err));
        check(last);
    }

    #[test]
    fn a_newest_content_that_a_killed_run_took_away_is_the_newest_again() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create(&dir.path().join("store")).unwrap();
        let transcript = dir.path().join("s1.jsonl");
        std::fs::write(&transcript, "{\"cwd\":\"/h/p\"}\nhush\n").unwrap();
        let key = save(&archive, &transcript).key.unwrap();
        std::fs::remove_file(&transcript).unwrap();
        let mut forgotten = Forgotten::new(&key.id, 1);
        forgotten.marks = archive.held_by(&key, &Needle::new("hush")).unwrap().marks;
        archive.note_forgotten(&key.id, &forgotten).unwrap();
        let mut session = archive.open_session(&key).unwrap();
        let newest = StoredName::newest(FileName::Transcript);
        let record = session.ledger.record(&newest).cloned().unwrap();
        session.rotate(&FileName::Transcript, record).unwrap();
        drop(session);
        assert_eq!(archive.redact(&key).unwrap(), 1);
        let [(path, text)] = contents(&archive, &key).try_into().unwrap();
        assert!(path == "s1.jsonl" && text.ends_with("}\n[removed by threefold forget]\n"), "{path}: {text}");
        assert!(archive.verify(None).unwrap().is_empty());
    }
}
