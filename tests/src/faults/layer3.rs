//! Layer 3's workloads: its synchronous commands.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::layer1::{change_sides, conversation, damage, grow, held_in, id_of, repair_scene, rewritten, run_hook};
use super::scene::{Acknowledged, Check, Manners, Scene, Step, When};
use super::workload::Workload;
use crate::binaries::LAYER3;
use crate::scratch::{PROJECT, Scratch};
use crate::{stores, transcripts, tree};

/// All of them.
pub const WORKLOADS: [Workload; 9] = [
    Workload { program: "layer3", name: "save-first", make: save_first },
    Workload { program: "layer3", name: "save-delta", make: save_delta },
    Workload { program: "layer3", name: "save-rewritten", make: save_rewritten },
    Workload { program: "layer3", name: "save-taken-over", make: save_taken_over },
    Workload { program: "layer3", name: "import", make: import },
    Workload { program: "layer3", name: "save-sides", make: save_sides },
    Workload { program: "layer3", name: "restore", make: restore },
    Workload { program: "layer3", name: "repair", make: repair },
    Workload { program: "layer3", name: "rebuild", make: rebuild },
];

fn save_first() -> Scene {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
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
