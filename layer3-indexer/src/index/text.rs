//! Which text of a record is searched, and in which column it stands.

use std::borrow::Cow;

use super::own;
use crate::transcript::record::{Block, Class, Record, Role, command_line, tool_input_text};

/// Columns of the index of words, in the order of the schema, and what a match in each is worth:
/// what people wrote before what tools printed.
pub(super) const WEIGHTS: [f64; 5] = [8.0, 5.0, 2.0, 3.0, 1.0];

/// Those that people and the model wrote: all but the output of tools, which is the last.
pub(super) const SAID: &str = "user assistant thinking tool_input";

/// A column of the index of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    User = 0,
    Assistant = 1,
    Thinking = 2,
    ToolInput = 3,
    ToolOutput = 4,
}

impl Column {
    /// Whether parts of words are found in it too.
    pub(crate) fn has_parts(self) -> bool {
        matches!(self, Column::User | Column::Assistant | Column::ToolInput)
    }
}

/// Who speaks, as the database has it: the number and, from 16 on, a subagent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Speaker(pub i64);

const SIDECHAIN: i64 = 16;
/// From this number on: what our own search was asked and what it answered ([`own`]), of tools, of the user's
/// commands, of Claude Code.
const ECHO: i64 = 6;
/// Numbers of speakers; tools have two: 3 for what was asked of them and 4 for what they gave back.
/// What a message of each is worth.
const FACTORS: [f64; 9] = [1.0, 0.9, 1.0, 0.6, 0.4, 0.4, 0.4, 1.0, 0.4];
/// Their roles.
const ROLES: [Role; 9] = [
    Role::User,
    Role::Assistant,
    Role::Summary,
    Role::Tool,
    Role::Tool,
    Role::System,
    Role::Tool,
    Role::User,
    Role::System,
];

impl Speaker {
    pub(crate) fn of(record: &Record<'_>) -> Speaker {
        let number = match record.role() {
            Role::User if own::is_own_command(record) => ECHO + 1,
            Role::System if own::is_own_command(record) => ECHO + 2,
            Role::User => 0,
            Role::Assistant => 1,
            Role::Summary => 2,
            Role::Tool if record.class == Class::Answer => 3,
            Role::Tool => 4,
            Role::System => 5,
        };
        Speaker(number + if record.is_sidechain { SIDECHAIN } else { 0 })
    }

    /// The same where all that the message asks of tools, or has from them, is our own.
    pub(crate) fn as_echo(self) -> Speaker {
        match self.role() {
            Role::Tool => Speaker(self.0 / SIDECHAIN * SIDECHAIN + ECHO),
            _ => self,
        }
    }

    /// SQL of whether a message is what our own search was asked or answered.
    pub(crate) fn sql_is_echo() -> String {
        format!("(m.speaker % {SIDECHAIN} >= {ECHO})")
    }

    pub(crate) fn role(self) -> Role {
        ROLES.get((self.0 % SIDECHAIN) as usize).copied().unwrap_or(Role::System)
    }

    /// Whether it is what our own search was asked or answered.
    pub(crate) fn is_echo(self) -> bool {
        self.0 % SIDECHAIN >= ECHO
    }

    pub(crate) fn is_sidechain(self) -> bool {
        self.0 >= SIDECHAIN
    }

    /// SQL that holds for the speakers of a role.
    pub(crate) fn sql_of(role: Role) -> String {
        let numbers: Vec<String> =
            (0..ROLES.len()).filter(|n| ROLES[*n] == role).map(|number| number.to_string()).collect();
        format!("m.speaker % {SIDECHAIN} IN ({})", numbers.join(", "))
    }

    /// SQL of what a message is worth by who speaks in it: people and the model before tools and notices.
    pub(crate) fn sql_factor() -> String {
        let cases: String =
            FACTORS.iter().enumerate().map(|(n, factor)| format!(" WHEN {n} THEN {factor:?}")).collect();
        format!("(CASE m.speaker % {SIDECHAIN}{cases} END)")
    }

    /// SQL that holds for the speakers whose text has parts: see [`Column::has_parts`].
    pub(crate) fn sql_with_parts() -> String {
        format!("m.speaker % {SIDECHAIN} <= 3")
    }
}

