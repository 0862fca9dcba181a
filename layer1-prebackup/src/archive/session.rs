//! A session opened for writing: its lock, its ledger, and the repair of what a killed run left.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::compress;
use super::ledger::{self, Entry, Intent, Ledger, Record, Windows};
use super::retention;
use super::synced_folders::holds_proven;
use super::tree_hash::TreeHasher;
use super::{Archive, ArchiveError, Proof, SessionKey};
use crate::clock::now_ms;
use crate::fs::{self, Dir, Lock};
use crate::names::{FileName, SessionId, StoredName};

/// Length of the head and of the tail window, in bytes.
pub(crate) const WINDOW_BYTES: u64 = 4096;
/// Name of the one temporary file of a session, beside its ledger.
const TEMP_NAME: &str = "new";
const LOCK_NAME: &str = "lock";

/// A session under its lock.
///
/// The lock's clean mark ([`Lock`]) spares the syncs of what an earlier run may have left. It speaks
/// of what is written under this lock alone: the ledgers of the id, and the session's own entries in
/// its folders. Not of the folders themselves: a project's folder, `.state/sessions` and everything
/// above are made by any session's run; see [`super::anchor`].
#[derive(Debug)]
pub(crate) struct OpenSession<'a> {
    pub(crate) archive: &'a Archive,
    pub(crate) key: SessionKey,
    pub(crate) ledger: Ledger,
    lock: SessionLock,
    /// Whether the lock is marked as clean now.
    is_clean: Cell<bool>,
    /// Whether something of this run failed: then it does not end clean.
    has_failed: Cell<bool>,
    /// The transcript that is being copied, to be recorded with its first commit.
    source: Option<PathBuf>,
}

/// The lock of a session id: whoever writes anything of it holds this.
#[derive(Debug)]
pub(crate) struct SessionLock {
    lock: Lock,
    /// Where it lies, and the ledgers beside it.
    state: Dir,
}

/// Whether the last run that wrote anything of the sessions whose state lies in `state` finished.
/// To be asked after what it is asked about was read.
pub(crate) fn was_left_clean(state: &Dir) -> Result<bool, ArchiveError> {
    Ok(Lock::is_clean_at(state, OsStr::new(LOCK_NAME))?)
}

impl SessionLock {
    /// Waits for the lock of `id`.
    pub(crate) fn wait(archive: &Archive, id: &SessionId) -> Result<SessionLock, ArchiveError> {
        let rel = ledger::dir_of(id);
        let state = match archive.root.open_beneath(&rel)? {
            Some(state) => state,
            None => archive.anchored_dir(&rel, &|_| Ok(false))?,
        };
        Ok(SessionLock { lock: Lock::wait_in(&state, OsStr::new(LOCK_NAME))?, state })
    }

    /// The sessions of the id that have a ledger.
    pub(crate) fn keys(&self, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
        ledger::keys_in(&self.state, id)
    }

    /// Reads a ledger. Nobody else writes it while the lock is held.
    pub(crate) fn ledger(&self, key: &SessionKey) -> Result<Ledger, ArchiveError> {
        Ledger::read(&self.state, key)
    }
}

impl<'a> OpenSession<'a> {
    /// Opens the session and finishes or undoes what a killed run had begun. Bookkeeping that is
    /// damaged or lost is rebuilt from the contents, marked unproven.
    pub(crate) fn open(archive: &'a Archive, key: SessionKey, lock: SessionLock) -> Result<Self, ArchiveError> {
        let ledger = lock.ledger(&key)?;
        OpenSession::open_with(archive, key, lock, ledger)
    }

