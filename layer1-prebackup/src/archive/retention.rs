//! Removing by the user's command: older generations, whole sessions, what a repair set aside.
//!
//! What is to go is written into the ledger first, synced: from then on it counts as gone for every
//! reader, and the rest is only unlinking. So a run that is killed leaves either all of it or a
//! removal that was begun; the same command, or whoever opens the session next, finishes that.
//! Nothing else in the archive unlinks a content.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::compress;
use super::ledger::{Entry, Ledger, Record};
use super::session::{OpenSession, SessionLock, contents_on_disk, relative_path};
use super::verify::gaps;
use super::{Archive, ArchiveError, Proof, SessionKey, StoredFile};
use crate::Hash;
use crate::fs::{self, Dir, Lock};
use crate::names::{FileName, SessionId, StoredName};

/// Its `lock` is held by whoever writes a journal; see [`crate::hook::event_log`].
const JOURNALS: &str = ".state/journal";
const DAMAGED: &str = ".state/damaged";

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
pub enum Grounds {
    /// Only what is [`Superseded`] goes; that is proven again before.
    Superseded,
    /// The user named them: they go, whether or not anything else has their bytes.
    Named,
}

/// A file that a repair replaced, or a ledger that was damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The session that it is of.
    pub key: SessionKey,
    /// Relative to the store's root.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// When it was set aside, or last changed, in milliseconds since 1970.
    pub changed_ms: u64,
}

