//! `export --all`: a folder of pages that is kept up to date, and holds nothing that was forgotten.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tests::scratch::Scratch;
use tests::transcripts::{self, made_id};
use tests::waiting::await_until;

use crate::product::chain_delivered;

/// The machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);

fn say(scratch: &Scratch, id: &str, turn: u32, words: &str) {
    let transcript = scratch.transcript(id);
    transcripts::append(&transcript, transcripts::prompt_line(id, turn, words));
    chain_delivered(scratch, &transcripts::session_end(&transcript));
}

/// A home with two conversations, and the folder for their pages.
fn two() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    say(&scratch, &made_id(1), 1, "about the heron");
    say(&scratch, &made_id(2), 1, "about the egret");
    let folder = scratch.beside("pages");
    (scratch, folder)
}

fn export(scratch: &Scratch, folder: &Path, more: &[&str]) -> Value {
    let mut args = vec!["export", "--all", "--json", "-o", folder.to_str().expect("a path of text")];
    args.extend(more);
    scratch.layer3(&args).output().ok().json()["exported"].clone()
}

/// How many were written, left as they are, and deleted; and how many there are.
fn counts(exported: &Value) -> [u64; 4] {
    ["written", "unchanged", "deleted", "pages"].map(|count| exported[count].as_u64().expect("a count"))
}

fn page(folder: &Path, id: &str) -> PathBuf {
    let folders = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    folders.map(|entry| entry.join(format!("{id}.html"))).find(|path| path.is_file()).expect("a page")
}

/// The files of the folder that hold the text.
fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).expect("a file").contains(text) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn only_what_changed_is_written_again() {
    let (scratch, folder) = two();
    let exported = export(&scratch, &folder, &[]);
    assert_eq!(counts(&exported), [2, 0, 0, 2], "{exported:#}");
    for list in ["index.html", "by-time.html"] {
        let list = fs::read_to_string(folder.join(list)).expect("a list");
        for id in [made_id(1), made_id(2)] {
            let path = page(&folder, &id);
            let link = format!("./{}", path.strip_prefix(&folder).expect("in the folder").display());
            assert!(list.contains(&format!("<a href=\"{link}\"")), "{link} in {list}");
        }
        assert!(list.contains("about the heron") && list.contains("about the egret"), "{list}");
    }
    assert!(fs::read_to_string(page(&folder, &made_id(1))).expect("a page").contains("href=\"../index.html\""));
    let inode = |id| fs::metadata(page(&folder, &made_id(id))).expect("a page").ino();
    let before = [inode(1), inode(2)];
    assert_eq!(counts(&export(&scratch, &folder, &[])), [0, 2, 0, 2]);
    assert_eq!([inode(1), inode(2)], before);
    say(&scratch, &made_id(2), 2, "and more of it");
    assert_eq!(counts(&export(&scratch, &folder, &[])), [1, 1, 0, 2]);
    assert_eq!(holding(&folder, "and more of it").len(), 1);
    assert!(inode(1) == before[0] && inode(2) != before[1]);
    // A name is in the page, and a page that somebody deleted comes back.
    scratch.layer3(&["name", &made_id(1), "Heron talk"]).output().ok();
    fs::remove_file(page(&folder, &made_id(2))).expect("delete a page");
    assert_eq!(counts(&export(&scratch, &folder, &[])), [2, 0, 0, 2]);
    assert_eq!(holding(&folder, "Heron talk").len(), 4);
    assert_eq!(counts(&export(&scratch, &folder, &["--force"])), [2, 0, 0, 2]);
    // What is said is written otherwise.
    assert_eq!(counts(&export(&scratch, &folder, &["--compact"])), [2, 0, 0, 2]);
}

#[test]
fn those_of_a_time_or_a_project_are_written_and_the_others_stay() {
    let (scratch, folder) = two();
    assert_eq!(counts(&export(&scratch, &folder, &["--since", "2030-01-01"])), [0, 0, 0, 0]);
    assert_eq!(counts(&export(&scratch, &folder, &["--since", "2020-01-01"])), [2, 0, 0, 2]);
    let to = folder.to_str().expect("a path of text");
    let none = scratch.layer3(&["export", "--project", "elsewhere", "--json", "-o", to]).output();
    assert!(!folder.join("elsewhere").exists(), "{none:#?}");
    assert_eq!(holding(&folder, "about the heron").len(), 4, "the pages stay, and the lists lead to them");
    for wrong in [
        &["export", "--all"][..],
        &["export", "--since", "7d", "-o", to],
        &["export", "--all", "-o", to, "--format", "md"],
    ] {
        scratch.layer3(wrong).output().exits(1);
    }
}