    /// [`OpenSession::open`] with the ledger that was read under this lock.
    pub(crate) fn open_with(
        archive: &'a Archive,
        key: SessionKey,
        lock: SessionLock,
        ledger: Ledger,
    ) -> Result<Self, ArchiveError> {
        archive.anchor_store()?;
        let (is_clean, has_failed) = (lock.lock.is_clean()?.into(), Cell::default());
        let mut session = OpenSession { archive, key, ledger, lock, is_clean, has_failed, source: None };
        if !session.is_clean.get() {
            session.sync_what_was_left()?;
        }
        if session.lock.state.stat(OsStr::new(TEMP_NAME))?.is_some() {
            session.remove_temp()?;
        }
        session.finish_intents()?;
        retention::finish(&mut session)?;
        if session.ledger.is_damaged {
            session.keep_damaged_ledger()?;
        }
        if session.ledger.is_damaged || session.ledger.is_empty() {
            rebuild(archive, &session.key, &mut session.ledger)?;
        }
        Ok(session)
    }

    /// To be called when all that was to be done is done; without it the session is left as one
    /// that a killed run may have left. Nothing that failed in between ends clean.
    pub(crate) fn finish(self) {
        if !self.has_failed.get() && !self.is_clean.get() {
            // All is synced with or without the mark; without it the next run syncs some of it again.
            let _ = self.lock.lock.mark_clean();
        }
    }

    /// Something of the session failed, and the run goes on with the rest of it.
    pub(crate) fn note_failure(&self) {
        self.has_failed.set(true);
    }

    /// Takes the clean mark away. To be called before anything whatever is written.
    pub(crate) fn begin_writing(&self) -> Result<(), ArchiveError> {
        if self.is_clean.get() {
            self.lock.lock.mark_unknown()?;
            self.is_clean.set(false);
        }
        Ok(())
    }

    /// A killed run may have written commits and not synced them, or put a content in its place and
    /// not synced that. They are believed from here on, so they are synced first: those of all
    /// sessions under this lock, because it is marked for all of them.
    fn sync_what_was_left(&self) -> Result<(), ArchiveError> {
        let mut has_recent = false;
        for key in self.lock.keys(&self.key.id)? {
            let name = ledger::name_of(&key);
            let Some(file) = self.lock.state.open_file(&name)? else { continue };
            let path = self.lock.state.path().join(&name);
            if fs::is_recent(&fs::stat_of(&file, &path)?) {
                fs::sync_data(&file, &path)?;
                has_recent = true;
            }
            if key == self.key {
                self.sync_recent_folders(&key, &self.ledger)?;
            } else {
                match self.lock.ledger(&key) {
                    Ok(ledger) => self.sync_recent_folders(&key, &ledger)?,
                    // That session's own runs tell of it.
                    Err(_) => self.note_failure(),
                }
            }
        }
        if has_recent {
            // Their names too: a killed run may have renamed one into place and no more.
            self.lock.state.sync()?;
        }
        Ok(())
    }

    fn sync_recent_folders(&self, key: &SessionKey, ledger: &Ledger) -> Result<(), ArchiveError> {
        let paths = ledger.records().map(|(name, _)| relative_path(key, name));
        let folders: BTreeSet<PathBuf> = paths.filter_map(|path| path.parent().map(Path::to_owned)).collect();
        for folder in folders {
            if let Some(dir) = self.archive.root.open_beneath(&folder)? {
                dir.sync_if_recent()?;
            }
        }
        Ok(())
    }

    /// Where the temporary file lies.
    pub(crate) fn temp_path(&self) -> PathBuf {
        self.lock.state.path().join(TEMP_NAME)
    }

    /// Makes the temporary file, empty.
    pub(crate) fn create_temp(&self) -> Result<File, ArchiveError> {
        self.begin_writing()?;
        Ok(self.lock.state.create_temp(OsStr::new(TEMP_NAME))?)
    }

    /// Opens the temporary file for reading.
    pub(crate) fn open_temp(&self) -> Result<Option<File>, ArchiveError> {
        Ok(self.lock.state.open_file(OsStr::new(TEMP_NAME))?)
    }

