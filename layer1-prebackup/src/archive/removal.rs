//! Unlinking what counts as removed. Nothing else in the archive unlinks a content (`compress`
//! unlinks one of its two forms).
//!
//! The ledger says first what is to go, synced; whoever opens the session next finishes what a killed run
//! did not, so each step can be taken twice.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::ledger::Entry;
use super::paths::{
    COMPRESSED_ENDING, Form, JOURNALS, QUARANTINE, content_path, is_side_folder_of, may_be_compressed, project_folder,
};
use super::rebuild_ledger::contents_on_disk;
use super::session::OpenSession;
use super::store::Archive;
use super::types::{ArchiveError, SessionKey};
use crate::fs::Lock;
use crate::names::{FileName, SessionId, StoredName};

/// A file that a repair replaced, or a ledger that was damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The session that it is of.
    pub key: SessionKey,
    /// Relative to the store's root.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// When it was set aside, or last changed, in milliseconds since 1970.
    pub changed_ms: u64,
}

impl Archive {
    /// What [`Archive::prune_session`] removes besides the recorded contents and the bookkeeping: metadata, a
    /// journal, what was set aside. Paths below the store, and lengths.
    pub fn leftovers(&self, key: &SessionKey) -> Result<Vec<(PathBuf, u64)>, ArchiveError> {
        let mut paths: Vec<PathBuf> = quarantined(self, key)?.into_iter().map(|file| file.path).collect();
        let others = self.find(&key.id)?.into_iter().any(|other| other != *key);
        if !others {
            paths.push(Path::new(JOURNALS).join(format!("{}.jsonl", key.id)));
        }
        let folder = project_folder(key);
        if let Some(dir) = self.root.open_beneath(folder)? {
            for (entry, kind) in dir.entries()? {
                if kind == FileType::RegularFile && is_beside(self, key, &entry)? {
                    paths.push(folder.join(entry));
                }
            }
        }
        let mut leftovers = Vec::new();
        for path in paths {
            if let Some(stat) = self.stat(&path)? {
                leftovers.push((path, stat.st_size as u64));
            }
        }
        Ok(leftovers)
    }
}

/// Unlinks what the ledger calls removed: see the module. Called whenever a session is opened.
pub(super) fn finish(session: &mut OpenSession<'_>) -> Result<(), ArchiveError> {
    if session.ledger.is_going {
        return finish_all(session);
    }
    let names = session.ledger.to_unlink();
    if names.is_empty() {
        return Ok(());
    }
    session.begin_writing()?;
    for name in &names {
        unlink_content(session.archive, &session.key, name)?;
    }
    session.commit(&names.into_iter().map(Entry::Pruned).collect::<Vec<_>>())?;
    forget_damage(session);
    Ok(())
}

/// What was damaged of what is gone. Where that cannot be taken back, nobody is told of what is recorded no more.
fn forget_damage(session: &OpenSession<'_>) {
    let _ = session.archive.are_gone(&session.key);
}

fn finish_all(session: &mut OpenSession<'_>) -> Result<(), ArchiveError> {
    session.begin_writing()?;
    let (archive, key) = (session.archive, session.key.clone());
    for name in contents_on_disk(archive, &key)? {
        unlink_content(archive, &key, &name)?;
    }
    let journals = archive.root.open_beneath(Path::new(JOURNALS))?;
    let journal = journals.map(|journals| Lock::wait_in(&journals, OsStr::new("lock"))).transpose()?;
    for (path, _) in archive.leftovers(&key)? {
        unlink(archive, &path)?;
    }
    drop(journal);
    // A killed run may have emptied folders and no more.
    for parent in [project_folder(&key).to_owned(), Path::new(QUARANTINE).join(key.project.as_str())] {
        remove_empty_folders(archive, &key.id, &parent)?;
    }
    session.remove_ledger()?;
    forget_damage(session);
    Ok(())
}

/// Unlinks a content in whichever form it lies there.
fn unlink_content(archive: &Archive, key: &SessionKey, name: &StoredName) -> Result<(), ArchiveError> {
    unlink(archive, &content_path(key, name, Form::Plain))?;
    if may_be_compressed(name) {
        unlink(archive, &content_path(key, name, Form::Compressed))?;
    }
    Ok(())
}

/// Unlinks a file below the store and the session's own folders above it that are empty then. The
/// project's folder stays: another session's writer may have it open. A file that is gone already
/// may have been unlinked by a run that was killed before its sync, so that is synced.
pub(super) fn unlink(archive: &Archive, rel: &Path) -> Result<(), ArchiveError> {
    let kept = if rel.starts_with(QUARANTINE) {
        3
    } else if rel.starts_with(".state") {
        usize::MAX
    } else {
        1
    };
    for at in rel.ancestors() {
        let is_file = at == rel;
        let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else { break };
        if !is_file && parent.components().count() < kept {
            break;
        }
        let Some(dir) = archive.root.open_beneath(parent)? else { continue };
        let removed = if is_file { dir.remove(name)? } else { dir.remove_dir_if_empty(name)? };
        if !removed {
            dir.sync()?;
        }
    }
    Ok(())
}

