//! What a person has forgotten is nowhere in the stores, and does not come back.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::mcp::Client;
use tests::processes::RunningClaude;
use tests::scratch::{PROJECT, Scratch};
use tests::transcripts;
use tests::tree;

use crate::product::{
    assert_verified, await_delivered, chain, chain_delivered, found_in, pending, session_ids, text, turn,
};

/// Stands in the first conversation, in every place that there is, and nowhere else.
const SECRET: &str = "zanzibar-7719-pelican";

/// A conversation with all that can belong to one: side files, an older version, a compressed form, what a repair set
/// aside, a journal, metadata of every kind; and one that stays.
fn two_conversations(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let going = spoken(scratch, 1, &format!("the code is {SECRET}, keep it"));
    let id = transcripts::made_id(1);
    fs::write(scratch.claude_dir().join("history.jsonl"), format!("{{\"display\":\"x\",\"sessionId\":\"{id}\"}}\n"))
        .expect("a history");
    chain_delivered(scratch, &transcripts::session_end(&going));
    let rewritten = transcripts::prompt_line(&id, 300, &format!("again, {SECRET} it is"));
    transcripts::rewrite(&going, rewritten);
    chain_delivered(scratch, &transcripts::session_end(&going));
    scratch.layer3(&["compress", "--generations-only", "--older-than", "2100-01-01"]).output().ok();
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let aside = store.join(".state/damaged").join(PROJECT);
        fs::create_dir_all(&aside).expect("a quarantine");
        fs::write(aside.join(format!("{id}.jsonl.2")), format!("{SECRET}\n")).expect("something set aside");
    }
    let journals = scratch.layer1_store().join(".state/journal");
    fs::create_dir_all(&journals).expect("a folder of journals");
    fs::write(journals.join(format!("{id}.jsonl")), format!("{SECRET}\n")).expect("a journal");
    let events = scratch.layer1_store().join(PROJECT).join(format!("{id}.events.jsonl"));
    fs::write(events, format!("{SECRET}\n")).expect("published turns");
    fs::write(scratch.layer3_store().join("sessions.db.set-aside-20260101T000000Z"), SECRET).expect("an old index");
    let staying = spoken(scratch, 2, "nothing of it is secret");
    chain_delivered(scratch, &transcripts::session_end(&staying));
    (going, staying)
}

fn spoken(scratch: &Scratch, n: u32, words: &str) -> PathBuf {
    let (id, transcript) = (transcripts::made_id(n), scratch.transcript(&transcripts::made_id(n)));
    transcripts::append(&transcript, transcripts::prompt_line(&id, 100 * n, words));
    transcripts::append(&transcript, transcripts::answer_line(&id, 100 * n + 1, "as you say"));
    transcripts::append(&transcript.with_extension("").join("tool-results/one.txt"), format!("{words}\n"));
    transcript
}

/// Files of both stores whose bytes hold any of these words, compressed ones unpacked.
fn holding(scratch: &Scratch, words: &[&str]) -> Vec<PathBuf> {
    let stores = [scratch.layer1_store(), scratch.layer3_store()];
    let files = stores.iter().flat_map(|store| tree::all(store).into_keys().map(move |path| store.join(path)));
    let holds = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        let plain = zstd::decode_all(&bytes[..]).unwrap_or_default();
        let has = |bytes: &[u8], word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
        words.iter().any(|word| has(&bytes, word) || has(&plain, word))
    };
    files.filter(holds).collect()
}

/// Paths of both stores that bear the id, but for what says that it was forgotten.
fn named(scratch: &Scratch, id: &str) -> Vec<PathBuf> {
    let stays = [PathBuf::from(format!(".state/sessions/{id}/lock")), format!(".state/forgotten/{id}.json").into()];
    let stores = [scratch.layer1_store(), scratch.layer3_store()];
    let paths = stores.iter().flat_map(|store| tree::all(store).into_keys());
    paths
        .filter(|path| path.to_string_lossy().contains(id) && !stays.iter().any(|stays| stays.starts_with(path)))
        .collect()
}

