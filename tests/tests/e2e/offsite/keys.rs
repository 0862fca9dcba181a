//! The key: on the sheet, confirmed by who has the sheet, typed on a new machine, and enough without Threefold.

use std::fs;

use tests::binaries::LAYER2;
use tests::offsite::place::{Kind, Place};
use tests::offsite::restic::Repository;
use tests::run::Run;
use tests::scratch::Scratch;
use tests::terminal::Terminal;
use tests::waiting::await_until;

use super::kills::Kills;
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
        assert!(!refused.text().contains("destroy it"), "{refused:?}");
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
    assert!(done.text().contains("destroy it") && machine.key() == new && !opens(&before), "{done:?}");
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

/// The 24 words of a sheet.
#[track_caller]
pub(crate) fn words_of(sheet: &str) -> String {
    let all: Vec<&str> = sheet.split_whitespace().collect();
    let numbers: Vec<String> = (1..=24).map(|number: u32| number.to_string()).collect();
    let is_table = |rows: &&[&str]| rows.iter().step_by(2).eq(numbers.iter());
    let table = all.windows(2 * numbers.len()).find(is_table).unwrap_or_else(|| panic!("no words on {sheet}"));
    table.iter().skip(1).step_by(2).copied().collect::<Vec<_>>().join(" ")
}

/// What of these repositories the words open.
fn opened_by(shelf: &Scratch, place: &Place, words: &str) -> Vec<String> {
    let names = ["_machines", NAME, "desktop", "server"].into_iter();
    let is_open = |name: &&str| opens(&Repository::new(shelf, place, name, words));
    names.filter(is_open).map(str::to_owned).collect()
}

#[test]
fn a_further_key_opens_everything_until_it_is_taken_away() {
    let test = "a_further_key_opens_everything_until_it_is_taken_away";
    let Some((shelf, place, machine)) = set_up(test, FEW) else { return };
    let joins = |name: &str| {
        let other = Machine::new(&place);
        other.converse(1);
        let words = format!("{}\n", machine.key());
        other.offsite(&["join", &place.url(), "--name", name]).stdin(words).output().ok();
        other
    };
    let desktop = joins("desktop");
    let list = || machine.offsite(&["key", "list"]).output().ok().text();
    let before = list();
    let sheet = machine.offsite(&["key", "add", "safe"]).output().ok().text();
    let words = words_of(&sheet);
    assert!(sheet.contains("key safe") && words != machine.key(), "{sheet}");
    assert_eq!(opened_by(&shelf, &place, &words), ["_machines", NAME, "desktop"]);
    assert_eq!(opened_by(&shelf, &place, &machine.key()), ["_machines", NAME, "desktop"], "the other one too");
    // Nothing of it stays on this computer.
    let part = words.split(' ').take(3).collect::<Vec<_>>().join(" ");
    for folder in [machine.config(), machine.scratch.layer1_store()] {
        for path in tests::tree::all(&folder).keys() {
            let bytes = fs::read(folder.join(path)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&bytes).contains(&part), "{}", path.display());
        }
    }
    let listed = list();
    assert!(listed.starts_with(&before) && listed.contains("safe: added") && !listed.contains("not "), "{listed}");
    let fresh = Machine::new(&place);
    let typed = format!("{words}\n");
    let restored = fresh.offsite(&["restore", &place.url(), "--host", NAME]).stdin(&*typed).output().ok();
    fresh.assert_has_all_of(&machine, FEW, &restored);
    // A computer that comes later does not know it, until its words are typed.
    let server = joins("server");
    assert!(list().contains("opens desktop, laptop; not server"), "{}", list());
    let refused = machine.offsite(&["key", "add", "safe"]).output().exits(1);
    assert!(refused.stderr.contains("key add safe --words") && refused.text().is_empty(), "{refused:?}");
    let own = format!("{}\n", machine.key());
    machine.offsite(&["key", "add", "other", "--words"]).stdin(own).output().exits(1);
    machine.offsite(&["key", "add", "safe", "--words"]).stdin(&*typed).output().ok();
    assert_eq!(opened_by(&shelf, &place, &words), ["_machines", NAME, "desktop", "server"]);
    assert!(!list().contains("not "), "{}", list());
    let keys = machine.offsite(&["key", "list", "--json"]).output().ok().text();
    let keys: Vec<serde_json::Value> = keys.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(keys.len() == 2 && keys[0]["this_computer"] == true && keys[1]["name"] == "safe", "{keys:#?}");
    // Any computer of the place takes it away; that of the computer itself stays.
    let id = keys[0]["id"].as_str().expect("an id");
    for wrong in ["nothing", "../../x", &id[..12]] {
        machine.offsite(&["key", "remove", wrong, "--yes"]).output().exits(1);
    }
    desktop.offsite(&["key", "remove", "safe"]).stdin("no\n").output().exits(1);
    assert_eq!(opened_by(&shelf, &place, &words).len(), 4);
    desktop.offsite(&["key", "remove", "safe", "--yes"]).output().ok();
    assert!(opened_by(&shelf, &place, &words).is_empty() && !list().contains("safe"), "{}", list());
    // A new key for all takes those away that were added, and says so.
    let partner = words_of(&machine.offsite(&["key", "add", "partner"]).output().ok().text());
    let changed = machine.offsite(&["key", "change"]).output().ok().text();
    assert!(changed.contains("The key partner opens nothing any more either"), "{changed}");
    assert!(opened_by(&shelf, &place, &partner).is_empty());
    for other in [desktop, server] {
        fs::copy(machine.key_file(), other.key_file()).expect("put the new words there");
        other.push();
    }
    machine.push();
    assert!(machine.kinds().is_empty(), "{:#}", machine.status());
}

