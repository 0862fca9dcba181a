//! Layer 3: a verified copy of every conversation, its index, search and restore, behind an MCP
//! server and a command line.
//!
//! It promises that what a receipt says is stored was written, synced, read back and compared by
//! hash, and that any conversation that was saved can be found, read and put back. It never
//! interprets before it keeps: the index comes after the copy, holds nothing that the copy does
//! not have, and is made again from it whenever it is lost. Unit tests beside the code, the
//! end-to-end tests and the fault sweep in `tests/` hold it to that.

pub mod cli;
pub mod compress;
pub mod content;
pub mod doctor;
pub mod error;
pub mod export;
mod fold;
pub mod import;
pub mod index;
pub mod list;
pub mod live;
pub mod metadata;
pub mod prune;
pub mod query;
pub mod rebuild;
pub mod record;
pub mod render;
pub mod restore;
pub mod resume;
pub mod roots;
pub mod save;
pub mod search;
pub mod serve;
pub mod session;
pub mod show;
pub mod snippet;
pub mod sources;
pub mod status;
pub mod store;
#[cfg(test)]
mod testing;
pub mod time;
mod trigram;
pub mod verify;
