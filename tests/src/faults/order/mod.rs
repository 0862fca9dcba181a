//! The order of durability, from a trace: nothing may be acknowledged while something that was
//! written, or a new directory entry, is unsynced.
//!
//! The model is stricter than any file system: a file's bytes are safe only after a sync of that
//! file, a name (by creation, `mkdir` or rename) only after a sync of its directory. It does not
//! look at `.log/`, at lock files, at files without a name, nor at the index and what versions lost,
//! which is made again from the store.

mod acknowledged;
mod model;
#[cfg(test)]
mod tests;
mod unsynced;

pub use acknowledged::refuses;
pub use model::{CALLS, Model, check};
pub use unsynced::{Unsynced, Violation};
