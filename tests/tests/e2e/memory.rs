//! What Claude Code remembers of a project: kept by every way in, told when it is gone, brought back.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tests::scratch::Scratch;
use tests::transcripts;

use crate::product::{assert_verified, chain_delivered, drain, findings, turn};

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
    fs::write(path, text).expect("write a file of the memory");
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("run cp");
    assert!(done.success());
}

/// The contents that a store holds below its store of memories, sorted.
fn held(store: &Path) -> Vec<String> {
    let (mut texts, mut pending) = (Vec::new(), vec![store.join(".memory")]);
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            match entry.file_type().expect("a kind").is_dir() {
                true if !hidden => pending.push(entry.path()),
                true => {}
                false => texts.push(fs::read_to_string(entry.path()).expect("read a copy")),
            }
        }
    }
    texts.sort();
    texts
}

#[test]
fn a_memory_is_kept_twice_with_its_versions_and_comes_back() {
    let scratch = Scratch::new();
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 2);
    let event = |kind: &str| transcripts::event(kind, &transcript, json!({}));
    let memory = transcript.with_file_name("memory");
    let file = |name: &str| -> PathBuf { memory.join(name) };
    let both = || [scratch.layer1_store(), scratch.layer3_store()].map(|store| held(&store));
    write(&file("MEMORY.md"), "one\n");
    turn(&scratch, &event("Stop"));
    assert_eq!(both()[0], ["one\n"], "by the hook of a turn");
    write(&file("MEMORY.md"), "one\ntwo\n");
    write(&file("deep/topic.md"), "topic\n");
    chain_delivered(&scratch, &event("SessionEnd"));
    let all = ["one\n", "one\ntwo\n", "topic\n"];
    assert_eq!(both(), [all, all].map(|texts| texts.map(str::to_owned).to_vec()), "by the hook of the end");
    write(&file("late.md"), "late\n");
    scratch.layer1(&["sweep"]).output().ok();
    scratch.layer3(&["import"]).output().ok();
    assert!(both().iter().all(|texts| texts.contains(&"late\n".to_owned())), "by sweep and import");
    assert_verified(&scratch);

    fs::remove_dir_all(&memory).expect("remove the memory");
    let status = scratch.layer3(&["status", "--json"]).output().json();
    let finding = status["findings"].as_array().expect("findings").iter().find(|finding| finding["kind"] == "vanished");
    let mend = finding.expect("it is told")["mend"].as_str().expect("a command").to_owned();
    assert!(mend.contains("restore --memory --project "), "{mend}");
    let project = mend.rsplit(' ').next().expect("its name");
    let dry = scratch.layer3(&["restore", "--memory", "--project", project, "--dry-run"]).output().ok();
    assert!(dry.text().contains("Would restore 3 files") && !memory.exists(), "{}", dry.text());
    scratch.layer3(&["restore", "--memory", "--project", project]).output().ok();
    for (name, text) in [("MEMORY.md", "one\ntwo\n"), ("deep/topic.md", "topic\n"), ("late.md", "late\n")] {
        assert_eq!(fs::read_to_string(file(name)).expect("it is back"), text);
    }
    assert_verified(&scratch);

    // By its directory and by the time of a version, as it is told to programs and to people.
    let directory = "/home/dev/proj";
    let of = |args: &[&str]| {
        scratch.layer3(&[&["restore", "--memory", "--project", directory], args].concat()).output().ok()
    };
    let told = of(&["--dry-run", "--json"]).json();
    let files = told["restored_memory"][0]["files"].as_array().expect("files");
    let index = files.iter().find(|file| file["path"] == "MEMORY.md").expect("the file with two versions");
    let first = index["versions"][0].as_str().expect("a time");
    of(&["--until", first, "--force"]);
    assert_eq!(fs::read_to_string(file("MEMORY.md")).expect("it is there"), "one\n");
    let text = of(&["--dry-run"]).text();
    let line = text.lines().find(|line| line.contains("MEMORY.md")).expect("a line of the file");
    let shown = line.split("versions: ").nth(1).expect("its versions").split(", ").next().expect("the first");
    of(&["--until", shown, "--force", "--dry-run"]);
}

#[test]
fn a_memory_without_any_conversation_is_kept_too() {
    let scratch = Scratch::new();
    write(&scratch.slug_dir().join("memory/MEMORY.md"), "alone\n");
    scratch.layer1(&["sweep"]).output().ok();
    scratch.layer3(&["import"]).output().ok();
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        assert_eq!(held(&store), ["alone\n"], "in {}", store.display());
    }
    fs::remove_dir_all(scratch.slug_dir()).expect("remove the folder");
    scratch.layer3(&["restore", "--memory", "--all"]).output().ok();
    assert_eq!(fs::read_to_string(scratch.slug_dir().join("memory/MEMORY.md")).expect("it is back"), "alone\n");
}