    /// Removes the temporary file.
    pub(crate) fn remove_temp(&self) -> Result<(), ArchiveError> {
        self.begin_writing()?;
        self.lock.state.remove(OsStr::new(TEMP_NAME))?;
        Ok(())
    }

    /// Renames the temporary file to `name`, where nothing may stand, and syncs that. Its old name is left
    /// unsynced: should it come back, the next run removes it.
    pub(crate) fn place_temp(&self, name: &StoredName) -> Result<(), ArchiveError> {
        self.place_temp_as(&self.create_dir_of(name)?, &file_name_of(&self.key, name))
    }

    /// As [`OpenSession::place_temp`], to a name in a directory that [`OpenSession::create_dir_of`] gave.
    pub(crate) fn place_temp_as(&self, dir: &Dir, name: &OsStr) -> Result<(), ArchiveError> {
        Ok(self.lock.state.place_new(OsStr::new(TEMP_NAME), dir, name)?)
    }

    /// Unlinks the ledger: nothing is known of the session any more.
    pub(crate) fn remove_ledger(&mut self) -> Result<(), ArchiveError> {
        self.begin_writing()?;
        self.lock.state.remove(&ledger::name_of(&self.key))?;
        // What a killed run unlinked there may not be synced.
        self.lock.state.sync()?;
        self.ledger = Ledger::default();
        Ok(())
    }

    /// A damaged ledger is about to be replaced; what it said is kept under `.state/damaged/`.
    fn keep_damaged_ledger(&self) -> Result<(), ArchiveError> {
        let Some(text) = Ledger::text(&self.lock.state, &self.key)? else { return Ok(()) };
        self.begin_writing()?;
        let folder = Path::new(".state/damaged").join(self.key.project.as_str());
        let damaged = self.archive.root.create_beneath(&folder)?;
        let digest = blake3::hash(&text).to_hex();
        let path = damaged.path().join(format!("{}.ledger.{}", self.key.id, &digest[..8]));
        Ok(fs::replace_file(&path, &text)?)
    }

    /// Writes ledger entries durably.
    pub(crate) fn commit(&mut self, entries: &[Entry]) -> Result<(), ArchiveError> {
        self.begin_writing()?;
        if self.ledger.is_unwritten() {
            // Where there is a ledger, whoever put it there had seen to its folder.
            self.archive.anchored_dir(&ledger::dir_of(&self.key.id), &|_| Ok(false))?;
        }
        let newest = StoredName::newest(FileName::Transcript);
        let is_copied = entries.iter().any(|entry| matches!(entry, Entry::Commit(name, _) if *name == newest));
        let source = self.source.take_if(|_| is_copied).map(Entry::Source);
        let entries: Vec<Entry> = source.into_iter().chain(entries.iter().cloned()).collect();
        self.ledger.write(&self.lock.state, &self.key, &entries).inspect_err(|_| self.has_failed.set(true))
    }

    /// Records with the next commit of the transcript that it was copied from `source`.
    pub(crate) fn note_source(&mut self, source: &Path) {
        self.source = Some(source.to_owned());
    }

    /// Records what [`OpenSession::note_source`] was told, if no commit has.
    pub(crate) fn commit_source(&mut self) -> Result<(), ArchiveError> {
        match self.source.take() {
            Some(source) => self.commit(&[Entry::Source(source)]),
            None => Ok(()),
        }
    }

    /// The directory that holds `name`; `None` where it does not exist.
    pub(crate) fn dir_of(&self, name: &StoredName) -> Result<Option<Dir>, ArchiveError> {
        self.archive.dir_of(&self.key, name)
    }

    /// The directory that holds `name`, made where it is missing.
    pub(crate) fn create_dir_of(&self, name: &StoredName) -> Result<Dir, ArchiveError> {
        self.begin_writing()?;
        let path = relative_path(&self.key, name);
        let is_proven = |folder: &Path| holds_proven(self.archive, &self.key, &self.ledger, folder);
        self.archive.anchored_dir(path.parent().unwrap_or(Path::new("")), &is_proven)
    }

