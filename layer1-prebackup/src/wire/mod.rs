//! What the programs hand each other: hook events, the outbox's jobs, and JSON text with half a character in it.

pub mod event;
pub mod outbox_job;
pub mod outbox_receipt;
pub mod surrogates;
