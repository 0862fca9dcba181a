//! The archive: one store of conversations, append-only, in generations. Layers 1 and 3 each
//! keep one, through this same code.
//!
//! Below the store's root, `{PROJECT}/` holds the contents under names that need no program to
//! read: `{ID}.jsonl` the newest, `{ID}.gen-0001.jsonl` the oldest, side files under `{ID}/` and
//! `{ID}.gen-0001/`. Generations are counted for each file by itself. `.state/` holds the
//! bookkeeping: the store's id, and for each session a lock, a ledger (`ledger`) and at most one
//! temporary file. All of it can be rebuilt from the contents.
//!
//! A copy is only ever appended to. Whatever else stands at the path of a newest content, or no
//! longer begins the source, is renamed to a generation first (`content`).

mod adopt_v1;
mod append;
mod compress;
mod frames;
mod ledger;
mod quick_check;
mod repair;
mod retention;
mod save;
mod session;
mod synced_folders;
#[cfg(test)]
mod tests;
mod tree_hash;
mod verify;

pub use adopt_v1::TakenInAs;
pub use compress::{Compressed, LEVELS};
pub use frames::Ranges;
pub use quick_check::Glance;
pub use repair::Repair;
pub use retention::{Grounds, Leftover, SetAside, Superseded};
pub use tree_hash::TreeHasher;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use crate::Hash;
use crate::fs::platform;
use crate::fs::{self, Dir, DurableError, Lock};
use crate::names::{FileName, NameError, ProjectName, SessionId, StoredName};

/// A session as a store knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// Its folder.
    pub project: ProjectName,
    /// Its id.
    pub id: SessionId,
}

impl SessionKey {
    /// Of a project's folder and an id, as they were written down.
    pub fn parse(project: &str, id: &str) -> Result<SessionKey, NameError> {
        Ok(SessionKey { project: ProjectName::parse(project)?, id: SessionId::parse(id)? })
    }
}

/// What a recorded hash is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// This program wrote these bytes from the source and read them back.
    Written,
    /// The bookkeeping was rebuilt; the content was then found equal to the source or to the other layer's copy.
    Compared,
    /// The content was found in place, written by someone else, and kept as it was.
    Found,
    /// The bookkeeping was rebuilt and nothing was there to compare with.
    Unproven,
}

/// One committed content of a session: a file in one of its generations.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// Which file, which generation.
    pub name: StoredName,
    /// [`StoredName::to_text`]: relative to the project's folder.
    pub path: String,
    /// Committed length.
    pub bytes: u64,
    /// Plain BLAKE3 of the first `bytes` bytes.
    pub blake3: Hash,
    /// What that hash is worth.
    pub proof: Proof,
    /// When it was committed, in milliseconds since 1970.
    pub committed_ms: u64,
    /// What it takes on the disk: less than `bytes` where it is compressed.
    pub disk_bytes: u64,
}

impl StoredFile {
    fn of(name: &StoredName, record: &ledger::Record, key: &SessionKey) -> StoredFile {
        StoredFile {
            name: name.clone(),
            path: name.to_text(&key.id),
            bytes: record.bytes,
            blake3: record.blake3,
            proof: record.proof,
            committed_ms: record.committed_ms,
            disk_bytes: record.packed.map_or(record.bytes, |packed| packed.bytes),
        }
    }
}

/// How much of what is already stored is compared with the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// The file's identity and the hashes of a head and a tail window: for every turn.
    Windows,
    /// Every byte, of source and copy: PreCompact, SessionEnd, `sweep --all`.
    Whole,
}

/// What is to be saved.
pub struct SaveRequest<'a> {
    /// The session.
    pub id: &'a SessionId,
    /// The source: `<root>/<slug>/<session id>.jsonl`; side files lie beside it in `<session id>/`.
    pub transcript: &'a Path,
    /// The project as the job says it; otherwise the store's, the transcript's, or `cwd`'s.
    pub project: Option<&'a ProjectName>,
    /// The event's working directory.
    pub cwd: Option<&'a str>,
    /// How much to compare.
    pub compare: Compare,
    /// Told a number that grows with the bytes handled and the files looked at, at least once per 8 MiB.
    pub progress: &'a dyn Fn(u64),
}

