//! Many hooks at once, while the transcripts grow.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use layer1_prebackup::fs::Lock;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{assert_equals_source, assert_saved_twice, difference};
use tests::{transcripts, tree};

use crate::product::{self, assert_verified, chain_delivered, drain, found_in, session_ids};

const HOOKS: u32 = 20;

/// Runs 20 hooks at once, chains and turns mixed, hook `n` for `transcripts[n % len]`, while all
/// transcripts grow. Gives how many lines each has in the end.
fn storm(scratch: &Scratch, transcripts: &[PathBuf]) -> u32 {
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            let mut turn = 0;
            while !done.load(Ordering::Relaxed) || turn < 20 {
                for transcript in transcripts {
                    let id = transcript.file_stem().expect("a name").to_string_lossy();
                    transcripts::append(
                        transcript,
                        transcripts::prompt_line(&id, turn, &format!("zebu number n{turn} of {id}")),
                    );
                }
                turn += 1;
                std::thread::sleep(Duration::from_millis(10)); // The client's own pace, about.
            }
            turn
        });
        let hooks: Vec<_> = (0..HOOKS)
            .map(|n| {
                let transcript = &transcripts[n as usize % transcripts.len()];
                let (command, event) = match n % 4 {
                    0 => (scratch.turn_command(), transcripts::prompt_submit(transcript)),
                    1 => (scratch.chain_command(""), transcripts::pre_compact(transcript)),
                    _ => (scratch.chain_command(""), transcripts::session_end(transcript)),
                };
                scratch.hook(&command, &event).spawn()
            })
            .collect();
        for hook in hooks {
            hook.wait().ok().silent().unworried();
        }
        done.store(true, Ordering::Relaxed);
        writer.join().expect("the writer does not panic")
    })
}

#[track_caller]
fn assert_whole(scratch: &Scratch, transcripts: &[PathBuf], lines: u32) {
    let mut ids: Vec<_> =
        transcripts.iter().map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    ids.sort();
    for transcript in transcripts {
        assert_saved_twice(scratch, transcript);
    }
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let files = tree::session_files(&store);
        assert!(!files.iter().any(|path| path.contains(".gen-")), "growing begins no generation: {files:?}");
    }
    assert_eq!(session_ids(scratch), ids);
    for session in product::sessions(scratch) {
        assert_eq!(session["messages"], lines, "no row missing, none twice: {session:#}");
    }
    assert_eq!(found_in(scratch, &format!("n{}", lines - 1)), ids, "the last line of every session is indexed");
    assert_eq!(found_in(scratch, "n0"), ids);
    for layer in [1, 2, 3] {
        let log = scratch.log(layer);
        for bad in ["locked", "panicked", "❌"] {
            assert!(!log.contains(bad), "layer {layer} logged {bad:?}:\n{log}");
        }
    }
    assert_verified(scratch);
}

#[test]
fn twenty_hooks_at_once_for_one_session() {
    let scratch = Scratch::new();
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 0);
    transcripts::append(&transcript, "");
    let transcripts = [transcript];
    let lines = storm(&scratch, &transcripts);
    chain_delivered(&scratch, &transcripts::session_end(&transcripts[0]));
    assert_whole(&scratch, &transcripts, lines);
}

#[test]
fn twenty_hooks_at_once_for_twenty_sessions() {
    let scratch = Scratch::new();
    let transcripts: Vec<PathBuf> = (0..HOOKS).map(|n| scratch.transcript(&transcripts::made_id(n))).collect();
    let lines = storm(&scratch, &transcripts);
    scratch.layer1(&["sweep", "--quiet"]).output().ok().silent();
    drain(&scratch);
    assert_whole(&scratch, &transcripts, lines);
}

