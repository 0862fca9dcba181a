//! The ways in which people lost conversations, each as it happened to the files, by the numbers
//! under which they were reported to Claude Code's makers: here the conversation stays whole.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tests::binaries::{LAYER1, LAYER3};
use tests::processes;
use tests::run::Run;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{assert_equals_source, assert_saved_twice, difference};
use tests::transcripts::{self, COMPACTED, INTERACTIVE, RECORDED, SUBAGENT};
use tests::tree;
use tests::waiting::await_until;

use crate::disk::Mount;
use crate::product::{
    assert_verified, await_delivered, chain, chain_delivered, found_in, hits, pending, session_ids, sessions, text,
    turn,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// `cleanupPeriodDays` as it is by default.
const CLEANUP_DAYS: u32 = 30;
/// Size of a transcript that nothing may hold in memory, and what each program may need for it.
const HUGE_BYTES: usize = 80_000_000;
const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Runs the hook of SessionStart, as another session of the project starts, and waits until all is delivered.
#[track_caller]
fn start_another(scratch: &Scratch) {
    let other = scratch.transcript(&transcripts::made_id(999));
    let event = transcripts::event("SessionStart", &other, json!({"source": "startup"}));
    scratch.hook(&scratch.start_command(), &event).output().ok().silent();
    await_delivered(scratch);
}

/// `restore` with these flags; then the transcript is `content`, byte for byte.
#[track_caller]
fn assert_restored(scratch: &Scratch, id: &str, flags: &[&str], content: &[u8]) {
    scratch.layer3(&[&["restore", id], flags].concat()).output().ok();
    let restored = fs::read(scratch.transcript(id)).expect("read the restored transcript");
    assert!(restored == content, "{} bytes restored, {} expected", restored.len(), content.len());
}

/// Asserts that both stores hold `content` as some generation of the transcript.
#[track_caller]
fn assert_held_twice(scratch: &Scratch, id: &str, content: &[u8]) {
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let files = tree::session_files(&store);
        let of_session = |path: &&String| path.starts_with(&format!("{PROJECT}/{id}")) && path.ends_with(".jsonl");
        let held = files.iter().filter(of_session).any(|path| fs::read(store.join(path)).is_ok_and(|it| it == content));
        assert!(held, "{} bytes are not in {}: {files:?}", content.len(), store.display());
    }
}

/// What layer 1's `status` lists under a name.
#[track_caller]
fn status_list(scratch: &Scratch, name: &str) -> Vec<String> {
    let status = scratch.layer1(&["status", "--json"]).output().ok().json();
    let rows = status[name].as_array().unwrap_or_else(|| panic!("no list {name:?} in {status:#}"));
    rows.iter().map(|row| row["transcript"].as_str().expect("a path").to_owned()).collect()
}

fn set_age(path: &Path, age: Duration) {
    let at = SystemTime::now() - age;
    let times = FileTimes::new().set_accessed(at).set_modified(at);
    File::open(path).and_then(|file| file.set_times(times)).expect("set a file's times");
}

/// Claude Code's sweep: unlinks every file below `projects/` that is older than the period, by mtime.
fn sweep_like_claude(scratch: &Scratch) {
    let projects = scratch.claude_dir().join("projects");
    for (path, entry) in tree::all(&projects) {
        let path = projects.join(path);
        let is_old = || {
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("look at a file");
            SystemTime::now().duration_since(modified).is_ok_and(|age| age > DAY * CLEANUP_DAYS)
        };
        if matches!(entry, tree::Entry::File(..)) && is_old() {
            fs::remove_file(&path).expect("sweep a file away");
        }
    }
}

