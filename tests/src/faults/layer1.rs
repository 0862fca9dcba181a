//! Layer 1's workloads.

use std::fs;
use std::path::{Path, PathBuf};

use super::scene::{Acknowledged, Check, Manners, Scene, Step, When};
use super::workload::Workload;
use crate::binaries::LAYER1;
use crate::run::Run;
use crate::scratch::{PROJECT, Scratch};
use crate::transcripts;
use crate::tree;

/// All of them.
pub(super) const WORKLOADS: [Workload; 14] = [
    Workload { program: "layer1", name: "first-copy", make: first_copy },
    Workload { program: "layer1", name: "delta", make: delta },
    Workload { program: "layer1", name: "turn", make: turn },
    Workload { program: "layer1", name: "generation", make: generation },
    Workload { program: "layer1", name: "packed-turn", make: packed_turn },
    Workload { program: "layer1", name: "packed-generation", make: packed_generation },
    Workload { program: "layer1", name: "sides", make: sides },
    Workload { program: "layer1", name: "sweep", make: sweep },
    Workload { program: "layer1", name: "torn-append", make: torn_append },
    Workload { program: "layer1", name: "torn-ledger", make: torn_ledger },
    Workload { program: "layer1", name: "torn-rotation", make: torn_rotation },
    Workload { program: "layer1", name: "journal", make: journal },
    Workload { program: "layer1", name: "repair", make: repair },
    Workload { program: "layer1", name: "lost-bookkeeping", make: lost_bookkeeping },
];

/// Turns of a made conversation: more bytes than a head and a tail window together.
const TURNS: u32 = 16;
/// What a session without a transcript said.
const JOURNALED: &str = "the pangolin rolls up";
/// Journals are kept of interactive sessions only.
const INTERACTIVE: (&str, &str) = ("CLAUDE_CODE_ENTRYPOINT", "cli");
/// The byte of a copy that is damaged: beyond the head window, before the tail window.
const DAMAGED_AT: usize = 5000;

fn first_copy() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    hook_scene(scratch, &transcript, "SessionEnd", Vec::new())
}

fn delta() -> Scene {
    let (scratch, transcript) = saved();
    let acknowledged = held(&scratch, &transcript);
    grow(&transcript);
    hook_scene(scratch, &transcript, "PreCompact", acknowledged)
}

/// The same as a turn's event.
fn turn() -> Scene {
    let (scratch, transcript) = saved();
    turn_of(scratch, transcript)
}

/// One more turn of a conversation, whose event compares windows alone and prints nothing.
fn turn_of(scratch: Scratch, transcript: PathBuf) -> Scene {
    let acknowledged = held(&scratch, &transcript);
    grow(&transcript);
    let mut scene = hook_scene(scratch, &transcript, "UserPromptSubmit", acknowledged);
    scene.step.args = vec!["--quiet".to_owned()];
    scene.recovery = vec![scene.step.clone()];
    scene.manners = Manners::Silent;
    scene
}

/// A second rewrite: one generation stands there already.
fn generation() -> Scene {
    let (scratch, transcript) = saved();
    let first = held(&scratch, &transcript);
    transcripts::rewrite(&transcript, rewritten(1));
    run_hook(&scratch, &transcript);
    let acknowledged = first.into_iter().chain(held(&scratch, &transcript)).collect();
    transcripts::rewrite(&transcript, rewritten(2));
    let older = scratch.layer1_store().join(PROJECT).join(format!("{}.gen-0001.jsonl", id_of(&transcript)));
    assert!(older.exists(), "{}", older.display());
    let mut scene = hook_scene(scratch, &transcript, "SessionEnd", acknowledged);
    scene.untouched = vec![older];
    scene
}

/// A turn of a session whose copy was compressed.
fn packed_turn() -> Scene {
    let (scratch, transcript) = packed();
    turn_of(scratch, transcript)
}

/// The same, and the transcript was rewritten.
fn packed_generation() -> Scene {
    let (scratch, transcript) = packed();
    let acknowledged = held(&scratch, &transcript);
    transcripts::rewrite(&transcript, rewritten(1));
    hook_scene(scratch, &transcript, "SessionEnd", acknowledged)
}

