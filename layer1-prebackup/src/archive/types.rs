//! What the archive is asked, what it answers, and how it fails.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Hash;
use crate::fs::DurableError;
use crate::names::{FileName, LAYER3, NameError, ProjectName, SessionId, StoredName, typed};

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
pub enum Verification {
    /// This program wrote these bytes from the source and read them back.
    Written,
    /// The bookkeeping was rebuilt; the content was then found equal to the source or to the other layer's copy.
    Compared,
    /// The content was found in place, written by someone else, and kept as it was.
    Found,
    /// The bookkeeping was rebuilt and nothing was there to compare with.
    #[serde(rename = "unproven")]
    Unverified,
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
    /// The user had the conversation forgotten, so nothing of it is stored.
    Forgotten,
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
    /// Files whose newest content this save read from the store from its first byte to its last, the bytes that it wrote
    /// through a new descriptor after their sync, and found to be what is recorded; length and hash of each.
    pub read_back: Vec<(FileName, u64, Hash)>,
    /// Files of the session that could not be stored; everything else was.
    pub problems: Vec<ArchiveError>,
    /// How many side files were left to the next save: see [`super::Archive::leave_sides_after`].
    pub sides_left: usize,
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
    /// Another file of the session lies in this one's place: the store's file system does not tell their names apart.
    /// Nothing was written.
    #[error(
        "save {path}: {other} lies in its place, because the two names differ in the case of letters or in how accents are written, and this file system does not tell them apart; rename one of them, or put the store on a file system that does",
        path = path.display()
    )]
    NamedAlike {
        /// Where it would lie.
        path: PathBuf,
        /// The file that lies there.
        other: String,
    },
    /// The store lies on a disk that is not there. Nothing was made in its place.
    #[error("{0}")]
    Away(String),
    /// The user had the conversation forgotten. Nothing of it is stored.
    #[error(
        "store conversation {id}: you had it forgotten; `{allow}` lets it be backed up again",
        allow = typed(LAYER3, &format!("forget --allow-again {id}"))
    )]
    Forgotten {
        /// Its id.
        id: String,
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
    pub(crate) fn damaged(path: impl Into<PathBuf>, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged { path: path.into(), what: what.into() }
    }

    /// Whether the disk or a quota is full: the one failure a user can mend at once.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, ArchiveError::Durable(error) if error.is_disk_full())
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
    /// The transcript that is to be saved once more, where that mends it.
    pub save: Option<PathBuf>,
}

impl Finding {
    pub(super) fn of(key: &SessionKey, name: &StoredName, kind: FindingKind, detail: impl Into<String>) -> Finding {
        Finding { key: key.clone(), path: name.to_text(&key.id), kind, detail: detail.into(), save: None }
    }

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
    Unverified,
    /// The stored bytes are as recorded, but the source, which still exists, no longer begins with them.
    SourceDiverged,
    /// A note: a run that was killed left the file, and nobody was told that it is saved. The next save takes it over.
    NotAcknowledged,
}

impl FindingKind {
    /// The word in reports: `damaged`, `missing`, `bookkeeping-lost`, `generation-gap`, `unproven`,
    /// `source-diverged`, `not-acknowledged`.
    pub fn as_str(self) -> &'static str {
        match self {
            FindingKind::Damaged => "damaged",
            FindingKind::Missing => "missing",
            FindingKind::BookkeepingLost => "bookkeeping-lost",
            FindingKind::GenerationGap => "generation-gap",
            FindingKind::Unverified => "unproven",
            FindingKind::SourceDiverged => "source-diverged",
            FindingKind::NotAcknowledged => "not-acknowledged",
        }
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_note(self) -> bool {
        self == FindingKind::NotAcknowledged
    }
}

/// All that is asked of a file of whatever version.
#[derive(Debug, Deserialize)]
pub(super) struct Formatted {
    pub(super) format: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let failed =
            |kind: ErrorKind| DurableError { operation: "write", path: "x".into(), source: kind.into() }.into();
        for (error, expected) in [
            (failed(ErrorKind::StorageFull), true),
            (failed(ErrorKind::QuotaExceeded), true),
            (failed(ErrorKind::PermissionDenied), false),
            (ArchiveError::Shrank { path: "x".into() }, false),
        ] {
            assert_eq!(error.is_disk_full(), expected, "{error}");
        }
    }
}
