//! Everything that a store has committed, as files: what a copy of the store has to hold to be a copy of it.

use std::path::{Path, PathBuf};

use super::paths::{Form, content_path};
use super::rebuild_ledger::rebuild;
use super::store::Archive;
use super::types::{ArchiveError, SessionKey};
use crate::Hash;
use crate::config::places::memories_of;

/// A file of a store and how much of it is committed. What stands behind that is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Whose content it is.
    pub key: SessionKey,
    /// Whether it is of what Claude Code remembers of a project, in the store of memories inside this one.
    pub is_memory: bool,
    /// The file as it lies on the disk, compressed or not, relative to the store's root.
    pub path: PathBuf,
    /// 0 for the newest content.
    pub generation: u32,
    /// Committed length of that file.
    pub bytes: u64,
    /// Plain BLAKE3 of its first `bytes` bytes.
    pub blake3: Hash,
}

/// All that is committed in a store and in the store of memories inside it, sorted by path: what the ledgers say, and
/// where one is lost, what lies on the disk. Writes nothing. Empty where there is no store.
///
/// Ledgers are read one after the other, without any lock: what is committed meanwhile may be missing, and what is said
/// of each file was true when its ledger was read.
pub fn committed(store: &Path) -> Result<Vec<Committed>, ArchiveError> {
    let mut all = Vec::new();
    let memories = memories_of(store);
    for (root, is_memory) in [(store, false), (memories.as_path(), true)] {
        let Some(archive) = Archive::open(root)? else { continue };
        let below = root.strip_prefix(store).unwrap_or(Path::new(""));
        for key in archive.sessions()? {
            all.extend(of_session(&archive, &key)?.into_iter().map(|(path, generation, bytes, blake3)| Committed {
                key: key.clone(),
                is_memory,
                path: below.join(path),
                generation,
                bytes,
                blake3,
            }));
        }
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

type File = (PathBuf, u32, u64, Hash);

fn of_session(archive: &Archive, key: &SessionKey) -> Result<Vec<File>, ArchiveError> {
    let mut ledger = archive.ledger(key)?;
    if ledger.is_empty() || ledger.is_damaged {
        rebuild(archive, key, &mut ledger)?;
    }
    let file = |(name, record): (&crate::names::StoredName, &super::ledger::Record)| {
        let (form, bytes, blake3) = match record.compressed {
            Some(packed) => (Form::Compressed, packed.bytes, packed.blake3),
            None => (Form::Plain, record.bytes, record.blake3),
        };
        (content_path(key, name, form), name.generation, bytes, blake3)
    };
    Ok(ledger.records().map(file).collect())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::archive::{Compare, SaveRequest};
    use crate::fs::replace_file;
    use crate::names::SessionId;

    #[test]
    fn what_is_committed_is_what_lies_there_older_contents_sides_and_memories_too() {
        let dir = tempfile::tempdir().unwrap();
        let (store, source) = (dir.path().join("store"), dir.path().join("projects/-p/s1.jsonl"));
        let archive = Archive::create(&store).unwrap();
        let id = SessionId::parse("s1").unwrap();
        let save = |archive: &Archive, text: &str| {
            replace_file(&source, text.as_bytes()).unwrap();
            let request = SaveRequest {
                id: &id,
                transcript: &source,
                project: None,
                cwd: Some("/p"),
                compare: Compare::Whole,
                progress: &|_| {},
            };
            archive.save(&request).unwrap();
        };
        replace_file(&source.with_extension("").join("tool-results/a.txt"), b"aside").unwrap();
        save(&archive, "one\ntwo\n");
        save(&archive, "three\n");
        save(&Archive::create(&memories_of(&store)).unwrap(), "remembered\n");
        // Not committed: the store does not say that it is there.
        std::fs::OpenOptions::new()
            .append(true)
            .open(store.join("p/s1.jsonl"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"torn"))
            .unwrap();
        let all = committed(&store).unwrap();
        for file in &all {
            let bytes = std::fs::read(store.join(&file.path)).unwrap();
            assert_eq!(blake3::hash(&bytes[..file.bytes as usize]), file.blake3, "{}", file.path.display());
        }
        let seen: Vec<_> = all.iter().map(|f| format!("{} {} {}", f.path.display(), f.generation, f.bytes)).collect();
        insta::assert_snapshot!(seen.join("\n"), @r#"
        .memory/p/s1/tool-results/a.txt 0 5
        .memory/p/s1.jsonl 0 11
        p/s1/tool-results/a.txt 0 5
        p/s1.gen-0001.jsonl 1 8
        p/s1.jsonl 0 6
        "#);
        assert!(committed(&dir.path().join("none")).unwrap().is_empty());
    }

    /// Plain or compressed, with its bookkeeping or without.
    #[test]
    fn what_is_committed_is_named_as_it_lies_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let archive = Archive::create(&store).unwrap();
        let source = dir.path().join("projects/-p/s1.jsonl");
        for text in ["one\n".repeat(1000), "two\n".to_owned()] {
            replace_file(&source, text.as_bytes()).unwrap();
            let request = SaveRequest {
                id: &SessionId::parse("s1").unwrap(),
                transcript: &source,
                project: None,
                cwd: Some("/p"),
                compare: Compare::Whole,
                progress: &|_| {},
            };
            archive.save(&request).unwrap();
        }
        let key = archive.sessions().unwrap().remove(0);
        let older = archive.files(&key).unwrap().into_iter().find(|file| file.name.generation == 1).unwrap();
        archive.compress(&key, &older, 9).unwrap().unwrap();
        for is_lost in [false, true] {
            if is_lost {
                std::fs::remove_dir_all(store.join(".state/sessions")).unwrap();
            }
            let all = committed(&store).unwrap();
            let packed = all.iter().find(|file| file.path == Path::new("p/s1.gen-0001.jsonl.zst")).unwrap();
            assert_eq!(blake3::hash(&std::fs::read(store.join(&packed.path)).unwrap()), packed.blake3);
            assert!(all.iter().all(|file| store.join(&file.path).exists()), "{all:?}");
        }
    }
}
