//! More than one machine in a place, though they call themselves by the same host name: each has a repository of its
//! own, and none ever has two writers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tests::binaries::{LAYER2, LAYER3};
use tests::offsite::place::{Kind, Place};
use tests::run::Run;
use tests::scratch::Scratch;
use tests::transcripts;
use tests::waiting::{await_until, holds_within};

use super::machine::{LIMIT, Machine};

/// So often both push at once.
const ROUNDS: u32 = 10;
/// One round in so many is killed.
const KILLED_ONE_IN: u32 = 3;
/// Conversations of the one machine.
const FEW: usize = 6;
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

/// A home that was copied with everything in it, to a computer that cannot be told from this one, and then to one that can.
#[test]
fn a_copied_home_and_the_one_that_it_was_copied_from_do_not_both_send_under_one_name() {
    let test = "a_copied_home_and_the_one_that_it_was_copied_from_do_not_both_send_under_one_name";
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let [laptop, copied] = NAMES.map(|_| Machine::new(&place));
    laptop.converse(FEW);
    laptop.init(NAMES[0]);
    fs::remove_dir_all(copied.scratch.home()).expect("empty a home");
    let copying = Run::new("/bin/cp").arg("-a").arg(laptop.scratch.home()).arg(copied.scratch.home());
    copying.output().ok();
    let repository = laptop.repository(&place, NAMES[0]);
    let grow = |machine: &Machine, said: &str| {
        let id = tests::transcripts::made_id(1);
        let line = tests::transcripts::prompt_line(&id, 1000, said);
        tests::transcripts::append(&machine.scratch.transcript(&id), line);
        machine.sweep();
    };
    let refused = |machine: &Machine, told: &str| {
        let before = repository.snapshots().len();
        let outcome = machine.offsite(&["push", "--now"]).output().exits(1);
        let found = machine.finding("another-writer");
        let what = found["what"].as_str().expect("a sentence");
        assert!(found["needs_person"] == true && what.contains(told) && what.contains("--take-over"), "{found:#}");
        assert_eq!(repository.snapshots().len(), before, "nothing is added: {outcome:?}");
        machine.offsite(&["init", &place.url(), "--name", NAMES[0]]).output().exits(1);
    };
    grow(&copied, "said on the copy");
    copied.push();
    // The one that it was copied from finds what it never sent.
    grow(&laptop, "said where it was copied from");
    refused(&laptop, "a copy of this home");
    let take_over = ["init", &place.url(), "--name", NAMES[0], "--take-over"];
    laptop.offsite(&take_over).output().ok();
    laptop.push();
    assert!(laptop.kinds().is_empty(), "{:#}", laptop.status());
    grow(&copied, "said on the copy once more");
    refused(&copied, "a copy of this home");
    copied.offsite(&["init", &place.url(), "--name", NAMES[1]]).output().ok();
    assert!(copied.kinds().is_empty(), "{:#}", copied.status());
    // As it looks on a computer of another name, in a folder that is another.
    let state = laptop.state().join("state.json");
    let mut noted: serde_json::Value = serde_json::from_slice(&fs::read(&state).expect("read it")).expect("it is JSON");
    let here = noted["machine"].clone();
    noted["machine"] = serde_json::json!(["of another computer", 1]);
    fs::write(&state, noted.to_string()).expect("write the state");
    grow(&laptop, "said elsewhere");
    refused(&laptop, "copied from another computer");
    // In a container the computer has another name, and after a move the folder is another.
    for machine in [serde_json::json!([here[0], 1]), serde_json::json!(["of a container", here[1]])] {
        noted["machine"] = machine;
        fs::write(&state, noted.to_string()).expect("write the state");
        laptop.push();
        noted = serde_json::from_slice(&fs::read(&state).expect("read it")).expect("it is JSON");
        grow(&laptop, "said here");
    }
    repository.assert_clean();
}

/// All files below a folder, with their lengths and their times of change.
pub(crate) fn files_below(folder: &Path) -> BTreeSet<(PathBuf, u64, std::time::SystemTime)> {
    let mut files = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("read a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let meta = path.metadata().expect("look at a file");
                    files.insert((path, meta.len(), meta.modified().expect("a time")));
                }
            }
        }
    }
    files
}

/// Two machines of one place, each of which has sent so many conversations.
fn two(test: &str, conversations: [usize; 2]) -> Option<(Scratch, Place, [Machine; 2])> {
    let shelf = Scratch::new();
    let place = Place::open(test, Kind::Local, &shelf.beside("place"))?;
    let machines = NAMES.map(|_| Machine::new(&place));
    for (machine, conversations) in machines.iter().zip(conversations) {
        machine.converse(conversations);
    }
    machines[0].init(NAMES[0]);
    fs::copy(machines[0].key_file(), machines[1].key_file()).expect("bring the key along");
    machines[1].init(NAMES[1]);
    Some((shelf, place, machines))
}

