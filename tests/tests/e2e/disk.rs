//! Trouble with the disk, for real: full, read-only, on another file system, out of inodes, beyond
//! a quota; places that vanish or are taken; rights that are taken away; clocks that jump.
//!
//! Each time the same is asked: the fault happened, the hook exits 0 and passes the event on, the
//! last good copy is intact, the user is told in one line, and the next run after the trouble is
//! gone makes everything whole.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tests::binaries::{LAYER1, LAYER2, LAYER3};
use tests::run::{Outcome, Run};
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{assert_equals_source, assert_saved_twice};
use tests::strace::{self, Traced};
use tests::transcripts::{self, SUBAGENT};
use tests::tree;

use crate::product::{
    DELIVERY, assert_verified, await_delivered, chain, chain_delivered, drain, found_in, pending, session_ids,
};

const MOUNT: &str = "/usr/bin/mount";
const UMOUNT: &str = "/usr/bin/umount";
const SETPRIV: &str = "/usr/bin/setpriv";
/// A user without any right of its own: `nobody`.
const NOBODY: u32 = 65534;
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A small file system in memory. Dropped, it is unmounted.
#[derive(Debug)]
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Mounts one with these options (`size=1m`, `nr_inodes=30`) at a directory that is made.
    /// Where that is not allowed, says that `test` is skipped.
    pub(crate) fn tmpfs(test: &str, at: &Path, options: &str) -> Option<Mount> {
        fs::create_dir_all(at).expect("make a mount point");
        let options = format!("mode=0700,{options}");
        let outcome = Run::new(MOUNT).args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        if outcome.code != Some(0) {
            println!("skipped: {test} may not mount: {}", outcome.stderr.lines().next().unwrap_or_default());
            return None;
        }
        Some(Mount { at: at.to_owned() })
    }

    /// Mounts it anew with other options (`ro`, `size=32m`).
    #[track_caller]
    pub(crate) fn remount(&self, options: &str) {
        Run::new(MOUNT).args(["-o", &format!("remount,{options}")]).arg(&self.at).output().ok();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Whoever still holds a file of it keeps it alive, not the mount point.
        Run::new(UMOUNT).arg("-l").arg(&self.at).output();
    }
}

/// A saved conversation that has grown since.
struct Grown {
    id: String,
    transcript: PathBuf,
    good: Vec<u8>,
}

/// Lets a conversation grow by about this many bytes.
fn grow(grown: &Grown, bytes: usize) {
    let text = "the capybara bathes ".repeat(bytes / 20);
    transcripts::append(&grown.transcript, transcripts::prompt_line(&grown.id, 500, &text));
}

/// Saves a conversation in layer 1's store through the hook.
fn saved(scratch: &Scratch) -> Grown {
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(scratch, &id, 20);
    let event = transcripts::session_end(&transcript);
    scratch.layer1(&[]).stdin(event).output().ok().unworried();
    assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
    let good = fs::read(&transcript).expect("read the transcript");
    Grown { id, transcript, good }
}

/// Runs layer 1's hook in trouble: it exits 0, passes the event on, and warns in one line, given back.
#[track_caller]
fn hook_in_trouble(scratch: &Scratch, transcript: &Path) -> String {
    in_trouble(transcript, |run| run, scratch.layer1(&[]))
}

#[track_caller]
fn in_trouble(transcript: &Path, change: impl FnOnce(Run) -> Run, hook: Run) -> String {
    let line = format!("{}\n", transcripts::session_end(transcript));
    let outcome = change(hook.stdin(line.clone())).output().ok();
    assert_eq!(outcome.text(), line, "the event is passed on");
    one_warning(&outcome)
}

#[track_caller]
fn one_warning(outcome: &Outcome) -> String {
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(lines.len() == 1 && lines[0].contains("warning: failed to "), "one clear line: {outcome:#?}");
    lines[0].to_owned()
}

#[track_caller]
fn assert_warns_of(warning: &str, words: &[&str]) {
    for word in words {
        assert!(warning.contains(word), "no {word:?} in {warning}");
    }
}

