//! A new master key: another repository, filled and proven before it takes the place of the old one, which stays until it
//! is told to go.

use std::fs;

use tests::offsite::place::{Kind, Place};
use tests::offsite::restic::Repository;
use tests::scratch::Scratch;
use tests::transcripts::made_id;

use super::kills::Kills;
use super::machine::{Machine, NAME, set_up};

const FEW: usize = 6;

fn opens(repository: &Repository<'_>) -> bool {
    repository.run(&["cat", "config", "--no-lock"]).output().code == Some(0)
}

fn times(repository: &Repository<'_>) -> Vec<String> {
    repository.snapshots().iter().map(|snapshot| snapshot["time"].to_string()).collect()
}

#[test]
fn a_new_repository_is_proven_before_it_takes_the_old_ones_place() {
    let test = "a_new_repository_is_proven_before_it_takes_the_old_ones_place";
    let Some((_shelf, place, machine)) = set_up(test, FEW) else { return };
    machine.grow(1, "so that there are two snapshots");
    machine.push();
    let desktop = Machine::new(&place);
    desktop.converse(1);
    let words = format!("{}\n", machine.key());
    desktop.offsite(&["join", &place.url(), "--name", "desktop"]).stdin(words).output().ok();
    let (old, new) = (machine.repository(&place, NAME), machine.repository(&place, "laptop.2"));
    let sent = times(&old);
    machine.offsite(&["key", "add", "safe"]).output().ok();
    let state = machine.state().join("state.json");
    let before = fs::read(&state).expect("read the state");
    let done = machine.offsite(&["key", "rotate"]).output().ok().text();
    machine.assert_on_sheet(&done);
    assert!(done.contains("/laptop.2 restore latest") && done.contains("--drop-old"), "{done}");
    assert!(done.contains("The key safe does not open it") && done.contains("key add safe --words"), "{done}");
    // What the old master key opens is nothing of the new one, and all is there that was sent.
    let master = |repository: &Repository<'_>| repository.ok(&["cat", "masterkey", "--no-lock"]).text();
    assert!(master(&old) != master(&new));
    assert!(times(&new).starts_with(&sent) && times(&old) == sent, "{:?}", times(&new));
    assert_eq!(machine.kinds(), ["repository-replaced"]);
    let status = machine.status();
    assert!(status["in"] == "laptop.2" && status["key_confirmed"] == false, "{status:#}");
    assert_eq!(status["push"]["sessions"], FEW, "{status:#}");
    machine.grow(1, "since the new one");
    machine.push();
    assert!(times(&old) == sent && times(&new).len() > sent.len());
    machine.drill_all();
    new.assert_clean();
    // Who looks for it finds the new one, whether it was known before or not.
    let listed = desktop.offsite(&["list", NAME]).output().ok().text();
    assert!(listed.contains(&made_id(1)), "{listed}");
    let machines = desktop.offsite(&["machines"]).output().ok().text();
    assert!(machines.contains(&format!("{NAME}: last push just now, {} snapshots", times(&new).len())), "{machines}");
    machine.assert_comes_back(&place, FEW);
    // A new key is one for all of them.
    machine.offsite(&["key", "change"]).output().ok();
    assert!(!opens(&old) && !opens(&new) && opens(&machine.repository(&place, "laptop.2")));
    let refused = machine.offsite(&["key", "rotate", "--drop-old"]).stdin("no\n").output().exits(1);
    assert!(place.repository(NAME).exists() && refused.text().contains("To be removed"), "{refused:?}");
    machine.offsite(&["key", "rotate", "--drop-old", "--yes"]).output().ok();
    assert!(!place.repository(NAME).exists() && machine.kinds().is_empty(), "{:#}", machine.status());
    machine.push();
    machine.drill_all();
    // A state that was put back from before knows of the old one alone; the place knows better.
    fs::write(&state, before).expect("put the state back");
    machine.grow(1, "since the state was put back");
    machine.offsite(&["push", "--now"]).output().exits(1);
    assert!(!place.repository(NAME).exists(), "it is not made again");
    machine.offsite(&["init", &place.url(), "--name", NAME, "--take-over"]).output().ok();
    machine.push();
    assert_eq!(machine.status()["in"], "laptop.2");
    assert!(machine.kinds().is_empty(), "{:#}", machine.status());
}

