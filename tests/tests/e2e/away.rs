//! Worlds that are not healthy: disks that are not there or full, systems that know less, locks that are held. Nothing is made in their
//! place, what waits is told, and each copy fails alone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tests::binaries::{LAYER1, LAYER2};
use tests::run::Run;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{assert_equals_source, difference};
use tests::strace::{self, Traced};
use tests::transcripts;
use tests::tree;

use crate::disk::Mount;
use crate::product::{DELIVERY, assert_verified, await_delivered, chain, chain_delivered, pending};

/// A disk that keeps what is on it while it is not mounted: what is seen at its mount point is what lies behind it.
struct Disk {
    _behind: Mount,
    from: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn new(test: &str, scratch: &Scratch) -> Option<Disk> {
        let (from, at) = (scratch.beside("disk"), scratch.beside("mnt"));
        let behind = Mount::tmpfs(test, &from, "size=32m")?;
        fs::create_dir(&at).expect("make a mount point");
        Some(Disk { _behind: behind, from, at })
    }

    #[must_use]
    fn mounted(&self) -> Bound<'_> {
        Run::new("/usr/bin/mount").args(["--bind"]).arg(&self.from).arg(&self.at).output().ok();
        Bound(&self.at)
    }
}

struct Bound<'d>(&'d Path);

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        Run::new("/usr/bin/umount").arg("-l").arg(self.0).output();
    }
}

fn set(scratch: &Scratch, settings: &str) {
    let file = scratch.home().join(".config/threefold/config.toml");
    fs::create_dir_all(file.parent().expect("it has a folder")).expect("make a folder");
    fs::write(file, settings).expect("write the settings");
}

/// Each store that may lie on a disk × what may stand where the disk was.
#[test]
fn a_disk_that_is_not_there_is_waited_for_and_nothing_is_made_in_its_place() {
    type Stand = fn(&Path, &Path);
    let stands: [(&str, Stand); 4] = [
        ("an empty folder", |_, _| {}),
        ("nothing", |at, _| fs::remove_dir(at).expect("remove the mount point")),
        ("a file", |at, _| {
            fs::remove_dir(at).expect("remove the mount point");
            fs::write(at, "mine").expect("write a file");
        }),
        ("a link", |at, other| {
            fs::remove_dir(at).expect("remove the mount point");
            std::os::unix::fs::symlink(other, at).expect("make a link");
        }),
    ];
    for (first, second) in [(false, true), (true, false), (true, true)] {
        for (what, stand) in stands {
            let what = format!("{what}; first {first}, second {second}");
            let scratch = Scratch::new();
            let Some(disk) = Disk::new("a_disk_that_is_not_there", &scratch) else { return };
            let place = |on_disk: bool, name: &str| if on_disk { &disk.at } else { scratch.root() }.join(name);
            let (one, two) = (place(first, "one"), place(second, "two"));
            let settings = format!("pre_backup_dir = \"{}\"\nbackup_dir = \"{}\"\n", one.display(), two.display());
            set(&scratch, &settings);
            let id = transcripts::made_id(1);
            let transcript = transcripts::make_conversation(&scratch, &id, 20);
            let end = transcripts::session_end(&transcript);
            let start = || scratch.hook(&scratch.start_command(), "{}").output().ok();
            let bound = disk.mounted();
            chain_delivered(&scratch, &end);
            for store in [&one, &two] {
                assert_equals_source(store, PROJECT, &transcript);
            }
            drop(bound);
            let other = scratch.beside("other");
            fs::create_dir(&other).expect("make a folder");
            stand(&disk.at, &other);
            for n in 0..2 {
                transcripts::append(&transcript, transcripts::prompt_line(&id, 500 + n, "while the disk is away"));
                scratch.hook(&scratch.chain_command(""), &end).output().ok().silent();
                scratch.await_no_process(DELIVERY);
                let told = start();
                scratch.await_no_process(DELIVERY);
                let turn =
                    scratch.hook(&scratch.turn_command(), &transcripts::prompt_submit(&transcript)).output().ok();
                let said = format!("{}{}", told.text(), turn.text());
                assert!(n > 0 || said.contains("its disk is not there"), "{what}: {told:#?} {turn:#?}");
            }
            let made = if disk.at.is_dir() { tree::all(&disk.at) } else { tree::all(&other) };
            assert!(made.is_empty(), "{what}: made in the disk's place: {made:?}");
            let status = scratch.layer3(&["status"]).output().exits(1);
            assert!(status.text().contains("store-away"), "{what}: {}", status.text());
            if !second {
                assert_equals_source(&two, PROJECT, &transcript);
            }
            if !first {
                assert_equals_source(&one, PROJECT, &transcript);
                let jobs = pending(&scratch);
                assert!(jobs.len() == 1 && jobs[0].to_string().contains("its disk is not there"), "{what}: {jobs:#?}");
                assert_eq!(jobs[0]["attempts"], 0, "{what}");
                // What the first copy has can be read all the same.
                let shown = scratch.layer3(&["show", &id]).output().ok();
                assert!(shown.text().contains("while the disk is away"), "{what}: {shown:#?}");
            }
            if fs::remove_file(&disk.at).is_ok() || !disk.at.exists() {
                fs::create_dir(&disk.at).expect("make the mount point again");
            }
            let _bound = disk.mounted();
            start();
            await_delivered(&scratch);
            for store in [&one, &two] {
                assert_equals_source(store, PROJECT, &transcript);
            }
            assert_verified(&scratch);
        }
    }
}

