//! Layer 1: a durable copy of a Claude Code conversation, before anything else happens to it.
//!
//! It promises that what it acknowledges was written, synced, read back and compared by hash,
//! and that a copy never shrinks. It never opens a database, starts a runtime, waits for a
//! server, or deletes what it stored. Unit tests beside the code, the end-to-end tests and the
//! fault sweep in `tests/` hold it to that.

// What is kept, and how it gets onto the disk.
pub mod archive;
pub mod fs;

// Facts about Claude Code, and what the programs hand each other.
pub mod claude;
pub mod names;
pub mod wire;

// What every program sets up and writes down.
pub mod config;
pub mod log;

// Of this program itself, what the others show or complete.
pub mod cli;
mod hook;
mod session_store;
pub mod status;
mod sweep;

pub use blake3::Hash;
