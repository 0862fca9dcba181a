//! Reading transcripts: tolerant of damage and of records that are newer than this program,
//! borrowed from the line, never re-serialised, in memory that does not grow with the transcript.

mod fields;
mod lines;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::terminal::time::parse_rfc3339_ms;
use fields::{Attachment, Content, Envelope, Message, RawBlock, RawMessage};
pub use lines::{LINE_BYTES_MAX, ReadReport, TornLine, read_records, read_records_telling, with_record};

/// Types of records that are known to hold nothing to read. `api-request…` belong to them.
const BOOKKEEPING: [&str; 14] = [
    "agent-name",
    "atis-latch",
    "continued-in",
    "cost-state",
    "file-history-snapshot",
    "last-prompt",
    "mode",
    "permission-mode",
    "progress",
    "prompt_snapshot",
    "queue-operation",
    "relocated",
    "skill_listing",
    "tools-used",
];
/// How the text of a user record begins when it is a command of the user to Claude Code itself.
const COMMAND_STARTS: [&str; 4] = ["<command-name>", "<command-message>", "<command-args>", "<bash-input>"];
/// How it begins when it is what such a command printed.
const OUTPUT_STARTS: [&str; 4] = ["<local-command-stdout>", "<local-command-stderr>", "<bash-stdout>", "<bash-stderr>"];
/// How it begins when Claude Code wrote it, even where no flag says so.
const META_STARTS: [&str; 4] =
    ["<local-command-caveat>", "<system-reminder>", "<task-notification>", "[Request interrupted by user"];
/// The model of an assistant record that Claude Code itself wrote.
const SYNTHETIC_MODEL: &str = "<synthetic>";

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

/// All text in a tool's arguments: the string values, one a line, without keys, numbers and structure.
pub fn tool_input_text(input: &RawValue) -> String {
    let mut text = String::new();
    // An argument nested too deeply ends the walk; what came before it is kept.
    let _ = serde_json::Deserializer::from_str(input.get()).deserialize_any(Strings(&mut text));
    text
}

fn record_of(envelope: Envelope<'_>) -> Record<'_> {
    let kind = envelope.kind.0.clone().unwrap_or_default();
    let mut record = Record {
        subtype: envelope.subtype.0.clone(),
        class: Class::Unknown,
        uuid: envelope.uuid.0.clone().or_else(|| envelope.leaf_uuid.0.clone()),
        timestamp_ms: envelope.timestamp.0.as_deref().and_then(parse_rfc3339_ms),
        is_sidechain: envelope.is_sidechain.0,
        cwd: envelope.cwd.0.clone(),
        git_branch: envelope.git_branch.0.clone(),
        version: envelope.version.0.clone(),
        session_id: envelope.session_id.0.clone(),
        title: None,
        blocks: Vec::new(),
        kind,
    };
    match &*record.kind {
        "user" => read_user(&mut record, &envelope),
        "assistant" => read_assistant(&mut record, &envelope),
        "system" => read_system(&mut record, &envelope),
        "attachment" => read_attachment(&mut record, &envelope),
        "summary" => {
            record.class = Class::Summary;
            record.blocks.extend(envelope.summary.0.map(Block::Text));
        }
        "custom-title" | "ai-title" => {
            record.class = Class::Title;
            record.title = envelope.custom_title.0.or(envelope.ai_title.0);
        }
        kind if kind.starts_with("api-request") || BOOKKEEPING.contains(&kind) => record.class = Class::Bookkeeping,
        _ => {}
    }
    record
}

fn read_user<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    record.blocks = message_of(envelope).content.map(blocks_of).unwrap_or_default();
    record.class = if envelope.is_compact_summary.0 {
        Class::Summary
    } else if record.blocks.iter().any(|block| matches!(block, Block::ToolResult { .. })) {
        Class::ToolResult
    } else if envelope.is_meta.0 || record.blocks.is_empty() {
        Class::Meta
    } else {
        class_of_user_text(&record.blocks)
    };
}

fn read_assistant<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    let message = message_of(envelope);
    let is_ours = envelope.is_api_error.0 || message.model.0.as_deref() == Some(SYNTHETIC_MODEL);
    record.blocks = message.content.map(blocks_of).unwrap_or_default();
    record.class = if is_ours { Class::System } else { Class::Answer };
}

