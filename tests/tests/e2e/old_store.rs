//! Stores that the first version itself wrote (`tests/fixtures/old-store`): taken over by whatever comes
//! first, every byte of every file of theirs kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use tests::binaries;
use tests::old_store::{self, EMPTY, SECOND_FOLDER};
use tests::run::Run;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::files_of_both;
use tests::transcripts::{self, FORKED, INTERACTIVE, SUBAGENT, made_id};
use tests::tree;

use crate::product::{assert_verified, chain_delivered, drain, found_in, sessions, text};

/// Words that stand in one recorded conversation each, and in how many folders that is.
const WORDS: [(&str, &str, usize); 3] =
    [("\"hello interactive\"", INTERACTIVE, 2), ("subagent", SUBAGENT, 1), ("forked", FORKED, 1)];

/// A home with the recorded stores, and what the oldest of its hooks left beside them.
fn first_version() -> Scratch {
    let scratch = Scratch::new();
    old_store::lay_out(&scratch);
    let project = scratch.layer3_store().join(PROJECT);
    let tool_event = "{\"timestamp\":\"2026-02-03T10:00:00Z\",\"tool\":\"Edit\",\"input\":{\"file\":\"/p/a.rs\"}}\n";
    let id = made_id(1);
    let official = transcripts::prompt_line(&id, 1, "where do guillemots nest?");
    for (name, content) in [
        (format!("{id}.jsonl"), tool_event),
        (format!("{id}.jsonl.official"), &official),
        ("current-session.jsonl".to_owned(), tool_event),
    ] {
        fs::write(project.join(name), content).expect("write as the oldest hook did");
    }
    scratch
}

/// Asserts that each file of before stands where it stood. Three kinds have one other name each: the old
/// index and its metadata, where ours stands now, and what a conversation lay beside.
#[track_caller]
fn assert_kept(scratch: &Scratch, before: &BTreeMap<PathBuf, blake3::Hash>, after_what: &str) {
    let now = files_of_both(scratch);
    for (path, hash) in before {
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        let may_have_moved_to = |other: &Path| {
            let other = other.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(part) = name.strip_prefix("sessions.db") {
                let aside = other.strip_prefix("sessions.db.set-aside-").and_then(|aside| aside.strip_suffix(part));
                return aside.is_some_and(|stamp| !stamp.contains('-'));
            }
            match name.strip_suffix(".json") {
                Some(id) => other == format!("{id}.found.json"),
                None => *name == format!("{}.jsonl", made_id(1)) && other == format!("{}.gen-0001.jsonl", made_id(1)),
            }
        };
        let is_there = now.get(path) == Some(hash)
            || now
                .iter()
                .any(|(other, now)| now == hash && other.parent() == path.parent() && may_have_moved_to(other));
        assert!(is_there, "{after_what}: {} is gone or has other bytes", path.display());
    }
}

fn install(scratch: &Scratch) {
    let install = Run::new(binaries::xtask()).arg("install").arg("--binaries").arg(binaries::folder());
    scratch.at_home(install).output().ok();
}

fn save_another(scratch: &Scratch) {
    let transcript = transcripts::make_conversation(scratch, &made_id(9), 2);
    chain_delivered(scratch, &transcripts::session_end(&transcript));
}

