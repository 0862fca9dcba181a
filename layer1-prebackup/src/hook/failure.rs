//! What hook mode is told, and how a failure in it is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::ArchiveError;
use crate::config::settings::Policy;

/// The cause of a failure on a store of a newer version, in which nothing may be written: no log either.
pub(crate) const CAUSE_NEWER: &str = "format";

/// What hook mode needs to know.
#[derive(Debug, Clone)]
pub(crate) struct HookConfig {
    /// Layer 1's store.
    pub(crate) store: PathBuf,
    /// Keep what the events say of a conversation that has no transcript: see [`crate::hook::event_log`].
    pub(crate) journal: bool,
    /// Where the hourly limit of messages is kept when the store cannot be written.
    pub(crate) temp_dir: PathBuf,
    /// What is not copied, what is left free, what is logged.
    pub(crate) policy: Policy,
    /// What is wrong with the settings, in one line: a copy is made all the same.
    pub(crate) complaint: Option<String>,
    /// The user's home: `~` in an event.
    pub(crate) home: PathBuf,
    /// Claude Code's folder of transcripts, for an event whose path leads nowhere.
    pub(crate) projects: PathBuf,
    /// The session that the environment names, for an event that names none.
    pub(crate) session_id: Option<String>,
}

/// How hook mode comes to its configuration, by the transcript that the event names. An error where it cannot.
pub(crate) type Configure = Arc<dyn Fn(Option<&Path>) -> Result<HookConfig, String> + Send + Sync>;

/// The cause of a failure that is none of the copy's.
pub(crate) const CAUSE_SETTINGS: &str = "settings";

/// A failure as it is told: what for the log, and its kind for the hourly limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// One line.
    pub(crate) text: String,
    /// A short word: messages with the same one are shown at most once an hour.
    pub(crate) cause: String,
}

impl Failure {
    pub(super) fn new(cause: &str, text: String) -> Failure {
        Failure { cause: cause.to_owned(), text }
    }

    pub(super) fn of(error: &ArchiveError) -> Failure {
        let text = format!("failed to {error}");
        match error {
            error if error.is_disk_full() => {
                Failure::new("disk-full", format!("{text}; free some space, the next turn saves what is missing"))
            }
            ArchiveError::Durable(error) => Failure::new(error.operation, text),
            ArchiveError::Damaged { .. } => Failure::new("damaged", text),
            ArchiveError::NewerFormat { .. } => Failure::new(CAUSE_NEWER, text),
            ArchiveError::Shrank { .. } => Failure::new("shrank", text),
            ArchiveError::Forgotten { .. } => Failure::new("forgotten", text),
            ArchiveError::Floor { .. } => Failure::new("floor", text),
            ArchiveError::NamedAlike { .. } => Failure::new("named-alike", text),
            ArchiveError::Away(_) => Failure::new("away", text),
            ArchiveError::SpelledAlike { .. } => Failure::new("spelled-alike", text),
        }
    }
}
