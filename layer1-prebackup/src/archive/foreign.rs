//! What stands in the place of something of ours and can be none: a file where a folder belongs; a folder, a link, a
//! FIFO, a socket where a file does. A run that needs the place puts it aside by itself. This finds it before that, for
//! a status, and puts all of it aside on command. (The folders of contents: see `repair`.)

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::paths::{JOURNALS, QUARANTINE, SESSIONS, STATE};
use crate::fs::{Dir, DurableError, was_put_aside};
use crate::names::SessionId;

/// The folders of a store that hold no contents, each behind the one that it lies in. Not the one of what was forgotten:
/// without it that would be saved again, so whoever stands in its place is the user's to move.
const FOLDERS: [&str; 15] = [
    STATE,
    SESSIONS,
    QUARANTINE,
    JOURNALS,
    ".state/claude-dirs",
    ".state/complaints",
    ".state/labels",
    ".state/losses",
    ".state/offsite",
    ".state/timer",
    ".log",
    ".outbox",
    ".outbox/receipts",
    ".outbox/damaged",
    ".memory",
];
/// Those in which every entry that looks like a file is one of ours.
const OF_FILES: [&str; 5] = [STATE, JOURNALS, ".log", ".outbox", ".outbox/receipts"];
/// Files of ours whose names have no ending.
const WITHOUT_ENDING: [&str; 5] = ["lock", "new", "seen", "seen-second", "to-index"];

/// Something that is none of ours.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// Where it stands.
    pub path: PathBuf,
    /// What it is, in words.
    pub what: &'static str,
    /// Whether it was put aside, and is in nobody's way.
    pub is_aside: bool,
    /// Of which kind the one of ours is.
    wanted: FileType,
}

impl Foreign {
    /// What is found in the store at `root`, in the bookkeeping of the sessions that are `asked_for` too.
    pub fn find(root: &Path, asked_for: &dyn Fn(&str) -> bool) -> Result<Vec<Foreign>, DurableError> {
        let Some(dir) = Dir::open(root)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut each = |folder: &Dir, name: OsString, kind, wanted, is_aside| {
            found.push(Foreign { path: folder.path().join(name), what: in_words(kind), is_aside, wanted });
        };
        for folder in FOLDERS {
            let (above, name) = (Path::new(folder).parent().unwrap_or(Path::new("")), Path::new(folder).file_name());
            let (Some(above), Some(name)) = (beneath(&dir, above)?, name) else { continue };
            let kind = above.stat(name)?.map(|stat| FileType::from_raw_mode(stat.st_mode));
            if let Some(kind) = kind.filter(|kind| *kind != FileType::Directory) {
                each(&above, name.to_owned(), kind, FileType::Directory, false);
            }
        }
        let mut folders: Vec<PathBuf> = OF_FILES.iter().map(PathBuf::from).collect();
        if let Some(sessions) = beneath(&dir, Path::new(SESSIONS))? {
            let mut entries = Vec::new();
            sessions.each_entry(&mut |name, kind| {
                let is_asked_for = |name: &str| asked_for(name) && SessionId::parse(name).is_ok();
                if name.to_str().is_some_and(is_asked_for) {
                    entries.push((name.to_owned(), kind));
                }
            })?;
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            for (name, kind) in entries {
                match kind == FileType::Directory {
                    true => folders.push(Path::new(SESSIONS).join(name)),
                    false => each(&sessions, name, kind, FileType::Directory, false),
                }
            }
        }
        for folder in folders {
            // One that cannot be read is told by who opens it, and hides nothing of the others.
            let Ok(Some(folder)) = beneath(&dir, &folder) else { continue };
            for (name, kind) in folder.entries().unwrap_or_default() {
                let is_aside = was_put_aside(&name);
                if is_aside || is_none_of_our_files(&name, kind) {
                    each(&folder, name, kind, FileType::RegularFile, is_aside);
                }
            }
        }
        for (name, kind) in dir.entries()? {
            if was_put_aside(&name) {
                each(&dir, name, kind, FileType::Directory, true);
            } else if kind != FileType::RegularFile && is_lock_of_index(&name) {
                each(&dir, name, kind, FileType::RegularFile, false);
            }
        }
        Ok(found)
    }

    /// Puts it aside, as `.NAME.not-ours` beside it, unless that was done meanwhile.
    pub fn put_aside(&self) -> Result<(), DurableError> {
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(()) };
        Dir::open_own(folder)?.map_or(Ok(()), |folder| folder.move_aside(name, self.wanted))
    }
}

/// `None` also where something else stands in the place of the folder.
fn beneath(root: &Dir, rel: &Path) -> Result<Option<Dir>, DurableError> {
    match root.open_beneath(rel) {
        Err(error) if error.is_not_ours() => Ok(None),
        opened => opened,
    }
}

/// Whether a name in the root is one of the index's locks.
fn is_lock_of_index(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    text.starts_with('.') && [".lock", ".turnstile"].iter().any(|ending| text.ends_with(ending))
}

fn is_none_of_our_files(name: &OsStr, kind: FileType) -> bool {
    match kind {
        FileType::RegularFile => false,
        // Folders of ours have no ending.
        FileType::Directory => name.to_str().is_some_and(|name| name.contains('.') || WITHOUT_ENDING.contains(&name)),
        _ => !FOLDERS.iter().any(|folder| Path::new(folder).file_name() == Some(name)) && name != "forgotten",
    }
}

fn in_words(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}
