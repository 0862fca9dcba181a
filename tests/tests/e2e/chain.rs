//! The chain as Claude Code runs it: what goes in as an event comes out saved twice and indexed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tests::processes;
use tests::run::Run;
use tests::scratch::{PROJECT, SLUG, Scratch};
use tests::stores::{assert_equals_source, assert_saved_twice, difference};
use tests::transcripts::{self, INTERACTIVE, RECORDED};
use tests::{tree, waiting};

use crate::product::{
    self, assert_verified, await_delivered, chain, chain_delivered, found_in, pending, session_ids, turn,
};

/// Asserts that nothing a user could see is there: no file, no session, no job.
#[track_caller]
fn assert_nothing_kept(scratch: &Scratch) {
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        assert_eq!(tree::session_files(&store), [""; 0], "in {}", store.display());
    }
    assert_eq!(session_ids(scratch), [""; 0]);
    assert_eq!(pending(scratch), [json!(null); 0]);
}

#[test]
fn every_recorded_event_goes_through_the_chain_and_the_sessions_are_saved_twice() {
    let scratch = Scratch::new();
    let laid_out = transcripts::lay_out_recorded(&scratch);
    for event in transcripts::recorded_events(&scratch) {
        chain(&scratch, &event).unworried();
    }
    await_delivered(&scratch);
    for transcript in &laid_out {
        assert_saved_twice(&scratch, transcript);
    }
    assert_eq!(session_ids(&scratch), RECORDED);
    assert_verified(&scratch);
}

#[test]
fn every_recorded_event_goes_through_its_own_hook() {
    let scratch = Scratch::new();
    let laid_out = transcripts::lay_out_recorded(&scratch);
    for event in transcripts::recorded_events(&scratch) {
        let kind = product::text(&serde_json::from_str(&event).expect("an event is JSON"), "hook_event_name");
        let Some(command) = scratch.command_of(&kind) else { continue };
        scratch.hook(&command, &event).output().ok().silent().unworried();
    }
    await_delivered(&scratch);
    for transcript in &laid_out {
        assert_saved_twice(&scratch, transcript);
    }
}

#[test]
fn events_without_a_transcript_leave_nothing_and_worry_nobody() {
    let scratch = Scratch::new();
    for event in transcripts::recorded_events(&scratch) {
        chain(&scratch, &event).unworried();
        let kind = product::text(&serde_json::from_str(&event).expect("an event is JSON"), "hook_event_name");
        if let Some(command) = scratch.command_of(&kind) {
            scratch.hook(&command, &event).output().ok().silent().unworried();
        }
    }
    await_delivered(&scratch);
    assert_nothing_kept(&scratch);
    assert!(!scratch.claude_dir().exists(), "we never write into Claude Code's directory");
}

#[test]
fn layer1_alone_passes_every_recorded_event_on_byte_for_byte() {
    let scratch = Scratch::new();
    transcripts::lay_out_recorded(&scratch);
    for event in transcripts::recorded_events(&scratch) {
        let line = format!("{event}\n");
        let outcome = scratch.layer1(&[]).stdin(line.clone()).output().ok().unworried();
        assert_eq!(outcome.text(), line);
    }
}

#[test]
fn exit_without_activity() {
    // The client names a transcript that it never writes.
    let scratch = Scratch::new();
    let absent = scratch.transcript(INTERACTIVE);
    chain(&scratch, &transcripts::session_end(&absent)).unworried();
    await_delivered(&scratch);
    assert_nothing_kept(&scratch);

    // An empty one settles as well.
    transcripts::append(&absent, "");
    chain(&scratch, &transcripts::session_end(&absent)).unworried();
    await_delivered(&scratch);
    assert_nothing_kept(&scratch);

    // One with nothing but bookkeeping records is kept, receipted, and no session.
    let recorded =
        fs::read_to_string(transcripts::fixtures().join(format!("transcripts/interactive/{INTERACTIVE}.jsonl")))
            .expect("read a recorded transcript");
    let is_bookkeeping = |line: &&str| {
        let record: serde_json::Value = serde_json::from_str(line).expect("a recorded line is JSON");
        ["mode", "permission-mode", "file-history-snapshot", "cost-state"]
            .contains(&record["type"].as_str().unwrap_or(""))
    };
    let lines: String = recorded.lines().filter(is_bookkeeping).map(|line| format!("{line}\n")).collect();
    assert!(lines.lines().count() > 4);
    let id = transcripts::made_id(1);
    let quiet = scratch.transcript(&id);
    transcripts::append(&quiet, lines);
    chain_delivered(&scratch, &transcripts::session_end(&quiet));
    let name = format!("{id}.jsonl");
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let copies: Vec<_> = tree::session_files(&store).into_iter().filter(|path| path.ends_with(&name)).collect();
        let [copy] = &copies[..] else { panic!("copies in {}: {copies:?}", store.display()) };
        assert_eq!(fs::read(store.join(copy)).ok(), fs::read(&quiet).ok());
    }
    assert_eq!(session_ids(&scratch), [""; 0]);
}

