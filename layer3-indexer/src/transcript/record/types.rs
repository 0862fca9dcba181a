//! A record as the rest of the program sees it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::value::RawValue;

use super::fields::{PictureSource, Usage};
use crate::transcript::TOOL_RESULTS;

/// What a record is for a reader of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Words of the user: asked for, typed or queued, or said when a tool was rejected. In a side transcript: the
    /// subagent's task.
    Prompt,
    /// An act of the user: a slash command, a `!` command, an interruption. Claude Code itself did it; nothing was asked.
    Command,
    /// What such a command printed.
    CommandOutput,
    /// What another agent said: the answer of one that ran in the background, a message of a teammate.
    Agent,
    /// A user record that no user wrote: caveats, reminders, expanded skills.
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
    /// A type that this program does not know; its blocks are the prose in it.
    Unknown,
}

/// Who speaks, as search filters it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Prompts and commands of the user.
    User,
    /// Words and thoughts of the model and of its agents.
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

/// A piece of a message. All text of a record stands in its blocks, each piece once.
#[derive(Debug, Clone)]
pub enum Block<'a> {
    /// Words of whoever the record is of.
    Text(Cow<'a, str>),
    /// What was put into a message for the model and is nobody's words: a reminder, a caveat, what an editor shows, a
    /// document of the user.
    Notice {
        /// What it is; empty where nothing says so.
        tag: &'static str,
        /// Its text.
        text: Cow<'a, str>,
        /// Whether it is shown like words: it stood among some in one text, and may have been typed, or the user gave it.
        is_among_words: bool,
    },
    /// What the user did: see [`Class::Command`].
    Act {
        /// `/compact`, `!`, `[Request interrupted by user]`.
        name: Cow<'a, str>,
        /// What was typed behind it.
        args: Cow<'a, str>,
    },
    /// What such a command printed.
    Output(Cow<'a, str>),
    /// What another agent said.
    Agent {
        /// Who, if it says so.
        from: Option<Cow<'a, str>>,
        /// Its words.
        text: Cow<'a, str>,
    },
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
        /// All text of it.
        text: Cow<'a, str>,
        /// Whether the tool failed.
        is_error: bool,
        /// The pictures of it.
        pictures: Vec<Picture<'a>>,
    },
    /// A picture.
    Picture(Picture<'a>),
    /// A document without text or a type of block that this program does not know; its type.
    Other(Cow<'a, str>),
}

/// A picture as it stands in a transcript, not yet read: most of the program has no use for it.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a>(pub(super) Option<&'a RawValue>);

impl<'a> Picture<'a> {
    /// Its type and its bytes in base64, as the transcript has them; nothing of either is checked.
    pub(crate) fn data(self) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        let source: PictureSource<'a> = serde_json::from_str(self.0?.get()).ok()?;
        source.media_type.0.zip(source.data.0)
    }

    fn len(self) -> usize {
        self.0.map_or(0, |source| source.get().len())
    }
}

/// What a turn of the model cost, as it stands in the transcript.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Tokens that the model read anew.
    pub(crate) input: u64,
    /// Tokens that it read from the cache.
    pub(crate) cached: u64,
    /// Tokens that it wrote.
    pub(crate) output: u64,
}

impl Spent {
    /// Both together.
    pub(crate) fn and(self, other: Spent) -> Spent {
        let (input, cached) = (self.input.saturating_add(other.input), self.cached.saturating_add(other.cached));
        Spent { input, cached, output: self.output.saturating_add(other.output) }
    }

