//! Layer 3's `status` on the real binaries: exit code, the lines to paste, nothing written, nothing
//! that makes it fail.

use std::fs;

use serde_json::Value;
use tests::binaries::LAYER3;
use tests::scratch::Scratch;
use tests::strace::Traced;
use tests::transcripts::{self, INTERACTIVE};
use tests::tree;

use crate::product::{chain_delivered, install_hooks, text};

fn kinds(status: &Value) -> Vec<String> {
    let findings = status["findings"].as_array().expect("findings");
    findings.iter().map(|finding| text(finding, "kind")).collect()
}

#[test]
fn a_lost_conversation_comes_back_with_the_pasted_line() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    install_hooks(&scratch);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let status = scratch.layer3(&["status", "--json"]).output().ok().unworried().json();
    assert_eq!((status["ok"].as_bool(), kinds(&status).len()), (Some(true), 0), "{status:#}");
    assert!(scratch.layer3(&["status"]).output().ok().text().starts_with("✓ Everything is saved: 1 conversation, "));

    let whole = fs::read(&transcript).expect("read the transcript");
    fs::remove_file(&transcript).expect("lose the transcript");
    let status = scratch.layer3(&["status", "--json"]).output().ok().json();
    assert_eq!(kinds(&status), ["vanished"]);
    let line = text(&status["findings"][0], "mend");
    scratch.at_home(tests::run::Run::new("/bin/sh")).args(["-c", &line]).output().ok();
    assert!(fs::read(&transcript).expect("read what was restored") == whole, "{line}");
}

#[test]
fn a_store_that_cannot_be_written_is_one_cause_however_many_conversations_wait() {
    let scratch = Scratch::new();
    for n in 1..=5 {
        let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(n), 2);
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        transcripts::append(&transcript, transcripts::prompt_line(&transcripts::made_id(n), 500, "one more"));
    }
    install_hooks(&scratch);
    let calls = "?access,faccessat,?faccessat2";
    let inject = format!("inject={calls}:error=EROFS");
    let trace = Traced::new(&scratch, calls, &["-e", &inject], LAYER3, &["status"]).output();
    assert!(trace.fault_fired(), "{:#?}", trace.outcome);
    let told = trace.outcome.exits(1).text();
    assert!(told.starts_with("⚠ 5 conversations are not saved: nothing can be written to both backups"), "{told}");
    assert!(told.contains("Read-only file system") && told.lines().count() < 25, "{told}");
}

#[test]
fn every_program_says_the_size_of_a_store_in_the_same_words() {
    let scratch = Scratch::new();
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 1);
    let text = "x".repeat(15_100_000);
    transcripts::append(&transcript, transcripts::prompt_line(&transcripts::made_id(1), 500, &text));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let first = scratch.layer1(&["status"]).output().ok().text();
    let second = scratch.layer3(&["status"]).output().exits(1).text();
    assert!(first.contains("size         15 MB"), "{first}");
    for line in ["first copy   1 conversation, 15 MB,", "second copy  1 conversation, 15 MB,"] {
        assert!(second.contains(line), "{second}");
    }
}

#[test]
fn the_programs_are_named_shortly_where_the_path_leads_to_them() {
    let scratch = Scratch::new();
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 1);
    let mend = |path: &str| {
        let status = scratch.layer3(&["--backup-dir", "/no/it's store", "status", "--json"]).env("PATH", path);
        text(&status.output().exits(1).json()["findings"][1], "mend")
    };
    let folder = tests::binaries::folder().canonicalize().expect("resolve the folder of the binaries");
    let flags = r"--backup-dir '/no/it'\''s store'";
    let short = format!("layer1-prebackup {flags} sweep && layer3-indexer {flags} import");
    assert_eq!(mend(folder.to_str().expect("UTF-8")), short);
    assert!(mend("/usr/bin").contains(&format!("{}/layer3-indexer {flags} import", folder.display())));
    assert!(transcript.exists());
}

#[test]
fn nothing_is_written_and_garbage_in_any_place_is_told() {
    for (place, content) in
        [("home/.claude", None), ("home/.claude-backup-sessions", Some("x")), ("home/.claude-backup", Some("{\0"))]
    {
        let scratch = Scratch::new();
        let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
        install_hooks(&scratch);
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        let path = scratch.root().join(place);
        fs::remove_dir_all(&path).expect("lose a place");
        if let Some(content) = content {
            fs::write(&path, content).expect("put a file there");
        }
        let without_shared_memory = || {
            let mut all = tree::all(&scratch.home());
            all.retain(|path, _| !path.to_string_lossy().ends_with("sessions.db-shm"));
            all
        };
        let before = without_shared_memory();
        let code = if content.is_some() { 1 } else { 0 };
        let told = scratch.layer3(&["status", "--json"]).output().exits(code);
        assert!(!told.stderr.contains("panicked"), "{told:?}");
        assert_eq!(told.json()["ok"], Value::Bool(code == 0));
        scratch.layer3(&["status"]).output().exits(code);
        assert!(without_shared_memory() == before, "something was written");
    }
}

#[test]
fn the_pasted_lines_bring_back_what_was_longer_and_what_vanished_in_a_mass() {
    let scratch = Scratch::new();
    let sources = transcripts::lay_out_recorded(&scratch);
    install_hooks(&scratch);
    let wholes: Vec<Vec<u8>> = sources.iter().map(|path| fs::read(path).expect("read a transcript")).collect();
    scratch.layer1(&["sweep"]).output().ok();
    scratch.layer3(&["import"]).output().ok();
    let paste = |kind: &str, code: i32| {
        let status = scratch.layer3(&["status", "--json"]).output().exits(code).json();
        let findings = status["findings"].as_array().expect("findings");
        let finding = findings.iter().find(|finding| finding["kind"] == kind);
        let line = text(finding.unwrap_or_else(|| panic!("no {kind} in {status:#}")), "mend");
        scratch.at_home(tests::run::Run::new("/bin/sh")).args(["-c", &line]).output().ok();
    };

    transcripts::rewrite(&sources[0], transcripts::prompt_line(transcripts::RECORDED[0], 9, "a stub"));
    scratch.layer1(&["sweep"]).output().ok();
    scratch.layer3(&["import"]).output().ok();
    paste("shrunk", 1);
    assert!(fs::read(&sources[0]).expect("read what was restored") == wholes[0]);

    scratch.layer1(&["sweep"]).output().ok();
    scratch.layer3(&["import"]).output().ok();
    fs::remove_dir_all(scratch.slug_dir()).expect("lose all transcripts");
    paste("mass-disappearance", 1);
    for (path, whole) in sources.iter().zip(&wholes) {
        assert!(fs::read(path).expect("read what was restored") == *whole, "{}", path.display());
    }
}