#[track_caller]
fn assert_forgotten(scratch: &Scratch, id: &str) {
    assert_eq!(holding(scratch, &["zanzibar", "pelican"]), Vec::<PathBuf>::new());
    assert_eq!(named(scratch, id), Vec::<PathBuf>::new());
    assert_eq!(found_in(scratch, "pelican"), [""; 0]);
    assert_eq!(session_ids(scratch), [transcripts::made_id(2)]);
    assert_eq!(pending(scratch), [Value::Null; 0]);
    assert_verified(scratch);
    let status = scratch.layer3(&["status", "--json"]).output().json();
    let about = |finding: &&Value| finding.to_string().contains(id) || finding["kind"] == "one-copy";
    let findings = status["findings"].as_array().expect("findings");
    assert_eq!(findings.iter().filter(about).collect::<Vec<_>>(), [&Value::Null; 0], "{status:#}");
    assert_eq!(status["not_yet_saved"], json!([]), "{status:#}");
    // What Claude Code still has of it is not called saved.
    let left_out = u64::from(scratch.transcript(id).exists());
    assert_eq!(status["sources"]["left_out"], left_out, "{status:#}");
    let told = scratch.layer3(&["status"]).output().text();
    assert_eq!(told.contains("all saved twice"), left_out == 0, "{told}");
    let first = scratch.layer1(&["status", "--json"]).output().ok().json();
    assert_eq!(first["behind"], json!([]), "{first:#}");
}

#[test]
fn a_forgotten_conversation_is_nowhere_and_nothing_brings_it_back() {
    let scratch = Scratch::new();
    let (going, staying) = two_conversations(&scratch);
    let id = transcripts::made_id(1);
    let kept = fs::read(scratch.layer3_store().join(PROJECT).join(format!("{}.jsonl", transcripts::made_id(2))));
    assert!(holding(&scratch, &[SECRET]).len() > 10);
    let outcome = scratch.layer3(&["forget", &id, "--yes", "--json"]).output().ok().json();
    assert_eq!(text(&outcome["forgotten"][0], "session_id"), id);
    assert_eq!((&outcome["still_there"], &outcome["failed"]), (&json!([]), &json!([])), "{outcome:#}");
    assert!(outcome["checked_files"].as_u64().is_some_and(|files| files > 10), "{outcome:#}");
    assert_forgotten(&scratch, &id);
    assert!(going.exists(), "no file of Claude Code's is touched");
    // It goes on in an open client: its own hooks, those of others, sweeps, imports, deliveries, repairs.
    let claude = RunningClaude::start();
    for n in 0..2 {
        transcripts::append(&going, transcripts::prompt_line(&id, 400 + n, &format!("more of {SECRET}")));
        turn(&scratch, &transcripts::event("Stop", &going, json!({})));
        chain_delivered(&scratch, &transcripts::session_end(&going));
    }
    drop(claude);
    scratch.hook(&scratch.start_command(), "{}").output().ok();
    await_delivered(&scratch);
    scratch.layer1(&["sweep", "--all"]).output().ok();
    scratch.layer3(&["save", "--transcript", &going.display().to_string()]).output();
    chain_delivered(&scratch, &transcripts::session_end(&staying));
    for command in [&["import"][..], &["verify", "--repair"], &["rebuild"], &["import"]] {
        scratch.layer3(command).output().ok();
    }
    scratch.layer1(&["verify", "--repair"]).output().ok();
    let (mut client, _) = Client::initialized(&scratch, &[]);
    let saved = client.call(
        "session_save",
        json!({ "session_id": id, "transcript_path": going, "cwd": scratch.project_dir(), "trigger": "manual" }),
    );
    assert!(saved.as_ref().is_ok_and(|saved| saved["skipped"] == true), "{saved:?}");
    client.call("backup_create", json!({})).expect("a backup");
    client.end();
    assert_forgotten(&scratch, &id);
    assert!(scratch.log(1).contains("skipped a conversation that you had forgotten"), "{}", scratch.log(1));
    // What stays is as it was.
    let still = fs::read(scratch.layer3_store().join(PROJECT).join(format!("{}.jsonl", transcripts::made_id(2))));
    assert_eq!(still.expect("the copy"), kept.expect("the copy"));
    assert_eq!(found_in(&scratch, "nothing secret"), [transcripts::made_id(2)]);
    // Once more, it is not there, and nothing fails.
    scratch.layer3(&["forget", &id, "--yes"]).output().ok();
    assert_forgotten(&scratch, &id);
    // Until the user wants it back.
    scratch.layer3(&["forget", &id, "--allow-again"]).output().ok();
    scratch.hook(&scratch.start_command(), "{}").output().ok();
    await_delivered(&scratch);
    assert_eq!(found_in(&scratch, "pelican"), [id]);
}

