//! Layer 2's workloads, against a scripted server.

use std::fs;
use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, Compare, SaveRequest};
use layer1_prebackup::names::SessionId;

use super::layer1::{conversation, held, run_hook};
use super::scene::{Check, Manners, Scene, Step, When};
use super::workload::Workload;
use crate::binaries::LAYER2;
use crate::scratch::{PROJECT, Scratch};
use crate::transcripts;
use crate::tree;

/// All of them.
pub(super) const WORKLOADS: [Workload; 7] = [
    Workload { program: "layer2", name: "enqueue", make: enqueue },
    Workload { program: "layer2", name: "deliver", make: deliver },
    Workload { program: "layer2", name: "refused", make: refused },
    Workload { program: "layer2", name: "drain", make: drain },
    Workload { program: "layer2", name: "drain-pending", make: drain_pending },
    Workload { program: "layer2", name: "deliver-pending", make: deliver_pending },
    Workload { program: "layer2", name: "retry-failed", make: retry_failed },
];

/// The hook alone: a job, and a deliverer that is not waited for (nor traced).
fn enqueue() -> Scene {
    let (scratch, transcript) = copied();
    hook(scratch, &transcript, &["--wait", "0ms"], "ok")
}

/// The hook and the delivery in one process.
fn deliver() -> Scene {
    let (scratch, transcript) = copied();
    hook(scratch, &transcript, &["--foreground"], "ok")
}

/// A server whose receipt does not cover what layer 1 holds.
fn refused() -> Scene {
    let (scratch, transcript) = copied();
    let mut scene = hook(scratch, &transcript, &["--foreground"], "not-covered");
    scene.checks.push(Check { when: When::Faulted, ask: no_receipt });
    scene
}

/// Two sessions without a job and without a receipt.
fn drain() -> Scene {
    let (scratch, _) = copied();
    let second = conversation(&scratch, 2);
    run_hook(&scratch, &second);
    drained(scratch)
}

/// A job that no server took, and a session without one.
fn drain_pending() -> Scene {
    let (scratch, transcript) = copied();
    leave_a_job(&scratch, &transcript, "error-result");
    let second = conversation(&scratch, 2);
    run_hook(&scratch, &second);
    drained(scratch)
}

/// The same job, delivered by the program that a hook starts.
fn deliver_pending() -> Scene {
    let (scratch, transcript) = copied();
    leave_a_job(&scratch, &transcript, "error-result");
    delivered(scratch, &["deliver"])
}

/// A job that was set aside, because its server called the input invalid.
fn retry_failed() -> Scene {
    let (scratch, transcript) = copied();
    leave_a_job(&scratch, &transcript, "invalid-input");
    delivered(scratch, &["drain", "--retry-failed"])
}

fn delivered(scratch: Scratch, command: &[&str]) -> Scene {
    let mut scene = drained(scratch);
    scene.step.args = with_server(command, "ok");
    scene.recovery = vec![Step { args: with_server(&["drain", "--retry-failed"], "ok"), ..scene.step.clone() }];
    scene
}

/// Enqueues a job that a server in this mode does not take.
fn leave_a_job(scratch: &Scratch, transcript: &Path, mode: &str) {
    let event = transcripts::session_end(transcript);
    let args = with_server(&["--foreground"], mode);
    scratch.layer2(&args.iter().map(String::as_str).collect::<Vec<_>>()).stdin(event).output().ok();
    assert_eq!(jobs(scratch).len(), 1, "one job waits");
}

/// A session that layer 1 has copied, and a store of layer 3 with the scripted server's id.
fn copied() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let transcript = conversation(&scratch, 1);
    run_hook(&scratch, &transcript);
    let state = scratch.layer3_store().join(".state");
    fs::create_dir_all(&state).expect("make a store");
    let id = "f".repeat(32);
    fs::write(state.join("store.json"), format!("{{\"format\":1,\"store_id\":\"{id}\"}}\n")).expect("make a store");
    (scratch, transcript)
}

fn hook(scratch: Scratch, transcript: &Path, flags: &[&str], server: &str) -> Scene {
    let event = transcripts::session_end(transcript);
    let step = Step { binary: LAYER2, args: with_server(flags, server), stdin: format!("{event}\n").into_bytes() };
    let mut scene = scene(scratch, step, Manners::Silent);
    scene.checks.push(Check { when: When::Faulted, ask: neither_job_nor_receipt });
    scene
}

fn drained(scratch: Scratch) -> Scene {
    let mut scene = scene(scratch, drain_step(), Manners::Silent);
    scene.checks.push(Check { when: When::Faulted, ask: a_job_is_gone });
    scene
}

