//! What readers are given of text that others wrote, on the real binaries: people at a terminal, and models.

use std::fs;

use layer1_prebackup::wire::shown::is_hidden;
use serde_json::json;
use tests::scratch::Scratch;
use tests::transcripts;

use crate::product::chain;

/// Sets a terminal's title, clears its screen, turns text around, hides words.
const HOSTILE: &str = "a\u{1b}]0;t\u{7}\u{9b}2J\u{202e}\u{200b}\u{e0041}\u{200f}\u{fe01}\rb";

#[track_caller]
fn nothing_is_hidden(what: &str, text: &str) {
    let mut before = None;
    for c in text.chars() {
        assert!(!is_hidden(before, c), "{what}: {c:?} behind {before:?} in {text:?}");
        before = Some(c);
    }
}

#[test]
fn no_program_hands_a_terminal_what_steers_it_or_cannot_be_seen() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    let of_anybody =
        json!({"gitBranch": HOSTILE, "cwd": format!("/w/{HOSTILE}"), "version": HOSTILE, "model": HOSTILE});
    for line in [
        json!({"type": "user", "uuid": "u1", "message": {"role": "user", "content": HOSTILE}}),
        json!({"type": "assistant", "uuid": "u2", "message": {"role": "assistant", "content": [
            {"type": "text", "text": HOSTILE}, {"type": "tool_use", "id": "t", "name": HOSTILE, "input": {HOSTILE: HOSTILE, "file_path": HOSTILE}}]}}),
        json!({"type": "user", "uuid": "u3", "message": {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": HOSTILE, "is_error": true}]}}),
        json!({"type": HOSTILE, "uuid": "u4", "content": HOSTILE}),
        json!({"type": "custom-title", "customTitle": HOSTILE}),
    ] {
        let mut line = line;
        line.as_object_mut().unwrap().extend(of_anybody.as_object().unwrap().clone());
        line["timestamp"] = json!("2026-11-22T10:00:00.000Z");
        transcripts::append(&transcript, format!("{line}\n"));
    }
    // Escapes in the names of side files, and of what is no conversation.
    let name = "n\u{1b}[31m\u{202e}\n.jsonl";
    fs::create_dir_all(transcript.with_extension("").join("subagents")).unwrap();
    fs::write(transcript.with_extension("").join("subagents").join(name), "{}\n").unwrap();
    fs::write(transcript.with_file_name(name), "{}\n").unwrap();
    chain(&scratch, &transcripts::session_end(&transcript));
    scratch.layer1(&["sweep"]).output();
    scratch.layer3(&["import"]).output();
    // A copy that verify has something to say of, and a job that anybody may have written.
    let outbox = scratch.layer1_store().join(".outbox");
    fs::create_dir_all(&outbox).unwrap();
    let job = json!({"format": 1, "seq": 1, "session_id": HOSTILE, "project": HOSTILE, "transcript_path": HOSTILE,
        "claude_dir": HOSTILE, "cwd": HOSTILE, "trigger": HOSTILE, "created_ms": 1, "updated_ms": 1, "attempts": 3,
        "last_error": HOSTILE, "failed": {"reason": HOSTILE, "content": "x", "server": HOSTILE}});
    fs::write(outbox.join("x@y.json"), job.to_string()).unwrap();
    fs::write(outbox.join(name), "").unwrap();
    let copies = fs::read_dir(scratch.layer1_store())
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join(&id).join("subagents").join(name));
    copies.filter(|copy| copy.exists()).for_each(|copy| fs::write(copy, "damaged").unwrap());

    let layer1: [&[&str]; 5] = [&["status"], &["verify"], &["history", &id], &["history", HOSTILE], &[HOSTILE]];
    let layer2: [&[&str]; 4] = [&["pending"], &["dismiss", HOSTILE], &["drain"], &["pending", HOSTILE]];
    let layer3: [&[&str]; 14] = [
        &["list", "--all"],
        &["show", &id],
        &["show", &id, "--full"],
        &["search", "--all", "b"],
        &["verify"],
        &["status"],
        &["doctor"],
        &["export", &id],
        &["why", HOSTILE],
        &["fix", HOSTILE],
        &["restore", "--dry-run", &id],
        &["show", HOSTILE],
        &["prune", "--dry-run", "--all"],
        &["search", "--all", HOSTILE],
    ];
    for json in [false, true] {
        let more: &[&str] = if json { &["--json"] } else { &[] };
        for (program, verbs) in
            [("layer1-prebackup", &layer1[..]), ("layer2-save-client", &layer2[..]), ("layer3-indexer", &layer3[..])]
        {
            for verb in verbs {
                let args: Vec<&str> = verb.iter().chain(more).copied().collect();
                let done = scratch.run(program, &args).output();
                nothing_is_hidden(&format!("{program} {args:?}"), &String::from_utf8(done.stdout).unwrap());
                nothing_is_hidden(&format!("{program} {args:?} (stderr)"), &done.stderr);
            }
        }
    }
    for layer in 1..=3 {
        nothing_is_hidden("a log", &scratch.log(layer));
    }
}