#[test]
fn one_conversation_of_another_machine_comes_back_equal_and_nothing_is_written_there() {
    let test = "one_conversation_of_another_machine_comes_back_equal_and_nothing_is_written_there";
    let Some((_shelf, place, [laptop, desktop])) = two(test, [FEW, 1]) else { return };
    let repository = PathBuf::from(place.url()).join(NAMES[0]);
    let before = files_below(&repository);
    let layer3 = |args: &[&str]| desktop.with_path(desktop.scratch.run(LAYER3, args)).output();
    let of_laptop = |args: &[&str]| layer3(&[args, &["--host", NAMES[0]]].concat());
    let listed = of_laptop(&["list", "--json"]).json();
    let sessions = listed["sessions"].as_array().expect("a list").clone();
    assert_eq!(sessions.len(), FEW, "{listed:#}");
    let originals = files_below(&laptop.projects());
    let original = |id: &str| {
        let name = format!("{id}.jsonl");
        let found = originals.iter().find(|(path, ..)| path.ends_with(&name)).expect("the original");
        fs::read(&found.0).expect("read the original")
    };
    let to = desktop.scratch.beside("there");
    for session in &sessions {
        assert_eq!(session["host"], NAMES[0]);
        let id = session["session_id"].as_str().expect("an id");
        of_laptop(&["restore", id, "--to", to.to_str().expect("a path")]).ok();
        let restored = fs::read(to.join(format!("{id}.jsonl"))).expect("read what came back");
        assert!(restored == original(id), "{id} is not as it was");
    }
    let id = sessions[0]["session_id"].as_str().expect("an id");
    let shown = of_laptop(&["show", id, "--json"]).json();
    assert_eq!(shown["session_id"], id);
    // A copy that was damaged here is fetched again.
    let fetched = desktop.state().join("fetched").join(NAMES[0]).join(id);
    let kept = files_below(&fetched);
    let (copy, ..) = kept.iter().find(|(path, ..)| path.ends_with(format!("{id}.jsonl"))).expect("a copy");
    let mut bytes = fs::read(copy).expect("read the copy");
    bytes[20] ^= 1;
    fs::write(copy, &bytes).expect("damage the copy");
    of_laptop(&["show", id, "--json"]).ok();
    assert!(fs::read(copy).expect("read the copy") == original(id), "it was not fetched again");
    // Where the project is not here, it asks where it is, and writes nothing.
    let elsewhere = files_below(&desktop.projects());
    let gone = laptop.scratch.project_dir();
    fs::remove_dir_all(&gone).expect("the project is on the other machine alone");
    let refused = of_laptop(&["restore", id]).exits(1);
    assert!(refused.stderr.contains("--map"), "{refused:?}");
    assert_eq!(files_below(&desktop.projects()), elsewhere);
    for (args, told) in [(["show", "zzzz"], "no conversation"), (["show", ""], "no conversation")] {
        let refused = of_laptop(&args).exits(1);
        assert!(refused.stderr.contains(told), "{refused:?}");
    }
    layer3(&["list", "--host", "nobody"]).exits(1);
    assert_eq!(files_below(&repository), before, "reading leaves nothing at the other machine's repository");
    // Damage there is told, is no finding here, and gives nothing wrong out.
    for folder in fs::read_dir(repository.join("data")).expect("the packs") {
        fs::remove_dir_all(folder.expect("a folder").path()).expect("lose the packs");
    }
    fs::remove_dir_all(desktop.state().join("fetched")).expect("lose what was fetched");
    of_laptop(&["show", id]).exits(1);
    assert!(desktop.kinds().is_empty(), "{:?}", desktop.kinds());
    desktop.push();
}

