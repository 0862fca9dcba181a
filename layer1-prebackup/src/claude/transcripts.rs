//! The source: Claude Code's files. They are only ever read, and opening one never blocks. A link is followed
//! only where a transcript or a folder of one user's stands, never below; see [`Reach`]. What is checked is what was
//! opened, so that nothing can be put in its place between the two.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::claude::memory::is_memory;
use crate::fs::{Dir, DurableError};

/// A line longer than this is not searched for the working directory.
const CWD_LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Of a transcript at a time: the working directory stands near its beginning.
const CWD_READ_BYTES: usize = 16 * 1024;
/// Lines without it are not parsed.
const CWD_KEY: &[u8] = b"\"cwd\"";

/// What tells that a file has changed without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Device number.
    pub(crate) dev: u64,
    /// Inode number.
    pub(crate) ino: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Time of the last modification, in nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Time of the last change of the inode, in nanoseconds since 1970.
    pub(crate) ctime_ns: i128,
}

impl Identity {
    /// From a file's status.
    // The types of these fields differ between platforms; on some of them the casts do nothing.
    #[allow(clippy::unnecessary_cast)]
    pub fn of(stat: &rustix::fs::Stat) -> Identity {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Identity {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            bytes: stat.st_size as u64,
            mtime_ns: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime_ns: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// Device and inode: which file it is.
    pub(crate) fn file(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }
}

/// How far a name is followed, which depends on who gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Claude Code's hooks, its directory, a person: a link of the user's is followed where the module says so.
    Links,
    /// A model: below the folder of transcripts, and the configuration directory, no link is followed, and no file is
    /// read that has a second name (a hard link), for that may be anybody's.
    Plain,
}

/// The first directory that a record of a transcript names; `None` where none does, or the transcript is not there.
pub fn first_cwd(transcript: &Path) -> Result<Option<String>, DurableError> {
    match open_transcript(transcript)? {
        Some(file) => first_cwd_in(file, transcript),
        None => Ok(None),
    }
}

/// [`first_cwd`] of an open transcript; `path` is for the message.
pub fn first_cwd_in(transcript: File, path: &Path) -> Result<Option<String>, DurableError> {
    first_cwd_within(transcript, path)
}

/// [`first_cwd_in`] of a part of a transcript.
pub(crate) fn first_cwd_within(transcript: impl Read, path: &Path) -> Result<Option<String>, DurableError> {
    #[derive(Deserialize)]
    struct Located {
        cwd: Option<String>,
    }
    let mut reader = BufReader::with_capacity(CWD_READ_BYTES, transcript);
    let mut line = Vec::new();
    loop {
        line.clear();
        let came = reader.by_ref().take(CWD_LINE_BYTES_MAX).read_until(b'\n', &mut line);
        // A folder is chosen once and for all: not for want of an answer.
        let came = came.map_err(|source| DurableError { operation: "read", path: path.to_owned(), source })?;
        if came == 0 {
            return Ok(None);
        }
        if !line.windows(CWD_KEY.len()).any(|window| window == CWD_KEY) {
            continue;
        }
        if let Ok(Located { cwd: Some(cwd) }) = serde_json::from_slice(&line)
            && !cwd.is_empty()
        {
            return Ok(Some(cwd));
        }
    }
}

/// The configuration directory in `<dir>/projects/<slug>/<id>.jsonl`, if the path is of that form.
pub fn claude_dir_of_transcript(transcript: &Path) -> Option<PathBuf> {
    let projects = transcript.parent()?.parent()?;
    (projects.file_name()? == "projects").then(|| projects.parent().map(Path::to_owned))?
}

/// Opens a regular file for reading without following a symlink in its last component and
/// without ever blocking on a FIFO; `None` if there is no such file.
pub fn open_regular(path: &Path) -> Result<Option<File>, DurableError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    match Dir::enter(parent)? {
        Some(dir) => dir.open_file(name),
        None => Ok(None),
    }
}

/// [`open_regular`] of a transcript, which may be a link to one: to a file of that ending, of the user whose
/// folder the link lies in. A link that leads to nothing is an error; the folder of a project's memory has none.
pub fn open_transcript(path: &Path) -> Result<Option<File>, DurableError> {
    open_transcript_by(Reach::Links, path)
}

