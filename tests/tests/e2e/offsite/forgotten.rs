//! What was forgotten on this computer goes out of the snapshots that were sent before, when a person says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tests::binaries::LAYER3;
use tests::offsite::place::{Kind, Place};
use tests::offsite::restic::Repository;
use tests::scratch::Scratch;
use tests::transcripts::made_id;

use super::kills::Kills;
use super::machine::{LIMIT, Machine, NAME};
use crate::product::text;

const SECRET: &str = "xyzzy7421";

/// The snapshots, oldest first: the id of each and the paths in it.
fn snapshots(repository: &Repository<'_>) -> Vec<(String, Vec<String>)> {
    let paths_of = |snapshot: Value| {
        let id = snapshot["id"].as_str().expect("an id").to_owned();
        let listed = repository.ok(&["ls", "--no-lock", &id]).text();
        (id, listed.lines().filter(|line| line.starts_with('/')).map(str::to_owned).collect())
    };
    repository.snapshots().into_iter().map(paths_of).collect()
}

/// The contents of a file in all snapshots that have it.
fn contents(repository: &Repository<'_>, of: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (id, paths) in snapshots(repository) {
        for path in paths.iter().filter(|path| path.contains(of) && path.contains(".jsonl")) {
            found.push(repository.ok(&["dump", "--no-lock", &id, path]).text());
        }
    }
    found
}

/// A machine that has sent a secret and a conversation twice, and has forgotten both since.
fn forgetful(test: &str, kind: Kind, programs: &[PathBuf]) -> Option<(Scratch, Place, Machine)> {
    let shelf = Scratch::new();
    let place = Place::open(test, kind, &shelf.beside("place"))?;
    let machine = Machine::with_programs(&place, programs);
    machine.converse(8);
    machine.grow(2, &format!("my word is {SECRET} here"));
    machine.init(NAME);
    machine.grow(3, "and on");
    machine.push();
    let layer3 = |args: &[&str]| machine.with_path(machine.scratch.run(LAYER3, args)).output().ok();
    machine.with_path(machine.scratch.layer2(&["drain"])).output().ok();
    machine.scratch.await_no_process(LIMIT);
    let told = layer3(&["forget", &made_id(3), "--yes"]).text();
    assert!(told.contains("offsite forget"), "{told}");
    layer3(&["forget", "--match", SECRET, "--yes"]);
    Some((shelf, place, machine))
}

/// Whether a repository has anything of what was forgotten.
fn has_it(repository: &Repository<'_>) -> bool {
    !contents(repository, &made_id(3)).is_empty()
}

/// A new repository is filled from the old one, which stays.
#[test]
fn what_was_forgotten_comes_back_with_no_rotation_and_what_the_old_repository_has_is_told() {
    let test = "what_was_forgotten_comes_back_with_no_rotation_and_what_the_old_repository_has_is_told";
    let aside = Scratch::new();
    let programs = aside.beside("programs");
    let Some((shelf, place, machine)) = forgetful(test, Kind::Local, std::slice::from_ref(&programs)) else { return };
    let forget = || machine.offsite(&["forget", "--yes"]).output();
    let [old, new] = [NAME, "laptop.2"].map(|name| machine.repository(&place, name));
    let kills = Kills::new(&machine, &programs);
    let mut at = 4;
    while !machine.state().join("rotating").exists() {
        kills.kill(&["key", "rotate"], "behind", at);
        at += 1;
    }
    let refused = forget().exits(1).stderr;
    assert!(refused.contains("a rotation was begun") && refused.contains("key rotate"), "{refused}");
    machine.offsite(&["key", "rotate"]).output().ok();
    assert!(has_it(&old) && has_it(&new), "it was copied");
    let told = forget().ok().text();
    assert!(told.contains("laptop, which was replaced, has it still") && told.contains("--drop-old"), "{told}");
    assert!(has_it(&old) && !has_it(&new));
    machine.offsite(&["key", "rotate", "--drop-old", "--yes"]).output().ok();
    assert!(!shelf.beside("place").join("kept").join(NAME).exists());
}