    /// Opens a content for reading and writing; `None` where it does not exist.
    pub(crate) fn open_for_writing(&self, name: &StoredName) -> Result<Option<File>, ArchiveError> {
        self.begin_writing()?;
        match self.dir_of(name)? {
            Some(dir) => Ok(dir.open_file_for_writing(&file_name_of(&self.key, name))?),
            None => Ok(None),
        }
    }

    /// Renames the newest content of `file` to the next free generation and records it there with
    /// `proof`. The intent is synced first, so that a kill in between is finished by the next run.
    pub(crate) fn rotate(&mut self, file: &FileName, record: Record) -> Result<u32, ArchiveError> {
        let to = self.next_generation(file)?;
        let newest = StoredName::newest(file.clone());
        let target = StoredName { file: file.clone(), generation: to };
        if let Some(known) = self.ledger.record(&newest) {
            compress::settle(self, &newest, known)?;
        }
        let is_packed = compress::is_packed_alone(self, &newest)?;
        self.commit(&[Entry::Begin(file.clone(), Intent::Rotate { to })])?;
        self.rename(&newest, &target, is_packed)?;
        let packed = record.packed.filter(|_| is_packed);
        self.commit(&[Entry::Commit(target, Box::new(Record { packed, ..record })), Entry::Gone(newest)])?;
        Ok(to)
    }

    /// A generation number of `file` that neither the ledger nor the disk knows.
    pub(crate) fn next_generation(&self, file: &FileName) -> Result<u32, ArchiveError> {
        let mut next = self.ledger.generation_max(file) + 1;
        while self.archive.has(&self.key, &StoredName { file: file.clone(), generation: next })? {
            next += 1;
        }
        Ok(next)
    }

    fn rename(&self, from: &StoredName, to: &StoredName, is_packed: bool) -> Result<(), ArchiveError> {
        let from_dir = self.dir_of(from)?.ok_or_else(|| ArchiveError::Damaged {
            path: self.archive.path_of(&self.key, from),
            what: "its folder is gone".to_owned(),
        })?;
        let to_dir = self.create_dir_of(to)?;
        let name_in = |name| match is_packed {
            true => compress::packed_file_name(&self.key, name),
            false => file_name_of(&self.key, name),
        };
        from_dir.rename_new(&name_in(from), &to_dir, &name_in(to))?;
        Ok(())
    }

    /// The record of what was renamed: its own, if it is as recorded; damaged as it is, if none can be made of it.
    fn record_of_rotated(&self, target: &StoredName, record: Option<Record>) -> Result<Record, ArchiveError> {
        if let Some(known) = &record
            && let Some(packed) = &known.packed
            && self.archive.stat(&self.key, target)?.is_none()
            && compress::is_as_recorded(self.archive, &self.key, target, packed)?
        {
            return Ok(known.clone());
        }
        let found = match (record_of_file_read_twice(self.archive, &self.key, target, Proof::Found), &record) {
            (Ok(found), _) => found,
            (Err(error), Some(known)) if is_unreadable(self.archive, &self.key, target, &error) => known.clone(),
            (Err(error), _) => return Err(error),
        };
        let known = record.filter(|known| (known.bytes, known.blake3) == (found.bytes, found.blake3));
        Ok(known.map(|known| Record { packed: found.packed, ..known }).unwrap_or(found))
    }

