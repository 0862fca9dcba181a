//! A session opened for writing: its lock, its ledger, and the repair of what a killed run left.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::FileType;

use super::ledger::{self, Entry, Intent, Ledger, Record, Windows};
use super::packed;
use super::prune;
use super::tree::TreeHasher;
use super::{Archive, ArchiveError, Proof, SessionKey};
use crate::durable::{self, Dir, Lock};
use crate::names::{FileName, StoredName};

/// Length of the head and of the tail window, in bytes.
pub(crate) const WINDOW_BYTES: u64 = 4096;
/// Name of the one temporary file of a session, beside its ledger.
pub(crate) const TEMP_NAME: &str = "new";
const LOCK_NAME: &str = "lock";

/// A session under its lock.
#[derive(Debug)]
pub(crate) struct OpenSession<'a> {
    pub(crate) archive: &'a Archive,
    pub(crate) key: SessionKey,
    pub(crate) state: Dir,
    pub(crate) ledger: Ledger,
    /// Folders above which everything is known to be synced.
    anchored: RefCell<HashSet<PathBuf>>,
    _lock: SessionLock,
}

/// The lock of a session id: whoever writes anything of it holds this.
#[derive(Debug)]
pub(crate) struct SessionLock {
    _lock: Lock,
}

impl SessionLock {
    /// Waits for the lock of `id`.
    pub(crate) fn wait(archive: &Archive, id: &crate::names::SessionId) -> Result<SessionLock, ArchiveError> {
        let path = archive.root().join(ledger::dir_of(id)).join(LOCK_NAME);
        Ok(SessionLock { _lock: Lock::wait(&path)? })
    }
}

impl<'a> OpenSession<'a> {
    /// Opens the session and finishes or undoes what a killed run had begun. Bookkeeping that is
    /// damaged or lost is rebuilt from the contents, marked unproven.
    pub(crate) fn open(archive: &'a Archive, key: SessionKey, lock: SessionLock) -> Result<Self, ArchiveError> {
        let state = archive.root.create_beneath(&ledger::dir_of(&key.id))?;
        let ledger = Ledger::read(&state, &key)?;
        let anchored = RefCell::default();
        let mut session = OpenSession { archive, key, state, ledger, anchored, _lock: lock };
        session.sync_recent_ledger()?;
        session.state.remove(OsStr::new(TEMP_NAME))?;
        session.finish_intents()?;
        prune::finish(&mut session)?;
        if session.ledger.is_damaged {
            session.keep_damaged_ledger()?;
        }
        if session.ledger.is_damaged || session.ledger.is_empty() {
            rebuild(archive, &session.key, &mut session.ledger)?;
        }
        Ok(session)
    }

    /// A killed run may have written a commit and not synced it. It is believed from here on, so it
    /// is synced first.
    fn sync_recent_ledger(&self) -> Result<(), ArchiveError> {
        let name = ledger::name_of(&self.key);
        let Some(file) = self.state.open_file(&name)? else { return Ok(()) };
        let path = self.state.path().join(&name);
        if durable::is_recent(&durable::stat_of(&file, &path)?) {
            durable::sync_data(&file, &path)?;
            // Its name too: a killed run may have renamed it into place and no more.
            self.state.sync()?;
        }
        Ok(())
    }

    /// A damaged ledger is about to be replaced; what it said is kept under `.state/damaged/`.
    fn keep_damaged_ledger(&self) -> Result<(), ArchiveError> {
        let Some(text) = Ledger::text(&self.state, &self.key)? else { return Ok(()) };
        let folder = Path::new(".state/damaged").join(self.key.project.as_str());
        let damaged = self.archive.root.create_beneath(&folder)?;
        let digest = blake3::hash(&text).to_hex();
        let path = damaged.path().join(format!("{}.ledger.{}", self.key.id, &digest[..8]));
        Ok(durable::replace_file(&path, &text)?)
    }

    /// Writes ledger entries durably.
    pub(crate) fn commit(&mut self, entries: &[Entry]) -> Result<(), ArchiveError> {
        self.ledger.write(&self.state, &self.key, entries)
    }

    /// The directory that holds `name`; `None` where it does not exist.
    pub(crate) fn dir_of(&self, name: &StoredName) -> Result<Option<Dir>, ArchiveError> {
        self.archive.dir_of(&self.key, name)
    }

