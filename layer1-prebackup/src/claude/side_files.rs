//! What belongs to a conversation beside its transcript, and where Claude Code keeps it.
//!
//! A side file's name is its path below the session's own folder. What lies elsewhere bears the name of a folder
//! that Claude Code does not make, so that it can neither be taken for the session's own nor be resumed:
//! [`BESIDE`] for whatever bears the session's id beside its transcript (what the client set aside, conflict copies
//! of a synced folder), [`CLAUDE`] for what the configuration directory keeps of the session.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::FileType;
use serde::Deserialize;

use crate::claude::memory::is_memory;
use crate::claude::transcripts::{
    self, Identity, Reach, claude_dir_of_transcript, open_folder, open_folder_by, open_transcript_by,
};
use crate::fs::{self, Dir, DurableError};
use crate::names::{FileName, SessionId};

/// Of a side file that lies beside the transcript under another name, the first part of its path.
pub const BESIDE: &str = ".beside";
/// Of a side file that lies in the configuration directory, the first part of its path.
pub(crate) const CLAUDE: &str = ".claude";
/// Folders of the configuration directory with one for each session: earlier states of edited files, the task list.
const KEPT_BY_ID: [&str; 2] = ["file-history", "tasks"];
/// The folder in which earlier versions of Claude Code kept the task lists, `{ID}-agent-{AGENT}.json`.
const TODOS: &str = "todos";
/// The folder of plans, each under the slug that the transcript names.
const PLANS: &str = "plans";
/// The slug is looked for in so much of the beginning and of the end of a transcript.
const SLUG_WINDOW_BYTES: u64 = 64 * 1024;
const SLUG_KEY: &[u8] = b"\"slug\"";
/// Longest first line of a subagent's file that is read.
const AGENT_LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// So many hexadecimal digits end the name of a file that the client is writing.
const TEMP_MARK_CHARS: usize = 8;
/// Longest name of a plan, in bytes.
const SLUG_BYTES_MAX: usize = 200;
/// Folders in folders are looked into so far. Claude Code makes two or three; each costs a look at all above it.
pub(crate) const DEPTH_MAX: usize = 64;

/// A side file as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundSideFile {
    /// Its name, as the module describes.
    pub(crate) rel: PathBuf,
    /// What it was at the time of the walk.
    pub(crate) identity: Identity,
}

impl FoundSideFile {
    /// Whether it lies in the folder of the transcript, or below.
    pub(crate) fn is_beside_transcript(&self) -> bool {
        !self.rel.starts_with(CLAUDE)
    }
}

/// What there is beside a transcript.
#[derive(Debug, Default)]
pub(crate) struct SideFiles {
    /// Sorted by name.
    pub(crate) found: Vec<FoundSideFile>,
    /// What could not be looked at; everything else was.
    pub(crate) problems: Vec<DurableError>,
    /// Links, which are not followed, second names (hard links) included where none is read.
    pub(crate) links: Vec<PathBuf>,
    /// Folders that lie deeper than [`DEPTH_MAX`]; they are not looked into.
    pub(crate) too_deep: Vec<PathBuf>,
    /// The plans that the transcript names, where Claude Code keeps any.
    pub(crate) slugs: Vec<String>,
}

/// Where there may be side files, by one look for all sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    /// Whether something bears the session's id beside its transcript.
    pub(crate) has_own: bool,
    /// Those of [`KEPT_BY_ID`] in which something bears it.
    pub(crate) kept: [bool; KEPT_BY_ID.len()],
    /// Names of its to-do lists, where they can be told apart by their names.
    pub(crate) todos: Option<Vec<OsString>>,
    /// Whether there is any plan.
    pub(crate) has_plans: bool,
}

/// Whether a side file holds what a subagent did.
pub fn is_of_subagent(rel: &Path) -> bool {
    let name = rel.file_name().unwrap_or_default().as_bytes();
    name.starts_with(b"agent-") && name.ends_with(b".jsonl")
}

