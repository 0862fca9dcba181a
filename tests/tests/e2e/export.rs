//! `export` and `show` on the real binary: a file of its own, a pipe that ends early, damage.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::json;
use tests::scratch::{PROJECT, Scratch};
use tests::transcripts::{self, SUBAGENT};

use crate::product::chain_delivered;

fn with_subagent() -> Scratch {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, SUBAGENT);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    scratch
}

#[test]
fn a_page_is_written_to_a_private_file_once() {
    let scratch = with_subagent();
    let page = scratch.beside("page.html");
    let to = page.to_str().expect("a path of text");
    let outcome = scratch.layer3(&["export", SUBAGENT, "-o", to, "--json"]).output().ok();
    let exported = outcome.json()["exported"].clone();
    let text = fs::read_to_string(&page).expect("the page");
    assert!(text.starts_with("<!doctype html>") && text.contains("general-purpose: stub agent"), "{text}");
    assert_eq!(exported["bytes"], json!(text.len()), "{exported:#}");
    assert_eq!((&exported["format"], &exported["subagents"]), (&json!("html"), &json!(1)), "{exported:#}");
    assert_eq!(fs::metadata(&page).expect("the page").permissions().mode() & 0o7777, 0o600);
    let again = scratch.layer3(&["export", SUBAGENT, "-o", to]).output().exits(1);
    assert!(again.stderr.contains("it exists\n  hint: --force replaces it"), "{again:#?}");
    scratch.layer3(&["export", SUBAGENT, "-o", to, "--force", "--format", "md"]).output().ok();
    assert!(fs::read_to_string(&page).expect("the page").starts_with("# "));
}

#[test]
fn what_was_masked_is_counted_on_stderr() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    transcripts::append(&transcript, transcripts::prompt_line(&id, 1, "my key is AKIAIOSFODNN7EXAMPLE"));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let outcome = scratch.layer3(&["export", &id, "--redact"]).output().ok();
    assert!(outcome.text().contains("my key is [masked]") && !outcome.text().contains("AKIA"), "{outcome:#?}");
    assert!(outcome.stderr.contains("secrets masked, by their form; others may be left"), "{outcome:#?}");
    // What goes to standard output is the page; there is no place for an object about it.
    scratch.layer3(&["export", &id, "--json"]).output().exits(1);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    for turn in 0..200 {
        transcripts::append(&transcript, transcripts::prompt_line(&id, turn, &"many words ".repeat(200)));
    }
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let mut child = Command::new(scratch.program("layer3-indexer"))
        .args(["export", &id, "--format", "html"])
        .env_clear()
        .env("HOME", scratch.home())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start layer 3");
    drop(child.stdout.take());
    let outcome = child.wait_with_output().expect("wait for layer 3");
    assert!(outcome.status.success() && outcome.stderr.is_empty(), "{outcome:?}");
}

#[test]
fn damage_is_said_by_show_and_refused_by_export() {
    let scratch = with_subagent();
    let damage = |store: std::path::PathBuf| {
        let path = store.join(PROJECT).join(format!("{SUBAGENT}.jsonl"));
        let mut bytes = fs::read(&path).expect("a copy");
        bytes[100] ^= 1;
        fs::write(&path, bytes).expect("damage the copy");
    };
    damage(scratch.layer3_store());
    let shown = scratch.layer3(&["show", SUBAGENT]).output().ok();
    assert!(shown.text().contains("layer 1's is used"), "{shown:#?}");
    let exported = scratch.layer3(&["export", SUBAGENT]).output().ok();
    assert!(
        exported.stderr.contains("layer 1's is used") && exported.text().contains("layer 1's is used"),
        "{exported:#?}"
    );
    damage(scratch.layer1_store());
    let shown = scratch.layer3(&["show", SUBAGENT]).output().ok();
    assert!(shown.text().contains("THIS COPY IS DAMAGED"), "{shown:#?}");
    let refused = scratch.layer3(&["export", SUBAGENT]).output().exits(1);
    assert!(refused.text().is_empty() && refused.stderr.contains("no other store has those bytes"), "{refused:#?}");
}
