//! Layer 3's workloads: its synchronous commands.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::layer1::{change_sides, conversation, damage, grow, held_in, id_of, repair_scene, rewritten, run_hook};
use super::scene::{Acknowledged, Check, Manners, Scene, Step, When};
use super::workload::Workload;
use crate::binaries::{LAYER1, LAYER3};
use crate::run::Outcome;
use crate::scratch::{PROJECT, Scratch};
use crate::stores;
use crate::transcripts;
use crate::tree;

/// All of them.
pub(super) const WORKLOADS: [Workload; 17] = [
    Workload { program: "layer3", name: "save-first", make: save_first },
    Workload { program: "layer3", name: "save-long", make: save_long },
    Workload { program: "layer3", name: "save-delta", make: save_delta },
    Workload { program: "layer3", name: "save-rewritten", make: save_rewritten },
    Workload { program: "layer3", name: "save-taken-over", make: save_taken_over },
    Workload { program: "layer3", name: "import", make: import },
    Workload { program: "layer3", name: "save-sides", make: save_sides },
    Workload { program: "layer3", name: "restore", make: restore },
    Workload { program: "layer3", name: "repair", make: repair },
    Workload { program: "layer3", name: "rebuild", make: rebuild },
    Workload { program: "layer3", name: "prune-session", make: prune_session },
    Workload { program: "layer3", name: "prune-generations", make: prune_generations },
    Workload { program: "layer3", name: "forget", make: forget },
    Workload { program: "layer3", name: "forget-match", make: forget_match },
    Workload { program: "layer3", name: "compress", make: compress },
    Workload { program: "layer3", name: "compress-newest", make: compress_newest },
    Workload { program: "layer3", name: "save-packed", make: save_packed },
];

fn save_first() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    save_scene(scratch, &transcript, Vec::new())
}

/// Long enough that a second thread reads it ahead for the index.
fn save_long() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    for turn in 0..4 {
        let text = format!("turn {turn} {}", "at length ".repeat(10_000));
        transcripts::append(&transcript, transcripts::prompt_line(&id_of(&transcript), 500 + turn, &text));
    }
    save_scene(scratch, &transcript, Vec::new())
}

fn save_delta() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    let acknowledged = saved(&scratch, &transcript);
    grow(&transcript);
    save_scene(scratch, &transcript, acknowledged)
}

fn save_rewritten() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    let acknowledged = saved(&scratch, &transcript);
    transcripts::rewrite(&transcript, rewritten(1));
    save_scene(scratch, &transcript, acknowledged)
}

/// Layer 1 holds an older generation that the source no longer has.
fn save_taken_over() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    run_hook(&scratch, &transcript);
    transcripts::rewrite(&transcript, rewritten(1));
    run_hook(&scratch, &transcript);
    save_scene(scratch, &transcript, Vec::new())
}

/// One session is new, one grew, one is only in layer 1's store.
fn import() -> Scene {
    let scratch = Scratch::new();
    let grown = conversation(&scratch, 1);
    let acknowledged = saved(&scratch, &grown);
    grow(&grown);
    let new = conversation(&scratch, 2);
    let step = Step { binary: LAYER3, args: vec!["import".to_owned()], stdin: Vec::new() };
    scene(scratch, step, &[grown, new], acknowledged)
}

/// One side file grew, one was rewritten, one is new.
fn save_sides() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    let acknowledged = saved(&scratch, &transcript);
    change_sides(&transcript);
    save_scene(scratch, &transcript, acknowledged)
}

/// A conversation is brought back to another folder.
fn restore() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    let acknowledged = saved(&scratch, &transcript);
    let target = restored_to(&scratch);
    let mut step = asking(&["restore", &id_of(&transcript), "--to"]);
    step.args.push(target.display().to_string());
    let mut scene = Scene::new(scratch, step, Manners::Command, &[target]);
    scene.verify = vec![asking(&["verify"])];
    scene.writes_again = true;
    scene.acknowledged = acknowledged;
    scene.checks = vec![
        Check {
            when: When::Faulted,
            ask: |scene, silent| not_restored(scene).filter(|_| silent).map(|what| format!("c: silent, but {what}")),
        },
        Check { when: When::Recovered, ask: |scene, _| not_restored(scene).map(|what| format!("a: {what}")) },
    ];
    scene
}

