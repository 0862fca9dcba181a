//! Which calls acknowledge something, and of what a commit to a ledger speaks.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::unsynced::Unsynced;
use crate::faults::trace::{Call, Event};

/// Words that acknowledge, on stdout, on stderr and in a log.
const ACKNOWLEDGING: [&str; 5] = ["saved", "Saved", "copied", "receipt", "✅"];
/// The mark of a line that says what did not succeed.
const REFUSING: char = '❌';

/// Whether a log says that something did not succeed: a deliverer has nobody else to tell, and what it
/// did not deliver stays in the outbox.
pub fn refuses(trace: &[Event]) -> bool {
    trace.iter().any(|event| {
        let Event::Call(call) = event else { return false };
        let text =
            call.bytes(1).filter(|_| is_write(call) && call.descriptor_path(0).is_some_and(|path| is_log(&path)));
        text.is_some_and(|text| String::from_utf8_lossy(&text).contains(REFUSING))
    })
}

/// Lines of a ledger that are being written.
pub(super) struct Commit {
    ledger: PathBuf,
    /// The contents that they commit; `None` where that could not be read.
    contents: Option<Vec<PathBuf>>,
}

impl Commit {
    /// Each line is a checksum, a blank and an object; only one with a length commits a content.
    pub(super) fn of(ledger: PathBuf, text: Option<Vec<u8>>) -> Commit {
        let project = ledger.file_stem().unwrap_or_default().to_owned();
        let folder = ledger.ancestors().nth(4).map(|store| store.join(project)).unwrap_or_default();
        let content = |line: &[u8]| -> Option<Option<PathBuf>> {
            let at = line.iter().position(|byte| *byte == b' ')?;
            let line: Value = serde_json::from_slice(&line[at..]).ok()?;
            Some(line["path"].as_str().filter(|_| line["bytes"].is_u64()).map(|path| folder.join(path)))
        };
        let lines = text.as_deref().map(|text| text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()));
        let contents = lines.and_then(|lines| lines.map(content).collect::<Option<Vec<_>>>());
        let contents = contents.map(|contents| contents.into_iter().flatten().collect());
        Commit { ledger, contents }
    }

    /// The commit needs the bytes of its contents, and every name on the way to them and to itself.
    pub(super) fn depends_on(&self, unsynced: &Unsynced) -> bool {
        let path = unsynced.path();
        if path == self.ledger || unsynced.is_temporary() {
            return false;
        }
        match (&self.contents, unsynced) {
            (None, _) => true,
            (Some(contents), Unsynced::Bytes(path)) => contents.contains(path),
            (Some(contents), Unsynced::Name(path)) => {
                self.ledger.starts_with(path) || contents.iter().any(|content| content.starts_with(path))
            }
        }
    }
}

/// How a call acknowledges something, if it does.
pub(super) fn acknowledgement(call: &Call, words_count: bool) -> Option<String> {
    let shown = || format!("{}({})", call.name, call.args.join(", "));
    match call.name.as_str() {
        "write" | "pwrite64" => {
            let path = call.descriptor_path(0);
            let is_said = matches!(call.descriptor(0), Some(1 | 2)) || path.as_deref().is_some_and(is_log);
            let is_commit = path.as_deref().is_some_and(is_ledger);
            let text = call.bytes(1).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let acknowledges =
                |line: &str| !line.contains(REFUSING) && ACKNOWLEDGING.iter().any(|word| line.contains(word));
            (is_commit || words_count && is_said && text.lines().any(acknowledges)).then(shown)
        }
        "rename" | "renameat" | "renameat2" => call.paths().pop().is_some_and(|to| is_ledger(&to)).then(shown),
        "unlink" | "unlinkat" => call.paths().pop().is_some_and(|path| is_job(&path)).then(shown),
        _ => None,
    }
}

pub(super) fn is_write(call: &Call) -> bool {
    matches!(call.name.as_str(), "write" | "pwrite64")
}

pub(super) fn is_ledger(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("ledger"))
}

pub(super) fn is_log(path: &Path) -> bool {
    path.iter().any(|part| part == ".log")
}

pub(super) fn is_job(path: &Path) -> bool {
    let in_outbox = path.parent().and_then(Path::file_name) == Some(OsStr::new(".outbox"));
    in_outbox && path.extension() == Some(OsStr::new("json"))
}
