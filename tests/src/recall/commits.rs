//! Commits (`entireio/cli`, MIT): its real sessions of Claude Code are kept on a branch of their own, and the commits that were
//! made in them name the checkpoint that names the session. The subject of a commit is the question.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::git;
use super::types::{Measure, Question};

const SESSIONS: &str = "refs/heads/entire/checkpoints/v1";
const PROJECT: &str = "-w-cli";
/// Words of a subject from which on it is a question.
const WORDS_MIN: usize = 3;

pub(super) fn lay_out(git_dir: &Path, projects: &Path) -> io::Result<Measure> {
    let tree = text_of(git::output(git_dir, &["ls-tree", "-r", SESSIONS])?);
    let mut objects: BTreeMap<&str, &str> = BTreeMap::new();
    for line in tree.lines() {
        if let Some((about, path)) = line.split_once('\t')
            && let Some(object) = about.split(' ').nth(2)
        {
            objects.insert(path, object);
        }
    }
    let metadata: Vec<&str> = objects
        .keys()
        .copied()
        .filter(|path| path.ends_with("/metadata.json") && path.split('/').count() == 4)
        .collect();
    let names: Vec<String> = metadata.iter().map(|path| objects[path].to_owned()).collect();
    let (mut of_checkpoint, mut transcripts) = (BTreeMap::<String, BTreeSet<String>>::new(), Vec::new());
    git::each_blob(git_dir, &names, &mut |n, bytes| {
        let Some(id) = bytes.and_then(|bytes| session_of(&bytes)) else { return Ok(()) };
        let parts: Vec<&str> = metadata[n].split('/').collect();
        of_checkpoint.entry(parts[..2].concat()).or_default().insert(id.clone());
        let transcript = format!("{}/full.jsonl", parts[..3].join("/"));
        transcripts.extend(objects.get(transcript.as_str()).map(|object| (id, (*object).to_owned())));
        Ok(())
    })?;
    let folder = projects.join(PROJECT);
    fs::create_dir_all(&folder)?;
    let names: Vec<String> = transcripts.iter().map(|(_, object)| object.clone()).collect();
    let mut longest: BTreeMap<&str, usize> = BTreeMap::new();
    git::each_blob(git_dir, &names, &mut |n, bytes| {
        let id = transcripts[n].0.as_str();
        match bytes.filter(|bytes| is_of_claude(bytes) && bytes.len() > longest.get(id).copied().unwrap_or(0)) {
            Some(bytes) => {
                longest.insert(id, bytes.len());
                fs::write(folder.join(format!("{id}.jsonl")), bytes)
            }
            None => Ok(()),
        }
    })?;
    let log =
        git::output(git_dir, &["log", "--all", "--format=%x1e%s%x1f%(trailers:key=Entire-Checkpoint,valueonly)"])?;
    let mut subjects: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for commit in text_of(log).split('\x1e') {
        let Some((subject, checkpoints)) = commit.split_once('\x1f') else { continue };
        let sessions = checkpoints.split_whitespace().filter_map(|checkpoint| of_checkpoint.get(checkpoint)).flatten();
        let sessions: Vec<String> = sessions.filter(|id| longest.contains_key(id.as_str())).cloned().collect();
        if !sessions.is_empty() && subject.split_whitespace().count() >= WORDS_MIN && !subject.starts_with("Merge ") {
            subjects.entry(subject.to_owned()).or_default().extend(sessions);
        }
    }
    let questions = subjects.into_iter().map(|(text, expects)| {
        let is_not_verbatim = !expects.iter().any(|id| stands_in(&folder.join(format!("{id}.jsonl")), &text));
        Question { text, project: None, expects, is_not_verbatim }
    });
    Ok(Measure { name: "commits", questions: questions.collect() })
}

/// The session's id; some are written behind a date.
fn session_of(metadata: &[u8]) -> Option<String> {
    let metadata: Value = serde_json::from_slice(metadata).ok()?;
    let id = metadata["session_id"].as_str()?;
    let is_uuid = |id: &str| id.len() == 36 && id.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let uuid = id.len().checked_sub(36).and_then(|at| id.get(at..))?;
    is_uuid(uuid).then(|| uuid.to_owned())
}

/// Other agents' sessions lie among them, as one JSON object of several lines.
fn is_of_claude(transcript: &[u8]) -> bool {
    !transcript.starts_with(b"{\n")
        && (memmem(transcript, b"\"type\":\"user\"") || memmem(transcript, b"\"type\":\"assistant\""))
}

fn stands_in(transcript: &Path, subject: &str) -> bool {
    let text = fs::read(transcript).unwrap_or_default().to_ascii_lowercase();
    let as_json = Value::from(subject.to_ascii_lowercase()).to_string();
    memmem(&text, as_json.trim_matches('"').as_bytes())
}

fn memmem(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
