//! Layer 2: an outbox that delivers conversations to the MCP tool `session_save`.
//!
//! It promises that a session which entered the outbox leaves it only when a receipt of the
//! server covers every byte that layer 1 holds of it. It never blocks its host past `--wait`,
//! never prints in hook mode, never exits 2, and leaves no process behind. Unit tests beside
//! the code, the fake servers in `tests/` and the workspace's end-to-end tests hold it to that.

mod call_error;
pub mod cli;
mod client;
mod deliver;
mod drain;
mod error;
mod hook;
mod interrupt;
mod offsite;
mod outbox;
mod pending;
mod ping;
mod receipt;
mod report;
mod retry;
mod server_process;
mod sessions;
mod settings;
mod settle;