/// Asserts that layer 1's copy still begins with what was acknowledged.
#[track_caller]
fn assert_intact(scratch: &Scratch, grown: &Grown) {
    let copy = scratch.layer1_store().join(PROJECT).join(format!("{}.jsonl", grown.id));
    let held = fs::read(&copy).expect("read the copy");
    assert!(held.starts_with(&grown.good), "{} of {} good bytes", held.len(), grown.good.len());
}

/// The trouble is over: the next run says nothing, makes the copy whole and leaves no rubbish.
#[track_caller]
fn assert_heals(scratch: &Scratch, grown: &Grown) {
    let event = transcripts::session_end(&grown.transcript);
    scratch.layer1(&[]).stdin(event).output().ok().unworried();
    assert_equals_source(&scratch.layer1_store(), PROJECT, &grown.transcript);
    scratch.layer1(&["verify"]).output().ok();
    drain(scratch);
    assert_saved_twice(scratch, &grown.transcript);
    assert_eq!(session_ids(scratch), [grown.id.as_str()]);
    assert_verified(scratch);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let left: Vec<_> =
            tree::all(&store).into_keys().filter(|path| path.to_string_lossy().contains("tmp")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_disk_that_fills_up_in_the_middle() {
    let scratch = Scratch::new();
    let test = "a_disk_that_fills_up_in_the_middle";
    let Some(mount) = Mount::tmpfs(test, &scratch.layer1_store(), "size=1m") else { return };
    let grown = saved(&scratch);
    grow(&grown, 3_000_000);
    for _ in 0..2 {
        let warning = hook_in_trouble(&scratch, &grown.transcript);
        assert_warns_of(&warning, &["No space left on device", "free some space"]);
        assert_intact(&scratch, &grown);
    }
    scratch.layer1(&["verify"]).output().ok();
    // Room for a part of it: what came so far is not taken for more than it is.
    mount.remount("size=2m");
    hook_in_trouble(&scratch, &grown.transcript);
    assert_intact(&scratch, &grown);
    mount.remount("size=16m");
    assert_heals(&scratch, &grown);
}

#[test]
fn a_disk_that_is_full_before_anything_was_saved() {
    let scratch = Scratch::new();
    let test = "a_disk_that_is_full_before_anything_was_saved";
    let Some(mount) = Mount::tmpfs(test, &scratch.layer1_store(), "size=64k") else { return };
    let filler = scratch.layer1_store().join("of somebody else");
    // Fails as soon as the disk is full, which is what is wanted.
    let _ = fs::write(&filler, vec![b'x'; 200_000]);
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 20);
    let good = fs::read(&transcript).expect("read the transcript");
    let warning = hook_in_trouble(&scratch, &transcript);
    assert_warns_of(&warning, &["No space left on device", "free some space"]);

    fs::remove_file(&filler).expect("free the space");
    mount.remount("size=16m");
    assert_heals(&scratch, &Grown { id, transcript, good });
}

#[test]
fn a_full_disk_is_told_to_the_user_of_a_quiet_hook() {
    let scratch = Scratch::new();
    let test = "a_full_disk_is_told_to_the_user_of_a_quiet_hook";
    let Some(_mount) = Mount::tmpfs(test, &scratch.layer1_store(), "size=512k") else { return };
    let grown = saved(&scratch);
    grow(&grown, 1_000_000);
    let quiet = || scratch.hook(&scratch.turn_command(), &transcripts::prompt_submit(&grown.transcript)).output().ok();
    let told = quiet();
    one_warning(&told);
    let message = told.json()["systemMessage"].as_str().map(str::to_owned).unwrap_or_default();
    assert!(message.contains("No space left") && message.contains("free some space"), "{message}");
    quiet().silent();
    assert_intact(&scratch, &grown);
}

#[test]
fn layer3s_disk_fills_up_in_the_middle() {
    let scratch = Scratch::new();
    let test = "layer3s_disk_fills_up_in_the_middle";
    let Some(mount) = Mount::tmpfs(test, &scratch.layer3_store(), "size=1m") else { return };
    let grown = saved(&scratch);
    chain_delivered(&scratch, &transcripts::session_end(&grown.transcript));
    grow(&grown, 3_000_000);
    chain(&scratch, &transcripts::session_end(&grown.transcript));
    scratch.await_no_process(DELIVERY);
    let jobs = pending(&scratch);
    assert_eq!(jobs.len(), 1);
    assert!(jobs[0].to_string().contains("No space left on device"), "{jobs:#?}");
    assert!(scratch.log(2).contains("⚠️ FALLBACK"), "{}", scratch.log(2));
    let copy = fs::read(scratch.layer3_store().join(PROJECT).join(format!("{}.jsonl", grown.id))).expect("read");
    assert!(copy.starts_with(&grown.good), "the last good copy is intact");
    mount.remount("size=32m");
    assert_heals(&scratch, &grown);
    assert_eq!(found_in(&scratch, "capybara"), [grown.id.as_str()]);
}

#[test]
fn a_read_only_mount() {
    let scratch = Scratch::new();
    let Some(mount) = Mount::tmpfs("a_read_only_mount", &scratch.layer1_store(), "size=4m") else { return };
    let grown = saved(&scratch);
    grow(&grown, 10_000);
    mount.remount("ro");
    let warning = hook_in_trouble(&scratch, &grown.transcript);
    assert_warns_of(&warning, &["Read-only file system"]);
    assert_intact(&scratch, &grown);
    // Looking writes nothing, so it works.
    scratch.layer1(&["status"]).output().ok();
    scratch.layer1(&["verify"]).output().ok();
    // Layer 2 has nowhere to put its job: it says so and ends well.
    let outcome = chain(&scratch, &transcripts::session_end(&grown.transcript));
    assert!(outcome.stderr.contains("layer2-save-client"), "{outcome:#?}");
    mount.remount("rw");
    assert_heals(&scratch, &grown);
}

#[test]
fn stores_on_other_file_systems_than_the_source() {
    let scratch = Scratch::new();
    let test = "stores_on_other_file_systems_than_the_source";
    let mount = |at: PathBuf| Mount::tmpfs(test, &at, "size=16m");
    let (Some(_first), Some(_third)) = (mount(scratch.layer1_store()), mount(scratch.layer3_store())) else { return };
    let transcript = transcripts::lay_out(&scratch, SUBAGENT);
    let old = fs::read(&transcript).expect("read the transcript");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    transcripts::rewrite(&transcript, transcripts::prompt_line(SUBAGENT, 1, "all new"));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
    // From one store to the other, and back to the source.
    let copy = scratch.layer3_store().join(PROJECT).join(format!("{SUBAGENT}.jsonl"));
    transcripts::rewrite(&copy, "a damaged copy\n");
    scratch.layer3(&["verify"]).output().exits(1);
    scratch.layer3(&["verify", "--repair"]).output().ok();
    assert_saved_twice(&scratch, &transcript);
    fs::remove_dir_all(scratch.slug_dir()).expect("lose the project's transcripts");
    scratch.layer3(&["restore", SUBAGENT, "--longest"]).output().ok();
    assert_eq!(fs::read(&transcript).ok(), Some(old));
    assert_verified(&scratch);
}

/// Runs a hook's command in a shell that limits the size of files to this many blocks of 512 bytes.
fn with_file_limit(scratch: &Scratch, blocks: u32, command: &str, event: &str) -> Outcome {
    scratch.hook(&format!("ulimit -f {blocks}; {command}"), event).output()
}

#[test]
fn a_limit_on_the_size_of_files_does_not_kill() {
    let scratch = Scratch::new();
    let grown = saved(&scratch);
    grow(&grown, 1_000_000);
    let event = transcripts::session_end(&grown.transcript);
    let layer1 = format!("'{}'", scratch.program(LAYER1).display());
    let outcome = with_file_limit(&scratch, 200, &layer1, &event).ok();
    assert_eq!(outcome.text(), format!("{event}\n"), "the event is passed on");
    assert_warns_of(&one_warning(&outcome), &["File too large"]);
    assert_intact(&scratch, &grown);
    scratch.layer1(&["verify"]).output().ok();
    // Layer 1's copy is whole, layer 3 is limited: the job waits.
    scratch.layer1(&[]).stdin(event.clone()).output().ok().unworried();
    with_file_limit(&scratch, 200, &format!("'{}'", scratch.program(LAYER2).display()), &event).ok().silent();
    scratch.await_no_process(DELIVERY);
    let jobs = pending(&scratch);
    assert_eq!(jobs.len(), 1, "{}", scratch.log(2));
    assert!(jobs[0].to_string().contains("File too large"), "{jobs:#?}");
    assert_heals(&scratch, &grown);
}

#[test]
fn no_inode_is_left() {
    let scratch = Scratch::new();
    let Some(mount) = Mount::tmpfs("no_inode_is_left", &scratch.layer1_store(), "size=16m,nr_inodes=40") else {
        return;
    };
    let grown = saved(&scratch);
    grow(&grown, 5_000);
    for n in 0..40 {
        let side = grown.transcript.with_extension("").join(format!("tool-results/{n}.txt"));
        transcripts::append(&side, format!("output {n}"));
    }
    let warning = hook_in_trouble(&scratch, &grown.transcript);
    assert_warns_of(&warning, &["No space left on device", "more files"]);
    assert_intact(&scratch, &grown);
    scratch.layer1(&["verify"]).output().ok();
    mount.remount("nr_inodes=4000");
    assert_heals(&scratch, &grown);
}

#[test]
fn a_store_that_is_deleted_between_two_events() {
    for what in ["", ".state", PROJECT] {
        let scratch = Scratch::new();
        let grown = saved(&scratch);
        grow(&grown, 5_000);
        chain_delivered(&scratch, &transcripts::session_end(&grown.transcript));
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            fs::remove_dir_all(store.join(what)).expect("delete a store or a part of it");
        }
        grow(&grown, 5_000);
        chain_delivered(&scratch, &transcripts::session_end(&grown.transcript));
        assert_saved_twice(&scratch, &grown.transcript);
        assert_heals(&scratch, &grown);
    }
}