/// A conversation that layer 1 has saved and that was compressed.
fn packed() -> (Scratch, PathBuf) {
    let (scratch, transcript) = saved();
    scratch.layer3(&["compress", "--older-than", "2100-01-01"]).output().ok();
    let copy = scratch.layer1_store().join(PROJECT).join(transcript.file_name().expect("a name"));
    assert!(!copy.exists() && crate::stores::packed_path(&copy).exists(), "{}", copy.display());
    (scratch, transcript)
}

/// One side file grew, one was rewritten, one is new.
fn sides() -> Scene {
    let (scratch, transcript) = saved();
    let acknowledged = held(&scratch, &transcript);
    change_sides(&transcript);
    hook_scene(scratch, &transcript, "SessionEnd", acknowledged)
}

/// One session grew, one was rewritten, one is new.
fn sweep() -> Scene {
    let scratch = Scratch::new();
    let grown = conversation(&scratch, 1);
    let changed = conversation(&scratch, 2);
    for transcript in [&grown, &changed] {
        run_hook(&scratch, transcript);
    }
    let acknowledged = [held(&scratch, &grown), held(&scratch, &changed)].concat();
    grow(&grown);
    transcripts::rewrite(&changed, rewritten(1));
    let new = conversation(&scratch, 3);
    let store = scratch.layer1_store();
    let step = Step { binary: LAYER1, args: vec!["sweep".to_owned()], stdin: Vec::new() };
    let mut scene = Scene::new(scratch, step, Manners::Command, std::slice::from_ref(&store));
    scene.verify = vec![verify()];
    scene.copies = [grown, changed, new].into_iter().map(|transcript| (store.join(PROJECT), transcript)).collect();
    scene.acknowledged = acknowledged;
    scene
}

/// Bytes that no commit covers: killed between the data and the ledger.
fn torn_append() -> Scene {
    let (scratch, transcript) = saved();
    let acknowledged = held(&scratch, &transcript);
    grow(&transcript);
    let ledger = ledger_of(&scratch, &transcript);
    kill_at(&scratch, &transcript, "pwrite64", Some(&ledger));
    let copy = scratch.layer1_store().join(PROJECT).join(transcript.file_name().expect("a name"));
    let copied = fs::read(&copy).expect("the copy").len();
    assert!(copied > acknowledged[0].bytes.len(), "the kill came before the data");
    hook_scene(scratch, &transcript, "SessionEnd", acknowledged)
}

/// The ledger's last line is torn, and temporary files lie about.
fn torn_ledger() -> Scene {
    let (scratch, transcript) = saved();
    let acknowledged = held(&scratch, &transcript);
    grow(&transcript);
    run_hook(&scratch, &transcript);
    let ledger = ledger_of(&scratch, &transcript);
    let whole = fs::read(&ledger).expect("the ledger");
    fs::write(&ledger, &whole[..whole.len() - 40]).expect("tear the ledger");
    fs::write(ledger.with_file_name("new"), "left behind").expect("leave a file behind");
    fs::write(ledger.with_file_name(format!(".{PROJECT}.ledger.tmp")), "left behind").expect("leave a file behind");
    hook_scene(scratch, &transcript, "SessionEnd", acknowledged)
}

/// A rotation was begun, its rename has not happened.
fn torn_rotation() -> Scene {
    let (scratch, transcript) = saved();
    let acknowledged = held(&scratch, &transcript);
    transcripts::rewrite(&transcript, rewritten(1));
    kill_at(&scratch, &transcript, "renameat2", None);
    hook_scene(scratch, &transcript, "SessionEnd", acknowledged)
}

/// The end of a session without a transcript: what its events said is published.
fn journal() -> Scene {
    let scratch = Scratch::new();
    let transcript = scratch.transcript(&transcripts::made_id(1));
    let prompt = transcripts::event("UserPromptSubmit", &transcript, serde_json::json!({"prompt": JOURNALED}));
    let hook = scratch.layer1(&["--quiet"]).stdin(prompt).env(INTERACTIVE.0, INTERACTIVE.1);
    hook.output().ok().silent();
    let mut scene = hook_scene(scratch, &transcript, "SessionEnd", Vec::new());
    scene.copies.clear();
    scene.env = vec![INTERACTIVE];
    scene.checks = vec![
        Check {
            when: When::Faulted,
            ask: |scene, _| (!is_journaled(scene, false)).then(|| "b: the prompt is lost".to_owned()),
        },
        Check {
            when: When::Faulted,
            ask: |scene, silent| {
                (silent && !is_journaled(scene, true)).then(|| "c: silent, but nothing is published".to_owned())
            },
        },
        Check {
            when: When::Recovered,
            ask: |scene, _| (!is_journaled(scene, true)).then(|| "a: nothing is published".to_owned()),
        },
    ];
    scene
}