/// Whether a side file holds what a tool gave back: Claude Code writes it once.
pub fn is_tool_result(rel: &Path) -> bool {
    rel.parent().and_then(Path::file_name).is_some_and(|folder| folder == "tool-results")
}

/// Everything of the session beside its transcript. FIFOs, sockets, devices and whatever is named `*.lock` are left
/// out, and one thing that cannot be read does not hide another.
pub(crate) fn side_files_by(reach: Reach, transcript: &Path, id: &SessionId) -> SideFiles {
    let (mut beside, mut problems) = (Vec::new(), Vec::new());
    if !is_memory(transcript)
        && let Err(error) = add_names_beside(reach, transcript, id, &mut beside, &mut problems)
    {
        problems.push(error);
    }
    let mut sides = side_files_with(reach, transcript, id, &beside, None, None);
    sides.problems.append(&mut problems);
    sides
}

/// Whether something of the session lies beside its transcript, be that there or not.
pub fn has_rest_of(reach: Reach, transcript: &Path, id: &SessionId) -> bool {
    side_files_by(reach, transcript, id).found.iter().any(FoundSideFile::is_beside_transcript)
}

/// [`side_files_by`], where the names beside the transcript that bear its id are known, and perhaps where else there may
/// be something, and which plans the transcript names.
pub(crate) fn side_files_with(
    reach: Reach,
    transcript: &Path,
    id: &SessionId,
    beside: &[OsString],
    whereabouts: Option<&Whereabouts>,
    slugs: Option<Vec<String>>,
) -> SideFiles {
    let mut sides = SideFiles::default();
    let of = (reach, transcript);
    if is_memory(transcript) {
        sides.attempt(|sides| sides.add_folder(of, transcript, Path::new("")));
        sides.found.sort_by(|a, b| a.rel.cmp(&b.rel));
        return sides;
    }
    if whereabouts.is_none_or(|known| known.has_own) {
        let own = transcript.with_file_name(id.as_str());
        sides.attempt(|sides| sides.add_folder(of, &own, Path::new("")));
    }
    for name in beside {
        sides.attempt(|sides| sides.add_beside(of, name));
    }
    if let Some(claude_dir) = claude_dir_of_transcript(transcript) {
        for (nth, kept) in KEPT_BY_ID.iter().enumerate() {
            if whereabouts.is_none_or(|known| known.kept[nth]) {
                let folder = claude_dir.join(kept).join(id.as_str());
                sides.attempt(|sides| sides.add_folder(of, &folder, &Path::new(CLAUDE).join(kept)));
            }
        }
        let todos = whereabouts.and_then(|known| known.todos.as_deref());
        if todos.is_none_or(|names| !names.is_empty()) {
            sides.attempt(|sides| sides.add_todos(of, &claude_dir.join(TODOS), id, todos));
        }
        if whereabouts.is_none_or(|known| known.has_plans) {
            sides.attempt(|sides| sides.add_plans(of, &claude_dir.join(PLANS), slugs));
        }
    }
    sides.found.sort_by(|a, b| a.rel.cmp(&b.rel));
    sides
}

/// By whom, and of which transcript, side files are looked for.
type Of<'a> = (Reach, &'a Path);

impl SideFiles {
    fn attempt(&mut self, look: impl FnOnce(&mut SideFiles) -> Result<(), DurableError>) {
        if let Err(error) = look(self) {
            self.problems.push(error);
        }
    }

    /// Every file below a folder, under names that begin with `top`.
    fn add_folder(&mut self, of: Of<'_>, folder: &Path, top: &Path) -> Result<(), DurableError> {
        // Most sessions have none; a file of that name is none either.
        if folder.symlink_metadata().is_ok_and(|metadata| !metadata.is_symlink() && !metadata.is_dir()) {
            return Ok(());
        }
        let (reach, transcript) = of;
        let Some(root) = open_folder_by(reach, folder, transcript)? else { return Ok(()) };
        let mut pending = vec![PathBuf::new()];
        while let Some(below) = pending.pop() {
            match root.open_beneath(&below).and_then(|dir| dir.map(|dir| Ok((dir.entries()?, dir))).transpose()) {
                Ok(Some((entries, dir))) => {
                    for (name, kind) in entries {
                        self.add_entry(reach, &dir, &name, kind, (&below, top), &mut pending);
                    }
                }
                Ok(None) => {}
                Err(error) => self.problems.push(error),
            }
        }
        Ok(())
    }