#[test]
fn a_store_that_is_replaced_by_a_file_between_two_events() {
    // What stands in the place of a part of one is put aside instead.
    let scratch = Scratch::new();
    let grown = saved(&scratch);
    chain_delivered(&scratch, &transcripts::session_end(&grown.transcript));
    let aside = |store: &Path| scratch.beside(&store.file_name().unwrap().to_string_lossy());
    let stores = [scratch.layer1_store(), scratch.layer3_store()];
    for store in &stores {
        fs::rename(store, aside(store)).expect("move a store");
        fs::write(store, "mine").expect("put a file there");
    }
    grow(&grown, 5_000);
    hook_in_trouble(&scratch, &grown.transcript);
    let outcome = chain(&scratch, &transcripts::session_end(&grown.transcript));
    assert!(!outcome.stderr.is_empty(), "it says so");
    scratch.await_no_process(DELIVERY);
    for store in &stores {
        assert_eq!(fs::read(store).ok().as_deref(), Some(&b"mine"[..]), "{}", store.display());
        fs::remove_file(store).expect("clear the way");
        fs::rename(aside(store), store).expect("bring it back");
    }
    assert_intact(&scratch, &grown);
    assert_heals(&scratch, &grown);
}

/// A run of layer 1 as a user whom rights can be taken from; `None` where that cannot be had.
fn as_nobody(scratch: &Scratch, test: &str) -> Option<impl Fn(&[&str]) -> Run> {
    let is_root = rustix::process::geteuid().is_root();
    if is_root && !Path::new(SETPRIV).exists() {
        println!("skipped: {test} runs as root and needs {SETPRIV}");
        return None;
    }
    Some(move |args: &[&str]| {
        if !is_root {
            return scratch.layer1(args);
        }
        let id = NOBODY.to_string();
        let run = scratch.at_home(Run::new(SETPRIV));
        let run = run.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
        run.arg(scratch.program(LAYER1)).args(args)
    })
}

