//! Other places than the default ones, by variable, by flag, and by what an event says; and file
//! names and sizes as they come.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde_json::json;
use tests::binaries::{LAYER1, LAYER2};
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{assert_equals_source, assert_saved_twice, difference};
use tests::transcripts::{self, INTERACTIVE};
use tests::tree;

use crate::product::{DELIVERY, assert_verified, await_delivered, chain, chain_delivered, found_in};

/// Stores that are elsewhere, on "another disk".
struct Elsewhere {
    layer1: PathBuf,
    layer3: PathBuf,
    index: PathBuf,
}

fn elsewhere(scratch: &Scratch) -> Elsewhere {
    let disk = scratch.beside("other disk's mount");
    Elsewhere { layer1: disk.join("pre"), layer3: disk.join("backup"), index: disk.join("index/sessions.db") }
}

impl Elsewhere {
    #[track_caller]
    fn assert_used(&self, scratch: &Scratch, transcript: &std::path::Path) {
        scratch.await_no_process(DELIVERY);
        for store in [&self.layer1, &self.layer3] {
            assert_equals_source(store, PROJECT, transcript);
        }
        assert!(self.index.exists());
        assert!(!self.layer3.join("sessions.db").exists());
        for default in [scratch.layer1_store(), scratch.layer3_store()] {
            assert!(!default.exists(), "{}", default.display());
        }
    }
}

#[test]
fn variables_move_the_stores() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let places = elsewhere(&scratch);
    scratch
        .hook(&scratch.chain_command(""), &transcripts::session_end(&transcript))
        .env("PRE_BACKUP_DIR", &places.layer1)
        .env("BACKUP_DIR", &places.layer3)
        .env("SESSION_DB_PATH", &places.index)
        .output()
        .ok()
        .silent()
        .unworried();
    places.assert_used(&scratch, &transcript);
}

#[test]
fn flags_move_the_stores_as_the_installer_writes_them() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let places = elsewhere(&scratch);
    let quoted = |path: &PathBuf| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let flags = format!(
        "--pre-backup-dir {} --backup-dir {} --session-db {}",
        quoted(&places.layer1),
        quoted(&places.layer3),
        quoted(&places.index)
    );
    let (layer1, layer2) = (scratch.program(LAYER1), scratch.program(LAYER2));
    let chain = format!("{{ '{}' {flags} || cat; }} | '{}' {flags} || :", layer1.display(), layer2.display());
    scratch.hook(&chain, &transcripts::session_end(&transcript)).output().ok().silent().unworried();
    places.assert_used(&scratch, &transcript);

    transcripts::append(&transcript, transcripts::prompt_line(INTERACTIVE, 5, "and on"));
    let start = format!("'{}' sweep --quiet {flags}; '{}' drain {flags} || :", layer1.display(), layer2.display());
    scratch.hook(&start, &transcripts::event("SessionStart", &transcript, json!({}))).output().ok().silent();
    places.assert_used(&scratch, &transcript);
}

#[test]
fn a_configuration_directory_elsewhere_is_derived_from_the_event() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.home().join(format!("config/claude-work/projects/-home-dev-proj/{id}.jsonl"));
    transcripts::append(&transcript, transcripts::prompt_line(&id, 1, "the tapir swims"));
    transcripts::append(&transcript.with_extension("").join("custom-title.json"), "{}");
    chain(&scratch, &transcripts::session_end(&transcript)).unworried();
    await_delivered(&scratch);
    assert_saved_twice(&scratch, &transcript);
    assert_eq!(found_in(&scratch, "tapir"), [id.as_str()]);
}

#[test]
fn side_files_with_any_name_are_saved_and_receipted() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    let sides = transcript.with_extension("");
    for name in ["sesión.txt", "100%.txt", "%41", "new\nline", "back\\slash", " leading and trailing ", "-rf", "a'b\"c"]
    {
        transcripts::append(&sides.join("tool-results").join(name), name);
    }
    transcripts::append(&sides.join("tool-results").join(OsStr::from_bytes(b"\xff\xfe raw")), "raw");
    transcripts::append(&sides.join(".hidden/file"), "hidden");
    transcripts::append(&sides.join("empty"), "");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
    fs::remove_dir_all(scratch.layer3_store()).expect("lose the store");
    crate::product::drain(&scratch);
    assert_saved_twice(&scratch, &transcript);
}

#[test]
fn a_line_of_thirteen_million_characters_is_saved_and_found() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 2);
    transcripts::append(&transcript, transcripts::prompt_line(&id, 10, &"lorem ipsum ".repeat(1_080_000)));
    transcripts::append(&transcript, transcripts::prompt_line(&id, 11, "the caracal after it"));
    chain(&scratch, &transcripts::session_end(&transcript));
    await_delivered(&scratch);
    assert_saved_twice(&scratch, &transcript);
    assert_eq!(found_in(&scratch, "caracal"), [id.as_str()]);
    assert_verified(&scratch);
}

#[test]
fn many_side_files_are_saved_within_the_hooks_limits() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    for n in 0..400 {
        transcripts::append(
            &transcript.with_extension("").join(format!("tool-results/toolu_{n:05}.txt")),
            n.to_string(),
        );
    }
    let whole = || difference(&scratch.layer1_store(), PROJECT, &transcript).is_none();
    // On a slow disk one event is not enough: layer 1 stops after 5 s and goes on at the next.
    let events = (1..=20).find(|_| {
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        whole()
    });
    println!("{events:?} events");
    assert_saved_twice(&scratch, &transcript);
}

#[test]
fn projects_are_named_after_the_first_directory_of_the_conversation() {
    let scratch = Scratch::new();
    for (n, (cwd, project)) in [
        (r"C:\Users\dev\my app", "my app"),
        ("/home/dev/.dotfiles", "_dotfiles"),
        ("/", "unknown"),
        ("/home/dev/sesión", "sesión"),
        ("/home/dev/nul", "nul_"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = transcripts::made_id(n as u32);
        let transcript = scratch.transcript(&id);
        let quoted = serde_json::to_string(cwd).expect("JSON");
        transcripts::append(&transcript, transcripts::prompt_line(&id, 1, "x").replace("\"/home/dev/proj\"", &quoted));
        // The event's directory is another by then.
        chain(&scratch, &transcripts::event("SessionEnd", &transcript, json!({"cwd": "/home/dev/elsewhere"})));
        await_delivered(&scratch);
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            assert_equals_source(&store, project, &transcript);
            assert!(!tree::session_files(&store).iter().any(|path| path.starts_with("elsewhere")));
        }
    }
}
