//! A whole store that comes back while its machine is used already: what went on meanwhile is never written over, however
//! often the restore is cut off.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use rustix::process::Signal;
use tests::offsite::place::{Kind, Place};
use tests::offsite::restic;
use tests::scratch::Scratch;
use tests::transcripts::{self, made_id};
use tests::waiting::holds_within;

use super::machine::{LIMIT, Machine, NAME, set_up};

/// So many conversations are enough here.
const FEW: usize = 12;
/// The moments at which a restore is killed.
const MOMENTS: u32 = 10;

/// Layer 1's copy of a made conversation.
fn copy_of(machine: &Machine, id: &str) -> Vec<u8> {
    let store = machine.scratch.layer1_store();
    let found = fs::read_dir(&store).expect("read the store").flatten().map(|project| project.path());
    let copy = found.map(|project| project.join(format!("{id}.jsonl"))).find(|copy| copy.exists());
    fs::read(copy.unwrap_or_else(|| panic!("no copy of {id}"))).expect("read a copy")
}

/// A machine with nothing but the key, and a folder in which a script may stand for restic.
fn fresh_with_programs(shelf: &Scratch, place: &Place, machine: &Machine) -> (Machine, PathBuf) {
    let programs = shelf.beside("programs");
    let fresh = Machine::with_programs(place, std::slice::from_ref(&programs));
    fs::copy(machine.key_file(), fresh.key_file()).expect("bring the key along");
    (fresh, programs)
}

#[test]
fn what_went_on_between_two_tries_is_not_written_over() {
    let test = "what_went_on_between_two_tries_is_not_written_over";
    let Some((shelf, place, machine)) = set_up(test, FEW) else { return };
    let (fresh, programs) = fresh_with_programs(&shelf, &place, &machine);
    let (grown, rewritten, missing) = (made_id(2), made_id(3), made_id(4));
    // One conversation cannot be read at first.
    let lost = shelf.beside("lost");
    let script = format!(
        "[ \"$command\" = restore ] || exec \"$REAL\" \"$@\"\n\"$REAL\" \"$@\"\n\
         find {} -name '{missing}*' -exec rm -rf {{}} + && touch {}\nexit 1",
        fresh.state().display(),
        lost.display()
    );
    restic::scripted(&programs, &script);
    let restore = || fresh.offsite(&["restore", &place.url(), "--host", NAME]).output();
    let first = restore().exits(1);
    assert!(lost.exists() && first.text().contains(&missing), "{first:?}");
    // Claude Code goes on with what is back.
    fresh.with_path(fresh.scratch.layer2(&["drain"])).output().ok();
    fresh.scratch.await_no_process(LIMIT);
    fresh.scratch.layer3(&["restore", "--all-missing"]).limit(LIMIT).output().ok();
    let (on_machine, sent) = (copy_of(&fresh, &grown), copy_of(&machine, &rewritten));
    fresh.grow(2, "said on the new machine");
    let transcript = fresh.scratch.transcript(&rewritten);
    transcripts::rewrite(&transcript, transcripts::prompt_line(&rewritten, 1, "begun anew on the new machine"));
    fresh.sweep();
    let went_on = [&grown, &rewritten].map(|id| copy_of(&fresh, id));
    assert!(went_on[0].len() > on_machine.len() && went_on[1] != sent, "both went on");
    restic::scripted(&programs, "exec \"$REAL\" \"$@\"");
    let second = restore().ok();
    assert_eq!([&grown, &rewritten].map(|id| copy_of(&fresh, id)), went_on, "{second:?}");
    assert_eq!(copy_of(&fresh, &missing), copy_of(&machine, &missing));
    let store = fresh.scratch.layer1_store();
    let versions: Vec<_> =
        tests::tree::visible_files(&store).into_iter().filter(|path| path.contains(".gen-")).collect();
    let is_sent = |path: &String| fs::read(store.join(path)).is_ok_and(|bytes| bytes == sent);
    assert!(versions.iter().any(is_sent), "what was sent is a version: {versions:?}");
    fresh.scratch.layer1(&["verify"]).output().ok();
    assert!(!fresh.state().join("restoring.json").exists(), "it is done");
}

