//! Layer 1: a durable copy of a Claude Code conversation, before anything else happens to it.
//!
//! It promises that what it acknowledges was written, synced, read back and compared by hash,
//! and that a copy never shrinks. It never opens a database, starts a runtime, waits for a
//! server, or deletes what it stored. Unit tests beside the code, the end-to-end tests and the
//! fault sweep in `tests/` hold it to that.

pub mod archive;
pub mod cli;
pub mod durable;
pub mod event;
pub mod exclude;
pub mod hook;
pub mod inspect;
pub mod journal;
mod lag;
pub mod log;
pub mod names;
mod notice;
pub mod places;
pub mod platform;
pub mod settings;
pub mod signals;
pub mod source;
pub mod surrogates;
pub mod sweep;
mod syscall;
pub mod timer;

pub use blake3::Hash;
