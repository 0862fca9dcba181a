//! What is damaged or lost at the place: a drill or a check names it, `repair` makes it whole again from the store, and
//! everything comes back.

use std::fs;
use std::path::{Path, PathBuf};

use tests::offsite::place::{Kind, Place};
use tests::offsite::restic::{Repository, flip, largest_pack};
use tests::scratch::Scratch;

use super::machine::{Machine, NAME, SESSIONS};

/// Damages a repository, which lies in this folder.
type Damage = fn(&Repository<'_>, &Path);

/// Two pushes, the damage, what names it, `repair`, and everything is there.
fn check_repaired(test: &str, damage: Damage) {
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    machine.converse(SESSIONS);
    machine.init(NAME);
    machine.grow(2, "since the first push");
    machine.push();
    let repository = machine.repository(&place, NAME);
    damage(&repository, &place.repository(NAME));
    // Without a change and with one: a push alone may see nothing of it, and makes nothing worse.
    machine.offsite(&["push", "--now"]).output();
    let drilled = machine.offsite(&["drill", "--all"]).output();
    let checked = machine.offsite(&["check", "--all"]).output();
    assert!([&drilled, &checked].iter().any(|outcome| outcome.code == Some(1)), "{drilled:?} {checked:?}");
    let kinds = machine.kinds();
    let named = ["drill-failed", "check-failed", "wrong-key", "not-mounted", "offsite-failed"];
    assert!(kinds.iter().any(|kind| named.contains(&kind.as_str())), "{kinds:?} {drilled:?} {checked:?}");
    let repaired = machine.offsite(&["repair"]).output().ok();
    machine.grow(3, "since it was repaired");
    machine.push();
    machine.drill_all();
    machine.offsite(&["check", "--all"]).output().ok();
    assert!(machine.kinds().is_empty(), "{:#} {repaired:?}", machine.status());
    repository.assert_clean();
    machine.assert_comes_back(&place, SESSIONS);
}

/// The newest file of a folder.
fn newest(folder: PathBuf) -> PathBuf {
    let entries = fs::read_dir(&folder).expect("read a folder of the repository").flatten();
    let newest = entries.max_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok());
    newest.unwrap_or_else(|| panic!("nothing in {}", folder.display())).path()
}

#[test]
fn a_pack_is_flipped() {
    check_repaired("a_pack_is_flipped", |repository, folder| flip(&largest_pack(repository, folder, "data")));
}

#[test]
fn a_tree_is_flipped() {
    check_repaired("a_tree_is_flipped", |repository, folder| flip(&largest_pack(repository, folder, "tree")));
}

#[test]
fn an_index_is_flipped() {
    check_repaired("an_index_is_flipped", |_, folder| flip(&newest(folder.join("index"))));
}

#[test]
fn an_index_is_lost() {
    check_repaired("an_index_is_lost", |_, folder| {
        fs::remove_file(newest(folder.join("index"))).expect("lose an index")
    });
}