#[test]
fn issue_41458_90866_74798_79758_the_sweep_deletes_transcripts() {
    let scratch = Scratch::new();
    let laid_out = transcripts::lay_out_recorded(&scratch);
    let contents: Vec<Vec<u8>> = laid_out.iter().map(|path| fs::read(path).expect("read a transcript")).collect();
    start_another(&scratch);
    let projects = scratch.claude_dir().join("projects");
    for (path, entry) in tree::all(&projects) {
        if matches!(entry, tree::Entry::File(..)) {
            set_age(&projects.join(path), DAY * (CLEANUP_DAYS + 10));
        }
    }
    let stored = || [scratch.layer1_store(), scratch.layer3_store()].map(|store| tree::visible(&store.join(PROJECT)));
    let before = stored();
    sweep_like_claude(&scratch);
    assert!(laid_out.iter().all(|path| !path.exists()), "the sweep took them");

    start_another(&scratch);
    scratch.layer1(&["sweep", "--all", "--quiet"]).output().ok();
    assert_eq!(stored(), before, "a deletion is not propagated");
    assert_eq!(status_list(&scratch, "source_gone").len(), RECORDED.len());
    let told = scratch.layer1(&["status"]).output().ok().text();
    assert!(told.contains("source gone: 5"), "{told}");
    assert_eq!(session_ids(&scratch), RECORDED);
    assert_eq!(found_in(&scratch, "hello interactive"), [INTERACTIVE]);
    // They were laid out in the order of RECORDED.
    for (id, content) in RECORDED.iter().zip(&contents) {
        assert_restored(&scratch, id, &[], content);
        assert_saved_twice(&scratch, &scratch.transcript(id));
    }
    assert_eq!(status_list(&scratch, "source_gone"), [""; 0]);
    assert_verified(&scratch);
}

#[test]
fn issue_79298_41344_a_resume_rewrites_the_file_to_a_stub() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let whole = fs::read(&transcript).expect("read the transcript");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let stub = transcripts::prompt_line(INTERACTIVE, 1, "resumed and nothing before it");
    transcripts::replace_by_rename(&transcript, &stub);
    turn(&scratch, &transcripts::prompt_submit(&transcript));
    transcripts::append(&transcript, transcripts::answer_line(INTERACTIVE, 2, "I know of nothing before"));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));

    assert_saved_twice(&scratch, &transcript);
    assert_held_twice(&scratch, INTERACTIVE, &whole);
    assert_eq!(found_in(&scratch, "hello interactive"), [INTERACTIVE], "what the stub lacks is found");
    assert_eq!(found_in(&scratch, "\"nothing before it\""), [INTERACTIVE]);
    let resumed = fs::read(&transcript).expect("read the transcript");
    scratch.layer3(&["restore", INTERACTIVE, "--longest"]).output().exits(1);
    assert_eq!(fs::read(&transcript).ok().as_ref(), Some(&resumed), "nothing is replaced unless told to");
    assert_restored(&scratch, INTERACTIVE, &["--longest", "--force"], &whole);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_held_twice(&scratch, INTERACTIVE, &resumed);
    assert_verified(&scratch);
}

#[test]
fn issue_40352_56649_a_compaction_empties_or_truncates_the_file() {
    for keep in [0, 1, 2] {
        let scratch = Scratch::new();
        let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
        let whole = fs::read(&transcript).expect("read the transcript");
        chain_delivered(&scratch, &transcripts::pre_compact(&transcript));
        transcripts::rewrite(&transcript, &whole[..whole.len() * keep / 3]);
        turn(&scratch, &transcripts::event("PostCompact", &transcript, json!({"trigger": "manual"})));
        chain_delivered(&scratch, &transcripts::session_end(&transcript));

        assert_held_twice(&scratch, INTERACTIVE, &whole);
        assert_eq!(found_in(&scratch, "hello interactive"), [INTERACTIVE], "{keep}/3 left");
        assert_restored(&scratch, INTERACTIVE, &["--longest", "--force"], &whole);
        transcripts::append(&transcript, transcripts::prompt_line(INTERACTIVE, 7, "and on from there"));
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        assert_saved_twice(&scratch, &transcript);
        assert_held_twice(&scratch, INTERACTIVE, &fs::read(&transcript).expect("read the transcript"));
        assert_verified(&scratch);
    }
}