#[test]
fn saves_servers_and_searches_share_one_index() {
    let scratch = Scratch::new();
    let transcripts: Vec<PathBuf> =
        (0..8).map(|n| transcripts::make_conversation(&scratch, &transcripts::made_id(n), 50)).collect();
    let saves: Vec<_> = transcripts
        .iter()
        .map(|path| scratch.layer3(&["save"]).stdin(transcripts::session_end(path)).spawn())
        .collect();
    let searches: Vec<_> = (0..4).map(|_| scratch.layer3(&["search", "--all", "--json", "prompt"]).spawn()).collect();
    for run in saves.into_iter().chain(searches) {
        let outcome = run.wait().ok();
        assert!(!outcome.stderr.contains("locked"), "{outcome:#?}");
    }
    assert_eq!(session_ids(&scratch).len(), 8);
    for session in product::sessions(&scratch) {
        assert_eq!(session["messages"], 100, "{session:#}");
    }
}

#[test]
fn kills_at_any_time_lose_nothing_that_was_acknowledged() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    transcripts::append(&transcript.with_extension("").join("tool-results/one.txt"), "a large output");
    // Held up by nothing but the machine, the chain takes some 100 ms; the kills go through all of it.
    for n in 0..60 {
        transcripts::append(&transcript, transcripts::prompt_line(&id, 10 + n, &format!("kill number n{n}")));
        if n % 10 == 9 {
            let last = std::fs::read_to_string(&transcript).expect("read the transcript");
            transcripts::rewrite(&transcript, &last[last.len() / 2..]);
        }
        let hook = scratch.hook(&scratch.chain_command(""), &transcripts::session_end(&transcript)).spawn();
        std::thread::sleep(Duration::from_millis(u64::from(n * 37 % 120)));
        for process in tests::processes::with_home(&scratch.home()) {
            // Each at its own instant; it may just have ended.
            let _ = rustix::process::kill_process(tests::run::raw_pid(process.pid), rustix::process::Signal::KILL);
        }
        drop(hook);
    }
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    drain(&scratch);
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
    // Whatever generation layer 1 holds, layer 3 holds.
    let contents = |store: &std::path::Path| -> Vec<blake3::Hash> {
        let transcripts = tree::session_files(store).into_iter().filter(|path| path.ends_with(".jsonl"));
        transcripts.map(|path| blake3::hash(&std::fs::read(store.join(path)).expect("read a copy"))).collect()
    };
    let layer3 = contents(&scratch.layer3_store());
    for content in contents(&scratch.layer1_store()) {
        assert!(layer3.contains(&content), "layer 3 lacks a content of layer 1");
    }
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let leftover = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains("tmp"));
        let left: Vec<_> = tree::all(&store).into_keys().filter(leftover).collect();
        assert_eq!(left, [""; 0].map(PathBuf::from), "in {}", store.display());
    }
}

#[test]
fn a_session_that_another_writer_holds_is_left_alone_until_it_is_free() {
    let scratch = Scratch::new();
    let (id, transcript) = (transcripts::made_id(1), scratch.transcript(&transcripts::made_id(1)));
    transcripts::append(&transcript, transcripts::prompt_line(&id, 1, "one"));
    let event = transcripts::session_end(&transcript);
    scratch.layer1(&["--quiet"]).stdin(event.clone()).output().ok().silent();
    let store = scratch.layer1_store();
    let held = Lock::wait(&store.join(".state/sessions").join(&id).join("lock")).expect("take the lock");
    transcripts::append(&transcript, transcripts::prompt_line(&id, 2, "two"));
    // It waits as long as a hook may, and then says that there is no copy yet.
    let outcome = scratch.layer1(&["--quiet"]).stdin(event.clone()).output().ok();
    assert!(difference(&store, PROJECT, &transcript).is_some(), "it wrote without the lock: {outcome:#?}");
    assert!(!outcome.stderr.is_empty(), "it tells: {outcome:#?}");
    drop(held);
    scratch.layer1(&["--quiet"]).stdin(event).output().ok().silent();
    assert_equals_source(&store, PROJECT, &transcript);
}