    fn add_entry(
        &mut self,
        reach: Reach,
        dir: &Dir,
        name: &OsStr,
        kind: FileType,
        (below, top): (&Path, &Path),
        pending: &mut Vec<PathBuf>,
    ) {
        if is_passing(name) {
            return;
        }
        match kind {
            FileType::Directory if below.components().count() >= DEPTH_MAX => self.too_deep.push(dir.path().join(name)),
            FileType::Directory => pending.push(below.join(name)),
            FileType::Symlink => self.links.push(dir.path().join(name)),
            FileType::RegularFile => match dir.stat(name) {
                Ok(Some(stat)) if reach == Reach::Plain && !fs::may_be_ours(&stat) => {
                    self.links.push(dir.path().join(name));
                }
                Ok(Some(stat)) => {
                    self.found.push(FoundSideFile { rel: top.join(below).join(name), identity: Identity::of(&stat) });
                }
                Ok(None) => {}
                Err(error) => self.problems.push(error),
            },
            _ => {}
        }
    }

    fn add_beside(&mut self, of: Of<'_>, name: &OsStr) -> Result<(), DurableError> {
        let (reach, transcript) = of;
        let path = transcript.with_file_name(name);
        let parent = path.parent().unwrap_or(Path::new("/"));
        let Some(folder) = open_folder_by(reach, parent, transcript)? else { return Ok(()) };
        let Some(stat) = folder.stat(name)? else { return Ok(()) };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.add_folder(of, &path, &Path::new(BESIDE).join(name)),
            kind => {
                let mut nothing = Vec::new();
                self.add_entry(reach, &folder, name, kind, (Path::new(""), Path::new(BESIDE)), &mut nothing);
                Ok(())
            }
        }
    }

    fn add_todos(
        &mut self,
        (reach, transcript): Of<'_>,
        todos: &Path,
        id: &SessionId,
        known: Option<&[OsString]>,
    ) -> Result<(), DurableError> {
        let Some(folder) = open_folder_by(reach, todos, transcript)? else { return Ok(()) };
        let start = format!("{id}-agent-");
        let is_its = |(name, kind): &(OsString, FileType)| {
            name.as_bytes().starts_with(start.as_bytes()) && *kind == FileType::RegularFile
        };
        let names = match known {
            Some(names) => names.to_vec(),
            None => folder.entries()?.into_iter().filter(is_its).map(|(name, _)| name).collect(),
        };
        for name in names {
            let (mut nothing, top) = (Vec::new(), Path::new(CLAUDE).join(TODOS));
            self.add_entry(reach, &folder, &name, FileType::RegularFile, (Path::new(""), &top), &mut nothing);
        }
        Ok(())
    }

    fn add_plans(
        &mut self,
        (reach, transcript): Of<'_>,
        plans: &Path,
        known: Option<Vec<String>>,
    ) -> Result<(), DurableError> {
        let Some(folder) = open_folder_by(reach, plans, transcript)? else { return Ok(()) };
        // One that cannot be read is told when it is saved.
        let opened = || open_transcript_by(reach, transcript).ok().flatten();
        let read = || opened().map_or(Ok(Vec::new()), |file| slugs_in(&file, transcript));
        self.slugs = known.map_or_else(read, Ok)?;
        for slug in self.slugs.clone() {
            let name = OsString::from(format!("{slug}.md"));
            if folder.stat(&name)?.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
                let (mut nothing, top) = (Vec::new(), Path::new(CLAUDE).join(PLANS));
                self.add_entry(reach, &folder, &name, FileType::RegularFile, (Path::new(""), &top), &mut nothing);
            }
        }
        Ok(())
    }
}

