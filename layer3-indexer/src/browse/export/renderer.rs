//! What every format of a page is told: who speaks, the parts of a message, and the trait that writes them.

use std::io;

use super::text::{Sanitized, Sanitizer};
use crate::transcript::record::Class;

/// What stands above the conversation.
pub(super) struct Header {
    pub(super) title: Sanitized<'static>,
    /// The rows of the table.
    pub(super) rows: Vec<(&'static str, Vec<Sanitized<'static>>)>,
    /// What must be read before everything else.
    pub(super) warnings: Vec<Sanitized<'static>>,
}

/// Who speaks, and where a link to it leads.
pub(super) struct MessageHeader {
    pub(super) speaker: Speaker,
    pub(super) anchor: String,
    /// To the second, for people; and exactly.
    pub(super) time: Option<(String, String)>,
    /// The same speaker goes on.
    pub(super) goes_on: bool,
    /// The user went back to before it: the conversation went on without it.
    pub(super) is_rewound: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    User,
    Claude,
    Agent,
    Tool,
    Summary,
    System,
}

impl Speaker {
    pub(super) fn of(class: Class) -> Option<Speaker> {
        match class {
            Class::Prompt | Class::Command => Some(Speaker::User),
            Class::Answer => Some(Speaker::Claude),
            Class::Agent => Some(Speaker::Agent),
            Class::ToolResult | Class::CommandOutput => Some(Speaker::Tool),
            Class::Summary => Some(Speaker::Summary),
            Class::System | Class::Meta | Class::Unknown => Some(Speaker::System),
            Class::Title | Class::Bookkeeping => None,
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Speaker::User => "User",
            Speaker::Claude => "Claude",
            Speaker::Agent => "Agent",
            Speaker::Tool => "Tool",
            Speaker::Summary => "Summary",
            Speaker::System => "System",
        }
    }
}

/// An argument of a tool.
pub(super) struct Argument {
    pub(super) name: Sanitized<'static>,
    pub(super) value: Sanitized<'static>,
}

/// A part of a message.
pub(super) enum Part<'a> {
    Prose(Sanitized<'a>),
    /// Text as a program printed it.
    Output(Sanitized<'a>),
    /// A summary of what came before.
    Summary(Sanitized<'a>),
    Thinking(Sanitized<'a>),
    /// What Claude Code told the model; what it is.
    Notice {
        kind: Sanitized<'a>,
        text: Sanitized<'a>,
    },
    Call {
        tool: &'a Sanitized<'a>,
        arguments: &'a [Argument],
    },
    Result {
        tool: Option<Sanitized<'static>>,
        text: Sanitized<'a>,
        is_error: bool,
    },
    /// Something that is not text; its type.
    Other(Sanitized<'a>),
}

/// A format: told the conversation in order, it writes it. Only sanitized text is handed to it, and
/// it escapes all of it.
pub(super) trait Renderer {
    fn begin(&mut self, header: &Header) -> io::Result<()>;
    fn begin_message(&mut self, message: &MessageHeader) -> io::Result<()>;
    fn part(&mut self, part: &Part<'_>, sanitizer: &mut Sanitizer) -> io::Result<()>;
    fn end_message(&mut self) -> io::Result<()>;
    fn begin_subagent(&mut self, title: &Sanitized<'_>) -> io::Result<()>;
    fn end_subagent(&mut self) -> io::Result<()>;
    /// A remark of this program.
    fn remark(&mut self, text: &Sanitized<'_>) -> io::Result<()>;
    /// Ends the page with these remarks, and gives all of it out.
    fn end(&mut self, remarks: &[Sanitized<'_>]) -> io::Result<()>;
    /// Whether subagents belong where they were called; else they come at the end.
    fn nests(&self) -> bool;
}
