//! The log of a layer: `<store>/.log/layerN.log`, rotated at 1 MiB, three files kept.

use std::error::Error;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Stat};

use crate::fs::{self, Dir, Shortcoming};
use crate::wire::shown::{shown, shown_on_a_line};

/// Size at which a log file is rotated.
pub(crate) const LOG_BYTES_MAX: u64 = 1024 * 1024;
/// Files kept: the current one and two older (`.1`, `.2`).
pub(crate) const LOG_FILES: u32 = 3;

/// What was told once of a file system is no longer.
const MARK_BYTES_MAX: u64 = 16 * 1024;

/// The folder of the logs in a store.
const LOG_FOLDER: &str = ".log";
/// Longest cause in a log line or a job, in characters.
const CAUSE_CHARS_MAX: usize = 400;

/// What gets into a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    #[default]
    Info,
    /// What went wrong.
    Warn,
    /// Nothing.
    Off,
}

impl Level {
    /// Reads `info`, `warn` or `off`.
    pub(crate) fn parse(text: &str) -> Option<Level> {
        match text {
            "info" => Some(Level::Info),
            "warn" => Some(Level::Warn),
            "off" => Some(Level::Off),
            _ => None,
        }
    }

    /// The word that [`Level::parse`] reads.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Off => "off",
        }
    }

    /// The lines are an interface, so they say themselves whether something went wrong.
    fn admits(self, text: &str) -> bool {
        match self {
            Level::Info => true,
            Level::Warn => ["❌", "⚠️", "⏱️", "warning", "failed"].iter().any(|mark| text.contains(mark)),
            Level::Off => false,
        }
    }
}

/// Now, in milliseconds since 1970, for what is written down; a clock before that gives 0, because only ages are
/// computed from it.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Appends lines to a layer's log. A line that cannot be written is dropped: the same words go
/// to stderr, and a full disk must not turn a warning into a failure.
#[derive(Debug, Clone)]
pub struct Log {
    store: PathBuf,
    name: String,
    level: Level,
}

impl Log {
    /// The log `<store>/.log/<name>`, for example `layer1.log`. Nothing is made until the first line.
    pub fn of_store(store: &Path, name: &str, level: Level) -> Log {
        Log { store: store.to_owned(), name: name.to_owned(), level }
    }

    /// Appends `text` and a newline in one write; safe with several writers. Line breaks inside
    /// `text` are folded, so that one call is one line.
    pub fn line(&self, text: &str) {
        if !self.level.admits(text) {
            return;
        }
        let mut line = shown_on_a_line(&text.replace('\r', " ")).into_owned();
        line.push('\n');
        // See the type's comment for why both errors are dropped.
        let _ = self.open().map(|mut file| file.write_all(line.as_bytes()));
        let _ = self.rotate_if(&|stat| stat.st_size as u64 >= LOG_BYTES_MAX);
    }

    /// Tells what the file system was found to lack, once in the life of the store. To be called when the work is done.
    pub fn tell_shortcomings(&self) {
        for shortcoming in Shortcoming::ALL {
            let Some(place) = shortcoming.met_at() else { continue };
            let (mark, text) = (OsStr::new(mark_of(shortcoming)), text_of(shortcoming, place));
            let note = || {
                let folder = self.folder()?;
                let is_told = folder.stat(mark)?.is_some();
                if is_told { Ok(false) } else { folder.replace_file_unsynced(mark, text.as_bytes()).map(|()| true) }
            };
            // Where it cannot be noted it is told by the next run, better than never.
            if matches!(note(), Ok::<bool, fs::DurableError>(true)) {
                self.line_with_time(&format!("warning: {text}"));
            }
        }
    }

    /// [`Log::line`] with an RFC 3339 time in front.
    pub fn line_with_time(&self, text: &str) {
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        self.line(&format!("{now} {text}"));
    }

    /// Its folder. What stands in the place of that, or of the log, and is not ours, is put aside.
    fn folder(&self) -> Result<Dir, fs::DurableError> {
        Dir::create_own(&self.store.join(LOG_FOLDER))
    }

    fn open(&self) -> Result<File, fs::DurableError> {
        let (folder, name) = (self.folder()?, OsStr::new(&self.name));
        match folder.open_own_file_for_appending(name) {
            Err(_) if folder.is_taken(name)? => {
                // Under a further name, as in a snapshot of hard links, it is not written on: a new one begins.
                self.rotate_if(&|stat| fs::has_other_names(stat))?;
                folder.move_aside(name, FileType::RegularFile)?;
                folder.open_own_file_for_appending(name)
            }
            opened => opened,
        }
    }

