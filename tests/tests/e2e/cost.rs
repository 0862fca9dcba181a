//! What a save costs: a delta, not a file.

use std::fs;
use std::path::{Path, PathBuf};

use tests::binaries::{LAYER1, LAYER2, LAYER3};
use tests::scratch::{PROJECT, Scratch};
use tests::stores::assert_saved_twice;
use tests::strace::{self, Traced, WRITES};
use tests::transcripts;

use crate::product::{assert_verified, await_delivered, chain_delivered, drain};

const EVENTS: u32 = 100;

#[test]
fn a_hundred_appends_cost_a_hundred_small_commits() {
    if !strace::is_here("a_hundred_appends_cost_a_hundred_small_commits") {
        return;
    }
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    let calls = WRITES.join(",");
    let (mut layer1_bytes, mut layer3_bytes, mut largest) = (0, 0, 0);
    for n in 0..EVENTS {
        transcripts::append(&transcript, transcripts::prompt_line(&id, n, &"All work. ".repeat(1000)));
        let event = transcripts::prompt_submit(&transcript);
        let trace =
            Traced::new(&scratch, &calls, &[], LAYER1, &["--quiet"]).with(|run| run.stdin(event.clone())).output();
        trace.outcome.ok().silent();
        let trace_bytes = tests::strace::bytes_written_below(&trace.lines, &scratch.layer1_store());
        layer1_bytes += trace_bytes;
        largest = largest.max(trace_bytes);
        let trace = Traced::new(&scratch, &calls, &[], LAYER3, &["save"]).with(|run| run.stdin(event)).output();
        trace.outcome.ok();
        // The index is no copy; SQLite writes it a page at a time.
        let lines: Vec<String> = trace.lines.into_iter().filter(|line| !line.contains("/sessions.db")).collect();
        layer3_bytes += tests::strace::bytes_written_below(&lines, &scratch.layer3_store());
    }
    let bytes = fs::metadata(&transcript).expect("look at the transcript").len();
    println!(
        "{bytes} bytes in {EVENTS} events; written: layer 1 {layer1_bytes}, layer 3 {layer3_bytes}; largest {largest}"
    );
    assert_saved_twice(&scratch, &transcript);
    assert!(layer1_bytes >= bytes, "the trace saw the copy: {layer1_bytes} of {bytes}");
    assert!(layer1_bytes <= 2 * bytes, "layer 1 wrote {layer1_bytes} for {bytes}");
    assert!(layer3_bytes >= bytes, "the trace saw the copy: {layer3_bytes} of {bytes}");
    assert!(layer3_bytes <= 2 * bytes, "layer 3 wrote {layer3_bytes} for {bytes}");
    assert!(fs::read_dir(scratch.layer1_store().join(PROJECT)).expect("read the store").count() <= 2);
    assert_verified(&scratch);
}

/// A job and a receipt, each its bytes and its name; the two copies, each its bytes and its ledger; the metadata, its
/// bytes and its name; the index: that it is owed the session, its log, and its log into the database with its sums.
const SYNCS_GROWN_MAX: usize = 4 + 4 + 2 + 5;
const SESSION_BYTES: usize = 10 * 1024 * 1024;
/// Beside what is compared whole a few windows of each file are read, and the end of the transcript once more.
const BESIDE_BYTES_MAX: u64 = 128 * 1024;

/// What one end of a session did.
struct Ended {
    lines: Vec<String>,
}

impl Ended {
    fn syncs(&self) -> Vec<&String> {
        self.lines.iter().filter(|line| line.contains("sync(") || line.contains("sync_file_range(")).collect()
    }

    fn servers(&self) -> usize {
        let starts = |line: &&String| line.contains("execve(") && line.contains("\"serve\"");
        self.lines.iter().filter(starts).count()
    }
}

/// Ends the session as the hook does, one program after the other.
fn ended(scratch: &Scratch, event: &str) -> Ended {
    let calls = format!("execve,fsync,fdatasync,sync_file_range,{}", strace::READS.join(","));
    let traced = |program, args: &[&str]| {
        let traced = Traced::new(scratch, &calls, &[], program, args).with(|run| run.stdin(event.to_owned())).output();
        traced.outcome.ok().silent();
        traced.lines
    };
    let mut lines = traced(LAYER1, &["--quiet"]);
    lines.extend(traced(LAYER2, &["--wait", "60s"]));
    await_delivered(scratch);
    Ended { lines }
}

