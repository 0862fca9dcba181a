//! Receipts: a job leaves the outbox only when layer 3 holds everything that layer 1 holds.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::assert_saved_twice;
use tests::transcripts::{self, INTERACTIVE, RECORDED, SUBAGENT};
use tests::tree;

use crate::product::{
    assert_verified, await_delivered, chain, chain_delivered, drain, findings, pending, session_ids, sessions, turn,
};

/// Makes a directory where layer 3 would store `path` of the project.
fn block(scratch: &Scratch, path: &str) -> PathBuf {
    let blocked = scratch.layer3_store().join(PROJECT).join(path);
    fs::create_dir_all(&blocked).expect("block a path");
    blocked
}

#[test]
fn a_side_file_that_layer3_could_not_store_keeps_the_job() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, SUBAGENT);
    let large = transcript.with_extension("").join("tool-results/large.txt");
    transcripts::append(&large, vec![b'x'; 8 << 20]);
    scratch.layer1(&["sweep", "--quiet"]).output().ok();
    // Only that one does not fit: in blocks of 512 bytes.
    let limited = format!("ulimit -f 8192; {}", scratch.chain_command(""));
    scratch.hook(&limited, &transcripts::session_end(&transcript)).output().ok().silent();
    scratch.await_no_process(crate::product::DELIVERY);
    let jobs = pending(&scratch);
    assert_eq!(jobs.len(), 1, "{jobs:#?}");
    assert!(!scratch.log(2).contains("✅ Saved"), "{}", scratch.log(2));
    let copy = scratch.layer3_store().join(PROJECT).join(format!("{SUBAGENT}.jsonl"));
    assert_eq!(fs::read(copy).ok(), fs::read(&transcript).ok(), "the rest of the session is stored all the same");

    drain(&scratch);
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

#[test]
fn an_older_generation_that_layer3_lacks_keeps_the_job() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let old = fs::read(&transcript).expect("read the transcript");
    turn(&scratch, &transcripts::prompt_submit(&transcript));
    transcripts::rewrite(&transcript, transcripts::prompt_line(INTERACTIVE, 1, "all new"));
    turn(&scratch, &transcripts::prompt_submit(&transcript));

    let generation = format!("{INTERACTIVE}.gen-0001.jsonl");
    let blocked = block(&scratch, &generation);
    chain(&scratch, &transcripts::session_end(&transcript));
    scratch.await_no_process(crate::product::DELIVERY);
    let held = |content: &[u8]| {
        let files = tree::session_files(&scratch.layer3_store());
        files.iter().any(|path| fs::read(scratch.layer3_store().join(path)).is_ok_and(|bytes| bytes == content))
    };
    assert!(!pending(&scratch).is_empty() || held(&old), "no receipt without the older generation");

    fs::remove_dir(blocked).expect("clear the way");
    drain(&scratch);
    assert!(held(&old), "{:?}", tree::session_files(&scratch.layer3_store()));
    assert_saved_twice(&scratch, &transcript);
}

#[test]
fn layer3_takes_older_generations_over_from_layer1() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let mut olds = Vec::new();
    for round in 0..3 {
        olds.push(fs::read(&transcript).expect("read the transcript"));
        turn(&scratch, &transcripts::prompt_submit(&transcript));
        transcripts::rewrite(&transcript, transcripts::prompt_line(INTERACTIVE, round, "all new"));
    }
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        for (n, old) in olds.iter().enumerate() {
            let path = store.join(PROJECT).join(format!("{INTERACTIVE}.gen-{:04}.jsonl", n + 1));
            assert!(fs::read(&path).is_ok_and(|bytes| bytes == *old), "{}", path.display());
        }
    }
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

