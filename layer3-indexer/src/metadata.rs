//! What is known about a session as a whole: the content of `{SESSION_ID}.json` and of lists.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most files in `edited_files`, and in `read_files`: those touched last.
pub const FILES_MAX: usize = 500;
/// Most commands in `bash_commands`: those run last.
pub const COMMANDS_MAX: usize = 200;
/// Longest command that is kept, in characters.
pub const COMMAND_CHARS_MAX: usize = 300;
/// Longest topic, in characters.
pub const TOPIC_CHARS_MAX: usize = 200;

/// A session's metadata. Serialised, it is the content of `{SESSION_ID}.json`. It covers the
/// transcript, its older generations and its subagents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// The session.
    pub session_id: String,
    /// Its folder in the store.
    pub project: String,
    /// The last working directory.
    pub cwd: Option<String>,
    /// First time of a message, RFC 3339.
    pub timestamp_start: Option<String>,
    /// Last time of a message, RFC 3339.
    pub timestamp_end: Option<String>,
    /// The last branch.
    pub git_branch: Option<String>,
    /// What the user or Claude Code named the session.
    pub title: Option<String>,
    /// Files that tools changed, oldest change first; at most [`FILES_MAX`].
    pub edited_files: Vec<String>,
    /// Files that tools read, oldest first; at most [`FILES_MAX`].
    pub read_files: Vec<String>,
    /// Commands, oldest first; at most [`COMMANDS_MAX`] of at most [`COMMAND_CHARS_MAX`] characters.
    pub bash_commands: Vec<String>,
    /// Calls by tool.
    pub tool_counts: BTreeMap<String, u64>,
    /// The first prompt, shortened to [`TOPIC_CHARS_MAX`] characters on one line.
    pub first_topic: Option<String>,
    /// The last prompt, likewise.
    pub last_topic: Option<String>,
    /// Messages in the index.
    pub messages: u64,
    /// Length of the newest transcript.
    pub bytes: u64,
    /// Plain BLAKE3 of the newest transcript, hexadecimal.
    pub blake3: Option<String>,
    /// What caused the last save: `pre-compact`, `session-end`, …
    pub trigger: String,
}
