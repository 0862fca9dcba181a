//! Layer 1: a durable copy of a Claude Code conversation, before anything else happens to it.
//!
//! It promises that what it acknowledges was written, synced, read back and compared by hash,
//! and that a copy never shrinks. It never opens a database, starts a runtime, waits for a
//! server, or deletes what it stored. Unit tests beside the code, the end-to-end tests and the
//! fault sweep in `tests/` hold it to that.

pub mod archive;
pub mod claude;
pub mod cli;
pub mod clock;
pub mod config;
pub mod fs;
pub mod hook;
pub mod log;
pub mod names;
pub mod status;
pub mod sweep;
pub mod wire;

pub use blake3::Hash;