    /// The directory that holds `name`, made where it is missing.
    pub(crate) fn create_dir_of(&self, name: &StoredName) -> Result<Dir, ArchiveError> {
        let path = relative_path(&self.key, name);
        let parent = path.parent().unwrap_or(Path::new(""));
        let dir = self.archive.root.create_beneath(parent)?;
        if !self.anchored.borrow().contains(dir.path()) {
            dir.sync_recent_ancestors()?;
            self.anchored.borrow_mut().insert(dir.path().to_owned());
        }
        Ok(dir)
    }

    /// Opens a content for reading and writing; `None` where it does not exist.
    pub(crate) fn open_for_writing(&self, name: &StoredName) -> Result<Option<File>, ArchiveError> {
        match self.dir_of(name)? {
            Some(dir) => Ok(dir.open_file_for_writing(&file_name_of(&self.key, name))?),
            None => Ok(None),
        }
    }

    /// Renames the newest content of `file` to the next free generation and records it there with
    /// `proof`. The intent is synced first, so that a kill in between is finished by the next run.
    pub(crate) fn rotate(&mut self, file: &FileName, record: Record) -> Result<u32, ArchiveError> {
        let to = self.next_generation(file)?;
        self.commit(&[Entry::Begin(file.clone(), Intent::Rotate { to })])?;
        let newest = StoredName::newest(file.clone());
        let target = StoredName { file: file.clone(), generation: to };
        self.rename(&newest, &target)?;
        self.commit(&[Entry::Commit(target, Box::new(record)), Entry::Gone(newest)])?;
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

    fn rename(&self, from: &StoredName, to: &StoredName) -> Result<(), ArchiveError> {
        let from_dir = self.dir_of(from)?.ok_or_else(|| ArchiveError::Damaged {
            path: self.archive.path_of(&self.key, from),
            what: "its folder is gone".to_owned(),
        })?;
        let to_dir = self.create_dir_of(to)?;
        from_dir.rename_new(&file_name_of(&self.key, from), &to_dir, &file_name_of(&self.key, to))?;
        Ok(())
    }

    /// What was begun is finished if its rename happened, and forgotten if it did not.
    fn finish_intents(&mut self) -> Result<(), ArchiveError> {
        for (file, intent) in self.ledger.intents() {
            let (Intent::Rotate { to } | Intent::Add { to }) = intent;
            let newest = StoredName::newest(file.clone());
            let target = StoredName { file: file.clone(), generation: to };
            let record = self.ledger.record(&newest).cloned();
            let happened = self.archive.stat(&self.key, &target)?.is_some();
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
                    let found = record_of_file_read_twice(self.archive, &self.key, &target, Proof::Found)?;
                    let known = record.filter(|r| (r.bytes, r.blake3) == (found.bytes, found.blake3));
                    vec![Entry::Commit(target, Box::new(known.unwrap_or(found))), Entry::Gone(newest)]
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

/// Fills `ledger` in memory with an unproven record for each content on the disk that has none,
/// and marks the records that there are as unproven.
pub(crate) fn rebuild(archive: &Archive, key: &SessionKey, ledger: &mut Ledger) -> Result<(), ArchiveError> {
    ledger.distrust_all();
    for name in contents_on_disk(archive, key)? {
        let is_known = ledger.record(&name).is_some() || ledger.is_pruned(&name);
        if !is_known {
            let record = record_of_file_read_twice(archive, key, &name, Proof::Unproven)?;
            ledger.insert_unwritten(name, record);
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
            .is_some_and(|rest| rest.is_empty() || rest == ".jsonl" || rest.starts_with(".gen-"));
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
    let packed = || StoredName::parse(&key.id, text.strip_suffix(packed::ENDING)?).ok();
    plain.or_else(|| packed().filter(packed::may_be_packed))
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
    let bytes = durable::stat_of(&file, &path)?.st_size as u64;
    let mut tree = TreeHasher::default();
    feed(&mut tree, &file, 0, bytes, &path, &mut |_| {})?;
    Ok(Record {
        bytes,
        blake3: tree.root(),
        tree: tree.stack_as_hex(),
        windows: windows_of(&file, bytes, &path)?,
        source: None,
        proof,
        committed_ms: now_ms(),
        packed: packed::described(archive, key, name)?,
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
    let mut buffer = vec![0; durable::COPY_BYTES.min((to - from).max(1) as usize)];
    let mut offset = from;
    while offset < to {
        let want = buffer.len().min((to - offset) as usize);
        let came = durable::read_at(file, offset, &mut buffer[..want], path)?;
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
        let came = durable::read_at(file, offset, &mut buffer, path)?;
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

/// Milliseconds since 1970; 0 on a clock before that.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