/// Gives everything in the scratch directory to that user.
fn give_away(scratch: &Scratch) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let give = |path: &Path| std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).expect("give a file away");
    give(scratch.root());
    for path in tree::all(scratch.root()).into_keys() {
        give(&scratch.root().join(path));
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("set a mode");
}

#[test]
fn permissions_that_are_taken_away() {
    let folder = |scratch: &Scratch, _: &Grown| scratch.layer1_store().join(PROJECT);
    let copy =
        |scratch: &Scratch, grown: &Grown| scratch.layer1_store().join(PROJECT).join(format!("{}.jsonl", grown.id));
    let store = |scratch: &Scratch, _: &Grown| scratch.layer1_store();
    let state = |scratch: &Scratch, _: &Grown| scratch.layer1_store().join(".state/sessions");
    let source = |_: &Scratch, grown: &Grown| grown.transcript.clone();
    let slug = |scratch: &Scratch, _: &Grown| scratch.slug_dir();
    type Place = fn(&Scratch, &Grown) -> PathBuf;
    let places: [(&str, Place, u32); 8] = [
        ("the copy cannot be written", copy, 0o400),
        ("the copy cannot be read", copy, 0o000),
        ("the folder cannot be entered", folder, 0o000),
        ("the store cannot be entered", store, 0o000),
        ("the bookkeeping cannot be entered", state, 0o000),
        ("nothing can be made in the folder", folder, 0o500),
        ("the source cannot be read", source, 0o000),
        ("the source cannot be reached", slug, 0o000),
    ];
    for (what, place, mode) in places {
        let scratch = Scratch::with_own_binaries();
        let Some(layer1) = as_nobody(&scratch, "permissions_that_are_taken_away") else { return };
        let id = transcripts::made_id(1);
        let transcript = transcripts::make_conversation(&scratch, &id, 20);
        give_away(&scratch);
        let event = transcripts::session_end(&transcript);
        layer1(&[]).stdin(event.clone()).output().ok().unworried();
        let good = fs::read(&transcript).expect("read the transcript");
        let grown = Grown { id, transcript, good };
        grow(&grown, 5_000);
        transcripts::append(&grown.transcript.with_extension("").join("tool-results/new.txt"), "a new side file");
        give_away(&scratch);

        let place = place(&scratch, &grown);
        let before = fs::metadata(&place).expect("look at a place").permissions().mode() & 0o7777;
        set_mode(&place, mode);
        let line = format!("{event}\n");
        let outcome = layer1(&[]).stdin(line.clone()).output().ok();
        assert_eq!(outcome.text(), line, "{what}");
        set_mode(&place, before);
        assert_warns_of(&one_warning(&outcome), &["Permission denied"]);
        assert_intact(&scratch, &grown);
        layer1(&[]).stdin(event).output().ok().unworried();
        assert_equals_source(&scratch.layer1_store(), PROJECT, &grown.transcript);
        layer1(&["verify"]).output().ok();
    }
}