#[test]
fn a_lost_layer3_store_comes_back_whole_with_the_next_drain() {
    let scratch = Scratch::new();
    let laid_out = transcripts::lay_out_recorded(&scratch);
    for transcript in &laid_out {
        chain(&scratch, &transcripts::session_end(transcript));
    }
    // One with an older generation, and one whose source is gone.
    transcripts::rewrite(&laid_out[0], transcripts::prompt_line(RECORDED[0], 1, "all new"));
    chain_delivered(&scratch, &transcripts::session_end(&laid_out[0]));
    let gone = fs::read(&laid_out[1]).expect("read a transcript");
    fs::remove_file(&laid_out[1]).expect("delete a transcript");
    let jsonl = || -> Vec<_> {
        let entries = tree::visible(&scratch.layer3_store()).into_iter();
        entries.filter(|(path, _)| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
    };
    let (before, listed) = (jsonl(), session_ids(&scratch));
    assert_eq!(before.len(), RECORDED.len() + 2, "transcripts, a generation, a subagent: {before:#?}");

    fs::remove_dir_all(scratch.layer3_store()).expect("lose the store");
    drain(&scratch);
    assert_eq!(jsonl(), before);
    assert_eq!(session_ids(&scratch), listed);
    let copy = scratch.layer3_store().join(PROJECT).join(format!("{}.jsonl", RECORDED[1]));
    assert_eq!(fs::read(copy).ok(), Some(gone));
    assert_verified(&scratch);
}

#[test]
fn a_file_deleted_from_layer3s_store_comes_back_with_the_next_save() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    fs::remove_file(scratch.layer3_store().join(PROJECT).join(format!("{INTERACTIVE}.jsonl"))).expect("delete a copy");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

#[test]
fn a_lost_index_is_rebuilt_from_the_store() {
    let scratch = Scratch::new();
    let laid_out = transcripts::lay_out_recorded(&scratch);
    scratch.layer1(&["sweep", "--quiet"]).output().ok();
    drain(&scratch);
    let before = sessions(&scratch);
    for (what, content) in [("damaged", Some("this is not a database")), ("lost", None)] {
        for suffix in ["-wal", "-shm"] {
            // They are there only while a connection was not closed in order.
            let _ = fs::remove_file(scratch.layer3_store().join(format!("sessions.db{suffix}")));
        }
        match content {
            Some(content) => fs::write(scratch.index(), content).expect("damage the index"),
            None => fs::remove_file(scratch.index()).expect("lose the index"),
        }
        let transcript = &laid_out[3];
        chain_delivered(&scratch, &transcripts::session_end(transcript));
        assert_eq!(sessions(&scratch).len(), before.len(), "{what}");
        assert_eq!(crate::product::found_in(&scratch, "hello interactive"), [INTERACTIVE], "{what}");
    }
}

#[test]
fn an_absent_transcript_settles_its_job() {
    let scratch = Scratch::new();
    let absent = scratch.transcript(INTERACTIVE);
    chain(&scratch, &transcripts::event("SessionEnd", &absent, json!({"reason": "other"}))).unworried();
    await_delivered(&scratch);
}

#[test]
fn an_import_leaves_receipts_so_that_nothing_is_sent_again() {
    let scratch = Scratch::new();
    let transcripts: Vec<_> =
        (1..4).map(|n| transcripts::make_conversation(&scratch, &transcripts::made_id(n), 2)).collect();
    transcripts::append(&transcripts[0].with_extension("").join("subagents/agent-1.jsonl"), "{}\n");
    // As install does.
    scratch.layer1(&["sweep"]).output().ok();
    scratch.layer3(&["import"]).output().ok();
    let calls = || scratch.log(2).matches("Calling session_save").count();
    drain(&scratch);
    assert_eq!(calls(), 0, "{}", scratch.log(2));
    // Only what the second copy lacks is sent.
    transcripts::append(&transcripts[1], transcripts::prompt_line(&transcripts::made_id(2), 9, "more"));
    scratch.layer1(&["sweep"]).output().ok();
    drain(&scratch);
    assert_eq!(calls(), 1, "{}", scratch.log(2));
    for transcript in &transcripts {
        assert_saved_twice(&scratch, transcript);
    }
    // Another store's receipts are void.
    std::fs::remove_dir_all(scratch.layer3_store()).expect("lose the store");
    drain(&scratch);
    assert_eq!(calls(), 4, "{}", scratch.log(2));
}

/// Copies a directory with all in it to a path where nothing stands.
fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).expect("make a directory");
    for entry in fs::read_dir(from).expect("list a directory") {
        let entry = entry.expect("read a directory's entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("look at an entry").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copy a file");
        }
    }
}

