//! What to restore, where to, and what came of it.

use std::path::PathBuf;

use serde::Serialize;

use crate::stores::Which;

/// What to restore, and where to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Which content of the transcript. Of a side file it is the newest; the longest of a
    /// subagent's transcript and of a tool's result if the longest is wanted.
    pub(crate) content: Which,
    /// A directory to write to instead of Claude Code's.
    pub(crate) to: Option<PathBuf>,
    /// Replace what stands there and differs; it is saved first.
    pub(crate) force: bool,
    /// Where the project lies now.
    pub(crate) cwd: Option<String>,
    /// Directories that moved, with all that lies below them.
    pub(crate) moved: Vec<Moved>,
    /// Leave everything that stands there as it is; write what is absent.
    pub(crate) only_absent: bool,
    /// What stands there is replaced where it stands, wherever the project lies now.
    pub(crate) in_place: bool,
    /// Claude Code's directory, where it is not the one that `claude` would use by itself.
    pub(crate) config_dir: Option<PathBuf>,
}

/// A directory that lies elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moved {
    /// As the transcripts name it.
    pub(crate) from: String,
    /// Where it is now.
    pub(crate) to: String,
}

impl Moved {
    /// `OLD=NEW`; the first `=` parts them.
    pub(crate) fn parse(text: &str) -> Option<Moved> {
        let (from, to) = text.split_once('=')?;
        let from = from.trim_end_matches(['/', '\\']);
        (!from.is_empty() && !to.is_empty()).then(|| Moved { from: from.to_owned(), to: to.to_owned() })
    }

    /// The directory in its new place and how much of its old path was known; `None` if it is not
    /// below the one that moved.
    pub(super) fn map(&self, cwd: &str) -> Option<(usize, String)> {
        let rest = cwd.strip_prefix(&self.from)?;
        if !(rest.is_empty() || rest.starts_with(['/', '\\'])) {
            return None;
        }
        let to = self.to.trim_end_matches('/');
        // Below a directory of Windows its separators are meant.
        let rest = if rest.starts_with('\\') { rest.replace('\\', "/") } else { rest.to_owned() };
        let mapped = format!("{to}{rest}");
        Some((self.from.len(), if mapped.is_empty() { "/".to_owned() } else { mapped }))
    }
}

/// What restoring a session did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Restored {
    /// The session.
    pub(crate) session_id: String,
    /// Its folder in the store.
    pub(crate) project: String,
    /// The transcript's place.
    pub(crate) path: String,
    /// Length of the transcript.
    pub(crate) bytes: u64,
    /// Which content of the transcript: 0 the newest, 1 the oldest; none if it stood there.
    pub(crate) generation: Option<u32>,
    /// Files written, transcript included; 0 when all stood there already.
    pub(crate) files_written: usize,
    /// Files that stood there already and were left as they are.
    pub(crate) files_in_place: usize,
    /// Where it is to go on, if the transcript or the user says so.
    pub(crate) cwd: Option<String>,
    /// The line to type in a shell; none for a directory that Claude Code does not read.
    pub(crate) command: Option<String>,
    /// What the user should know, in plain words.
    pub(crate) notes: Vec<String>,
    /// Side files that could not be restored.
    pub(crate) problems: Vec<String>,
}
