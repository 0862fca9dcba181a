//! Nothing is removed but by command, and then only what is saved elsewhere or was named.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tests::processes::RunningClaude;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::assert_saved_twice;
use tests::terminal::CTRL_D;
use tests::transcripts;
use tests::tree;

use crate::product::{assert_verified, await_delivered, chain_delivered, found_in, pending, session_ids, text};

/// A conversation of the year 2024, saved twice. The words in it are its own.
fn saved(scratch: &Scratch, n: u32, words: &str) -> PathBuf {
    let (id, transcript) = (transcripts::made_id(n), scratch.transcript(&transcripts::made_id(n)));
    transcripts::append(&transcript, transcripts::prompt_line(&id, 100 * n, words));
    transcripts::append(&transcript, transcripts::answer_line(&id, 100 * n + 1, "yes"));
    transcripts::append(&transcript.with_extension("").join("tool-results/one.txt"), "a large output\n");
    save(scratch, &transcript);
    transcript
}

fn save(scratch: &Scratch, transcript: &Path) {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_164_645);
    fs::File::options().append(true).open(transcript).and_then(|file| file.set_modified(then)).expect("set a time");
    chain_delivered(scratch, &transcripts::session_end(transcript));
}

fn delete(transcript: &Path) {
    fs::remove_file(transcript).expect("Claude Code deletes a transcript");
    fs::remove_dir_all(transcript.with_extension("")).expect("and its side files");
}

/// Everything in both stores, logs and what SQLite does with its log left out.
fn all(scratch: &Scratch) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        for (path, entry) in tree::all(&store) {
            let text = path.to_string_lossy();
            if matches!(entry, tree::Entry::File(..)) && !text.starts_with(".log") && !text.starts_with("sessions.db") {
                all.push((store.join(&path), fs::read(store.join(&path)).expect("read a file")));
            }
        }
    }
    all
}

fn of_session(scratch: &Scratch, id: &str) -> Vec<String> {
    let paths = all(scratch).into_iter().map(|(path, _)| path.display().to_string());
    paths.filter(|path| path.contains(id) && !path.ends_with("/lock")).collect()
}

/// What a person sees, with the scratch home as `~`.
fn shown(scratch: &Scratch, args: &[&str]) -> String {
    let text = scratch.layer3(args).output().ok().text();
    text.replace(&scratch.home().display().to_string(), "~").replace(PROJECT, "proj")
}

