//! Each layer with its system calls failing, one after the other: the host is not disturbed,
//! nothing acknowledged is lost or swallowed, and the next run makes the copy whole.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tests::binaries::{LAYER1, LAYER2, LAYER3};
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{assert_equals_source, difference};
use tests::strace::{self, Trace, Traced};
use tests::{transcripts, tree};

use crate::product::{fake_server, found_in, hits, pending};

/// The calls that change something. Each is failed in each way; strace counts them one by one.
const CHANGING_CALLS: [&str; 9] =
    ["write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2", "ftruncate", "mkdirat"];
/// How they fail.
const FAULTS: [&str; 4] = ["error=EIO", "error=ENOSPC", "signal=KILL", "signal=TERM"];
/// What only opens something, and how: the many other ways are for `cargo xtask faults`.
const OPENING: [(&str, &str); 1] = [("openat", "error=EIO")];
/// What a scenario may take on a slow machine, unless few points were tried by then; what was left out is printed.
const BUDGET: Duration = Duration::from_secs(30);
/// Points that are tried however slow the machine is.
const POINTS_MIN: u32 = 61;

/// A source, and what the store held before it changed.
struct Scenario {
    scratch: Scratch,
    transcript: PathBuf,
    /// A copy of the store as it was, laid back before every point; absent for a first copy.
    before: Option<PathBuf>,
    /// The content that must stay, as generation 1.
    old: Option<Vec<u8>>,
}

fn first_copy() -> Scenario {
    let scratch = Scratch::new();
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 5);
    transcripts::append(&transcript.with_extension("").join("tool-results/one.txt"), "a large output");
    Scenario { scratch, transcript, before: None, old: None }
}

fn changed(change: impl FnOnce(&std::path::Path, &[u8])) -> Scenario {
    let mut scenario = first_copy();
    let event = transcripts::session_end(&scenario.transcript);
    scenario.scratch.layer1(&["--quiet"]).stdin(event).output().ok().silent();
    let before = scenario.scratch.beside("before");
    lay(&scenario.scratch.layer1_store(), &before);
    scenario.before = Some(before);
    let old = fs::read(&scenario.transcript).expect("read the transcript");
    change(&scenario.transcript, &old);
    let grown = fs::read(&scenario.transcript).expect("read the transcript").starts_with(&old);
    scenario.old = (!grown).then_some(old);
    scenario
}

/// Makes a folder the same as another one.
pub(crate) fn lay(from: &std::path::Path, to: &std::path::Path) {
    let _ = fs::remove_dir_all(to); // Not there the first time.
    fs::create_dir_all(to).expect("make a directory");
    let options = fs_extra::dir::CopyOptions::new().content_only(true);
    fs_extra::dir::copy(from, to, &options).expect("copy a store");
}

impl Scenario {
    fn reset(&self) {
        let store = self.scratch.layer1_store();
        match &self.before {
            Some(before) => lay(before, &store),
            None => drop(fs::remove_dir_all(store)), // Not there the first time.
        }
    }

    fn run_with(&self, call: &str, fault: &str, n: u32) -> Trace {
        let inject = ["-e", &format!("inject={call}:{fault}:when={n}")];
        let event = format!("{}\n", transcripts::session_end(&self.transcript));
        Traced::new(&self.scratch, call, &inject, LAYER1, &[]).with(|run| run.stdin(event)).output()
    }

    /// One point: the fault, what it may and may not do, and the recovery. False when none fired.
    fn check(&self, call: &str, fault: &str, n: u32) -> bool {
        self.reset();
        let trace = self.run_with(call, fault, n);
        if !trace.fault_fired() {
            return false;
        }
        let point = format!("{call}:{fault}:when={n} at {:#?}", trace.faulted());
        // Before the program's first instruction; the hook's `|| cat` and `|| :` are for that.
        let in_loader = ["/etc/ld.so", "/lib/", "/usr/lib/"].iter().any(|path| trace.faulted()[0].contains(path));
        if fault.starts_with("error") && !in_loader {
            self.assert_passed_on(&trace, &point);
        }
        self.assert_old_intact(&point, false);
        self.assert_recovers(&point);
        true
    }

