//! `session-store`: what an application of Claude's Agent SDK keeps its sessions in.
//!
//! One request a line of JSON on stdin, one answer a line on stdout, in the same order:
//! `{"id", "op", "project_key", "session_id", "subpath", "entries"}` is answered with `{"id", "result"}` or
//! `{"id", "error"}`. The operations are those of the SDK's `SessionStore` interface; the adapters in
//! `sdk/` translate it.
//!
//! Sessions are laid out as Claude Code lays out its own, below a directory of their own: an `append` is answered
//! when its entries are synced there and in layer 1's store, and has changed nothing if it fails. `delete` removes what
//! lies in that directory; the copies in the stores stay, and `restore` brings them back.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::archive::{Archive, ArchiveError, Compare, SaveRequest, Verification};
use crate::claude::transcripts::{self, Identity};
use crate::config::settings::Policy;
use crate::fs::{self, Dir, DurableError, Lock};
use crate::names::{FileName, NameError, SessionId, StoredName, plain_relative};

/// The adapters, by the name of their language.
pub(crate) const ADAPTERS: [(&str, &str); 2] = [
    ("python", include_str!("../sdk/threefold_session_store.py")),
    ("javascript", include_str!("../sdk/threefold-session-store.mjs")),
];

/// What it needs to know.
#[derive(Debug, Clone)]
pub(crate) struct SessionStoreConfig {
    /// Layer 1's store.
    pub(crate) store: PathBuf,
    /// Where the sessions lie, as in a configuration directory of Claude Code.
    pub(crate) dir: PathBuf,
    /// What is not copied, what is left free.
    pub(crate) policy: Policy,
}

/// Why a request was refused; nothing was changed.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("understand the request: {0}")]
    Json(#[from] serde_json::Error),
    #[error("use {0}")]
    Key(String),
    #[error("copy {path}: the backup keeps no file of such a name", path = .0.display())]
    NotCopied(PathBuf),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

#[derive(Debug, Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    op: Operation,
    #[serde(default)]
    project_key: String,
    #[serde(default)]
    session_id: String,
    subpath: Option<String>,
    #[serde(borrow, default)]
    entries: Vec<&'a RawValue>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Operation {
    Append,
    Load,
    ListSessions,
    ListSubkeys,
    Delete,
}

/// Answers every request until `input` ends. The error is one of the streams alone.
pub(crate) fn run(config: &SessionStoreConfig, input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut store = SessionStore { config, known: HashMap::new() };
    for line in input.split(b'\n') {
        let line = line?;
        let parsed = serde_json::from_slice::<Request<'_>>(&line);
        let id = parsed.as_ref().ok().and_then(|request| request.id).map_or("null", RawValue::get).to_owned();
        let answer = match parsed.map_err(RequestError::from).and_then(|request| store.answer(&request)) {
            Ok(result) => format!("{{\"id\":{id},\"result\":{result}}}\n"),
            Err(error) => format!("{{\"id\":{id},\"error\":{}}}\n", serde_json::json!(format!("failed to {error}"))),
        };
        output.write_all(answer.as_bytes())?;
        output.flush()?;
    }
    Ok(())
}

struct SessionStore<'a> {
    config: &'a SessionStoreConfig,
    /// What is in the files that were appended to, as long as nobody else changes them.
    known: HashMap<PathBuf, Known>,
}

#[derive(Debug)]
struct Known {
    /// What the file was then.
    identity: Identity,
    /// Length and hash of its whole lines.
    hasher: blake3::Hasher,
    /// Entries that are there: one that comes again is not kept twice.
    uuids: HashSet<String>,
}

impl Known {
    fn of(text: &[u8], identity: Identity) -> Known {
        let bytes = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&text[..bytes]);
        let lines = text[..bytes].split(|byte| *byte == b'\n');
        Known { identity, hasher, uuids: lines.filter_map(uuid_of).collect() }
    }

    fn bytes(&self) -> u64 {
        self.hasher.count()
    }
}

fn uuid_of(entry: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Identified {
        uuid: Option<String>,
    }
    serde_json::from_slice::<Identified>(entry).ok()?.uuid
}