    /// Under a lock, so that two processes never rotate twice; whoever comes second finds a new file.
    fn rotate_if(&self, is_due: &dyn Fn(&Stat) -> bool) -> Result<(), fs::DurableError> {
        let folder = self.folder()?;
        let is_due = || Ok::<_, fs::DurableError>(folder.stat(OsStr::new(&self.name))?.as_ref().is_some_and(is_due));
        if !is_due()? {
            return Ok(());
        }
        let lock = Path::new(&self.name).with_extension("lock");
        let Some(_lock) = fs::Lock::try_in(&folder, lock.as_os_str())? else { return Ok(()) };
        if !is_due()? {
            return Ok(());
        }
        for n in (1..LOG_FILES).rev() {
            let from = if n == 1 { self.name.clone() } else { self.older(n - 1) };
            if folder.stat(OsStr::new(&from))?.is_some() {
                folder.rename_over(OsStr::new(&from), &folder, OsStr::new(&self.older(n)))?;
            }
        }
        Ok(())
    }

    fn older(&self, n: u32) -> String {
        format!("{}.{n}", self.name)
    }
}

/// What the file system of a store was found to lack, in words.
pub fn shortcomings_of(store: &Path) -> Vec<String> {
    let rel = |shortcoming| Path::new(LOG_FOLDER).join(mark_of(shortcoming));
    // What cannot be read is told again by whoever meets it next.
    let told = |shortcoming| fs::read_own(store, &rel(shortcoming), MARK_BYTES_MAX).ok().flatten();
    Shortcoming::ALL.into_iter().filter_map(told).map(|text| String::from_utf8_lossy(&text).into_owned()).collect()
}

fn mark_of(shortcoming: Shortcoming) -> &'static str {
    match shortcoming {
        Shortcoming::DirectorySync => "told.directory-sync",
        Shortcoming::FileSync => "told.file-sync",
        Shortcoming::Modes => "told.modes",
        Shortcoming::Locks => "told.locks",
    }
}

fn text_of(shortcoming: Shortcoming, place: &Path) -> String {
    let what = match shortcoming {
        Shortcoming::DirectorySync => {
            "cannot sync a directory; after a power cut the newest copies there may be missing until the next run"
        }
        Shortcoming::FileSync => {
            "cannot sync a file; after a power cut what was copied last may be missing until the next run"
        }
        Shortcoming::Modes => {
            "does not let Threefold choose who may read a file; others may be able to read these copies"
        }
        Shortcoming::Locks => "has no file locks; use this backup from one computer at a time",
    };
    format!("the file system of {} {what}", place.display())
}

/// An error with its causes in one line of bounded length, for logs and jobs.
pub fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        // Some errors already end with their cause.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    one_line(&text)
}

/// Text from elsewhere, made fit for one line of a log.
pub fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let line = shown(&line);
    match line.char_indices().nth(CAUSE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_keeps_three_files_within_their_bound() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::of_store(dir.path(), "layer1.log", Level::Info);
        let text = "x".repeat(100 * 1024);
        for _ in 0..50 {
            log.line(&text);
        }
        let mut files: Vec<_> = std::fs::read_dir(dir.path().join(".log"))
            .unwrap()
            .map(|e| e.unwrap())
            .map(|e| (e.file_name().into_string().unwrap(), e.metadata().unwrap().len()))
            .collect();
        files.sort();
        let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["layer1.lock", "layer1.log", "layer1.log.1", "layer1.log.2"]);
        assert!(files.iter().all(|(_, bytes)| *bytes < LOG_BYTES_MAX + 200 * 1024));
    }

    #[test]
    fn a_level_leaves_out_what_went_well_or_everything() {
        let dir = tempfile::tempdir().unwrap();
        for level in [Level::Off, Level::Warn, Level::Info] {
            let log = Log::of_store(dir.path(), "layer1.log", level);
            log.line_with_time("saved p/a: 1 bytes");
            log.line("[session-save] ❌ Failed after 2 attempts");
        }
        let text = std::fs::read_to_string(dir.path().join(".log/layer1.log")).unwrap();
        assert_eq!((text.lines().count(), text.matches("saved").count()), (3, 1));
    }

    #[test]
    fn one_call_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::of_store(dir.path(), "layer1.log", Level::Info);
        log.line("a\nb");
        log.line_with_time("c");
        let text = std::fs::read_to_string(log.store.join(LOG_FOLDER).join(&log.name)).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.starts_with("a b\n"));
    }

    #[test]
    fn text_from_elsewhere_is_one_bounded_line() {
        assert_eq!(one_line(" a\n\tb\u{1b}[31m\r\n c "), "a b [31m c");
        assert_eq!(one_line(&"é".repeat(1000)).chars().count(), CAUSE_CHARS_MAX + 1);
    }
}
