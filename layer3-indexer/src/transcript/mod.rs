//! What a record of a transcript means, decided once.

pub(crate) mod course;
pub(crate) mod metadata;
pub(crate) mod queue;
pub mod record;

/// The file beside a transcript in which Claude Code keeps the name that the user gave it last.
pub(crate) const TITLE_FILE: &str = "custom-title.json";