impl SessionStore<'_> {
    /// The result as JSON.
    fn answer(&mut self, request: &Request<'_>) -> Result<String, RequestError> {
        let folder = self.config.dir.join("projects").join(project_key(&request.project_key)?);
        if let Operation::ListSessions = request.op {
            return Ok(serde_json::json!(sessions_in(&folder)?).to_string());
        }
        let id = SessionId::parse(&request.session_id)?;
        let side_folder = folder.join(id.as_str());
        let transcript = folder.join(format!("{id}.jsonl"));
        let (file, path) = match request.subpath.as_deref().filter(|subpath| !subpath.is_empty()) {
            Some(subpath) => {
                let refuse = || RequestError::Key(format!("subpath {subpath:?}: it must be a relative path"));
                let rel = plain_relative(OsStr::new(&format!("{subpath}.jsonl"))).ok_or_else(refuse)?;
                let path = side_folder.join(&rel);
                (FileName::Side(rel.to_owned()), path)
            }
            None => (FileName::Transcript, transcript.clone()),
        };
        match request.op {
            Operation::Append => {
                if !request.entries.is_empty() {
                    self.append(&id, &transcript, (&file, &path), &request.entries)?;
                }
                Ok("null".to_owned())
            }
            Operation::Load => Ok(load(&path)?.unwrap_or_else(|| "null".to_owned())),
            Operation::ListSubkeys => Ok(serde_json::json!(subkeys_in(&side_folder)?).to_string()),
            Operation::Delete => {
                self.known.clear();
                if path == transcript {
                    remove_all(&side_folder)?;
                }
                fs::remove_file(&path)?;
                Ok("null".to_owned())
            }
            Operation::ListSessions => unreachable!("answered above"),
        }
    }

    fn append(
        &mut self,
        id: &SessionId,
        transcript: &Path,
        (name, path): (&FileName, &Path),
        entries: &[&RawValue],
    ) -> Result<(), RequestError> {
        // One append at a time, of all processes: two batches must not share a place in the file.
        let _lock = Lock::wait(&self.config.dir.join("lock"))?;
        let file = open_to_append(path)?;
        let identity = Identity::of(&fs::stat_of(&file, path)?);
        let mut known = match self.known.remove(path).filter(|known| known.identity == identity) {
            Some(known) => known,
            None => Known::of(&whole(&file, identity.bytes, path)?, identity),
        };
        let mut text = Vec::new();
        for entry in entries {
            let entry = entry.get().as_bytes();
            if uuid_of(entry).is_none_or(|uuid| known.uuids.insert(uuid)) {
                text.extend(entry);
                text.push(b'\n');
            }
        }
        let before = known.bytes();
        known.hasher.update(&text);
        // What a killed run wrote of a line was never acknowledged.
        fs::truncate(&file, before, path)?;
        let kept = fs::write_at(&file, before, &text, path)
            .and_then(|()| fs::sync_data(&file, path))
            .and_then(|()| fs::stat_of(&file, path))
            .map_err(RequestError::from)
            .and_then(|stat| self.copy(id, transcript, (name, path), &known.hasher).map(|()| Identity::of(&stat)));
        match kept {
            Ok(identity) => {
                self.known.insert(path.to_owned(), Known { identity, ..known });
                Ok(())
            }
            Err(error) => {
                // The caller sends it again; entries without a uuid would be there twice. What is there is read anew
                // then. If this fails too, the first error is the one to report.
                let _ = match before {
                    0 => fs::remove_file(path).map(|_| ()),
                    bytes => fs::truncate(&file, bytes, path),
                };
                Err(error)
            }
        }
    }

    /// Succeeds when the first backup's content of this file is these bytes, whatever became of the session's others:
    /// those that could not be copied are told by the next sweep and by `status`.
    fn copy(
        &self,
        id: &SessionId,
        transcript: &Path,
        (name, path): (&FileName, &Path),
        expected: &blake3::Hasher,
    ) -> Result<(), RequestError> {
        if self.config.policy.exclude.is_excluded(transcript, None) {
            return Ok(());
        }
        let archive = Archive::create(&self.config.store)?.leaving_free(self.config.policy.free_space_floor);
        let forgotten = archive.forgotten(id)?;
        let request =
            SaveRequest { id, transcript, project: None, cwd: None, compare: Compare::Windows, progress: &|_| {} };
        let mut report = archive.save(&request)?;
        if forgotten.is_some() {
            // It is stored without what was forgotten, or not at all.
            return report.problems.pop().map_or(Ok(()), |problem| Err(problem.into()));
        }
        let stored = report.key.as_ref().map_or(Ok(Vec::new()), |key| archive.files(key))?;
        let newest = StoredName::newest(name.clone());
        let is_copied = stored.iter().any(|stored| {
            let is_verified = stored.verification != Verification::Unverified;
            is_verified
                && stored.name == newest
                && (stored.bytes, stored.blake3) == (expected.count(), expected.finalize())
        });
        match report.problems.is_empty() {
            _ if is_copied => Ok(()),
            false => Err(report.problems.swap_remove(0).into()),
            true => Err(RequestError::NotCopied(path.to_owned())),
        }
    }
}

