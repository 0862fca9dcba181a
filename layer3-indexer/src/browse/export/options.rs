//! What to export and how, and what came of it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::terminal::time::Clock;
use crate::transcript::record::{Block, Class, Record, Role};

/// What a page is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Markdown
    #[value(name = "md")]
    Markdown,
    /// One HTML page that needs no network and no scripts
    Html,
}

/// What to export and how.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// In what.
    pub(crate) format: Format,
    /// Whether secrets are masked.
    pub(crate) redact: bool,
    /// Whether outputs of tools longer than `OUTPUT_CHARS_MAX` are written whole, and what Claude Code told the model too.
    pub(crate) full: bool,
    /// Whether pictures are written into an HTML page.
    pub(crate) pictures: bool,
    /// Which parts of it.
    pub(crate) keep: Keep,
    /// Which content of the transcript, 0 being the newest; side files are always the newest.
    pub(crate) generation: u32,
    /// How points in time are told.
    pub(crate) clock: Clock,
    /// A page that this one leads back to, as a link within a folder of pages.
    pub(crate) back: Option<&'static str>,
}

impl Options {
    /// All of a conversation as it is, in the machine's time zone.
    pub(crate) fn of(format: Format) -> Options {
        let (keep, clock) = (Keep::default(), Clock::LOCAL);
        Options { format, redact: false, full: false, pictures: true, keep, generation: 0, clock, back: None }
    }
}

/// Which parts of a conversation are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Only these; all where there are none.
    pub(crate) roles: Vec<Role>,
    /// Only what was said: no tools, no thoughts.
    pub(crate) is_compact: bool,
}

impl Keep {
    /// Whether this piece of a message is written.
    pub(super) fn keeps(&self, record: &Record<'_>, block: &Block<'_>) -> bool {
        let role = match block {
            Block::ToolUse { .. } | Block::ToolResult { .. } | Block::Output(_) => Role::Tool,
            _ if record.class == Class::Answer => Role::Assistant,
            _ => record.role(),
        };
        let is_said = !matches!(block, Block::Thinking(_)) && !matches!(role, Role::Tool | Role::System);
        self.has(role) && (is_said || !self.is_compact)
    }

    /// Whether calls of tools are written, and with them what subagents did.
    pub(super) fn keeps_tools(&self) -> bool {
        self.has(Role::Tool) && !self.is_compact
    }

    fn has(&self, role: Role) -> bool {
        self.roles.is_empty() || self.roles.contains(&role)
    }

    /// The option that left something out.
    pub(super) fn option(&self) -> &'static str {
        if self.roles.is_empty() { "--compact" } else { "--role" }
    }
}

/// What was exported.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Exported {
    /// The session.
    pub(crate) session_id: String,
    /// Its folder in the store.
    pub(crate) project: String,
    /// What it is called in the page.
    pub(crate) title: String,
    /// When something was said last, RFC 3339.
    pub(crate) timestamp_end: Option<String>,
    /// In what.
    pub(crate) format: Format,
    /// Messages written, those of subagents included.
    pub(crate) messages: u64,
    /// Transcripts of subagents written.
    pub(crate) subagents: u64,
    /// Pictures written.
    pub(crate) pictures: u64,
    /// Secrets masked; none were looked for if there is no number.
    pub(crate) masked: Option<u64>,
    /// How many of which kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) masked_kinds: BTreeMap<&'static str, u64>,
    /// Outputs that were cut for their length.
    pub(crate) cut: u64,
    /// The file written, if one was.
    pub(crate) path: Option<String>,
    /// Its length.
    pub(crate) bytes: Option<u64>,
    /// Its BLAKE3.
    pub(crate) blake3: Option<String>,
    /// What to know about the copies that were read.
    pub(crate) notes: Vec<String>,
    /// Transcripts of subagents that could not be exported; the page says so where they belong.
    pub(crate) problems: Vec<String>,
}
