//! Stores of other versions: the first one's are taken over byte for byte, a newer one's are not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};
use tests::run::Outcome;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::files_of_both;
use tests::transcripts::{self, answer_line, made_id, prompt_line};
use tests::tree::{self, Entry};

use crate::product::{chain_delivered, drain, found_in, pending, session_ids, sessions};

/// One conversation each, told apart by a word.
const IN_BOTH: u32 = 1;
const TWICE: u32 = 2;
const UNDER_TOOL_EVENTS: u32 = 3;
const IN_LAYER1_ALONE: u32 = 4;
const GONE: u32 = 5;

fn conversation(n: u32, word: &str) -> String {
    let id = made_id(n);
    prompt_line(&id, n, &format!("tell me about {word}")) + &answer_line(&id, n, &format!("{word} is what it is"))
}

fn tool_events() -> String {
    let event = |tool: &str| json!({"timestamp": "2026-02-03T10:00:00Z", "tool": tool, "input": {"file": "/p/a.rs"}});
    format!("{}\n{}\n", event("Edit"), event("Read"))
}

fn old_metadata(n: u32, project: &str) -> String {
    let metadata = json!({
        "session_id": made_id(n),
        "project": project,
        "timestamp_start": "2026-02-03T10:00:00Z",
        "timestamp_end": "2026-02-03T11:00:00Z",
        "git_branch": "main",
        "edited_files": ["a.rs"],
        "read_files": [],
        "bash_commands": [],
        "tool_counts": "Edit: 15, Read: 10",
        "first_topic": "tell me",
        "last_topic": "tell me",
    });
    serde_json::to_string_pretty(&metadata).expect("metadata is JSON")
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("make a folder");
    fs::write(path, text).expect("write a file of the first version");
}

/// Both stores as the first version left them.
fn old_stores(scratch: &Scratch) {
    let (layer1, layer3) = (scratch.layer1_store(), scratch.layer3_store());
    let jsonl = |n: u32| format!("{}.jsonl", made_id(n));
    for (n, project, word) in [
        (IN_BOTH, PROJECT, "albatross"),
        (TWICE, PROJECT, "bittern"),
        (TWICE, "elsewhere", "curlew"),
        (GONE, PROJECT, "egret"),
    ] {
        write(&layer3.join(project).join(jsonl(n)), conversation(n, word));
        write(&layer3.join(project).join(format!("{}.json", made_id(n))), old_metadata(n, project));
    }
    write(&layer3.join(PROJECT).join(jsonl(UNDER_TOOL_EVENTS)), tool_events());
    write(
        &layer3.join(PROJECT).join(jsonl(UNDER_TOOL_EVENTS) + ".official"),
        conversation(UNDER_TOOL_EVENTS, "dunlin"),
    );
    write(&layer3.join(PROJECT).join("current-session.jsonl"), tool_events() + &tool_events());
    write(&layer1.join(PROJECT).join(jsonl(IN_BOTH)), conversation(IN_BOTH, "albatross"));
    write(&layer1.join(PROJECT).join(jsonl(IN_LAYER1_ALONE)), conversation(IN_LAYER1_ALONE, "fulmar"));
    old_index(&scratch.index());
}

fn old_index(path: &Path) {
    let index = Connection::open(path).expect("make the old index");
    let tables = "
        CREATE VIRTUAL TABLE sessions_fts USING fts5(session_id UNINDEXED, project UNINDEXED, timestamp,
            git_branch, content, files, tokenize='porter unicode61');
        CREATE TABLE backups (id INTEGER PRIMARY KEY, project TEXT, path TEXT, created TEXT);
        INSERT INTO backups (project, path, created) VALUES ('proj', '/p', '2026-02-03');
        INSERT INTO sessions_fts VALUES ('x', 'proj', '2026-02-03', 'main', 'tell me about albatross', 'a.rs');";
    index.execute_batch(tables).expect("fill the old index");
}

/// Asserts that all these bytes are somewhere in the stores, under whatever name.
#[track_caller]
fn assert_nothing_lost(scratch: &Scratch, before: &BTreeMap<PathBuf, blake3::Hash>, after_what: &str) {
    let now: BTreeSet<[u8; 32]> = files_of_both(scratch).into_values().map(<[u8; 32]>::from).collect();
    for (path, hash) in before {
        assert!(now.contains(hash.as_bytes()), "{after_what}: the bytes of {} are gone", path.display());
    }
}

/// All that a path of a store or Claude Code's directory says, modes and lengths included.
fn everything(scratch: &Scratch) -> Vec<(PathBuf, Entry)> {
    tree::all(&scratch.home()).into_iter().collect()
}

