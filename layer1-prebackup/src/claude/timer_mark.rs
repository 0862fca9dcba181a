//! When the timer last ran. Each program that it starts notes its own end in layer 1's store, so
//! that whoever asks hears of runs, not of a unit that is only installed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::fs::{self, DurableError};

/// Layer 1's part of a run.
pub(crate) const SWEEP: &str = "sweep";
/// Layer 2's part of a run.
pub const DRAIN: &str = "drain";
/// Both parts of a run, in their order.
pub const PARTS: [&str; 2] = [SWEEP, DRAIN];

/// Notes that a part of the timer's work was done, now.
pub fn record(store: &Path, part: &str) -> Result<(), DurableError> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    fs::replace_file(&path_of(store, part), format!("{now}\n").as_bytes())
}

/// When a part of the timer's work was last done; `None` where it never was, and where what is
/// noted is no time. Fails where the note cannot be read.
pub fn last(store: &Path, part: &str) -> std::io::Result<Option<SystemTime>> {
    match std::fs::read_to_string(path_of(store, part)) {
        Ok(text) => Ok(humantime::parse_rfc3339(text.trim()).ok()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where a part's note lies.
pub(crate) fn path_of(store: &Path, part: &str) -> PathBuf {
    store.join(".state/timer").join(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_run_is_noted_and_garbage_is_no_run() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last(dir.path(), SWEEP).unwrap(), None);
        record(dir.path(), SWEEP).unwrap();
        let age = SystemTime::now().duration_since(last(dir.path(), SWEEP).unwrap().unwrap()).unwrap();
        assert!(age < Duration::from_secs(60), "{age:?}");
        assert_eq!(last(dir.path(), DRAIN).unwrap(), None);
        std::fs::write(path_of(dir.path(), DRAIN), "yesterday").unwrap();
        assert_eq!(last(dir.path(), DRAIN).unwrap(), None);
    }
}