fn restored_to(scratch: &Scratch) -> PathBuf {
    scratch.home().join("restored")
}

fn not_restored(scene: &Scene) -> Option<String> {
    let target = restored_to(scene.scratch());
    let source = scene.scratch().transcript(&transcripts::made_id(1));
    let found = tree::all(&target).into_keys().find(|path| path.file_name() == source.file_name());
    let Some(found) = found else { return Some("there is no restored transcript".to_owned()) };
    let place = target.join(found);
    let folder = place.parent()?;
    stores::difference(folder.parent()?, &folder.file_name()?.to_string_lossy(), &source)
}

/// A flipped bit in the transcript's copy, a side file that is gone; the source and layer 1 have both.
fn repair() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    run_hook(&scratch, &transcript);
    saved(&scratch, &transcript);
    let store = scratch.layer3_store();
    damage(&store, &transcript);
    repair_scene(scratch, asking(&["verify", "--repair"]), &transcript, store)
}

/// The index is made again from the store.
fn rebuild() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    let acknowledged = saved(&scratch, &transcript);
    let mut scene = scene(scratch, asking(&["rebuild"]), &[transcript], acknowledged);
    // A rebuild writes all of it anew each time; whoever comes next must find the index whole.
    scene.recovery = vec![asking(&["import"])];
    scene
}

/// Of two conversations one is gone from Claude Code and goes here too, by its age; layer 2 has a
/// receipt of it. The other one stays.
fn prune_session() -> Scene {
    let scratch = Scratch::new();
    let (going, staying) = (conversation(&scratch, 1), conversation(&scratch, 2));
    for transcript in [&going, &staying] {
        run_hook(&scratch, transcript);
        saved(&scratch, transcript);
    }
    let receipts = scratch.layer1_store().join(".outbox/receipts");
    fs::create_dir_all(&receipts).expect("make the outbox");
    fs::write(receipts.join(format!("{}@{PROJECT}.json", id_of(&going))), "{}").expect("write a receipt");
    fs::remove_file(&going).expect("Claude Code deletes a transcript");
    fs::remove_dir_all(going.with_extension("")).expect("and its side files");
    let step = asking(&["prune", "--all", "--older-than", "2100-01-01", "--only-copies", "--yes"]);
    let mut scene = prune_scene(scratch, step, &staying);
    scene.checks.push(Check { when: When::Recovered, ask: not_gone });
    scene
}

/// One of two conversations is forgotten, which Claude Code still has: nothing brings it back at any time.
fn forget() -> Scene {
    let scratch = Scratch::new();
    let (going, staying) = (conversation(&scratch, 1), conversation(&scratch, 2));
    for transcript in [&going, &staying] {
        run_hook(&scratch, transcript);
        saved(&scratch, transcript);
    }
    let receipts = scratch.layer1_store().join(".outbox/receipts");
    fs::create_dir_all(&receipts).expect("make the outbox");
    fs::write(receipts.join(format!("{}@{PROJECT}.json", id_of(&going))), "{}").expect("write a receipt");
    let step = asking(&["forget", &id_of(&going), "--yes"]);
    let mut scene = prune_scene(scratch, step, &staying);
    scene.checks = vec![Check { when: When::Recovered, ask: not_forgotten }];
    // The index is made anew each time.
    scene.writes_again = true;
    scene
}

