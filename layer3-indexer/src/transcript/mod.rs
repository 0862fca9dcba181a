//! What a record of a transcript means, decided once; what one content of a transcript has and another has not.

pub(crate) mod apart;
pub(crate) mod course;
pub(crate) mod desktop;
pub(crate) mod edits;
pub(crate) mod lost;
pub(crate) mod metadata;
pub(crate) mod queue;
pub mod record;
pub(crate) mod redact;

/// The file beside a transcript in which Claude Code keeps the name that the user gave it last.
pub(crate) const TITLE_FILE: &str = "custom-title.json";
/// The folder of what tools gave back and was too large for the transcript, whatever it looks like.
pub(crate) const TOOL_RESULTS: &str = "tool-results";
