//! What Claude Code lays down and reads: transcripts, folder names, running sessions, hooks.

mod event_transcripts;
pub mod hooks;
pub mod live;
pub mod mark;
pub(crate) mod memory;
pub(crate) mod other_dirs;
pub(crate) mod project_folder;
pub(crate) mod remembered_dirs;
pub(crate) mod replaced_whole;
pub mod shell;
pub mod side_files;
pub mod slug;
pub mod survey;
pub mod timer_mark;
pub mod transcripts;
pub mod worktrees;

// How much of an answer Claude Code hands to the model. Beyond it the model gets a preview of 2 KB, or an error.

/// Most characters of what a command prints: 30,000 pass, one more makes a preview of it. (A failing one is cut to 10,000.)
pub const COMMAND_CHARS_MAX: usize = 28_000;
/// Most characters of a tool's answer: 47,000 pass, 60,000 make a preview, unless the tool says that it may give more.
pub const TOOL_CHARS_MAX: usize = 40_000;