#[test]
fn a_dry_run_shows_what_would_go_and_why_and_writes_nothing() {
    let scratch = Scratch::new();
    let alone = saved(&scratch, 1, "alone in the world");
    saved(&scratch, 2, "still with Claude");
    delete(&alone);
    let before = all(&scratch);
    insta::assert_snapshot!(shown(&scratch, &["prune", "--all", "--older-than", "2100-01-01", "--only-copies", "--dry-run"]), @r#"
    session     2026-11-22 00:01 UTC   1.9 kB  proj/00000000-0000-4000-8000-000000000001  alone in the world
        the only copy: Claude Code no longer has it
    kept        proj/00000000-0000-4000-8000-000000000002
        Claude Code still has ~/.claude/projects/-home-dev-proj/00000000-0000-4000-8000-000000000002.jsonl; the next sweep would save it again
    1 session (1.9 kB), 1 of them the only copy to remove
    "#);
    insta::assert_snapshot!(shown(&scratch, &["prune", "--all", "--keep-last", "0", "--dry-run"]), @r#"
    kept        proj/00000000-0000-4000-8000-000000000001
        the only copy: Claude Code no longer has it; --only-copies lets it go
    kept        proj/00000000-0000-4000-8000-000000000002
        Claude Code still has ~/.claude/projects/-home-dev-proj/00000000-0000-4000-8000-000000000002.jsonl; the next sweep would save it again
    Nothing to remove
    "#);
    insta::assert_snapshot!(shown(&scratch, &["prune", &transcripts::made_id(2), "--dry-run"]), @r#"
    session     2026-11-22 00:03 UTC   1.9 kB  proj/00000000-0000-4000-8000-000000000002  still with Claude
        Claude Code has every byte of it: ~/.claude/projects/-home-dev-proj/00000000-0000-4000-8000-000000000002.jsonl
        that file stays where it is, and the next sweep saves the session again
    1 session (1.9 kB) to remove
    "#);
    assert_eq!(all(&scratch), before);
}

#[test]
fn superseded_generations_are_shown_and_go_from_both_stores() {
    let scratch = Scratch::new();
    let transcript = saved(&scratch, 1, "first words");
    let first = fs::read(&transcript).expect("the transcript");
    let id = transcripts::made_id(1);
    transcripts::rewrite(&transcript, transcripts::prompt_line(&id, 700, "something apart"));
    save(&scratch, &transcript);
    transcripts::rewrite(&transcript, [first, transcripts::prompt_line(&id, 800, "last words").into_bytes()].concat());
    save(&scratch, &transcript);
    let text = shown(&scratch, &["prune", "--all", "--generations", "--dry-run"]);
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.split_once("kB").or(line.split_once(" B")).map_or(line, |(_, rest)| rest))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
      proj/00000000-0000-4000-8000-000000000001.gen-0001.jsonl (layer 1)
        00000000-0000-4000-8000-000000000001.jsonl begins with all of it
      proj/00000000-0000-4000-8000-000000000001.gen-0001.jsonl (layer 3)
        00000000-0000-4000-8000-000000000001.jsonl begins with all of it
    ) to remove
    "#);
    scratch.layer3(&["prune", "--all", "--generations", "--yes"]).output().ok();
    assert_verified(&scratch);
    for words in ["first", "apart", "last"] {
        assert_eq!(found_in(&scratch, words), std::slice::from_ref(&id), "{words}");
    }
    let generations = |scratch: &Scratch| of_session(scratch, ".gen-").len();
    assert_eq!(generations(&scratch), 2, "one of each store stays");
    // Nothing that happens afterwards brings it back.
    scratch.hook(&scratch.start_command(), "{}").output().ok();
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    scratch.layer3(&["import"]).output().ok();
    assert_eq!(generations(&scratch), 2);
    assert_verified(&scratch);
}

#[test]
fn a_named_session_is_gone_everywhere_and_stays_gone() {
    let scratch = Scratch::new();
    let (going, staying) = (saved(&scratch, 1, "a secret"), saved(&scratch, 2, "a joke"));
    delete(&going);
    let id = transcripts::made_id(1);
    let outcome = scratch.layer3(&["prune", &id, "--yes", "--json"]).output().ok().json();
    assert_eq!(text(&outcome["pruned"][0], "session_id"), id);
    assert_eq!(outcome["pruned"][0]["only_copy"], Value::Bool(true));
    let is_gone = || {
        assert_eq!(of_session(&scratch, &id), [""; 0]);
        assert_eq!(found_in(&scratch, "secret"), [""; 0]);
        assert_eq!(session_ids(&scratch), [transcripts::made_id(2)]);
        assert_verified(&scratch);
    };
    is_gone();
    // Neither a start of Claude Code, nor a save, an import, a repair or a rebuild brings it back.
    scratch.hook(&scratch.start_command(), "{}").output().ok();
    chain_delivered(&scratch, &transcripts::session_end(&staying));
    for command in [&["import"][..], &["verify", "--repair"], &["rebuild"]] {
        scratch.layer3(command).output().ok();
    }
    is_gone();
    let status = scratch.layer3(&["status"]).output().text();
    assert!(!status.contains("damaged") && !status.contains("not-saved"), "{status}");
}

#[test]
fn a_session_whose_source_is_there_is_saved_again_by_the_next_sweep() {
    let scratch = Scratch::new();
    let transcript = saved(&scratch, 1, "hello again");
    let before = fs::read(&transcript).expect("the transcript");
    let said = scratch.layer3(&["prune", &transcripts::made_id(1), "--yes"]).output().ok().text();
    assert!(said.contains("stays where it is, and the next sweep saves the session again"), "{said}");
    assert_eq!(fs::read(&transcript).expect("the transcript"), before);
    assert_eq!(of_session(&scratch, &transcripts::made_id(1)), [""; 0]);
    scratch.hook(&scratch.start_command(), "{}").output().ok();
    await_delivered(&scratch);
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

/// At a terminal: what is shown, the question, an answer, the exit code and what is said of it.
fn answered(scratch: &Scratch, args: &[&str], question: &str, answer: &str) -> (Option<i32>, String) {
    let mut terminal = scratch.layer3(args).at_terminal();
    terminal.await_text(question);
    terminal.type_in(answer);
    terminal.end()
}

#[test]
fn at_a_terminal_nothing_goes_without_a_yes_and_with_it_what_was_shown() {
    const QUESTION: &str = "Remove them? [y/N] ";
    const LAST_COPY: &str = "These exist nowhere else, so this cannot be undone. Type \"yes\" to delete: ";
    let scratch = Scratch::new();
    for n in 1..=3 {
        saved(&scratch, n, "still with Claude");
    }
    let (second, third) = (transcripts::made_id(2), transcripts::made_id(3));
    let alone = saved(&scratch, 4, "alone in the world");
    delete(&alone);
    let alone = transcripts::made_id(4);
    let before = all(&scratch);
    let refusals = ["n\n", "\n", CTRL_D, "no\n", "yess\n", "Y E S\n", "nyes\n"];
    let asked = refusals.map(|answer| (&second, QUESTION, answer));
    // The last copy takes a whole word.
    let asked_twice = ["n\n", "\n", CTRL_D, "y\n"].map(|answer| (&alone, LAST_COPY, answer));
    for (id, question, answer) in asked.into_iter().chain(asked_twice) {
        let (code, screen) = answered(&scratch, &["prune", id], question, answer);
        assert!(screen.contains(&id[..8]), "{answer:?}: it is shown first: {screen}");
        assert!(screen.contains(": cancelled"), "{answer:?}: {screen}");
        assert_eq!((code, all(&scratch) == before), (Some(1), true), "{answer:?}: {screen}");
    }
    for (id, question, answer) in
        [(&second, QUESTION, "y\n"), (&third, QUESTION, "yes\n"), (&alone, LAST_COPY, "yes\n")]
    {
        let (code, screen) = answered(&scratch, &["prune", id], question, answer);
        assert_eq!(code, Some(0), "{screen}");
        assert_eq!(of_session(&scratch, id), [""; 0], "{screen}");
    }
    assert_eq!(session_ids(&scratch), [transcripts::made_id(1)], "nothing else went");
    assert_verified(&scratch);
}

#[test]
fn who_is_not_at_a_terminal_is_told_what_to_say_instead() {
    let scratch = Scratch::new();
    saved(&scratch, 1, "mine");
    let before = all(&scratch);
    let id = transcripts::made_id(1);
    let refused = scratch.layer3(&["prune", &id]).stdin("y\n").output().exits(1);
    assert!(refused.text().contains(&id[..8]), "{refused:?}");
    let line = "layer3-indexer: failed to remove anything: there is no terminal to ask at\n  hint: look with --dry-run, then say --yes\n";
    assert_eq!(refused.stderr, line);
    // Nor who reads JSON at one: an answer is not to be mistaken for it.
    let (code, screen) = scratch.layer3(&["prune", &id, "--json"]).at_terminal().end();
    assert!(code == Some(1) && screen.contains("there is no terminal to ask at"), "{screen}");
    // Where nothing goes nothing is asked.
    let (code, screen) = scratch.layer3(&["prune", "--all", "--generations"]).at_terminal().end();
    assert!(code == Some(0) && !screen.contains("Remove"), "{screen}");
    assert_eq!(all(&scratch), before);
}

#[test]
fn nobody_is_asked_without_a_terminal_and_nothing_goes_without_a_yes() {
    let scratch = Scratch::new();
    let transcript = saved(&scratch, 1, "mine");
    delete(&transcript);
    let before = all(&scratch);
    let id = transcripts::made_id(1);
    for args in [
        &["prune", &id][..],
        &["prune", &id, "--json"],
        &["prune", "--all", "--older-than", "1d", "--only-copies"],
        &["prune"],
        &["prune", "--yes"],
        &["prune", "--all", "--yes"],
        &["prune", &id, "--older-than", "1d", "--yes"],
        &["prune", &id, "--only-copies", "--yes"],
        &["prune", "--all", "--generations", "--only-copies", "--yes"],
        &["prune", &id, "--all", "--yes"],
        &["prune", "nobody", "--yes"],
        &["prune", "--older-than", "soon", "--yes"],
    ] {
        let outcome = scratch.layer3(args).stdin("yes\n").output().exits(1);
        assert!(outcome.stderr.contains("failed to") || outcome.stderr.contains("error:"), "{outcome:?}");
    }
    // Its age alone does not take the only copy, whatever is confirmed.
    let said = scratch.layer3(&["prune", "--all", "--older-than", "1d", "--yes"]).output().ok().text();
    assert!(said.contains("--only-copies lets it go"), "{said}");
    // Another project's sessions are not meant.
    scratch.layer3(&["prune", "--project", "other", "--keep-last", "0", "--only-copies", "--yes"]).output().ok();
    assert_eq!(all(&scratch), before);
    // Nothing is removed on a guess.
    scratch.layer3(&["prune", "--older-than", "1d", "--only-copies", "--yes"]).output().ok();
    assert_eq!(all(&scratch), before, "nothing is known of the current directory");
    scratch.layer3(&["prune", "--project", "proj", "--older-than", "1d", "--only-copies", "--yes"]).output().ok();
    assert_eq!(of_session(&scratch, &id), [""; 0]);
}

#[test]
fn a_live_session_stays() {
    let scratch = Scratch::new();
    let transcript = saved(&scratch, 1, "in the middle of it");
    let id = transcripts::made_id(1);
    let sessions = scratch.claude_dir().join("sessions");
    fs::create_dir_all(&sessions).expect("make a directory");
    let claude = RunningClaude::start();
    let live = format!("{{\"pid\":{},\"sessionId\":\"{id}\"}}", claude.pid());
    fs::write(sessions.join("1.json"), live).expect("be a client");
    delete(&transcript);
    let before = all(&scratch);
    let refused = scratch.layer3(&["prune", &id, "--yes"]).output().exits(1);
    assert!(refused.stderr.contains("it is live"), "{refused:?}");
    let kept = scratch.layer3(&["prune", "--all", "--keep-last", "0", "--only-copies", "--yes"]).output().ok().text();
    assert!(kept.contains("it is live"), "{kept}");
    assert_eq!(all(&scratch), before);
}

/// A session whose old content is compressed in both stores, and that content.
fn compressed(scratch: &Scratch) -> (PathBuf, Vec<u8>) {
    let (id, transcript) = (transcripts::made_id(1), scratch.transcript(&transcripts::made_id(1)));
    for turn in 0..40 {
        transcripts::append(&transcript, transcripts::prompt_line(&id, turn, &format!("an ancient word{turn}")));
    }
    let old = fs::read(&transcript).expect("the transcript");
    save(scratch, &transcript);
    transcripts::rewrite(&transcript, transcripts::prompt_line(&id, 500, "a modern word"));
    save(scratch, &transcript);
    compress_generations(scratch);
    (transcript, old)
}

fn compress_generations(scratch: &Scratch) -> String {
    let args = ["compress", "--generations-only", "--older-than", "2100-01-01"];
    scratch.layer3(&args).output().ok().text()
}

fn packed_of(scratch: &Scratch) -> [PathBuf; 2] {
    let name = format!("{}.gen-0001.jsonl.zst", transcripts::made_id(1));
    [scratch.layer1_store(), scratch.layer3_store()].map(|store| store.join(PROJECT).join(&name))
}

/// The old content as every command gives it.
fn assert_read_as_before(scratch: &Scratch, old: &[u8]) {
    let id = transcripts::made_id(1);
    let shown = scratch.layer3(&["show", &id, "--generation", "1"]).output().ok().text();
    assert!(shown.contains("an ancient word7"), "{shown}");
    let page = scratch.layer3(&["export", &id, "--generation", "1"]).output().ok().text();
    assert!(page.contains("an ancient word39"), "{page}");
    let target = scratch.beside("restored");
    let to = target.display().to_string();
    scratch.layer3(&["restore", &id, "--generation", "1", "--to", &to]).output().ok();
    let restored = tree::all(&target).into_keys().find(|path| path.ends_with(format!("{id}.jsonl")));
    assert_eq!(fs::read(target.join(restored.expect("a restored transcript"))).expect("read it"), old);
    fs::remove_dir_all(&target).expect("clean up");
    assert_eq!(found_in(scratch, "word7"), std::slice::from_ref(&id));
    assert_eq!(found_in(scratch, "modern"), [id]);
    let history = scratch.layer1(&["history", &transcripts::made_id(1)]).output().ok().text();
    assert!(history.contains(&blake3::hash(old).to_hex()[..16]), "{history}");
}

#[test]
fn what_is_compressed_is_read_restored_found_and_verified_as_before() {
    let scratch = Scratch::new();
    let (transcript, old) = compressed(&scratch);
    for packed in packed_of(&scratch) {
        let bytes = fs::read(&packed).expect("a compressed file");
        assert!(bytes.len() < old.len() / 2);
        assert_eq!(zstd::decode_all(&bytes[..]).expect("unpack it"), old);
        assert!(!packed.with_extension("").exists(), "the plain one is gone");
    }
    assert_read_as_before(&scratch, &old);
    assert_verified(&scratch);
    // Hooks, deliveries and imports go on, and write nothing anew.
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    scratch.hook(&scratch.start_command(), "{}").output().ok();
    await_delivered(&scratch);
    scratch.layer3(&["import"]).output().ok();
    scratch.layer3(&["rebuild"]).output().ok();
    assert!(pending(&scratch).is_empty());
    assert_eq!(of_session(&scratch, ".gen-").len(), 2, "{:?}", of_session(&scratch, ".gen-"));
    assert_read_as_before(&scratch, &old);
    assert_verified(&scratch);
    assert_eq!(compress_generations(&scratch), "Nothing to compress\n");
}

#[test]
fn a_compressed_file_that_is_damaged_is_found_by_verify_and_healed_by_the_other_layers() {
    let scratch = Scratch::new();
    let (_, old) = compressed(&scratch);
    for (layer, packed) in packed_of(&scratch).into_iter().enumerate() {
        let run = |args: &[&str]| if layer == 0 { scratch.layer1(args) } else { scratch.layer3(args) };
        let mut bytes = fs::read(&packed).expect("a compressed file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&packed, bytes).expect("flip a bit");
        assert!(run(&["verify"]).output().exits(1).text().contains("damaged"));
        // Whoever reads it meanwhile is given the other layer's.
        if layer == 1 {
            assert_read_as_before(&scratch, &old);
        }
        run(&["verify", "--repair"]).output().ok();
        assert_read_as_before(&scratch, &old);
        assert_verified(&scratch);
        compress_generations(&scratch);
    }
}

#[test]
fn a_lost_layer_3_is_filled_from_what_layer_1_has_compressed() {
    let scratch = Scratch::new();
    let (_, old) = compressed(&scratch);
    fs::remove_dir_all(scratch.layer3_store()).expect("lose a store");
    scratch.layer2(&["drain"]).output().ok();
    await_delivered(&scratch);
    assert_read_as_before(&scratch, &old);
    assert_verified(&scratch);
}

#[test]
fn compressed_generations_are_pruned_like_others() {
    let scratch = Scratch::new();
    let (transcript, old) = compressed(&scratch);
    transcripts::rewrite(&transcript, [&old[..], b"{}\n"].concat());
    save(&scratch, &transcript);
    scratch.layer3(&["prune", "--all", "--generations", "--yes"]).output().ok();
    assert!(packed_of(&scratch).iter().all(|packed| !packed.exists()));
    assert_verified(&scratch);
    assert_eq!(found_in(&scratch, "word7"), [transcripts::made_id(1)]);
}

/// Makes the stored contents of a session so many days older, as its ledgers have it.
fn age(scratch: &Scratch, id: &str, days: u64) {
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let path = store.join(format!(".state/sessions/{id}/{PROJECT}.ledger"));
        let text = fs::read_to_string(&path).expect("the ledger");
        let mut older = String::new();
        for line in text.lines() {
            let mut json: serde_json::Value = serde_json::from_str(&line[17..]).expect("a line of the ledger");
            if let Some(at) = json["at"].as_u64() {
                json["at"] = (at - days * 24 * 60 * 60 * 1000).into();
            }
            let json = json.to_string();
            older.push_str(&format!("{} {json}\n", &blake3::hash(json.as_bytes()).to_hex()[..16]));
        }
        fs::write(&path, older).expect("write the ledger");
    }
}

#[test]
fn a_session_of_last_year_is_compressed_and_goes_on() {
    let scratch = Scratch::new();
    let (id, other) = (transcripts::made_id(1), transcripts::made_id(2));
    for id in [&id, &other] {
        let transcript = scratch.transcript(id);
        for turn in 0..60 {
            transcripts::append(
                &transcript,
                transcripts::prompt_line(id, turn, &format!("an ancient word{turn} of {id}")),
            );
        }
        save(&scratch, &transcript);
    }
    let transcript = scratch.transcript(&id);
    let old = fs::read(&transcript).expect("the transcript");
    age(&scratch, &id, 40);
    let told = scratch.layer3(&["compress"]).output().ok().text();
    assert!(told.contains("2 transcripts compressed"), "{told}");
    let names =
        [scratch.layer1_store(), scratch.layer3_store()].map(|store| store.join(format!("{PROJECT}/{id}.jsonl")));
    let is_packed = || names.each_ref().map(|name| (name.exists(), name.with_extension("jsonl.zst").exists()));
    assert_eq!(is_packed(), [(false, true); 2]);
    assert!(names[0].with_file_name(format!("{other}.jsonl")).exists(), "the young one stays plain");

    let read = |restored: &[u8]| {
        assert!(found_in(&scratch, "word59").contains(&id));
        assert!(scratch.layer3(&["show", &id]).output().ok().text().contains("an ancient word59"));
        let target = scratch.beside("restored");
        let to = target.display().to_string();
        scratch.layer3(&["restore", &id, "--to", &to]).output().ok();
        let found = tree::all(&target).into_keys().find(|path| path.ends_with(format!("{id}.jsonl")));
        assert!(fs::read(target.join(found.expect("a restored transcript"))).expect("read it") == restored);
        fs::remove_dir_all(&target).expect("clean up");
        assert_verified(&scratch);
    };
    read(&old);
    // Nothing that finds nothing new unpacks it.
    scratch.layer1(&["sweep"]).output().ok();
    scratch.layer1(&["sweep", "--all"]).output().ok();
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    scratch.layer3(&["import"]).output().ok();
    scratch.layer3(&["rebuild"]).output().ok();
    assert_eq!(is_packed(), [(false, true); 2]);
    read(&old);

    // It goes on: a turn's hook, then the end of the session.
    transcripts::append(&transcript, transcripts::prompt_line(&id, 900, "a modern word"));
    let stop = transcripts::event("Stop", &transcript, serde_json::json!({}));
    scratch.hook(&scratch.turn_command(), &stop).output().ok();
    assert_eq!(is_packed(), [(true, false), (false, true)]);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_eq!(is_packed(), [(true, false); 2]);
    assert_saved_twice(&scratch, &transcript);
    assert_eq!(found_in(&scratch, "modern"), std::slice::from_ref(&id));
    read(&fs::read(&transcript).expect("the transcript"));

    // Compressed again, with the source gone: `resume` and `restore` bring it back.
    scratch.layer3(&["compress", "--older-than", "2100-01-01"]).output().ok();
    let whole = fs::read(&transcript).expect("the transcript");
    fs::remove_file(&transcript).expect("Claude Code deletes a transcript");
    scratch.layer3(&["restore", &id]).output().ok();
    assert!(fs::read(&transcript).expect("the restored transcript") == whole);
    assert_eq!(is_packed(), [(false, true); 2]);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_eq!(is_packed(), [(false, true); 2], "the same bytes are no reason to unpack it");
    assert_verified(&scratch);
}