    fn assert_passed_on(&self, trace: &Trace, point: &str) {
        let outcome = &trace.outcome;
        assert_eq!(outcome.code, Some(0), "{point}: {outcome:#?}");
        let stdout_failed = trace.faulted().iter().any(|line| line.contains("write(1<"));
        let event = format!("{}\n", transcripts::session_end(&self.transcript));
        assert!(stdout_failed || outcome.text() == event, "{point}: the event is passed on: {outcome:#?}");
        let difference = difference(&self.scratch.layer1_store(), PROJECT, &self.transcript);
        assert!(difference.is_none() || !outcome.stderr.is_empty(), "{point}: swallowed: {difference:?} {outcome:#?}");
    }

    /// The content that was acknowledged before is in the store, under either name.
    fn assert_old_intact(&self, point: &str, recovered: bool) {
        let Some(old) = &self.old else { return };
        let store = self.scratch.layer1_store().join(PROJECT);
        let id = transcripts::made_id(1);
        let holds = |name: String| fs::read(store.join(name)).is_ok_and(|bytes| bytes == *old);
        let kept = holds(format!("{id}.gen-0001.jsonl")) || !recovered && holds(format!("{id}.jsonl"));
        assert!(kept, "{point}: the old content: {:?}", tree::session_files(&store));
    }

    fn assert_recovers(&self, point: &str) {
        let event = transcripts::session_end(&self.transcript);
        let outcome = self.scratch.layer1(&["--quiet"]).stdin(event).output();
        assert!(outcome.code == Some(0) && outcome.stderr.is_empty(), "{point}: recovery: {outcome:#?}");
        assert_equals_source(&self.scratch.layer1_store(), PROJECT, &self.transcript);
        self.assert_old_intact(point, true);
        let verify = self.scratch.layer1(&["verify"]).output();
        assert_eq!(verify.code, Some(0), "{point}: {verify:#?}");
        let entries = tree::all(&self.scratch.layer1_store());
        let temporary = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains("tmp"));
        assert_eq!(
            entries.keys().filter(temporary).collect::<Vec<_>>(),
            [""; 0].map(PathBuf::from).iter().collect::<Vec<_>>(),
            "{point}"
        );
    }
}

/// Fails the 1st call of each kind in each way, then the 2nd, … until none is left to fail; those of `more` too.
pub(crate) fn sweep(name: &str, more: &[(&str, &str)], check: impl Fn(&str, &str, u32) -> bool) {
    if !strace::is_here(name) {
        return;
    }
    let deadline = Instant::now() + BUDGET;
    let is_over = |points: u32| points >= POINTS_MIN && Instant::now() >= deadline;
    let changing = CHANGING_CALLS.iter().flat_map(|call| FAULTS.map(|fault| (*call, fault)));
    let mut kinds: Vec<(&str, &str)> = changing.chain(more.iter().copied()).collect();
    let (mut points, mut n) = (0, 0);
    while !kinds.is_empty() && !is_over(points) {
        n += 1;
        kinds.retain(|(call, fault)| {
            if is_over(points) {
                return true;
            }
            let fired = check(call, fault, n);
            points += u32::from(fired);
            fired
        });
    }
    let left_out: Vec<String> = kinds.iter().map(|(call, fault)| format!("{call}:{fault}")).collect();
    println!("{name}: {points} fault points, 0 lost, 0 swallowed; left out from call {n} on: {left_out:?}");
    assert!(points >= POINTS_MIN, "only {points} fault points: were the faults seen?");
}

#[test]
fn faults_in_a_first_copy() {
    let scenario = first_copy();
    sweep("faults_in_a_first_copy", &OPENING, |call, fault, n| scenario.check(call, fault, n));
}

