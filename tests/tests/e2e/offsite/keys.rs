//! The key: on the sheet, confirmed by who has the sheet, typed on a new machine, and enough without Threefold.

use std::fs;

use tests::binaries::LAYER2;
use tests::offsite::place::{Kind, Place};
use tests::offsite::restic::Repository;
use tests::run::Run;
use tests::scratch::Scratch;
use tests::terminal::Terminal;
use tests::waiting::await_until;

use super::machine::{LIMIT, Machine, NAME, set_up};

const FEW: usize = 6;

/// Answers the `nth` question for a word.
#[track_caller]
fn answer(terminal: &mut Terminal, nth: usize, of: impl Fn(usize) -> String) {
    let mut number = None;
    await_until("a question for a word", LIMIT, || {
        let seen = terminal.seen_by_now();
        let question = seen.split("Word ").nth(nth).and_then(|text| text.split_once(": "));
        number = question.and_then(|(number, _)| number.parse().ok());
        number.is_some()
    });
    terminal.type_in(&format!("{}\n", of(number.expect("it was asked"))));
}

#[test]
fn a_sheet_is_confirmed_by_two_of_its_words() {
    let Some((_shelf, _place, machine)) = set_up("a_sheet_is_confirmed_by_two_of_its_words", FEW) else { return };
    let is_unconfirmed = || {
        let status = machine.status();
        assert_eq!(status["key_confirmed"] == true, machine.has("key-unconfirmed").is_none());
        machine.has("key-unconfirmed")
    };
    let found = is_unconfirmed().expect("nobody has confirmed the sheet");
    assert!(found["needs_person"] == false && found["fix"].as_str().unwrap().contains("key confirm"), "{found:#}");
    let key = machine.key();
    let words: Vec<&str> = key.split(' ').collect();
    let mut wrong = machine.offsite(&["key", "confirm"]).at_terminal();
    answer(&mut wrong, 1, |_| "nonsense".to_owned());
    let (code, said) = wrong.end();
    assert!(code == Some(1) && is_unconfirmed().is_some(), "{said}");
    assert!(!words.windows(2).any(|two| said.contains(&two.join(" "))), "it tells no words: {said}");
    let mut right = machine.offsite(&["key", "confirm"]).at_terminal();
    answer(&mut right, 1, |number| words[number - 1].to_owned());
    answer(&mut right, 2, |number| words[number - 1].to_owned());
    let (code, said) = right.end();
    assert!(code == Some(0) && is_unconfirmed().is_none(), "{said}");
    machine.assert_on_sheet(&machine.offsite(&["key", "show"]).output().ok().text());
}

fn opens(repository: &Repository<'_>) -> bool {
    repository.run(&["cat", "config", "--no-lock"]).output().code == Some(0)
}

#[test]
fn a_changed_key_is_on_a_sheet_before_the_old_one_is_taken_away() {
    let test = "a_changed_key_is_on_a_sheet_before_the_old_one_is_taken_away";
    let Some((_shelf, place, machine)) = set_up(test, FEW) else { return };
    let (old, before) = (machine.key(), machine.repository(&place, NAME));
    // Nobody could read the sheet.
    let unseen = "exec \"$0\" offsite key change > /dev/full";
    let unseen = Run::new("/bin/sh").args(["-c", unseen]).arg(machine.scratch.program(LAYER2));
    let unseen = machine.with_path(machine.scratch.at_home(unseen)).output().exits(1);
    assert!(unseen.stderr.contains("write to stdout"), "{unseen:?}");
    let new = machine.key();
    assert!(new != old && opens(&before) && opens(&machine.repository(&place, NAME)), "both are valid");
    let done = machine.offsite(&["key", "change"]).output().ok();
    machine.assert_on_sheet(&done.text());
    assert!(machine.key() == new && !opens(&before), "it went on with the same one: {done:?}");
}

