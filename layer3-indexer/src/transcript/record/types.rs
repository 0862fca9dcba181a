//! A record as the rest of the program sees it.

use std::borrow::Cow;

use serde_json::value::RawValue;

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
    pub(crate) const ALL: [Role; 5] = [Role::User, Role::Assistant, Role::Tool, Role::Summary, Role::System];

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
    pub(crate) fn parse(text: &str) -> Option<Role> {
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
        match self.class {
            Class::Prompt | Class::Command => Role::User,
            Class::CommandOutput | Class::ToolResult => Role::Tool,
            Class::Answer if self.is_tool_call() => Role::Tool,
            Class::Answer => Role::Assistant,
            Class::Summary => Role::Summary,
            Class::Meta | Class::System | Class::Title | Class::Bookkeeping | Class::Unknown => Role::System,
        }
    }

    /// Whether it is a message of the model that only calls tools.
    pub fn is_tool_call(&self) -> bool {
        self.class == Class::Answer
            && !self.blocks.is_empty()
            && self.blocks.iter().all(|block| matches!(block, Block::ToolUse { .. }))
    }
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
