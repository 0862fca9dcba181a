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
    // A push alone may see nothing of it, and makes nothing worse; where the newest snapshot is not there, it sends all
    // of it again, and that is all there is to be mended.
    let pushed = machine.offsite(&["push", "--now"]).output();
    let is_sent_again = pushed.code == Some(0) && pushed.text().contains("arrived and were read back");
    let drilled = machine.offsite(&["drill", "--all"]).output();
    let checked = machine.offsite(&["check", "--all"]).output();
    let is_told = [&drilled, &checked].iter().any(|outcome| outcome.code == Some(1));
    assert!(is_told != is_sent_again, "{pushed:?} {drilled:?} {checked:?}");
    let kinds = machine.kinds();
    let named = ["drill-failed", "check-failed", "wrong-key", "not-mounted", "offsite-failed"];
    let is_named = kinds.iter().any(|kind| named.contains(&kind.as_str()));
    assert!(is_named != is_sent_again, "{kinds:?} {drilled:?} {checked:?}");
    let repaired = machine.offsite(&["repair"]).output().ok();
    // The newest snapshot is whole; what only older ones had is dropped by command alone.
    if let Some(found) = machine.has("snapshots-broken") {
        assert!(found["needs_person"] == false && found["fix"].to_string().contains("--drop-broken"), "{found:#}");
        machine.drill_all();
        machine.offsite(&["repair", "--drop-broken", "--yes"]).output().ok();
    }
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
fn a_pack_is_lost() {
    check_repaired("a_pack_is_lost", |repository, folder| {
        fs::remove_file(largest_pack(repository, folder, "data")).expect("lose a pack");
    });
}

#[test]
fn a_pack_is_flipped() {
    check_repaired("a_pack_is_flipped", |repository, folder| flip(&largest_pack(repository, folder, "data")));
}

#[test]
fn a_tree_is_lost() {
    check_repaired("a_tree_is_lost", |repository, folder| {
        fs::remove_file(largest_pack(repository, folder, "tree")).expect("lose a tree");
    });
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

#[test]
fn a_snapshot_is_flipped() {
    check_repaired("a_snapshot_is_flipped", |_, folder| flip(&newest(folder.join("snapshots"))));
}

#[test]
fn a_snapshot_is_lost() {
    check_repaired("a_snapshot_is_lost", |_, folder| {
        fs::remove_file(newest(folder.join("snapshots"))).expect("lose a snapshot");
    });
}

#[test]
fn the_configuration_is_flipped() {
    check_repaired("the_configuration_is_flipped", |_, folder| flip(&folder.join("config")));
}

/// Where the place is no folder of this machine, a person is told what to put where.
#[test]
fn key_files_that_a_server_lost_are_put_back_by_hand() {
    let test = "key_files_that_a_server_lost_are_put_back_by_hand";
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, Kind::Rest, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    machine.converse(6);
    machine.init(NAME);
    let keys = place.repository(NAME).join("keys");
    let files = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("read a folder of keys").flatten();
        entries.map(|entry| (entry.file_name(), fs::read(entry.path()).expect("read a key"))).collect::<Vec<_>>()
    };
    let before = files(&keys);
    for (name, _) in &before {
        fs::remove_file(keys.join(name)).expect("lose a key file");
    }
    let told = machine.offsite(&["repair"]).output().exits(1);
    let copies = machine.state().join("keys/keys");
    assert!(told.stderr.contains(&copies.display().to_string()) && told.stderr.contains("laptop/keys"), "{told:?}");
    assert_eq!(files(&copies), before, "the copies are what lay there");
    for (name, bytes) in files(&copies) {
        fs::write(keys.join(name), bytes).expect("put a key file back");
    }
    machine.offsite(&["repair"]).output().ok();
    assert!(machine.kinds().is_empty(), "{:#}", machine.status());
    machine.assert_comes_back(&place, 6);
}

#[test]
fn a_key_that_was_taken_away_is_not_put_back() {
    let shelf = Scratch::new();
    let test = "a_key_that_was_taken_away_is_not_put_back";
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    machine.converse(6);
    machine.init(NAME);
    let taken_away = machine.repository(&place, NAME);
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("read a folder of keys").flatten();
        entries.map(|entry| entry.file_name()).collect::<Vec<_>>()
    };
    let (copies, keys) = (machine.state().join("keys/keys"), place.repository(NAME).join("keys"));
    let old = names(&copies).pop().expect("a copy");
    let bytes = fs::read(copies.join(&old)).expect("read the copy");
    machine.offsite(&["key", "change"]).output().ok();
    let new = names(&keys);
    for lose in [false, true] {
        fs::write(copies.join(&old), &bytes).expect("keep the copy of the old key");
        if lose {
            new.iter().for_each(|name| fs::remove_file(keys.join(name)).expect("lose a key file"));
        }
        machine.offsite(&["repair"]).output().ok();
        assert_eq!(names(&keys), new, "the key files of the new key alone, though lost: {lose}");
        taken_away.run(&["snapshots", "--no-lock"]).output().exits(12);
        assert_eq!(names(&copies), new, "the copies are of what opens it");
    }
    machine.drill_all();
}

#[test]
fn the_key_files_are_lost() {
    check_repaired("the_key_files_are_lost", |_, folder| {
        for key in fs::read_dir(folder.join("keys")).expect("read the keys").flatten() {
            fs::remove_file(key.path()).expect("lose a key file");
        }
    });
}

#[test]
fn a_key_file_is_flipped() {
    check_repaired("a_key_file_is_flipped", |_, folder| flip(&newest(folder.join("keys"))));
}

/// Its own key opens the place still; on the day on which the other one is needed it would not.
#[test]
fn a_further_keys_file_is_flipped() {
    let shelf = Scratch::new();
    let Some(place) = Place::open("a_further_keys_file_is_flipped", Kind::Local, &shelf.beside("place")) else {
        return;
    };
    let machine = Machine::new(&place);
    machine.converse(2);
    machine.init(NAME);
    let keys = place.repository(NAME).join("keys");
    let own = newest(keys.clone());
    machine.offsite(&["key", "add", "safe"]).output().ok();
    let all = fs::read_dir(&keys).expect("read the keys").flatten().map(|entry| entry.path());
    let added = all.into_iter().find(|path| *path != own).expect("another key");
    machine.offsite(&["check", "--all"]).output().ok();
    flip(&added);
    let checked = machine.offsite(&["check", "--all"]).output().exits(1);
    let name = added.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(checked.text().contains(&name[..8]) || checked.stderr.contains(&name[..8]), "{checked:?}");
    assert!(!machine.kinds().is_empty(), "{:#}", machine.status());
}

#[test]
fn the_configuration_is_lost() {
    check_repaired("the_configuration_is_lost", |_, folder| {
        fs::remove_file(folder.join("config")).expect("lose the configuration");
    });
}

#[test]
fn everything_is_lost_at_the_place() {
    check_repaired("everything_is_lost_at_the_place", |_, folder| {
        for part in fs::read_dir(folder.join("data")).expect("read the packs").flatten() {
            for pack in fs::read_dir(part.path()).expect("read the packs").flatten() {
                fs::remove_file(pack.path()).expect("lose a pack");
            }
        }
    });
}