/// A text in two versions of a conversation is forgotten, which Claude Code still has.
fn forget_match() -> Scene {
    let scratch = Scratch::new();
    let (going, staying) = (conversation(&scratch, 1), conversation(&scratch, 2));
    let id = id_of(&going);
    transcripts::append(&going, transcripts::prompt_line(&id, 900, FORGOTTEN));
    run_hook(&scratch, &going);
    saved(&scratch, &going);
    transcripts::rewrite(&going, transcripts::prompt_line(&id, 901, &format!("once more {FORGOTTEN}")));
    for transcript in [&going, &staying] {
        run_hook(&scratch, transcript);
        saved(&scratch, transcript);
    }
    let mut scene = prune_scene(scratch, asking(&["forget", "--match", FORGOTTEN, "--yes"]), &staying);
    scene.checks = vec![Check { when: When::Recovered, ask: text_is_left }];
    scene.writes_again = true;
    scene
}

/// Stands in one conversation alone.
const FORGOTTEN: &str = "zanzibar-7719-pelican";

/// A file of the stores that holds the text after a sweep and an import.
fn text_is_left(scene: &Scene, _: bool) -> Option<String> {
    let scratch = scene.scratch();
    scratch.layer1(&["sweep", "--all"]).output().ok();
    scratch.layer3(&["import"]).output().ok();
    let holds = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(FORGOTTEN.len()).any(|window| window == FORGOTTEN.as_bytes())
    };
    let all = scene.state.iter().flat_map(|store| tree::all(store).into_keys().map(move |path| store.join(path)));
    all.filter(holds).map(|path| format!("a: {} holds it", path.display())).next()
}

/// What is left of the forgotten conversation after a sweep and an import.
fn not_forgotten(scene: &Scene, _: bool) -> Option<String> {
    let scratch = scene.scratch();
    scratch.layer1(&["sweep", "--all"]).output().ok();
    scratch.layer3(&["import"]).output().ok();
    let id = transcripts::made_id(1);
    let stays =
        [PathBuf::from(format!(".state/sessions/{id}/lock")), PathBuf::from(format!(".state/forgotten/{id}.json"))];
    let left = scene
        .state
        .iter()
        .flat_map(|store| tree::all(store).into_keys())
        .find(|path| path.to_string_lossy().contains(&id) && !stays.iter().any(|stays| stays.starts_with(path)));
    left.map(|path| format!("a: {} is left", path.display()))
}

/// A content that is the beginning of the newest one goes, one that is not stays.
fn prune_generations() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    let first = fs::read(&transcript).expect("the transcript");
    let save = || {
        run_hook(&scratch, &transcript);
        saved(&scratch, &transcript)
    };
    let mut acknowledged = save();
    transcripts::rewrite(&transcript, rewritten(1));
    acknowledged.extend(save());
    transcripts::rewrite(&transcript, first);
    grow(&transcript);
    acknowledged.extend(save());
    let step = asking(&["prune", "--all", "--generations", "--yes"]);
    let mut scene = prune_scene(scratch, step, &transcript);
    scene.acknowledged.extend(acknowledged);
    scene.checks.push(Check {
        when: When::Recovered,
        ask: |scene, _| {
            let stores = [scene.scratch().layer1_store(), scene.scratch().layer3_store()];
            let generations = stores
                .map(|store| tree::all(&store.join(PROJECT)).into_keys().filter(|path| is_generation(path)).count());
            (generations != [1, 1]).then(|| format!("a: so many generations are left: {generations:?}"))
        },
    });
    scene
}

/// An older content in both stores is compressed.
fn compress() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    run_hook(&scratch, &transcript);
    saved(&scratch, &transcript);
    transcripts::rewrite(&transcript, rewritten(1));
    run_hook(&scratch, &transcript);
    saved(&scratch, &transcript);
    let step = asking(&["compress", "--generations-only", "--older-than", "2100-01-01"]);
    let mut scene = prune_scene(scratch, step, &transcript);
    scene.checks.extend([
        Check { when: When::Faulted, ask: |scene, _| neither_form(scene, ".gen-0001.jsonl", false) },
        Check { when: When::Recovered, ask: |scene, _| neither_form(scene, ".gen-0001.jsonl", true) },
    ]);
    scene.ask(vec![
        asking(&["search", "--all", "--json", "prompt OR more OR anew"]),
        asking(&["show", &id_of(&transcript), "--generation", "1", "--json"]),
        asking(&["export", &id_of(&transcript), "--generation", "1"]),
    ]);
    scene
}