#[test]
fn faults_in_an_append() {
    let scenario = changed(|path, _| {
        transcripts::append(path, transcripts::answer_line(&transcripts::made_id(1), 90, "one more"));
        transcripts::append(&path.with_extension("").join("tool-results/two.txt"), "another output");
    });
    sweep("faults_in_an_append", &OPENING, |call, fault, n| scenario.check(call, fault, n));
}

#[test]
fn faults_in_a_new_generation() {
    let scenario = changed(|path, old| transcripts::rewrite(path, &old[..old.len() / 3]));
    sweep("faults_in_a_new_generation", &OPENING, |call, fault, n| scenario.check(call, fault, n));
}

/// A run of `program` with one call failing; `None` when no fault fired.
fn faulted(scratch: &Scratch, point: (&str, &str, u32), program: &str, args: &[&str], input: &str) -> Option<Trace> {
    let (call, fault, n) = point;
    let inject = ["-e", &format!("inject={call}:{fault}:when={n}")];
    let trace = Traced::new(scratch, call, &inject, program, args).with(|run| run.stdin(input)).output();
    trace.fault_fired().then_some(trace)
}

/// Layer 3 saves an appended transcript: it fails aloud or has the copy, and the next save
/// completes copy and index.
#[test]
fn faults_in_a_save_of_layer3() {
    let scenario = first_copy();
    let (scratch, transcript) = (&scenario.scratch, &scenario.transcript);
    let event = transcripts::session_end(transcript);
    scratch.layer3(&["save"]).stdin(event.clone()).output().ok();
    let before = scratch.beside("before");
    lay(&scratch.layer3_store(), &before);
    let id = transcripts::made_id(1);
    transcripts::append(transcript, transcripts::answer_line(&id, 90, "the bongo hides"));
    sweep("faults_in_a_save_of_layer3", &[], |call, fault, n| {
        lay(&before, &scratch.layer3_store());
        let Some(trace) = faulted(scratch, (call, fault, n), LAYER3, &["save"], &event) else { return false };
        let point = format!("{call}:{fault}:when={n} at {:#?}: {:#?}", trace.faulted(), trace.outcome);
        let difference = difference(&scratch.layer3_store(), PROJECT, transcript);
        if fault.starts_with("error") {
            assert!(matches!(trace.outcome.code, Some(0 | 1)), "{point}");
            assert!(trace.outcome.code == Some(1) || difference.is_none(), "swallowed: {difference:?} {point}");
        }
        let again = scratch.layer3(&["save"]).stdin(event.clone()).output();
        assert_eq!(again.code, Some(0), "{point}\nrecovery: {again:#?}");
        assert_equals_source(&scratch.layer3_store(), PROJECT, transcript);
        assert_eq!(found_in(scratch, "bongo"), [id.as_str()], "{point}");
        assert_eq!(hits(scratch, "bongo").len(), 1, "{point}");
        let verify = scratch.layer3(&["verify"]).output();
        assert_eq!(verify.code, Some(0), "{point}\n{verify:#?}");
        true
    });
}

/// A program may panic for want of random numbers, which Rust's hash tables ask for. The copy needs none, and
/// what a hook starts ends well all the same.
#[test]
fn a_hook_without_random_numbers_ends_well() {
    let scenario = changed(|path, _| {
        transcripts::append(path, transcripts::answer_line(&transcripts::made_id(1), 90, "one more"));
    });
    let scratch = &scenario.scratch;
    let event = format!("{}\n", transcripts::session_end(&scenario.transcript));
    let without = |program: &str, args: &[&str]| {
        let inject = ["-e", "inject=getrandom:error=EIO"];
        let trace =
            Traced::new(scratch, "getrandom", &inject, program, args).with(|run| run.stdin(event.clone())).output();
        assert!(trace.fault_fired(), "{program}: {:#?}", trace.outcome);
        assert_eq!(trace.outcome.code, Some(0), "{program} {args:?}: {:#?}", trace.outcome);
        trace.outcome.text()
    };
    assert_eq!(without(LAYER1, &[]), event, "the event is passed on");
    assert_equals_source(&scratch.layer1_store(), PROJECT, &scenario.transcript);
    let quick = ["--attempts", "1", "--timeout", "2s"];
    assert_eq!(without(LAYER2, &[&["--foreground"], quick.as_slice()].concat()), "");
    scratch.await_no_process(Duration::from_secs(20));
    without(LAYER2, &[&["drain"], quick.as_slice()].concat());
    scratch.await_no_process(Duration::from_secs(20));
    scratch.layer2(&["drain"]).output().ok();
    scratch.await_no_process(Duration::from_secs(20));
    assert!(pending(scratch).is_empty(), "still pending\n{}", scratch.log(2));
    assert_equals_source(&scratch.layer3_store(), PROJECT, &scenario.transcript);
}

