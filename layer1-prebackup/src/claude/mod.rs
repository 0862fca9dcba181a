//! What Claude Code lays down and reads: transcripts, folder names, running sessions, hooks.

pub mod event_transcripts;
pub mod hooks;
pub mod limits;
pub mod live;
pub(crate) mod memory;
pub(crate) mod other_dirs;
pub(crate) mod project_folder;
pub(crate) mod replaced_whole;
pub mod shell;
pub mod side_files;
pub mod slug;
pub mod survey;
pub mod timer_mark;
pub mod transcripts;
pub mod worktrees;