/// The newest contents in both stores are compressed, and searched.
fn compress_newest() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    run_hook(&scratch, &transcript);
    saved(&scratch, &transcript);
    let mut scene = prune_scene(scratch, asking(&["compress", "--older-than", "2100-01-01"]), &transcript);
    scene.checks.extend([
        Check { when: When::Faulted, ask: |scene, _| neither_form(scene, ".jsonl", false) },
        Check { when: When::Recovered, ask: |scene, _| neither_form(scene, ".jsonl", true) },
    ]);
    scene.ask(vec![
        asking(&["search", "--all", "--json", "prompt OR more OR anew"]),
        asking(&["show", &id_of(&transcript), "--json"]),
        asking(&["export", &id_of(&transcript)]),
    ]);
    scene
}

/// A session goes on whose copy was compressed.
fn save_packed() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    let acknowledged = saved(&scratch, &transcript);
    scratch.layer3(&["compress", "--older-than", "2100-01-01"]).output().ok();
    grow(&transcript);
    save_scene(scratch, &transcript, acknowledged)
}

/// The content must be there whole in each store, in one form or both; in the end compressed.
fn neither_form(scene: &Scene, name: &str, in_the_end: bool) -> Option<String> {
    let name = format!("{}{name}", transcripts::made_id(1));
    scene.state.iter().find_map(|store| {
        let plain = store.join(PROJECT).join(&name);
        let expected = scene.as_it_was(&plain);
        let is_plain = fs::read(&plain).ok() == expected;
        let packed = fs::read(plain.with_extension("jsonl.zst")).ok();
        // What stands there unrecorded would be taken for another's.
        let ledger = store.join(format!(".state/sessions/{}/{PROJECT}.ledger", transcripts::made_id(1)));
        if packed.is_some() && !fs::read_to_string(&ledger).is_ok_and(|text| text.contains("\"packed\"")) {
            return Some(format!("b: {} is not recorded", plain.display()));
        }
        let is_packed = packed.and_then(|packed| zstd::decode_all(&packed[..]).ok()) == expected;
        let is_right = if in_the_end { is_packed && !plain.exists() } else { is_plain || is_packed };
        (!is_right).then(|| format!("b: {}: plain {is_plain}, compressed {is_packed}", plain.display()))
    })
}

fn is_generation(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".jsonl") && path.to_string_lossy().contains(".gen-")
}

/// Both stores; `staying` must come through it unharmed, and no `verify` may find anything at any time.
fn prune_scene(scratch: Scratch, step: Step, staying: &Path) -> Scene {
    let stores = [scratch.layer1_store(), scratch.layer3_store()];
    let mut scene = Scene::new(scratch, step, Manners::Command, &stores);
    scene.verify = vec![asking(&["verify"]), layer1_verify()];
    scene.copies = stores.iter().map(|store| (store.join(PROJECT), staying.to_owned())).collect();
    scene.acknowledged = stores.iter().flat_map(|store| held_in(store, staying)).collect();
    scene.checks = vec![Check { when: When::Faulted, ask: verify_cries }];
    scene.ask(vec![
        asking(&["list", "--all", "--json"]),
        asking(&["search", "--all", "--json", "prompt OR more OR anew"]),
    ]);
    scene
}

fn layer1_verify() -> Step {
    Step { binary: LAYER1, args: vec!["verify".to_owned()], stdin: Vec::new() }
}