#[test]
fn issue_95403_54907_the_transcript_is_gone_and_its_folder_stays() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, SUBAGENT);
    let whole = fs::read(&transcript).expect("read the transcript");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    fs::remove_file(&transcript).expect("lose the transcript");
    assert!(transcript.with_extension("").is_dir());
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    start_another(&scratch);

    assert_eq!(status_list(&scratch, "source_gone"), [transcript.display().to_string()]);
    assert_eq!(session_ids(&scratch), [SUBAGENT]);
    assert_held_twice(&scratch, SUBAGENT, &whole);
    assert_restored(&scratch, SUBAGENT, &[], &whole);
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

#[test]
fn issue_93132_a_kill_or_a_power_cut_leaves_no_hook_at_the_end() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 3);
    turn(&scratch, &transcripts::prompt_submit(&transcript));
    assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
    transcripts::append(&transcript, transcripts::answer_line(&id, 90, "the pangolin answered last"));
    let torn = transcripts::answer_line(&id, 91, "never finished");
    transcripts::append(&transcript, &torn[..torn.len() / 2]);
    // And one that was killed before any hook of its own ran.
    let silent = transcripts::make_conversation(&scratch, &transcripts::made_id(2), 1);
    assert_eq!(status_list(&scratch, "behind").len(), 2);

    start_another(&scratch);
    for path in [&transcript, &silent] {
        assert_saved_twice(&scratch, path);
    }
    assert_eq!(status_list(&scratch, "behind"), [""; 0]);
    assert_eq!(found_in(&scratch, "pangolin"), [id.as_str()]);
    let whole = fs::read(&transcript).expect("read the transcript");
    fs::remove_file(&transcript).expect("lose the transcript");
    assert_restored(&scratch, &id, &["--longest"], &whole);
    assert_verified(&scratch);
}

#[test]
fn issue_70465_41577_32712_the_last_hook_is_cancelled() {
    let scratch = Scratch::with_own_binaries();
    scratch.replace_binary(LAYER3, "sleep 300");
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let event = transcripts::session_end(&transcript);
    let mut hook = scratch.hook(&scratch.chain_command("--wait 60s"), &event).spawn();
    let started = Instant::now();
    await_until("the end of the hook's time", Duration::from_secs(60), || {
        started.elapsed() > Duration::from_millis(1500)
            && difference(&scratch.layer1_store(), PROJECT, &transcript).is_none()
            && scratch.layer1_store().join(".outbox").exists()
    });
    assert!(!hook.has_ended(), "it waits for a server that never answers");
    processes::end_tree(hook.pid());
    let outcome = hook.wait();
    assert!(!outcome.timed_out && outcome.stdout.is_empty(), "{outcome:#?}");

    assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
    scratch.delete_binary(LAYER3);
    fs_extra::file::copy(
        tests::binaries::folder().join(LAYER3),
        scratch.program(LAYER3),
        &fs_extra::file::CopyOptions::new(),
    )
    .expect("bring layer 3 back");
    start_another(&scratch);
    assert_saved_twice(&scratch, &transcript);
    assert_eq!(found_in(&scratch, "hello interactive"), [INTERACTIVE]);
    let whole = fs::read(&transcript).expect("read the transcript");
    fs::remove_file(&transcript).expect("lose the transcript");
    assert_restored(&scratch, INTERACTIVE, &[], &whole);
    assert_verified(&scratch);
}

#[test]
fn issue_49876_53821_52387_nul_blocks_torn_and_glued_lines() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    let line = |turn, text: &str| transcripts::prompt_line(&id, turn, text);
    transcripts::append(&transcript, line(1, "numbat before"));
    transcripts::append(&transcript, [0; 9000]);
    transcripts::append(&transcript, line(2, "numbat after the zeroes"));
    transcripts::append(&transcript, format!("{}{}", line(3, "numbat glued").trim_end(), line(4, "numbat to it")));
    turn(&scratch, &transcripts::prompt_submit(&transcript));
    let torn = line(5, "numbat torn");
    transcripts::append(&transcript, &torn[..torn.len() - 20]);
    turn(&scratch, &transcripts::prompt_submit(&transcript));
    transcripts::append(&transcript, format!("\n{}", line(6, "numbat last")));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));

    assert_saved_twice(&scratch, &transcript);
    for text in ["numbat before", "numbat after the zeroes", "numbat glued", "numbat to it", "numbat last"] {
        assert_eq!(hits(&scratch, &format!("\"{text}\"")).len(), 1, "{text}");
    }
    let whole = fs::read(&transcript).expect("read the transcript");
    fs::remove_file(&transcript).expect("lose the transcript");
    assert_restored(&scratch, &id, &[], &whole);
    assert_verified(&scratch);
}

