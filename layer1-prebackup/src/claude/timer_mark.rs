//! When the timer last ran. Each program that it starts notes its own end in layer 1's store, so
//! that whoever asks hears of runs, not of a unit that is only installed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::fs::{self, DurableError};

/// A time is shorter.
const NOTE_BYTES_MAX: u64 = 1024;
/// Layer 1's part of a run.
pub(crate) const SWEEP: &str = "sweep";
/// Layer 2's part of a run.
pub const DRAIN: &str = "drain";
/// Both parts of a run, in their order.
pub const PARTS: [&str; 2] = [SWEEP, DRAIN];

/// Notes that a part of the timer's work was done, now.
pub fn record(store: &Path, part: &str) -> Result<(), DurableError> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    fs::replace_own(store, &rel_of(part), format!("{now}\n").as_bytes())
}

/// When a part of the timer's work was last done; `None` where it never was, and where what is
/// noted is no time. Fails where the note cannot be read.
pub fn last(store: &Path, part: &str) -> std::io::Result<Option<SystemTime>> {
    match fs::read_own(store, &rel_of(part), NOTE_BYTES_MAX) {
        Ok(text) => Ok(text.and_then(|text| humantime::parse_rfc3339(str::from_utf8(&text).ok()?.trim()).ok())),
        Err(error) if error.source.kind() == ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(error.source),
    }
}

/// Where a part's note lies in a store.
fn rel_of(part: &str) -> PathBuf {
    Path::new(".state/timer").join(part)
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
        std::fs::write(dir.path().join(rel_of(DRAIN)), "yesterday").unwrap();
        assert_eq!(last(dir.path(), DRAIN).unwrap(), None);
    }
}