/// Both keys are valid as long as the old one could not be taken away; each time the same sheet is shown.
#[test]
fn an_old_key_that_a_server_keeps_is_told_with_what_to_do_there() {
    let test = "an_old_key_that_a_server_keeps_is_told_with_what_to_do_there";
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, Kind::RestAppendOnly, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    machine.converse(FEW);
    machine.init(NAME);
    let before = machine.repository(&place, NAME);
    machine.offsite(&["key", "change"]).output().exits(1);
    let new = machine.key();
    for _ in 0..2 {
        let refused = machine.offsite(&["key", "change"]).output().exits(1);
        assert_eq!(machine.key(), new);
        machine.assert_on_sheet(&refused.text());
        for said in
            ["the old key could not be taken away and opens the place too", "403", "/laptop: its file there is keys/"]
        {
            assert!(refused.stderr.contains(said), "{said}: {refused:?}");
        }
        assert!(!refused.text().contains("destroy"), "{refused:?}");
        assert!(opens(&before) && opens(&machine.repository(&place, NAME)));
        assert!(machine.has("key-unconfirmed").is_some() && machine.kinds().is_empty(), "{:#}", machine.status());
    }
    machine.grow(1, "with the new key");
    machine.push();
    // Its owner deletes what was named.
    let named = machine.offsite(&["key", "change"]).output().exits(1).stderr;
    let named: Vec<_> = named.lines().filter_map(|line| line.split_once(": its file there is ")).collect();
    assert_eq!(named.len(), 2, "{named:?}");
    for (told, file) in named {
        let name = told.rsplit('/').next().expect("a repository");
        fs::remove_file(place.repository(name).join(file)).expect("delete a key file");
    }
    let done = machine.offsite(&["key", "change"]).output().ok();
    machine.assert_on_sheet(&done.text());
    assert!(done.text().contains("destroy") && machine.key() == new && !opens(&before), "{done:?}");
    assert!(!machine.key_file().with_extension("key.new").exists());
    machine.assert_comes_back(&place, FEW);
}

#[test]
fn the_words_alone_bring_everything_back() {
    let Some((_shelf, place, machine)) = set_up("the_words_alone_bring_everything_back", FEW) else { return };
    let fresh = Machine::new(&place);
    let args = ["restore", &place.url(), "--host", NAME];
    let wrong = machine.key().split(' ').rev().collect::<Vec<_>>().join(" ");
    let refused = fresh.offsite(&args).stdin(format!("{wrong}\n")).output().exits(1);
    assert!(!fresh.key_file().exists(), "a key that opens nothing is not kept: {refused:?}");
    let restored = fresh.offsite(&args).stdin(format!("{}\n", machine.key())).output().ok();
    fresh.assert_has_all_of(&machine, FEW, &restored);
    assert_eq!(fresh.key(), machine.key());
}

#[test]
fn restic_and_the_words_are_enough() {
    let Some((shelf, place, machine)) = set_up("restic_and_the_words_are_enough", FEW) else { return };
    let target = shelf.beside("by hand");
    let repository = machine.repository(&place, NAME);
    repository.ok(&["restore", "latest", "--target", &target.display().to_string()]);
    let sums = fs::read_to_string(target.join(".state/offsite/seal.b3")).expect("the sums came back");
    assert!(sums.lines().count() >= FEW, "{sums}");
    for line in sums.lines() {
        let (sum, path) = line.split_once("  ").expect("a sum and a path");
        let bytes = fs::read(target.join(path)).expect("a sealed file came back");
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), sum, "{path}");
    }
}

#[test]
fn a_place_never_gets_a_second_key() {
    let Some((_shelf, place, machine)) = set_up("a_place_never_gets_a_second_key", FEW) else { return };
    let other = Machine::new(&place);
    other.converse(1);
    let refused = other.offsite(&["init", &place.url(), "--name", "desktop"]).output().exits(1);
    assert!(refused.stderr.contains("key"), "{refused:?}");
    assert!(!place.repository("desktop").exists() && !other.key_file().exists(), "nothing is made");
    machine.push();
}