#[test]
fn issue_92089_66947_the_history_is_appended_twice() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 3);
    transcripts::append(&transcript, transcripts::prompt_line(&id, 50, "the quokka smiles"));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let messages = |scratch: &Scratch| sessions(scratch)[0]["messages"].as_u64();
    let (once, before) = (fs::read(&transcript).expect("read the transcript"), messages(&scratch));
    assert_eq!(before, Some(7), "{:#?}", sessions(&scratch));
    transcripts::append(&transcript, &once);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));

    assert_saved_twice(&scratch, &transcript);
    assert_eq!(hits(&scratch, "quokka").len(), 1);
    assert_eq!(messages(&scratch), before);
    let whole = fs::read(&transcript).expect("read the transcript");
    fs::remove_file(&transcript).expect("lose the transcript");
    assert_restored(&scratch, &id, &[], &whole);
    assert_verified(&scratch);
}

/// The most memory that a run that must succeed held at once, in bytes.
#[track_caller]
fn peak_memory(run: Run) -> u64 {
    let (outcome, peak) = processes::peak_memory(run, Duration::from_secs(60));
    outcome.ok();
    peak
}

#[test]
fn issue_80379_79196_22365_huge_files() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    let attachment = json!({"type": "api-request-blob", "cwd": "/home/dev/proj", "data": "z".repeat(4_000_000)});
    for _ in 0..HUGE_BYTES / 4_000_000 {
        transcripts::append(&transcript, format!("{attachment}\n"));
    }
    transcripts::append(&transcript, transcripts::prompt_line(&id, 50, "the dugong at the very end"));
    let event = transcripts::session_end(&transcript);
    for (name, args) in [(LAYER1, &["--quiet"][..]), (LAYER3, &["save"])] {
        let peak = peak_memory(scratch.run(name, args).stdin(event.clone()));
        assert!(peak < MEMORY_BYTES_MAX, "{name} held {peak} bytes");
    }
    chain_delivered(&scratch, &event);
    assert_saved_twice(&scratch, &transcript);
    assert_eq!(found_in(&scratch, "dugong"), [id.as_str()]);
    let hash = blake3::hash(&fs::read(&transcript).expect("read the transcript"));
    fs::remove_file(&transcript).expect("lose the transcript");
    let peak = peak_memory(scratch.layer3(&["restore", &id]));
    assert!(peak < MEMORY_BYTES_MAX, "restore held {peak} bytes");
    assert_eq!(blake3::hash(&fs::read(&transcript).expect("read the transcript")), hash);
    assert_verified(&scratch);
}

#[test]
fn issue_16720_24207_the_disk_is_full() {
    let scratch = Scratch::new();
    let (layer1, layer3) = (scratch.layer1_store(), scratch.layer3_store());
    let mount = |at: &Path| Mount::tmpfs("issue_16720_24207_the_disk_is_full", at, "size=1m");
    let (Some(first), Some(third)) = (mount(&layer1), mount(&layer3)) else { return };
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 2);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let good = fs::read(&transcript).expect("read the transcript");

    transcripts::append(&transcript, transcripts::prompt_line(&id, 50, &"the axolotl regrows ".repeat(100_000)));
    let outcome = chain(&scratch, &transcripts::session_end(&transcript));
    assert!(outcome.stderr.contains("No space left") && outcome.stderr.contains("free some space"), "{outcome:#?}");
    scratch.await_no_process(crate::product::DELIVERY);
    assert_eq!(pending(&scratch).len(), 1, "the job waits");
    for store in [&layer1, &layer3] {
        let copy = fs::read(store.join(PROJECT).join(format!("{id}.jsonl"))).expect("read the copy");
        assert!(copy.starts_with(&good), "the last good copy is kept in {}", store.display());
    }

    first.remount("size=32m");
    third.remount("size=32m");
    start_another(&scratch);
    assert_saved_twice(&scratch, &transcript);
    assert_eq!(found_in(&scratch, "axolotl"), [id.as_str()]);
    let whole = fs::read(&transcript).expect("read the transcript");
    fs::remove_file(&transcript).expect("lose the transcript");
    assert_restored(&scratch, &id, &[], &whole);
    assert_verified(&scratch);
}