    /// What was begun is finished if its rename happened, and forgotten if it did not.
    fn finish_intents(&mut self) -> Result<(), ArchiveError> {
        for (file, intent) in self.ledger.intents() {
            let (Intent::Rotate { to } | Intent::Add { to }) = intent;
            let newest = StoredName::newest(file.clone());
            let target = StoredName { file: file.clone(), generation: to };
            let record = self.ledger.record(&newest).cloned();
            let happened = self.archive.has(&self.key, &target)?;
            if happened {
                // The rename is there to be seen; whether it was synced is not.
                for name in [&newest, &target] {
                    if let Some(dir) = self.dir_of(name)? {
                        dir.sync()?;
                        dir.sync_recent_ancestors()?;
                    }
                }
            }
            let entries = match (happened, intent, record) {
                (true, Intent::Rotate { .. }, record) => {
                    let record = self.record_of_rotated(&target, record)?;
                    vec![Entry::Commit(target, Box::new(record)), Entry::Gone(newest)]
                }
                // Whoever asked for it asks again, and proves it.
                (true, Intent::Add { .. }, _) => {
                    let found = record_of_file_read_twice(self.archive, &self.key, &target, Proof::Unproven)?;
                    vec![Entry::Commit(target, Box::new(found))]
                }
                (false, _, Some(record)) => vec![Entry::Commit(newest, Box::new(record))],
                (false, _, None) => vec![Entry::Gone(newest)],
            };
            self.commit(&entries)?;
        }
        Ok(())
    }
}

/// Whether a content is there compressed and cannot be unpacked: then no record can be made of it.
pub(crate) fn is_unreadable(archive: &Archive, key: &SessionKey, name: &StoredName, error: &ArchiveError) -> bool {
    matches!(error, ArchiveError::Damaged { .. }) && archive.stat(key, name).is_ok_and(|plain| plain.is_none())
}

