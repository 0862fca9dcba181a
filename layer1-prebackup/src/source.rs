//! The source: Claude Code's files. They are only ever read, never through a symlink below
//! their root, and opening one never blocks.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;

/// A transcript found under `projects/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTranscript {
    /// `<projects>/<slug>/<session id>.jsonl`.
    pub path: PathBuf,
    /// Its session id.
    pub id: crate::names::SessionId,
    /// Length at the time of the walk.
    pub bytes: u64,
}

/// Every regular file `<projects>/*/<session id>.jsonl`, sorted by path. Symlinked folders and
/// files are left out, and so is what is not named like a session. An absent folder gives none.
pub fn transcripts(_projects: &Path) -> Result<Vec<FoundTranscript>, ArchiveError> {
    todo!()
}

/// Opens a regular file for reading without following a symlink in its last component and
/// without ever blocking on a FIFO; `None` if there is no such file.
pub fn open_regular(_path: &Path) -> Result<Option<File>, ArchiveError> {
    todo!()
}