#[test]
fn issue_87912_85665_80654_the_client_writes_no_transcript() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let absent = scratch.transcript(&id);
    let happens = |kind, extra| {
        let event = transcripts::event(kind, &absent, extra);
        let command = scratch.command_of(kind).expect("a hook");
        scratch.hook(&command, &event).env("CLAUDE_CODE_ENTRYPOINT", "cli").output().ok().silent().unworried();
    };
    happens("UserPromptSubmit", json!({"prompt": "where does the kakapo nest?"}));
    happens("Stop", json!({"last_assistant_message": "On the ground."}));
    happens("PostCompact", json!({"trigger": "auto", "compact_summary": "They spoke of the kakapo."}));
    happens("SessionEnd", json!({"reason": "other"}));
    await_delivered(&scratch);

    let journal = scratch.layer1_store().join(PROJECT).join(format!("{id}.events.jsonl"));
    let kept = fs::read_to_string(&journal).expect("read what the events said");
    for said in ["where does the kakapo nest?", "On the ground.", "They spoke of the kakapo."] {
        assert!(kept.contains(said), "{said}: {kept}");
    }
    assert_eq!(status_list(&scratch, "without_transcript"), [journal.display().to_string()]);
    let told = scratch.layer1(&["status"]).output().ok().text();
    assert!(told.contains("turns seen, no transcript: 1"), "{told}");
    scratch.layer1(&["verify"]).output().ok();
}

#[test]
fn issue_27473_83146_76735_the_project_is_moved_renamed_or_its_worktree_removed() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let whole = fs::read(&transcript).expect("read the transcript");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    // Moved: the folder bears another slug, the client another directory, the conversation goes on.
    let moved = scratch.claude_dir().join("projects/-srv-moved-away");
    fs::rename(scratch.slug_dir(), &moved).expect("move the project");
    let there = moved.join(format!("{INTERACTIVE}.jsonl"));
    transcripts::append(&there, transcripts::prompt_line(INTERACTIVE, 60, "after the narwhal moved"));
    chain_delivered(&scratch, &transcripts::event("SessionEnd", &there, json!({"cwd": "/srv/moved/away"})));
    assert_saved_twice(&scratch, &there);
    assert_eq!(session_ids(&scratch), [INTERACTIVE], "one session, whatever its folder is called");
    assert_eq!(found_in(&scratch, "narwhal"), [INTERACTIVE]);

    // Removed with its worktree, wanted in another place.
    let whole = [whole, transcripts::prompt_line(INTERACTIVE, 60, "after the narwhal moved").into_bytes()].concat();
    fs::remove_dir_all(&moved).expect("remove the worktree's transcripts");
    let outcome = scratch.layer3(&["restore", INTERACTIVE, "--cwd", "/home/dev/new place"]).output().ok();
    let line = format!("cd '/home/dev/new place' && claude --resume {INTERACTIVE}");
    assert!(outcome.text().contains(&line), "{outcome:#?}");
    let restored = scratch.claude_dir().join(format!("projects/-home-dev-new-place/{INTERACTIVE}.jsonl"));
    assert!(fs::read(&restored).is_ok_and(|bytes| bytes == whole), "{}", restored.display());
    chain_delivered(&scratch, &transcripts::event("SessionEnd", &restored, json!({"cwd": "/home/dev/new place"})));
    assert_saved_twice(&scratch, &restored);
    assert_eq!(session_ids(&scratch), [INTERACTIVE]);
    assert_verified(&scratch);
}

