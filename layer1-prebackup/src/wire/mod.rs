//! What the programs hand each other: hook events, the outbox's jobs, the state of the third place, JSON text with half a character in it, and text of
//! others as it may be shown.

pub mod event;
pub mod offsite;
pub mod outbox_job;
pub mod outbox_receipt;
pub mod shown;
pub mod surrogates;