#[test]
fn compact_then_session_end_fails() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 5);
    transcripts::append(&transcript, transcripts::prompt_line(&id, 100, "quokka before the compaction"));
    chain_delivered(&scratch, &transcripts::pre_compact(&transcript));
    let at_compaction = fs::read(&transcript).expect("read the transcript");

    // SessionEnd is cancelled before any of its programs has done a thing.
    transcripts::append(&transcript, transcripts::prompt_line(&id, 101, "after it"));
    let cancelled = scratch.hook(&scratch.chain_command(""), &transcripts::session_end(&transcript)).spawn();
    processes::end_tree(cancelled.pid());
    drop(cancelled);

    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let copy = fs::read(store.join(PROJECT).join(format!("{id}.jsonl"))).expect("read the copy");
        assert!(copy.starts_with(&at_compaction), "what was there at the compaction is in {}", store.display());
    }
    assert_eq!(found_in(&scratch, "quokka"), [id.as_str()]);

    // The next start of any session brings the rest.
    let start =
        transcripts::event("SessionStart", &scratch.transcript(&transcripts::made_id(2)), json!({"source": "startup"}));
    scratch.hook(&scratch.start_command(), &start).output().ok().silent();
    await_delivered(&scratch);
    assert_saved_twice(&scratch, &transcript);
}

#[test]
fn a_conversation_saved_by_turns_and_then_killed_is_in_layer3_after_the_next_start() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(7);
    let transcript = scratch.transcript(&id);
    for turn_number in 0..5 {
        let answer = format!("the wombat answers {turn_number}");
        transcripts::append(&transcript, transcripts::prompt_line(&id, 2 * turn_number, "go on"));
        turn(&scratch, &transcripts::prompt_submit(&transcript)).unworried();
        transcripts::append(&transcript, transcripts::answer_line(&id, 2 * turn_number + 1, &answer));
        let stop = json!({"stop_hook_active": false, "last_assistant_message": answer});
        turn(&scratch, &transcripts::event("Stop", &transcript, stop)).unworried();
        assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
    }
    assert_eq!(tree::session_files(&scratch.layer3_store()), [""; 0], "turns do not reach layer 3");

    // Killed: what came after the last turn was never announced by any event.
    transcripts::append(&transcript, transcripts::prompt_line(&id, 20, "numbat, then kill -9"));
    let other = scratch.transcript(&transcripts::made_id(8));
    let start = transcripts::event("SessionStart", &other, json!({"source": "startup"}));
    scratch.hook(&scratch.start_command(), &start).output().ok().silent();
    await_delivered(&scratch);
    assert_saved_twice(&scratch, &transcript);
    assert_eq!(found_in(&scratch, "numbat"), [id.as_str()]);
}

#[test]
fn stop_waits_for_the_last_message_that_lags_behind_the_event() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(3);
    let transcript = transcripts::make_conversation(&scratch, &id, 2);
    let stop = json!({"stop_hook_active": false, "last_assistant_message": "the last word \"quoted\"\nand a line"});
    let event = transcripts::event("Stop", &transcript, stop);
    let hook = scratch.hook(&scratch.turn_command(), &event).spawn();
    // The client's own lag, not a synchronisation.
    std::thread::sleep(Duration::from_millis(150));
    transcripts::append(&transcript, transcripts::answer_line(&id, 50, "the last word \"quoted\"\nand a line"));
    hook.wait().ok().silent();
    assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
}

