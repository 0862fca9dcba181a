//! What one store has of a session and another has not, by what both have recorded now.
//!
//! Nothing is remembered for it, no counter and no receipt: a store that was put back to an older state, and may have
//! gone on from there, is found out by what it lacks.

use super::ledger::{Record, StoredFile};
use super::save::is_covered;
use super::store::Archive;
use super::types::{ArchiveError, SessionKey};

impl Archive {
    /// The session of this store that is `key` in another one: of the same project, else the only one of that id
    /// in both. `other` is that store, where it can be asked.
    pub fn same_session(&self, key: &SessionKey, other: Option<&Archive>) -> Result<Option<SessionKey>, ArchiveError> {
        let mut known = self.find(&key.id)?;
        if known.contains(key) {
            return Ok(Some(key.clone()));
        }
        // A store that cannot be asked has no second one to mistake it for.
        let others = other.and_then(|other| other.find(&key.id).ok()).map_or(1, |others| others.len());
        Ok(if known.len() == 1 && others == 1 { known.pop() } else { None })
    }

    /// Those of another store's `contents` of a session that this store lacks, older ones first: none of what it
    /// recorded as `key` and proved has these bytes or begins with them, and nobody had them removed from here. Reads no
    /// bytes but of a longer content.
    pub fn lacking(&self, key: Option<&SessionKey>, contents: &[StoredFile]) -> Result<Vec<StoredFile>, ArchiveError> {
        let mut lacking = Vec::new();
        let ledger = key.map(|key| Ok::<_, ArchiveError>((key, self.ledger(key)?))).transpose()?;
        for content in contents.iter().filter(|content| content.bytes > 0) {
            let is_held = match &ledger {
                None => false,
                Some((_, ledger)) if ledger.is_pruned(&content.name) => true,
                Some((key, ledger)) => {
                    let (file, bytes, blake3) = (&content.name.file, content.bytes, &content.blake3);
                    let is_it = |record: &Record| (record.bytes, &record.blake3) == (bytes, blake3);
                    ledger.records_of(file).any(|(_, record)| is_it(record) && record.is_proven())
                        || is_covered(self, key, ledger, file, bytes, blake3, &|_| {})?
                }
            };
            if !is_held {
                lacking.push(content.clone());
            }
        }
        lacking.sort_by_key(|content| content.name.generation.wrapping_sub(1));
        Ok(lacking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Compare, PruneReason, SaveRequest};
    use crate::names::SessionId;
    use std::path::{Path, PathBuf};

    struct Scene {
        dir: tempfile::TempDir,
        transcript: PathBuf,
    }

    impl Scene {
        fn new() -> Scene {
            let dir = tempfile::tempdir().unwrap();
            let transcript = dir.path().join("projects/-p/s1.jsonl");
            std::fs::create_dir_all(transcript.parent().unwrap()).unwrap();
            Scene { dir, transcript }
        }

        fn store(&self, name: &str) -> Archive {
            Archive::create(&self.dir.path().join(name)).unwrap()
        }

        fn save(&self, archive: &Archive, text: &str) {
            self.save_file(archive, &self.transcript, text);
        }

        fn save_file(&self, archive: &Archive, path: &Path, text: &str) {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            let (id, transcript) = (SessionId::parse("s1").unwrap(), self.transcript.as_path());
            let (compare, progress) = (Compare::Whole, &|_: u64| {});
            archive.save(&SaveRequest { id: &id, transcript, project: None, cwd: None, compare, progress }).unwrap();
        }
    }

    fn key(archive: &Archive) -> SessionKey {
        archive.sessions().unwrap().remove(0)
    }

    fn lacks(archive: &Archive, other: &Archive) -> Vec<(String, u64)> {
        let other_key = key(other);
        let own = archive.same_session(&other_key, Some(other)).unwrap();
        let lacking = archive.lacking(own.as_ref(), &other.files(&other_key).unwrap()).unwrap();
        lacking.into_iter().map(|file| (file.path, file.bytes)).collect()
    }

    /// What one store was given in turn, what the other was, and what that one lacks.
    #[test]
    fn what_a_store_lacks_is_known_whatever_it_was_and_went_on_to() {
        let newest = |bytes| ("s1.jsonl".to_owned(), bytes);
        let older = |n, bytes| (format!("s1.gen-{n:04}.jsonl"), bytes);
        for (one, other, expected) in [
            (&["a\n"][..], &["a\n"][..], vec![]),
            (&["a\n"], &["a\nb\n"], vec![]),
            (&["a\n", "a\nb\n"], &["a\n"], vec![newest(4)]),
            // It went back, and then went on to be longer than it had been.
            (&["a\n", "a\nb\n"], &["a\n", "a\nc\nd\ne\n"], vec![newest(4)]),
            (&["a\nb\n", "x\n"], &["a\n", "x\ny\n"], vec![older(1, 4)]),
            (&["a\nb\n", "x\n", "y\n"], &["y\n"], vec![older(1, 4), older(2, 2)]),
            (&["a\nb\n", "x\n", "y\n"], &["x\n"], vec![older(1, 4), newest(2)]),
            (&["x\n"], &["a\nb\n", "x\n"], vec![]),
            (&["x\n"], &[], vec![newest(2)]),
        ] {
            let scene = Scene::new();
            let (first, second) = (scene.store("first"), scene.store("second"));
            one.iter().for_each(|text| scene.save(&first, text));
            other.iter().for_each(|text| scene.save(&second, text));
            assert_eq!(lacks(&second, &first), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn a_side_file_counts_and_what_was_removed_on_command_is_not_lacking() {
        let scene = Scene::new();
        let (first, second) = (scene.store("first"), scene.store("second"));
        scene.save(&first, "a\n");
        scene.save(&second, "a\n");
        scene.save_file(&first, &scene.transcript.with_extension("").join("subagents/agent-1.jsonl"), "side\n");
        assert_eq!(lacks(&second, &first), [("s1/subagents/agent-1.jsonl".to_owned(), 5)]);
        for archive in [&first, &second] {
            ["gone\n", "stays\n"].iter().for_each(|text| scene.save(archive, text));
        }
        assert_eq!(lacks(&second, &first), []);
        let is_gone = |file: &StoredFile| file.name.generation > 0 && file.bytes == 5;
        let wanted: Vec<_> = second.files(&key(&second)).unwrap().into_iter().filter(is_gone).collect();
        second.prune_generations(&key(&second), &wanted, PruneReason::Named).unwrap();
        assert_eq!(lacks(&second, &first), []);
    }

    #[test]
    fn two_projects_of_one_id_are_no_session_of_a_third() {
        let scene = Scene::new();
        let (first, second) = (scene.store("first"), scene.store("second"));
        scene.save(&first, "{\"cwd\":\"/p\"}\n");
        scene.save(&second, "{\"cwd\":\"/p\"}\n");
        let other = SessionKey::parse("q", "s1").unwrap();
        assert_eq!(first.same_session(&other, None).unwrap(), Some(key(&first)));
        assert_eq!(first.same_session(&other, Some(&second)).unwrap(), Some(key(&first)));
        let another = scene.dir.path().join("projects/-q/s1.jsonl");
        std::fs::create_dir_all(another.parent().unwrap()).unwrap();
        std::fs::write(&another, "{\"cwd\":\"/q\"}\n").unwrap();
        let (id, compare) = (SessionId::parse("s1").unwrap(), Compare::Whole);
        let progress = &|_: u64| {};
        let request = SaveRequest { id: &id, transcript: &another, project: None, cwd: None, compare, progress };
        second.save(&request).unwrap();
        let third = SessionKey::parse("r", "s1").unwrap();
        assert_eq!(first.same_session(&third, Some(&second)).unwrap(), None);
    }
}