/// Removes the session's folders in `parent`, and those in them, where nothing lies in them.
fn remove_empty_folders(archive: &Archive, id: &SessionId, parent: &Path) -> Result<(), ArchiveError> {
    let Some(dir) = archive.root.open_beneath(parent)? else { return Ok(()) };
    let mut folders: Vec<PathBuf> = Vec::new();
    for (entry, kind) in dir.entries()? {
        if kind == FileType::Directory && is_side_folder_of(id, &entry.to_string_lossy()) {
            folders.push(parent.join(&entry));
            archive.root.walk(&parent.join(entry), &mut |_, rel, kind| {
                folders.extend((kind == FileType::Directory).then_some(rel));
                Ok(true)
            })?;
        }
    }
    // The deepest first.
    for folder in folders.iter().rev() {
        let above = folder.parent().unwrap_or(Path::new(""));
        if let (Some(dir), Some(name)) = (archive.root.open_beneath(above)?, folder.file_name()) {
            dir.remove_dir_if_empty(name)?;
        }
    }
    Ok(dir.sync()?)
}

pub(super) fn quarantined(archive: &Archive, key: &SessionKey) -> Result<Vec<Quarantined>, ArchiveError> {
    let folder = Path::new(QUARANTINE).join(key.project.as_str());
    let Some(dir) = archive.root.open_beneath(&folder)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (entry, kind) in dir.entries()? {
        let text = entry.to_string_lossy();
        match kind {
            FileType::RegularFile if is_quarantined_of(&key.id, &text) => found.push(folder.join(&entry)),
            FileType::Directory if is_side_folder_of(&key.id, &text) => {
                archive.root.walk(&folder.join(&entry), &mut |_, rel, kind| {
                    found.extend((kind == FileType::RegularFile).then_some(rel));
                    Ok(true)
                })?;
            }
            _ => {}
        }
    }
    let describe = |path: PathBuf| {
        let stat = archive.stat(&path)?;
        // The type of the fields differs between platforms.
        #[allow(clippy::unnecessary_cast)]
        let changed = stat.map(|stat| (stat.st_size as u64, (stat.st_ctime as i64).max(stat.st_mtime as i64)));
        let (bytes, seconds) = changed.unwrap_or_default();
        Ok(Quarantined { key: key.clone(), path, bytes, changed_ms: seconds.max(0) as u64 * 1000 })
    };
    found.into_iter().map(describe).collect()
}

/// `{ID}.jsonl`, `{ID}.gen-0001.jsonl`, either with a number behind, and `{ID}.ledger.{hash}`.
fn is_quarantined_of(id: &SessionId, name: &str) -> bool {
    let Some(rest) = name.strip_prefix(id.as_str()) else { return false };
    if let Some(hash) = rest.strip_prefix(".ledger.") {
        return !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    let is_content = |name: &str| {
        let name = name.strip_suffix(COMPRESSED_ENDING).unwrap_or(name);
        StoredName::parse(id, name).is_ok_and(|name| name.file == FileName::Transcript)
    };
    let numbered = name.rsplit_once('.').filter(|(_, n)| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()));
    is_content(name) || numbered.is_some_and(|(name, _)| is_content(name))
}

/// Metadata, a published journal, what the first version kept beside a session. An id may itself end
/// in `.found`: then what looks like ours is another session's.
fn is_beside(archive: &Archive, key: &SessionKey, entry: &OsString) -> Result<bool, ArchiveError> {
    let Some(rest) = entry.to_str().and_then(|text| text.strip_prefix(key.id.as_str())) else { return Ok(false) };
    match rest {
        ".json" | ".events.jsonl" | ".jsonl.official" => return Ok(true),
        _ => {}
    }
    let Some(stem) = rest.strip_suffix(".json").filter(|stem| stem.starts_with(".found")) else { return Ok(false) };
    let number = stem.trim_start_matches(".found").trim_start_matches('-');
    let other = SessionId::parse(&format!("{}{stem}", key.id)).ok();
    let is_anothers = other.map(|id| archive.find(&id)).transpose()?.is_some_and(|keys| !keys.is_empty());
    Ok(number.bytes().all(|byte| byte.is_ascii_digit()) && !is_anothers)
}

