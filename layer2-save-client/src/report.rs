//! The log of layer 2: `<layer 1's store>/.log/layer2.log`, and stderr with `--foreground`.
//!
//! The lines are an interface: people grep for them, so they stay as they are, byte for byte.

use std::path::Path;
use std::time::Duration;

use layer1_prebackup::log::{Level, Log};
use layer1_prebackup::names::{LAYER2, program_name};
use layer1_prebackup::wire::shown::shown;

/// Name of the log file.
pub(crate) const LOG_NAME: &str = "layer2.log";

/// Where lines go.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    log: Log,
    to_stderr: bool,
}

impl Report {
    /// To the log of a layer 1 store, and to stderr too if asked for.
    pub(crate) fn of_store(layer1_store: &Path, to_stderr: bool, level: Level) -> Report {
        Report { log: Log::of_store(layer1_store, LOG_NAME, level), to_stderr }
    }

    /// A line without a time.
    pub(crate) fn line(&self, text: &str) {
        self.log.line(text);
        self.echo(text);
    }

    /// A line with the time in front.
    pub(crate) fn line_with_time(&self, text: &str) {
        self.log.line_with_time(text);
        self.echo(text);
    }

    /// Tells what the store's file system was found to lack, once.
    pub(crate) fn tell_shortcomings(&self) {
        self.log.tell_shortcomings();
    }

    /// A line with the time in front, and on stderr whatever the settings: for what a person
    /// should see who runs the command by hand.
    pub(crate) fn warning(&self, text: &str) {
        self.log.line_with_time(text);
        Report { log: self.log.clone(), to_stderr: true }.echo(&format!("{}: {text}", program_name(LAYER2)));
    }

    fn echo(&self, text: &str) {
        if self.to_stderr {
            // A closed stderr must not end a delivery; the log has the line.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{}\n", shown(text)).as_bytes());
        }
    }
}

/// Before each call.
pub(crate) fn attempt(number: u32, of: u32) -> String {
    format!("[session-save] 📝 Attempt {number}/{of}: Calling session_save...")
}

/// No answer in time.
pub(crate) fn timeout(number: u32, of: u32) -> String {
    format!("[session-save] ⏱️ Timeout on attempt {number}/{of}")
}

/// Any other failure of a call.
pub(crate) fn failure(number: u32, of: u32, cause: &str) -> String {
    format!("[session-save] ❌ Attempt {number}/{of}: {cause}")
}

/// Before the pause between two calls.
pub(crate) fn retrying(delay: Duration) -> String {
    format!("[session-save] 🔄 Retrying in {}...", in_words(delay))
}

/// After the last call.
pub(crate) fn failed_after(attempts: u32) -> String {
    let plural = if attempts == 1 { "" } else { "s" };
    format!("[session-save] ❌ Failed after {attempts} attempt{plural}")
}

/// Only after layer 1's copy was re-read and found to match its hash.
pub(crate) fn fallback(copy: &Path, home: &Path) -> String {
    format!("[session-save] ⚠️ FALLBACK: Conversación guardada en {}", with_tilde(copy, home))
}

/// Layer 1 has no copy, or none that matches its hash.
pub(crate) fn no_copy(session_id: &str) -> String {
    format!("[session-save] ❌ No copy of {session_id}")
}

/// The receipt covers all.
pub(crate) fn saved(session_id: &str, bytes: u64) -> String {
    format!("[session-save] ✅ Saved {session_id}: {bytes} bytes, receipt verified")
}

/// Accepted on the user's word, with `--no-receipt`.
pub(crate) fn saved_without_receipt(session_id: &str) -> String {
    format!("[session-save] ✅ Saved {session_id}: no receipt asked for")
}

/// There was nothing to save, and that settles the job.
pub(crate) fn skipped(session_id: &str, reason: &str) -> String {
    format!("[session-save] ⏭️ Skipped {session_id}: {reason}")
}

/// A path for people: the home directory as `~`.
pub(crate) fn with_tilde(path: &Path, home: &Path) -> String {
    match path.strip_prefix(home) {
        Ok(rest) if !rest.as_os_str().is_empty() => format!("~/{}", rest.display()),
        _ => path.display().to_string(),
    }
}

/// A duration in words, to the millisecond: `1 second`, `2 minutes`, `500 milliseconds`.
pub(crate) fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3600, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
        (u64::from(duration.subsec_millis()), "millisecond"),
    ];
    let words: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if words.is_empty() { "0 seconds".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_the_users_know_them() {
        let home = Path::new("/home/u");
        let lines = [
            attempt(1, 2),
            timeout(1, 2),
            failure(1, 2, "start the server /x"),
            retrying(Duration::from_secs(1)),
            failed_after(2),
            fallback(&home.join(".claude-backup-sessions/proj/a.jsonl"), home),
            saved("a", 12345),
            no_copy("a"),
        ];
        insta::assert_snapshot!(lines.join("\n"), @"
        [session-save] 📝 Attempt 1/2: Calling session_save...
        [session-save] ⏱️ Timeout on attempt 1/2
        [session-save] ❌ Attempt 1/2: start the server /x
        [session-save] 🔄 Retrying in 1 second...
        [session-save] ❌ Failed after 2 attempts
        [session-save] ⚠️ FALLBACK: Conversación guardada en ~/.claude-backup-sessions/proj/a.jsonl
        [session-save] ✅ Saved a: 12345 bytes, receipt verified
        [session-save] ❌ No copy of a
        ");
    }

    #[test]
    fn durations_are_words() {
        let check = |text: &str, words: &str| assert_eq!(in_words(humantime::parse_duration(text).unwrap()), words);
        check("1s", "1 second");
        check("2s", "2 seconds");
        check("500ms", "500 milliseconds");
        check("1ms", "1 millisecond");
        check("2m", "2 minutes");
        check("90s", "1 minute 30 seconds");
        check("1500ms", "1 second 500 milliseconds");
        check("0s", "0 seconds");
        check("1h", "1 hour");
    }

    #[test]
    fn only_the_home_directory_becomes_a_tilde() {
        let home = Path::new("/home/u");
        assert_eq!(with_tilde(Path::new("/home/user/x"), home), "/home/user/x");
        assert_eq!(with_tilde(Path::new("/mnt/x"), home), "/mnt/x");
        assert_eq!(with_tilde(Path::new("/home/u/x y"), home), "~/x y");
    }
}
