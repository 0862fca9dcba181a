//! What Claude Code lays down and reads: transcripts, folder names, running sessions.

pub mod live;
pub mod timer_mark;
pub mod transcripts;