#[test]
fn a_subagents_file_that_cannot_be_read_is_told_and_kept_when_it_can_be() {
    let scratch = Scratch::with_own_binaries();
    let Some(layer1) = as_nobody(&scratch, "a_subagents_file_that_cannot_be_read") else { return };
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 20);
    // Of the old layout: whose it is, it says itself.
    let agent = scratch.slug_dir().join("agent-1.jsonl");
    transcripts::append(&agent, format!("{{\"sessionId\":\"{id}\"}}\n"));
    give_away(&scratch);
    set_mode(&agent, 0o000);
    let hook = layer1(&[]).stdin(transcripts::session_end(&transcript)).output().ok();
    for warned in [hook, layer1(&["sweep"]).output().exits(1)] {
        assert_warns_of(&one_warning(&warned), &["agent-1.jsonl", "Permission denied"]);
    }
    let status = layer1(&["status", "--json"]).output().ok().json();
    assert!(status["passed_over"].to_string().contains("agent-1.jsonl"), "{status}");
    assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
    set_mode(&agent, 0o600);
    layer1(&["sweep"]).output().ok();
    let folder = scratch.layer1_store().join(PROJECT);
    assert_eq!(fs::read(folder.join(&id).join(".beside/agent-1.jsonl")).ok(), fs::read(&agent).ok());
    assert!(!folder.join("agent-1.jsonl").exists(), "it is no conversation of its own");
}