    /// For people.
    pub(crate) fn in_words(self) -> String {
        format!("{} tokens in, {} from the cache, {} out", self.input, self.cached, self.output)
    }
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
    /// The record that it follows; of a compaction, the last one before it.
    pub parent: Option<Cow<'a, str>>,
    /// Whether it waits for its turn: a prompt that comes again in another record when it is sent, or never does.
    pub is_queued: bool,
    /// When, if it says so, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Whether it belongs to a subagent.
    pub is_sidechain: bool,
    /// The subagent that said it, where the conversation that started that one only reports it. Where the subagent's own
    /// file is kept, it stands there too.
    pub reported_of: Option<Cow<'a, str>>,
    /// The working directory.
    pub cwd: Option<Cow<'a, str>>,
    /// Of a `worktree-state` record: the directory of the project that the session's worktree belongs to.
    pub worktree_of: Option<Cow<'a, str>>,
    /// The branch; `HEAD` when detached or in no repository.
    pub git_branch: Option<Cow<'a, str>>,
    /// Claude Code's version.
    pub version: Option<Cow<'a, str>>,
    /// The model that answered.
    pub model: Option<Cow<'a, str>>,
    /// What the answer cost, not yet read.
    pub usage: Option<&'a RawValue>,
    /// The session as the record says it: forks and resumes hold several.
    pub session_id: Option<Cow<'a, str>>,
    /// Where it was copied from, in a fork.
    pub forked_from: Option<Origin<'a>>,
    /// The session in which the conversation goes on.
    pub continued_in: Option<Cow<'a, str>>,
    /// The name that a [`Class::Title`] record gives to the session, and a `summary` to the one in which it follows something.
    pub title: Option<Cow<'a, str>>,
    /// The agent and its team, where the session is an agent's.
    pub of_team: Option<Cow<'a, str>>,
    /// Its content, in order; empty for bookkeeping and unknown types.
    pub blocks: Vec<Block<'a>>,
}

/// What a record of a fork is a copy of.
#[derive(Debug, Clone)]
pub struct Origin<'a> {
    /// The session.
    pub session: Cow<'a, str>,
    /// The id of the record there.
    pub message: Cow<'a, str>,
}