fn read_system<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    record.blocks = envelope.content.map(content_of).map(blocks_of).unwrap_or_default();
    record.class = match record.subtype.as_deref() {
        Some("local_command") => match class_of_user_text(&record.blocks) {
            Class::Prompt => Class::System,
            class => class,
        },
        _ => Class::System,
    };
    if record.blocks.is_empty() || record.subtype.as_deref() == Some("compact_boundary") {
        record.class = Class::Bookkeeping;
        record.blocks.clear();
    }
}

fn read_attachment<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    let attachment: Attachment<'a> =
        envelope.attachment.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    record.class = Class::Bookkeeping;
    if attachment.kind.0.as_deref() == Some("queued_command") {
        record.blocks = attachment.prompt.map(content_of).map(blocks_of).unwrap_or_default();
        let is_prompt = attachment.mode.0.as_deref().is_none_or(|mode| mode == "prompt");
        record.class = if is_prompt { class_of_user_text(&record.blocks) } else { Class::Meta };
    }
    record.subtype = attachment.kind.0;
}

fn message_of<'a>(envelope: &Envelope<'a>) -> Message<'a> {
    let Some(raw) = envelope.message else { return Message::default() };
    serde_json::from_str(raw.get()).unwrap_or_else(|_| {
        // A message that is no object has no content; the record is still one of its type.
        let message: RawMessage<'a> = serde_json::from_str(raw.get()).unwrap_or_default();
        Message { model: message.model, content: message.content.map(content_of) }
    })
}

/// A content by itself. Where one block of it cannot be read, a number too large for instance, the others can.
fn content_of(raw: &RawValue) -> Content<'_> {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| {
        let blocks: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        Content::Blocks(blocks.into_iter().filter_map(|block| serde_json::from_str(block.get()).ok()).collect())
    })
}

fn class_of_user_text(blocks: &[Block<'_>]) -> Class {
    let first = blocks.iter().find_map(|block| match block {
        Block::Text(text) => Some(text.trim_start()),
        _ => None,
    });
    let begins = |starts: &[&str]| first.is_some_and(|text| starts.iter().any(|start| text.starts_with(start)));
    if begins(&COMMAND_STARTS) {
        Class::Command
    } else if begins(&OUTPUT_STARTS) {
        Class::CommandOutput
    } else if begins(&META_STARTS) || blocks.is_empty() {
        Class::Meta
    } else {
        Class::Prompt
    }
}

fn blocks_of(content: Content<'_>) -> Vec<Block<'_>> {
    match content {
        Content::Text(text) if text.is_empty() => Vec::new(),
        Content::Text(text) => vec![Block::Text(text)],
        Content::Blocks(blocks) => blocks.into_iter().map(block_of).collect(),
    }
}

fn block_of(raw: RawBlock<'_>) -> Block<'_> {
    match raw.kind.0.as_deref().unwrap_or_default() {
        "text" => Block::Text(raw.text.0.unwrap_or_default()),
        "thinking" => Block::Thinking(raw.thinking.0.unwrap_or_default()),
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            Block::ToolUse { name: raw.name.0.unwrap_or_default(), id: raw.id.0, input: raw.input }
        }
        "tool_result" => {
            Block::ToolResult { id: raw.tool_use_id.0, text: result_text(raw.content), is_error: raw.is_error.0 }
        }
        _ => Block::Other(raw.kind.0.unwrap_or_default()),
    }
}

fn result_text(content: Option<Content<'_>>) -> Cow<'_, str> {
    match content {
        None => Cow::Borrowed(""),
        Some(Content::Text(text)) => text,
        Some(Content::Blocks(blocks)) => {
            let mut texts: Vec<_> = blocks.into_iter().filter_map(|block| block.text.0).collect();
            if texts.len() == 1 { texts.remove(0) } else { Cow::Owned(texts.join("\n")) }
        }
    }
}

/// Collects the strings of any JSON value.
struct Strings<'s>(&'s mut String);

impl<'de> Visitor<'de> for Strings<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if !text.is_empty() {
            if !self.0.is_empty() {
                self.0.push('\n');
            }
            self.0.push_str(text);
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Strings(self.0))?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Strings(self.0))?;
        }
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Strings<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}
