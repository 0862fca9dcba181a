//! A second place: sent to as the first one is, with a key, a state and findings of its own. Its disk may be away.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tests::offsite::place::{Kind, Place};
use tests::offsite::restic::{Repository, largest_pack};
use tests::scratch::Scratch;

use super::machine::{LIMIT, Machine, NAME, set_up};
use crate::product::text;

const FEW: usize = 6;
/// Another computer.
const READER: &str = "desktop";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// What a person writes into the settings' file.
const SETTINGS: &str = "[offsite.usb]\noffsite_every = \"1s\"\n";

/// A machine that sends to a place and to a disk.
struct Scene {
    machine: Machine,
    place: Place,
    disk: Place,
    shelf: Scratch,
}

impl Scene {
    fn new(test: &str) -> Option<Scene> {
        let shelf = Scratch::new();
        let place = Place::open(test, Kind::Local, &shelf.beside("place"))?;
        let disk = Place::open(test, Kind::Local, &shelf.beside("disk"))?;
        let machine = Machine::new(&place);
        machine.configure(&place, SETTINGS);
        machine.converse(FEW);
        machine.init(NAME);
        machine.offsite(&["init", &disk.url(), "--name", NAME, "--place", "usb"]).output().ok();
        Some(Scene { machine, place, disk, shelf })
    }

    fn key_file(&self) -> PathBuf {
        self.machine.config().join("offsite-usb.key")
    }

    fn key(&self) -> String {
        fs::read_to_string(self.key_file()).expect("read the key").trim().to_owned()
    }

    fn on_disk(&self) -> Repository<'_> {
        Repository::new(&self.shelf, &self.disk, NAME, &self.key())
    }

    fn state(&self) -> PathBuf {
        self.machine.state().join("places/usb/state.json")
    }

    #[track_caller]
    fn status(&self) -> Value {
        self.machine.offsite(&["status", "--json", "--place", "usb"]).output().json()
    }

    #[track_caller]
    fn found(&self) -> Vec<Value> {
        let status = self.status();
        let told = status["findings"].as_array().expect("a list of findings").iter();
        let is_of_all = |kind: &Value| kind == "key-unconfirmed" || kind == "offsite-one-disk";
        told.filter(|found| !is_of_all(&found["kind"])).cloned().collect()
    }

    #[track_caller]
    fn kinds(&self) -> Vec<String> {
        self.found().iter().map(|found| text(found, "kind")).collect()
    }

    /// Both have all, and nothing is found of either.
    #[track_caller]
    fn are_well(&self) {
        self.machine.offsite(&["push", "--now"]).output().ok();
        for status in [self.machine.status(), self.status()] {
            assert!(status["dirty"] == false && status["push"]["sessions"] == FEW, "{status:#}");
        }
        assert!(self.machine.kinds().is_empty() && self.kinds().is_empty(), "{:#}", self.status());
    }
}