impl Record<'_> {
    /// Who speaks.
    pub fn role(&self) -> Role {
        match self.class {
            Class::Prompt | Class::Command => Role::User,
            Class::CommandOutput | Class::ToolResult => Role::Tool,
            Class::Answer if self.is_tool_call() => Role::Tool,
            Class::Answer | Class::Agent => Role::Assistant,
            Class::Summary => Role::Summary,
            Class::Meta | Class::System | Class::Title | Class::Bookkeeping | Class::Unknown => Role::System,
        }
    }

    /// What a person or an agent said or did in it, as they would type it: its lines, without blanks around them.
    pub(crate) fn said(&self) -> String {
        let mut said = String::new();
        let mut line = |line: &str| {
            if !line.trim().is_empty() {
                said.push_str(if said.is_empty() { "" } else { "\n" });
                said.push_str(line.trim());
            }
        };
        for block in &self.blocks {
            match block {
                Block::Text(text) | Block::Agent { text, .. } => text.lines().for_each(&mut line),
                Block::Act { name, args } => command_line(name, args).lines().for_each(&mut line),
                _ => {}
            }
        }
        said
    }

    /// Every text of it that a reader may see, arguments of tools as JSON.
    pub(crate) fn each_text(&self, mut each: impl FnMut(&str)) {
        let of_record = [&self.title, &self.git_branch, &self.cwd, &self.subtype];
        of_record.into_iter().flatten().for_each(|text| each(text));
        for block in &self.blocks {
            match block {
                Block::Text(text) | Block::Thinking(text) | Block::Output(text) | Block::Other(text) => each(text),
                Block::Picture(_) => {}
                Block::Notice { text, .. } | Block::ToolResult { text, .. } => each(text),
                Block::Act { name, args } => each(&command_line(name, args)),
                Block::Agent { from, text } => from.iter().chain([text]).for_each(|text| each(text)),
                Block::ToolUse { name, input, .. } => {
                    each(name);
                    input.iter().for_each(|input| each(input.get()));
                }
            }
        }
    }

    /// Whether it is one of the conversation's messages, wherever they are counted: something that was said or done. What
    /// Claude Code tells the model beside is none, nor what is reported of a subagent.
    pub(crate) fn is_shown(&self) -> bool {
        let is_shown = |block: &Block<'_>| match block {
            Block::Text(text) | Block::Thinking(text) | Block::Output(text) => !text.trim().is_empty(),
            Block::Notice { text, is_among_words, .. } => *is_among_words && !text.trim().is_empty(),
            Block::Act { name, args } => !command_line(name, args).is_empty(),
            Block::Agent { from, text } => from.is_some() || !text.trim().is_empty(),
            Block::ToolUse { .. } | Block::ToolResult { .. } | Block::Picture(_) | Block::Other(_) => true,
        };
        let is_kept_apart =
            matches!(self.class, Class::Meta | Class::Title | Class::Bookkeeping) || self.reported_of.is_some();
        !is_kept_apart && self.blocks.iter().any(is_shown)
    }

    /// Of each block a hash of it and of when it was said; without a time, in which record. A client that resumes may write
    /// what there is once more, under new ids and in other records.
    pub(crate) fn fingerprints(&self) -> Vec<u64> {
        let at_ms = self.timestamp_ms;
        // What a hook tells the user stands in what it printed, and once more in the record behind that.
        let (id, at_ms) = match self.subtype.as_deref() {
            Some("hook_success") => (self.uuid.as_ref(), None),
            Some("hook_system_message") => (self.parent.as_ref(), None),
            _ => (self.uuid.as_ref().filter(|_| at_ms.is_none()), at_ms),
        };
        let fingerprint = |block: &Block<'_>| {
            let mut hasher = DefaultHasher::new();
            (&self.kind, id, at_ms, self.is_sidechain).hash(&mut hasher);
            match block {
                Block::Text(text) => (1, text).hash(&mut hasher),
                Block::Thinking(text) => (2, text).hash(&mut hasher),
                Block::ToolUse { name, id, input } => (3, name, id, input.map(|input| input.get())).hash(&mut hasher),
                Block::ToolResult { id, text, is_error, .. } => (4, id, text, is_error).hash(&mut hasher),
                Block::Picture(picture) => (5, picture.len()).hash(&mut hasher),
                Block::Other(kind) => (5, kind).hash(&mut hasher),
                Block::Notice { tag, text, .. } => (6, tag, text).hash(&mut hasher),
                Block::Act { name, args } => (7, name, args).hash(&mut hasher),
                Block::Output(text) => (8, text).hash(&mut hasher),
                Block::Agent { from, text } => (9, from, text).hash(&mut hasher),
            }
            hasher.finish()
        };
        self.blocks.iter().map(fingerprint).collect()
    }

    /// What the answer cost, where it says so. Claude Code repeats it in each record of one answer.
    pub(crate) fn spent(&self) -> Option<Spent> {
        let usage: Usage = serde_json::from_str(self.usage?.get()).ok()?;
        Some(Spent { input: usage.input.saturating_add(usage.written), cached: usage.cached, output: usage.output })
    }

    /// Whether it is no message of the conversation: a piece of what a tool gave back, a report of what a subagent said.
    pub(crate) fn is_aside(&self) -> bool {
        self.is_piece() || self.reported_of.is_some()
    }

    /// Whether it is no record but a piece of what a tool gave back.
    pub(crate) fn is_piece(&self) -> bool {
        self.kind == TOOL_RESULTS
    }

    /// Whether it is a message of the model that only calls tools.
    pub fn is_tool_call(&self) -> bool {
        self.class == Class::Answer
            && !self.blocks.is_empty()
            && self.blocks.iter().all(|block| matches!(block, Block::ToolUse { .. }))
    }
}

/// What was said so far.
#[derive(Debug, Default)]
pub(crate) struct Said(HashSet<u64>);

impl Said {
    /// Whether anything of what has these [`Record::fingerprints`] was not said before.
    pub(crate) fn is_new(&mut self, fingerprints: &[u64]) -> bool {
        let known = self.0.len();
        self.0.extend(fingerprints);
        self.0.len() > known
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
    /// Where in the file the rest of its long texts stands, if they were left there: see `long.rs`.
    pub(crate) cuts: Vec<std::ops::Range<u64>>,
}

/// `/compact keep the names`, `! ls`.
pub(crate) fn command_line(name: &str, args: &str) -> String {
    if args.is_empty() { name.to_owned() } else { format!("{name} {args}").trim_start().to_owned() }
}