/// Whether the prompt stands in a file of the store; in a published one, where that is asked.
fn is_journaled(scene: &Scene, published: bool) -> bool {
    let store = scene.scratch().layer1_store();
    let is_meant = |path: &PathBuf| path.to_string_lossy().ends_with(".events.jsonl") || !published;
    let files = tree::all(&store).into_keys().filter(is_meant);
    files
        .map(|path| fs::read(store.join(path)).unwrap_or_default())
        .any(|bytes| String::from_utf8_lossy(&bytes).contains(JOURNALED))
}

/// A flipped bit in the transcript's copy, a side file that is gone; both sources are whole.
fn repair() -> Scene {
    let (scratch, transcript) = saved();
    let store = scratch.layer1_store();
    damage(&store, &transcript);
    let step = Step { binary: LAYER1, args: vec!["verify".to_owned(), "--repair".to_owned()], stdin: Vec::new() };
    repair_scene(scratch, step, &transcript, store)
}

/// Damages the copy of a conversation in a store: one flipped bit, one side file less.
pub(super) fn damage(store: &Path, transcript: &Path) {
    let copy = store.join(PROJECT).join(transcript.file_name().expect("a name"));
    let mut bytes = fs::read(&copy).expect("the copy");
    bytes[DAMAGED_AT] ^= 4;
    fs::write(&copy, bytes).expect("damage the copy");
    fs::remove_file(copy.with_extension("").join("custom-title.json")).expect("lose a side file");
}

/// `verify --repair` of a damaged store: what stood there is kept aside.
pub(super) fn repair_scene(scratch: Scratch, step: Step, transcript: &Path, store: PathBuf) -> Scene {
    let mut scene = Scene::new(scratch, step, Manners::Command, std::slice::from_ref(&store));
    scene.verify = vec![Step { args: vec!["verify".to_owned()], ..scene.step.clone() }];
    scene.copies = vec![(store.join(PROJECT), transcript.to_owned())];
    scene.checks = [When::Faulted, When::Recovered].map(|when| Check { when, ask: without_the_damaged }).to_vec();
    scene
}

/// The damaged copy, as it was, must be in the store under one name or another.
fn without_the_damaged(scene: &Scene, _: bool) -> Option<String> {
    let (project, transcript) = &scene.copies[0];
    let damaged = scene.as_it_was(&project.join(transcript.file_name()?))?;
    let store = &scene.state[0];
    let is_it = |path: PathBuf| fs::read(store.join(path)).is_ok_and(|bytes| bytes == damaged);
    (!tree::all(store).into_keys().any(is_it)).then(|| "b: the damaged copy was not kept".to_owned())
}

/// All bookkeeping is gone, and the transcript has grown since.
fn lost_bookkeeping() -> Scene {
    let (scratch, transcript) = saved();
    let acknowledged = held(&scratch, &transcript);
    fs::remove_dir_all(scratch.layer1_store().join(".state")).expect("lose the bookkeeping");
    grow(&transcript);
    hook_scene(scratch, &transcript, "SessionEnd", acknowledged)
}

fn hook_scene(scratch: Scratch, transcript: &Path, kind: &str, acknowledged: Vec<Acknowledged>) -> Scene {
    let event = transcripts::event(kind, transcript, serde_json::json!({"trigger": "manual"}));
    let step = Step { binary: LAYER1, args: Vec::new(), stdin: format!("{event}\n").into_bytes() };
    let store = scratch.layer1_store();
    let mut scene = Scene::new(scratch, step, Manners::PassesOn, std::slice::from_ref(&store));
    scene.verify = vec![verify()];
    scene.copies = vec![(store.join(PROJECT), transcript.to_owned())];
    scene.acknowledged = acknowledged;
    scene
}

fn verify() -> Step {
    Step { binary: LAYER1, args: vec!["verify".to_owned()], stdin: Vec::new() }
}