#[test]
fn what_was_forgotten_is_in_no_page() {
    let (scratch, folder) = two();
    say(&scratch, &made_id(2), 2, "my word is xyzzy7421 here");
    export(&scratch, &folder, &[]);
    scratch.layer3(&["forget", &made_id(1), "--yes"]).output().ok();
    scratch.layer3(&["forget", "--match", "xyzzy7421", "--yes"]).output().ok();
    assert!(!holding(&folder, "xyzzy7421").is_empty());
    // Whatever else was asked for.
    let exported = export(&scratch, &folder, &["--since", "2030-01-01"]);
    assert_eq!(counts(&exported)[2], 1, "{exported:#}");
    for text in ["heron", "xyzzy7421"] {
        assert_eq!(holding(&folder, text), Vec::<PathBuf>::new(), "{text}");
    }
    assert_eq!(holding(&folder, "egret").len(), 4, "the messages around it stay");
}

#[test]
fn a_page_stays_where_a_store_lost_its_conversation_and_the_list_says_so() {
    let (scratch, folder) = two();
    export(&scratch, &folder, &[]);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        fs::remove_dir_all(store).expect("lose a store");
    }
    fs::remove_file(scratch.transcript(&made_id(1))).expect("lose a transcript");
    say(&scratch, &made_id(2), 2, "on");
    assert_eq!(counts(&export(&scratch, &folder, &[])), [1, 0, 0, 2]);
    assert!(holding(&folder, "heron").contains(&page(&folder, &made_id(1))));
    assert_eq!(holding(&folder, "no longer in the backup").len(), 2);
}

#[test]
fn a_file_that_is_none_of_ours_stays() {
    let (scratch, folder) = two();
    export(&scratch, &folder, &[]);
    let theirs = page(&folder, &made_id(1));
    fs::remove_dir_all(&folder).expect("begin anew");
    fs::create_dir_all(theirs.parent().expect("a folder")).expect("make a folder");
    fs::write(&theirs, "theirs").expect("write a file");
    let to = folder.to_str().expect("a path of text");
    let outcome = scratch.layer3(&["export", "--all", "-o", to]).output().exits(1);
    assert!(outcome.stderr.contains("it exists"), "{outcome:#?}");
    assert_eq!(fs::read_to_string(&theirs).expect("their file"), "theirs");
    assert_eq!(holding(&folder, "about the egret").len(), 4);
}

#[test]
fn what_is_masked_is_masked_in_every_file() {
    let scratch = Scratch::new();
    say(&scratch, &made_id(1), 1, "my key is AKIAIOSFODNN7EXAMPLE");
    let folder = scratch.beside("pages");
    let to = folder.to_str().expect("a path of text");
    let outcome = scratch.layer3(&["export", "--all", "-o", to, "--redact"]).output().ok();
    assert!(outcome.stderr.trim_end().ends_with("masked: 3 AWS access keys"), "{outcome:#?}");
    assert_eq!(holding(&folder, "AKIA"), Vec::<PathBuf>::new());
    assert_eq!(holding(&folder, "[masked: AWS access key]").len(), 4);
}

#[test]
fn a_page_is_opened_in_the_browser() {
    let (scratch, folder) = two();
    let (browser, opened) = (scratch.beside("browser"), scratch.beside("opened"));
    let script = format!("#!/bin/sh\necho \"$1\" > '{0}.part'; mv '{0}.part' '{0}'\n", opened.display());
    fs::write(&browser, script).expect("write a browser");
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).expect("make it executable");
    let to = folder.join("one.html");
    let opens = |args: &[&str]| {
        scratch.layer3(args).env("BROWSER", browser.display().to_string()).output().ok();
        await_until("the browser to have run", LIMIT, || opened.exists());
        let path = fs::read_to_string(&opened).expect("a path");
        fs::remove_file(&opened).expect("forget it");
        PathBuf::from(path.trim_end())
    };
    assert_eq!(opens(&["export", &made_id(1), "--open", "-o", to.to_str().expect("text")]), to);
    assert!(fs::read_to_string(opens(&["export", &made_id(2), "--open"])).expect("a page").contains("about the egret"));
    assert_eq!(opens(&["export", "--all", "--open", "-o", folder.to_str().expect("text")]), folder.join("index.html"));
}