#[test]
fn layer3s_store_that_may_not_be_entered() {
    let scratch = Scratch::with_own_binaries();
    let Some(_) = as_nobody(&scratch, "layer3s_store_that_may_not_be_entered") else { return };
    let transcript = transcripts::lay_out(&scratch, SUBAGENT);
    give_away(&scratch);
    let privileges = format!("{SETPRIV} --reuid {NOBODY} --regid {NOBODY} --clear-groups --");
    let command = match rustix::process::geteuid().is_root() {
        true => format!("{privileges} /bin/sh -c \"{}\"", scratch.chain_command("")),
        false => scratch.chain_command(""),
    };
    let nobodys_chain = || {
        scratch.hook(&command, &transcripts::session_end(&transcript)).output().ok().silent();
        scratch.await_no_process(DELIVERY);
    };
    nobodys_chain();
    assert_saved_twice(&scratch, &transcript);
    let before = tree::all(&scratch.layer3_store().join(PROJECT));
    transcripts::append(&transcript, transcripts::prompt_line(SUBAGENT, 1, "and on"));
    set_mode(&scratch.layer3_store(), 0o000);
    nobodys_chain();
    let jobs = pending(&scratch);
    assert_eq!(jobs.len(), 1, "{}", scratch.log(2));
    assert!(jobs[0].to_string().contains("Permission denied"), "{jobs:#?}");
    assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
    assert!(scratch.log(2).contains("⚠️ FALLBACK"), "{}", scratch.log(2));
    set_mode(&scratch.layer3_store(), 0o700);
    assert_eq!(tree::all(&scratch.layer3_store().join(PROJECT)), before);
    nobodys_chain();
    assert!(pending(&scratch).is_empty());
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

fn set_modified(path: &Path, at: SystemTime) {
    let times = FileTimes::new().set_accessed(at).set_modified(at);
    File::open(path).and_then(|file| file.set_times(times)).expect("set a file's times");
}

/// Moves every recorded time of a JSON value (fields in milliseconds since 1970) by a year.
fn a_year_later(value: &mut Value) {
    for (name, field) in value.as_object_mut().expect("an object") {
        if name == "at" || name.ends_with("_ms") {
            *field = (field.as_u64().expect("milliseconds") + YEAR.as_millis() as u64).into();
        }
    }
}

/// Dates every line of a store's ledgers a year later; each has the first 16 digits of its hash in front.
fn date_ledgers_a_year_later(store: &Path) {
    let sessions = store.join(".state/sessions");
    let mut dated = 0;
    for path in tree::all(&sessions).into_keys().map(|path| sessions.join(path)) {
        // Directories and the lock have no lines.
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut lines = String::new();
        for (_, line) in text.lines().filter_map(|line| line.split_once(' ')) {
            let mut line: Value = serde_json::from_str(line).expect("a line of a ledger");
            dated += u32::from(line["at"].is_u64());
            a_year_later(&mut line);
            let line = line.to_string();
            lines.push_str(&format!("{} {line}\n", &blake3::hash(line.as_bytes()).to_hex()[..16]));
        }
        if !lines.is_empty() {
            fs::write(&path, lines).expect("write a ledger");
        }
    }
    assert!(dated > 0, "no ledger in {}", sessions.display());
}

#[test]
fn a_clock_that_jumps_back_a_year() {
    let scratch = Scratch::new();
    let grown = saved(&scratch);
    // What was recorded was recorded a year from now, and so were the files.
    let event = transcripts::session_end(&grown.transcript);
    chain_delivered(&scratch, &event);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        date_ledgers_a_year_later(&store);
        for (path, entry) in tree::all(&store) {
            if matches!(entry, tree::Entry::File(..)) {
                set_modified(&store.join(path), SystemTime::now() + YEAR);
            }
        }
    }
    set_modified(&grown.transcript, SystemTime::now() + YEAR);
    scratch.layer1(&["sweep", "--quiet"]).output().ok().unworried();

    // The clock is right again; a job of the future waits in the outbox.
    grow(&grown, 5_000);
    let outcome = scratch.hook(&scratch.chain_command("--server /bin/false --attempts 1 --delay 1ms"), &event).output();
    outcome.ok().silent();
    scratch.await_no_process(DELIVERY);
    assert_equals_source(&scratch.layer1_store(), PROJECT, &grown.transcript);
    let outbox = scratch.layer1_store().join(".outbox");
    let mut jobs = 0;
    for path in fs::read_dir(&outbox).expect("list the outbox").map(|entry| entry.expect("list the outbox").path()) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let Ok(mut job) = serde_json::from_str::<Value>(&text) else { continue };
        if job["created_ms"].is_u64() {
            a_year_later(&mut job);
            fs::write(&path, job.to_string()).expect("write a job");
            jobs += 1;
        }
    }
    assert_eq!(jobs, 1, "{:#?}", tree::all(&outbox));
    assert_eq!(pending(&scratch).len(), 1);
    scratch.layer2(&["pending"]).output().ok();
    // The same size, only the time goes back: it is looked at again, and nothing is stored twice.
    set_modified(&grown.transcript, SystemTime::now() - YEAR);
    scratch.layer1(&["sweep", "--quiet"]).output().ok().unworried();
    let files = tree::session_files(&scratch.layer1_store());
    assert!(!files.iter().any(|path| path.contains(".gen-")), "{files:?}");
    // A rewrite of the same length with an earlier time is seen all the same.
    let old = fs::read(&grown.transcript).expect("read the transcript");
    let new: Vec<u8> = old.iter().map(|byte| if *byte == b'c' { b'k' } else { *byte }).collect();
    transcripts::rewrite(&grown.transcript, &new);
    set_modified(&grown.transcript, SystemTime::now() - 2 * YEAR);
    chain(&scratch, &event).unworried();
    await_delivered(&scratch);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let generation = store.join(PROJECT).join(format!("{}.gen-0001.jsonl", grown.id));
        assert!(fs::read(&generation).is_ok_and(|bytes| bytes == old), "{}", generation.display());
    }
    assert_heals(&scratch, &grown);
}

