//! The source: Claude Code's files. They are only ever read, never through a symlink below
//! their root, and opening one never blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use serde::Deserialize;

use crate::fs::{Dir, DurableError, is_temp};
use crate::names::{FileName, SessionId};

/// A line longer than this is not searched for the working directory.
const CWD_LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Of a transcript at a time: the working directory stands near its beginning.
const CWD_READ_BYTES: usize = 16 * 1024;
/// Lines without it are not parsed.
const CWD_KEY: &[u8] = b"\"cwd\"";

/// A transcript found under `projects/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTranscript {
    /// `<projects>/<slug>/<session id>.jsonl`.
    pub path: PathBuf,
    /// Its session id.
    pub id: SessionId,
    /// Length at the time of the walk.
    pub bytes: u64,
}

/// A side file found below `<session id>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundSideFile {
    /// Its path below `<session id>/`.
    pub(crate) rel: PathBuf,
    /// What it was at the time of the walk.
    pub(crate) identity: Identity,
}

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

/// Every regular file `<projects>/*/<session id>.jsonl`, sorted by path. Symlinked folders and
/// files are left out, and so is what is not named like a session. An absent folder gives none.
pub fn transcripts(projects: &Path) -> Result<Vec<FoundTranscript>, DurableError> {
    let mut found = Vec::new();
    each_folder(projects, &mut |dir| {
        for (name, kind) in dir.entries()? {
            if let (FileType::RegularFile, Ok(id)) = (kind, SessionId::of_transcript(Path::new(&name)))
                && let Some(stat) = dir.stat(&name)?
            {
                found.push(FoundTranscript { path: dir.path().join(name), id, bytes: stat.st_size as u64 });
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// Which of these sessions are among [`transcripts`], without a look at the files themselves. Costs a listing of
/// the projects' folders, one after the other until all are found.
pub fn present<'w>(projects: &Path, wanted: &BTreeSet<&'w SessionId>) -> Result<BTreeSet<&'w SessionId>, DurableError> {
    let wanted: BTreeMap<&str, &SessionId> = wanted.iter().map(|id| (id.as_str(), *id)).collect();
    let mut found = BTreeSet::new();
    each_folder(projects, &mut |dir| {
        dir.each_entry(&mut |name, kind| {
            let id = name.to_str().and_then(|name| name.strip_suffix(".jsonl")).and_then(|id| wanted.get(id));
            if let (FileType::RegularFile, Some(id)) = (kind, id) {
                found.insert(*id);
            }
        })?;
        Ok(if found.len() == wanted.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(found)
}

/// Calls `each` with the projects' folders until it breaks.
fn each_folder(
    projects: &Path,
    each: &mut dyn FnMut(&Dir) -> Result<ControlFlow<()>, DurableError>,
) -> Result<(), DurableError> {
    let Some(root) = Dir::open(projects)? else { return Ok(()) };
    for (slug, kind) in root.entries()? {
        if kind != FileType::Directory {
            continue;
        }
        let Some(dir) = root.open_beneath(Path::new(&slug))? else { continue };
        if each(&dir)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Every regular file below `<folder of the transcript>/<session id>/`, sorted. Symlinks, FIFOs,
/// sockets, devices, whatever is named `*.lock` and what a restore is writing are left out.
pub(crate) fn side_files(transcript: &Path, id: &SessionId) -> Result<Vec<FoundSideFile>, DurableError> {
    let Some(parent) = transcript.parent() else { return Ok(Vec::new()) };
    let Some(parent) = Dir::open(parent)? else { return Ok(Vec::new()) };
    let is_dir = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if !parent.stat(OsStr::new(id.as_str()))?.is_some_and(is_dir) {
        return Ok(Vec::new());
    }
    let Some(root) = parent.open_beneath(Path::new(id.as_str()))? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    root.walk(Path::new(""), &mut |dir, rel, kind| {
        // Lock files and lock directories belong to a running client and must not be copied.
        let is_lock = rel.extension().is_some_and(|extension| extension == "lock");
        if kind == FileType::RegularFile
            && !is_lock
            && !rel.file_name().is_some_and(is_temp)
            && let Some(stat) = dir.stat(rel.file_name().unwrap_or_default())?
        {
            found.push(FoundSideFile { rel, identity: Identity::of(&stat) });
        }
        Ok(!is_lock)
    })?;
    found.sort_by(|a, b| a.rel.cmp(&b.rel));
    Ok(found)
}

/// The first directory that a record of a transcript names; `None` where none does, or the transcript is not there.
pub fn first_cwd(transcript: &Path) -> Result<Option<String>, DurableError> {
    match open_regular(transcript)? {
        Some(file) => first_cwd_in(file, transcript),
        None => Ok(None),
    }
}

/// [`first_cwd`] of an open transcript; `path` is for the message.
pub fn first_cwd_in(transcript: File, path: &Path) -> Result<Option<String>, DurableError> {
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

/// Opens a regular file for reading without following a symlink in its last component and
/// without ever blocking on a FIFO; `None` if there is no such file.
pub fn open_regular(path: &Path) -> Result<Option<File>, DurableError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    match Dir::open(parent)? {
        Some(dir) => dir.open_file(name),
        None => Ok(None),
    }
}

/// Where the file of a session lies beside its transcript.
pub(crate) fn source_path(transcript: &Path, id: &SessionId, file: &FileName) -> PathBuf {
    match file {
        FileName::Transcript => transcript.to_owned(),
        FileName::Side(rel) => transcript.with_file_name(id.as_str()).join(rel),
    }
}

/// Opens the file of a session that lies beside its transcript, or that itself; follows no symlink below its folder.
pub fn open_source(transcript: &Path, id: &SessionId, file: &FileName) -> Result<Option<File>, DurableError> {
    match file {
        FileName::Transcript => open_regular(transcript),
        FileName::Side(rel) => open_side_file(transcript, id, rel),
    }
}

fn open_side_file(transcript: &Path, id: &SessionId, rel: &Path) -> Result<Option<File>, DurableError> {
    let (Some(parent), Some(name)) = (transcript.parent(), rel.file_name()) else { return Ok(None) };
    let Some(parent) = Dir::open(parent)? else { return Ok(None) };
    let below = Path::new(id.as_str()).join(rel.parent().unwrap_or(Path::new("")));
    match parent.open_beneath(&below)? {
        Some(dir) => dir.open_file(name),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_with_session_names_are_transcripts() {
        let dir = tempfile::tempdir().unwrap();
        let projects = dir.path().join("projects");
        for path in ["-p/a.jsonl", "-p/b.txt", "-p/a.gen-0001.jsonl", "-q/c.jsonl", "top.jsonl", "-p/a/x.jsonl"] {
            crate::fs::replace_file(&projects.join(path), b"x").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", projects.join("-p/link.jsonl")).unwrap();
        std::os::unix::fs::symlink(projects.join("-p"), projects.join("-r")).unwrap();
        let found: Vec<_> = transcripts(&projects).unwrap().into_iter().map(|t| t.path).collect();
        assert_eq!(found, [projects.join("-p/a.jsonl"), projects.join("-q/c.jsonl")]);
        assert!(transcripts(&dir.path().join("absent")).unwrap().is_empty());
    }

    #[test]
    fn side_files_leave_out_links_pipes_and_locks() {
        let dir = tempfile::tempdir().unwrap();
        let transcript = dir.path().join("a.jsonl");
        let id = SessionId::parse("a").unwrap();
        assert!(side_files(&transcript, &id).unwrap().is_empty());
        for path in
            ["a/subagents/agent-1.jsonl", "a/custom-title.json", "a/x.lock", "a/dir.lock/y", "a/.custom-title.json.tmp"]
        {
            crate::fs::replace_file(&dir.path().join(path), b"x").unwrap();
        }
        std::os::unix::fs::symlink("/etc", dir.path().join("a/etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("a/passwd")).unwrap();
        crate::fs::platform::make_fifo(&dir.path().join("a/fifo"));
        let found: Vec<_> = side_files(&transcript, &id).unwrap().into_iter().map(|f| f.rel).collect();
        assert_eq!(found, [Path::new("custom-title.json"), Path::new("subagents/agent-1.jsonl")]);
        assert!(open_regular(&dir.path().join("a/fifo")).is_err());
        assert!(open_side_file(&transcript, &id, Path::new("etc/passwd")).is_err());
    }
}