#[test]
fn a_dry_run_tells_what_would_go_and_writes_nothing_and_without_a_yes_nothing_goes() {
    let scratch = Scratch::new();
    let transcript = spoken(&scratch, 1, "to be forgotten");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    scratch.layer3(&["list", "--all"]).output().ok();
    let id = transcripts::made_id(1);
    let stores = [scratch.layer1_store(), scratch.layer3_store()];
    let all = || stores.iter().map(|store| tree::all(store)).collect::<Vec<_>>();
    let before = all();
    let shown = scratch.layer3(&["forget", &id, "--dry-run"]).output().ok().text();
    let shown = shown.replace(&scratch.home().display().to_string(), "~");
    insta::assert_snapshot!(shown, @r"
    proj/00000000-0000-4000-8000-000000000001  to be forgotten
        last message 2026-11-22 00:01 UTC, 1.9 kB, 5 files, 1 version
    Claude Code still has it, and Threefold leaves its files alone. To delete them too, after closing it there:
      rm -r -- ~/.claude/projects/-home-dev-proj/00000000-0000-4000-8000-000000000001 ~/.claude/projects/-home-dev-proj/00000000-0000-4000-8000-000000000001.jsonl
    Not reached: snapshots and backups of the disk, other machines, exports, Claude Code's history.jsonl
    1 conversation to delete from both copies (1.9 kB)
    ");
    let dry = scratch.layer3(&["forget", &id, "--dry-run", "--json"]).output().ok().json();
    assert_eq!((&dry["dry_run"], &dry["forgotten"][0]["versions"]), (&json!(true), &json!(1)));
    scratch.layer3(&["forget", &id]).output().exits(1);
    scratch.layer3(&["forget", &id, "--json"]).output().exits(1);
    scratch.layer3(&["forget", "ffffffff", "--yes"]).output().exits(1);
    scratch.layer3(&["forget"]).output().exits(1);
    assert_eq!(all(), before);
}

#[test]
fn at_a_terminal_only_the_whole_word_yes_deletes() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    for (answer, goes) in [("y", false), ("", false), ("no", false), ("yes", true)] {
        let transcript = spoken(&scratch, 1, "to be forgotten");
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        let mut terminal = scratch.layer3(&["forget", &id]).at_terminal();
        terminal.await_text("Type \"yes\" to delete: ");
        terminal.type_in(&format!("{answer}\n"));
        let (code, screen) = terminal.end();
        assert_eq!(code == Some(0), goes, "{answer:?}: {screen}");
        assert_eq!(session_ids(&scratch).is_empty(), goes, "{answer:?}");
    }
}

#[test]
fn what_was_never_saved_is_forgotten_too() {
    let scratch = Scratch::new();
    let staying = spoken(&scratch, 2, "stays");
    chain_delivered(&scratch, &transcripts::session_end(&staying));
    let going = spoken(&scratch, 1, SECRET);
    let id = transcripts::made_id(1);
    scratch.layer3(&["forget", &id, "--yes"]).output().ok();
    chain(&scratch, &transcripts::session_end(&going));
    await_delivered(&scratch);
    assert_forgotten(&scratch, &id);
}

#[test]
fn a_store_that_was_put_back_is_told_of_and_cleaned_by_the_same_command() {
    for layer in [1, 3] {
        let scratch = Scratch::new();
        two_conversations(&scratch);
        let id = transcripts::made_id(1);
        let store = if layer == 1 { scratch.layer1_store() } else { scratch.layer3_store() };
        let snapshot = scratch.beside("snapshot");
        copy(&store, &snapshot);
        scratch.layer3(&["forget", &id, "--yes"]).output().ok();
        fs::remove_dir_all(&store).expect("the store");
        copy(&snapshot, &store);
        // The other store still knows: nothing carries it over.
        scratch.layer2(&["drain", "--foreground"]).output().ok();
        scratch.layer3(&["import"]).output().ok();
        let other = if layer == 1 { scratch.layer3_store() } else { scratch.layer1_store() };
        let in_other = holding(&scratch, &["pelican"]).into_iter().find(|path| path.starts_with(&other));
        assert_eq!(in_other, None, "layer {layer}");
        for verb in ["status", "verify", "doctor"] {
            let told = scratch.layer3(&[verb]).output().exits(1).text();
            assert!(
                told.contains(&format!("layer3-indexer forget {id}")) || told.contains(&format!("forget {id}")),
                "{told}"
            );
        }
        scratch.layer3(&["forget", &id, "--yes"]).output().ok();
        assert_forgotten(&scratch, &id);
    }
}