/// Layer 2 enqueues and delivers: the hook ends well and silently, and what it did not deliver
/// the next drain does.
/// The server is waited for in a destructor too, where a panic would end the hook by a signal.
#[test]
fn a_wait_for_the_server_that_fails_ends_the_hook_well() {
    if !strace::is_here("a_wait_for_the_server_that_fails_ends_the_hook_well") {
        return;
    }
    let scenario = first_copy();
    let event = transcripts::session_end(&scenario.transcript);
    scenario.scratch.layer1(&["--quiet"]).stdin(event.clone()).output().ok().silent();
    // It ends after the first look at it, so there is a second.
    let server = format!("'{}' not-covered; sleep 0.3", fake_server().display());
    let args = ["--foreground", "--attempts", "1", "--timeout", "2s", "--server", "/bin/sh", "-c", &server];
    for fault in ["error=EIO:when=1+", "error=EIO:when=2+", "error=EINTR:when=1", "error=EINTR:when=2"] {
        let inject = ["-e", &format!("inject=wait4:{fault}")];
        let run = Traced::new(&scenario.scratch, "wait4", &inject, LAYER2, &args).with(|run| run.stdin(event.clone()));
        let trace = run.output();
        assert!(trace.fault_fired(), "{fault}: {:#?}", trace.lines);
        assert_eq!(trace.outcome.code, Some(0), "{fault}: {:#?}", trace.outcome);
        assert!(trace.outcome.stdout.is_empty(), "{fault}: {:#?}", trace.outcome);
        scenario.scratch.await_no_process(Duration::from_secs(20));
    }
}

#[test]
fn faults_in_a_hook_of_layer2() {
    let scenario = first_copy();
    let (scratch, transcript) = (&scenario.scratch, &scenario.transcript);
    let event = transcripts::session_end(transcript);
    scratch.layer1(&["--quiet"]).stdin(event.clone()).output().ok().silent();
    let before = scratch.beside("before");
    lay(&scratch.layer1_store(), &before);
    let server = fake_server().to_str().expect("UTF-8");
    let args = ["--foreground", "--attempts", "1", "--timeout", "2s", "--server", server, "healthy"];
    sweep("faults_in_a_hook_of_layer2", &[], |call, fault, n| {
        lay(&before, &scratch.layer1_store());
        let Some(trace) = faulted(scratch, (call, fault, n), LAYER2, &args, &event) else { return false };
        let point = format!("{call}:{fault}:when={n} at {:#?}: {:#?}", trace.faulted(), trace.outcome);
        assert!(trace.outcome.stdout.is_empty(), "{point}");
        if fault.starts_with("error") {
            assert_eq!(trace.outcome.code, Some(0), "{point}");
        }
        scratch.await_no_process(Duration::from_secs(20));
        // Layer 3 is another store than the fake's, so no receipt of it may hold the drain back.
        scratch.layer2(&["drain"]).output().ok();
        scratch.await_no_process(Duration::from_secs(20));
        let jobs = pending(scratch);
        assert!(jobs.is_empty(), "{point}\nstill pending: {jobs:#?}\n{}", scratch.log(2));
        assert_equals_source(&scratch.layer3_store(), PROJECT, transcript);
        fs::remove_dir_all(scratch.layer3_store()).expect("start anew");
        true
    });
}