/// A backup of a store, put over it.
fn put_back(store: &Path, backup: &Path) {
    fs::remove_dir_all(store).expect("remove the store");
    copy_tree(backup, store);
}

/// Each store put back to what it was before these conversations: what is said of them until the next start, and after it.
#[test]
fn a_store_that_went_back_in_time_is_told_and_made_good_from_the_other_one() {
    for (is_first, goes_on) in [(false, false), (false, true), (true, false), (true, true)] {
        let what = format!("the first: {is_first}, it went on by itself: {goes_on}");
        let scratch = Scratch::new();
        let store = if is_first { scratch.layer1_store() } else { scratch.layer3_store() };
        let transcripts: Vec<_> =
            (1..5).map(|n| transcripts::make_conversation(&scratch, &transcripts::made_id(n), 2)).collect();
        let grow = |nth: usize, turn| {
            let line = transcripts::prompt_line(&transcripts::made_id(nth as u32 + 1), turn, "more");
            transcripts::append(&transcripts[nth], line);
        };
        chain_delivered(&scratch, &transcripts::session_end(&transcripts[0]));
        chain_delivered(&scratch, &transcripts::session_end(&transcripts[1]));
        let backup = scratch.beside("backup");
        copy_tree(&store, &backup);
        grow(1, 7);
        transcripts[1..3].iter().for_each(|path| chain_delivered(&scratch, &transcripts::session_end(path)));
        let kept: Vec<_> = transcripts[..3].iter().map(|path| fs::read(path).expect("read a transcript")).collect();
        put_back(&store, &backup);
        transcripts[1..3].iter().for_each(|path| fs::remove_file(path).expect("delete a transcript"));
        if goes_on {
            // More is written into it than what it lost, and not by layer 2.
            (0..40).for_each(|turn| grow(0, turn));
            let save = ["save", "--transcript", transcripts[0].to_str().expect("a path that is text")];
            if is_first { scratch.layer1(&["sweep"]) } else { scratch.layer3(&save) }.output().ok();
        }
        let said = findings(&scratch, "one-copy");
        assert!(said.len() == 1 && said[0].starts_with("2 conversations are in one copy only"), "{what}: {said:?}");
        let verified = scratch.layer3(&["verify"]).output().exits(1).text();
        assert!(verified.contains("2 conversations are in one copy only"), "{what}: {verified}");
        assert!(scratch.layer3(&["doctor"]).output().exits(1).text().contains("one copy only"), "{what}");

        // As at the next start.
        scratch.layer1(&["sweep"]).output().ok();
        drain(&scratch);
        for (path, content) in transcripts[1..3].iter().zip(&kept[1..]) {
            for store in [scratch.layer1_store(), scratch.layer3_store()] {
                let copy = store.join(PROJECT).join(path.file_name().expect("a name"));
                assert_eq!(fs::read(&copy).ok().as_ref(), Some(content), "{what}: {}", copy.display());
            }
        }
        assert_saved_twice(&scratch, &transcripts[0]);
        assert_eq!(findings(&scratch, "one-copy"), [""; 0], "{what}");
        assert_verified(&scratch);
        // And then nothing is sent or taken back again.
        let calls = || scratch.log(2).matches("Calling session_save").count() + scratch.log(2).matches("gave").count();
        let before = calls();
        drain(&scratch);
        assert_eq!(calls(), before, "{what}: {}", scratch.log(2));
    }
}

#[test]
fn what_was_removed_on_command_is_not_taken_back_from_the_other_store() {
    let scratch = Scratch::new();
    let transcripts: Vec<_> =
        (1..3).map(|n| transcripts::make_conversation(&scratch, &transcripts::made_id(n), 2)).collect();
    transcripts.iter().for_each(|path| chain_delivered(&scratch, &transcripts::session_end(path)));
    fs::remove_file(&transcripts[0]).expect("delete a transcript");
    scratch.layer3(&["prune", &transcripts::made_id(1), "--yes"]).output().ok();
    drain(&scratch);
    assert_eq!(session_ids(&scratch), [transcripts::made_id(2)]);
    assert_eq!(findings(&scratch, "one-copy"), [""; 0]);
}