/// One store of memories lost, or put back to what it was a version ago, after Claude Code deleted the memory.
#[test]
fn what_one_store_lost_of_a_memory_is_told_and_comes_from_the_other_one() {
    for (is_first, is_lost) in [(true, true), (true, false), (false, true), (false, false)] {
        let what = format!("the first: {is_first}, all of it: {is_lost}");
        let scratch = Scratch::new();
        let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 2);
        let memory = transcript.with_file_name("memory");
        let store = if is_first { scratch.layer1_store() } else { scratch.layer3_store() };
        let both = || [scratch.layer1_store(), scratch.layer3_store()].map(|store| held(&store));
        write(&memory.join("MEMORY.md"), "one\n");
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        let before = scratch.beside("before");
        copy(&store.join(".memory"), &before);
        write(&memory.join("MEMORY.md"), "two, and more\n");
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        let all = ["one\n", "two, and more\n"].map(str::to_owned).to_vec();
        assert_eq!(both(), [all.clone(), all.clone()], "{what}");
        assert_eq!(findings(&scratch, "one-copy"), [""; 0], "{what}");
        fs::remove_dir_all(&memory).expect("remove the memory");
        fs::remove_dir_all(store.join(".memory")).expect("lose a store of memories");
        if !is_lost {
            copy(&before, &store.join(".memory"));
        }
        let told = findings(&scratch, "one-copy");
        assert!(told.len() == 1 && told[0].contains("remembers of 1 project is in one copy only"), "{what}: {told:?}");
        scratch.layer3(&["status"]).output().exits(1);
        let is_owed = !is_first || !is_lost;
        let verified = scratch.layer3(&["verify"]).output();
        if is_owed {
            assert!(verified.exits(1).text().contains("of this memory only in the"), "{what}");
        }
        drain(&scratch);
        assert_eq!(both(), [all.clone(), all.clone()], "{what}: {}", scratch.log(2));
        assert_eq!(findings(&scratch, "one-copy"), [""; 0], "{what}");
        assert_verified(&scratch);
        // And then nothing is sent or taken back again.
        let calls = || scratch.log(2).matches("Calling session_save").count() + scratch.log(2).matches("gave").count();
        let before = calls();
        drain(&scratch);
        assert_eq!(calls(), before, "{what}: {}", scratch.log(2));
    }
}

#[test]
fn a_memory_that_became_shorter_or_was_deleted_is_told_until_that_is_acknowledged() {
    let scratch = Scratch::new();
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 2);
    let file = |name: &str| transcript.with_file_name("memory").join(name);
    let save = || chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let told = || (findings(&scratch, "vanished"), findings(&scratch, "memory-shrunk"));
    let acknowledge = |said: &str| {
        let command = said.split('`').rfind(|part| part.contains("--acknowledge")).expect("the command");
        let name = command.rsplit(' ').next().expect("a name");
        // Without hooks something needs a person in any case.
        scratch.layer3(&["status", "--acknowledge", name]).output().exits(1);
    };
    write(&file("MEMORY.md"), "one\ntwo\nthree\n");
    write(&file("topic.md"), "topic\n");
    save();
    assert_eq!(told(), (vec![], vec![]));
    write(&file("MEMORY.md"), "one\ntwo\n");
    save();
    fs::remove_file(file("topic.md")).expect("remove a file of the memory");
    let (gone, shorter) = told();
    assert!(gone.len() == 1 && gone[0].starts_with("1 file of Claude Code's memory"), "{gone:?}");
    assert!(shorter.len() == 1 && shorter[0].starts_with("1 file of Claude Code's memory"), "{shorter:?}");
    // Claude Code rewrites its memory all the time: that is told, and needs nobody.
    let status = scratch.layer3(&["status", "--json"]).output().json();
    let needs = |kind: &str| {
        let found = status["findings"].as_array().expect("findings").iter().find(|finding| finding["kind"] == kind);
        found.expect("it is told")["needs_person"] == true
    };
    assert!(!needs("vanished") && !needs("memory-shrunk") && needs("hooks-missing"));
    acknowledge(&shorter[0]);
    assert_eq!(told(), (vec![], vec![]));
    // It goes on as it is; then it loses something again.
    write(&file("MEMORY.md"), "four\n");
    save();
    assert_eq!(told(), (vec![], vec![]));
    write(&file("MEMORY.md"), "four, and so much more than ever before\n");
    save();
    fs::remove_dir_all(transcript.with_file_name("memory")).expect("remove all of it");
    let (gone, shorter) = told();
    assert!(gone.len() == 1 && gone[0].starts_with("1 file "), "{gone:?}");
    assert_eq!(shorter, [""; 0]);
    scratch.layer3(&["status", "--acknowledge"]).output().exits(1);
    assert_eq!(told(), (vec![], vec![]));
}
