//! Layer 3's workloads: its synchronous commands.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::layer1::{conversation, grow, held_in, rewritten, run_hook};
use super::scene::{Acknowledged, Check, Manners, Scene, Step, When};
use super::workload::Workload;
use crate::binaries::LAYER3;
use crate::scratch::{PROJECT, Scratch};
use crate::transcripts;

/// All of them.
pub const WORKLOADS: [Workload; 5] = [
    Workload { program: "layer3", name: "save-first", make: save_first },
    Workload { program: "layer3", name: "save-delta", make: save_delta },
    Workload { program: "layer3", name: "save-rewritten", make: save_rewritten },
    Workload { program: "layer3", name: "save-taken-over", make: save_taken_over },
    Workload { program: "layer3", name: "import", make: import },
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
