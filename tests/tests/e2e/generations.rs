//! Generations: a copy never shrinks, and what a source was before stays in both stores.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tests::processes::RunningClaude;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::assert_saved_twice;
use tests::transcripts::{self, COMPACTED, INTERACTIVE};
use tests::tree;

use crate::product::{assert_verified, chain_delivered, found_in, session_ids};

type Change = fn(&Path, &[u8]);

/// The changes after which the old content is no longer the beginning of the new one.
const NEW_CONTENT: [(&str, Change); 6] = [
    ("shrunken", |path, old| transcripts::rewrite(path, &old[..old.len() / 2])),
    ("emptied to one line", |path, _| transcripts::rewrite(path, transcripts::prompt_line("x", 1, "stub"))),
    ("rewritten in place, same size", |path, old| {
        let mut new = old.to_vec();
        let middle = old.len() / 2;
        new[middle] ^= 1;
        transcripts::rewrite(path, new);
    }),
    ("rewritten in place, shorter", |path, old| {
        let lines: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
        transcripts::rewrite(path, [&lines[..3], &lines[5..]].concat().concat());
    }),
    ("replaced by rename", |path, old| {
        let lines: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
        transcripts::replace_by_rename(path, lines[lines.len() / 2..].concat());
    }),
    ("replaced by rename, longer", |path, old| {
        transcripts::replace_by_rename(path, [transcripts::prompt_line("x", 1, "new head").as_bytes(), old].concat());
    }),
];

#[test]
fn new_content_begins_a_generation_and_the_old_one_stays_in_both_stores() {
    for (what, change) in NEW_CONTENT {
        let scratch = Scratch::new();
        let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
        let old = fs::read(&transcript).expect("read the transcript");
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        change(&transcript, &old);
        chain_delivered(&scratch, &transcripts::session_end(&transcript));

        assert_saved_twice(&scratch, &transcript);
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            let generation = store.join(PROJECT).join(format!("{INTERACTIVE}.gen-0001.jsonl"));
            assert!(fs::read(&generation).is_ok_and(|bytes| bytes == old), "{what}: {}", generation.display());
            let second = store.join(PROJECT).join(format!("{INTERACTIVE}.gen-0002.jsonl"));
            assert!(!second.exists(), "{what}: one change, one generation");
        }
        let history = scratch.layer1(&["history", INTERACTIVE]).output().ok().text();
        for content in [&old, &fs::read(&transcript).expect("read the transcript")] {
            let hash = blake3::hash(content).to_hex();
            assert!(history.contains(&hash[..8]), "{what}: {} not in\n{history}", &hash[..8]);
        }
        assert_verified(&scratch);
    }
}

#[test]
fn a_per_turn_event_sees_a_shrunken_or_rewritten_source_too() {
    for (what, change) in NEW_CONTENT {
        if what == "rewritten in place, same size" {
            continue; // One flipped byte in the middle: only the whole comparison finds it.
        }
        let scratch = Scratch::new();
        let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
        let old = fs::read(&transcript).expect("read the transcript");
        crate::product::turn(&scratch, &transcripts::prompt_submit(&transcript));
        change(&transcript, &old);
        crate::product::turn(&scratch, &transcripts::prompt_submit(&transcript));
        let store = scratch.layer1_store().join(PROJECT);
        let read = |name: &str| fs::read(store.join(name)).ok();
        assert_eq!(read(&format!("{INTERACTIVE}.jsonl")), fs::read(&transcript).ok(), "{what}");
        assert_eq!(read(&format!("{INTERACTIVE}.gen-0001.jsonl")), Some(old), "{what}");
    }
}

#[test]
fn the_same_content_in_a_new_file_begins_no_generation() {
    let longer = |old: &[u8]| [old, transcripts::prompt_line(INTERACTIVE, 99, "more").as_bytes()].concat();
    for (what, tail) in [("identical", false), ("longer with the same beginning", true)] {
        let scratch = Scratch::new();
        let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
        let old = fs::read(&transcript).expect("read the transcript");
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        let inode = fs::metadata(&transcript).expect("look at the transcript").ino();
        transcripts::replace_by_rename(&transcript, if tail { longer(&old) } else { old });
        assert_ne!(fs::metadata(&transcript).expect("look at the transcript").ino(), inode);
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        assert_saved_twice(&scratch, &transcript);
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            let files = tree::session_files(&store);
            assert!(!files.iter().any(|path| path.contains(".gen-")), "{what}: {files:?}");
        }
        assert_verified(&scratch);
    }
}

#[test]
fn a_source_that_is_rewritten_while_it_is_looked_at_begins_no_generation() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let old = fs::read(&transcript).expect("read the transcript");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    // Emptied as the hook starts, whole again 50 ms later: what the client's rewrite looks like.
    transcripts::rewrite(&transcript, "");
    let hook = scratch.hook(&scratch.turn_command(), &transcripts::prompt_submit(&transcript)).spawn();
    std::thread::sleep(Duration::from_millis(50));
    transcripts::rewrite(&transcript, &old);
    hook.wait().ok().silent();
    let files = tree::session_files(&scratch.layer1_store());
    assert!(!files.iter().any(|path| path.contains(".gen-")), "{files:?}");
    assert_verified(&scratch);
}