/// Whether a record makes a row.
pub(super) fn is_message(record: &Record<'_>) -> bool {
    match record.class {
        // A session is found by its title without a row of it.
        Class::Title | Class::Bookkeeping => false,
        Class::Unknown => !record.blocks.is_empty(),
        _ => true,
    }
}

/// The texts of a message, each with its column. Without NULs, which end a text for SQLite.
pub(super) fn sections<'a>(record: &'a Record<'_>) -> Vec<(Column, Cow<'a, str>)> {
    // A question to our own search beside other words is not theirs; by itself the message is one.
    let is_call = record.is_tool_call();
    let is_own = |block: &&Block<'_>| match block {
        Block::ToolUse { name, input, .. } => !is_call && own::is_own_call(name, *input),
        _ => false,
    };
    let blocks = record.blocks.iter().filter(|block| !is_own(block));
    let sections = blocks.filter_map(|block| section(record.class, block));
    let sections = sections.filter(|(_, text)| !text.is_empty());
    let clean = |text: Cow<'a, str>| match memchr::memchr(0, text.as_bytes()) {
        Some(_) => Cow::Owned(text.replace('\0', " ")),
        None => text,
    };
    sections.map(|(column, text)| (column, clean(text))).collect()
}

fn section<'a>(class: Class, block: &'a Block<'_>) -> Option<(Column, Cow<'a, str>)> {
    let column = match class {
        Class::Prompt => Column::User,
        Class::Answer | Class::Summary => Column::Assistant,
        _ => Column::ToolOutput,
    };
    match block {
        Block::Text(text) => Some((column, Cow::Borrowed(text))),
        Block::Act { name, args } => Some((Column::User, Cow::Owned(command_line(name, args)))),
        Block::Agent { text, .. } => Some((Column::Assistant, Cow::Borrowed(text))),
        Block::Notice { text, .. } | Block::Output(text) => Some((Column::ToolOutput, Cow::Borrowed(text))),
        Block::Thinking(text) => Some((Column::Thinking, Cow::Borrowed(text))),
        Block::ToolUse { name, input, .. } => {
            let arguments = input.map(tool_input_text).unwrap_or_default();
            Some((Column::ToolInput, Cow::Owned(format!("{name}\n{arguments}"))))
        }
        Block::ToolResult { text, .. } => Some((Column::ToolOutput, Cow::Borrowed(text))),
        Block::Picture(_) | Block::Other(_) => None,
    }
}

/// Tells messages of a session apart: what the same one says at the same time is the same message, however often, in
/// whatever file and under whatever id it comes; a fork may give new ids to what it copies. Without a time its id
/// stands in. Two tools may answer the same at once: so the ids of calls count.
pub(super) fn key_of(record: &Record<'_>, sections: &[(Column, Cow<'_, str>)]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    match (record.timestamp_ms, record.forked_from.as_ref().map(|origin| &origin.message).or(record.uuid.as_ref())) {
        (None, Some(uuid)) => hasher.update(uuid.as_bytes()),
        (time_ms, _) => hasher.update(&time_ms.unwrap_or(0).to_le_bytes()),
    };
    hasher.update(record.kind.as_bytes());
    // Two projects are two, whatever is said in them at once.
    hasher.update(record.cwd.as_deref().unwrap_or_default().as_bytes());
    for block in &record.blocks {
        if let Block::ToolUse { id: Some(id), .. } | Block::ToolResult { id: Some(id), .. } = block {
            hasher.update(&[0]).update(id.as_bytes());
        }
    }
    for (column, text) in sections {
        hasher.update(&[0, *column as u8]).update(text.as_bytes());
    }
    let bytes = *hasher.finalize().as_bytes();
    let key = i64::from_le_bytes(bytes[..8].try_into().unwrap_or_default());
    if record.uuid.is_some() { key | 1 } else { key & !1 }
}

/// Whether a message of this key is the same one in whatever session it stands: without an id, two that say the same
/// are two.
pub(super) fn is_same_everywhere(key: i64) -> bool {
    key & 1 == 1
}