#[test]
fn issue_37739_20992_two_writers_on_one_file() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    let write = |writer: u32| {
        for n in 0..40 {
            let text = format!("writer{writer} word{n} {}", "x".repeat(2000));
            transcripts::append(&transcript, transcripts::prompt_line(&id, 1000 * writer + n, &text));
            if n % 8 == writer {
                // Both clients' hooks run at once.
                scratch.layer1(&["--quiet"]).stdin(transcripts::prompt_submit(&transcript)).output().ok().silent();
            }
        }
        chain(&scratch, &transcripts::session_end(&transcript));
    };
    std::thread::scope(|scope| {
        for writer in [1, 2] {
            let write = &write;
            scope.spawn(move || write(writer));
        }
    });
    await_delivered(&scratch);

    assert_saved_twice(&scratch, &transcript);
    for writer in [1, 2] {
        assert_eq!(hits(&scratch, &format!("writer{writer} AND word39")).len(), 1);
    }
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let files = tree::session_files(&store);
        assert!(!files.iter().any(|path| path.contains(".gen-")), "it only grew: {files:?}");
    }
    let whole = fs::read(&transcript).expect("read the transcript");
    fs::remove_file(&transcript).expect("lose the transcript");
    assert_restored(&scratch, &id, &["--longest"], &whole);
    assert_verified(&scratch);
}

#[test]
fn issue_78392_59870_hooks_vanish_from_the_settings() {
    let scratch = Scratch::new();
    let seen = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 1);
    chain_delivered(&scratch, &transcripts::session_end(&seen));
    // From here no hook runs, for two sessions.
    transcripts::append(&seen, transcripts::prompt_line(&transcripts::made_id(1), 60, "unseen wombat"));
    let unseen = transcripts::make_conversation(&scratch, &transcripts::made_id(2), 2);
    let not_saved = || {
        // Without hooks in the settings something does need a person.
        let status = scratch.layer3(&["status", "--json"]).output().exits(1).json();
        assert_eq!(status["hooks"]["state"], "missing");
        status["not_yet_saved"].as_array().map(Vec::len)
    };
    assert_eq!((status_list(&scratch, "behind").len(), not_saved()), (2, Some(2)));

    // The hooks are back: the next start catches up.
    start_another(&scratch);
    for path in [&seen, &unseen] {
        assert_saved_twice(&scratch, path);
    }
    assert_eq!((status_list(&scratch, "behind").len(), not_saved()), (0, Some(0)));
    assert_eq!(found_in(&scratch, "wombat"), [transcripts::made_id(1)]);

    // Or they are not, and the user imports.
    let third = transcripts::make_conversation(&scratch, &transcripts::made_id(3), 2);
    scratch.layer3(&["import"]).output().ok();
    assert_equals_source(&scratch.layer3_store(), PROJECT, &third);
    let whole = fs::read(&third).expect("read the transcript");
    fs::remove_file(&third).expect("lose the transcript");
    assert_restored(&scratch, &transcripts::made_id(3), &[], &whole);
    assert_verified(&scratch);
}

#[test]
fn issue_25032_44346_the_clients_index_of_sessions_is_stale() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, COMPACTED);
    let stale = json!({"version": 1, "entries": [{"sessionId": transcripts::made_id(7), "firstPrompt": "a lying lemming",
        "fullPath": scratch.transcript(&transcripts::made_id(7)), "messageCount": 12}]});
    transcripts::append(&scratch.slug_dir().join("sessions-index.json"), stale.to_string());
    start_another(&scratch);
    scratch.layer3(&["import"]).output().ok();

    assert_saved_twice(&scratch, &transcript);
    assert_eq!(session_ids(&scratch), [COMPACTED]);
    assert!(hits(&scratch, "lemming").is_empty());
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let files = tree::session_files(&store);
        assert!(!files.iter().any(|path| path.contains("sessions-index")), "{files:?}");
    }
    let whole = fs::read(&transcript).expect("read the transcript");
    fs::remove_dir_all(scratch.slug_dir()).expect("lose the project's transcripts");
    assert_restored(&scratch, COMPACTED, &[], &whole);
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