#[test]
fn what_was_forgotten_goes_out_of_older_snapshots_and_everything_else_stays() {
    let test = "what_was_forgotten_goes_out_of_older_snapshots_and_everything_else_stays";
    let Some((_shelf, place, machine)) = forgetful(test, Kind::Local, &[]) else { return };
    let repository = machine.repository(&place, NAME);
    assert!(!contents(&repository, &made_id(3)).is_empty(), "it was sent");
    assert!(contents(&repository, &made_id(2)).iter().any(|text| text.contains(SECRET)), "it was sent");
    let others = |repository: &Repository<'_>| -> Vec<Vec<String>> {
        let is_other = |path: &String| {
            let of = [made_id(2), made_id(3)];
            // What is only of the moment of a push.
            !of.iter().any(|id| path.contains(id.as_str())) && !path.contains("/.state")
        };
        snapshots(repository).into_iter().map(|(_, paths)| paths.into_iter().filter(is_other).collect()).collect()
    };
    let before = others(&repository);
    // It is said, and nothing is done without a yes; nothing is sent either.
    let dry = machine.offsite(&["forget", "--dry-run"]).output().ok().text();
    assert_eq!((repository.snapshots().len(), &machine.status()["dirty"]), (2, &true.into()), "{dry}");
    assert!(dry.contains("2 conversations") && dry.contains("2 older snapshots"), "{dry}");
    let refused = machine.offsite(&["forget"]).output().exits(1);
    assert!(refused.stderr.contains("nothing was removed"), "{refused:?}");
    assert!(!contents(&repository, &made_id(3)).is_empty(), "it is still there");
    machine.offsite(&["forget", "--yes"]).output().ok();
    assert!(contents(&repository, &made_id(3)).is_empty(), "nothing of it is left in any snapshot");
    let left = contents(&repository, &made_id(2));
    assert!(!left.is_empty() && left.iter().all(|text| !text.contains(SECRET)), "what is saved here now is there");
    assert_eq!(others(&repository)[..before.len()], before[..], "nothing else went");
    // The place goes on as before, and a push and a restore find nothing odd.
    assert!(machine.kinds().is_empty(), "{:#}", machine.status());
    for turn in 0..4 {
        machine.grow(4, &format!("and on {turn}"));
        machine.push();
    }
    machine.drill_all();
    repository.assert_clean();
    // What is sealed there and was forgotten keeps no old snapshot.
    let hours: BTreeSet<String> = repository
        .snapshots()
        .iter()
        .map(|it| text(it, "time").split(':').next().expect("an hour").to_owned())
        .collect();
    let thinned = machine.offsite(&["thin", "--yes"]).output().ok().text();
    assert!(thinned.contains("removed") && !thinned.contains("only it has"), "{thinned}");
    // One of each hour stays: of those before a full hour that came meanwhile, another one.
    assert!((4..4 + hours.len()).contains(&repository.snapshots().len()), "{hours:?} {thinned}");
    assert!(machine.offsite(&["forget", "--yes"]).output().ok().text().contains("came back equal"));
    assert!(machine.kinds().is_empty(), "{:#}", machine.status());
}

#[test]
fn a_server_that_only_takes_keeps_what_was_forgotten_and_that_is_told() {
    let test = "a_server_that_only_takes_keeps_what_was_forgotten_and_that_is_told";
    let Some((_shelf, _place, machine)) = forgetful(test, Kind::RestAppendOnly, &[]) else { return };
    let refused = machine.offsite(&["forget", "--yes"]).output().exits(1);
    assert!(refused.stderr.contains("server that only takes"), "{refused:?}");
    // What was sent after that is received all the same.
    machine.grow(4, "and on");
    machine.push();
    machine.drill_all();
}

#[test]
fn a_text_that_is_a_word_of_the_place_is_forgotten_and_the_place_goes_on() {
    let test = "a_text_that_is_a_word_of_the_place_is_forgotten_and_the_place_goes_on";
    let Some((_shelf, _place, machine)) = forgetful(test, Kind::Local, &[]) else { return };
    let layer3 = |args: &[&str]| machine.with_path(machine.scratch.run(LAYER3, args)).output();
    machine.grow(5, &format!("the {NAME} is what I call it"));
    machine.with_path(machine.scratch.layer2(&["drain"])).output().ok();
    machine.scratch.await_no_process(LIMIT);
    // Its name stands in the state too, which is named, and is needed.
    let told = layer3(&["forget", "--match", NAME, "--yes"]).exits(1).text();
    assert!(told.contains(".state/offsite/state.json"), "{told}");
    machine.push();
    assert_eq!(machine.status()["name"], NAME);
    assert!(machine.kinds().is_empty(), "{:#}", machine.status());
}

#[test]
fn what_was_noted_of_a_conversation_that_came_back_goes_with_it() {
    let test = "what_was_noted_of_a_conversation_that_came_back_goes_with_it";
    let Some((_shelf, _place, machine)) = forgetful(test, Kind::Local, &[]) else { return };
    machine.push();
    machine.drill_all();
    machine.offsite(&["drill", &made_id(1)]).output().ok();
    let noted = || {
        let files = fs::read_dir(machine.state()).expect("the folder").flatten().map(|entry| entry.path());
        let holds = |path: &std::path::PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(&made_id(1)));
        files.filter(holds).collect::<Vec<_>>()
    };
    assert!(noted().len() >= 4, "the state, the drills and the seals: {:?}", noted());
    machine.with_path(machine.scratch.run(LAYER3, &["forget", &made_id(1), "--yes"])).output().ok();
    assert_eq!(noted(), Vec::<std::path::PathBuf>::new());
    machine.push();
    assert!(machine.kinds().is_empty(), "{:#}", machine.status());
    machine.drill_all();
}