#[test]
fn every_command_takes_a_store_of_the_first_version_over_as_it_is() {
    let egret = made_id(GONE);
    let commands: [&[&str]; 9] = [
        &["list", "--all"],
        &["search", "--all", "dunlin"],
        &["export", &egret],
        &["show", &egret],
        &["restore", &egret],
        &["verify"],
        &["rebuild"],
        &["import"],
        &["verify", "--repair"],
    ];
    for command in commands {
        let scratch = Scratch::new();
        old_stores(&scratch);
        let before = files_of_both(&scratch);
        scratch.layer3(command).output().ok();
        assert_nothing_lost(&scratch, &before, &command.join(" "));
        for word in ["albatross", "bittern", "curlew", "dunlin", "egret"] {
            assert_eq!(found_in(&scratch, word).len(), 1, "{command:?}: {word}");
        }
        assert_nothing_lost(&scratch, &before, &command.join(" "));
        scratch.layer3(&["verify"]).output().ok();
    }
}

#[test]
fn the_first_versions_sessions_are_listed_restored_and_kept_up_to_date() {
    let scratch = Scratch::new();
    old_stores(&scratch);
    let before = files_of_both(&scratch);

    scratch.layer3(&["import"]).output().ok();
    let listed: Vec<(String, String)> =
        sessions(&scratch).iter().map(|session| (text(session, "project"), text(session, "session_id"))).collect();
    for (project, n) in [
        (PROJECT, IN_BOTH),
        (PROJECT, TWICE),
        ("elsewhere", TWICE),
        (PROJECT, UNDER_TOOL_EVENTS),
        (PROJECT, IN_LAYER1_ALONE),
        (PROJECT, GONE),
    ] {
        assert!(listed.contains(&(project.to_owned(), made_id(n))), "{project} {n}: {listed:?}");
    }
    assert_eq!(found_in(&scratch, "fulmar"), [made_id(IN_LAYER1_ALONE)], "what layer 1 alone had is in layer 3 too");
    assert_nothing_lost(&scratch, &before, "import");

    // The conversation that lay under another name, and one of the two of one id.
    for (named, n, word) in [
        (made_id(UNDER_TOOL_EVENTS), UNDER_TOOL_EVENTS, "dunlin"),
        (format!("elsewhere/{}", made_id(TWICE)), TWICE, "curlew"),
    ] {
        scratch.layer3(&["restore", &named]).output().ok();
        let restored = fs::read_to_string(scratch.transcript(&made_id(n))).expect("it is restored");
        assert_eq!(restored, conversation(n, word));
    }

    // A session goes on: its copies grow, and nothing else of the old stores changes.
    let transcript = scratch.transcript(&made_id(IN_BOTH));
    transcripts::append(&transcript, conversation(IN_BOTH, "albatross"));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_nothing_lost(&scratch, &before, "a session that goes on");
    transcripts::append(&transcript, prompt_line(&made_id(IN_BOTH), 77, "and about the guillemot"));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_eq!(found_in(&scratch, "guillemot"), [made_id(IN_BOTH)]);
    let grown = before.into_iter().filter(|(path, _)| path.file_stem() != transcript.file_stem()).collect();
    assert_nothing_lost(&scratch, &grown, "a session that grew");
    // As at the next start: what the second copy alone had is in the first one too.
    drain(&scratch);
    assert_nothing_lost(&scratch, &grown, "a start");

    scratch.layer3(&["verify"]).output().ok();
    // Layer 1 has no index and no metadata to know the first version by: layer 3's copies prove its own.
    scratch.layer1(&["verify", "--repair"]).output().ok();
    scratch.layer1(&["verify"]).output().ok();
    scratch.layer3(&["status"]).output();
}

#[test]
fn a_hook_on_old_stores_copies_and_loses_nothing() {
    let scratch = Scratch::new();
    old_stores(&scratch);
    let before = files_of_both(&scratch);
    let transcript = scratch.transcript(&made_id(IN_BOTH));
    transcripts::append(
        &transcript,
        "{\"type\":\"user\",\"cwd\":\"/home/dev/proj\",\"message\":{\"role\":\"user\",\"content\":\"rewritten\"}}\n",
    );
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    drain(&scratch);
    assert_nothing_lost(&scratch, &before, "a transcript that has other bytes now");
    assert_eq!(found_in(&scratch, "rewritten"), [made_id(IN_BOTH)]);
    assert_eq!(found_in(&scratch, "albatross"), [made_id(IN_BOTH)], "as an older content");
    assert_eq!(session_ids(&scratch).iter().filter(|id| **id == made_id(TWICE)).count(), 2);
}