#[test]
fn issue_62250_a_restored_file_is_swept_again() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, SUBAGENT);
    let sides = transcript.with_extension("");
    let whole = fs::read(&transcript).expect("read the transcript");
    let count = tree::visible_files(&sides).len();
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    for path in tree::visible_files(&scratch.slug_dir()) {
        set_age(&scratch.slug_dir().join(path), DAY * 400);
    }
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    sweep_like_claude(&scratch);
    assert!(!transcript.exists(), "the sweep took it");

    assert_restored(&scratch, SUBAGENT, &[], &whole);
    sweep_like_claude(&scratch);
    assert_eq!(fs::read(&transcript).ok(), Some(whole), "the sweep leaves what was restored");
    assert_eq!(tree::visible_files(&sides).len(), count);
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

/// A line that follows another one: its `parentUuid` names it.
fn following(before: &str, line: &str) -> String {
    let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a record");
    let mut record = parse(line);
    record["parentUuid"] = parse(before)["uuid"].clone();
    format!("{record}\n")
}

/// The kinds of losses that `status` tells.
fn losses_told(scratch: &Scratch) -> Vec<String> {
    let status = scratch.layer3(&["status", "--json"]).output().json();
    let kinds = status["findings"].as_array().expect("findings").iter().map(|finding| text(finding, "kind").to_owned());
    kinds.filter(|kind| ["shrunk", "rewritten", "split"].contains(&kind.as_str())).collect()
}

/// Deleted twice: the newest version follows the second one, and that the first, which is the longest.
#[test]
fn a_conversation_of_three_versions_is_one() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    let (mut all, mut last) = (String::new(), None::<String>);
    for (version, turns) in [&[1, 3, 5][..], &[7], &[9]].into_iter().enumerate() {
        // The second one repeats the end of the first.
        let mut lines = last.clone().filter(|_| version == 1).unwrap_or_default();
        for n in turns {
            let asked = transcripts::prompt_line(&id, *n, &format!("question {n}"));
            let asked = last.as_ref().map_or(asked.clone(), |last| following(last, &asked));
            let answer = following(&asked, &transcripts::answer_line(&id, n + 1, &format!("answer {n}")));
            all.push_str(&format!("{asked}{answer}"));
            lines.push_str(&format!("{asked}{answer}"));
            last = Some(answer);
        }
        if version > 0 {
            fs::remove_file(&transcript).expect("delete it under the client");
        }
        transcripts::append(&transcript, &lines);
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
    }
    assert_eq!(losses_told(&scratch), ["split"]);
    let shown = scratch.layer3(&["show", &id]).output().ok().text();
    for words in ["question 1", "answer 7", "answer 9"] {
        assert!(shown.contains(words), "no {words:?} in {shown}");
    }
    let text = scratch.layer3(&["status"]).output().exits(1).text();
    assert!(text.contains("--joined --force"), "{text}");
    assert_restored(&scratch, &id, &["--joined", "--force"], all.as_bytes());
}