/// A file of a session that no ledger records: metadata, a journal, what was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Relative to the store's root.
    pub(crate) path: PathBuf,
    /// Its length.
    pub bytes: u64,
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
    /// [`Grounds::Named`], gaps between the generations of these files are settled too.
    pub fn prune_generations(
        &self,
        key: &SessionKey,
        wanted: &[StoredFile],
        grounds: Grounds,
    ) -> Result<Vec<StoredFile>, ArchiveError> {
        let lock = SessionLock::wait(self, &key.id)?;
        let mut session = OpenSession::open(self, key.clone(), lock)?;
        let is_as_shown = |file: &StoredFile| {
            let record = session.ledger.record(&file.name);
            file.name.generation > 0 && record.is_some_and(|r| (r.bytes, r.blake3) == (file.bytes, file.blake3))
        };
        let shown: Vec<StoredFile> = wanted.iter().filter(|file| is_as_shown(file)).cloned().collect();
        let going = match grounds {
            Grounds::Named => shown,
            Grounds::Superseded => {
                let may_go = |file: &StoredFile| shown.iter().any(|shown| shown.name == file.name);
                superseded(self, key, &session.ledger, &may_go)?.into_iter().map(|found| found.file).collect()
            }
        };
        let mut names: Vec<StoredName> = going.iter().map(|file| file.name.clone()).collect();
        if grounds == Grounds::Named {
            names.extend(gaps(&session.ledger));
        }
        if !names.is_empty() {
            session.commit(&names.into_iter().map(Entry::Prune).collect::<Vec<_>>())?;
            finish(&mut session)?;
        }
        session.finish();
        Ok(going)
    }

    /// Removes all that the store holds of a session, for good: contents, metadata, journals, what
    /// was set aside, and the bookkeeping; the lock's empty file stays. `shown` is what the user was
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
        let on_disk = contents_on_disk(self, key)?;
        if let Some(name) = on_disk.into_iter().find(|name| session.ledger.record(name).is_none()) {
            let what = "no commit is recorded for it, so it was not shown; `verify --repair` records it".to_owned();
            return Err(ArchiveError::Damaged { path: self.path_of(key, &name), what }.into());
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

    /// Unlinks what counts as gone.
    pub fn finish_removals(&self, key: &SessionKey) -> Result<(), ArchiveError> {
        let lock = SessionLock::wait(self, &key.id)?;
        // Opening it does.
        OpenSession::open(self, key.clone(), lock)?.finish();
        Ok(())
    }

    /// What [`Archive::prune_session`] removes besides the recorded contents and the bookkeeping.
    pub fn leftovers(&self, key: &SessionKey) -> Result<Vec<Leftover>, ArchiveError> {
        leftovers(self, key)
    }

    /// What repairs set aside of a session although all that is recorded of it is whole by now: each
    /// recorded content was read and hashed just now. Empty where anything is wrong.
    pub fn healed_set_asides(&self, key: &SessionKey) -> Result<Vec<SetAside>, ArchiveError> {
        let asides = set_asides(self, key)?;
        if asides.is_empty() || !is_whole(self, key, &self.ledger(key)?)? {
            return Ok(Vec::new());
        }
        Ok(asides)
    }

    /// Removes what was set aside, if the session is still whole: see [`Archive::healed_set_asides`].
    /// Gives what went.
    pub fn prune_set_asides(&self, key: &SessionKey, wanted: &[SetAside]) -> Result<Vec<SetAside>, ArchiveError> {
        let lock = SessionLock::wait(self, &key.id)?;
        let session = OpenSession::open(self, key.clone(), lock)?;
        let mut going = self.healed_set_asides(key)?;
        going.retain(|aside| wanted.contains(aside));
        session.begin_writing()?;
        for aside in &going {
            unlink(session.archive, &aside.path)?;
        }
        session.finish();
        Ok(going)
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
    session.commit(&names.into_iter().map(Entry::Pruned).collect::<Vec<_>>())
}

fn finish_all(session: &mut OpenSession<'_>) -> Result<(), ArchiveError> {
    session.begin_writing()?;
    let (archive, key) = (session.archive, session.key.clone());
    for name in contents_on_disk(archive, &key)? {
        unlink_content(archive, &key, &name)?;
    }
    let has_journals = archive.root.open_beneath(Path::new(JOURNALS))?.is_some();
    let journal = has_journals.then(|| Lock::wait(&archive.root().join(JOURNALS).join("lock"))).transpose()?;
    for leftover in leftovers(archive, &key)? {
        unlink(archive, &leftover.path)?;
    }
    drop(journal);
    // A killed run may have emptied folders and no more.
    for parent in [Path::new(key.project.as_str()).to_owned(), Path::new(DAMAGED).join(key.project.as_str())] {
        remove_empty_folders(archive, &key.id, &parent)?;
    }
    session.remove_ledger()
}

/// Unlinks a content in whichever form it lies there.
fn unlink_content(archive: &Archive, key: &SessionKey, name: &StoredName) -> Result<(), ArchiveError> {
    unlink(archive, &relative_path(key, name))?;
    if compress::may_be_packed(name) {
        unlink(archive, &compress::packed_relative_path(key, name))?;
    }
    Ok(())
}

/// Unlinks a file below the store and the session's own folders above it that are empty then. The
/// project's folder stays: another session's writer may have it open. A file that is gone already
/// may have been unlinked by a run that was killed before its sync, so that is synced.
fn unlink(archive: &Archive, rel: &Path) -> Result<(), ArchiveError> {
    let kept = if rel.starts_with(DAMAGED) {
        3
    } else if rel.starts_with(".state") {
        usize::MAX
    } else {
        1
    };
    let mut is_file = true;
    let mut rel = rel.to_owned();
    while let (Some(parent), Some(name)) = (rel.parent().map(Path::to_owned), rel.file_name().map(OsStr::to_owned)) {
        if !is_file && parent.components().count() < kept {
            break;
        }
        if let Some(dir) = archive.root.open_beneath(&parent)? {
            let removed = if is_file { dir.remove(&name)? } else { dir.remove_dir_if_empty(&name)? };
            if !removed {
                dir.sync()?;
                // A folder that is not empty keeps those above it.
                if !is_file && dir.stat(&name)?.is_some() {
                    break;
                }
            }
        }
        is_file = false;
        rel = parent;
    }
    Ok(())
}

/// Removes the session's folders in `parent`, and those in them, where nothing lies in them.
fn remove_empty_folders(archive: &Archive, id: &SessionId, parent: &Path) -> Result<(), ArchiveError> {
    let Some(dir) = archive.root.open_beneath(parent)? else { return Ok(()) };
    let mut folders: Vec<PathBuf> = Vec::new();
    let own = dir.entries()?.into_iter().filter(|(entry, _)| is_side_folder_of(id, &entry.to_string_lossy()));
    let mut pending: Vec<PathBuf> =
        own.filter(|(_, kind)| *kind == FileType::Directory).map(|(entry, _)| parent.join(entry)).collect();
    while let Some(folder) = pending.pop() {
        if let Some(dir) = archive.root.open_beneath(&folder)? {
            let below = dir.entries()?.into_iter().filter(|(_, kind)| *kind == FileType::Directory);
            pending.extend(below.map(|(entry, _)| folder.join(entry)));
        }
        folders.push(folder);
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

fn superseded(
    archive: &Archive,
    key: &SessionKey,
    ledger: &Ledger,
    may_go: &dyn Fn(&StoredFile) -> bool,
) -> Result<Vec<Superseded>, ArchiveError> {
    let mut files: Vec<&FileName> = ledger.records().map(|(name, _)| &name.file).collect();
    files.dedup();
    let mut found = Vec::new();
    for file in files {
        let records: Vec<(&StoredName, &Record)> = ledger.records_of(file).collect();
        if records.iter().all(|(name, _)| name.generation == 0) {
            continue;
        }
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
                && content.proof != Proof::Unproven;
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
        let is_intact = is_exact(self.archive, self.key, name, record)?;
        known.insert(name.clone(), is_intact);
        Ok(is_intact)
    }

    fn hash(&self, name: &StoredName, bytes: u64) -> Result<Hash, ArchiveError> {
        let file = self.archive.open_file(self.key, name)?;
        Ok(fs::hash_of_prefix(&file, bytes, &self.archive.path_of(self.key, name))?)
    }
}

fn is_exact(archive: &Archive, key: &SessionKey, name: &StoredName, record: &Record) -> Result<bool, ArchiveError> {
    if !archive.has(key, name)? {
        return Ok(false);
    }
    let path = archive.path_of(key, name);
    let file = archive.open_file(key, name)?;
    Ok(fs::stat_of(&file, &path)?.st_size as u64 == record.bytes
        && fs::hash_of_prefix(&file, record.bytes, &path)? == record.blake3)
}

/// Whether everything recorded of a session is there as recorded, and proven.
fn is_whole(archive: &Archive, key: &SessionKey, ledger: &Ledger) -> Result<bool, ArchiveError> {
    if ledger.is_damaged || ledger.records().next().is_none() || !gaps(ledger).is_empty() {
        return Ok(false);
    }
    for (name, record) in ledger.records() {
        if record.proof == Proof::Unproven || !is_exact(archive, key, name, record)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn set_asides(archive: &Archive, key: &SessionKey) -> Result<Vec<SetAside>, ArchiveError> {
    let folder = Path::new(DAMAGED).join(key.project.as_str());
    let Some(dir) = archive.root.open_beneath(&folder)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (entry, kind) in dir.entries()? {
        let text = entry.to_string_lossy();
        match kind {
            FileType::RegularFile if is_set_aside_of(&key.id, &text) => found.push(folder.join(&entry)),
            FileType::Directory if is_side_folder_of(&key.id, &text) => {
                found.extend(files_below(archive, &folder.join(&entry))?);
            }
            _ => {}
        }
    }
    let aside = |path: PathBuf| {
        let stat = stat_below(archive, &path)?;
        // The type of the fields differs between platforms.
        #[allow(clippy::unnecessary_cast)]
        let changed = stat.map(|stat| (stat.st_size as u64, (stat.st_ctime as i64).max(stat.st_mtime as i64)));
        let (bytes, seconds) = changed.unwrap_or_default();
        Ok(SetAside { key: key.clone(), path, bytes, changed_ms: seconds.max(0) as u64 * 1000 })
    };
    found.into_iter().map(aside).collect()
}

/// `{ID}.jsonl`, `{ID}.gen-0001.jsonl`, either with a number behind, and `{ID}.ledger.{hash}`.
fn is_set_aside_of(id: &SessionId, name: &str) -> bool {
    let Some(rest) = name.strip_prefix(id.as_str()) else { return false };
    if let Some(hash) = rest.strip_prefix(".ledger.") {
        return !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    let is_content = |name: &str| {
        let name = name.strip_suffix(compress::ENDING).unwrap_or(name);
        StoredName::parse(id, name).is_ok_and(|name| name.file == FileName::Transcript)
    };
    let numbered = name.rsplit_once('.').filter(|(_, n)| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()));
    is_content(name) || numbered.is_some_and(|(name, _)| is_content(name))
}

fn is_side_folder_of(id: &SessionId, name: &str) -> bool {
    name == id.as_str() || StoredName::parse(id, &format!("{name}.jsonl")).is_ok_and(|name| name.generation > 0)
}

fn leftovers(archive: &Archive, key: &SessionKey) -> Result<Vec<Leftover>, ArchiveError> {
    let mut paths: Vec<PathBuf> = set_asides(archive, key)?.into_iter().map(|aside| aside.path).collect();
    let others = archive.find(&key.id)?.into_iter().any(|other| other != *key);
    if !others {
        paths.push(Path::new(JOURNALS).join(format!("{}.jsonl", key.id)));
    }
    let folder = Path::new(key.project.as_str());
    if let Some(dir) = archive.root.open_beneath(folder)? {
        for (entry, kind) in dir.entries()? {
            if kind == FileType::RegularFile && is_beside(archive, key, &entry)? {
                paths.push(folder.join(entry));
            }
        }
    }
    let mut leftovers = Vec::new();
    for path in paths {
        if let Some(stat) = stat_below(archive, &path)? {
            leftovers.push(Leftover { path, bytes: stat.st_size as u64 });
        }
    }
    Ok(leftovers)
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

fn files_below(archive: &Archive, folder: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(rel) = pending.pop() {
        let Some(dir) = archive.root.open_beneath(&rel)? else { continue };
        for (entry, kind) in dir.entries()? {
            match kind {
                FileType::Directory => pending.push(rel.join(entry)),
                FileType::RegularFile => found.push(rel.join(entry)),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

fn stat_below(archive: &Archive, rel: &Path) -> Result<Option<rustix::fs::Stat>, ArchiveError> {
    let dir: Option<Dir> = archive.root.open_beneath(rel.parent().unwrap_or(Path::new("")))?;
    match dir {
        Some(dir) => Ok(dir.stat(rel.file_name().unwrap_or_default())?),
        None => Ok(None),
    }
}