/// A project's key is one component of a path.
fn project_key(key: &str) -> Result<&str, RequestError> {
    let is_one = plain_relative(OsStr::new(key)).is_some_and(|path| path.components().count() == 1);
    let refuse = || RequestError::Key(format!("project_key {key:?}: it must be a name without separators"));
    is_one.then_some(key).ok_or_else(refuse)
}

fn open_to_append(path: &Path) -> Result<File, DurableError> {
    if let Some(parent) = path.parent() {
        Dir::create(parent)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(fs::FILE_MODE);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32);
    let file = fs::open_making_folders(&options, "open", path)?;
    // Its name, where it is new, and those of its folders, which a killed run may have made: the entries in it are
    // acknowledged.
    if fs::stat_of(&file, path)?.st_size == 0
        && let Some(parent) = path.parent().map(Dir::open).transpose()?.flatten()
    {
        parent.sync_way_up()?;
    }
    Ok(file)
}

fn whole(file: &File, bytes: u64, path: &Path) -> Result<Vec<u8>, DurableError> {
    let mut text = vec![0; bytes as usize];
    let came = fs::read_at(file, 0, &mut text, path)?;
    text.truncate(came);
    Ok(text)
}

/// The entries of a file as a JSON array; `None` if it is not there. A line that is damaged is left out, as Claude
/// Code leaves it out.
fn load(path: &Path) -> Result<Option<String>, DurableError> {
    let Some(file) = transcripts::open_regular(path)? else { return Ok(None) };
    let text = whole(&file, fs::stat_of(&file, path)?.st_size as u64, path)?;
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<&RawValue>(line).ok());
    let entries: Vec<&str> = lines.map(RawValue::get).collect();
    Ok(Some(format!("[{}]", entries.join(","))))
}

fn sessions_in(folder: &Path) -> Result<Vec<serde_json::Value>, DurableError> {
    let Some(dir) = Dir::open(folder)? else { return Ok(Vec::new()) };
    let mut sessions = Vec::new();
    for (name, kind) in dir.entries()? {
        if let (FileType::RegularFile, Ok(id)) = (kind, SessionId::of_transcript(Path::new(&name)))
            && let Some(stat) = dir.stat(&name)?
        {
            let mtime_ms = Identity::of(&stat).mtime_ns / 1_000_000;
            sessions.push(serde_json::json!({ "session_id": id.as_str(), "mtime": mtime_ms as u64 }));
        }
    }
    Ok(sessions)
}

fn subkeys_in(side_folder: &Path) -> Result<Vec<String>, DurableError> {
    let mut subkeys = Vec::new();
    if let Some(dir) = Dir::open(side_folder)? {
        dir.walk(Path::new(""), &mut |_, rel, kind| {
            let subkey = rel.to_str().and_then(|rel| rel.strip_suffix(".jsonl"));
            subkeys.extend(subkey.filter(|_| kind == FileType::RegularFile).map(str::to_owned));
            Ok(true)
        })?;
    }
    subkeys.sort();
    Ok(subkeys)
}

