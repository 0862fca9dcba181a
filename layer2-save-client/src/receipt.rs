//! Receipts: what the server says that it holds, compared with what layer 1 holds.
//!
//! A job is done only when every file that layer 1 holds of the session, older generations
//! included, is in the receipt with the same length and hash, and marked as covered.

use std::collections::{BTreeMap, BTreeSet};

use layer1_prebackup::wire::offsite::counted;
pub(crate) use layer1_prebackup::wire::outbox_receipt::{FileEntry, RECEIPT_FORMAT, Receipt};
use serde::Deserialize;
use serde_json::Value;

/// What an answer of `session_save` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All that was expected is covered.
    Saved {
        /// The server's folder for the session.
        project: Option<String>,
        /// The server's store.
        store_id: String,
        /// What is covered.
        files: Vec<FileEntry>,
    },
    /// There was nothing to save.
    Skipped {
        /// The server's word.
        reason: String,
    },
    /// Another implementation of `session_save`, accepted on the user's word.
    Unreceipted,
}

/// An answer is not the receipt that settles the job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("verify the {0}")]
pub(crate) struct ReceiptError(String);

fn wrong(what: impl std::fmt::Display) -> ReceiptError {
    ReceiptError(format!("receipt: {what}"))
}

#[derive(Deserialize)]
struct AnsweredFile {
    #[serde(flatten)]
    entry: FileEntry,
    covered: bool,
}

/// Whether `answer` settles the job of `session_id`. `expected` is what layer 1 holds, `None`
/// when it holds nothing: then the answer must list the transcript itself.
pub(crate) fn check(
    answer: &Value,
    session_id: &str,
    expected: Option<&[FileEntry]>,
    accept_unreceipted: bool,
) -> Result<Answer, ReceiptError> {
    if answer.get("skipped").and_then(Value::as_bool) == Some(true) {
        return check_skip(answer, expected.unwrap_or_default());
    }
    let Some(files) = answer.get("files") else {
        let none = "save: the server gave no receipt (--no-receipt accepts such a server)";
        return if accept_unreceipted { Ok(Answer::Unreceipted) } else { Err(ReceiptError(none.to_owned())) };
    };
    let missing = |field: &str| wrong(format!("its {field} is missing or wrong"));
    let text = |field: &str| match answer.get(field).and_then(Value::as_str) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(missing(field)),
    };
    let got = text("session_id")?;
    if got != session_id {
        return Err(wrong(format!("it is for session {got:?}")));
    }
    let store_id = text("store_id")?;
    let listed = Vec::<AnsweredFile>::deserialize(files).map_err(|_malformed| missing("list of files"))?;
    check_files(&listed, session_id, expected)?;
    let project = answer.get("project").and_then(Value::as_str).map(str::to_owned);
    let files = listed.into_iter().filter(|file| file.covered).map(|file| file.entry).collect();
    Ok(Answer::Saved { project, store_id, files })
}

/// Whether everything that layer 1 holds is in a kept receipt.
pub(crate) fn covers(receipt: &Receipt, held: &[FileEntry]) -> bool {
    let covered: BTreeSet<&FileEntry> = receipt.files.iter().collect();
    held.iter().all(|entry| covered.contains(entry))
}

fn check_skip(answer: &Value, expected: &[FileEntry]) -> Result<Answer, ReceiptError> {
    let reason = answer.get("reason").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
    let held = expected.iter().filter(|entry| entry.bytes > 0).count() as u64;
    if held > 0 {
        let held = counted(held, "file");
        let what = format!("the server skipped the session ({reason}) although layer 1 holds {held} of it");
        return Err(wrong(what));
    }
    Ok(Answer::Skipped { reason })
}

