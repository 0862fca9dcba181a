//! What every format of a page is told: who speaks, the parts of a message, and the trait that writes them.

use std::io;

use super::call::Call;
use super::pictures::Picture;
use super::text::{Sanitized, Sanitizer};
use crate::transcript::record::Class;

/// What stands above the conversation.
pub(super) struct Header {
    pub(super) title: Sanitized<'static>,
    /// The page of all conversations that this one is among.
    pub(super) back: Option<&'static str>,
    pub(super) rows: Vec<Row>,
    /// Whether calls of tools and thoughts are among what follows.
    pub(super) has_tools: bool,
    /// What must be read before everything else.
    pub(super) warnings: Vec<Sanitized<'static>>,
}

/// A row of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) values: Vec<Sanitized<'static>>,
    /// Whether everybody wants to know it.
    pub(super) is_main: bool,
}

/// Who speaks, and where a link to it leads.
#[derive(Clone)]
pub(super) struct MessageHeader {
    pub(super) speaker: Speaker,
    pub(super) anchor: String,
    pub(super) time: Option<Time>,
    /// The same speaker goes on.
    pub(super) goes_on: bool,
    /// Whether results of tools are all of it.
    pub(super) is_result: bool,
    /// The user went back to before it: the conversation went on without it.
    pub(super) is_rewound: bool,
    /// Whether it is a prompt of the user's, which the index leads to.
    pub(super) is_prompt: bool,
    /// The model that answered and what it cost.
    pub(super) cost: Option<Sanitized<'static>>,
}

/// When, for people, and exactly.
#[derive(Clone)]
pub(super) struct Time {
    pub(super) day: String,
    pub(super) clock: String,
    pub(super) exact: String,
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

/// A part of a message.
pub(super) enum Part<'a> {
    Prose(Sanitized<'a>),
    /// What the user was asked, and answered.
    Answers(Vec<(Sanitized<'a>, Sanitized<'a>)>),
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
    /// What the call started follows, then [`Renderer::end_call`].
    Call(&'a Call),
    Result {
        /// The id of its call.
        call: Option<&'a str>,
        tool: Option<Sanitized<'static>>,
        text: Sanitized<'a>,
        is_error: bool,
        /// It says that the user answered, and what follows says what.
        is_answered: bool,
        pictures: Vec<Picture<'a>>,
    },
    Picture(Picture<'a>),
    /// Something that is not text; its type.
    Other(Sanitized<'a>),
}

/// A format: told the conversation in order, it writes it. Only sanitized text is handed to it, and
/// it escapes all of it.
pub(super) trait Renderer {
    fn begin(&mut self, header: &Header) -> io::Result<()>;
    fn begin_message(&mut self, message: &MessageHeader) -> io::Result<()>;
    fn part(&mut self, part: &Part<'_>, sanitizer: &mut Sanitizer) -> io::Result<()>;
    fn end_call(&mut self, call: &Call) -> io::Result<()>;
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