/// A name as a file system may take it that does not tell capitals from small letters.
pub(crate) fn folded(name: &OsStr) -> Vec<u8> {
    name.as_bytes().to_ascii_lowercase()
}

/// What of a configuration directory's belongs to which session, by one look at each of its folders.
pub(crate) struct KeptOfAll {
    kept: [BTreeSet<Vec<u8>>; KEPT_BY_ID.len()],
    todos: BTreeMap<SessionId, Vec<OsString>>,
    has_plans: bool,
}

impl KeptOfAll {
    /// `None` where one of its folders cannot be read: then each session is looked for in it.
    pub(crate) fn look(claude_dir: &Path) -> Option<KeptOfAll> {
        let entries = |folder: &str| -> Option<Vec<(OsString, FileType)>> {
            open_folder(&claude_dir.join(folder)).ok()?.map_or(Some(Vec::new()), |folder| folder.entries().ok())
        };
        let mut kept = KEPT_BY_ID.map(|_| BTreeSet::new());
        for (names, folder) in kept.iter_mut().zip(KEPT_BY_ID) {
            names.extend(entries(folder)?.into_iter().map(|(name, _)| folded(&name)));
        }
        let mut todos: BTreeMap<SessionId, Vec<OsString>> = BTreeMap::new();
        for entry in entries(TODOS)? {
            if let Some(id) = session_of_todos(&entry) {
                todos.entry(id).or_default().push(entry.0);
            }
        }
        Some(KeptOfAll { kept, todos, has_plans: !entries(PLANS)?.is_empty() })
    }

    /// What there may be of one session; `has_own`, whether something bears its id beside its transcript.
    pub(crate) fn of(&self, id: &SessionId, has_own: bool) -> Whereabouts {
        let is_uuid = is_uuid(id.as_str().as_bytes());
        let contain = |names: &BTreeSet<Vec<u8>>| !names.is_empty() && names.contains(&folded(OsStr::new(id.as_str())));
        Whereabouts {
            has_own,
            kept: self.kept.each_ref().map(contain),
            todos: is_uuid.then(|| self.todos.get(id).cloned().unwrap_or_default()),
            has_plans: self.has_plans,
        }
    }
}

/// The session of a to-do list, `ID-agent-ID.json`, by the rule that says so of a UUID.
fn session_of_todos((name, kind): &(OsString, FileType)) -> Option<SessionId> {
    let name = name.to_str().filter(|_| *kind == FileType::RegularFile)?;
    let id = name.split_once("-agent-")?.0;
    SessionId::parse(id).ok().filter(|_| is_uuid(id.as_bytes()))
}

/// The plans that the beginning and the end of a transcript name.
fn slugs_in(file: &File, path: &Path) -> Result<Vec<String>, DurableError> {
    let bytes = fs::stat_of(file, path)?.st_size as u64;
    let mut slugs = Vec::new();
    for from in [0, bytes.saturating_sub(SLUG_WINDOW_BYTES).max(SLUG_WINDOW_BYTES.min(bytes))] {
        let mut window = vec![0; (bytes - from).min(SLUG_WINDOW_BYTES) as usize];
        let came = fs::read_at(file, from, &mut window, path)?;
        let mut rest = &window[..came];
        while let Some(at) = rest.windows(SLUG_KEY.len()).position(|window| window == SLUG_KEY) {
            rest = &rest[at + SLUG_KEY.len()..];
            let before = rest.iter().take_while(|byte| b": ".contains(byte)).count();
            let Some(b'"') = rest.get(before) else { continue };
            rest = &rest[before + 1..];
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            let end = rest.iter().take_while(|byte| is_plain(byte)).count();
            if (1..=SLUG_BYTES_MAX).contains(&end) && rest.get(end) == Some(&b'"') {
                slugs.push(String::from_utf8_lossy(&rest[..end]).into_owned());
            }
        }
    }
    slugs.sort();
    slugs.dedup();
    Ok(slugs)
}