#[test]
fn a_second_place_has_a_key_a_receipt_and_commands_of_its_own() {
    let Some(scene) = Scene::new("a_second_place_has_a_key_a_receipt_and_commands_of_its_own") else { return };
    let machine = &scene.machine;
    assert!(machine.key() != scene.key(), "each has a key of its own");
    machine.grow(1, "for both");
    let pushed = machine.offsite(&["push", "--now"]).output().ok().text();
    assert_eq!(pushed.matches("arrived and were read back").count(), 2, "{pushed}");
    assert!(pushed.contains("\nusb: "), "{pushed}");
    scene.are_well();
    let status = machine.status();
    assert!(status["called"].is_null() && status["places"][0]["called"] == "usb", "{status:#}");
    assert!(status["push"]["snapshot"] != status["places"][0]["push"]["snapshot"], "{status:#}");
    let told = machine.offsite(&["status"]).output().ok().text();
    assert!(
        told.contains(&scene.place.url()) && told.contains(&format!("usb: {NAME} → {}", scene.disk.url())),
        "{told}"
    );
    let told = machine.with_path(machine.scratch.layer3(&["status"])).output().text();
    assert_eq!(told.matches("off-site").count(), 2, "{told}");
    for command in [
        &["drill", "--all"][..],
        &["check"],
        &["thin", "--dry-run"],
        &["forget", "--dry-run"],
        &["machines"],
        &["pull"],
        &["repair"],
        &["key", "show"],
        &["key", "list"],
        &["key", "add", "safe"],
        &["key", "rotate"],
        &["key", "rotate", "--drop-old", "--yes"],
        &["key", "change"],
    ] {
        machine.offsite(command).args(["--place", "usb"]).output().ok();
    }
    // None of it was done at the other one.
    let keys = fs::read_dir(scene.place.repository(NAME).join("keys")).expect("read the keys").count();
    assert!(keys == 1 && machine.status()["drill"].is_null(), "{:#}", machine.status());
    assert_eq!((scene.status()["in"].as_str(), machine.status()["in"].as_str()), (Some("laptop.2"), Some(NAME)));
    machine.grow(1, "for both again");
    scene.are_well();
    // What is known of a place is sent to none.
    let listed = machine.repository(&scene.place, NAME).ok(&["ls", "--no-lock", "latest"]).text();
    assert!(!listed.contains("/.state/offsite/places") && listed.contains("/.state/offsite/seal.json"), "{listed}");
    // A new computer is filled from the disk alone.
    let fresh = Machine::new(&scene.disk);
    let words = format!("{}\n", scene.key());
    let args = ["restore", &scene.disk.url(), "--host", NAME, "--place", "usb"];
    let restored = fresh.offsite(&args).stdin(words).output().ok();
    assert!(fresh.config().join("offsite-usb.key").exists() && !fresh.key_file().exists(), "{restored:?}");
    fresh.assert_has_all_of(machine, FEW, &restored);
    // What another computer has sent is asked for where it can be had.
    let away = scene.shelf.beside("away");
    fs::rename(scene.place.kept(), &away).expect("take the first place away");
    let listed = machine.offsite(&["list", NAME]).output().ok().text();
    assert!(listed.contains("session_id"), "{listed}");
    fs::rename(&away, scene.place.kept()).expect("bring it back");
    let unknown = machine.offsite(&["push", "--place", "ubs"]).output().exits(1);
    assert!(unknown.stderr.contains("init PLACE --name NAME --place ubs"), "{unknown:?}");
}

#[test]
fn a_disk_that_is_away_waits_and_is_told_when_it_is_missed() {
    let Some(scene) = Scene::new("a_disk_that_is_away_waits_and_is_told_when_it_is_missed") else { return };
    let machine = &scene.machine;
    scene.are_well();
    let (kept, away) = (scene.disk.kept(), scene.shelf.beside("in the drawer"));
    fs::rename(&kept, &away).expect("take the disk away");
    machine.grow(1, "while the disk is in the drawer");
    let pushed = machine.offsite(&["push", "--now"]).output().ok();
    assert!(pushed.text().contains("usb: its disk is not connected"), "{pushed:?}");
    assert!(machine.status()["dirty"] == false && scene.status()["waiting"] == 1, "{:#}", scene.status());
    // Nobody has to do anything yet, and a session's start logs no failure.
    assert!(scene.kinds().is_empty(), "{:#}", scene.status());
    let told = machine.offsite(&["status"]).output().ok().text();
    assert!(told.contains("1 conversation waits, its disk is not connected"), "{told}");
    machine.with_path(machine.scratch.layer2(&["drain"])).output().ok();
    machine.scratch.await_no_process(LIMIT);
    assert!(scene.status()["last_try"]["ok"] == true && !machine.scratch.log(2).contains("❌"), "{:#}", scene.status());
    let asked = machine.offsite(&["push", "--place", "usb"]).output().exits(1);
    assert!(asked.stderr.contains("is its disk connected"), "{asked:?}");
    // Days cannot be waited for: what was noted of them is made older.
    let aged = |days: u64| {
        let mut state: Value = serde_json::from_slice(&fs::read(scene.state()).expect("read the state")).expect("JSON");
        let since = state["set_up_ms"].as_u64().expect("a time") - days * DAY_MS;
        state["dirty_since_ms"] = json!(since);
        fs::write(scene.state(), state.to_string()).expect("write the state");
    };
    aged(13);
    assert!(scene.kinds().is_empty(), "{:#}", scene.status());
    aged(15);
    assert_eq!(scene.kinds(), ["offsite-behind"]);
    let found = &scene.found()[0];
    assert!(found["needs_person"] == true && text(found, "what").starts_with("usb: nothing arrived"), "{found:#}");
    assert!(text(found, "fix").ends_with("offsite push --now --place usb"), "{found:#}");
    assert!(machine.kinds().is_empty(), "it says nothing of the first place");
    machine.offsite(&["status"]).output().exits(1);
    let told = machine.with_path(machine.scratch.layer3(&["status", "--json"])).output().exits(1).json();
    let told = told["findings"].as_array().expect("a list of findings");
    let of_disk =
        told.iter().filter(|found| found["kind"] == "offsite-behind" && found["where"] == scene.disk.url().as_str());
    assert_eq!(of_disk.count(), 1, "{told:#?}");
    // The limit is one's own.
    machine.configure(&scene.place, &format!("{SETTINGS}offsite_max_age = \"30d\"\n"));
    machine.offsite(&["push", "--now"]).output().ok();
    assert!(scene.kinds().is_empty(), "{:#}", scene.status());
    fs::rename(&away, &kept).expect("connect the disk");
    // It is sent to as soon as it is there.
    machine.with_path(machine.scratch.layer2(&["drain", "--timer"])).output().ok();
    assert_eq!(scene.status()["dirty"], false, "{:#}", scene.status());
    scene.are_well();
    // One that is there, and has nothing of it, is told at once.
    fs::rename(&kept, &away).expect("take the disk away");
    fs::create_dir(&kept).expect("make another one");
    machine.grow(1, "while another disk is there");
    machine.offsite(&["push", "--now"]).output().exits(1);
    assert!(scene.kinds() == ["not-mounted"] && machine.kinds().is_empty(), "{:#}", scene.status());
    assert_eq!(fs::read_dir(&kept).expect("read it").count(), 0, "nothing is made there");
    fs::remove_dir(&kept).expect("take it away");
    fs::rename(&away, &kept).expect("connect the disk");
    scene.are_well();
}