#[test]
fn a_store_that_the_first_version_wrote_is_taken_over_byte_for_byte_whatever_comes_first() {
    type First = (&'static str, fn(&Scratch));
    let firsts: [First; 4] = [
        ("install", install),
        ("a save", save_another),
        ("list", |scratch| drop(scratch.layer3(&["list", "--all"]).output().ok())),
        ("search", |scratch| drop(scratch.layer3(&["search", "--all", "guillemots"]).output().ok())),
    ];
    for (what, first) in firsts {
        let scratch = first_version();
        let before = files_of_both(&scratch);
        assert_eq!(before.keys().filter(|path| path.to_string_lossy().contains("/sessions.db")).count(), 3);
        first(&scratch);
        assert_kept(&scratch, &before, what);
        for (word, id, folders) in WORDS {
            assert_eq!(found_in(&scratch, word), [id], "{what}: {word}");
            let listed = sessions(&scratch);
            let listed = listed.iter().filter(|session| text(session, "session_id") == id);
            assert_eq!(listed.count(), folders, "{what}: {id}");
        }
        assert_eq!(found_in(&scratch, "guillemots"), [made_id(1)], "{what}: under another name");
        let listed = sessions(&scratch);
        assert!(!listed.iter().any(|session| text(session, "session_id") == EMPTY), "{what}: nothing was said in it");
        assert_kept(&scratch, &before, &format!("{what}, then search and list"));
        drain(&scratch);
        scratch.layer3(&["verify"]).output().ok();
        // Layer 1 has no index and no metadata to know the first version by: layer 3's copies prove its own.
        scratch.layer1(&["verify", "--repair"]).output().ok();
        assert_verified(&scratch);
        assert_kept(&scratch, &before, &format!("{what}, then verify"));
    }
}

#[test]
fn doctor_tells_of_an_index_that_was_set_aside_and_its_command_removes_that_alone() {
    let scratch = first_version();
    install(&scratch);
    scratch.layer1(&["verify", "--repair"]).output().ok();
    let old = |name: &String| name.starts_with("sessions.db.set-aside-");
    let asides = || tree::visible_files(&scratch.layer3_store()).into_iter().filter(old).collect::<Vec<_>>();
    assert_eq!(asides().len(), 3, "with its log and its shared memory");
    let told = || {
        let doctor = scratch.layer3(&["doctor", "--no-round-trip", "--json", "--managed-dir"]);
        let diagnosis = doctor.arg(scratch.beside("managed")).output().json();
        let findings = diagnosis["findings"].as_array().expect("findings").clone();
        findings.into_iter().find(|finding| finding["kind"] == "index-set-aside")
    };
    let finding = told().expect("it is told");
    assert_eq!(finding["needs_person"], false);
    let what = text(&finding, "what");
    assert!(what.starts_with("an index that could not be used was set aside, 8"), "{what}");
    let cure = text(&finding, "mend");
    let before = files_of_both(&scratch);
    // Not while anything is wrong.
    let copy = scratch.layer3_store().join(PROJECT).join(format!("{FORKED}.jsonl"));
    let whole = fs::read(&copy).expect("read a copy");
    fs::write(&copy, "x").expect("damage a copy");
    scratch.at_home(Run::new("/bin/sh")).args(["-c", &cure]).output().exits(1);
    assert_eq!(asides().len(), 3);
    fs::write(&copy, whole).expect("heal the copy");
    scratch.at_home(Run::new("/bin/sh")).args(["-c", &cure]).output().ok();
    assert_eq!((asides(), told()), (vec![], None));
    let now = files_of_both(&scratch);
    let gone: Vec<_> = before.keys().filter(|path| !now.contains_key(*path)).collect();
    assert_eq!(gone.len(), 3, "{gone:?}");
    assert!(!found_in(&scratch, "subagent").is_empty());
}

#[test]
fn what_the_first_version_indexed_can_still_be_read_where_it_was_set_aside() {
    let scratch = first_version();
    save_another(&scratch);
    let names = tree::visible_files(&scratch.layer3_store());
    let aside = names.iter().find(|name| name.starts_with("sessions.db.set-aside-") && !name.contains("Z-"));
    let aside = scratch.layer3_store().join(aside.expect("the old index was set aside"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let index = Connection::open_with_flags(aside, flags).expect("open the old index");
    let query = "SELECT project FROM sessions_fts WHERE session_id = ?1 AND sessions_fts MATCH ?2";
    // The last one that it saved is in its log alone.
    for (word, id, _) in WORDS {
        let project: String = index.query_row(query, [id, word], |row| row.get(0)).expect("find it in the old index");
        assert!([PROJECT, SECOND_FOLDER].contains(&project.as_str()), "{project}");
    }
}