/// Whatever is cut off, all contents are as they are recorded. The index may want to be made again,
/// which is said.
fn verify_cries(scene: &Scene, silent: bool) -> Option<String> {
    let outcomes = [asking(&["verify"]), layer1_verify()].map(|step| scene.run(&step));
    let cries = |outcome: &Outcome| {
        let text = outcome.text();
        let is_of_the_index = text.lines().all(|line| line.starts_with("index-damaged"));
        outcome.code != Some(0) && (silent || text.is_empty() || !is_of_the_index)
    };
    let cries = outcomes.into_iter().find(cries);
    cries.map(|outcome| format!("h: verify finds something in what was cut off: {outcome:?}"))
}

/// All that bears the id of a session that went, but for its lock's empty file.
fn not_gone(scene: &Scene, _: bool) -> Option<String> {
    let id = transcripts::made_id(1);
    let left = scene.state.iter().flat_map(|store| {
        let files = tree::all(store).into_iter().filter(|(_, entry)| matches!(entry, tree::Entry::File(..)));
        files.map(|(path, _)| store.join(path))
    });
    let left: Vec<PathBuf> =
        left.filter(|path| path.to_string_lossy().contains(&id) && !path.ends_with("lock")).collect();
    (!left.is_empty()).then(|| format!("a: it is not gone: {left:?}"))
}

fn save_scene(scratch: Scratch, transcript: &Path, acknowledged: Vec<Acknowledged>) -> Scene {
    let step = save(transcript);
    scene(scratch, step, &[transcript.to_owned()], acknowledged)
}

fn scene(scratch: Scratch, step: Step, transcripts: &[PathBuf], acknowledged: Vec<Acknowledged>) -> Scene {
    let store = scratch.layer3_store();
    let mut scene = Scene::new(scratch, step, Manners::Command, std::slice::from_ref(&store));
    scene.verify = vec![asking(&["verify"])];
    scene.copies = transcripts.iter().map(|transcript| (store.join(PROJECT), transcript.clone())).collect();
    scene.acknowledged = acknowledged;
    scene.checks = vec![
        Check { when: When::Recovered, ask: without_metadata },
        Check { when: When::Faulted, ask: silent_without_metadata },
    ];
    scene.ask(vec![
        asking(&["list", "--all", "--json"]),
        asking(&["search", "--all", "--json", "prompt OR more OR anew"]),
    ]);
    scene
}

fn asking(args: &[&str]) -> Step {
    Step { binary: LAYER3, args: args.iter().map(|arg| (*arg).to_owned()).collect(), stdin: Vec::new() }
}

fn save(transcript: &Path) -> Step {
    let event = transcripts::session_end(transcript);
    Step { binary: LAYER3, args: vec!["save".to_owned()], stdin: format!("{event}\n").into_bytes() }
}

fn saved(scratch: &Scratch, transcript: &Path) -> Vec<Acknowledged> {
    scratch.layer3(&["save"]).stdin(save(transcript).stdin).output().ok();
    held_in(&scratch.layer3_store(), transcript)
}

/// Metadata that could not be written is told of, although the copy is stored.
fn silent_without_metadata(scene: &Scene, silent: bool) -> Option<String> {
    let wrong = without_metadata(scene, silent).filter(|_| silent)?;
    Some(format!("c: silent, but the metadata is not right: {wrong}"))
}

/// Metadata must stand beside every copy and speak of its present content.
fn without_metadata(scene: &Scene, _: bool) -> Option<String> {
    scene.copies.iter().find_map(|(project, transcript)| {
        let path = project.join(transcript.with_extension("json").file_name()?);
        let bytes = fs::read(transcript).ok()?;
        let metadata: Value = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(error) => return Some(format!("a: the metadata {} cannot be read: {error}", path.display())),
        };
        let hash = blake3::hash(&bytes).to_hex().to_string();
        let is_right = metadata["bytes"] == json!(bytes.len()) && metadata["blake3"] == json!(hash);
        (!is_right).then(|| format!("a: the metadata speaks of other bytes: {metadata}"))
    })
}
