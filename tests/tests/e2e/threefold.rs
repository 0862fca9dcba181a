//! The one command, `threefold`: a link to layer 3's program that says what its reader can type.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use tests::binaries::{self, LAYER1, LAYER2, LAYER3};
use tests::run::Run;
use tests::scratch::Scratch;
use tests::stores;
use tests::transcripts::{self, INTERACTIVE};
use tests::tree;

/// Programs of the debug build are large, and the machine may be busy.
const LIMIT: Duration = Duration::from_secs(120);

/// A link of this name to layer 3's program, in a folder of links.
fn linked(scratch: &Scratch, name: &str) -> PathBuf {
    let link = scratch.beside("links").join(name);
    std::fs::create_dir_all(link.parent().expect("a folder")).expect("make a folder");
    symlink(scratch.program(LAYER3), &link).expect("make a link");
    link
}

#[test]
fn what_is_said_can_be_typed_by_the_name_that_was_typed() {
    let scratch = Scratch::new();
    // What a case-insensitive file system lets pass is the same name.
    let links = ["threefold", "Threefold", "layer3-indexer"].map(|name| linked(&scratch, name));
    for (link, name) in links.iter().zip(["threefold", "threefold", "layer3-indexer"]) {
        let run = |args: &[&str]| scratch.at_home(Run::new(link)).args(args).output();
        let said = run(&["verify"]).exits(1).silent().stderr;
        assert!(said.starts_with(&format!("{name}: failed to ")), "{said}");
        assert!(said.contains(&format!("`{name} import`")), "{said}");
        let help = run(&["search", "--help"]).ok().text();
        assert!(help.contains(&format!("Example: {name} search ")), "{help}");
        assert!(run(&["--version"]).ok().text().starts_with(&format!("{name} ")));
        let help = run(&["--help"]).ok().text();
        assert!(name == LAYER3 || !help.contains(LAYER3), "{help}");
    }
}

#[test]
fn hooks_save_without_a_home_and_on_another_machine_whose_home_is_elsewhere() {
    let scratch = Scratch::new();
    let from = binaries::folder().to_str().expect("UTF-8");
    let setup =
        scratch.at_home(Run::new(scratch.program(LAYER3))).args(["setup", "--from", from, "--no-import", "--no-bin"]);
    setup.env("PATH", "/usr/bin:/bin").limit(LIMIT).output().ok();
    let settings = std::fs::read_to_string(scratch.claude_dir().join("settings.json")).expect("read the settings");
    let home = scratch.home();
    let without = settings.replace(&format!("${{HOME:-{}}}", home.display()), "");
    assert!(!without.contains(home.to_str().expect("UTF-8")), "{settings}");
    let settings: serde_json::Value = serde_json::from_str(&settings).expect("settings are JSON");
    let command_of = |event: &str| settings["hooks"][event][0]["hooks"][0]["command"].as_str().expect("a command");
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(2), 3);
    for event in ["Stop", "SessionEnd"] {
        // The home that is missing is told of, and costs nothing.
        let hook = Run::new("/bin/sh").args(["-c", command_of(event)]).env("PATH", "/usr/bin:/bin");
        hook.stdin(transcripts::event(event, &transcript, serde_json::json!({}))).limit(LIMIT).output().ok();
        assert_eq!(stores::difference(&scratch.layer1_store(), "proj", &transcript), None, "{event}");
    }
    scratch.await_no_process(LIMIT);
    assert_eq!(stores::difference(&scratch.layer3_store(), "proj", &transcript), None);
    // The same settings and programs, where the home has another name.
    let home = scratch.beside("it's another home");
    std::fs::rename(scratch.home(), &home).expect("move the home");
    let transcript = home.join(format!(".claude/projects/-p/{}.jsonl", transcripts::made_id(1)));
    std::fs::create_dir_all(transcript.parent().expect("a folder")).expect("make a folder");
    let line = transcripts::prompt_line(&transcripts::made_id(1), 0, "said in another home");
    transcripts::append(&transcript, &line);
    for event in ["PreCompact", "Stop", "SessionEnd"] {
        let command = command_of(event);
        assert!(command.ends_with("|| : threefold"), "{command}");
        let hook = Run::new("/bin/sh").args(["-c", command]).env("HOME", &home).env("PATH", "/usr/bin:/bin");
        hook.stdin(transcripts::event(event, &transcript, serde_json::json!({}))).limit(LIMIT).output().ok().silent();
        let stores = tree::visible_files(&home.join(".claude-backup-sessions"));
        assert!(
            stores.iter().any(|file| file.ends_with(&format!("{}.jsonl", transcripts::made_id(1)))),
            "{event}: {stores:?}"
        );
    }
    scratch.await_no_process(LIMIT);
    let threefold =
        scratch.at_home(Run::new(home.join(".claude/hooks").join(LAYER3))).env("HOME", &home).current_dir(&home);
    let found = threefold.args(["search", "--all", "--json", "another"]).output().ok().json();
    assert_eq!(found["hits"][0]["session_id"], transcripts::made_id(1).as_str(), "{found}");
}