#[cfg(test)]
// A test plays the part of a user and of a killed run.
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::fs::counted;

    fn key() -> SessionKey {
        SessionKey::parse("p", "s1").unwrap()
    }

    fn store() -> (tempfile::TempDir, Archive) {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create(dir.path()).unwrap();
        (dir, archive)
    }

    fn put(archive: &Archive, rel: &str) {
        let path = archive.root().join(rel);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }

    #[test]
    fn with_a_file_go_the_folders_that_are_the_sessions_own_and_empty_then() {
        for (file, beside, stays, goes) in [
            ("p/s1.gen-0001.jsonl", None, "p", "p/s1.gen-0001.jsonl"),
            ("p/s1/a/b", None, "p", "p/s1"),
            ("p/s1/a/b", Some("p/s1/c"), "p/s1", "p/s1/a"),
            ("p/s1/a/b", Some("p/s1/a/c"), "p/s1/a", "p/s1/a/b"),
            (".state/damaged/p/s1.jsonl", None, ".state/damaged/p", ".state/damaged/p/s1.jsonl"),
            (".state/damaged/p/s1/a/b", None, ".state/damaged/p", ".state/damaged/p/s1"),
            (".state/journal/s1.jsonl", None, ".state/journal", ".state/journal/s1.jsonl"),
        ] {
            let (_dir, archive) = store();
            put(&archive, file);
            beside.into_iter().for_each(|beside| put(&archive, beside));
            // The second time as after a run that was killed before its sync.
            for n in 0..2 {
                counted::take();
                unlink(&archive, Path::new(file)).unwrap();
                let is_there = |rel: &str| archive.root().join(rel).exists();
                assert_eq!((is_there(stays), is_there(goes)), (true, false), "{file} {n}");
                assert!(beside.is_none_or(is_there), "{file}");
                assert!(counted::take().contains(&archive.root().join(stays)), "{file} {n}");
            }
        }
    }

    #[test]
    fn empty_folders_of_other_sessions_stay() {
        let (_dir, archive) = store();
        for folder in ["p/s1/a/b", "p/s1.gen-0002", "p/s2/a", "p/s1.found"] {
            std::fs::create_dir_all(archive.root().join(folder)).unwrap();
        }
        put(&archive, "p/s1.gen-0001/x");
        remove_empty_folders(&archive, &key().id, Path::new("p")).unwrap();
        let project = archive.root.open_beneath(Path::new("p")).unwrap().unwrap();
        let mut left: Vec<_> = project.entries().unwrap().into_iter().map(|(name, _)| name).collect();
        left.sort();
        assert_eq!(left, ["s1.found", "s1.gen-0001", "s2"]);
        assert!(archive.root().join("p/s2/a").exists());
    }

    #[test]
    fn what_is_set_aside_of_a_session_is_told_by_its_name() {
        for (name, expected) in [
            ("s1.jsonl", true),
            ("s1.jsonl.2", true),
            ("s1.jsonl.zst", true),
            ("s1.jsonl.zst.13", true),
            ("s1.gen-0001.jsonl", true),
            ("s1.gen-0001.jsonl.2", true),
            ("s1.ledger.0123abcd", true),
            ("s1.ledger.", false),
            ("s1.ledger.0123abcx", false),
            ("s1.jsonl.", false),
            ("s1.jsonl.2x", false),
            ("s1.jsonl.old", false),
            ("s1.found.jsonl", false),
            ("s12.jsonl", false),
            ("s1", false),
            ("s2.jsonl", false),
        ] {
            assert_eq!(is_quarantined_of(&key().id, name), expected, "{name}");
        }
        for (name, expected) in [
            ("s1", true),
            ("s1.gen-0001", true),
            ("s1.gen-0012", true),
            ("s1.gen-x", false),
            ("s1.found", false),
            ("s12", false),
            ("s2", false),
        ] {
            assert_eq!(is_side_folder_of(&key().id, name), expected, "{name}");
        }
    }

    #[test]
    fn what_lies_beside_a_session_is_told_by_its_name_and_by_whose_it_is() {
        let (_dir, archive) = store();
        // A session that is called as what is found beside another.
        put(&archive, "p/s1.found-3.jsonl");
        for (name, expected) in [
            ("s1.json", true),
            ("s1.events.jsonl", true),
            ("s1.jsonl.official", true),
            ("s1.found.json", true),
            ("s1.found-2.json", true),
            ("s1.found-3.json", false),
            ("s1.found-x.json", false),
            ("s1.other.json", false),
            ("s1.jsonl", false),
            ("s2.json", false),
        ] {
            assert_eq!(is_beside(&archive, &key(), &OsString::from(name)).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_set_aside_is_described_with_its_length_and_its_time() {
        let (_dir, archive) = store();
        put(&archive, ".state/damaged/p/s1/a/b");
        put(&archive, ".state/damaged/p/s1.jsonl");
        put(&archive, ".state/damaged/p/s2.jsonl");
        // It was written long ago, and set aside just now.
        let aside = archive.root().join(".state/damaged/p/s1.jsonl");
        std::fs::File::options().write(true).open(&aside).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let mut found = quarantined(&archive, &key()).unwrap();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        let told: Vec<_> = found.iter().map(|file| (file.path.to_str().unwrap(), file.bytes)).collect();
        assert_eq!(told, [(".state/damaged/p/s1/a/b", 1), (".state/damaged/p/s1.jsonl", 1)]);
        let now = crate::log::now_ms();
        assert!(found.iter().all(|file| (now - 600_000..=now).contains(&file.changed_ms)), "{found:?} {now}");
        // Nothing of it is there: nothing is set aside.
        assert!(quarantined(&archive, &SessionKey::parse("q", "s1").unwrap()).unwrap().is_empty());
    }
}
