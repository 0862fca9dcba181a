//! The state of everything in figures, as `status --json` gives them.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::context::short;

/// All figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// Layer 3's store: its figures stand at the top.
    #[serde(flatten)]
    pub(crate) layer3: StoreStatus,
    pub(crate) layer1: StoreStatus,
    pub(crate) index: IndexStatus,
    /// What layer 2 still has to deliver.
    pub(crate) outbox: OutboxStatus,
    pub(crate) sources: SourceStatus,
    /// Transcripts that changed since their copy in one of the stores, or have none there.
    pub(crate) not_yet_saved: Vec<NotSaved>,
    /// Saved sessions whose transcript is gone, with the line that brings each back.
    pub(crate) vanished: Vec<Vanished>,
    /// Our hooks in Claude Code's settings.
    pub(crate) hooks: HookStatus,
    /// The file systems of the two stores.
    pub(crate) disks: Vec<DiskStatus>,
    /// Whether both stores lie on one file system.
    pub(crate) one_disk: bool,
    /// The third place, and further ones, in a line each.
    pub(crate) offsite: Vec<String>,
    /// Claude Code's resume limits for the current directory.
    pub(crate) light: Light,
}

/// The figures of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct StoreStatus {
    pub(crate) store: PathBuf,
    /// Its random id; `None` while nothing was ever saved, and where it cannot be read.
    pub(crate) store_id: Option<String>,
    pub(crate) sessions: u64,
    /// Contents stored: transcripts, side files and older generations.
    pub(crate) files: u64,
    /// Those of them that are older contents of a transcript.
    pub(crate) generations: u64,
    pub(crate) bytes: u64,
    /// When something was last committed, RFC 3339.
    pub(crate) last_save: Option<String>,
    pub(crate) last_save_age_seconds: Option<u64>,
}

/// The state of the index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct IndexStatus {
    pub(crate) path: PathBuf,
    /// `ready`, `missing`, `incomplete`, `unusable` or `newer`, as a newer version made it. Those between heal at
    /// the next save or search.
    pub(crate) state: &'static str,
    /// What is wrong with an unusable one.
    pub(crate) detail: Option<String>,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// The outbox in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct OutboxStatus {
    pub(crate) path: PathBuf,
    pub(crate) jobs: u64,
    /// Jobs that the server refused and that were set aside.
    pub(crate) failed: u64,
    /// Files that are no jobs.
    pub(crate) unreadable: u64,
    /// How long the oldest job waits.
    pub(crate) oldest_age_seconds: Option<u64>,
}

/// Claude Code's transcripts in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SourceStatus {
    pub(crate) projects: PathBuf,
    pub(crate) transcripts: u64,
    pub(crate) bytes: u64,
    /// Those of them that are not to be saved: the settings exclude them, or the user had them forgotten.
    pub(crate) left_out: u64,
    /// Days after which Claude Code deletes one that did not change.
    pub(crate) cleanup_period_days: u64,
    /// Those that it deletes within a week.
    pub(crate) expiring: Vec<Expiring>,
}

/// A transcript that Claude Code is about to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Expiring {
    pub(crate) session_id: String,
    pub(crate) path: PathBuf,
    /// Whole days that are left.
    pub(crate) days_left: u64,
    /// Whether its present content is in a store.
    pub(crate) saved: bool,
}

/// A transcript whose present content is not in both stores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct NotSaved {
    pub(crate) session_id: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// `no-copy`, `changed` since its copy, or `unreadable`.
    pub(crate) reason: &'static str,
    /// When it was last modified, RFC 3339.
    pub(crate) changed: Option<String>,
    pub(crate) age_seconds: u64,
    /// Whether its present content is in layer 1's store.
    pub(crate) in_layer1: bool,
    /// Whether its present content is in layer 3's store.
    pub(crate) in_layer3: bool,
}

/// A saved session whose transcript is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Vanished {
    pub(crate) session_id: String,
    pub(crate) project: String,
    /// Where its transcript was.
    pub(crate) path: PathBuf,
    /// Whether it was old enough for Claude Code's cleanup.
    pub(crate) expected: bool,
    /// The command that brings it back.
    pub(crate) restore: String,
}

/// Our hooks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct HookStatus {
    /// Claude Code's settings of this user.
    pub(crate) settings: PathBuf,
    /// `installed`, `plugin` where the plugin brings them all, `incomplete`, `missing`, `disabled`,
    /// `unreadable`, or `no-claude` where Claude Code's directory does not exist.
    pub(crate) state: &'static str,
    /// The folder of the plugin, where it is installed and enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plugin: Option<PathBuf>,
    /// Events without a hook of ours.
    pub(crate) missing_events: Vec<&'static str>,
    /// Programs that the hooks name and that are not there or not executable.
    pub(crate) missing_programs: Vec<PathBuf>,
}

impl HookStatus {
    /// How they are and where they stand: in the settings, or in the plugin's folder.
    pub(crate) fn to_text(&self, home: &Path) -> String {
        match (self.state, &self.plugin) {
            ("no-claude", _) => "Claude Code's directory does not exist".to_owned(),
            ("plugin", Some(folder)) => format!("by the plugin ({})", short(folder, home)),
            (state, _) => format!("{state} ({})", short(&self.settings, home)),
        }
    }
}

/// The file system of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DiskStatus {
    pub(crate) store: PathBuf,
    /// Bytes that this user may still write.
    pub(crate) free_bytes: u64,
    pub(crate) total_bytes: u64,
}

/// The light.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Colour {
    /// Under 15 sessions and 5 MB in all, none over 2 MB.
    #[default]
    Green,
    /// Between the two.
    Yellow,
    /// Over 25 sessions, 10 MB in all, or one over 5 MB.
    Red,
}

/// What lies in the folder of the current directory's transcripts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Light {
    /// What that means for Claude Code.
    pub(crate) colour: Colour,
    /// The folder; `None` where Claude Code has none for this directory.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) sessions: u64,
    pub(crate) bytes: u64,
    pub(crate) largest_bytes: u64,
}