/// Whatever keeps a job from being written down: the second copy is made at once, and the hook says so.
#[test]
fn a_store_of_the_first_copy_that_cannot_be_written_does_not_keep_the_second_from_being_made() {
    type Break = fn(&Scratch, &Mount);
    let fill = |scratch: &Scratch| {
        // Fails as soon as the disk is full, which is what is wanted.
        let _ = fs::write(scratch.layer1_store().join("of somebody else"), vec![b'x'; 9_000_000]);
    };
    let breaks: [(&str, Break); 5] = [
        ("it is full", |_, _| {}),
        ("it is read-only", |_, mount| mount.remount("ro")),
        ("a file stands for the outbox", |scratch, _| {
            let outbox = scratch.layer1_store().join(".outbox");
            let _ = fs::remove_dir_all(&outbox);
            fs::write(outbox, "").expect("write a file");
        }),
        ("a file stands for the lock's folder", |scratch, _| {
            fs::remove_file(scratch.layer1_store().join(".outbox/outbox.lock")).expect("remove the lock");
            fs::create_dir(scratch.layer1_store().join(".outbox/outbox.lock")).expect("make a folder");
        }),
        ("the outbox is a broken link", |scratch, _| {
            let outbox = scratch.layer1_store().join(".outbox");
            fs::remove_dir_all(&outbox).expect("remove the outbox");
            std::os::unix::fs::symlink("/nowhere/at/all", outbox).expect("make a link");
        }),
    ];
    for (what, breaks) in breaks {
        let scratch = Scratch::new();
        let Some(mount) = Mount::tmpfs("a_store_that_cannot_be_written", &scratch.layer1_store(), "size=4m") else {
            return;
        };
        let id = transcripts::made_id(1);
        let transcript = transcripts::make_conversation(&scratch, &id, 20);
        let end = transcripts::session_end(&transcript);
        chain_delivered(&scratch, &end);
        transcripts::append(&transcript, transcripts::prompt_line(&id, 500, &"longer ".repeat(30_000)));
        if what == "it is full" {
            fill(&scratch);
        }
        breaks(&scratch, &mount);
        let outcome = chain(&scratch, &end);
        scratch.await_no_process(DELIVERY);
        // What stands in the place of the outbox is put aside, where there is room for that.
        let is_mended = scratch.layer1_store().join(".outbox/outbox.lock").is_file() && !what.starts_with("it is");
        assert!(is_mended || outcome.stderr.contains("it is saved at once"), "{what}: {outcome:#?}");
        assert_eq!(difference(&scratch.layer3_store(), PROJECT, &transcript), None, "{what}");
    }
}

/// With too few descriptors what can be saved is saved, nothing runs on, and the next run makes up for the rest.
#[test]
fn too_few_descriptors_cost_a_delivery_and_nothing_more() {
    for descriptors in [32, 20, 16, 12, 10] {
        let scratch = Scratch::new();
        let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 20);
        let end = transcripts::session_end(&transcript);
        let command = format!("ulimit -n {descriptors}; {}", scratch.chain_command(""));
        scratch.hook(&command, &end).output().ok().silent();
        scratch.await_no_process(DELIVERY);
        assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
        let log = scratch.log(2);
        assert!(log.len() < 20_000, "{descriptors}: {} bytes of log", log.len());
        if descriptors >= 32 {
            assert_eq!(difference(&scratch.layer3_store(), PROJECT, &transcript), None, "{descriptors}: {log}");
        }
        chain_delivered(&scratch, &end);
        assert_equals_source(&scratch.layer3_store(), PROJECT, &transcript);
        assert_verified(&scratch);
    }
}