fn check_files(listed: &[AnsweredFile], session_id: &str, expected: Option<&[FileEntry]>) -> Result<(), ReceiptError> {
    let mut by_name: BTreeMap<(&str, u32), Vec<&AnsweredFile>> = BTreeMap::new();
    for file in listed {
        by_name.entry((&file.entry.path, file.entry.generation)).or_default().push(file);
    }
    let check = |path: &str, generation: u32, entry: Option<&FileEntry>| {
        let found = by_name.get(&(path, generation)).map(Vec::as_slice).unwrap_or_default();
        let name = format!("{path} (generation {generation})");
        if found.is_empty() {
            return Err(wrong(format!("{name} is not in it")));
        }
        if entry.is_some_and(|entry| found.iter().any(|file| file.entry != *entry)) {
            return Err(wrong(format!("{name} has other bytes in it than layer 1 holds")));
        }
        if found.iter().any(|file| !file.covered) {
            return Err(wrong(format!("the server's copy does not cover {name}")));
        }
        Ok(())
    };
    match expected {
        Some(expected) => expected.iter().try_for_each(|entry| check(&entry.path, entry.generation, Some(entry))),
        None => check(&format!("{session_id}.jsonl"), 0, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(path: &str, generation: u32, bytes: u64) -> FileEntry {
        FileEntry { path: path.into(), generation, bytes, blake3: format!("{bytes:064x}") }
    }

    fn answer(files: &[(&FileEntry, bool)]) -> Value {
        let files: Vec<Value> = files
            .iter()
            .map(|(entry, covered)| {
                let mut file = serde_json::to_value(entry).unwrap();
                file["covered"] = json!(covered);
                file
            })
            .collect();
        json!({"session_id": "a", "project": "p", "store_id": "s", "files": files, "messages_indexed": 1})
    }

    #[test]
    fn all_expected_and_covered_settles_the_job() {
        let expected = [entry("a.jsonl", 0, 10), entry("a.gen-0001.jsonl", 1, 7), entry("a/custom-title.json", 0, 3)];
        let full = answer(&[(&expected[0], true), (&expected[1], true), (&expected[2], true)]);
        let saved = check(&full, "a", Some(&expected), false).unwrap();
        let project = Some("p".into());
        assert_eq!(saved, Answer::Saved { project, store_id: "s".into(), files: expected.to_vec() });
    }

    #[test]
    fn anything_less_does_not() {
        let (transcript, side) = (entry("a.jsonl", 0, 10), entry("a/x", 0, 3));
        let expected = [transcript.clone(), side.clone()];
        let wrong = |answer: &Value| check(answer, "a", Some(&expected), false).unwrap_err().to_string();
        insta::assert_snapshot!(wrong(&answer(&[(&transcript, true)])), @"verify the receipt: a/x (generation 0) is not in it");
        insta::assert_snapshot!(wrong(&answer(&[(&transcript, true), (&side, false)])), @"verify the receipt: the server's copy does not cover a/x (generation 0)");
        let longer = entry("a.jsonl", 0, 11);
        insta::assert_snapshot!(wrong(&answer(&[(&longer, true), (&side, true)])), @"verify the receipt: a.jsonl (generation 0) has other bytes in it than layer 1 holds");
        // The same file twice, once uncovered, is no proof.
        insta::assert_snapshot!(wrong(&answer(&[(&transcript, true), (&side, true), (&side, false)])), @"verify the receipt: the server's copy does not cover a/x (generation 0)");
        let mut other = answer(&[(&transcript, true), (&side, true)]);
        other["session_id"] = json!("b");
        insta::assert_snapshot!(wrong(&other), @r#"verify the receipt: it is for session "b""#);
        other["session_id"] = json!("a");
        other["store_id"] = json!("");
        insta::assert_snapshot!(wrong(&other), @"verify the receipt: its store_id is missing or wrong");
        insta::assert_snapshot!(wrong(&json!({"session_id":"a","store_id":"s","files":[{"path":"a.jsonl"}]})), @"verify the receipt: its list of files is missing or wrong");
        insta::assert_snapshot!(wrong(&json!({"ok":true})), @"verify the save: the server gave no receipt (--no-receipt accepts such a server)");
        insta::assert_snapshot!(wrong(&json!({"skipped":true,"reason":"absent"})), @"verify the receipt: the server skipped the session (absent) although layer 1 holds 2 files of it");
    }

    #[test]
    fn a_wrong_receipt_is_refused_even_with_no_receipt() {
        let transcript = entry("a.jsonl", 0, 10);
        assert!(check(&answer(&[(&transcript, false)]), "a", Some(&[transcript]), true).is_err());
        assert_eq!(check(&json!({"ok": true}), "a", None, true), Ok(Answer::Unreceipted));
    }

    #[test]
    fn without_layer_1_the_answer_must_list_the_transcript() {
        let transcript = entry("a.jsonl", 0, 10);
        assert!(check(&answer(&[(&transcript, true)]), "a", None, false).is_ok());
        assert!(check(&answer(&[(&transcript, false)]), "a", None, false).is_err());
        assert!(check(&answer(&[]), "a", None, false).is_err());
        let skipped = check(&json!({"skipped": true, "reason": "empty"}), "a", None, false);
        assert_eq!(skipped, Ok(Answer::Skipped { reason: "empty".into() }));
    }
}