#[test]
fn a_notice_of_the_future_does_not_silence_the_next() {
    let scratch = Scratch::new();
    let grown = saved(&scratch);
    grow(&grown, 5_000);
    let settings = scratch.home().join(".config/threefold/config.toml");
    fs::create_dir_all(settings.parent().expect("a folder")).expect("make the folder of settings");
    fs::write(&settings, "free_space_floor = \"900TB\"\n").expect("want more room than there is");
    let quiet = || scratch.hook(&scratch.turn_command(), &transcripts::prompt_submit(&grown.transcript)).output().ok();
    assert!(quiet().json()["systemMessage"].is_string());
    quiet().silent();
    let told = scratch.layer1_store().join(".state/told");
    for mark in fs::read_dir(told).expect("list the marks") {
        set_modified(&mark.expect("list the marks").path(), SystemTime::now() + YEAR);
    }
    assert!(quiet().json()["systemMessage"].is_string(), "the clock went back: it is told again");
    fs::remove_file(&settings).expect("want less");
    assert_intact(&scratch, &grown);
    assert_heals(&scratch, &grown);
}

/// Calls that a file system may not know, and how it says so.
const UNKNOWN: [(&str, &str); 7] = [
    ("fsync", "EINVAL"),
    ("fsync", "ENOSYS"),
    ("fsync", "EOPNOTSUPP"),
    ("flock", "ENOLCK"),
    ("flock", "ENOSYS"),
    ("flock", "EOPNOTSUPP"),
    ("flock", "EINVAL"),
];

