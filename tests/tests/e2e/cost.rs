//! What a save costs: a delta, not a file.

use std::fs;

use tests::binaries::{LAYER1, LAYER2, LAYER3};
use tests::scratch::{PROJECT, Scratch};
use tests::stores::assert_saved_twice;
use tests::strace::{self, Traced, WRITES};
use tests::transcripts;

use crate::product::{assert_verified, await_delivered};

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

/// A job and a receipt, each its bytes and its name: that is all that is new at the end of a session whose
/// transcript was saved before.
const SYNCS_UNCHANGED_MAX: usize = 4;
const UNCHANGED_BYTES: usize = 10 * 1024 * 1024;

#[test]
fn an_unchanged_end_of_a_session_syncs_a_job_and_a_receipt_and_nothing_above_the_stores() {
    if !strace::is_here("an_unchanged_end_of_a_session_syncs_a_job_and_a_receipt_and_nothing_above_the_stores") {
        return;
    }
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    let line = transcripts::prompt_line(&id, 1, &"All work. ".repeat(2000));
    transcripts::append(&transcript, line.repeat(UNCHANGED_BYTES / line.len() + 1));
    let event = transcripts::session_end(&transcript);
    let syncs = || -> Vec<String> {
        let traced = |program, args: &[&str]| {
            let traced = Traced::new(&scratch, "fsync,fdatasync,sync_file_range", &[], program, args);
            traced.with(|run| run.stdin(event.clone())).output()
        };
        let layer1 = traced(LAYER1, &["--quiet"]);
        let layer2 = traced(LAYER2, &["--wait", "60s"]);
        layer1.outcome.ok().silent();
        layer2.outcome.ok().silent();
        await_delivered(&scratch);
        layer1.lines.into_iter().chain(layer2.lines).filter(|line| line.contains("sync")).collect()
    };
    let first = syncs().len();
    let (again, stores) = (syncs(), [scratch.layer1_store(), scratch.layer3_store()]);
    println!("syncs: {first} for a first copy, {} for an unchanged one", again.len());
    assert!(again.len() <= SYNCS_UNCHANGED_MAX, "{again:#?}");
    let is_within = |line: &String| stores.iter().any(|store| line.contains(&format!("{}/", store.display())));
    assert!(!again.is_empty() && again.iter().all(is_within), "{again:#?}");
    assert_saved_twice(&scratch, &transcript);
}