#[test]
fn a_transcript_deleted_under_an_open_session_is_told_read_and_restored_as_one() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    let lines =
        [transcripts::prompt_line(&id, 1, "the older question"), transcripts::answer_line(&id, 2, "an older answer")];
    let old = lines.concat();
    transcripts::append(&transcript, &old);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    fs::remove_file(&transcript).expect("delete it under the client");
    let new = following(&lines[1], &transcripts::prompt_line(&id, 3, "the newer question"));
    let new = new.clone() + &following(&new, &transcripts::answer_line(&id, 4, "a newer answer"));
    transcripts::append(&transcript, &new);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_held_twice(&scratch, &id, old.as_bytes());
    assert_held_twice(&scratch, &id, new.as_bytes());

    let told = scratch.layer3(&["status", "--json"]).output().exits(1).json();
    assert_eq!((&told["findings"][0]["kind"], &told["findings"][0]["needs_person"]), (&json!("split"), &json!(true)));
    let text = scratch.layer3(&["status"]).output().exits(1).text();
    assert!(text.contains("split over two versions") && text.contains("--joined --force"), "{text}");
    let list = scratch.layer3(&["list", "--all", "--json"]).output().ok().json();
    assert_eq!(list["sessions"][0]["lost_messages"], json!(2), "{list:#}");
    assert!(scratch.layer3(&["list", "--all"]).output().ok().text().contains("(lost 2 messages)"));
    let found = scratch.layer3(&["search", "--all", "--json", "newer"]).output().ok().json();
    assert_eq!(found["hits"][0]["lost_messages"], json!(2), "{found:#}");
    let shown = scratch.layer3(&["show", &id]).output().ok().text();
    let at = |words: &str| shown.find(words).unwrap_or_else(|| panic!("no {words:?} in {shown}"));
    assert!(at("the older question") < at("a newer answer") && shown.contains("went on in a new file"), "{shown}");
    let page = scratch.layer3(&["export", &id]).output().ok().text();
    assert!(page.contains("the older question") && page.contains("a newer answer"), "{page}");
    assert!(!scratch.layer3(&["show", &id, "--generation", "0"]).output().ok().text().contains("older"));

    // Nobody can be asked here.
    let refused =
        scratch.layer3(&["resume", &id, "--cwd", scratch.project_dir().to_str().expect("UTF-8")]).output().exits(1);
    let [joined, newest] = ["--joined", "--newest"].map(|flag| format!("layer3-indexer resume {id} {flag}"));
    assert!(refused.stderr.contains(&joined) && refused.stderr.contains(&newest), "{refused:?}");
    assert!(fs::read_to_string(&transcript).is_ok_and(|it| it == new), "nothing was touched");

    let said = scratch.layer3(&["restore", &id]).output().ok();
    assert!(said.stderr.contains("--joined"), "{said:?}");
    // The client has gone on since.
    let more = following(new.lines().last().expect("a line"), &transcripts::prompt_line(&id, 5, "and more"));
    transcripts::append(&transcript, &more);
    scratch.layer1(&["sweep"]).output().ok();
    assert_restored(&scratch, &id, &["--joined", "--force"], format!("{old}{new}{more}").as_bytes());
    assert_eq!(losses_told(&scratch), [""; 0]);
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
    let list = scratch.layer3(&["list", "--all", "--json"]).output().ok().json();
    assert_eq!(list["sessions"][0].get("lost_messages"), None, "{list:#}");
}

#[test]
fn a_stub_that_no_hook_saw_is_not_resumed_in_silence() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    let old =
        transcripts::prompt_line(&id, 1, "a long question") + &transcripts::answer_line(&id, 2, &"word ".repeat(500));
    transcripts::append(&transcript, &old);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    transcripts::rewrite(&transcript, &transcripts::prompt_line(&id, 9, "a stub")[..]);
    let resume = |flags: &[&str]| {
        let here = scratch.project_dir();
        let args = [&["resume", &id, "--cwd", here.to_str().expect("UTF-8")], flags].concat();
        scratch.layer3(&args).output().exits(1)
    };
    let refused = resume(&[]);
    assert!(refused.stderr.contains("it lost 2 messages") && refused.stderr.contains("--longest"), "{refused:?}");
    // There is no claude to become; what it would go on with is there.
    assert!(resume(&["--longest"]).stderr.contains("not on the PATH"));
    assert!(fs::read_to_string(&transcript).is_ok_and(|it| it == old));
    assert_eq!(losses_told(&scratch), [""; 0]);

    transcripts::rewrite(&transcript, &transcripts::prompt_line(&id, 10, "another stub")[..]);
    assert!(resume(&[]).stderr.contains("it lost"), "the next loss is news");
    assert_eq!(losses_told(&scratch), ["shrunk"]);
    // No hook of ours is installed in this home, and that is told too.
    scratch.layer3(&["status", "--acknowledge", &id]).output().exits(1);
    assert_eq!(losses_told(&scratch), [""; 0]);
    assert!(resume(&[]).stderr.contains("not on the PATH"), "acknowledged");
    // That it may go was not said, until it is gone.
    fs::remove_file(&transcript).expect("delete the transcript");
    let is_vanished_told = || {
        let status = scratch.layer3(&["status", "--json"]).output().json();
        status["findings"].as_array().expect("findings").iter().any(|finding| finding["kind"] == "vanished")
    };
    assert!(is_vanished_told(), "it was there when its loss was acknowledged");
    scratch.layer3(&["status", "--acknowledge", &id]).output().exits(1);
    assert!(!is_vanished_told(), "acknowledged");
}