fn remove_all(folder: &Path) -> Result<(), DurableError> {
    let Some(dir) = Dir::open(folder)? else { return Ok(()) };
    let mut folders = vec![folder.to_owned()];
    dir.walk(Path::new(""), &mut |_, rel, kind| {
        if kind == FileType::Directory {
            folders.push(folder.join(rel));
        } else {
            fs::remove_file(&folder.join(rel))?;
        }
        Ok(true)
    })?;
    // The deepest first.
    folders.iter().rev().try_for_each(|folder| fs::remove_dir(folder).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of `requests`, an answer a line.
    fn answers(dir: &Path, requests: &[&str]) -> Vec<String> {
        let config = SessionStoreConfig { store: dir.join("store"), dir: dir.join("sdk"), policy: Policy::default() };
        let mut out = Vec::new();
        run(&config, io::Cursor::new(requests.join("\n")), &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    const APPEND: &str = r#"{"id":1,"op":"append","project_key":"p","session_id":"s","entries":[{"type":"x","uuid":"b","n":1.50},{"type":"x","n":18446744073709551616}]}"#;
    const LOAD: &str = r#"{"id":2,"op":"load","project_key":"p","session_id":"s"}"#;
    const SIDE: &str =
        r#"{"op":"append","project_key":"p","session_id":"s","subpath":"subagents/agent-1","entries":[{"type":"y"}]}"#;

    #[test]
    fn what_is_appended_is_loaded_as_it_was_and_is_in_the_store() {
        let temp = tempfile::tempdir().unwrap();
        let came = answers(temp.path(), &[APPEND, SIDE, LOAD]);
        let entries = r#"{"type":"x","uuid":"b","n":1.50},{"type":"x","n":18446744073709551616}"#;
        assert_eq!(came[2], format!(r#"{{"id":2,"result":[{entries}]}}"#));
        let archive = Archive::open(&temp.path().join("store")).unwrap().unwrap();
        let files = archive.files(&archive.sessions().unwrap()[0]).unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["s.jsonl", "s/subagents/agent-1.jsonl"]);
        assert_eq!(files[0].bytes, entries.len() as u64 + 1);
    }

    #[test]
    fn a_subagent_before_its_session_is_in_the_store_too() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(answers(temp.path(), &[SIDE]), [r#"{"id":null,"result":null}"#]);
        let archive = Archive::open(&temp.path().join("store")).unwrap().expect("a store");
        let files = archive.files(&archive.sessions().unwrap()[0]).unwrap();
        assert_eq!(files[0].path, "s/subagents/agent-1.jsonl");
    }

    #[test]
    fn an_entry_that_comes_again_is_kept_once_and_a_torn_line_never_came() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("sdk/projects/p/s.jsonl");
        answers(temp.path(), &[APPEND]);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"{\"torn\":"].concat()).unwrap();
        let again = r#"{"op":"append","project_key":"p","session_id":"s","entries":[{"type":"x","uuid":"b"},{"type":"x","uuid":"c"}]}"#;
        // In the same process and in another one.
        assert_eq!(answers(temp.path(), &[again, again, again]).len(), 3);
        answers(temp.path(), &[again]);
        assert_eq!(std::fs::read(&path).unwrap(), [&whole[..], b"{\"type\":\"x\",\"uuid\":\"c\"}\n"].concat());
    }

    #[test]
    fn an_append_that_could_not_be_copied_changed_nothing() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("store"), "no directory").unwrap();
        let came = answers(temp.path(), &[APPEND, LOAD]);
        assert!(came[0].starts_with(r#"{"id":1,"error":"failed to "#), "{came:?}");
        assert_eq!(came[1], r#"{"id":2,"result":null}"#);
        fs::remove_file(&temp.path().join("store")).unwrap();
        assert_eq!(answers(temp.path(), &[APPEND])[0], r#"{"id":1,"result":null}"#);
    }

    #[test]
    fn an_append_is_answered_by_the_copy_of_its_own_file_whatever_becomes_of_others() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("sdk/projects/p");
        std::fs::create_dir_all(&folder).unwrap();
        // The session's other files cannot be looked at.
        std::os::unix::fs::symlink("s", folder.join("s")).unwrap();
        assert_eq!(answers(temp.path(), &[APPEND])[0], r#"{"id":1,"result":null}"#);
        let copy = std::fs::read(temp.path().join("store/p/s.jsonl")).unwrap();
        assert_eq!(copy, std::fs::read(folder.join("s.jsonl")).unwrap());
        // What no copy is made of is not answered as if there were one.
        assert!(fs::remove_file(&folder.join("s")).unwrap());
        for subpath in ["x.lock/agent-1", ".beside/agent-1"] {
            let (append, load) =
                (SIDE.replace("subagents/agent-1", subpath), LOAD.replace("\"s\"", "\"s\",\"subpath\":\"S\""));
            let came = answers(temp.path(), &[&append, &load.replace("S\"", &format!("{subpath}\""))]);
            assert!(came[0].contains(r#""error":"failed to "#), "{subpath}: {came:?}");
            assert_eq!(came[1], r#"{"id":2,"result":null}"#, "{subpath}");
        }
    }

    #[test]
    fn what_another_program_wrote_is_read_again_however_long_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let config = SessionStoreConfig {
            store: temp.path().join("store"),
            dir: temp.path().join("sdk"),
            policy: Policy::default(),
        };
        let mut store = SessionStore { config: &config, known: HashMap::new() };
        let mut append = |entries: &str| {
            let text = format!(r#"{{"op":"append","project_key":"p","session_id":"s","entries":[{entries}]}}"#);
            store.answer(&serde_json::from_str(&text).unwrap()).unwrap();
        };
        append(r#"{"uuid":"a"}"#);
        let path = temp.path().join("sdk/projects/p/s.jsonl");
        assert!(fs::remove_file(&path).unwrap());
        std::fs::write(&path, "{\"uuid\":\"b\"}\n").unwrap();
        append(r#"{"uuid":"a"},{"uuid":"b"}"#);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"uuid\":\"b\"}\n{\"uuid\":\"a\"}\n");
    }

    #[test]
    fn folders_that_a_killed_run_left_are_synced_before_an_entry_in_them_is_acknowledged() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("sdk/projects/p");
        std::fs::create_dir_all(&folder).unwrap();
        fs::counted::take();
        answers(temp.path(), &[APPEND]);
        let synced = fs::counted::take();
        for above in folder.ancestors().take_while(|above| above.starts_with(temp.path())) {
            assert!(synced.iter().any(|path| path == above), "{}", above.display());
        }
    }

    #[test]
    fn what_is_deleted_is_gone_from_here_and_stays_in_the_store() {
        let temp = tempfile::tempdir().unwrap();
        let delete = r#"{"op":"delete","project_key":"p","session_id":"s"}"#;
        let subkeys = r#"{"op":"list_subkeys","project_key":"p","session_id":"s"}"#;
        let sessions = r#"{"op":"list_sessions","project_key":"p"}"#;
        let came = answers(temp.path(), &[delete, APPEND, SIDE, subkeys, delete, LOAD, subkeys, sessions]);
        let result = |n: usize| came[n].split_once(r#""result":"#).unwrap().1.trim_end_matches('}').to_owned();
        assert_eq!([3, 5, 6, 7].map(result), [r#"["subagents/agent-1"]"#, "null", "[]", "[]"]);
        let archive = Archive::open(&temp.path().join("store")).unwrap().unwrap();
        assert_eq!(archive.files(&archive.sessions().unwrap()[0]).unwrap().len(), 2);
    }

    #[test]
    fn no_key_leads_out_of_the_directory_and_no_request_ends_the_store() {
        let temp = tempfile::tempdir().unwrap();
        let keys = [("..", "s", "a"), ("a/b", "s", "a"), ("", "s", "a"), ("p", "../s", "a"), ("p", "s", "../../x")];
        let mut requests: Vec<String> = vec!["no json".into(), r#"{"op":"other"}"#.into(), String::new()];
        for (project, session, subpath) in keys {
            let key = serde_json::json!({ "op": "append", "project_key": project, "session_id": session,
                "subpath": subpath, "entries": [{ "type": "x" }] });
            requests.push(key.to_string());
        }
        let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
        let came = answers(temp.path(), &requests);
        assert_eq!(came.len(), requests.len());
        assert!(came.iter().all(|answer| answer.contains(r#""error":"failed to "#)), "{came:?}");
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
