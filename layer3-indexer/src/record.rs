//! Reading transcripts: tolerant of damage and of records that are newer than this program,
//! borrowed from the line, never re-serialised, in memory that does not grow with the transcript.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::ControlFlow;

use serde_json::value::RawValue;

/// Longest line that is loaded; a longer one is counted as unparsable and read past. The longest
/// line that was ever reported had 12.8 million characters.
pub const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a record is for a reader of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Something the user asked for, typed or queued. In a side transcript: the subagent's task.
    Prompt,
    /// A slash command or a `!` command of the user: run by Claude Code itself, not sent as a request.
    Command,
    /// What such a command printed.
    CommandOutput,
    /// A user record that no user wrote: caveats, reminders, expanded skills, interruptions.
    Meta,
    /// The model's words, thoughts and tool calls.
    Answer,
    /// What tools gave back.
    ToolResult,
    /// What a compaction, or Claude Code's list of sessions, made of the conversation.
    Summary,
    /// A notice of Claude Code in the conversation.
    System,
    /// A name of the session, given by the user or by Claude Code; see [`Record::title`].
    Title,
    /// Bookkeeping of a known type: nothing to read.
    Bookkeeping,
    /// A type that this program does not know.
    Unknown,
}

/// Who speaks, as search filters it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Prompts and commands of the user.
    User,
    /// Words and thoughts of the model.
    Assistant,
    /// Tool calls, their results, output of commands.
    Tool,
    /// Summaries.
    Summary,
    /// Everything that nobody said: notices, reminders.
    System,
}

impl Role {
    /// All of them, for `--help` and schemas.
    pub const ALL: [Role; 5] = [Role::User, Role::Assistant, Role::Tool, Role::Summary, Role::System];

    /// `user`, `assistant`, `tool`, `summary`, `system`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            Role::Summary => "summary",
            Role::System => "system",
        }
    }

    /// The role of that name.
    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// A piece of a message.
#[derive(Debug, Clone)]
pub enum Block<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// The model's reasoning.
    Thinking(Cow<'a, str>),
    /// A tool call.
    ToolUse {
        /// The tool.
        name: Cow<'a, str>,
        /// Joins it with its result.
        id: Option<Cow<'a, str>>,
        /// Its arguments, as they stand in the transcript.
        input: Option<&'a RawValue>,
    },
    /// A tool's result.
    ToolResult {
        /// Joins it with its call.
        id: Option<Cow<'a, str>>,
        /// All text of it; pictures are left out.
        text: Cow<'a, str>,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// A picture, a document or a type of block that this program does not know; its type.
    Other(Cow<'a, str>),
}

/// One record of a transcript, borrowed from its line.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// `type` as written; empty if there is none.
    pub kind: Cow<'a, str>,
    /// `subtype` of a `system` record; the type of an `attachment`.
    pub subtype: Option<Cow<'a, str>>,
    /// What it is for a reader.
    pub class: Class,
    /// Its id. The same id can come again.
    pub uuid: Option<Cow<'a, str>>,
    /// When, if it says so, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Whether it belongs to a subagent.
    pub is_sidechain: bool,
    /// The working directory.
    pub cwd: Option<Cow<'a, str>>,
    /// The branch; `HEAD` when detached or in no repository.
    pub git_branch: Option<Cow<'a, str>>,
    /// Claude Code's version.
    pub version: Option<Cow<'a, str>>,
    /// The session as the record says it: forks and resumes hold several.
    pub session_id: Option<Cow<'a, str>>,
    /// The name that a [`Class::Title`] record gives to the session.
    pub title: Option<Cow<'a, str>>,
    /// Its content, in order; empty for bookkeeping and unknown types.
    pub blocks: Vec<Block<'a>>,
}

impl Record<'_> {
    /// Who speaks.
    pub fn role(&self) -> Role {
        Role::System
    }
}

/// All text in a tool's arguments: the string values, one a line, without keys, numbers and structure.
pub fn tool_input_text(_input: &RawValue) -> String {
    String::new()
}

/// A record and where it stands.
#[derive(Debug, Clone)]
pub struct Located<'a> {
    /// Of its first byte, in the file.
    pub offset: u64,
    /// Of the record alone: without the newline, what is glued to it, and NULs around it.
    pub length: u64,
    /// The record.
    pub record: Record<'a>,
}

/// What to do with a last line that has no newline and does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TornLine {
    /// The rest of it is still to come: leave it unread.
    Wait,
    /// Nothing more will come: count it as unparsable.
    Final,
}

/// What reading met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Where to go on: all bytes before this offset are dealt with.
    pub next_offset: u64,
    /// Pieces of lines that are no record, lines that are too long included.
    pub unparsable: u64,
    /// Records of types that this program does not know, by type.
    pub unknown: BTreeMap<String, u64>,
}

/// Reads records from `reader`, which stands at `offset` of its file, to its end or until `each`
/// breaks, and hands each to `each` in order. Memory is bounded by the longest line.
///
/// Damage costs only what it hit: several records on one line are split, NULs around a record
/// are dropped, a record after a torn one is found again, bytes that are not UTF-8 are replaced.
pub fn read_records<R: Read>(
    _reader: R,
    _offset: u64,
    _torn: TornLine,
    _each: &mut dyn FnMut(Located<'_>) -> ControlFlow<()>,
) -> io::Result<ReadReport> {
    Ok(ReadReport::default())
}

/// The record that stands in exactly these bytes ([`Located::offset`] and [`Located::length`]).
/// `each` is not called when they hold none.
pub fn with_record<T>(_bytes: &[u8], _each: impl FnOnce(&Record<'_>) -> T) -> Option<T> {
    None
}
