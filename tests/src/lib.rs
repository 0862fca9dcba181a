//! The harness of the end-to-end tests: scratch homes, running the real programs, fake servers,
//! looking at trees, processes and system calls.
//!
//! It promises that no test ever sees the real home, that every program it starts is ended with
//! its whole process group, and that nothing is waited for by sleeping a fixed time.
#![allow(clippy::disallowed_methods)] // Tests play Claude Code, the user and the disk: they write and delete as those do.

pub mod bench;
pub mod binaries;
pub mod claude;
pub mod faults;
pub mod fuzzing;
pub mod hostile;
pub mod judged;
pub mod mcp;
pub mod messages_api;
pub mod offsite;
pub mod old_store;
pub mod processes;
pub mod recall;
pub mod recording;
pub mod resources;
pub mod run;
pub mod scratch;
pub mod stores;
pub mod strace;
pub mod terminal;
pub mod transcripts;
pub mod tree;
pub mod version_before;
pub mod waiting;
