//! The files of the index: the database, what stands beside it, and what was set aside.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::error::IndexError;
use crate::terminal::time::{format_rfc3339_ms, now_ms};

/// Of a page of the database: every index of this version has them so.
pub(super) const PAGE_BYTES: usize = 8192;
/// Suffix of the file of sums.
pub(super) const SUMS: &str = "-sums";
/// From this length on a file that the disk holds next to nothing of is none of ours.
const HOLLOW_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Stands behind the name of an index that could not be used, before the time.
const SET_ASIDE: &str = ".set-aside-";

/// What belongs to the database beside it: its log, the log's index, a journal that another program left, the sums.
pub(super) const PARTS: [&str; 5] = ["-wal", "-shm", JOURNAL, SUMS, ""];
const JOURNAL: &str = "-journal";
/// How each begins. The last byte of the log's first four says in which order of bytes its sums were made.
pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";
const LOG_BEGIN: [u8; 3] = [0x37, 0x7f, 0x06];
const SUMS_BEGIN: &[u8] = b"3fldsum1";
/// How a journal begins: <https://sqlite.org/fileformat2.html#the_rollback_journal>.
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Whether one of its files can be none of ours, whatever is in it: a link, a FIFO, a file under two names, one that
/// is next to empty. Asked before SQLite opens any of them: it would follow, wait, or read for as long as they last.
pub(super) fn not_ours(path: &Path) -> Result<Option<String>, IndexError> {
    for part in PARTS {
        let file = beside(path, part, "");
        let meta = match file.symlink_metadata() {
            // A folder may be a project's: it stays where it is, and SQLite says that it is none.
            Ok(meta) if meta.is_dir() && part.is_empty() => continue,
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(IndexError::Read { path: file, source }),
        };
        let is_hollow = meta.len() >= HOLLOW_BYTES_MIN && meta.blocks() * 512 < meta.len() / 512;
        let what = match meta.nlink() {
            _ if meta.is_dir() => "it is a folder",
            _ if !meta.is_file() => "it is a link or a device",
            2.. => "it is one file under several names (hard links)",
            _ if is_hollow => "it is nearly all holes",
            // SQLite would delete one that it cannot roll back.
            _ if part == JOURNAL && !begins_with(&file, &JOURNAL_MAGIC)? => "it is no journal of SQLite's",
            _ => continue,
        };
        return Ok(Some(format!("{}: {what}", file.file_name().unwrap_or_default().to_string_lossy())));
    }
    Ok(None)
}

/// Those of its files that have further names, as after `cp -al`; none, if one of them does not begin as ours do.
pub(super) fn linked(path: &Path) -> Result<Vec<PathBuf>, IndexError> {
    let mut linked = Vec::new();
    for part in PARTS {
        let file = beside(path, part, "");
        if !file.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.nlink() > 1) {
            continue;
        }
        let is_ours = match part {
            "-shm" => true,
            "-wal" => begins_with(&file, &LOG_BEGIN)?,
            SUMS => begins_with(&file, SUMS_BEGIN)?,
            "" => begins_with(&file, MAGIC)?,
            _ => false,
        };
        if !is_ours {
            return Ok(Vec::new());
        }
        linked.push(file);
    }
    Ok(linked)
}

/// Whether a file begins so, or is empty. Zeros are what SQLite leaves of one that is done with.
fn begins_with(file: &Path, expected: &[u8]) -> Result<bool, IndexError> {
    let read = File::open(file).and_then(|opened| {
        let mut begin = Vec::new();
        opened.take(expected.len() as u64).read_to_end(&mut begin)?;
        Ok(begin)
    });
    match read {
        Ok(begin) => Ok(begin == expected || begin.iter().all(|byte| *byte == 0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(IndexError::Read { path: file.to_owned(), source }),
    }
}

/// Device and inode.
pub(super) fn identity_of(path: &Path) -> Result<Option<(u64, u64)>, IndexError> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IndexError::Read { path: path.to_owned(), source }),
    }
}

pub(super) fn beside(path: &Path, suffix: &str, prefix: &str) -> PathBuf {
    let mut name = OsString::from(prefix);
    name.push(path.file_name().unwrap_or_default());
    name.push(suffix);
    path.with_file_name(name)
}

/// Bytes in the log: 0 when all of it was moved and proven.
pub(super) fn log_bytes(path: &Path) -> Result<u64, IndexError> {
    match beside(path, "-wal", "").metadata() {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(IndexError::Read { path: beside(path, "-wal", ""), source }),
    }
}

/// The database file, opened once for each file and never closed: closing any descriptor of it
/// would drop the locks that SQLite holds on it in this process (<https://sqlite.org/howtocorrupt.html>).
pub(super) fn database(path: &Path) -> Result<&'static File, IndexError> {
    static OPENED: Mutex<BTreeMap<(u64, u64), &'static File>> = Mutex::new(BTreeMap::new());
    let unreadable = |source| IndexError::Read { path: path.to_owned(), source };
    let identity = path.metadata().map(|metadata| (metadata.dev(), metadata.ino())).map_err(unreadable)?;
    // A panic cannot leave the map half changed.
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = opened.get(&identity) {
        return Ok(file);
    }
    let file: &'static File = Box::leak(Box::new(File::open(path).map_err(unreadable)?));
    opened.insert(identity, file);
    Ok(file)
}

/// What was set aside of an index at this path and is still there, with the lengths of its parts together.
/// What cannot be listed or looked at counts as absent.
pub(super) fn set_asides(path: &Path) -> Vec<(PathBuf, u64)> {
    let begin = beside(path, SET_ASIDE, "");
    let begin = begin.file_name().unwrap_or_default().as_encoded_bytes();
    let folder = path.parent().map(fs::read_dir);
    let mut found = BTreeMap::<PathBuf, u64>::new();
    for entry in folder.into_iter().flatten().flatten().flatten() {
        let is_one = entry.file_name().as_encoded_bytes().starts_with(begin);
        let Some(meta) = entry.metadata().ok().filter(|meta| is_one && meta.is_file()) else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        let whole = PARTS.into_iter().filter(|part| !part.is_empty()).find_map(|part| name.strip_suffix(part));
        *found.entry(path.with_file_name(whole.unwrap_or(&name))).or_default() += meta.len();
    }
    found.into_iter().collect()
}

/// `sessions.db.set-aside-20261122T104225Z`, with a number behind it where that is taken.
pub(super) fn free_name(path: &Path) -> PathBuf {
    let stamp: String = format_rfc3339_ms(now_ms()).chars().filter(|c| !"-:.".contains(*c)).collect();
    let plain = beside(path, &format!("{SET_ASIDE}{stamp}"), "");
    let numbered = (2..).map(|n| beside(path, &format!("{SET_ASIDE}{stamp}-{n}"), ""));
    std::iter::once(plain.clone()).chain(numbered).find(|name| name.symlink_metadata().is_err()).unwrap_or(plain)
}
