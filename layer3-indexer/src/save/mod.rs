//! Saving: one session or all of them, and what keeps the store and its index whole.

pub(crate) mod adopt_v1;
mod after_save;
mod from_layer1;
pub(crate) mod import;
pub(crate) mod labels;
pub(crate) mod later;
mod leave_receipts;
mod log;
pub(crate) mod memory;
pub(crate) mod metadata_file;
pub(crate) mod rebuild;
mod receipt;
mod request;
pub(crate) mod roots;
mod session;
pub(crate) mod sources;
mod steps;
#[cfg(test)]
mod tests;
pub(crate) mod verify;

pub(crate) use log::LogSink;
pub(crate) use metadata_file::{lock_metadata, read_metadata, write_metadata};
pub(crate) use receipt::{Answer, Expected, ExpectedEntry, Receipt, Skipped};
pub(crate) use request::{Request, TRIGGER_BEFORE_RESTORE, TRIGGER_RESTORE, refused_by_settings};
pub(crate) use session::{save, save_and_index_later};