fn scene(scratch: Scratch, step: Step, manners: Manners) -> Scene {
    let transcripts: Vec<PathBuf> = tree::visible_files(&scratch.slug_dir())
        .iter()
        .filter(|name| !name.contains('/'))
        .map(|name| scratch.slug_dir().join(name))
        .collect();
    // The scripted server stores nothing, and `drain` looks whether what it called covered is there.
    if let Some(second) = Archive::open(&scratch.layer3_store()).expect("open layer 3's store") {
        for transcript in &transcripts {
            let id = &SessionId::of_transcript(transcript).expect("a session's transcript");
            let (compare, progress) = (Compare::Whole, &|_: u64| {});
            let request = SaveRequest { id, transcript, project: None, cwd: None, compare, progress };
            second.save(&request).expect("make a second copy");
        }
    }
    let store = scratch.layer1_store();
    let acknowledged = transcripts.iter().flat_map(|transcript| held(&scratch, transcript)).collect();
    let mut scene = Scene::new(scratch, step, manners, std::slice::from_ref(&store));
    scene.has_peers = true;
    scene.recovery = vec![drain_step()];
    scene.copies = transcripts.into_iter().map(|transcript| (store.join(PROJECT), transcript)).collect();
    scene.acknowledged = acknowledged;
    scene.checks = vec![
        Check { when: When::Recovered, ask: not_all_delivered },
        Check { when: When::Faulted, ask: saved_without_receipt },
    ];
    scene
}

fn drain_step() -> Step {
    Step { binary: LAYER2, args: with_server(&["drain"], "ok"), stdin: Vec::new() }
}

fn with_server(args: &[&str], mode: &str) -> Vec<String> {
    let own = std::env::current_exe().expect("own path");
    // Beside the program, or above `deps/` for a test.
    let server = own.ancestors().skip(1).map(|dir| dir.join("fake_mcp_server")).find(|path| path.is_file());
    let server = server.expect("fake_mcp_server is built").display().to_string();
    let fixed = ["--attempts", "1", "--delay", "10ms", "--timeout", "500ms", "--server", &server, mode];
    args.iter().chain(&fixed).map(|arg| (*arg).to_owned()).collect()
}

fn outbox(scratch: &Scratch) -> PathBuf {
    scratch.layer1_store().join(".outbox")
}

/// Names of the jobs in the outbox.
fn jobs(scratch: &Scratch) -> Vec<String> {
    names(&outbox(scratch))
}

/// Names of the kept receipts.
fn receipts(scratch: &Scratch) -> Vec<String> {
    names(&outbox(scratch).join("receipts"))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".json") && !name.starts_with('.')).collect()
}

fn neither_job_nor_receipt(scene: &Scene, silent: bool) -> Option<String> {
    let scratch = scene.scratch();
    let has_neither = jobs(scratch).is_empty() && receipts(scratch).is_empty();
    (silent && has_neither).then(|| "c: silent, but there is neither a job nor a receipt".to_owned())
}

fn no_receipt(scene: &Scene, _: bool) -> Option<String> {
    let receipts = receipts(scene.scratch());
    (!receipts.is_empty()).then(|| format!("b: the server covered nothing, but receipts are kept: {receipts:?}"))
}

/// A job that was there before leaves the outbox for a receipt only.
fn a_job_is_gone(scene: &Scene, _: bool) -> Option<String> {
    let (jobs, receipts) = (jobs(scene.scratch()), receipts(scene.scratch()));
    let id = transcripts::made_id(1);
    let path = outbox(scene.scratch()).join(format!("{id}@{PROJECT}.json"));
    let was_there = scene.as_it_was(&path).is_some();
    let is_known = jobs.iter().chain(&receipts).any(|name| name.starts_with(&id));
    (was_there && !is_known).then(|| format!("b: the job of {id} is gone without a receipt: {jobs:?}, {receipts:?}"))
}

fn saved_without_receipt(scene: &Scene, _: bool) -> Option<String> {
    let log = scene.scratch().log(2);
    let known = receipts(scene.scratch());
    let saved = log.lines().filter_map(|line| line.split_once("✅ Saved ")?.1.split(':').next());
    let mut unproven = saved.filter(|id| !known.iter().any(|name| name.starts_with(id)));
    unproven.next().map(|id| format!("c: the log says that {id} is saved, but no receipt is kept"))
}

fn not_all_delivered(scene: &Scene, _: bool) -> Option<String> {
    let (jobs, receipts) = (jobs(scene.scratch()), receipts(scene.scratch()));
    let all = scene.copies.len();
    (!jobs.is_empty() || receipts.len() != all)
        .then(|| format!("a: after the recovery there are jobs {jobs:?} and receipts {receipts:?} for {all} sessions"))
}
