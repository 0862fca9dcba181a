//! What Claude Code remembers of a project: kept by every way in, told when it is gone, brought back.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tests::scratch::Scratch;
use tests::transcripts;

use crate::product::{assert_verified, chain_delivered, turn};

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
    fs::write(path, text).expect("write a file of the memory");
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