/// What a system does not know of costs no copy: it is not the same as a call that fails.
#[test]
fn what_a_system_does_not_know_of_costs_no_copy() {
    if !strace::is_here("what_a_system_does_not_know_of_costs_no_copy") {
        return;
    }
    for (call, error) in [
        ("fdatasync", "EINVAL"),
        ("renameat2", "EOPNOTSUPP"),
        ("getrandom", "ENOSYS"),
        ("clone3", "EPERM"),
        ("epoll_create1", "ENOSYS"),
    ] {
        let scratch = Scratch::new();
        let id = transcripts::made_id(1);
        let transcript = transcripts::make_conversation(&scratch, &id, 20);
        let end = transcripts::session_end(&transcript);
        let inject = format!("inject={call}:error={error}");
        let mut fired = false;
        for (program, args) in [(LAYER1, &[][..]), (LAYER2, &["--foreground"][..])] {
            let traced = Traced::new(&scratch, call, &["-e", &inject], program, args);
            let trace = traced.with(|run| run.stdin(end.clone())).output();
            assert_eq!(trace.outcome.code, Some(0), "{call} {error}: {:#?}", trace.outcome);
            fired |= trace.fault_fired();
        }
        assert!(fired, "{call} {error}: it was not asked for");
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            assert_eq!(difference(&store, PROJECT, &transcript), None, "{call} {error}: {}", scratch.log(2));
        }
        assert!(pending(&scratch).is_empty(), "{call} {error}: {}", scratch.log(2));
        assert_verified(&scratch);
    }
    // What fails is no such thing.
    let scratch = Scratch::new();
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 20);
    let traced = Traced::new(&scratch, "fdatasync", &["-e", "inject=fdatasync:error=EIO"], LAYER1, &[]);
    let trace = traced.with(|run| run.stdin(transcripts::session_end(&transcript))).output();
    assert!(trace.fault_fired() && trace.outcome.stderr.contains("warning: failed to"), "{:#?}", trace.outcome);
}

/// A lock whose holder was stopped keeps nobody waiting for ever, and what was left is done once it is gone.
#[test]
fn a_lock_that_is_held_for_ever_is_told_of_and_makes_nobody_wait_for_ever() {
    let id = transcripts::made_id(1);
    for what in ["first session", "deliverer", "outbox", "index"] {
        let scratch = Scratch::new();
        let path = match what {
            "first session" => scratch.layer1_store().join(".state/sessions").join(&id).join("lock"),
            "deliverer" => scratch.layer1_store().join(".outbox/deliver.lock"),
            "outbox" => scratch.layer1_store().join(".outbox/outbox.lock"),
            _ => scratch.layer3_store().join(".sessions.db.turnstile"),
        };
        let transcript = transcripts::make_conversation(&scratch, &id, 20);
        let end = transcripts::session_end(&transcript);
        chain_delivered(&scratch, &end);
        transcripts::append(&transcript, transcripts::prompt_line(&id, 500, "while a lock is held"));
        let held = File::options().append(true).open(&path).expect("open a lock");
        held.lock().expect("hold it");
        // Each run has a limit of its own, after which the test fails.
        scratch.hook(&scratch.chain_command(""), &end).output().ok().silent();
        let start = scratch.hook(&scratch.start_command(), "{}").output().ok();
        let told = format!("{}{}{}", start.text(), start.stderr, scratch.log(2));
        if what != "index" {
            assert!(told.contains("has held it for"), "{what}: {told}");
        }
        for verb in [&["search", "--all", "held"][..], &["list", "--all"], &["status"], &["verify"]] {
            let outcome = scratch.layer3(verb).output();
            assert!(matches!(outcome.code, Some(0 | 1)), "{what}, {verb:?}: {outcome:#?}");
        }
        drop(held);
        scratch.await_no_process(DELIVERY);
        scratch.hook(&scratch.start_command(), "{}").output().ok();
        await_delivered(&scratch);
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            assert_equals_source(&store, PROJECT, &transcript);
        }
        assert_verified(&scratch);
    }
}