#[test]
fn stop_does_not_wait_longer_than_half_a_second_for_a_message_that_never_comes() {
    let scratch = Scratch::new();
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(3), 2);
    let stop = json!({"stop_hook_active": false, "last_assistant_message": "never written"});
    let outcome = turn(&scratch, &transcripts::event("Stop", &transcript, stop));
    assert!(outcome.elapsed >= Duration::from_millis(400), "it waits: {outcome:?}");
    assert!(outcome.elapsed < Duration::from_millis(1500), "but not long: {outcome:?}");
    assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
}

#[test]
fn the_subagents_file_named_by_subagent_stop_is_copied() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, transcripts::SUBAGENT);
    let agent = transcript.with_extension("").join("subagents/agent-a3f794ef1b94d5971.jsonl");
    let extra = json!({"agent_transcript_path": agent, "last_assistant_message": "STUB-AFTER-TOOL 4"});
    let outcome = turn(&scratch, &transcripts::event("SubagentStop", &transcript, extra));
    assert!(outcome.elapsed < Duration::from_secs(5));
    assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
}

#[test]
fn files_are_private_whatever_the_umask() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, transcripts::SUBAGENT);
    let command = format!("umask 000; {}", scratch.chain_command(""));
    scratch.hook(&command, &transcripts::session_end(&transcript)).output().ok().silent();
    await_delivered(&scratch);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        for (path, entry) in tree::all(&store) {
            let path = store.join(path);
            match entry {
                tree::Entry::Directory(mode) => assert_eq!(mode, 0o700, "{}", path.display()),
                tree::Entry::File(mode, ..) => assert_eq!(mode, 0o600, "{}", path.display()),
                other => panic!("{} is {other:?}", path.display()),
            }
        }
    }
}

#[test]
fn lock_files_and_odd_side_files_are_left_out_and_the_rest_is_saved() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, transcripts::COMPACTED);
    let sides = transcript.with_extension("");
    transcripts::append(&sides.join("tool-results/b 1.txt"), "a large output");
    transcripts::append(&sides.join("subagents/deep/er/agent-1.jsonl"), "{}\n");
    transcripts::append(&sides.join("state.lock"), "held");
    std::os::unix::fs::symlink("/etc/passwd", sides.join("link.txt")).expect("make a symlink");
    assert!(Run::new("/usr/bin/mkfifo").arg(sides.join("pipe")).output().code == Some(0));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let copies = tree::all(&store.join(PROJECT).join(transcripts::COMPACTED));
        for absent in ["state.lock", "link.txt", "pipe"] {
            assert!(!copies.contains_key(Path::new(absent)), "{absent} in {}", store.display());
        }
    }
}

#[test]
fn a_deleted_source_deletes_nothing() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, transcripts::SUBAGENT);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let stores = [scratch.layer1_store().join(PROJECT), scratch.layer3_store().join(PROJECT)];
    let before = stores.clone().map(|store| tree::all(&store));
    fs::remove_dir_all(scratch.claude_dir().join("projects")).expect("delete all transcripts");
    chain(&scratch, &transcripts::session_end(&transcript));
    scratch.hook(&scratch.start_command(), &transcripts::event("SessionStart", &transcript, json!({}))).output().ok();
    await_delivered(&scratch);
    assert_eq!(stores.map(|store| tree::all(&store)), before);
    assert_eq!(session_ids(&scratch), [transcripts::SUBAGENT]);
}

#[test]
fn a_second_run_of_everything_changes_nothing() {
    let scratch = Scratch::new();
    transcripts::lay_out_recorded(&scratch);
    let events = transcripts::recorded_events(&scratch);
    let start = |scratch: &Scratch| {
        scratch.layer1(&["sweep", "--all", "--quiet"]).output().ok().silent();
        product::drain(scratch);
    };
    start(&scratch);
    let stores = [scratch.layer1_store().join(PROJECT), scratch.layer3_store().join(PROJECT)];
    let before = stores.clone().map(|store| tree::all(&store));
    let listed = product::sessions(&scratch);
    for event in &events {
        chain(&scratch, event);
    }
    start(&scratch);
    await_delivered(&scratch);
    let data = |entries: std::collections::BTreeMap<std::path::PathBuf, tree::Entry>| {
        // The metadata names the trigger of the last save, so it may well be written again.
        let is_data = |path: &std::path::PathBuf| {
            path.extension().is_none_or(|extension| extension != "json") || path.components().count() > 1
        };
        entries.into_iter().filter(|(path, _)| is_data(path)).collect::<Vec<_>>()
    };
    assert_eq!(stores.map(|store| data(tree::all(&store))), before.map(data));
    assert_eq!(product::sessions(&scratch).len(), listed.len());
}

