//! Sentences: of the sessions of [`commits`], what a person would paste to find its place again. Each stands in one
//! session only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::commits;
use super::types::{Measure, Question};

/// So many are asked, halves included, and of one session at most so many.
const ASKED: usize = 500;
const OF_SESSION_MAX: usize = 4;
/// Words and bytes of a sentence.
const WORDS_MIN: usize = 6;
const BYTES_MAX: usize = 200;

pub(super) fn lay_out(git_dir: &Path, projects: &Path) -> io::Result<Measure> {
    commits::lay_out(git_dir, projects)?;
    // Of each sentence the sessions in which it stands, and whether a person or the model said it there.
    let mut sentences: BTreeMap<String, (BTreeSet<String>, bool)> = BTreeMap::new();
    for project in fs::read_dir(projects)? {
        for transcript in fs::read_dir(project?.path())? {
            let transcript = transcript?.path();
            let id = transcript.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            for line in fs::read(&transcript)?.split(|byte| *byte == b'\n') {
                let Ok(record) = serde_json::from_slice::<Value>(line) else { continue };
                let mut note = |text: &str, is_said: bool| {
                    for sentence in sentences_of(text) {
                        let known = sentences.entry(sentence.to_owned()).or_default();
                        known.0.insert(id.clone());
                        known.1 |= is_said;
                    }
                };
                each_string(&record, &mut |text| note(text, false));
                said(&record).into_iter().for_each(|text| note(text, true));
            }
        }
    }
    let mut of_one: Vec<(blake3::Hash, String, BTreeSet<String>)> = sentences
        .into_iter()
        .filter(|(_, (sessions, is_said))| sessions.len() == 1 && *is_said)
        .map(|(text, (sessions, _))| (blake3::hash(text.as_bytes()), text, sessions))
        .collect();
    of_one.sort_by_key(|(hash, ..)| *hash.as_bytes());
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    of_one.retain(|(_, _, sessions)| {
        let of_session = asked.entry(sessions.first().cloned().unwrap_or_default()).or_default();
        *of_session += 1;
        *of_session <= OF_SESSION_MAX
    });
    of_one.truncate(ASKED);
    let question = |(_, text, expects)| Question { text, project: None, expects, is_not_verbatim: false };
    Ok(Measure { name: "sentences", questions: of_one.into_iter().map(question).collect() })
}

/// What a person or the model says in a record.
fn said(record: &Value) -> Vec<&str> {
    if !matches!(record["type"].as_str(), Some("user" | "assistant")) {
        return Vec::new();
    }
    let content = &record["message"]["content"];
    let blocks = content.as_array().into_iter().flatten().filter(|block| block["type"] == "text");
    content.as_str().into_iter().chain(blocks.filter_map(|block| block["text"].as_str())).collect()
}

fn each_string(value: &Value, each: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(all) => all.iter().for_each(|value| each_string(value, each)),
        Value::Object(all) => all.values().for_each(|value| each_string(value, each)),
        _ => {}
    }
}

/// Whole sentences of prose: from a capital letter to a full stop on one line.
fn sentences_of(text: &str) -> impl Iterator<Item = &str> {
    let is_sentence = |sentence: &&str| {
        sentence.starts_with(|first: char| first.is_uppercase())
            && sentence.ends_with(['.', '!', '?', ':'])
            && sentence.len() <= BYTES_MAX
            && sentence.split_whitespace().count() >= WORDS_MIN
    };
    let parts = text.lines().flat_map(|line| line.split_inclusive(['.', '!', '?', ':']));
    parts.map(str::trim).filter(is_sentence)
}
