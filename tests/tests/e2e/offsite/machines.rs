//! More than one machine in a place, though they call themselves by the same host name: each has a repository of its
//! own, and none ever has two writers.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::Signal;
use tests::binaries::LAYER2;
use tests::offsite::place::{Kind, Place};
use tests::run::Run;
use tests::scratch::Scratch;
use tests::waiting::holds_within;

use super::machine::{LIMIT, Machine};

/// So often both push at once.
const ROUNDS: u32 = 10;
/// One round in so many is killed.
const KILLED_ONE_IN: u32 = 3;
const NAMES: [&str; 2] = ["laptop", "desktop"];

/// A command of a machine with a host name and process ids of its own: the name is the same on both.
fn apart(machine: &Machine, args: &[&str]) -> Run {
    let run = Run::new("/usr/bin/unshare").args(["--uts", "--pid", "--fork", "--kill-child", "/bin/sh", "-c"]);
    let run = run.arg("hostname localhost; exec \"$0\" offsite \"$@\"").arg(machine.scratch.program(LAYER2));
    machine.with_path(machine.scratch.at_home(run)).args(args)
}

#[test]
fn two_machines_of_one_host_name_never_write_one_repository() {
    let test = "two_machines_of_one_host_name_never_write_one_repository";
    let may = Run::new("/usr/bin/unshare").args(["--uts", "--pid", "--fork", "/bin/true"]).output();
    if may.code != Some(0) {
        println!("skipped: {test} may not have a host name of its own");
        return;
    }
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, Kind::Rest, &shelf.beside("place")) else { return };
    let machines = NAMES.map(|_| Machine::new(&place));
    for machine in &machines {
        machine.converse(8);
    }
    let url = place.url();
    apart(&machines[0], &["init", &url, "--name", NAMES[0]]).output().ok();
    fs::create_dir_all(machines[1].config()).expect("make the folder of settings");
    fs::copy(machines[0].key_file(), machines[1].key_file()).expect("bring the key along");
    // The name is taken, and its owner is somebody else.
    apart(&machines[1], &["init", &url, "--name", NAMES[0]]).output().exits(1);
    apart(&machines[1], &["init", &url, "--name", NAMES[1]]).output().ok();
    let mut killed = 0;
    for round in 0..ROUNDS {
        for machine in &machines {
            machine.grow(2 + round % 4, &format!("round {round}"));
        }
        let mut running = machines.each_ref().map(|machine| apart(machine, &["push", "--now"]).spawn());
        if round % KILLED_ONE_IN == 0 {
            let moment = std::time::Duration::from_millis(u64::from(200 + 300 * round));
            if !holds_within(moment, || running[1].has_ended()) {
                running[1].signal(Signal::KILL);
                killed += 1;
            }
        }
        let outcomes = running.map(|running| running.wait());
        assert_eq!(outcomes[0].code, Some(0), "the other's death is not ours: {outcomes:#?}");
    }
    assert!(killed > 0, "one was killed in a push");
    for (machine, name) in machines.iter().zip(NAMES) {
        machine.scratch.await_no_process(LIMIT);
        apart(machine, &["push", "--now"]).output().ok();
        apart(machine, &["drill", "--all"]).output().ok();
        apart(machine, &["check", "--all"]).output().ok();
        assert!(machine.kinds().is_empty(), "{:#}", machine.status());
        let repository = machine.repository(&place, name);
        let written_by: BTreeSet<String> = repository
            .snapshots()
            .iter()
            .map(|snapshot| {
                let tags = snapshot["tags"].as_array().expect("tags");
                let store = tags.iter().filter_map(|tag| tag.as_str()).find(|tag| tag.starts_with("store="));
                format!("{} {}", snapshot["hostname"], store.expect("its store"))
            })
            .collect();
        assert_eq!(written_by.len(), 1, "{written_by:?}");
        assert!(written_by.iter().all(|writer| writer.contains(name)), "{written_by:?}");
        repository.assert_clean();
        let locks = place.repository(name).join("locks");
        assert_eq!(fs::read_dir(&locks).expect("read the locks").count(), 0, "no lock is left");
    }
}
