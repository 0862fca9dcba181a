//! What the index is asked and what it answers.

use std::collections::BTreeMap;

use rmcp::schemars::JsonSchema;
use serde::Serialize;

use crate::transcript::metadata::Metadata;
use crate::transcript::record::Role;

/// Which sessions to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionFilter {
    /// Only of this project.
    pub(crate) project: Option<String>,
    /// Only with a message at or after this time, in milliseconds since 1970.
    pub(crate) since_ms: Option<i64>,
    /// Only with a message at or before this time, in milliseconds since 1970.
    pub(crate) until_ms: Option<i64>,
    /// Only whose last branch this is.
    pub(crate) branch: Option<String>,
    /// Only these rows of [`Whereabouts`].
    pub(crate) within: Option<Vec<i64>>,
    /// Sessions to pass over.
    pub(crate) offset: usize,
    /// At most so many, newest first; `None` for all.
    pub(crate) limit: Option<usize>,
}

/// A session and the directories that its records name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    /// Its row in this index; rows of another one are numbered anew.
    pub(crate) row: i64,
    /// The session's folder.
    pub(crate) project: String,
    /// Its id.
    pub(crate) session_id: String,
    /// That of its project first, then the last working directory; none where no record names one.
    pub(crate) directories: Vec<String>,
}

/// What a list of very many sessions says of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Glance {
    /// Its row in this index.
    pub(crate) row: i64,
    pub(crate) project: String,
    pub(crate) session: String,
    pub(crate) title: Option<String>,
    pub(crate) end_ms: Option<i64>,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// A session in a list.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SessionRow {
    /// Everything known about it; `project` and `session_id` name it.
    #[serde(flatten)]
    pub(crate) metadata: Metadata,
    /// Its subagents: those whose own transcripts are stored with it.
    pub(crate) subagents: u64,
    /// Sessions that hold its messages too: forks of it, and those that go on with it in a new file.
    pub(crate) forks: u64,
    /// Whether Claude Code no longer has the session; what is stored can be restored.
    pub(crate) source_gone: bool,
    /// Messages that its newest version lost and an older one has; see `status`.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) lost_messages: u64,
    /// What its project is called among others. The index does not know it; whoever asks says it.
    #[serde(skip)]
    pub(crate) label: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Numbers about all sessions that a list is taken from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SessionTotals {
    /// Sessions.
    pub(crate) sessions: u64,
    /// Bytes of their newest transcripts.
    pub(crate) bytes: u64,
    /// Their messages.
    pub(crate) messages: u64,
}

/// See [`SearchQuery::weights`].
const WEIGHTS: [f64; 3] = [1.0, 0.3, 0.2];

/// What to search for.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// As typed: FTS5 syntax where it parses, plain words otherwise.
    pub text: String,
    /// Only in this project.
    pub project: Option<String>,
    /// Only in these rows of the sessions' whereabouts.
    pub within: Option<Vec<i64>>,
    /// Only in this session.
    pub session_id: Option<String>,
    /// Only at or after this time, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Only at or before this time, in milliseconds since 1970.
    pub until_ms: Option<i64>,
    /// Only what this one said.
    pub role: Option<Role>,
    /// Only messages on this branch.
    pub branch: Option<String>,
    /// Only calls of this tool and their results; an MCP tool may be named without its server.
    pub tool: Option<String>,
    /// Only in sessions that read or changed this file: its path, the end of it, or a folder. Beside
    /// a tool, or without a text, only the calls that did so, and their results.
    pub file: Option<String>,
    /// Every message, not only the best one of each session.
    pub each: bool,
    /// Hits to pass over: those of the pages before.
    pub offset: usize,
    /// Maximum number of results.
    pub limit: usize,
    /// Messages to show before each hit.
    pub before: usize,
    /// Messages to show after each hit.
    pub after: usize,
    /// Marks of the matched words in snippets.
    pub marks: Marks,
    /// Whether what looks like a secret is masked in them.
    pub redact: bool,
    /// Now, in milliseconds since 1970: newer messages are mildly preferred.
    pub now_ms: i64,
    /// What a conversation's best messages are worth beside what the conversation is about; two words of a question side by
    /// side beside one of them; all of it in a row in one message. Chosen by `cargo xtask recall --sweep`.
    pub weights: [f64; 3],
}

impl SearchQuery {
    /// A search for `text` everywhere, every message, 20 hits at most, marks `[` and `]`.
    pub fn new(text: &str, now_ms: i64) -> SearchQuery {
        SearchQuery {
            text: text.to_owned(),
            project: None,
            within: None,
            session_id: None,
            since_ms: None,
            until_ms: None,
            role: None,
            branch: None,
            tool: None,
            file: None,
            each: true,
            offset: 0,
            limit: 20,
            before: 0,
            after: 0,
            marks: Marks::default(),
            redact: false,
            now_ms,
            weights: WEIGHTS,
        }
    }