/// Servers remove no folder, and one that only takes removes nothing.
#[test]
fn an_old_repository_on_a_server_is_emptied() {
    for kind in [Kind::Rest, Kind::RestAppendOnly] {
        let shelf = Scratch::new();
        let test = "an_old_repository_on_a_server_is_emptied";
        let Some(place) = Place::open(test, kind, &shelf.beside("place")) else { continue };
        let machine = Machine::new(&place);
        machine.converse(2);
        machine.init(NAME);
        machine.offsite(&["key", "rotate"]).output().ok();
        let dropped = machine.offsite(&["key", "rotate", "--drop-old", "--yes"]).output();
        let left = machine.repository(&place, NAME).snapshots().len();
        match kind {
            Kind::Rest => {
                assert!(dropped.ok().text().contains("delete its folder at the place") && left == 0);
                assert!(machine.kinds().is_empty(), "{:#}", machine.status());
            }
            _ => {
                assert!(dropped.exits(1).stderr.contains("its owner can, there") && left == 1);
                assert_eq!(machine.kinds(), ["repository-replaced"]);
            }
        }
        machine.grow(1, "after all of it");
        machine.push();
        machine.drill_all();
    }
}

/// Each time the same rotation goes on; meanwhile what is saved is sent, to the one or to the other.
#[test]
fn a_rotation_is_cut_off_at_any_call() {
    let test = "a_rotation_is_cut_off_at_any_call";
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let programs = shelf.beside("programs");
    let machine = Machine::with_programs(&place, std::slice::from_ref(&programs));
    machine.converse(FEW);
    machine.init(NAME);
    let kills = Kills::new(&machine, &programs);
    let calls = kills.calls_of(&["key", "rotate"]);
    machine.offsite(&["key", "rotate", "--drop-old", "--yes"]).output().ok();
    let moments = [(2, "behind"), (5, "before"), (7, "restic"), (10, "behind"), (13, "restic"), (15, "behind")];
    for (number, (sixteenth, who)) in moments.into_iter().enumerate() {
        let at = 1 + sixteenth * calls / 16;
        kills.kill(&["key", "rotate"], who, at);
        machine.grow(1, &format!("cut off at {at} of {calls}"));
        machine.push();
        if number % 3 == 2 {
            machine.drill_all();
        }
    }
    machine.offsite(&["key", "rotate"]).output().ok();
    assert!(!machine.state().join("rotating").exists(), "nothing is left of it here");
    machine.push();
    machine.drill_all();
    machine.offsite(&["check", "--all"]).output().ok();
    assert_eq!(machine.kinds(), ["repository-replaced"]);
    let now = machine.status()["in"].as_str().expect("a repository").to_owned();
    machine.repository(&place, &now).assert_clean();
    machine.assert_comes_back(&place, FEW);
    kills.kill(&["key", "rotate", "--drop-old", "--yes"], "before", 4);
    machine.offsite(&["key", "rotate", "--drop-old", "--yes"]).output().ok();
    assert!(machine.kinds().is_empty(), "{:#}", machine.status());
    machine.assert_comes_back(&place, FEW);
}

/// A new repository that is half filled is no machine's yet, and the old words open it as long as nobody takes them away.
#[test]
fn a_key_that_is_changed_while_a_rotation_is_cut_off_opens_nothing_of_it() {
    let test = "a_key_that_is_changed_while_a_rotation_is_cut_off_opens_nothing_of_it";
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let programs = shelf.beside("programs");
    let machine = Machine::with_programs(&place, std::slice::from_ref(&programs));
    machine.converse(2);
    machine.init(NAME);
    let before = ["_machines", NAME, "laptop.2"].map(|name| machine.repository(&place, name));
    let kills = Kills::new(&machine, &programs);
    let mut at = 4;
    while !opens(&before[2]) {
        kills.kill(&["key", "rotate"], "behind", at);
        at += 1;
    }
    assert_eq!(machine.status()["in"], NAME, "it was cut off before it took the place");
    machine.offsite(&["key", "change"]).output().ok();
    assert!(before.iter().all(|repository| !opens(repository)), "the old words open nothing");
    machine.offsite(&["key", "rotate"]).output().ok();
    assert!(machine.status()["in"] == "laptop.2" && !opens(&before[2]), "{:#}", machine.status());
    machine.drill_all();
}