#[test]
fn side_files_have_generations_too() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, COMPACTED);
    let title = transcript.with_extension("").join("custom-title.json");
    let old = fs::read(&title).expect("read a side file");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    transcripts::rewrite(&title, "{\"title\":\"another\"}");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let generation = store.join(PROJECT).join(format!("{COMPACTED}.gen-0001/custom-title.json"));
        assert!(fs::read(&generation).is_ok_and(|bytes| bytes == old), "{}", generation.display());
    }
    assert_verified(&scratch);
}

#[test]
fn a_foreign_file_at_our_path_is_kept_first() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        transcripts::append(&store.join(PROJECT).join(format!("{INTERACTIVE}.jsonl")), "from the first version\n");
    }
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let generation = store.join(PROJECT).join(format!("{INTERACTIVE}.gen-0001.jsonl"));
        assert!(
            fs::read(&generation).is_ok_and(|bytes| bytes == b"from the first version\n"),
            "{}",
            generation.display()
        );
    }
}

#[test]
fn the_same_id_under_two_projects_is_two_sessions() {
    for (what, same_cwd) in [("other directory", false), ("same directory", true)] {
        let scratch = Scratch::new();
        let id = transcripts::made_id(1);
        let first = scratch.transcript(&id);
        let second =
            first.parent().and_then(Path::parent).expect("projects").join(format!("-home-dev-other/{id}.jsonl"));
        for turn in 0..4 {
            transcripts::append(&first, transcripts::prompt_line(&id, turn, "the pangolin walks"));
            let line = transcripts::prompt_line(&id, 50 + turn, "the aardvark digs");
            let line = if same_cwd { line } else { line.replace("/home/dev/proj", "/home/dev/other") };
            transcripts::append(&second, line);
        }
        for round in 0..2 {
            for transcript in [&first, &second] {
                transcripts::append(transcript, transcripts::answer_line(&id, 100 + round, "on and on"));
                chain_delivered(&scratch, &transcripts::session_end(transcript));
            }
        }
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            let files = tree::session_files(&store);
            let copies: Vec<_> = files.iter().filter(|path| path.ends_with(".jsonl")).collect();
            assert_eq!(copies.len(), 2, "{what}: {files:?}");
            for source in [&first, &second] {
                let source = fs::read(source).expect("read a transcript");
                let holds = |path: &&&String| fs::read(store.join(path)).is_ok_and(|bytes| bytes == source);
                assert_eq!(copies.iter().filter(holds).count(), 1, "{what}: {files:?}");
            }
        }
        assert_eq!(session_ids(&scratch), [id.as_str(), &id], "{what}");
        assert_eq!(found_in(&scratch, "pangolin"), [id.as_str()], "{what}");
        assert_eq!(found_in(&scratch, "aardvark"), [id.as_str()], "{what}");
        assert_verified(&scratch);
    }
}

#[test]
fn a_transcript_of_unknown_records_is_copied_receipted_listed_and_restored() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    for n in 0..20 {
        let record = json!({"type": format!("novelty-{n}"), "payload": {"n": n}, "cwd": "/home/dev/proj"});
        transcripts::append(&transcript, format!("{record}\n"));
    }
    transcripts::append(&transcript, b"\0\0\0\0 not JSON at all \xff\n{\"type\":\"torn");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    assert_eq!(session_ids(&scratch), [id.as_str()]);

    let content = fs::read(&transcript).expect("read the transcript");
    fs::remove_file(&transcript).expect("lose the transcript");
    scratch.layer3(&["restore", &id]).output().ok();
    assert_eq!(fs::read(&transcript).ok(), Some(content));
}

#[test]
fn restore_brings_a_session_back_private_and_fresh_and_replaces_nothing() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, transcripts::SUBAGENT);
    let before = tree::all(&scratch.slug_dir());
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    fs::remove_dir_all(scratch.slug_dir()).expect("lose the project's transcripts");
    let outcome = scratch.layer3(&["restore", transcripts::SUBAGENT]).output().ok();
    assert!(outcome.text().contains(&format!("claude --resume {}", transcripts::SUBAGENT)), "{outcome:#?}");
    let hashes = |entries: std::collections::BTreeMap<std::path::PathBuf, tree::Entry>| -> Vec<_> {
        let hash = |entry| if let tree::Entry::File(_, bytes, hash) = entry { Some((bytes, hash)) } else { None };
        entries.into_iter().map(|(path, entry)| (path, hash(entry))).collect()
    };
    assert_eq!(hashes(tree::all(&scratch.slug_dir())), hashes(before));
    let metadata = fs::metadata(&transcript).expect("look at the restored transcript");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let age = SystemTime::now().duration_since(metadata.modified().expect("mtime")).unwrap_or_default();
    assert!(age < Duration::from_secs(60), "an old mtime would be swept: {age:?}");

    transcripts::append(&transcript, transcripts::prompt_line(transcripts::SUBAGENT, 1, "went on"));
    let now = fs::read(&transcript).ok();
    let outcome = scratch.layer3(&["restore", transcripts::SUBAGENT]).output();
    assert_eq!(outcome.code, Some(1), "a different file stands there: {outcome:#?}");
    assert_eq!(fs::read(&transcript).ok(), now);
}