#[test]
fn what_comes_back_damaged_is_told_whatever_came_back_with_it() {
    let test = "what_comes_back_damaged_is_told_whatever_came_back_with_it";
    let Some((shelf, place, machine)) = set_up(test, FEW) else { return };
    let (fresh, programs) = fresh_with_programs(&shelf, &place, &machine);
    // Of this one an older content comes back as well.
    let damaged = made_id(1);
    let hit = shelf.beside("hit");
    let script = format!(
        "\"$REAL\" \"$@\" || exit\n[ \"$command\" = restore ] || exit 0\n\
         find {} -name '{damaged}.jsonl' | while read -r file; do printf x >\"$file\" && touch {}; done",
        fresh.state().display(),
        hit.display()
    );
    restic::scripted(&programs, &script);
    let restore = || fresh.offsite(&["restore", &place.url(), "--host", NAME]).output();
    let first = restore().exits(1);
    assert!(hit.exists() && first.text().contains(&format!("{damaged}.jsonl")), "{first:?}");
    restic::scripted(&programs, "exec \"$REAL\" \"$@\"");
    let second = restore().ok();
    fresh.assert_has_all_of(&machine, FEW, &second);
}

#[test]
fn a_name_that_was_given_after_the_last_push_is_sent_and_comes_back() {
    let test = "a_name_that_was_given_after_the_last_push_is_sent_and_comes_back";
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    machine.converse(FEW);
    machine.with_path(machine.scratch.layer2(&["drain"])).output().ok();
    machine.init(NAME);
    machine.push();
    let layer3 = |machine: &Machine, args: &[&str]| machine.with_path(machine.scratch.layer3(args)).output().ok();
    for args in [&["name", "Heron talk"][..], &["note", "kept for later"], &["tag", "birds"]] {
        let id = made_id(1);
        layer3(&machine, &[args[0], &id, args[1]]);
        assert_eq!(machine.status()["dirty"], true, "{args:?} waits to be sent");
        machine.push();
    }
    let fresh = machine.fresh(&place);
    fresh.offsite(&["restore", &place.url(), "--host", NAME]).output().ok();
    fresh.with_path(fresh.scratch.layer2(&["drain"])).output().ok();
    let listed = layer3(&fresh, &["list", "--all", "--tag", "birds", "--json"]).text();
    assert!(listed.contains("Heron talk"), "{listed}");
}

#[test]
fn a_restore_that_is_killed_at_any_moment_is_begun_again() {
    let test = "a_restore_that_is_killed_at_any_moment_is_begun_again";
    let Some((_shelf, place, machine)) = set_up(test, FEW) else { return };
    let restore = |machine: &Machine| machine.offsite(&["restore", &place.url(), "--host", NAME]);
    let begun = Instant::now();
    restore(&machine.fresh(&place)).output().ok();
    let whole = begun.elapsed();
    let fresh = machine.fresh(&place);
    // Whatever came back was noted as begun before; a kill may meet one that had all.
    let is_done = || {
        let has_some = !tests::tree::visible_files(&fresh.scratch.layer1_store()).is_empty();
        has_some && !fresh.state().join("restoring.json").exists()
    };
    let mut killed = 0;
    for moment in (0..MOMENTS).take_while(|_| !is_done()) {
        let mut running = restore(&fresh).spawn();
        if !holds_within(whole * (2 * moment + 1) / (2 * MOMENTS), || running.has_ended()) {
            running.signal(Signal::KILL);
        }
        killed += u32::from(running.wait().signal == Some(9));
        fresh.scratch.await_no_process(LIMIT);
    }
    assert!(killed > 0, "one was killed");
    let restored = restore(&fresh).output();
    assert!(is_done(), "{restored:?}");
    fresh.assert_has_all_of(&machine, FEW, &restored);
    let left = fresh.state().join("returning");
    assert!(!left.exists() || fs::read_dir(left).expect("read a folder").count() == 0, "nothing is left of it");
}
