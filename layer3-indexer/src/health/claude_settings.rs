//! Claude Code's settings, as far as they are about us: which commands stand on which event.

use std::path::Path;

use layer1_prebackup::claude::hooks;
use layer1_prebackup::fs::read_foreign;
use serde_json::Value;

// How long Claude Code's own files may be to be read: nobody's are longer, and no memory is taken for what is none of them.

/// Settings, and the lists of its plugins.
pub(crate) const SETTINGS_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// `.claude.json`, in which it keeps what it knows of every project, and what was typed there.
pub(crate) const STATE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Settings that are absent or empty say nothing; a link to a file is as good as the file.
pub(crate) fn read(path: &Path) -> Result<Value, String> {
    read_within(path, SETTINGS_BYTES_MAX)
}

/// [`read`] of another file of Claude Code's, of at most so many bytes.
pub(crate) fn read_within(path: &Path, bytes_max: u64) -> Result<Value, String> {
    let bytes = match read_foreign(path, bytes_max) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Value::Null),
        Err(error) if error.is_not_ours() => return Err(error.source.to_string()),
        Err(error) => return Err(format!("it cannot be read: {}", error.source)),
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(text).map_err(|error| format!("it is not JSON, and Claude Code ignores it: {error}"))
}

/// `cleanupPeriodDays`, as far as the settings say anything sensible of it.
pub(super) fn cleanup_days(settings: &Path) -> Option<u64> {
    // What is wrong with the settings, the check of the hooks reports.
    let days = read(settings).ok()?.get("cleanupPeriodDays")?.as_f64()?;
    Some((days.max(1.0)) as u64)
}

/// A handler as it stands in the settings.
#[derive(Debug, Clone)]
pub(crate) struct Handler<'a> {
    /// What is to run, with its arguments.
    pub(crate) command: String,
    /// All that is said of it.
    pub(crate) value: &'a Value,
    /// The group that it stands in, with its matcher.
    pub(crate) group: &'a Value,
}

/// The handlers of an event that hold a command. What is not of the form that Claude Code reads is passed over.
pub(crate) fn handlers<'a>(settings: &'a Value, event: &str) -> Vec<Handler<'a>> {
    let list = |value: Option<&'a Value>| value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let groups = list(settings.get("hooks").and_then(|hooks| hooks.get(event)));
    let handlers = groups.iter().flat_map(|group| list(group.get("hooks")).iter().map(move |value| (group, value)));
    handlers.filter_map(|(group, value)| Some(Handler { command: hooks::command_of(value)?, value, group })).collect()
}

/// The commands of an event.
pub(super) fn commands_of(settings: &Value, event: &str) -> Vec<String> {
    handlers(settings, event).into_iter().map(|handler| handler.command).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    // A test plays the part of whoever made such a file.
    #[allow(clippy::disallowed_methods)]
    fn what_is_far_too_long_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let why = read(&path).unwrap_err();
        assert!(why.contains("more than the 8388608 that are read"), "{why}");
        assert_eq!(read(dir.path()), Err("it is no regular file".to_owned()));
        assert_eq!(read(&dir.path().join("none")), Ok(Value::Null));
    }

    #[test]
    fn days_of_cleanup_are_at_least_one() {
        let dir = tempfile::tempdir().unwrap();
        for (text, days) in [
            ("{\"cleanupPeriodDays\": 20}", Some(20)),
            ("{\"cleanupPeriodDays\": 0}", Some(1)),
            ("{\"cleanupPeriodDays\": -5.5}", Some(1)),
            ("{\"cleanupPeriodDays\": 1e300}", Some(u64::MAX)),
            ("{\"cleanupPeriodDays\": \"20\"}", None),
            ("{}", None),
            ("[", None),
        ] {
            std::fs::write(dir.path().join("settings.json"), text).unwrap();
            assert_eq!(cleanup_days(&dir.path().join("settings.json")), days, "{text}");
        }
    }
}
