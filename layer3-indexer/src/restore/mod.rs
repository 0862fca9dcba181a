//! Putting a conversation back where Claude Code finds it: `projects/<slug>/<session id>.jsonl`
//! and its side files.
//!
//! In two steps: a plan says which stored contents go where, after every refusal; carrying it
//! out writes the transcript first and then its side files, of which none stops another: what could
//! not be written is told. Each file is checked against its recorded hash before and after it was written. The
//! times are those of the restore: Claude Code sweeps transcripts away by their age.

mod carry_out;
pub(crate) mod memory;
pub(crate) mod missing;
pub(crate) mod pick;
mod place;
mod plan;
pub(crate) mod resume;
#[cfg(test)]
mod tests;
mod types;
pub(crate) mod until;

pub(crate) use place::standing;
pub(crate) use plan::{Plan, plan};
pub(crate) use types::{Moved, Options, Restored};
pub(crate) use until::Point;