#[test]
fn a_status_and_a_dry_run_show_an_old_store_and_write_nothing() {
    let scratch = Scratch::new();
    old_stores(&scratch);
    let before = everything(&scratch);
    let status = scratch.layer1(&["status"]).output().ok();
    assert!(status.text().contains("sessions     2"), "{status:#?}");
    let status = scratch.layer3(&["status"]).output();
    assert!(status.text().contains("without bookkeeping"), "{status:#?}");
    let dry = scratch.layer3(&["restore", "--dry-run", &made_id(GONE)]).output().ok();
    assert!(dry.text().contains("Would restore"), "{dry:#?}");
    let dry = scratch.layer3(&["restore", "--all-missing", "--dry-run"]).output();
    assert!(dry.text().contains(&made_id(GONE)), "{dry:#?}");
    scratch.layer1(&["history", &made_id(IN_BOTH)]).output().ok();
    scratch.layer1(&["verify"]).output().exits(1);
    assert_eq!(everything(&scratch), before);
}

#[test]
fn an_index_of_an_older_version_is_set_aside_and_made_again() {
    let scratch = Scratch::new();
    saved(&scratch);
    set_version(&scratch.index(), 1);
    assert_eq!(found_in(&scratch, "gannet"), [made_id(IN_BOTH)]);
    let names = tree::visible_files(&scratch.layer3_store());
    assert!(names.iter().any(|name| name.starts_with("sessions.db.set-aside-")), "{names:?}");
    scratch.layer3(&["verify"]).output().ok();
}

/// A session saved by this version in both stores, its index at rest.
fn saved(scratch: &Scratch) -> PathBuf {
    let transcript = scratch.transcript(&made_id(IN_BOTH));
    transcripts::append(&transcript, conversation(IN_BOTH, "gannet"));
    chain_delivered(scratch, &transcripts::session_end(&transcript));
    transcript
}

/// Big-endian, at byte 60 of the database's header.
fn set_version(index: &Path, version: i32) {
    let mut bytes = fs::read(index).expect("read the index");
    bytes[60..64].copy_from_slice(&version.to_be_bytes());
    fs::write(index, bytes).expect("write the index");
}

/// Asserts that the run refused in words that name the cure.
#[track_caller]
fn refuses(outcome: &Outcome, what: &str) {
    assert!(outcome.stderr.contains("update"), "{what}: {outcome:#?}");
    assert_eq!(outcome.stderr.lines().filter(|line| line.contains("newer")).count(), 1, "{what}: {outcome:#?}");
}

/// Bytes of both stores as they are; SQLite's shared memory is no content.
fn untouched(scratch: &Scratch) -> Vec<(PathBuf, Entry)> {
    let mut all = everything(scratch);
    all.retain(|(path, _)| !path.to_string_lossy().ends_with("sessions.db-shm"));
    all
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_not_a_byte_of_it_changes() {
    // As a newer version may write it: other fields, other types, longer.
    let long = " ".repeat(9000);
    for store_json in [
        "{\"format\":3,\"store_id\":\"a\"}\n".to_owned(),
        format!("{{\"format\":7,{long}\"store_id\":{{\"name\":1}}}}\n"),
    ] {
        let scratch = Scratch::new();
        let transcript = saved(&scratch);
        transcripts::append(&transcript, prompt_line(&made_id(IN_BOTH), 9, "one more"));
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            fs::write(store.join(".state/store.json"), &store_json).expect("write a newer store's file");
        }
        let before = untouched(&scratch);

        let event = transcripts::session_end(&transcript);
        let hook = scratch.hook(&scratch.chain_command(""), &event).output().ok().silent();
        assert!(hook.stderr.contains("update Threefold"), "{hook:#?}");
        let stop = transcripts::event("Stop", &transcript, json!({}));
        let turn = scratch.hook(&scratch.turn_command(), &stop).output().ok();
        assert!(turn.text().contains("systemMessage") && turn.text().contains("update Threefold"), "{turn:#?}");
        refuses(&scratch.layer2(&["drain"]).output().ok().silent(), "drain");
        refuses(
            &scratch.layer2(&["--foreground"]).stdin(format!("{event}\n")).output().ok().silent(),
            "layer 2's hook",
        );
        refuses(&scratch.layer2(&["pending"]).output().exits(1), "pending");
        let id = made_id(IN_BOTH);
        for command in [&["sweep"][..], &["status"], &["verify"], &["verify", "--repair"], &["history", &id]] {
            refuses(&scratch.layer1(command).output().exits(1), &command.join(" "));
        }
        let path = transcript.to_str().expect("UTF-8");
        for command in [
            &["save", "--transcript", path][..],
            &["import"],
            &["search", "--all", "gannet"],
            &["list", "--all"],
            &["show", &id],
            &["export", &id],
            &["verify"],
            &["verify", "--repair"],
            &["rebuild"],
        ] {
            refuses(&scratch.layer3(command).output().exits(1), &command.join(" "));
        }
        for command in [&["restore", "--dry-run", &id][..], &["restore", &id]] {
            let outcome = scratch.layer3(command).output().exits(1);
            assert!(outcome.stderr.contains("update"), "{outcome:#?}");
        }
        let status = scratch.layer3(&["status"]).output().exits(1);
        assert!(status.text().contains("update Threefold"), "{status:#?}");
        scratch.await_no_process(crate::product::DELIVERY);
        assert_eq!(untouched(&scratch), before, "{store_json}");
    }
}