/// [`open_transcript`] by a name of somebody's. What is not reached so is [`DurableError::is_not_ours`].
pub fn open_transcript_by(reach: Reach, path: &Path) -> Result<Option<File>, DurableError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    if is_memory(path) {
        return Ok(None);
    }
    if reach == Reach::Plain || !is_link(path) {
        return match open_folder_by(reach, parent, path)? {
            Some(folder) => reach.open_file(&folder, name),
            None => Ok(None),
        };
    }
    let refuse = |why: &str| refused_link("open", path, why);
    let target = followed(path)?;
    if target.extension().is_none_or(|extension| extension != "jsonl") {
        return Err(refuse("it is a link to something that is no transcript"));
    }
    let file = open_regular(&target)?.ok_or_else(|| refuse("it is a link that leads nowhere"))?;
    match owner_of_folder(path)? == crate::fs::stat_of(&file, &target)?.st_uid {
        true => Ok(Some(file)),
        false => Err(refuse("it is a link to a file of another user")),
    }
}

impl Reach {
    /// Opens a regular file in a folder that was reached so; a link there is never followed.
    pub(crate) fn open_file(self, folder: &Dir, name: &OsStr) -> Result<Option<File>, DurableError> {
        match self {
            Reach::Links => folder.open_file(name),
            Reach::Plain => folder.open_own_file(name),
        }
    }
}

/// Opens a folder of Claude Code's, which may be a link to one of the same user, and one that cannot be listed.
pub(crate) fn open_folder(path: &Path) -> Result<Option<Dir>, DurableError> {
    match Dir::enter_own(path) {
        Err(error) if error.is_not_ours() => {}
        opened => return opened,
    }
    let Some(dir) = Dir::enter(path)? else { return Ok(None) };
    match owner_of_folder(path)? == dir.stat_itself()?.st_uid {
        true => Ok(Some(dir)),
        false => Err(refused_link("open directory", path, "it is a link to a folder of another user")),
    }
}

/// [`open_folder`] of one that belongs to a transcript: below the folder of all transcripts, or else below the
/// configuration directory.
pub(crate) fn open_folder_by(reach: Reach, path: &Path, transcript: &Path) -> Result<Option<Dir>, DurableError> {
    let projects = transcript.parent().and_then(Path::parent);
    let above = [projects, projects.and_then(Path::parent)].into_iter().flatten();
    let below = above.filter_map(|top| Some((top, path.strip_prefix(top).ok()?))).next();
    match (reach, below) {
        (Reach::Plain, Some((top, below))) => Dir::open(top)?.map_or(Ok(None), |top| top.open_beneath(below)),
        (Reach::Plain, None) => Err(refused_link("open directory", path, "it lies outside of Claude Code's directory")),
        (Reach::Links, _) => open_folder(path),
    }
}

/// Where a link leads to in the end.
pub(crate) fn followed(path: &Path) -> Result<PathBuf, DurableError> {
    std::fs::canonicalize(path).map_err(|source| DurableError {
        operation: "follow the link",
        path: path.to_owned(),
        source,
    })
}

fn is_link(path: &Path) -> bool {
    // What cannot be looked up is told by whoever opens it.
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink())
}

fn owner_of_folder(path: &Path) -> Result<u32, DurableError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let dir = Dir::enter(folder)?.ok_or_else(|| refused_link("open directory", folder, "it is gone"))?;
    Ok(dir.stat_itself()?.st_uid)
}

fn refused_link(operation: &'static str, path: &Path, why: &str) -> DurableError {
    DurableError { operation, path: path.to_owned(), source: std::io::Error::other(why.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_directory_is_derived_from_a_transcript() {
        let derived = claude_dir_of_transcript(Path::new("/h/.claude/projects/-p/a.jsonl"));
        assert_eq!(derived.as_deref(), Some(Path::new("/h/.claude")));
        assert_eq!(claude_dir_of_transcript(Path::new("/tmp/a.jsonl")), None);
    }

    #[test]
    fn a_link_to_a_transcript_is_one_and_a_link_to_anything_else_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["real.jsonl", "secret"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let opened = |name: &str, target: &str| {
            let link = dir.path().join(name);
            std::os::unix::fs::symlink(target, &link).unwrap();
            open_transcript(&link).map(|file| file.is_some()).map_err(|error| error.source.to_string())
        };
        assert_eq!(opened("a.jsonl", "real.jsonl"), Ok(true));
        assert_eq!(opened("b.jsonl", "a.jsonl"), Ok(true));
        assert!(opened("c.jsonl", "secret").unwrap_err().ends_with("no transcript"));
        assert!(opened("d.jsonl", "gone.jsonl").is_err() && opened("e.jsonl", "e.jsonl").is_err());
    }
}
