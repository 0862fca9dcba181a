//! Pushes while conversations go on: whatever a seal says is in its snapshot, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tests::offsite::place::{Kind, Place};
use tests::scratch::Scratch;
use tests::transcripts;
use tests::waiting::holds_within;

use super::machine::{Machine, NAME};
use crate::product::text;

/// So many pushes must be received, and so many are tried at most: one during which a version began does not count.
const RECEIVED: usize = 8;
const PUSHES_MAX: usize = 100;
/// Between two events.
const PAUSE: Duration = Duration::from_millis(100);
/// So many conversations take part.
const CONVERSATIONS: u32 = 8;
/// One event in so many is a rewrite.
const REWRITE_ONE_IN: u32 = 37;
/// At least so many sealed entries must be proven: those of the contract.
const SEALED_MIN: usize = 333;

#[test]
fn every_sealed_entry_of_a_storm_is_in_its_snapshot() {
    let shelf = Scratch::new();
    let test = "every_sealed_entry_of_a_storm_is_in_its_snapshot";
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    machine.converse(30);
    machine.init(NAME);
    let (ended, events) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut snapshots = Vec::new();
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                strike(&machine, events.fetch_add(1, Ordering::Relaxed));
                holds_within(PAUSE, || ended.load(Ordering::Relaxed));
            }
        });
        for _ in 0..PUSHES_MAX {
            // A file that a rewrite moved away meanwhile makes a push incomplete, and says so; the next one has it.
            let outcome = machine.offsite(&["push", "--now"]).output();
            assert!(!outcome.timed_out && matches!(outcome.code, Some(0 | 1)), "{outcome:?}");
            snapshots.push(text(&machine.status()["push"], "snapshot"));
            snapshots.dedup();
            if storm.is_finished() || snapshots.len() > RECEIVED {
                break;
            }
        }
        ended.store(true, Ordering::Relaxed);
        storm.join().expect("the storm passes");
    });
    let events = events.into_inner();
    assert!(events > 3 * REWRITE_ONE_IN, "the storm was one: {events} events");
    machine.push();
    snapshots.push(text(&machine.status()["push"], "snapshot"));
    snapshots.sort();
    snapshots.dedup();
    assert!(snapshots.len() > RECEIVED, "enough pushes were received: {}", snapshots.len());
    let repository = machine.repository(&place, NAME);
    let mut proven = 0;
    for snapshot in &snapshots {
        let target = shelf.beside(&format!("restored-{snapshot}"));
        repository.ok(&["restore", "--no-lock", snapshot, "--target", &target.display().to_string()]);
        proven += prove(&target);
        fs::remove_dir_all(target).expect("make room");
    }
    assert!(proven >= SEALED_MIN, "{proven} of {} snapshots", snapshots.len());
    println!("{proven} sealed entries of {} snapshots proven, {events} events", snapshots.len());
    machine.drill_all();
    repository.assert_clean();
}

/// One event: a conversation grows, or is rewritten, and the hook runs.
fn strike(machine: &Machine, number: u32) {
    let id = transcripts::made_id(100 + number % CONVERSATIONS);
    let transcript = machine.scratch.transcript(&id);
    let line = transcripts::prompt_line(&id, number, &format!("event {number} {}", "and so on ".repeat(200)));
    if number % REWRITE_ONE_IN == REWRITE_ONE_IN - 1 {
        transcripts::rewrite(&transcript, line);
    } else {
        transcripts::append(&transcript, line);
    }
    machine.scratch.layer1(&[]).stdin(transcripts::session_end(&transcript)).output().ok();
}

/// How many entries the seal of a restored snapshot has. Each is there: under its name, or, where its content had
/// become an older one before restic read it, as that.
#[track_caller]
fn prove(root: &Path) -> usize {
    let bytes = fs::read(root.join(".state/offsite/seal.json")).expect("a snapshot has its seal");
    let seal: Value = serde_json::from_slice(&bytes).expect("a seal is JSON");
    let files = seal["files"].as_array().expect("a seal has files");
    let mut moved: BTreeMap<PathBuf, Vec<Vec<u8>>> = BTreeMap::new();
    for file in files {
        let (path, length) = (root.join(text(file, "path")), file["bytes"].as_u64().expect("a length") as usize);
        let is_sealed = |bytes: &[u8]| {
            bytes.get(..length).is_some_and(|bytes| blake3::hash(bytes).to_hex().as_str() == text(file, "blake3"))
        };
        if fs::read(&path).is_ok_and(|bytes| is_sealed(&bytes)) {
            continue;
        }
        let folder = path.parent().expect("a file lies in a folder").to_owned();
        let beside = moved.entry(folder.clone()).or_insert_with(|| {
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            entries.filter_map(|entry| fs::read(entry.path()).ok()).collect()
        });
        assert!(beside.iter().any(|bytes| is_sealed(bytes)), "{file:#} is not in its snapshot");
    }
    // For who has no Threefold: the same as `b3sum --check` reads it.
    let lines = fs::read_to_string(root.join(".state/offsite/seal.b3")).expect("a snapshot has its sums");
    assert_eq!(lines.lines().count(), files.len());
    for (line, file) in lines.lines().zip(files) {
        assert_eq!(line, format!("{}  {}", text(file, "blake3"), text(file, "path")));
    }
    files.len()
}
