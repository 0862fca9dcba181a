//! Pushes while conversations go on: whatever a seal says is in its snapshot, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tests::offsite::place::{Kind, Place};
use tests::offsite::restic;
use tests::scratch::Scratch;
use tests::transcripts;
use tests::waiting::{await_until, holds_within};

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
/// So many events make a storm: three rewrites. Where events are slow and pushes are fast, more pushes are made.
const EVENTS_MIN: u32 = 3 * REWRITE_ONE_IN + 1;
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
            let is_storm = events.load(Ordering::Relaxed) >= EVENTS_MIN;
            if storm.is_finished() || (is_storm && snapshots.len() > RECEIVED) {
                break;
            }
        }
        ended.store(true, Ordering::Relaxed);
        storm.join().expect("the storm passes");
    });
    let events = events.into_inner();
    assert!(events >= EVENTS_MIN, "the storm was one: {events} events");
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

#[test]
fn what_was_rewritten_while_it_was_read_is_not_said_to_be_sent() {
    let shelf = Scratch::new();
    let test = "what_was_rewritten_while_it_was_read_is_not_said_to_be_sent";
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let programs = shelf.beside("programs");
    restic::scripted(&programs, "exec \"$REAL\" \"$@\"");
    let machine = Machine::with_programs(&place, std::slice::from_ref(&programs));
    machine.converse(3);
    machine.init(NAME);
    let (id, other) = (transcripts::made_id(22), transcripts::made_id(23));
    for id in [&id, &other] {
        transcripts::append(&machine.scratch.transcript(id), transcripts::prompt_line(id, 9, "said last"));
    }
    machine.scratch.layer1(&["sweep", "--quiet"]).output().ok();
    // Between the seal and the reading; the older version has its name after the folder was listed.
    let unlisted = format!(" --exclude '{id}.gen-*'");
    let script = "[ \"$command\" = backup ] || exec \"$REAL\" \"$@\"\n\
         touch \"$HERE/asked\"; while [ ! -e \"$HERE/go\" ]; do sleep 0.1; done; rm \"$HERE/go\"\n\
         exec \"$REAL\" \"$@\"";
    restic::scripted(&programs, &format!("{script}{unlisted}"));
    let push = |change: &dyn Fn()| {
        let pushing = machine.offsite(&["push", "--now"]).spawn();
        await_until("what is to be read", super::machine::LIMIT, || programs.join("asked").exists());
        change();
        fs::remove_file(programs.join("asked")).expect("forget that it asked");
        fs::write(programs.join("go"), "").expect("let it go on");
        pushing.wait()
    };
    let strike = |id: &str, rewrite: bool, turns: u32| {
        let transcript = machine.scratch.transcript(id);
        let lines: String = (0..turns).map(|turn| transcripts::prompt_line(id, turn, "said anew")).collect();
        match rewrite {
            true => transcripts::rewrite(&transcript, lines),
            false => transcripts::append(&transcript, lines),
        }
        machine.scratch.layer1(&[]).stdin(transcripts::session_end(&transcript)).output().ok();
    };
    let before = &machine.status()["push"]["snapshot"];
    // Longer than what was sealed, and one that only grew.
    let outcome = push(&|| {
        strike(&id, true, 100);
        strike(&other, false, 1);
    })
    .exits(1);
    let status = machine.status();
    assert_eq!(machine.kinds(), ["not-covered"], "{status:#} {outcome:?}");
    assert!(status["push"]["snapshot"] == *before && status["dirty"] == true, "{status:#}");
    assert!(outcome.stderr.contains("1 of ") && outcome.stderr.contains(&id), "{outcome:?}");
    restic::scripted(&programs, "exec \"$REAL\" \"$@\"");
    machine.push();
    assert!(machine.kinds().is_empty(), "{:#}", machine.status());
    machine.drill_all();
    // Where the older version was listed as well, it is there.
    restic::scripted(&programs, script);
    strike(&id, false, 1);
    push(&|| strike(&id, true, 300)).ok();
    machine.drill_all();
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
