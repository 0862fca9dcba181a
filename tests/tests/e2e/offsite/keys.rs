//! The key: on the sheet, confirmed by who has the sheet, typed on a new machine, and enough without Threefold.

use std::fs;

use tests::offsite::place::{Kind, Place};
use tests::scratch::Scratch;
use tests::terminal::Terminal;
use tests::waiting::await_until;

use super::machine::{LIMIT, Machine, NAME};

const FEW: usize = 6;

fn set_up(test: &str) -> Option<(Scratch, Place, Machine)> {
    let shelf = Scratch::new();
    let place = Place::open(test, Kind::Local, &shelf.beside("place"))?;
    let machine = Machine::new(&place);
    machine.converse(FEW);
    machine.init(NAME);
    Some((shelf, place, machine))
}

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
    let Some((_shelf, _place, machine)) = set_up("a_sheet_is_confirmed_by_two_of_its_words") else { return };
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

#[test]
fn the_words_alone_bring_everything_back() {
    let Some((_shelf, place, machine)) = set_up("the_words_alone_bring_everything_back") else { return };
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
    let Some((shelf, place, machine)) = set_up("restic_and_the_words_are_enough") else { return };
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
    let Some((_shelf, place, machine)) = set_up("a_place_never_gets_a_second_key") else { return };
    let other = Machine::new(&place);
    other.converse(1);
    let refused = other.offsite(&["init", &place.url(), "--name", "desktop"]).output().exits(1);
    assert!(refused.stderr.contains("key"), "{refused:?}");
    assert!(!place.repository("desktop").exists() && !other.key_file().exists(), "nothing is made");
    machine.push();
}