/// What the source's transcript was at the time of a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TranscriptState {
    /// There is no such file. Not a failure: Claude Code names transcripts that never exist.
    Absent,
    /// It has no bytes. Nothing is stored for it unless the session is already known.
    Empty,
    /// All of it, as long as it was at open, is stored.
    Stored,
}

/// What a save did.
#[derive(Debug)]
pub struct SaveReport {
    /// The session in this store; `None` when nothing is stored of it.
    pub key: Option<SessionKey>,
    /// State of the source's transcript.
    pub transcript: TranscriptState,
    /// Length of the source's transcript as at open; 0 if absent.
    pub source_bytes: u64,
    /// Bytes of content added to the store, transcript and side files.
    pub bytes_added: u64,
    /// Generations begun by this save.
    pub generations_begun: u32,
    /// Files whose newest content this save wrote from its first byte to its last, synced, and read back through a
    /// new descriptor; length and hash of each.
    pub written: Vec<(FileName, u64, Hash)>,
    /// Files of the session that could not be stored; everything else was.
    pub problems: Vec<ArchiveError>,
}

/// The archive failed to do something. What was acknowledged before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Layer 1's durable-write module failed.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A source became shorter while it was read; it is looked at again.
    #[error("read {path}: it became shorter meanwhile", path = path.display())]
    Shrank {
        /// Which.
        path: PathBuf,
    },
    /// The bookkeeping was written by a newer version. Nothing was touched.
    #[error("use {path}: its format {format} is newer than this program; update Threefold", path = path.display())]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// Its format number.
        format: u64,
    },
    /// The user wants that much of the disk left free. Nothing was written.
    #[error(
        "copy {bytes} bytes to {path}: {free} are free, and the floor is {floor}; make room, or lower free_space_floor",
        path = path.display()
    )]
    Floor {
        /// The store.
        path: PathBuf,
        /// What would be written.
        bytes: u64,
        /// What is free.
        free: u64,
        /// What must stay so.
        floor: u64,
    },
    /// Another session's id differs from this one by the case of letters alone, and the store's file
    /// system does not tell them apart. Nothing was written.
    #[error(
        "use {path}: it belongs to session {other}, whose id differs in the case of letters alone, and this file system does not tell them apart; put the store on one that does",
        path = path.display()
    )]
    SpelledAlike {
        /// The session's ledger.
        path: PathBuf,
        /// The id that it belongs to.
        other: String,
    },
    /// A stored content is not there, or its bytes do not match the recorded hash.
    #[error("use the stored copy {path}: {what}", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        what: String,
    },
}

impl ArchiveError {
    /// Whether the disk or a quota is full: the one failure a user can mend at once.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, ArchiveError::Durable(error) if error.is_disk_full())
    }
}

/// A store of conversations.
#[derive(Debug)]
pub struct Archive {
    root: Dir,
    store_id: String,
    free_space_floor: u64,
    anchors: synced_folders::Anchors,
}

/// `.state/store.json`.
#[derive(Debug, Serialize, Deserialize)]
struct StoreFile {
    format: u32,
    store_id: String,
}

/// All that is asked of a file of whatever version.
#[derive(Debug, Deserialize)]
struct Formatted {
    format: u64,
}

/// The format of a whole store. A newer one is refused before anything in it is touched, so what
/// an older version must not misread (a ledger, a job, a receipt) raises this one too.
const STORE_FORMAT: u32 = 2;
/// What a new store has. It is raised when a newest content is compressed for the first time: who knows
/// of plain ones alone would call it missing.
const STORE_FORMAT_PLAIN: u32 = 1;
/// Longer than any version will make it.
const STORE_FILE_BYTES_MAX: usize = 64 * 1024;
const STORE_FILE: &str = ".state/store.json";
const STORE_LOCK: &str = ".state/store.lock";

impl Archive {
    /// Opens the store for writing; makes it (0700, with a random id) where there is none.
    pub fn create(root: &Path) -> Result<Archive, ArchiveError> {
        Archive::create_adopting(root, |_| Ok(()))
    }