/// The names in a folder of transcripts that bear a session's id and are neither its transcript nor its own folder.
/// What may be one of them and cannot be read is a problem.
fn add_names_beside(
    reach: Reach,
    transcript: &Path,
    id: &SessionId,
    names: &mut Vec<OsString>,
    problems: &mut Vec<DurableError>,
) -> Result<(), DurableError> {
    let folder = transcript.parent().unwrap_or(Path::new("/"));
    let Some(dir) = open_folder_by(reach, folder, transcript)? else { return Ok(()) };
    for (name, kind) in dir.entries()? {
        let is_its = match session_beside(&name).as_ref() == Some(id) || is_variant_of(&name, id) {
            true => true,
            false => session_of_agent(&dir, &name, kind).map(|session| session.as_ref() == Some(id)).unwrap_or_else(
                |error| {
                    problems.push(error);
                    false
                },
            ),
        };
        if is_its {
            names.push(name);
        }
    }
    Ok(())
}

/// The session whose id a name bears without being its transcript or its folder: a UUID that stands in it by itself.
pub(crate) fn session_beside(name: &OsStr) -> Option<SessionId> {
    let bytes = name.as_bytes();
    if is_passing(name) {
        return None;
    }
    let stands_alone = |at: usize| {
        let is_letter = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
        !is_letter(at.checked_sub(1)) && !is_letter(Some(at + UUID_BYTES)) && is_uuid(&bytes[at..at + UUID_BYTES])
    };
    let at = (0..=bytes.len().checked_sub(UUID_BYTES)?).find(|at| stands_alone(*at))?;
    let rest = (&bytes[..at], &bytes[at + UUID_BYTES..]);
    let is_its_own = matches!(rest, (b"", b"" | b".jsonl"));
    let uuid = std::str::from_utf8(&bytes[at..at + UUID_BYTES]).ok()?;
    (!is_its_own).then(|| SessionId::parse(uuid).ok()).flatten()
}

/// The session of a subagent's file that lies beside the transcripts, as earlier versions of Claude Code laid it:
/// `agent-….jsonl`, whose first line names the session. Only of such a name is anything read.
pub(crate) fn session_of_agent(folder: &Dir, name: &OsStr, kind: FileType) -> Result<Option<SessionId>, DurableError> {
    #[derive(Deserialize)]
    struct Record {
        #[serde(rename = "sessionId")]
        session_id: String,
    }
    let bytes = name.as_bytes();
    if kind != FileType::RegularFile || !bytes.starts_with(b"agent-") || !bytes.ends_with(b".jsonl") {
        return Ok(None);
    }
    let Some(file) = folder.open_file(name)? else { return Ok(None) };
    let mut line = Vec::new();
    let read = BufReader::new(file.take(AGENT_LINE_BYTES_MAX)).read_until(b'\n', &mut line);
    read.map_err(|source| DurableError { operation: "read", path: folder.path().join(name), source })?;
    // What is no such record is nobody's.
    let record = serde_json::from_slice(&line).ok();
    Ok(record.and_then(|Record { session_id }| SessionId::parse(&session_id).ok()))
}

/// Whether a name is `ID.jsonl.…`, or `ID …` and no id of another session, for an id that is no UUID.
pub(crate) fn is_variant_of(name: &OsStr, id: &SessionId) -> bool {
    let Some(rest) = name.as_bytes().strip_prefix(id.as_str().as_bytes()) else { return false };
    let is_variant = rest.starts_with(b".jsonl.")
        || (rest.first().is_some_and(|byte| b" (".contains(byte)) && is_transcript_like(name));
    is_variant && !is_passing(name)
}

const UUID_BYTES: usize = 36;

/// Whether these bytes are a UUID, as Claude Code names sessions.
pub(crate) fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == UUID_BYTES
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether a name says that this may be a conversation, whatever else it says.
pub(crate) fn is_transcript_like(name: &OsStr) -> bool {
    let lower = name.as_bytes().to_ascii_lowercase();
    lower.windows(6).any(|window| window == b".jsonl") && !is_passing(name)
}