/// Fills `ledger` in memory with an unproven record for each content on the disk that has none,
/// and marks the records that there are as unproven.
pub(crate) fn rebuild(archive: &Archive, key: &SessionKey, ledger: &mut Ledger) -> Result<(), ArchiveError> {
    ledger.distrust_all();
    for name in contents_on_disk(archive, key)? {
        let is_known = ledger.record(&name).is_some() || ledger.is_pruned(&name);
        if !is_known {
            match record_of_file_read_twice(archive, key, &name, Proof::Unproven) {
                Ok(record) => ledger.insert_unwritten(name, record),
                // It must not keep the others from being read and the source from being saved; `verify` names it.
                Err(error) if is_unreadable(archive, key, &name, &error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Every content of a session that lies in the store, whether recorded or not.
pub(crate) fn contents_on_disk(archive: &Archive, key: &SessionKey) -> Result<Vec<StoredName>, ArchiveError> {
    let Some(project) = archive.root.open_beneath(Path::new(key.project.as_str()))? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for (entry, kind) in project.entries()? {
        let text = entry.to_string_lossy();
        let belongs = text
            .strip_prefix(key.id.as_str())
            .is_some_and(|rest| matches!(rest, "" | ".jsonl" | ".jsonl.zst") || rest.starts_with(".gen-"));
        match kind {
            FileType::RegularFile if belongs => names.extend(stored_name(key, &text)),
            FileType::Directory if belongs => side_contents(&project, key, &entry, &mut names)?,
            _ => {}
        }
    }
    names.sort();
    // One that a killed run was compressing lies there in both forms.
    names.dedup();
    Ok(names)
}

/// The content of a file in a project's folder, compressed or not.
fn stored_name(key: &SessionKey, text: &str) -> Option<StoredName> {
    let plain = StoredName::parse(&key.id, text).ok();
    let packed = || StoredName::parse(&key.id, text.strip_suffix(compress::ENDING)?).ok();
    plain.or_else(|| packed().filter(compress::may_be_packed))
}

fn side_contents(
    project: &Dir,
    key: &SessionKey,
    top: &OsStr,
    names: &mut Vec<StoredName>,
) -> Result<(), ArchiveError> {
    let mut pending = vec![PathBuf::from(top)];
    while let Some(rel) = pending.pop() {
        let Some(dir) = project.open_beneath(&rel)? else { continue };
        for (entry, kind) in dir.entries()? {
            let below = rel.join(&entry);
            match kind {
                FileType::Directory => pending.push(below),
                FileType::RegularFile => {
                    let text = crate::names::escaped(below.as_os_str());
                    names.extend(StoredName::parse(&key.id, &text));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A record made from what lies on the disk.
fn record_of_file(
    archive: &Archive,
    key: &SessionKey,
    name: &StoredName,
    proof: Proof,
) -> Result<Record, ArchiveError> {
    let path = archive.path_of(key, name);
    let file = archive.open_file(key, name)?;
    let bytes = fs::stat_of(&file, &path)?.st_size as u64;
    let mut tree = TreeHasher::default();
    feed(&mut tree, &file, 0, bytes, &path, &mut |_| {})?;
    let packed = compress::described(archive, key, name, (bytes, tree.root()))?;
    Ok(Record {
        bytes,
        blake3: tree.root(),
        tree: tree.stack_as_hex(),
        windows: windows_of(&file, bytes, &path)?,
        source: None,
        proof,
        committed_ms: now_ms(),
        packed,
    })
}

/// Hashes `from..to` of a file into `tree`; an error if the file ends before.
pub(crate) fn feed(
    tree: &mut TreeHasher,
    file: &File,
    from: u64,
    to: u64,
    path: &Path,
    each: &mut dyn FnMut(&[u8]),
) -> Result<(), ArchiveError> {
    let mut buffer = vec![0; fs::COPY_BYTES.min((to - from).max(1) as usize)];
    let mut offset = from;
    while offset < to {
        let want = buffer.len().min((to - offset) as usize);
        let came = fs::read_at(file, offset, &mut buffer[..want], path)?;
        if came < want {
            return Err(ArchiveError::Shrank { path: path.to_owned() });
        }
        tree.update(&buffer[..want]);
        each(&buffer[..want]);
        offset += want as u64;
    }
    Ok(())
}

/// The record of a content as it stands, from two readings that agree: a byte that was once read
/// wrongly must not become what is believed of it.
pub(crate) fn record_of_file_read_twice(
    archive: &Archive,
    key: &SessionKey,
    name: &StoredName,
    proof: Proof,
) -> Result<Record, ArchiveError> {
    let first = record_of_file(archive, key, name, proof)?;
    let second = record_of_file(archive, key, name, proof)?;
    if (first.bytes, first.blake3, &first.windows) != (second.bytes, second.blake3, &second.windows) {
        let what = "two readings of it differ; the next run tries again".to_owned();
        return Err(ArchiveError::Damaged { path: archive.path_of(key, name), what });
    }
    Ok(second)
}

/// Hashes of the first and the last [`WINDOW_BYTES`] of the first `bytes` bytes of a file.
pub(crate) fn windows_of(file: &File, bytes: u64, path: &Path) -> Result<Windows, ArchiveError> {
    let length = bytes.min(WINDOW_BYTES);
    let mut buffer = vec![0; length as usize];
    let mut window = |offset| -> Result<String, ArchiveError> {
        let came = fs::read_at(file, offset, &mut buffer, path)?;
        if came < buffer.len() {
            return Err(ArchiveError::Shrank { path: path.to_owned() });
        }
        Ok(blake3::hash(&buffer[..came]).to_hex()[..16].to_owned())
    };
    let head = window(0)?;
    let tail = if bytes <= WINDOW_BYTES { head.clone() } else { window(bytes - length)? };
    Ok(Windows { head, tail })
}

/// `{PROJECT}/…`, relative to the store's root.
pub(crate) fn relative_path(key: &SessionKey, name: &StoredName) -> PathBuf {
    Path::new(key.project.as_str()).join(name.to_path(&key.id))
}

/// The last component of a content's path.
pub(crate) fn file_name_of(key: &SessionKey, name: &StoredName) -> std::ffi::OsString {
    name.to_path(&key.id).file_name().map(OsStr::to_owned).unwrap_or_default()
}
