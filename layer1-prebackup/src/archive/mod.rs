//! The archive: one store of conversations, append-only, in generations. Layers 1 and 3 each
//! keep one, through this same code.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Hash;
use crate::names::{FileName, ProjectName, SessionId, StoredName};

/// A session as a store knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// Its folder.
    pub project: ProjectName,
    /// Its id.
    pub id: SessionId,
}

/// What a recorded hash is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Told the number of bytes handled so far, at least once per 8 MiB.
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
    /// Files of the session that could not be stored; everything else was.
    pub problems: Vec<ArchiveError>,
}

/// The archive failed to do something. What was acknowledged before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Layer 1's durable-write module failed.
    #[error(transparent)]
    Durable(#[from] crate::durable::DurableError),
    /// A file of the store or of the source could not be read.
    #[error("read {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A source is a FIFO, a device, a directory or a symlink.
    #[error("copy {path}: it is not a regular file", path = path.display())]
    NotRegular {
        /// Which.
        path: PathBuf,
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

/// A store of conversations.
#[derive(Debug)]
pub struct Archive {
    root: PathBuf,
}

#[allow(clippy::todo, unused_variables, missing_docs)]
impl Archive {
    /// Opens the store for writing; makes it (0700, with a random id) where there is none.
    pub fn create(root: &Path) -> Result<Archive, ArchiveError> {
        todo!()
    }

    /// Opens an existing store for reading; `None` where there is none. Writes nothing.
    pub fn open(root: &Path) -> Result<Option<Archive>, ArchiveError> {
        todo!()
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The store's random id, 32 hexadecimal digits; another id means another store.
    pub fn store_id(&self) -> &str {
        todo!()
    }

    /// All sessions, by project and id.
    pub fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError> {
        todo!()
    }

    /// The sessions with this id; more than one only when two sources bore it.
    pub fn find(&self, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
        todo!()
    }

    /// The stored session whose recorded source is `transcript`, else the session of that id if it is the only one.
    pub fn session_of(&self, id: &SessionId, transcript: &Path) -> Result<Option<SessionKey>, ArchiveError> {
        todo!()
    }

    /// Everything committed of a session: newest contents and older generations, transcript first.
    pub fn files(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError> {
        todo!()
    }

    /// The transcript that the session was last copied from.
    pub fn source_of(&self, key: &SessionKey) -> Result<Option<PathBuf>, ArchiveError> {
        todo!()
    }

    /// Where a content lies.
    pub fn path_of(&self, key: &SessionKey, name: &StoredName) -> PathBuf {
        self.root.join(key.project.as_str()).join(name.to_path(&key.id))
    }

    /// Opens a stored content for reading; never through a symlink, never a FIFO.
    pub fn open_file(&self, key: &SessionKey, name: &StoredName) -> Result<File, ArchiveError> {
        todo!()
    }

    /// Whether the source (transcript or side files) has changed since its copy, by device, inode, size, mtime and ctime.
    pub fn is_behind(&self, id: &SessionId, transcript: &Path) -> Result<bool, ArchiveError> {
        todo!()
    }

    /// Saves transcript and side files. See the module's promises.
    pub fn save(&self, request: &SaveRequest<'_>) -> Result<SaveReport, ArchiveError> {
        todo!()
    }

    /// Takes a content over from another store, its recorded hash checked on the way, so that
    /// [`Archive::covers`] holds for it afterwards. An older generation stays an older one.
    pub fn take_over(
        &self,
        key: &SessionKey,
        from: &Archive,
        from_key: &SessionKey,
        content: &StoredFile,
        progress: &dyn Fn(u64),
    ) -> Result<(), ArchiveError> {
        todo!()
    }

    /// Whether some stored content of `file`, in any generation, begins with exactly these bytes:
    /// re-read from the disk unless the recorded hash is of just that length and the file was committed by this very process.
    pub fn covers(&self, key: &SessionKey, file: &FileName, bytes: u64, blake3: &Hash) -> Result<bool, ArchiveError> {
        todo!()
    }

    /// Re-reads and re-hashes everything, or one session. An empty list means all is well.
    pub fn verify(&self, only: Option<&SessionKey>) -> Result<Vec<Finding>, ArchiveError> {
        todo!()
    }
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
}

impl FindingKind {
    /// The word in reports: `damaged`, `missing`, `bookkeeping-lost`, `generation-gap`, `unproven`.
    pub fn as_str(self) -> &'static str {
        match self {
            FindingKind::Damaged => "damaged",
            FindingKind::Missing => "missing",
            FindingKind::BookkeepingLost => "bookkeeping-lost",
            FindingKind::GenerationGap => "generation-gap",
            FindingKind::Unproven => "unproven",
        }
    }
}