/// Whether a file or folder of this name is there for a while only: locks belong to a running client and must not
/// be copied; the others are files that are being written, by us or by the client (`agent-1.meta.json.tmp.f5c18833`).
pub(crate) fn is_passing(name: &OsStr) -> bool {
    let is_mark = |mark: &str| mark.len() == TEMP_MARK_CHARS && mark.bytes().all(|byte| byte.is_ascii_hexdigit());
    // Of a transcript, one that a killed client left may be all that there is.
    let is_the_clients = name
        .to_str()
        .and_then(|name| name.rsplit_once(".tmp."))
        .is_some_and(|(of, mark)| is_mark(mark) && !of.ends_with(".jsonl"));
    name.as_bytes().ends_with(b".lock") || fs::is_temp(name) || is_the_clients
}

/// The first directory that a record of the session names: of its transcript, else of what is left beside it.
pub(crate) fn cwd_of_session(reach: Reach, transcript: &Path, id: &SessionId) -> Result<Option<String>, DurableError> {
    if is_memory(transcript) {
        return Ok(None);
    }
    if let Some(file) = open_transcript_by(reach, transcript)? {
        return transcripts::first_cwd_in(file, transcript);
    }
    for side in side_files_by(reach, transcript, id).found {
        if !side.rel.file_name().is_some_and(is_transcript_like) {
            continue;
        }
        let file = FileName::Side(side.rel);
        if let Some(opened) = open_source_by(reach, transcript, id, &file)?
            && let Some(cwd) = transcripts::first_cwd_in(opened, &source_path(transcript, id, &file))?
        {
            return Ok(Some(cwd));
        }
    }
    Ok(None)
}

/// Where the file of a session lies whose transcript this is: a folder, which may be a link, and the path below it.
pub fn place_of(transcript: &Path, id: &SessionId, file: &FileName) -> (PathBuf, PathBuf) {
    let folder = transcript.parent().unwrap_or(Path::new("/")).to_owned();
    let FileName::Side(rel) = file else {
        return (folder, transcript.file_name().map(PathBuf::from).unwrap_or_default());
    };
    if is_memory(transcript) {
        return (transcript.to_owned(), rel.clone());
    }
    let mut parts = rel.components();
    let (first, rest) = (parts.next(), parts.as_path());
    let first = match first {
        Some(Component::Normal(first)) if rest.components().next().is_some() => first,
        _ => OsStr::new(""),
    };
    if first == BESIDE {
        return (folder, rest.to_owned());
    }
    match claude_dir_of_transcript(transcript).filter(|_| first == CLAUDE) {
        Some(claude_dir) => place_in_claude_dir(&claude_dir, id, rest),
        None => (folder.join(id.as_str()), rel.clone()),
    }
}

/// `rest` is `plans/<name>`, `todos/<name>`, or a folder with one for each session and the path below that.
fn place_in_claude_dir(claude_dir: &Path, id: &SessionId, rest: &Path) -> (PathBuf, PathBuf) {
    let mut parts = rest.components();
    let kept = parts.next().map(|kept| PathBuf::from(kept.as_os_str())).unwrap_or_default();
    match kept == Path::new(PLANS) || kept == Path::new(TODOS) {
        true => (claude_dir.join(kept), parts.as_path().to_owned()),
        false => (claude_dir.join(kept).join(id.as_str()), parts.as_path().to_owned()),
    }
}

/// Where the file of a session lies whose transcript this is.
pub(crate) fn source_path(transcript: &Path, id: &SessionId, file: &FileName) -> PathBuf {
    let (root, below) = place_of(transcript, id, file);
    root.join(below)
}

/// Opens the file of a session whose transcript this is, or that itself; below its folder no link is followed.
pub fn open_source(transcript: &Path, id: &SessionId, file: &FileName) -> Result<Option<File>, DurableError> {
    open_source_by(Reach::Links, transcript, id, file)
}