#[test]
fn an_index_of_a_newer_version_is_left_alone_while_copies_go_on() {
    let scratch = Scratch::new();
    let transcript = saved(&scratch);
    set_version(&scratch.index(), 1000);
    let beside = |name: &str| fs::read(scratch.layer3_store().join(name)).ok();
    let index = || ["sessions.db", "sessions.db-wal", "sessions.db-sums"].map(beside);
    let before = index();
    let id = made_id(IN_BOTH);
    for command in [&["search", "--all", "gannet"][..], &["list", "--all"], &["rebuild"]] {
        let outcome = scratch.layer3(command).output().exits(1);
        assert!(
            outcome.stderr.contains("newer Threefold") && outcome.stderr.contains("SESSION_DB_PATH"),
            "{outcome:#?}"
        );
    }
    for command in [&["verify"][..], &["verify", "--repair"], &["status"]] {
        let outcome = scratch.layer3(command).output().exits(1);
        assert!(outcome.text().contains("newer Threefold"), "{outcome:#?}");
    }
    for command in [&["show", &id][..], &["export", &id], &["import"]] {
        scratch.layer3(command).output().ok();
    }
    transcripts::append(&transcript, prompt_line(&id, 9, "one more"));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    tests::stores::assert_saved_twice(&scratch, &transcript);
    assert!(scratch.log(3).contains("newer Threefold"), "{}", scratch.log(3));
    assert_eq!(index(), before);
    let names = tree::visible_files(&scratch.layer3_store());
    assert!(!names.iter().any(|name| name.contains("set-aside")), "{names:?}");
}

#[test]
fn a_job_and_a_receipt_of_a_newer_version_are_left_aside() {
    let scratch = Scratch::new();
    let transcript = saved(&scratch);
    let outbox = scratch.layer1_store().join(".outbox");
    let name = format!("{}@{PROJECT}.json", made_id(IN_BOTH));
    let newer = "{\"format\":2,\"what\":[\"another\",\"form\"]}\n";
    let (job, receipt) = (outbox.join(&name), outbox.join("receipts").join(&name));
    assert!(receipt.exists(), "{receipt:?}");
    let both = || [fs::read_to_string(&job).ok(), fs::read_to_string(&receipt).ok()];
    let newer = || Some(newer.to_owned());

    // The receipt alone: the delivery is made, and the job waits for whoever knows the receipt.
    fs::write(&receipt, newer().expect("just made")).expect("write a newer receipt");
    scratch.layer2(&["drain"]).output().ok();
    assert_eq!(both(), [None, newer()], "nothing is asked for that a newer version may have");
    let event = transcripts::session_end(&transcript);
    transcripts::append(&transcript, prompt_line(&made_id(IN_BOTH), 9, "one more"));
    scratch.hook(&scratch.chain_command(""), &event).output().ok().silent();
    scratch.await_no_process(crate::product::DELIVERY);
    tests::stores::assert_saved_twice(&scratch, &transcript);
    assert_eq!(both()[1], newer());
    let waiting = pending(&scratch);
    assert!(waiting[0]["last_error"].as_str().is_some_and(|error| error.contains("update Threefold")), "{waiting:?}");

    // The job too.
    fs::write(&job, newer().expect("just made")).expect("write a newer job");
    let hook = scratch.hook(&scratch.chain_command(""), &event).output().ok().silent();
    assert!(hook.stderr.contains("update Threefold"), "{hook:#?}");
    scratch.layer2(&["drain"]).output().ok();
    scratch.await_no_process(crate::product::DELIVERY);
    assert_eq!(both(), [newer(), newer()]);
    let told = scratch.layer2(&["pending"]).output().ok();
    assert!(told.text().contains("update Threefold"), "{told:#?}");
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}