#[test]
fn a_file_system_without_directory_syncs_or_locks_costs_no_copy_and_is_told_once() {
    if !strace::is_here("a file system without directory syncs or locks") {
        return;
    }
    for (call, error) in UNKNOWN {
        let scratch = Scratch::new();
        let id = transcripts::made_id(1);
        let transcript = transcripts::make_conversation(&scratch, &id, 2);
        let inject = format!("inject={call}:error={error}");
        let fired = std::cell::Cell::new(0);
        // SQLite's own file is none of them.
        let state = format!(".state/sessions/{id}");
        let below = ["", PROJECT, ".state", ".state/sessions", &state, ".outbox", ".outbox/receipts"];
        let stores = [scratch.layer1_store(), scratch.layer3_store()];
        let folders: Vec<String> =
            stores.iter().flat_map(|store| below.map(|name| store.join(name).display().to_string())).collect();
        let folders = folders.iter().map(|folder| folder.trim_end_matches('/')).filter(|_| call == "fsync");
        let options: Vec<&str> = ["-e", &inject].into_iter().chain(folders.flat_map(|folder| ["-P", folder])).collect();
        let run = |program: &str, args: &[&str], event: &str| {
            let traced = Traced::new(&scratch, call, &options, program, args);
            let trace = traced.with(|run| run.stdin(event)).output();
            fired.set(fired.get() + usize::from(trace.fault_fired()));
            trace.outcome.ok()
        };
        for turn in 0..2 {
            transcripts::append(&transcript, transcripts::prompt_line(&id, 10 + turn, "the kiwi"));
            run(LAYER1, &["--quiet"], &transcripts::session_end(&transcript)).silent();
            run(LAYER2, &["--foreground"], &transcripts::session_end(&transcript));
        }
        // A rewritten transcript begins a generation: files are renamed.
        transcripts::rewrite(&transcript, transcripts::prompt_line(&id, 20, "the kiwi, rewritten"));
        run(LAYER1, &["sweep"], "");
        run(LAYER3, &["import"], "");
        // An append that a run finished before syncs no directory.
        assert!(fired.get() >= 4, "{call} {error}: {}", fired.get());
        assert_saved_twice(&scratch, &transcript);
        assert_eq!(pending(&scratch).len(), 0, "{call} {error}");
        let what = if call == "fsync" { "cannot sync a directory" } else { "has no file locks" };
        let log: String = [1, 2, 3].map(|layer| scratch.log(layer)).concat();
        assert_eq!(log.matches(what).count(), 2, "{call} {error}: {log}");
        let status = scratch.layer3(&["status", "--json"]).output().json();
        let told = status["findings"].as_array().expect("findings").iter().filter(|f| f["kind"] == "file-system");
        assert_eq!(told.count(), 2, "{status}");
        assert_verified(&scratch);
    }
}

#[test]
fn a_directory_whose_sync_fails_is_never_acknowledged() {
    if !strace::is_here("a directory whose sync fails") {
        return;
    }
    let scratch = Scratch::new();
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 2);
    let event = transcripts::session_end(&transcript);
    for (program, args) in [(LAYER1, &["--quiet"][..]), (LAYER3, &["save"])] {
        let traced = Traced::new(&scratch, "fsync", &["-e", "inject=fsync:error=EIO"], program, args);
        let trace = traced.with(|run| run.stdin(event.clone())).output();
        assert!(trace.fault_fired() && trace.outcome.stderr.contains("sync directory"), "{:?}", trace.outcome);
    }
    assert!(!scratch.log(1).contains("saved"), "{}", scratch.log(1));
}