/// Whatever it was cut off at, the same command goes on with the same words, and no repository has the key twice.
#[test]
fn a_further_key_is_cut_off_at_any_call() {
    let test = "a_further_key_is_cut_off_at_any_call";
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let programs = shelf.beside("programs");
    let machine = Machine::with_programs(&place, std::slice::from_ref(&programs));
    machine.converse(FEW);
    machine.init(NAME);
    let kills = Kills::new(&machine, &programs);
    let calls = kills.calls_of(&["key", "add", "safe"]);
    machine.offsite(&["key", "remove", "safe", "--yes"]).output().ok();
    for (moment, who) in ["before", "behind", "restic", "before", "behind"].iter().enumerate() {
        let at = 1 + (moment as u32 * 2 + 1) * calls / 10;
        kills.kill(&["key", "add", "safe"], who, at);
        let begun = machine.config().join("offsite.key.safe.new");
        let words = fs::read_to_string(&begun).map(|words| words.trim().to_owned()).ok();
        let sheet = match (words.is_some(), machine.offsite(&["key", "add", "safe"]).output()) {
            // It was done but for saying so.
            (false, again) if again.code == Some(1) => {
                machine.offsite(&["key", "remove", "safe", "--yes"]).output().ok();
                continue;
            }
            (_, again) => again.ok().text(),
        };
        let shown = words_of(&sheet);
        assert!(words.is_none_or(|words| words == shown) && !begun.exists(), "{who} at {at}");
        assert_eq!(opened_by(&shelf, &place, &shown), ["_machines", NAME], "{who} at {at}");
        for name in ["_machines", NAME] {
            let keys = fs::read_dir(place.repository(name).join("keys")).expect("read the keys").count();
            assert_eq!(keys, 2, "{who} at {at} of {calls}: {name}");
        }
        machine.offsite(&["key", "remove", "safe", "--yes"]).output().ok();
        assert!(opened_by(&shelf, &place, &shown).is_empty(), "{who} at {at}");
    }
    machine.grow(1, "after all of it");
    machine.push();
    assert!(machine.kinds().is_empty(), "{:#}", machine.status());
    machine.repository(&place, NAME).assert_clean();
}
