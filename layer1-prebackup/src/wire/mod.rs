//! What the programs hand each other: hook events, and the text that carries bytes that are none.

pub mod event;
pub mod outbox_job;
pub mod surrogates;