#[test]
fn what_changes_something_is_done_whether_anybody_reads_what_it_says_or_not() {
    let scratch = Scratch::new();
    let run =
        |args: &[&str]| scratch.at_home(Run::new(scratch.program(LAYER3))).args(args).env("PATH", "/usr/bin:/bin");
    let unread = |args: &[&str]| run(args).limit(LIMIT).unread().output().ok();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let bytes = std::fs::read(&transcript).expect("read a transcript");
    unread(&["setup", "--from", binaries::folder().to_str().expect("UTF-8")]);
    let id = transcript.file_stem().expect("an id").to_str().expect("UTF-8");
    assert_eq!(stores::difference(&scratch.layer3_store(), "proj", &transcript), None, "it was imported");
    std::fs::remove_file(&transcript).expect("delete a transcript");
    unread(&["restore", "--all-missing"]);
    assert!(std::fs::read(&transcript).expect("it is back") == bytes);
    unread(&["name", id, "heron"]);
    assert!(run(&["list", "--all"]).output().ok().text().contains("heron"));
    // What is to be deleted is read first, or a yes is typed with it.
    unread(&["prune", id]);
    assert!(run(&["list", "--all"]).output().ok().text().contains("heron"));
    unread(&["prune", id, "--yes"]);
    assert!(!run(&["list", "--all"]).output().ok().text().contains("heron"));
    unread(&["uninstall"]);
    let left = tree::visible_files(&scratch.claude_dir());
    let left: Vec<_> = left.iter().filter(|file| file.starts_with("hooks") || file.starts_with("skills")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn verbs_of_the_other_programs_are_theirs() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let id = transcript.file_stem().expect("an id").to_string_lossy().into_owned();
    let threefold = linked(&scratch, "threefold");
    let run = |args: &[&str]| scratch.at_home(Run::new(&threefold)).args(args).output();
    assert!(run(&["sweep"]).ok().text().contains("1 copied"));
    assert_eq!(run(&["--json", "history", &id]).ok().json(), run(&["history", &id, "--json"]).ok().json());
    run(&["drain", "--foreground"]).ok();
    assert_eq!(run(&["pending", "--json"]).ok().json()["jobs"], serde_json::json!([]));
    let help = run(&["sweep", "--help"]).ok().text();
    assert!(help.contains("Usage: threefold sweep") && help.contains("Example: threefold sweep"), "{help}");
    // Without an id it is an error, and no hook that waits for an event.
    assert!(run(&["history"]).exits(1).silent().stderr.contains("Usage: threefold history"));
    assert!(run(&[LAYER1, "verify"]).ok().text().contains("0 findings"));
    run(&[LAYER2, "dismiss"]).ok();
    let elsewhere = scratch.beside("other store");
    let flag = elsewhere.to_str().expect("UTF-8");
    assert!(run(&["--pre-backup-dir", flag, "sweep", "--all"]).ok().text().contains("1 copied"));
    assert!(elsewhere.join(".state").is_dir(), "flags before the verb are passed on");
    let told = scratch.at_home(Run::new(&threefold)).args(["sweep"]).env("HOME", "").output().exits(1).silent().stderr;
    assert_eq!(told, "threefold: failed to find the home directory: set HOME\n");
}