#[test]
fn what_another_conversation_says_of_it_is_named_and_stays() {
    let scratch = Scratch::new();
    let going = spoken(&scratch, 1, SECRET);
    let id = transcripts::made_id(1);
    let quoting = spoken(&scratch, 2, &format!("what was said in {id}?"));
    // A copy of it, as a fork is, without its id in the first lines.
    let copied = scratch.transcript(&transcripts::made_id(3));
    fs::copy(&going, &copied).expect("a fork");
    for transcript in [&going, &quoting, &copied] {
        chain_delivered(&scratch, &transcripts::session_end(transcript));
    }
    let outcome = scratch.layer3(&["forget", &id, "--yes", "--json"]).output().ok().json();
    assert_eq!(outcome["elsewhere"], json!([transcripts::made_id(2), transcripts::made_id(3)]), "{outcome:#}");
    assert_eq!(session_ids(&scratch), [transcripts::made_id(2), transcripts::made_id(3)]);
    assert_verified(&scratch);
}

#[test]
fn what_is_left_under_a_name_that_is_not_ours_is_named_and_the_exit_code_is_1() {
    let scratch = Scratch::new();
    let transcript = spoken(&scratch, 1, SECRET);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let id = transcripts::made_id(1);
    let copy = scratch.layer3_store().join(PROJECT).join(format!("{id}.jsonl"));
    // By its name, by its lines under a name that says nothing, packed by somebody.
    let by_name = copy.with_file_name(format!("{id} (conflicted copy).jsonl"));
    let by_lines = scratch.layer3_store().join("backup of friday");
    let packed = scratch.layer1_store().join("friday.zst");
    fs::write(&by_name, "x").expect("a conflict copy");
    fs::copy(&copy, &by_lines).expect("a copy by hand");
    let lines = fs::read(&transcript).expect("the transcript");
    fs::write(&packed, zstd::encode_all(&lines[..], 3).expect("packed")).expect("a packed copy");
    let outcome = scratch.layer3(&["forget", &id, "--yes", "--json"]).output().exits(1).json();
    let mut left: Vec<&str> =
        outcome["still_there"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    left.sort_unstable();
    let mut expected = [&by_name, &by_lines, &packed].map(|path| path.display().to_string());
    expected.sort_unstable();
    assert_eq!(left, expected);
    let status = scratch.layer3(&["status"]).output().exits(1).text();
    assert!(status.contains(&format!("forget {id}")), "{status}");
    for path in [by_name, by_lines, packed] {
        fs::remove_file(path).expect("a person looks after it");
    }
    scratch.layer3(&["forget", &id, "--yes"]).output().ok();
    assert_eq!(named(&scratch, &id), Vec::<PathBuf>::new());
    let status = scratch.layer3(&["status"]).output().text();
    assert!(!status.contains("forget-unfinished") && !status.contains(&format!("forget {id}")), "{status}");
}

#[test]
fn a_note_that_cannot_be_read_is_an_error_and_not_silence() {
    let scratch = Scratch::new();
    let transcript = spoken(&scratch, 1, SECRET);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let id = transcripts::made_id(1);
    scratch.layer3(&["forget", &id, "--yes"]).output().ok();
    let note = scratch.layer1_store().join(format!(".state/forgotten/{id}.json"));
    for damaged in ["", "{}", "{\"format\":1}", "{\"format\":99}"] {
        fs::write(&note, damaged).expect("damage it");
        let outcome =
            scratch.hook(&scratch.turn_command(), &transcripts::event("Stop", &transcript, json!({}))).output().ok();
        assert!(outcome.stderr.contains("forgotten"), "{damaged:?}: {outcome:?}");
        assert!(holding(&scratch, &["pelican"]).is_empty());
        let status = scratch.layer3(&["status"]).output().exits(1).text();
        assert!(status.contains("cannot be read"), "{damaged:?}: {status}");
    }
}

/// A conversation of two versions in which the secret stands wherever it can, and one that stays.
fn with_messages(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let (going, staying) = two_conversations(scratch);
    let id = transcripts::made_id(1);
    let tool = transcripts::tool_line(&id, 310, "Bash", json!({ "command": format!("echo \"{SECRET}\"") }));
    transcripts::append(&going, tool);
    transcripts::append(&going, transcripts::answer_line(&id, 311, "the pelican rests"));
    let agent = going.with_extension("").join("subagents/agent-1.jsonl");
    transcripts::append(&agent, transcripts::answer_line(&id, 312, &format!("{SECRET} it was")));
    transcripts::append(&agent, transcripts::answer_line(&id, 313, "no more"));
    let memory = scratch.slug_dir().join("memory/MEMORY.md");
    transcripts::append(&memory, format!("# Notes\n- the code is {SECRET}\n- be kind\n"));
    let unfinished = scratch.layer1_store().join(format!(".state/journal/{}.jsonl", transcripts::made_id(9)));
    fs::write(unfinished, format!("{{\"prompt\":\"{SECRET}\"}}\n{{\"prompt\":\"other\"}}\n")).expect("a journal");
    chain_delivered(scratch, &transcripts::session_end(&going));
    (going, staying)
}

/// What is not said of a conversation for what was forgotten of it.
const WRONG_AFTER_IT: [&str; 5] = ["forget-unfinished", "one-copy", "not-saved", "shrunk", "memory-shrunk"];

#[track_caller]
fn assert_text_is_nowhere(scratch: &Scratch) {
    assert_eq!(holding(scratch, &[SECRET]), Vec::<PathBuf>::new());
    assert_eq!(found_in(scratch, SECRET), [""; 0]);
    assert_eq!(session_ids(scratch), [transcripts::made_id(1), transcripts::made_id(2)]);
    assert_verified(scratch);
    let status = scratch.layer3(&["status", "--json"]).output().json();
    let about = |finding: &&Value| WRONG_AFTER_IT.iter().any(|kind| finding["kind"] == *kind);
    let findings = status["findings"].as_array().expect("findings");
    assert_eq!(findings.iter().filter(about).collect::<Vec<_>>(), [&Value::Null; 0], "{status:#}");
    assert_eq!(status["not_yet_saved"], json!([]), "{status:#}");
}

#[test]
fn a_text_is_in_no_message_of_either_copy_and_the_conversation_goes_on_without_it() {
    let scratch = Scratch::new();
    let (going, staying) = with_messages(&scratch);
    let id = transcripts::made_id(1);
    let source = fs::read(&going).expect("the transcript");
    let shown = scratch.layer3(&["forget", "--match", SECRET, "--dry-run"]).output().ok().text();
    assert!(shown.contains(&id) && shown.contains("with the text") && !shown.contains("no more"), "{shown}");
    assert!(!holding(&scratch, &[SECRET]).is_empty(), "a dry run deletes nothing");
    let outcome = scratch.layer3(&["forget", "--match", SECRET, "--yes", "--json"]).output().ok().json();
    assert_eq!(outcome["still_there"], json!([]), "{outcome:#}");
    assert_text_is_nowhere(&scratch);
    assert_eq!(fs::read(&going).expect("the transcript"), source, "no file of Claude Code's is touched");
    // What is beside it in the same conversation stays, and is found.
    assert_eq!(found_in(&scratch, "\"pelican rests\""), std::slice::from_ref(&id));
    let again = || {
        scratch.hook(&scratch.start_command(), "{}").output().ok();
        await_delivered(&scratch);
        scratch.layer1(&["sweep", "--all"]).output().ok();
        scratch.layer3(&["import"]).output().ok();
        chain_delivered(&scratch, &transcripts::session_end(&staying));
        scratch.layer1(&["verify", "--repair"]).output().ok();
        scratch.layer3(&["verify", "--repair"]).output().ok();
        scratch.layer3(&["rebuild"]).output().ok();
    };
    again();
    assert_text_is_nowhere(&scratch);
    // The open client goes on in its file, which has it still.
    let generations = named(&scratch, &format!("{id}.gen-")).len();
    transcripts::append(&going, transcripts::prompt_line(&id, 400, "a flamingo comes"));
    turn(&scratch, &transcripts::event("Stop", &going, json!({})));
    chain_delivered(&scratch, &transcripts::session_end(&going));
    again();
    assert_text_is_nowhere(&scratch);
    assert_eq!(found_in(&scratch, "flamingo"), std::slice::from_ref(&id));
    assert_eq!(named(&scratch, &format!("{id}.gen-")).len(), generations, "it grows as before");
    // What comes back is what Claude Code has, line for line, but for what was forgotten: each record with its parent.
    let source = fs::read_to_string(&going).expect("the transcript");
    fs::remove_file(&going).expect("Claude Code deletes it");
    fs::remove_dir_all(going.with_extension("")).expect("and its side files");
    scratch.layer3(&["restore", &id]).output().ok();
    let restored = fs::read_to_string(&going).expect("the restored transcript");
    assert_eq!(restored.lines().count(), source.lines().count());
    for (line, was) in restored.lines().zip(source.lines()) {
        let [line_json, was_json] = [line, was].map(|text| serde_json::from_str::<Value>(text).expect("a record"));
        assert_eq!((&line_json["uuid"], &line_json["parentUuid"]), (&was_json["uuid"], &was_json["parentUuid"]));
        assert_eq!(line == was, !was.contains(SECRET), "{line}");
    }
    let memory = fs::read_dir(scratch.layer3_store().join(".memory")).expect("the memories").count();
    assert!(memory > 0);
    // Typed once more, it is a new message.
    transcripts::append(&going, transcripts::prompt_line(&id, 500, &format!("{SECRET} again")));
    chain_delivered(&scratch, &transcripts::session_end(&going));
    assert_eq!(found_in(&scratch, SECRET), [id]);
    scratch.layer3(&["forget", "--match", SECRET, "--yes"]).output().ok();
    assert_text_is_nowhere(&scratch);
}

/// PHP and others write a slash so, and what JSON a tool gave lies in JSON.
#[test]
fn a_text_is_found_in_every_way_that_json_writes_it() {
    let scratch = Scratch::new();
    let path = "vault/zanzibar/7719-pelican";
    let going = spoken(&scratch, 1, "SLASHED");
    let spoken = fs::read_to_string(&going).expect("the transcript");
    let (once, twice) = (path.replace('/', r"\/"), path.replace('/', r"\\\/"));
    fs::write(&going, spoken.replace("SLASHED", &format!(r#"{once} and {{\"x\":\"{twice}\"}}"#)))
        .expect("another writes");
    let side = going.with_extension("").join("tool-results/out.txt");
    transcripts::append(&side, format!("{once}\nkept\n"));
    chain_delivered(&scratch, &transcripts::session_end(&going));
    assert!(!holding(&scratch, &[&once]).is_empty());
    let told = scratch.layer3(&["forget", &format!("--match={path}"), "--yes"]).output().ok().text();
    assert!(told.contains("messages of 1 conversation deleted"), "{told}");
    assert_eq!(holding(&scratch, &[path, &once, &twice, "7719-pelican"]), Vec::<PathBuf>::new());
    assert_verified(&scratch);
}

#[test]
fn a_text_in_a_name_is_told_with_what_deletes_it_and_the_rest_is_finished() {
    let scratch = Scratch::new();
    let (going, _) = with_messages(&scratch);
    let id = transcripts::made_id(1);
    let side = going.with_extension("").join(format!("tool-results/named-{SECRET}.txt"));
    transcripts::append(&side, format!("{SECRET}\nkept\n"));
    chain_delivered(&scratch, &transcripts::session_end(&going));
    for _ in 0..2 {
        let outcome = scratch.layer3(&["forget", "--match", SECRET, "--yes"]).output().exits(1);
        let told = format!("{}{}", outcome.text(), outcome.stderr);
        for part in ["name of a file or folder of", &format!("forget {id}")] {
            assert!(told.contains(part) && !told.contains("still holds") && !told.contains("Checked"), "{told}");
        }
        assert_eq!(found_in(&scratch, SECRET), [""; 0]);
        assert_verified(&scratch);
        let status = scratch.layer3(&["status", "--json"]).output().text();
        assert!(!status.contains("forget-unfinished"), "{status}");
    }
    let holding_it = holding(&scratch, &[SECRET]);
    let is_content =
        |path: &&PathBuf| path.to_string_lossy().ends_with(".txt") || path.to_string_lossy().ends_with("jsonl");
    assert_eq!(holding_it.iter().find(is_content), None, "{holding_it:?}");
    scratch.layer3(&["forget", &id, "--yes"]).output().ok();
    assert_eq!(holding(&scratch, &[SECRET]), Vec::<PathBuf>::new());
}

#[test]
fn what_was_killed_says_so_and_is_finished_and_a_store_that_was_put_back_is_cleaned() {
    let scratch = Scratch::new();
    with_messages(&scratch);
    let id = transcripts::made_id(1);
    let (store, snapshot) = (scratch.layer1_store(), scratch.beside("snapshot"));
    copy(&store, &snapshot);
    scratch.layer3(&["forget", "--match", SECRET, "--yes"]).output().ok();
    // As a run leaves it that is killed after its first step in one store, and before it in the other.
    let note = fs::read_to_string(store.join(format!(".state/forgotten/{id}.json"))).expect("the note");
    fs::remove_dir_all(&store).expect("the store");
    copy(&snapshot, &store);
    fs::create_dir_all(store.join(".state/forgotten")).expect("a folder");
    let begun = note.replace("\"is_finished\":true", "\"is_finished\":false");
    assert_ne!(begun, note);
    fs::write(store.join(format!(".state/forgotten/{id}.json")), begun).expect("the note");
    for verb in ["status", "verify"] {
        let told = scratch.layer3(&[verb]).output().exits(1).text();
        assert!(told.contains("forget --finish"), "{told}");
    }
    // Nothing carries it over meanwhile.
    scratch.layer2(&["drain", "--foreground"]).output();
    scratch.layer3(&["import"]).output();
    let in_second = holding(&scratch, &[SECRET]).into_iter().find(|path| path.starts_with(scratch.layer3_store()));
    assert_eq!(in_second, None);
    // What cannot be looked for is not called gone.
    let finished = scratch.layer3(&["forget", "--finish"]).output().ok();
    assert!(!finished.text().contains("Checked") && finished.stderr.contains("forget --match TEXT"), "{finished:?}");
    let transcripts_holding = |path: &PathBuf| path.to_string_lossy().contains(&format!("{PROJECT}/{id}"));
    let left: Vec<PathBuf> = holding(&scratch, &[SECRET]).into_iter().filter(transcripts_holding).collect();
    let is_no_content = |path: &PathBuf| ["events", "damaged"].iter().any(|part| path.to_string_lossy().contains(part));
    assert!(left.iter().all(is_no_content), "{left:?}");
    // The rest, which no note names, by the text.
    scratch.layer3(&["forget", "--match", SECRET, "--yes"]).output().ok();
    scratch.layer2(&["drain", "--foreground"]).output().ok();
    assert_text_is_nowhere(&scratch);
}

#[test]
fn a_text_that_claude_code_needs_is_refused_and_nothing_is_changed() {
    let scratch = Scratch::new();
    let transcript = spoken(&scratch, 1, "a text");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let before = holding(&scratch, &["a text"]);
    let (id, across) = (transcripts::made_id(1), "\"role\":\"user\"");
    for text in ["user", "parentUuid", "2026-", &id, across, "abc", "   ", ""] {
        let refused = scratch.layer3(&["forget", "--match", text, "--yes"]).output().exits(1);
        assert!(refused.stderr.contains("--match"), "{text:?}: {refused:?}");
    }
    let nowhere = scratch.layer3(&["forget", "--match", "not said at all", "--yes"]).output().ok().text();
    assert!(nowhere.contains("0 messages"), "{nowhere}");
    // It may come where nobody sees it.
    let piped = scratch.layer3(&["forget", "--match", "-", "--yes", "--json"]).stdin("not said at all\n").output().ok();
    assert_eq!(piped.json()["forgotten"], json!([]));
    assert_eq!(holding(&scratch, &["a text"]), before);
    assert_verified(&scratch);
}

#[test]
fn a_text_that_was_forgotten_stays_so_when_another_one_of_the_same_message_is() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let going = spoken(&scratch, 1, "nothing");
    // Two strings of one record, and both texts in one string of another.
    let input = json!({ "command": "echo zanzibar", "description": "of the pelican" });
    transcripts::append(&going, transcripts::tool_line(&id, 310, "Bash", input));
    transcripts::append(&going, transcripts::answer_line(&id, 311, "zanzibar and pelican"));
    let save = || {
        chain_delivered(&scratch, &transcripts::session_end(&going));
        scratch.layer1(&["sweep", "--all"]).output().ok();
        scratch.layer3(&["import"]).output().ok();
    };
    save();
    for (n, text) in ["zanzibar", "pelican"].into_iter().enumerate() {
        scratch.layer3(&["forget", "--match", text, "--yes"]).output().ok();
        save();
        assert_eq!(holding(&scratch, &["zanzibar", "pelican"][..=n]), Vec::<PathBuf>::new(), "{text}");
    }
    assert_eq!(named(&scratch, &format!("{id}.gen-")), Vec::<PathBuf>::new());
    assert_verified(&scratch);
}

#[test]
fn what_was_being_written_when_it_was_forgotten_stays_so_when_it_is_written_to_its_end() {
    let scratch = Scratch::new();
    let (id, going) = (transcripts::made_id(1), spoken(&scratch, 1, "nothing"));
    let output = going.with_extension("").join("tool-results/one.txt");
    let record = transcripts::answer_line(&id, 311, &format!("{SECRET} and \"more\" of it"));
    let at = record.find("more").expect("in the middle of it");
    transcripts::append(&going, &record[..at]);
    transcripts::append(&output, format!("the end: {SECRET}"));
    let save = || {
        chain_delivered(&scratch, &transcripts::session_end(&going));
        scratch.layer1(&["sweep", "--all"]).output().ok();
        scratch.layer3(&["import"]).output().ok();
    };
    save();
    assert!(!holding(&scratch, &[SECRET]).is_empty());
    scratch.layer3(&["forget", "--match", SECRET, "--yes"]).output().ok();
    save();
    assert_eq!(holding(&scratch, &[SECRET]), Vec::<PathBuf>::new());
    transcripts::append(&going, &record[at..]);
    transcripts::append(&going, transcripts::prompt_line(&id, 400, "a flamingo comes"));
    transcripts::append(&output, ", and on it goes\n");
    save();
    assert_eq!(holding(&scratch, &[SECRET]), Vec::<PathBuf>::new());
    assert_eq!(named(&scratch, &format!("{id}.gen-")), Vec::<PathBuf>::new(), "it grows as before");
    assert_eq!(found_in(&scratch, "flamingo"), [id]);
    assert_verified(&scratch);
}

#[test]
fn what_is_nobodys_or_lies_behind_a_link_is_not_touched_and_is_told() {
    let scratch = Scratch::new();
    let transcript = spoken(&scratch, 1, SECRET);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let said = format!("{SECRET} of {}\n", transcripts::made_id(1));
    let notes = scratch.layer3_store().join(PROJECT).join("notes.json");
    let outside = scratch.beside("outside");
    fs::create_dir_all(&outside).expect("a folder");
    let theirs = [notes.clone(), outside.join("layer3.log")];
    theirs.iter().for_each(|path| fs::write(path, &said).expect("a file of somebody"));
    let logs = scratch.layer3_store().join(".log");
    fs::remove_dir_all(&logs).expect("the logs");
    std::os::unix::fs::symlink(&outside, &logs).expect("a link");
    for args in [["--match", SECRET], ["--", &transcripts::made_id(1)]] {
        let outcome = scratch.layer3(&["forget", "--yes", "--json", args[0], args[1]]).output().exits(1);
        assert_eq!(outcome.json()["still_there"], json!([notes]), "{outcome:?}");
        assert!(outcome.stderr.contains("is a link"), "{outcome:?}");
        assert!(theirs.iter().all(|path| fs::read_to_string(path).is_ok_and(|text| text == said)), "{args:?}");
    }
}

#[test]
fn of_two_conversations_with_one_id_none_is_forgotten_by_its_project() {
    let scratch = Scratch::new();
    let one = spoken(&scratch, 1, "in the first folder");
    chain_delivered(&scratch, &transcripts::session_end(&one));
    let id = transcripts::made_id(1);
    let folders = || {
        let files = tree::all(&scratch.layer3_store()).into_keys();
        files.filter(|path| path.ends_with(format!("{id}.jsonl"))).count()
    };
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        fs::create_dir(store.join("other")).expect("a folder");
        fs::copy(&one, store.join("other").join(format!("{id}.jsonl"))).expect("a copy");
    }
    let refused = scratch.layer3(&["forget", &format!("{PROJECT}/{id}"), "--yes"]).output().exits(1);
    assert!(refused.stderr.contains("other has the same id"), "{refused:?}");
    assert_eq!(folders(), 2);
    scratch.layer3(&["forget", &id, "--yes"]).output().ok();
    assert_eq!(folders(), 0);
}

#[test]
fn a_beginning_that_another_conversation_has_too_is_refused() {
    let scratch = Scratch::new();
    let saved = spoken(&scratch, 1, "it is saved");
    chain_delivered(&scratch, &transcripts::session_end(&saved));
    spoken(&scratch, 2, "only Claude Code has it");
    let begin = &transcripts::made_id(1)[..8];
    for args in [&["--yes"][..], &["--dry-run"]] {
        let refused = scratch.layer3(&[&["forget", begin], args].concat()).output().exits(1);
        assert!(refused.stderr.contains("type more of it"), "{refused:?}");
    }
    assert_eq!(session_ids(&scratch), [transcripts::made_id(1)]);
    scratch.layer3(&["forget", "--allow-again", "--finish"]).output().exits(1);
    scratch.layer3(&["forget", "--allow-again", "--match", "it is saved"]).output().exits(1);
    scratch.layer3(&["forget", &transcripts::made_id(1), "--yes"]).output().ok();
    // What was forgotten is not meant any more.
    scratch.layer3(&["forget", begin, "--dry-run"]).output().exits(1);
}

fn copy(from: &Path, to: &Path) {
    fs_extra::dir::copy(from, to, &fs_extra::dir::CopyOptions::new().copy_inside(true).content_only(true))
        .expect("copy");
}