#[test]
fn restore_refuses_a_live_session() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    fs::remove_file(&transcript).expect("lose the transcript");
    let of = |pid: u32| json!({"pid": pid, "sessionId": INTERACTIVE, "cwd": "/home/dev/proj"}).to_string();
    let claude = RunningClaude::start();
    let live = scratch.claude_dir().join("sessions/1.json");
    transcripts::append(&live, of(claude.pid()));
    let outcome = scratch.layer3(&["restore", INTERACTIVE]).output();
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(!transcript.exists());
    scratch.layer3(&["restore", INTERACTIVE, "--force"]).output().ok();
    assert!(transcript.exists(), "it was forced");
    // The number belongs to another program now, as process 1 does in every container.
    fs::remove_file(&transcript).expect("lose it again");
    transcripts::rewrite(&live, of(1));
    scratch.layer3(&["restore", INTERACTIVE]).output().ok();
    assert!(transcript.exists(), "nobody has it open");
}

/// A small generator of its own: the same life for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// One thing that can happen to a transcript.
fn happen(dice: &mut Dice, transcript: &Path, id: &str, turn: u32) {
    let now = fs::read(transcript).unwrap_or_default();
    let line = transcripts::answer_line(id, turn, &"word ".repeat(dice.below(400)));
    match dice.below(12) {
        0 => transcripts::rewrite(transcript, &now[..dice.below(now.len() + 1)]),
        1 => transcripts::rewrite(transcript, &now[dice.below(now.len() + 1)..]),
        2 => transcripts::replace_by_rename(transcript, [&now, line.as_bytes()].concat()),
        3 => transcripts::replace_by_rename(transcript, line),
        4 if !now.is_empty() => {
            let mut changed = now;
            let place = dice.below(changed.len());
            changed[place] ^= 1 << dice.below(8);
            transcripts::rewrite(transcript, changed);
        }
        5 => drop(fs::remove_file(transcript)), // It may be away already.
        6 => transcripts::append(transcript, &line.as_bytes()[..line.len() / 2]),
        _ => transcripts::append(transcript, line),
    }
}

#[test]
fn a_random_life_keeps_every_content_that_was_saved() {
    for seed in 1..=3 {
        let scratch = Scratch::new();
        let id = transcripts::made_id(seed);
        let transcript = transcripts::make_conversation(&scratch, &id, 1);
        let mut dice = Dice(u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut acknowledged: Vec<Vec<u8>> = Vec::new();
        for turn in 0..40 {
            happen(&mut dice, &transcript, &id, turn);
            match dice.below(5) {
                0 => drop(crate::product::chain(&scratch, &transcripts::pre_compact(&transcript))),
                1 => drop(scratch.layer1(&["sweep", "--all", "--quiet"]).output().ok()),
                _ => drop(crate::product::turn(&scratch, &transcripts::prompt_submit(&transcript))),
            }
            let copy = fs::read(scratch.layer1_store().join(PROJECT).join(format!("{id}.jsonl"))).unwrap_or_default();
            if fs::read(&transcript).is_ok_and(|source| source == copy) {
                acknowledged.push(copy);
            }
        }
        transcripts::append(&transcript, transcripts::prompt_line(&id, 99, "the last"));
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        crate::product::drain(&scratch);
        assert!(acknowledged.len() > 20, "seed {seed}: only {} of 40 were saved at once", acknowledged.len());
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            let copies = tree::session_files(&store).into_iter().filter(|path| path.ends_with(".jsonl"));
            let copies: Vec<_> = copies.map(|path| fs::read(store.join(path)).expect("read a copy")).collect();
            for (turn, content) in acknowledged.iter().enumerate() {
                let kept = copies.iter().any(|copy| copy.starts_with(content));
                assert!(kept, "seed {seed}: content {turn} ({} bytes) is not in {}", content.len(), store.display());
            }
        }
        assert_saved_twice(&scratch, &transcript);
        assert_verified(&scratch);
    }
}

#[test]
fn a_small_side_file_that_says_more_than_before_begins_no_generation_in_either_store() {
    let scratch = Scratch::new();
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 1);
    let meta = transcript.with_extension("").join("subagents/agent-1.meta.json");
    transcripts::append(&meta, r#"{"agentType":"explore"}"#);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    transcripts::replace_by_rename(&meta, r#"{"agentType":"explore","ended":true}"#);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    let generations = || {
        let stores = [scratch.layer1_store(), scratch.layer3_store()];
        let files = stores.iter().flat_map(|store| tests::tree::session_files(store));
        files.filter(|path| path.contains(".gen-")).collect::<Vec<_>>()
    };
    assert_eq!(generations(), [""; 0]);
    // What is not said any more is kept.
    transcripts::replace_by_rename(&meta, r#"{"agentType":"plan"}"#);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_eq!(generations().len(), 2, "{:?}", generations());
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}
