//! Layer 3: a verified copy of every conversation, its index, search and restore, behind an MCP
//! server and a command line.
//!
//! It promises that what a receipt says is stored was written, synced, read back and compared by
//! hash, and that any conversation that was saved can be found, read and put back. It never
//! interprets before it keeps: the index comes after the copy, holds nothing that the copy does
//! not have, and is made again from it whenever it is lost. Unit tests beside the code, the
//! end-to-end tests and the fault sweep in `tests/` hold it to that.

mod browse;
pub mod cli;
mod failure;
mod health;
pub mod index;
mod restore;
mod retention;
mod save;
mod scope;
mod serve;
mod setup;
mod stores;
mod terminal;
pub mod transcript;

#[cfg(test)]
use stores::testing;