#[test]
fn what_other_machines_sent_is_found_here_once_it_was_pulled() {
    let test = "what_other_machines_sent_is_found_here_once_it_was_pulled";
    let Some((shelf, place, [laptop, desktop])) = two(test, [FEW, 1]) else { return };
    let repository = PathBuf::from(place.url()).join(NAMES[0]);
    let layer3 = |args: &[&str]| desktop.with_path(desktop.scratch.run(LAYER3, args)).output();
    let hits = |args: &[&str]| {
        let found = layer3(&[&["search", "--json"], args].concat()).ok().json();
        found["hits"].as_array().expect("hits").clone()
    };
    let pull = || desktop.offsite(&["pull"]).output().ok().text();
    // Nothing was pulled yet: that is said, with what to type.
    let refused = layer3(&["search", "egret", "--host", NAMES[0]]).exits(1);
    assert!(refused.stderr.contains("offsite pull"), "{refused:?}");
    laptop.grow(2, "the word is egret");
    laptop.push();
    let before = files_below(&repository);
    let (came, all) = (pull(), FEW + 1);
    assert!(came.contains(&format!("{}: {all} conversations came", NAMES[0])), "{came}");
    assert_eq!(files_below(&repository), before, "reading leaves nothing at the other machine's repository");
    let told = layer3(&["search", "egret", "--host", NAMES[0]]).ok().text();
    assert!(told.contains("had something new") && told.contains("offsite pull"), "it says how new that is: {told}");
    let found = hits(&["egret", "--host", NAMES[0]]);
    assert_eq!((found.len(), &found[0]["host"]), (1, &NAMES[0].into()), "{found:#?}");
    assert_eq!(found[0]["source_gone"], false, "nobody here can know that");
    assert!(hits(&["egret", "--all"]).is_empty(), "it is no conversation of this machine");
    assert_eq!(hits(&["egret", "--all-hosts"]).len(), 1);
    // What is here too, with all that is there of it, is found here alone.
    let theirs = laptop.scratch.transcript(&transcripts::made_id(2));
    let ours = desktop.scratch.transcript(&transcripts::made_id(2));
    fs::copy(theirs, ours).expect("bring a conversation along");
    desktop.sweep();
    desktop.with_path(desktop.scratch.layer2(&["drain"])).output().ok();
    let found = hits(&["egret", "--all-hosts"]);
    assert!(found.len() == 1 && found[0]["host"].is_null(), "{found:#?}");
    assert_eq!(hits(&["egret", "--host", NAMES[0]]).len(), 1, "where it is asked for, it is found there");
    // Only what changed comes, and what grew there grows here.
    assert!(pull().contains("nothing new"), "nothing was sent since");
    laptop.grow(3, "and another word is bittern");
    laptop.push();
    let came = pull();
    assert!(came.contains("1 conversation came"), "{came}");
    let found = hits(&["bittern", "--host", NAMES[0]]);
    assert_eq!(found.len(), 1, "{found:#?}");
    let text = layer3(&["search", "bittern", "--all-hosts"]).ok().text();
    assert!(text.contains("== this computer") && text.contains(&format!("== {}", NAMES[0])), "{text}");
    let id = found[0]["session_id"].as_str().expect("an id");
    assert!(text.contains(&format!("show {id} --around")) && text.contains(&format!("--host {}", NAMES[0])), "{text}");
    // None of it is sent on as this machine's, nor told as a conversation that is not saved twice.
    desktop.push();
    let own = desktop.repository(&place, NAMES[1]);
    let sent = own.run(&["ls", "latest", "--no-lock"]).output().ok().text();
    assert!(sent.contains("seal.json") && !sent.contains("peers/"), "{sent}");
    layer3(&["verify"]).ok();
    // What is forgotten here is in nothing that was pulled, and does not come again.
    layer3(&["forget", &transcripts::made_id(2), "--yes"]).ok();
    let came = pull();
    assert!(came.contains(&format!("{all} conversations came")), "all but that one: {came}");
    assert!(hits(&["egret", "--host", NAMES[0]]).is_empty());
    // Without the place, what was pulled can be searched and read.
    fs::rename(place.url(), shelf.beside("away")).expect("take the place away");
    assert_eq!(hits(&["bittern", "--host", NAMES[0]]).len(), 1);
    let shown = layer3(&["show", id, "--host", NAMES[0], "--full"]).ok();
    assert!(shown.text().contains("bittern"), "{shown:?}");
    desktop.offsite(&["pull"]).output().exits(1);
    fs::rename(shelf.beside("away"), place.url()).expect("bring it back");
    // A machine of which nothing can be read any more is told, and what came of it before stays.
    laptop.grow(4, "and a third");
    laptop.push();
    fs::remove_dir_all(repository.join("data")).expect("lose the packs");
    let told = desktop.offsite(&["pull"]).output().exits(1);
    assert!(told.text().contains(&format!("{}: cannot be read", NAMES[0])), "{told:?}");
    assert_eq!(hits(&["bittern", "--host", NAMES[0]]).len(), 1);
    assert!(desktop.kinds().is_empty(), "it is no finding of this machine: {:#}", desktop.status());
}

#[test]
fn machines_are_pulled_from_by_themselves_only_where_that_is_set() {
    let test = "machines_are_pulled_from_by_themselves_only_where_that_is_set";
    let Some((_shelf, place, [_, desktop])) = two(test, [1, 1]) else { return };
    let pulled = desktop.state().join("peers").join(NAMES[0]);
    let due = || drop(desktop.offsite(&["push", "--due"]).output().ok());
    // What does not fit is not begun: hooks need the room.
    desktop.configure(&place, "free_space_floor = \"900TB\"\n");
    let refused = desktop.offsite(&["pull"]).output().exits(1).text();
    assert!(refused.contains("free") && !pulled.join("sessions.db").exists(), "{refused}");
    fs::remove_dir_all(&pulled).expect("nothing came");
    for (peers, is_pulled) in [("none", false), ("list", false), ("all", true)] {
        desktop.configure(&place, &format!("offsite_every = \"1s\"\noffsite_peers = \"{peers}\"\n"));
        await_until("a push that is due", LIMIT, || {
            desktop.grow(1, "on");
            due();
            desktop.status()["dirty"] == false
        });
        assert_eq!(pulled.is_dir(), is_pulled, "{peers}");
    }
    desktop.configure(&place, "offsite_peers = \"none\"\n");
    let refused = desktop.offsite(&["pull"]).output().exits(1);
    assert!(refused.stderr.contains("offsite_peers"), "{refused:?}");
}