    /// Whether there is something to find without a text.
    pub(super) fn has_filter(&self) -> bool {
        self.tool.is_some()
            || self.file.is_some()
            || self.role.is_some()
            || self.branch.is_some()
            || self.session_id.is_some()
    }
}

/// Strings put before and after each matched word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// Before.
    pub(crate) start: String,
    /// After.
    pub(crate) end: String,
}

impl Default for Marks {
    /// `[` and `]`.
    fn default() -> Marks {
        Marks { start: "[".into(), end: "]".into() }
    }
}

/// Between a message and the character in it that was found, where that stands far behind its beginning: see [`Hit::message`].
pub(crate) const CHARACTER: char = '#';

/// A message that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Hit {
    /// 1 for the best.
    pub(crate) rank: usize,
    /// Its session.
    pub(crate) session_id: String,
    /// The session's folder.
    pub(crate) project: String,
    /// The directory of its project. The index does not say it of a hit; whoever asks does, and what the project is
    /// called among others.
    pub(crate) directory: Option<String>,
    /// See there.
    #[serde(skip)]
    pub(crate) label: String,
    /// The session's name, where it has one.
    pub(crate) title: Option<String>,
    /// How a session began that has no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_topic: Option<String>,
    /// The name that the user gave it here, which stands as the title then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The user's tags of the session. The index does not say them; whoever asks does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    /// Whether the user pinned the session; likewise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pinned: bool,
    /// When, RFC 3339.
    pub(crate) time: Option<String>,
    /// Who.
    pub(crate) role: Role,
    /// Whether a subagent's.
    pub(crate) is_sidechain: bool,
    /// The branch.
    pub(crate) branch: Option<String>,
    /// The record's id.
    pub(crate) uuid: Option<String>,
    /// What `show --around` and `session_get_context` take to read on from here: the uuid or, where
    /// the record has none, `PATH:OFFSET`; of a long message with the place of the match in it, `UUID#CHARACTER`.
    pub message: String,
    /// Other messages of the session that match; none where every message is a hit by itself.
    pub(crate) others_in_session: usize,
    /// Other sessions that hold the same message: forks and continuations of this one.
    pub(crate) other_sessions: usize,
    /// Whether Claude Code no longer has the session; what is stored can be restored.
    pub(crate) source_gone: bool,
    /// Messages that its newest version lost and an older one has; see `status`.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) lost_messages: u64,
    /// The words around the match, matches marked, on one line.
    pub snippet: String,
    /// The stored file, relative to the project's folder (`StoredName::to_text`).
    pub(crate) path: String,
    /// Of the record, in that file.
    pub(crate) offset: u64,
    /// Messages before it, as many as were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) before: Vec<ContextMessage>,
    /// Messages after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) after: Vec<ContextMessage>,
}

/// A message beside a hit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ContextMessage {
    /// When, RFC 3339.
    pub(crate) time: Option<String>,
    /// Who.
    pub(crate) role: Role,
    /// As [`Hit::message`].
    pub(crate) message: String,
    /// How it begins, on one line.
    pub(crate) text: String,
}

/// What a search found, words before substrings; one hit for each session unless every message was asked for. What is
/// said of the fields, MCP clients read.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct SearchResults {
    /// Best first. Each has session_id, project, directory (of the project), title or first_topic, time, role, branch, uuid, message (for session_get_context), snippet,
    /// rank, others_in_session, other_sessions (forks and continuations that hold the same message), source_gone, lost_messages (its newest version lost them) and where it is stored; before and after, if context was asked for.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub hits: Vec<Hit>,
    /// Whether there are more on the next page.
    pub(crate) more: bool,
    /// Where it was searched, in words.
    pub(crate) scope: String,
    /// Whether that is all projects.
    pub(crate) all_projects: bool,
    /// What to know about how it was searched; mostly empty.
    pub(crate) notes: Vec<String>,
}

/// Numbers about the whole index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Sessions in lists.
    pub(crate) sessions: u64,
    /// Sessions that have neither a prompt nor an answer and are not listed.
    pub(crate) sessions_unlisted: u64,
    /// Messages.
    pub messages: u64,
    /// Pieces of lines that no record could be read from.
    pub(crate) unparsable: u64,
    /// Records of types that this program does not know, by type.
    pub(crate) unknown: BTreeMap<String, u64>,
    /// Size of the database file and its write-ahead log.
    pub(crate) bytes: u64,
}