/// The files that hold a session's transcript: the source, and the two copies.
fn places_of(scratch: &Scratch, transcript: &Path) -> [PathBuf; 3] {
    let name = transcript.file_name().expect("a transcript has a name");
    let copy = |store: PathBuf| store.join(PROJECT).join(name);
    [transcript.to_owned(), copy(scratch.layer1_store()), copy(scratch.layer3_store())]
}

/// A transcript of so many bytes, and a line of it.
fn long(scratch: &Scratch) -> (PathBuf, String) {
    let id = transcripts::made_id(1);
    let (transcript, line) = (scratch.transcript(&id), transcripts::prompt_line(&id, 1, &"All work. ".repeat(2000)));
    transcripts::append(&transcript, line.repeat(SESSION_BYTES / line.len() + 1));
    (transcript, line)
}

#[test]
fn the_end_of_a_session_reads_each_copy_once_and_the_transcript_once_a_layer() {
    if !strace::is_here("the_end_of_a_session_reads_each_copy_once_and_the_transcript_once_a_layer") {
        return;
    }
    let scratch = Scratch::new();
    let (transcript, line) = long(&scratch);
    let side = transcript.with_extension("").join("subagents/agent-1.jsonl");
    transcripts::append(&side, line.repeat(50));
    let event = transcripts::session_end(&transcript);
    let places = places_of(&scratch, &transcript);
    // A first copy, one of what it grew by, and one of a side file that alone changed.
    for (what, syncs_max) in [("new", usize::MAX), ("grown", SYNCS_GROWN_MAX), ("side file", usize::MAX)] {
        match what {
            "grown" => transcripts::append(&transcript, line.repeat(5)),
            "side file" => transcripts::append(&side, &line),
            _ => {}
        }
        let did = ended(&scratch, &event);
        let bytes = fs::metadata(&transcript).expect("look at the transcript").len();
        let read = places.each_ref().map(|place| strace::bytes_read_of(&did.lines, place));
        println!("{what}: {bytes} bytes; read of source and copies {read:?}; {} syncs", did.syncs().len());
        let allowed = [2 * bytes, bytes, 2 * bytes].map(|bytes| bytes + BESIDE_BYTES_MAX);
        assert!(read.iter().zip(allowed).all(|(read, allowed)| *read <= allowed), "{what}: {read:?} of {bytes}");
        assert!(read[0] >= bytes, "the trace saw the reading: {read:?} of {bytes}");
        assert!(did.syncs().len() <= syncs_max, "{what}: {:#?}", did.syncs());
        assert_eq!(did.servers(), 1, "{what}");
        assert_saved_twice(&scratch, &transcript);
    }
    assert_verified(&scratch);
}

#[test]
fn an_unchanged_end_of_a_session_reads_the_transcript_once_syncs_nothing_and_starts_no_server() {
    let name = "an_unchanged_end_of_a_session_reads_the_transcript_once_syncs_nothing_and_starts_no_server";
    if !strace::is_here(name) {
        return;
    }
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    let line = transcripts::prompt_line(&id, 1, &"All work. ".repeat(2000));
    transcripts::append(&transcript, line.repeat(SESSION_BYTES / line.len() + 1));
    let event = transcripts::session_end(&transcript);
    let first = ended(&scratch, &event);
    let again = ended(&scratch, &event);
    println!("syncs: {} for a first copy, {} for an unchanged one", first.syncs().len(), again.syncs().len());
    let bytes = fs::metadata(&transcript).expect("look at the transcript").len();
    let places = places_of(&scratch, &transcript);
    let read = places.each_ref().map(|place| strace::bytes_read_of(&again.lines, place));
    let allowed = [bytes, bytes, 0].map(|bytes| bytes + BESIDE_BYTES_MAX);
    assert!(read.iter().zip(allowed).all(|(read, allowed)| *read <= allowed), "{read:?} of {bytes}");
    assert!(read[0] >= bytes, "the trace saw the reading: {read:?} of {bytes}");
    assert_eq!((again.syncs(), again.servers()), (vec![], 0));
    assert!(scratch.log(2).contains(&format!("nothing new of {id}")), "{}", scratch.log(2));
    assert_saved_twice(&scratch, &transcript);
}

