//! What of the store is owed to the index: a list in the store, `.state/to-index`, to which a session is added before it
//! is indexed. The index keeps how far in that list it has come, so one that could not be written, or was put back to
//! an older state, is known by what it keeps, and what it lacks by the rest of the list.
//!
//! The first line is the list's own name; each other one says when the list had last changed before. One that is long,
//! lost, or not what was kept of it says nothing: then every session is looked at. So it is where list and index were put
//! back together, from a copy of both: the file system's time of change, which no copy brings back, tells.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::claude::transcripts::open_regular;
use layer1_prebackup::fs;
use layer1_prebackup::names::{TO_INDEX, TO_INDEX_NAME_CHARS};

use super::error::IndexError;
use crate::terminal::time::now_ms;

/// A longer list is begun anew, and every session looked at once.
const LIST_BYTES_MAX: u64 = 256 * 1024;

/// A place in the list, as the index keeps it: the list's name, a length, and when the list became that long, in nanoseconds
/// since 1970.
pub(super) type Position = String;

/// What stands between a session in the list and when that had changed before.
const SINCE: char = '\t';

/// A session that was added to the list: the places before and behind it.
pub(crate) struct Noted {
    pub(super) before: Position,
    pub(super) after: Position,
}

/// The end of the list; `None` where there is none.
pub(super) fn end(root: &Path) -> Result<Option<Position>, IndexError> {
    let path = root.join(TO_INDEX);
    let Some(mut file) = open_regular(&path)? else { return Ok(None) };
    let unreadable = |source| IndexError::Read { path: path.clone(), source };
    let metadata = file.metadata().map_err(unreadable)?;
    let mut name = Vec::new();
    Read::by_ref(&mut file).take(TO_INDEX_NAME_CHARS as u64).read_to_end(&mut name).map_err(unreadable)?;
    Ok(Some(position(&String::from_utf8_lossy(&name), metadata.len(), changed_ns(&metadata))))
}

/// The sessions behind a place of the list; `None` where it is no place of it.
pub(super) fn behind(root: &Path, kept: &str) -> Result<Option<BTreeSet<SessionKey>>, IndexError> {
    let path = root.join(TO_INDEX);
    let Some(file) = open_regular(&path)? else { return Ok(None) };
    let mut list = Vec::new();
    let read = file.take(LIST_BYTES_MAX + 1).read_to_end(&mut list);
    read.map_err(|source| IndexError::Read { path, source })?;
    let list = String::from_utf8_lossy(&list);
    let mut parts = kept.split(':');
    let (name, bytes, since) = (parts.next().unwrap_or_default(), parts.next(), parts.next().unwrap_or_default());
    let is_of_it = list.len() as u64 <= LIST_BYTES_MAX && list.starts_with(name) && name.len() == TO_INDEX_NAME_CHARS;
    let begin = bytes.and_then(|bytes| bytes.parse::<usize>().ok()).filter(|_| is_of_it);
    let rest = begin.and_then(|begin| list.get(begin..));
    // Nothing was added, and it changed all the same; or it had changed before something was.
    let goes_on = |rest: &&str| rest.lines().next().and_then(|line| line.split(SINCE).nth(1)) == Some(since);
    let key = |line: &str| {
        let (project, id) = line.split(SINCE).next()?.split_once('/')?;
        SessionKey::parse(project, id).ok()
    };
    Ok(rest.filter(goes_on).map(|rest| rest.lines().filter_map(key).collect()))
}

/// Adds a session. Where that cannot be written, the list loses its name, which takes no room: every session is looked
/// at then, this one too.
pub(crate) fn add(root: &Path, key: &SessionKey) -> Result<Noted, IndexError> {
    let path = root.join(TO_INDEX);
    // Under a second name it may be anybody's file, which is not written to. A new list has another name, so all is looked at.
    if path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.nlink() > 1) {
        fs::replace_own(root, Path::new(TO_INDEX), b"")?;
    }
    try_add(&path, key).map_err(|source| {
        let emptied = open_to_write(&path).map(|file| fs::truncate(&file, 0, &path));
        // The error that matters is in hand.
        drop(emptied);
        IndexError::Read { path, source }
    })
}

/// Makes sure of the list where a session could not be indexed: a loss of power must not take it off the list again.
pub(crate) fn sync(root: &Path) -> Result<(), IndexError> {
    let path = root.join(TO_INDEX);
    if let Some(file) = open_regular(&path)? {
        fs::sync_data(&file, &path)?;
    }
    if let Some(folder) = path.parent().map(fs::Dir::open).transpose()?.flatten() {
        folder.sync()?;
    }
    Ok(())
}

fn try_add(path: &Path, key: &SessionKey) -> io::Result<Noted> {
    let mut file = open_to_write(path)?;
    if file.metadata()?.len() > LIST_BYTES_MAX {
        fs::truncate(&file, 0, path).map_err(|error| error.source)?;
    }
    let before = file.metadata()?;
    let is_new = before.len() == 0;
    let own = blake3::hash(format!("{} {} {}", now_ms(), std::process::id(), path.display()).as_bytes()).to_hex();
    let since = changed_ns(&before);
    let line = format!("{}/{}{SINCE}{since}\n", key.project, key.id);
    let text = if is_new { format!("{}\n{line}", &own[..TO_INDEX_NAME_CHARS]) } else { line.clone() };
    // One write, so that two programs do not mix theirs.
    file.write_all(text.as_bytes())?;
    let after = file.stream_position()?;
    let mut name = String::new();
    file.rewind()?;
    Read::by_ref(&mut file).take(TO_INDEX_NAME_CHARS as u64).read_to_string(&mut name)?;
    let changed = changed_ns(&file.metadata()?);
    Ok(Noted { before: position(&name, after - line.len() as u64, since), after: position(&name, after, changed) })
}

fn open_to_write(path: &Path) -> io::Result<File> {
    // Opened for reading first: what is no regular file of ours is left alone.
    if open_regular(path).map_err(|error| error.source)?.is_none() && path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut options = OpenOptions::new();
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.read(true).append(true).create(true).mode(fs::FILE_MODE).custom_flags(flags.bits() as i32).open(path)
}

fn position(name: &str, bytes: u64, changed_ns: i128) -> Position {
    format!("{name}:{bytes}:{changed_ns}")
}

fn changed_ns(metadata: &Metadata) -> i128 {
    i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec())
}