/// [`open_source`], reached by a name of somebody's.
pub fn open_source_by(
    reach: Reach,
    transcript: &Path,
    id: &SessionId,
    file: &FileName,
) -> Result<Option<File>, DurableError> {
    if *file == FileName::Transcript {
        return open_transcript_by(reach, transcript);
    }
    let (root, below) = place_of(transcript, id, file);
    let (Some(name), Some(root)) = (below.file_name(), open_folder_by(reach, &root, transcript)?) else {
        return Ok(None);
    };
    match root.open_beneath(below.parent().unwrap_or(Path::new("")))? {
        Some(dir) => reach.open_file(&dir, name),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5b3d80da-3868-4fbe-b063-0aa144649138";

    fn write(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }

    fn found(transcript: &Path, id: &str) -> Vec<String> {
        let id = SessionId::parse(id).unwrap();
        let sides = side_files_by(Reach::Links, transcript, &id);
        assert_eq!(sides.problems.len(), 0, "{:?}", sides.problems);
        for side in &sides.found {
            let opened = open_source(transcript, &id, &FileName::Side(side.rel.clone()));
            assert!(opened.unwrap().is_some(), "{:?}", side.rel);
        }
        sides.found.into_iter().map(|side| side.rel.display().to_string()).collect()
    }

    #[test]
    fn side_files_leave_out_links_pipes_and_locks() {
        let dir = tempfile::tempdir().unwrap();
        let transcript = dir.path().join("a.jsonl");
        assert!(found(&transcript, "a").is_empty());
        for path in [
            "a/subagents/agent-1.jsonl",
            "a/custom-title.json",
            "a/x.lock",
            "a/agent-1.meta.json.tmp.f5c18833",
            "a/dir.lock/y",
        ] {
            write(&dir.path().join(path));
        }
        std::os::unix::fs::symlink("/etc", dir.path().join("a/etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("a/passwd")).unwrap();
        crate::fs::platform::make_fifo(&dir.path().join("a/fifo"));
        assert_eq!(found(&transcript, "a"), ["custom-title.json", "subagents/agent-1.jsonl"]);
        let id = SessionId::parse("a").unwrap();
        assert_eq!(side_files_by(Reach::Links, &transcript, &id).links.len(), 2);
        assert!(transcripts::open_regular(&dir.path().join("a/fifo")).is_err());
        assert!(open_source(&transcript, &id, &FileName::Side("etc/passwd".into())).is_err());
    }

    #[test]
    fn whatever_bears_a_sessions_id_is_kept_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let transcript = dir.path().join(format!("{ID}.jsonl"));
        let kept = [
            format!("{ID} (1).jsonl"),
            format!("{ID} (conflicted copy 2026-11-01).jsonl"),
            format!("{ID} 2.jsonl"),
            format!("{ID}-DESKTOP-1.jsonl"),
            format!("{ID}.jsonl.bak"),
            format!("{ID}.jsonl.superseded-17000"),
            format!("{ID}.jsonl.superseded-17001/subagents/agent-1.jsonl"),
            format!("{ID}.jsonl.tmp.1234.1700000000000"),
            format!("{ID}.jsonl.tmp.f5c18833"),
            format!("{ID}.jsonl~"),
            format!("{ID}.orphaned-1700-ab.jsonl"),
            format!("{ID}.precompact.json"),
            format!("{ID}.sync-conflict-20261101-101010-ABCDEFG.jsonl"),
            format!("{ID}_0.jsonl"),
            format!("Copy of {ID}.jsonl"),
        ];
        for name in kept.iter().chain(&[
            format!("{ID}.jsonl"),
            format!("{ID}.jsonl.lock"),
            format!("{ID}0.jsonl"),
            "5b3d80da-3868-4fbe-b063-0aa144649139.jsonl".to_owned(),
        ]) {
            write(&dir.path().join(name));
        }
        assert_eq!(found(&transcript, ID), kept.map(|name| format!(".beside/{name}")));
        for name in ["s1.jsonl", "s1 2.jsonl", "s1.jsonl.old", "s1.x.jsonl", "s12.jsonl"] {
            write(&dir.path().join(name));
        }
        assert_eq!(found(&dir.path().join("s1.jsonl"), "s1"), [".beside/s1 2.jsonl", ".beside/s1.jsonl.old"]);
    }

    #[test]
    fn a_subagents_file_of_the_old_layout_is_kept_with_the_session_that_its_first_line_names() {
        let dir = tempfile::tempdir().unwrap();
        let line = |id: &str| format!("{{\"agentId\":\"1\",\"sessionId\":\"{id}\",\"message\":{{}}}}\n");
        for (name, text) in [
            ("agent-1.jsonl", line("s1")),
            ("agent-2.jsonl", line("s2") + &line("s1")),
            ("agent-3.jsonl", line(ID)),
            ("agent-4.jsonl", "no record\n".to_owned() + &line("s1")),
            ("agent-5.jsonl", String::new()),
            ("other-1.jsonl", line("s1")),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("agent-1.jsonl", dir.path().join("agent-6.jsonl")).unwrap();
        assert_eq!(found(&dir.path().join("s1.jsonl"), "s1"), [".beside/agent-1.jsonl"]);
        assert_eq!(found(&dir.path().join("s2.jsonl"), "s2"), [".beside/agent-2.jsonl"]);
        assert_eq!(found(&dir.path().join(format!("{ID}.jsonl")), ID), [".beside/agent-3.jsonl"]);
        // One that cannot be read may be anybody's.
        std::fs::create_dir(dir.path().join("agent-7.jsonl")).unwrap();
        let folder = Dir::open(dir.path()).unwrap().unwrap();
        assert!(session_of_agent(&folder, OsStr::new("agent-7.jsonl"), FileType::RegularFile).is_err());
        assert_eq!(session_of_agent(&folder, OsStr::new("agent-8.jsonl"), FileType::RegularFile).unwrap(), None);
    }

    #[test]
    fn what_the_configuration_directory_keeps_of_a_session_is_kept_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let transcript = dir.path().join("projects/-p").join(format!("{ID}.jsonl"));
        for path in [
            format!("projects/-p/{ID}/tool-results/a.txt"),
            format!("file-history/{ID}/0a@v1"),
            "file-history/other/0a@v1".to_owned(),
            format!("tasks/{ID}/1.json"),
            format!("tasks/{ID}/.lock"),
            format!("todos/{ID}-agent-{ID}.json"),
            format!("todos/{ID}-agent-a1.json"),
            format!("todos/00000000{}-agent-{ID}.json", &ID[8..]),
            "plans/calm-blue-fox.md".to_owned(),
            "plans/other.md".to_owned(),
        ] {
            write(&dir.path().join(path));
        }
        std::fs::write(&transcript, "{\"slug\":\"calm-blue-fox\"}\n{\"slug\":\"../other\"}\n").unwrap();
        let expected = [
            ".claude/file-history/0a@v1",
            ".claude/plans/calm-blue-fox.md",
            ".claude/tasks/1.json",
            &format!(".claude/todos/{ID}-agent-{ID}.json"),
            &format!(".claude/todos/{ID}-agent-a1.json"),
            "tool-results/a.txt",
        ];
        assert_eq!(found(&transcript, ID), expected);
    }

    #[test]
    fn a_folder_that_is_a_link_is_followed_once_and_one_thing_that_is_unreadable_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let transcript = dir.path().join("a.jsonl");
        write(&dir.path().join("elsewhere/subagents/agent-1.jsonl"));
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), dir.path().join("a")).unwrap();
        assert_eq!(found(&transcript, "a"), ["subagents/agent-1.jsonl"]);
        let id = SessionId::parse("b").unwrap();
        std::os::unix::fs::symlink("b", dir.path().join("b")).unwrap();
        write(&dir.path().join("b.jsonl.old"));
        let sides = side_files_by(Reach::Links, &dir.path().join("b.jsonl"), &id);
        assert_eq!((sides.found.len(), sides.problems.len()), (1, 1));
    }
}