#[test]
fn a_session_keeps_its_folder_when_its_slug_is_renamed_and_its_directory_changes() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(4);
    let transcript = transcripts::make_conversation(&scratch, &id, 2);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let moved = transcript.to_string_lossy().replace(SLUG, "-home-dev-worktree");
    let moved = Path::new(&moved);
    fs::create_dir_all(moved.parent().expect("a slug")).expect("make another slug");
    fs::rename(&transcript, moved).expect("move the transcript");
    let line = transcripts::prompt_line(&id, 90, "from the worktree").replace("/home/dev/proj", "/home/dev/worktree");
    transcripts::append(moved, line);
    let event = transcripts::event("SessionEnd", moved, json!({"cwd": "/home/dev/worktree", "reason": "other"}));
    chain_delivered(&scratch, &event);
    assert_saved_twice(&scratch, moved);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let copies: Vec<_> = tree::session_files(&store).into_iter().filter(|path| path.ends_with(".jsonl")).collect();
        assert_eq!(copies, [format!("{PROJECT}/{id}.jsonl")], "in {}", store.display());
    }
}

#[test]
fn a_copy_that_fails_warns_and_passes_the_event_on() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    fs::write(scratch.layer1_store(), "not a directory").expect("block the store");
    let line = format!("{}\n", transcripts::session_end(&transcript));
    let outcome = scratch.layer1(&[]).stdin(line.clone()).output().ok();
    assert_eq!(outcome.text(), line);
    assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "one warning line: {outcome:#?}");
    assert!(outcome.stderr.contains(".claude-backup-sessions"), "it says where: {outcome:#?}");

    // Layer 2 has no outbox then either, but the hook still ends well.
    chain(&scratch, line.trim_end());
}

#[test]
fn a_copy_that_keeps_failing_tells_the_user_once() {
    let scratch = Scratch::new();
    let transcript = scratch.transcript(INTERACTIVE);
    fs::create_dir_all(&transcript).expect("a directory where the transcript should be");
    let submit = transcripts::prompt_submit(&transcript);
    let first = scratch.hook(&scratch.turn_command(), &submit).output().ok();
    let message = first.json();
    assert_eq!(
        message.as_object().map(|fields| fields.keys().collect::<Vec<_>>()),
        Some(vec![&"systemMessage".to_owned()])
    );
    scratch.hook(&scratch.turn_command(), &submit).output().ok().silent();
    let stop = transcripts::event("PostCompact", &transcript, json!({"trigger": "auto"}));
    scratch.hook(&scratch.turn_command(), &stop).output().ok().silent();
}

#[test]
fn a_sweep_copies_what_no_event_announced_and_only_that() {
    let scratch = Scratch::new();
    let laid_out = transcripts::lay_out_recorded(&scratch);
    scratch.layer1(&["sweep", "--quiet"]).output().ok().silent();
    for transcript in &laid_out {
        assert_equals_source(&scratch.layer1_store(), PROJECT, transcript);
    }
    let before = tree::visible(&scratch.layer1_store());
    transcripts::append(&laid_out[0], transcripts::prompt_line(RECORDED[0], 500, "unannounced"));
    scratch.layer1(&["sweep", "--quiet"]).output().ok().silent();
    let after = tree::visible(&scratch.layer1_store());
    let changed: Vec<_> =
        after.iter().filter(|(path, entry)| before.get(*path) != Some(entry)).map(|(path, _)| path).collect();
    assert_eq!(changed, [&Path::new(PROJECT).join(format!("{}.jsonl", RECORDED[0]))]);
    assert!(
        waiting::holds_within(Duration::ZERO, || difference(&scratch.layer1_store(), PROJECT, &laid_out[0]).is_none())
    );
}