#[test]
fn what_is_found_of_one_place_is_neither_cleared_nor_hidden_by_the_other() {
    let test = "what_is_found_of_one_place_is_neither_cleared_nor_hidden_by_the_other";
    let Some(scene) = Scene::new(test) else { return };
    let machine = &scene.machine;
    scene.are_well();
    let pack = largest_pack(&scene.on_disk(), &scene.disk.repository(NAME), "data");
    fs::remove_file(pack).expect("lose a pack of the disk");
    machine.offsite(&["drill", "--all", "--place", "usb"]).output().exits(1);
    assert_eq!(scene.kinds(), ["drill-failed"]);
    let fix = text(&scene.found()[0], "fix");
    assert!(fix.ends_with("offsite repair --place usb"), "{fix}");
    // All is well at the other one.
    machine.drill_all();
    machine.offsite(&["check", "--all"]).output().ok();
    machine.offsite(&["repair"]).output().ok();
    assert_eq!((scene.kinds(), machine.kinds()), (vec!["drill-failed".to_owned()], Vec::new()));
    // And what keeps one from being sent to keeps nothing from the other.
    let key = fs::read(machine.key_file()).expect("read the key");
    fs::remove_file(machine.key_file()).expect("lose the key of the first place");
    machine.grow(1, "while the key is lost");
    let failed = machine.offsite(&["push", "--now"]).output().exits(1);
    assert!(failed.stderr.contains("key-missing") && failed.text().contains("usb: "), "{failed:?}");
    assert_eq!(machine.kinds(), ["key-missing"]);
    assert!(scene.status()["dirty"] == false && machine.status()["dirty"] == true, "{:#}", scene.status());
    assert_eq!(scene.kinds(), ["drill-failed"]);
    machine.offsite(&["repair", "--drop-broken", "--yes", "--place", "usb"]).output().ok();
    assert_eq!((scene.kinds(), machine.kinds()), (Vec::new(), vec!["key-missing".to_owned()]));
    fs::write(machine.key_file(), key).expect("find the key");
    fs::set_permissions(machine.key_file(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    scene.are_well();
    scene.on_disk().assert_clean();
    // A key that both had would be changed at one of them alone.
    let shared = format!("{SETTINGS}offsite_key_file = \"{}\"\n", machine.key_file().display());
    machine.configure(&scene.place, &shared);
    let refused = machine.offsite(&["key", "change"]).output().exits(1);
    assert!(refused.stderr.contains("the key of another place too"), "{refused:?}");
}

/// Another computer, which has both places too.
fn reader_of([place, disk]: [&Place; 2], [key, disk_key]: [PathBuf; 2]) -> Machine {
    let reader = Machine::new(place);
    reader.configure(place, SETTINGS);
    reader.converse(1);
    for (key, name) in [(key, "offsite.key"), (disk_key, "offsite-usb.key")] {
        fs::copy(key, reader.config().join(name)).expect("bring the key along");
    }
    reader.init(READER);
    reader.offsite(&["init", &disk.url(), "--name", READER, "--place", "usb"]).output().ok();
    reader
}

/// How often a word is found in what was pulled.
#[track_caller]
fn hits(reader: &Machine, word: &str) -> usize {
    let search = ["search", word, "--all-hosts", "--json"];
    let found = reader.with_path(reader.scratch.layer3(&search)).output().ok().json();
    found["hits"].as_array().expect("hits").len()
}

#[test]
fn what_two_places_have_of_one_machine_is_here_once_and_as_new_as_the_newer_of_them() {
    let test = "what_two_places_have_of_one_machine_is_here_once_and_as_new_as_the_newer_of_them";
    let Some(scene) = Scene::new(test) else { return };
    let (machine, reader) =
        (&scene.machine, reader_of([&scene.place, &scene.disk], [scene.machine.key_file(), scene.key_file()]));
    let [place, disk] = [&scene.place, &scene.disk].map(Place::kept);
    let away = scene.shelf.beside("away");
    // Each of them is the newer one in its turn.
    for (n, word, older) in [(2, "egret", &disk), (3, "bittern", &place), (2, "heron", &place), (3, "plover", &disk)] {
        fs::rename(older, &away).expect("take a place away");
        machine.grow(n, &format!("the word is {word}"));
        machine.offsite(&["push", "--now"]).output();
        // What is away keeps nothing of the other one from coming; of a disk in a drawer that is no failure.
        let pulled = reader.offsite(&["pull"]).output();
        let (code, told) = if older == &disk { (0, "usb: its disk is not connected") } else { (1, "cannot be read") };
        assert!(pulled.code == Some(code) && pulled.text().contains(told), "{pulled:?}");
        assert_eq!(hits(&reader, word), 1, "{word}, from the newer one alone");
        fs::rename(&away, older).expect("bring it back");
        // A second time changes nothing.
        for _ in 0..2 {
            reader.offsite(&["pull"]).output().ok();
            assert_eq!(hits(&reader, word), 1, "{word}");
        }
    }
    for word in ["egret", "bittern", "heron", "plover"] {
        assert_eq!(hits(&reader, word), 1, "{word}");
    }
    // One computer comes from wherever it has sent to.
    machine.grow(2, "the word is curlew");
    machine.offsite(&["push", "--now", "--place", "usb"]).output().ok();
    reader.offsite(&["pull", NAME]).output().ok();
    assert_eq!(hits(&reader, "curlew"), 1);
    let nobody = reader.offsite(&["pull", "nobody"]).output().exits(1);
    assert!(nobody.stderr.contains("no other one of this name has sent anything"), "{nobody:?}");
}

#[test]
fn two_machines_that_have_one_name_at_two_places_are_both_found() {
    let test = "two_machines_that_have_one_name_at_two_places_are_both_found";
    let Some((_shelf, place, one)) = set_up(test, 2) else { return };
    let Some((_other_shelf, disk, other)) = set_up(test, 2) else { return };
    let reader = reader_of([&place, &disk], [one.key_file(), other.key_file()]);
    for (n, [older, newer]) in [(2, ["egret", "bittern"]), (3, ["heron", "plover"])] {
        for (machine, word) in [(&one, older), (&other, newer)] {
            machine.grow(n, &format!("the word is {word}"));
            machine.push();
        }
        // What was sent last comes first.
        reader.offsite(&["pull", "--place", "usb"]).output().ok();
        // A second time changes nothing.
        for _ in 0..2 {
            reader.offsite(&["pull"]).output().ok();
            assert_eq!([older, newer].map(|word| hits(&reader, word)), [1, 1], "{older}, {newer}");
        }
    }
}