/// What is owed although the transcript is as it was: each is made good by the end of the session.
#[test]
fn an_unchanged_end_of_a_session_makes_good_what_the_second_copy_lacks() {
    type Spoil = fn(&Scratch, &Path);
    let spoilt: [(&str, Spoil); 6] = [
        ("the copy is gone", |_, copy| fs::remove_file(copy).expect("remove the copy")),
        ("the copy is shorter", |_, copy| {
            let bytes = fs::read(copy).expect("read the copy");
            fs::write(copy, &bytes[..bytes.len() / 2]).expect("write the copy");
        }),
        ("the store is gone", |scratch, _| {
            fs::remove_dir_all(scratch.layer3_store()).expect("remove the store");
        }),
        ("the receipt is gone", |scratch, _| {
            fs::remove_dir_all(scratch.layer1_store().join(".outbox/receipts")).expect("remove the receipts");
        }),
        ("the index is gone", |scratch, _| {
            for name in ["sessions.db", "sessions.db-wal", "sessions.db-shm", "sessions.db.sums"] {
                // Not all of them are always there.
                let _ = fs::remove_file(scratch.layer3_store().join(name));
            }
        }),
        ("a memory is new", |scratch, _| {
            let memory = scratch.transcript("x").with_file_name("memory").join("MEMORY.md");
            transcripts::append(&memory, "remember\n");
        }),
    ];
    for (what, spoil) in spoilt {
        let scratch = Scratch::new();
        let id = transcripts::made_id(1);
        let transcript = scratch.transcript(&id);
        transcripts::append(&transcript, transcripts::prompt_line(&id, 1, &"All work. ".repeat(2000)));
        let event = transcripts::session_end(&transcript);
        chain_delivered(&scratch, &event);
        let saved = || scratch.log(2).matches("receipt verified").count();
        assert_eq!(saved(), 1, "{what}");
        chain_delivered(&scratch, &event);
        assert_eq!(saved(), 1, "{what}: nothing was owed");
        spoil(&scratch, &places_of(&scratch, &transcript)[2]);
        chain_delivered(&scratch, &event);
        assert_eq!(saved(), 2, "{what}: {}", scratch.log(2));
        assert_saved_twice(&scratch, &transcript);
        chain_delivered(&scratch, &event);
        assert_eq!(saved(), 2, "{what}: nothing is owed any more\n{}", scratch.log(2));
    }
}

#[test]
fn what_was_imported_before_there_was_a_first_copy_is_not_sent_again() {
    let scratch = Scratch::new();
    let made = [1, 2, 3].map(transcripts::made_id).map(|id| {
        let transcript = scratch.transcript(&id);
        transcripts::append(&transcript, transcripts::prompt_line(&id, 1, "All work."));
        transcript
    });
    scratch.layer3(&["import"]).output().ok();
    scratch.layer1(&["sweep"]).output().ok();
    // One of them went on meanwhile, and that is owed.
    transcripts::append(&made[1], transcripts::prompt_line(&transcripts::made_id(2), 2, "No play."));
    scratch.layer1(&["sweep"]).output().ok();
    drain(&scratch);
    let log = scratch.log(2);
    let sent = |nth: u32| log.matches(&format!("delivering {}", transcripts::made_id(nth))).count();
    assert_eq!([1, 2, 3].map(sent), [0, 1, 0], "{log}");
    made.iter().for_each(|transcript| assert_saved_twice(&scratch, transcript));
    drain(&scratch);
    assert_eq!(scratch.log(2).matches("delivering").count(), 1);
}

#[test]
fn a_verification_reads_the_transcript_once_and_each_copy_once() {
    if !strace::is_here("a_verification_reads_the_transcript_once_and_each_copy_once") {
        return;
    }
    let scratch = Scratch::new();
    let (transcript, _) = long(&scratch);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let trace = Traced::new(&scratch, &strace::READS.join(","), &[], LAYER3, &["verify"]).output();
    trace.outcome.ok();
    let bytes = fs::metadata(&transcript).expect("look at the transcript").len();
    let read = places_of(&scratch, &transcript).map(|place| strace::bytes_read_of(&trace.lines, &place));
    println!("{bytes} bytes; read of source and copies {read:?}");
    assert!(read.iter().all(|read| (bytes..=bytes + BESIDE_BYTES_MAX).contains(read)), "{read:?} of {bytes}");
}