/// A conversation with three side files.
pub(super) fn conversation(scratch: &Scratch, n: u32) -> PathBuf {
    let (id, transcript) = (transcripts::made_id(n), scratch.transcript(&transcripts::made_id(n)));
    for turn in 0..TURNS {
        // No two conversations at one time, so that every list has one order.
        let at = 2 * turn + 100 * n;
        transcripts::append(&transcript, transcripts::prompt_line(&id, at, &format!("prompt {turn}")));
        transcripts::append(&transcript, transcripts::answer_line(&id, at + 1, &format!("answer {turn}")));
    }
    let folder = transcript.with_extension("");
    transcripts::append(&folder.join("tool-results/one.txt"), "a large output\n".repeat(30));
    transcripts::append(&folder.join("subagents/agent-a.jsonl"), "{\"type\":\"user\"}\n");
    transcripts::append(&folder.join("custom-title.json"), "{\"title\":\"one\"}");
    transcript
}

/// One more turn.
pub(super) fn grow(transcript: &Path) {
    transcripts::append(transcript, transcripts::prompt_line(&id_of(transcript), 900, "and one more"));
    transcripts::append(transcript, transcripts::answer_line(&id_of(transcript), 901, &"more ".repeat(100)));
}

/// One side file grows, one is rewritten, one is new.
pub(super) fn change_sides(transcript: &Path) {
    let folder = transcript.with_extension("");
    transcripts::append(&folder.join("subagents/agent-a.jsonl"), "{\"type\":\"user\",\"more\":true}\n");
    transcripts::rewrite(&folder.join("custom-title.json"), "{\"title\":\"another one\"}");
    transcripts::append(&folder.join("tool-results/two.txt"), "a second output\n".repeat(20));
}

/// Another conversation altogether.
pub(super) fn rewritten(n: u32) -> String {
    let line = |turn| transcripts::prompt_line(&transcripts::made_id(90 + n), turn, "written anew");
    (0..TURNS).map(line).collect()
}

/// A conversation that layer 1 has saved.
pub(super) fn saved() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    run_hook(&scratch, &transcript);
    (scratch, transcript)
}

/// Saves a conversation with layer 1.
pub(super) fn run_hook(scratch: &Scratch, transcript: &Path) {
    let event = transcripts::session_end(transcript);
    let outcome = scratch.layer1(&["--quiet"]).stdin(event).output().ok();
    assert!(outcome.stderr.is_empty() && outcome.stdout.is_empty(), "{outcome:?}");
}

/// What layer 1's store acknowledged of a session: each file as it is now, wherever it may go.
pub(super) fn held(scratch: &Scratch, transcript: &Path) -> Vec<Acknowledged> {
    held_in(&scratch.layer1_store(), transcript)
}

/// [`held`], of another store.
pub(super) fn held_in(store: &Path, transcript: &Path) -> Vec<Acknowledged> {
    let (project, id) = (store.join(PROJECT), id_of(transcript));
    let mut held = vec![Acknowledged {
        paths: vec![project.join(format!("{id}.jsonl")), project.join(format!("{id}.gen-*.jsonl"))],
        bytes: fs::read(transcript).expect("the transcript"),
    }];
    for (side, entry) in crate::tree::all(&transcript.with_extension("")) {
        if matches!(entry, crate::tree::Entry::File(..)) {
            held.push(Acknowledged {
                paths: vec![project.join(&id).join(&side), project.join(format!("{id}.gen-*")).join(&side)],
                bytes: fs::read(transcript.with_extension("").join(&side)).expect("a side file"),
            });
        }
    }
    held
}

/// The session id of a transcript.
pub(super) fn id_of(transcript: &Path) -> String {
    transcript.file_stem().expect("a transcript has a name").to_string_lossy().into_owned()
}

fn ledger_of(scratch: &Scratch, transcript: &Path) -> PathBuf {
    let folder = scratch.layer1_store().join(".state/sessions").join(id_of(transcript));
    folder.join(format!("{PROJECT}.ledger"))
}

/// Runs the hook and kills it on entering the first such call (on `path`, where one is given).
fn kill_at(scratch: &Scratch, transcript: &Path, call: &str, path: Option<&Path>) {
    let trace = scratch.tmp().join("trace");
    let mut run = scratch.at_home(Run::new("/usr/bin/strace")).args(["-f", "-qq", "-o"]).arg(&trace);
    run = run.args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:signal=KILL:when=1")]);
    if let Some(path) = path {
        run = run.arg("-P").arg(path);
    }
    let outcome = run.arg(scratch.program(LAYER1)).stdin(transcripts::session_end(transcript)).output();
    assert_eq!(outcome.signal, Some(9), "killed: {outcome:?}");
}