    /// [`Archive::create`]; `adopt` is given a store that is about to be made, to take in what lies
    /// there already. If it fails or is killed, the store is not made, and the next run adopts again.
    pub fn create_adopting(
        root: &Path,
        adopt: impl FnOnce(&Archive) -> Result<(), ArchiveError>,
    ) -> Result<Archive, ArchiveError> {
        if let Some(archive) = Archive::open(root)? {
            return Ok(archive);
        }
        fs::create_dir_all(&root.join(".state"))?;
        let lock = Lock::wait(&root.join(STORE_LOCK))?;
        if let Some(archive) = Archive::open(root)? {
            return Ok(archive);
        }
        let archive = Archive::at(root, random_id(root)?)?.ok_or_else(|| gone(root))?;
        // One whose bookkeeping was lost may be of the newer form.
        let format = if archive.has_packed_newest()? { STORE_FORMAT } else { STORE_FORMAT_PLAIN };
        lock.mark_unknown()?;
        adopt(&archive)?;
        archive.write_store_file(format)?;
        // Without the mark the next runs make sure of it again.
        let _ = lock.mark_clean();
        archive.anchors.note_store();
        Ok(archive)
    }

    fn write_store_file(&self, format: u32) -> Result<(), ArchiveError> {
        let store = StoreFile { format, store_id: self.store_id.clone() };
        let text = serde_json::to_string(&store).expect("two plain fields always serialise") + "\n";
        Ok(fs::replace_file(&self.root().join(STORE_FILE), text.as_bytes())?)
    }

    /// Makes sure, on the disk, that a version which knows of no compressed newest contents refuses the store.
    fn raise_format(&self) -> Result<(), ArchiveError> {
        let path = self.root().join(STORE_FILE);
        let is_raised = || -> Result<bool, ArchiveError> {
            let Some(file) = crate::claude::transcripts::open_regular(&path)? else { return Ok(false) };
            let mut text = vec![0; STORE_FILE_BYTES_MAX];
            let came = fs::read_at(&file, 0, &mut text, &path)?;
            let format = serde_json::from_slice(&text[..came]).map_or(0, |Formatted { format }| format);
            Ok(format >= u64::from(STORE_FORMAT))
        };
        if is_raised()? {
            // A run that was killed may have put it there and no more.
            return Ok(fs::sync_if_recent(&path)?);
        }
        let lock = Lock::wait(&self.root().join(STORE_LOCK))?;
        if !is_raised()? {
            lock.mark_unknown()?;
            self.write_store_file(STORE_FORMAT)?;
            // Without the mark the next runs make sure of it again.
            let _ = lock.mark_clean();
        }
        Ok(())
    }

    /// Whether a compressed newest content lies in some project's folder.
    fn has_packed_newest(&self) -> Result<bool, ArchiveError> {
        for (folder, kind) in self.root.entries()? {
            let is_project = folder.to_str().is_some_and(|name| ProjectName::parse(name).is_ok());
            if kind != FileType::Directory || !is_project {
                continue;
            }
            let Some(dir) = self.root.open_beneath(Path::new(&folder))? else { continue };
            let is_packed_newest = |(entry, kind): &(std::ffi::OsString, FileType)| {
                let plain = entry.to_str().and_then(|text| text.strip_suffix(compress::ENDING));
                plain.is_some_and(|plain| !plain.contains(".gen-")) && session_of_entry(entry, *kind).is_some()
            };
            if dir.entries()?.iter().any(is_packed_newest) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens an existing store for reading; `None` where there is none. Writes nothing.
    pub fn open(root: &Path) -> Result<Option<Archive>, ArchiveError> {
        let path = root.join(STORE_FILE);
        let Some(file) = crate::claude::transcripts::open_regular(&path)? else { return Ok(None) };
        let is_old = !fs::is_recent(&fs::stat_of(&file, &path)?);
        let mut text = vec![0; STORE_FILE_BYTES_MAX];
        let came = fs::read_at(&file, 0, &mut text, &path)?;
        let text = &text[..came];
        // First of all, whatever else a newer version writes there.
        if let Ok(Formatted { format }) = serde_json::from_slice(text)
            && format > u64::from(STORE_FORMAT)
        {
            return Err(ArchiveError::NewerFormat { path, format });
        }
        match serde_json::from_slice::<StoreFile>(text) {
            Ok(store) => {
                let archive = Archive::at(root, store.store_id)?;
                // What is old was written back, whoever made it.
                if let Some(archive) = archive.as_ref().filter(|_| is_old) {
                    archive.anchors.note_store();
                }
                Ok(archive)
            }
            // Bookkeeping, and rebuildable: a store without a readable id gets a new one.
            Err(_) => Ok(None),
        }
    }

    /// [`Archive::open`]; a store that has lost its bookkeeping, or was written by a program that
    /// kept none, gets a new id. `None` where nothing is stored.
    pub fn open_or_adopt(root: &Path) -> Result<Option<Archive>, ArchiveError> {
        match Archive::open(root)? {
            Some(archive) => Ok(Some(archive)),
            None if holds_a_project(root)? => Archive::create(root).map(Some),
            None => Ok(None),
        }
    }

    /// [`Archive::open`] for looking only: a store without bookkeeping is shown as it stands, with
    /// an empty id, and nothing is written. `None` where nothing is stored.
    pub fn open_as_found(root: &Path) -> Result<Option<Archive>, ArchiveError> {
        match Archive::open(root)? {
            Some(archive) => Ok(Some(archive)),
            None if holds_a_project(root)? => Archive::at(root, String::new()),
            None => Ok(None),
        }
    }

    /// Records what lies in a session's place and has no record, as found there: for what another
    /// program wrote and kept no record of. From then on a byte that changes is noticed.
    pub fn record_found(&self, key: &SessionKey) -> Result<(), ArchiveError> {
        adopt_v1::record_found(self, key)
    }

    /// Copies a transcript that another program left under a name of its own into the session,
    /// unless a content of it begins with these bytes. The file itself stays as it is.
    pub fn take_in(&self, key: &SessionKey, path: &Path, taken_in: TakenInAs) -> Result<(), ArchiveError> {
        adopt_v1::take_in(self, key, path, taken_in)
    }

    /// The same store; no copy is begun that would leave less than so many bytes free on its disk.
    pub fn leaving_free(self, bytes: u64) -> Archive {
        Archive { free_space_floor: bytes, ..self }
    }

    /// An error if writing so many bytes would take the disk below the floor. Where there is no
    /// floor, nothing is asked.
    fn make_sure_of_room(&self, bytes: u64) -> Result<(), ArchiveError> {
        if self.free_space_floor == 0 || bytes == 0 {
            return Ok(());
        }
        let root = self.root.path();
        let free = platform::disk::room(root)
            .map_err(|source| DurableError { operation: "ask for the free space of", path: root.to_owned(), source })?
            .free;
        if free.saturating_sub(bytes) >= self.free_space_floor {
            return Ok(());
        }
        Err(ArchiveError::Floor { path: root.to_owned(), bytes, free, floor: self.free_space_floor })
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The store's random id, 32 hexadecimal digits; another id means another store.
    pub fn store_id(&self) -> &str {
        &self.store_id
    }

    /// All sessions, by project and id.
    pub fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError> {
        let root = &self.root;
        let mut keys = BTreeSet::new();
        for (folder, kind) in root.entries()? {
            let project = folder.to_str().and_then(|name| ProjectName::parse(name).ok());
            let (FileType::Directory, Some(project)) = (kind, project) else { continue };
            let Some(dir) = root.open_beneath(Path::new(&folder))? else { continue };
            for (entry, kind) in dir.entries()? {
                if let Some(id) = session_of_entry(&entry, kind) {
                    keys.insert(SessionKey { project: project.clone(), id });
                }
            }
        }
        if let Some(sessions) = root.open_beneath(Path::new(".state/sessions"))? {
            for (entry, _) in sessions.entries()? {
                if let Some(id) = entry.to_str().and_then(|text| SessionId::parse(text).ok()) {
                    keys.extend(self.recorded(&id)?);
                }
            }
        }
        Ok(keys.into_iter().collect())
    }

    /// The sessions with this id that the bookkeeping knows: those whose source is known are among them.
    pub fn recorded(&self, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
        match self.root.open_beneath(&ledger::dir_of(id))? {
            Some(state) => ledger::keys_in(&state, id),
            None => Ok(Vec::new()),
        }
    }

    /// The sessions with this id; more than one only when two sources bore it.
    pub fn find(&self, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
        let keys = self.recorded(id)?;
        if keys.is_empty() { self.find_without_ledger(id) } else { Ok(keys) }
    }

    fn find_without_ledger(&self, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
        let root = &self.root;
        let mut keys = Vec::new();
        for (folder, kind) in root.entries()? {
            let project = folder.to_str().and_then(|name| ProjectName::parse(name).ok());
            let (FileType::Directory, Some(project)) = (kind, project) else { continue };
            let Some(dir) = root.open_beneath(Path::new(&folder))? else { continue };
            let key = SessionKey { project, id: id.clone() };
            let newest = StoredName::newest(FileName::Transcript);
            let first = StoredName { file: FileName::Transcript, generation: 1 };
            // Every folder is looked at for every session that is new, so each is opened once.
            let is_there = |name: &StoredName| -> Result<bool, ArchiveError> {
                let (plain, packed) = (session::file_name_of(&key, name), compress::packed_file_name(&key, name));
                Ok(dir.stat(&plain)?.is_some() || dir.stat(&packed)?.is_some())
            };
            if is_there(&newest)? || is_there(&first)? {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// The stored session whose recorded source is `transcript`, else the session of that id if it is the only one.
    pub fn session_of(&self, id: &SessionId, transcript: &Path) -> Result<Option<SessionKey>, ArchiveError> {
        save::project_among(self, self.find(id)?, transcript)
    }

    /// Everything committed of a session: newest contents and older generations, transcript first.
    /// Where the bookkeeping is lost or damaged, what lies on the disk is hashed and given as unproven.
    pub fn files(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError> {
        let mut ledger = self.ledger(key)?;
        if ledger.is_empty() || ledger.is_damaged {
            session::rebuild(self, key, &mut ledger)?;
        }
        let stored = |(name, record): (&StoredName, &ledger::Record)| StoredFile::of(name, record, key);
        Ok(ledger.records().map(stored).collect())
    }

    /// A quick look, for a status: what is committed and what can be seen to be wrong without
    /// reading the contents. Nothing is hashed again, whatever state the bookkeeping is in.
    pub fn glance(&self, key: &SessionKey) -> Result<Glance, ArchiveError> {
        quick_check::glance(self, key)
    }

    /// The transcript that the session was last copied from.
    pub fn source_of(&self, key: &SessionKey) -> Result<Option<PathBuf>, ArchiveError> {
        Ok(self.ledger(key)?.source)
    }

    /// The folder of a session, made where it is missing, for a file beside its contents: its name and
    /// all above are synced.
    pub fn folder_of(&self, key: &SessionKey) -> Result<Dir, ArchiveError> {
        let is_proven = |folder: &Path| synced_folders::holds_proven(self, key, &self.ledger(key)?, folder);
        self.anchored_dir(Path::new(key.project.as_str()), &is_proven)
    }

    /// Where a content lies while it is plain.
    pub fn path_of(&self, key: &SessionKey, name: &StoredName) -> PathBuf {
        self.root.path().join(session::relative_path(key, name))
    }

    /// Where a content lies now, for people: the compressed file, where that alone is there.
    pub fn place_of(&self, key: &SessionKey, name: &StoredName) -> PathBuf {
        // A store that cannot be looked at is told of by whoever reads it.
        let is_packed = self.stat(key, name).is_ok_and(|plain| plain.is_none())
            && compress::stat(self, key, name).is_ok_and(|packed| packed.is_some());
        if is_packed { compress::path_of(self, key, name) } else { self.path_of(key, name) }
    }

    /// Opens a stored content for reading short ranges of it: what is compressed is not unpacked whole.
    pub fn open_ranges(&self, key: &SessionKey, name: &StoredName) -> Result<Ranges, ArchiveError> {
        compress::open_ranges(self, key, name)
    }

    /// Opens a stored content for reading; never through a symlink, never a FIFO. Its bytes are the
    /// plain ones: a compressed content is unpacked.
    pub fn open_file(&self, key: &SessionKey, name: &StoredName) -> Result<File, ArchiveError> {
        let mut opened = self.open_plain(key, name)?;
        if opened.is_none() {
            opened = compress::unpacked(self, key, name)?;
        }
        if opened.is_none() {
            // A writer may have brought the plain one back between the two looks.
            opened = self.open_plain(key, name)?;
        }
        opened
            .ok_or_else(|| ArchiveError::Damaged { path: self.path_of(key, name), what: "it is not there".to_owned() })
    }

    /// Whether the source (transcript or side files) has changed since its copy, by device, inode,
    /// size, mtime and ctime. An absent or empty transcript that nothing is stored of has not.
    pub fn is_behind(&self, id: &SessionId, transcript: &Path) -> Result<bool, ArchiveError> {
        let opened = crate::claude::transcripts::open_regular(transcript)?;
        let identity = match &opened {
            Some(file) => Some(crate::claude::transcripts::Identity::of(&fs::stat_of(file, transcript)?)),
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
        let Some(key) = save::project_among(self, known, transcript)? else {
            return Ok(identity.is_some_and(|identity| identity.bytes > 0));
        };
        let ledger = self.ledger(&key)?;
        if ledger.is_damaged || (identity.is_some() && ledger.source.as_deref() != Some(transcript)) {
            return Ok(true);
        }
        let is_saved = |file: FileName, identity: crate::claude::transcripts::Identity| {
            let record = ledger.record(&StoredName::newest(file));
            record.is_some_and(|record| record.source == Some(identity) && record.bytes == identity.bytes)
        };
        if identity.is_some_and(|identity| !is_saved(FileName::Transcript, identity)) {
            return Ok(true);
        }
        let sides = crate::claude::transcripts::side_files(transcript, id)?;
        Ok(sides.into_iter().any(|side| !is_saved(FileName::Side(side.rel), side.identity)))
    }

    /// Syncs what was recorded of a session lately, unless the last run that wrote it finished: one
    /// that was killed may have written it and no more. For a session that was found not to be behind
    /// and so is not saved, before it is said to be saved.
    pub fn sync_recent(&self, id: &SessionId) -> Result<(), ArchiveError> {
        let Some(state) = self.root.open_beneath(&ledger::dir_of(id))? else { return Ok(()) };
        self.anchor_store()?;
        if session::was_left_clean(&state)? {
            return Ok(());
        }
        for key in self.recorded(id)? {
            fs::sync_if_recent(&state.path().join(ledger::name_of(&key)))?;
        }
        Ok(())
    }

    /// Saves transcript and side files; returns when all that it reports is on the disk, synced and
    /// read back. An error means that the transcript was not saved in full; a side file that could
    /// not be stored is one of the report's problems.
    pub fn save(&self, request: &SaveRequest<'_>) -> Result<SaveReport, ArchiveError> {
        save::save(self, request)
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
        save::replicate(self, key, from, from_key, contents, progress)
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
        let steps = save::Steps::new(progress);
        let covered = |(file, bytes, blake3): &(&FileName, u64, Hash)| {
            steps.step(*bytes, |progress| save::is_covered(self, key, &ledger, file, *bytes, blake3, progress))
        };
        wanted.iter().map(covered).collect()
    }

    /// Re-reads and re-hashes everything, or one session. An empty list means all is well.
    pub fn verify(&self, only: Option<&SessionKey>) -> Result<Vec<Finding>, ArchiveError> {
        verify::verify(self, only)
    }

    /// Heals what [`Archive::verify`] finds, from the source, from `other`, or from another
    /// generation, wherever the recorded hash is met; says what it did about each content. What it
    /// replaces is set aside under `.state/damaged/`.
    pub fn repair(&self, only: Option<&SessionKey>, other: Option<&Archive>) -> Result<Vec<Repair>, ArchiveError> {
        repair::repair(self, only, other)
    }

    fn at(root: &Path, store_id: String) -> Result<Option<Archive>, ArchiveError> {
        let anchors = synced_folders::Anchors::default();
        Ok(Dir::open(root)?.map(|root| Archive { root, store_id, free_space_floor: 0, anchors }))
    }

    fn dir_of(&self, key: &SessionKey, name: &StoredName) -> Result<Option<Dir>, ArchiveError> {
        let path = session::relative_path(key, name);
        Ok(self.root.open_beneath(path.parent().unwrap_or(Path::new("")))?)
    }

    fn stat(&self, key: &SessionKey, name: &StoredName) -> Result<Option<rustix::fs::Stat>, ArchiveError> {
        match self.dir_of(key, name)? {
            Some(dir) => Ok(dir.stat(&session::file_name_of(key, name))?),
            None => Ok(None),
        }
    }

    fn open_plain(&self, key: &SessionKey, name: &StoredName) -> Result<Option<File>, ArchiveError> {
        match self.dir_of(key, name)? {
            Some(dir) => Ok(dir.open_file(&session::file_name_of(key, name))?),
            None => Ok(None),
        }
    }

    /// Whether a content is there, compressed or not.
    fn has(&self, key: &SessionKey, name: &StoredName) -> Result<bool, ArchiveError> {
        // The first look again: see `open_file`.
        Ok(self.stat(key, name)?.is_some()
            || compress::stat(self, key, name)?.is_some()
            || self.stat(key, name)?.is_some())
    }

    /// Syncs the file that a content lies in.
    fn sync_content(&self, key: &SessionKey, name: &StoredName) -> Result<(), ArchiveError> {
        let path = self.path_of(key, name);
        match self.open_plain(key, name)? {
            Some(file) => Ok(fs::sync_data(&file, &path)?),
            None => match compress::open_packed(self, key, name)? {
                Some(file) => Ok(fs::sync_data(&file, &compress::path_of(self, key, name))?),
                None => Err(ArchiveError::Damaged { path, what: "it is not there".to_owned() }),
            },
        }
    }

    fn ledger(&self, key: &SessionKey) -> Result<ledger::Ledger, ArchiveError> {
        match self.root.open_beneath(&ledger::dir_of(&key.id))? {
            Some(state) => ledger::Ledger::read(&state, key),
            None => Ok(ledger::Ledger::default()),
        }
    }
}

/// Whether a project's folder lies in a directory: a log or an index alone make no store.
fn holds_a_project(root: &Path) -> Result<bool, ArchiveError> {
    let Some(dir) = Dir::open(root)? else { return Ok(false) };
    let is_project = |name: &OsStr| name.to_str().is_some_and(|name| ProjectName::parse(name).is_ok());
    Ok(dir.entries()?.iter().any(|(name, kind)| *kind == FileType::Directory && is_project(name)))
}

fn gone(root: &Path) -> DurableError {
    DurableError { operation: "open the store", path: root.to_owned(), source: std::io::ErrorKind::NotFound.into() }
}

/// The session that an entry of a project's folder belongs to.
fn session_of_entry(entry: &OsStr, kind: FileType) -> Option<SessionId> {
    let text = entry.to_str()?;
    let stem = match kind {
        FileType::RegularFile => text.strip_suffix(compress::ENDING).unwrap_or(text).strip_suffix(".jsonl")?,
        FileType::Directory => text,
        _ => return None,
    };
    let id = stem.split_once(".gen-").map_or(stem, |(id, _)| id);
    SessionId::parse(id).ok()
}

fn random_id(root: &Path) -> Result<String, DurableError> {
    let mut bytes = [0; 16];
    platform::random(&mut bytes).map_err(|source| DurableError {
        operation: "draw a random id for",
        path: root.to_owned(),
        source,
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Something `verify` found wrong.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The session.
    pub key: SessionKey,
    /// The content.
    pub path: String,
    /// What kind.
    pub kind: FindingKind,
    /// For people: what is wrong, in one line.
    pub detail: String,
    /// The transcript that is to be saved once more, where that mends it.
    pub save: Option<PathBuf>,
}

impl Finding {
    /// What a repair says of a finding that it mended by a [`Finding::save`].
    pub const SAVED_AGAIN: &str = "saved what its source holds now; what was saved before is an older generation";
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// The bytes do not match the recorded hash, or are fewer than recorded.
    Damaged,
    /// The file is gone.
    Missing,
    /// The file has no record.
    BookkeepingLost,
    /// A generation number is absent between others.
    GenerationGap,
    /// The record was rebuilt and never compared with anything.
    Unproven,
    /// The stored bytes are as recorded, but the source, which still exists, no longer begins with them.
    SourceDiverged,
}

impl FindingKind {
    /// The word in reports: `damaged`, `missing`, `bookkeeping-lost`, `generation-gap`, `unproven`,
    /// `source-diverged`.
    pub fn as_str(self) -> &'static str {
        match self {
            FindingKind::Damaged => "damaged",
            FindingKind::Missing => "missing",
            FindingKind::BookkeepingLost => "bookkeeping-lost",
            FindingKind::GenerationGap => "generation-gap",
            FindingKind::Unproven => "unproven",
            FindingKind::SourceDiverged => "source-diverged",
        }
    }
}
