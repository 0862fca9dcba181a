//! `export --all`: a folder of pages that is kept up to date, and holds nothing that was forgotten.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tests::binaries::LAYER3;
use tests::scratch::Scratch;
use tests::strace::{self, Traced};
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
fn what_was_killed_goes_on_and_forgets_what_it_had_written() {
    if !strace::is_here("what_was_killed_goes_on_and_forgets_what_it_had_written") {
        return;
    }
    let (scratch, folder) = two();
    let to = folder.to_str().expect("a path of text");
    let killed_at = |n: u32| {
        let _ = fs::remove_dir_all(&folder); // At first there is none.
        let inject = format!("inject=renameat,renameat2,linkat:signal=KILL:when={n}");
        let options = ["-P", to, "-e", &inject];
        let run = Traced::new(&scratch, "renameat,renameat2,linkat", &options, LAYER3, &["export", "--all", "-o", to]);
        run.output().outcome.signal.is_some()
    };
    let mut left_a_page = Vec::new();
    let mut n = 1;
    while killed_at(n) {
        if folder.exists() && !holding(&folder, "about the heron").is_empty() {
            left_a_page.push(n);
        }
        assert_eq!(counts(&export(&scratch, &folder, &[]))[3], 2, "killed at {n}");
        assert_eq!(holding(&folder, "about the heron").len(), 4, "killed at {n}");
        n += 1;
    }
    assert!(n > 4 && !left_a_page.is_empty(), "killed at {n} moments, {left_a_page:?} with a page there");
    // A page that is there and was never listed goes with what it is of.
    assert!(killed_at(left_a_page[0]));
    assert!(!holding(&folder, "about the heron").is_empty());
    scratch.layer3(&["forget", &made_id(1), "--yes"]).output().ok();
    export(&scratch, &folder, &[]);
    assert_eq!(holding(&folder, "heron"), Vec::<PathBuf>::new());
}

#[test]
fn one_export_at_a_time_writes_a_folder() {
    let (scratch, folder) = two();
    export(&scratch, &folder, &[]);
    let lock = fs::File::open(folder.join(".pages.lock")).expect("the lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("take it");
    let to = folder.to_str().expect("a path of text");
    let refused = scratch.layer3(&["export", "--all", "-o", to]).output().exits(1);
    assert!(refused.stderr.contains("another export writes there now"), "{refused:#?}");
    drop(lock);
    assert_eq!(counts(&export(&scratch, &folder, &[])), [0, 2, 0, 2]);
}

#[test]
fn lists_that_no_export_wrote_stay_and_no_link_is_followed() {
    let (scratch, folder) = two();
    let to = folder.to_str().expect("a path of text");
    for list in ["index.html", "by-time.html"] {
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(list), "theirs").expect("write a file");
        let refused = scratch.layer3(&["export", "--all", "-o", to]).output().exits(1);
        assert!(refused.stderr.contains("no export wrote it") && refused.stderr.contains("-o"), "{refused:#?}");
        assert_eq!(fs::read_to_string(folder.join(list)).expect("their file"), "theirs");
        fs::remove_dir_all(&folder).expect("begin anew");
    }
    export(&scratch, &folder, &[]);
    // A project's folder that leads elsewhere: nothing is written there, nor deleted.
    let of_project = page(&folder, &made_id(1)).parent().expect("a folder").to_owned();
    let elsewhere = scratch.beside("elsewhere");
    fs::rename(&of_project, &elsewhere).expect("move a folder");
    std::os::unix::fs::symlink(&elsewhere, &of_project).expect("make a link");
    let before = fs::read(page(&folder, &made_id(2))).expect("a page");
    say(&scratch, &made_id(2), 2, "and more of it");
    let refused = || {
        let refused = scratch.layer3(&["export", "--all", "-o", to]).output().exits(1);
        assert!(refused.stderr.contains("is no folder of its own"), "{refused:#?}");
    };
    refused();
    assert_eq!(fs::read(page(&folder, &made_id(2))).expect("a page"), before);
    scratch.layer3(&["forget", &made_id(1), "--yes"]).output().ok();
    refused();
    assert_eq!(fs::read(page(&folder, &made_id(2))).expect("a page"), before);
    assert!(page(&folder, &made_id(1)).is_file());
}

#[test]
fn pages_with_secrets_and_without_never_lie_side_by_side() {
    let (scratch, folder) = two();
    let to = folder.to_str().expect("a path of text");
    export(&scratch, &folder, &[]);
    let refused = scratch.layer3(&["export", "--all", "-o", to, "--redact"]).output().exits(1);
    assert!(refused.stderr.contains("are not masked"), "{refused:#?}");
    let other = scratch.beside("masked");
    export(&scratch, &other, &["--redact"]);
    let to = other.to_str().expect("a path of text");
    let refused = scratch.layer3(&["export", "--all", "-o", to]).output().exits(1);
    assert!(refused.stderr.contains("are masked") && refused.stderr.contains("give --redact"), "{refused:#?}");
    assert_eq!(counts(&export(&scratch, &other, &["--redact"])), [0, 2, 0, 2]);
}

#[test]
fn another_time_zone_and_a_copy_that_is_well_again_are_other_pages() {
    let (scratch, folder) = two();
    export(&scratch, &folder, &[]);
    let to = folder.to_str().expect("a path of text");
    let elsewhere = scratch.layer3(&["export", "--all", "--json", "-o", to]).env("TZ", "America/New_York");
    assert_eq!(counts(&elsewhere.output().ok().json()["exported"]), [2, 0, 0, 2]);
    export(&scratch, &folder, &[]);
    // One copy is damaged: the page says so, and no longer once it is mended.
    let in_folder = page(&folder, &made_id(1));
    let in_store = in_folder.strip_prefix(&folder).expect("in the folder").with_extension("jsonl");
    let copy = scratch.layer3_store().join(in_store);
    let whole = fs::read(&copy).expect("a copy");
    let mut damaged = whole.clone();
    damaged[10] ^= 1;
    fs::write(&copy, damaged).expect("damage it");
    export(&scratch, &folder, &["--force"]);
    fs::write(&copy, whole).expect("mend it");
    assert_eq!(counts(&export(&scratch, &folder, &[]))[0], 1);
    assert_eq!(counts(&export(&scratch, &folder, &[])), [0, 2, 0, 2]);
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

#[test]
fn a_conversation_of_which_only_the_agents_are_stored_is_shown_and_keeps_no_page_from_being_written() {
    let (scratch, folder) = two();
    // As older clients laid them down, and as newer ones do.
    let said = |id: &str, words: &str| {
        let line = transcripts::prompt_line(id, 1, words);
        line.replacen('{', r#"{"isSidechain":true,"agentId":"abc1234","#, 1).replace(r#""isSidechain":false,"#, "")
    };
    let (old, new) = (made_id(3), made_id(4));
    transcripts::append(&scratch.slug_dir().join("agent-abc1234.jsonl"), said(&old, "look at the marmots"));
    let agents = scratch.transcript(&new).with_extension("").join("subagents");
    fs::create_dir_all(&agents).expect("a folder of agents");
    transcripts::append(&agents.join("agent-1.jsonl"), said(&new, "look at the wombats"));
    transcripts::append(&agents.join("agent-2.jsonl"), said(&new, "look at the quokkas"));
    scratch.layer3(&["import"]).limit(LIMIT).output().ok();
    for (id, words) in [(&old, &["marmots"][..]), (&new, &["wombats", "quokkas"])] {
        let shown = scratch.layer3(&["show", id, "--full"]).output().ok().text();
        let page = scratch.layer3(&["export", id, "--format", "md"]).output().ok().text();
        for text in [&shown, &page] {
            assert!(text.contains("no transcript of it is stored"), "{text}");
            // In the table of an export the first prompt stands once more.
            let often = |word: &&&str| (1..=2).contains(&text.matches(**word).count());
            assert!(words.iter().all(|word| often(&word)), "{words:?}: {text}");
        }
        assert!(scratch.layer3(&["show", id]).output().ok().text().contains(words[0]));
    }
    // A transcript of which nothing is stored is not called in place, nor restored.
    let beside = format!("the files beside {}", scratch.transcript(&new).display());
    let restore = || scratch.layer3(&["restore", &new]).output().ok().text();
    assert!(restore().contains(&format!("Already in place: {beside}")));
    fs::rename(&agents, scratch.beside("agents")).expect("take it away");
    assert!(restore().contains(&format!("Restored {beside} (2 files written)")));
    assert_eq!(counts(&export(&scratch, &folder, &[])), [4, 0, 0, 4]);
    // A page that warns is written anew.
    assert_eq!(counts(&export(&scratch, &folder, &[])), [2, 2, 0, 4]);
}

#[test]
fn output_in_a_file_of_its_own_is_in_a_full_export() {
    let scratch = Scratch::new();
    let id = made_id(1);
    let transcript = scratch.transcript(&id);
    let outputs = transcript.with_extension("").join("tool-results");
    fs::create_dir_all(&outputs).expect("a folder of outputs");
    let file = outputs.join("toolu_01MAIN.txt");
    let lines: String = (0..500).map(|n| format!("line {n} of the build\n")).collect();
    fs::write(&file, &lines).expect("write the output");
    fs::write(outputs.join("toolu_02NOBODY.txt"), "what no result names").expect("write the output");
    let preview = format!(
        "<persisted-output>\nOutput too large. Full output saved to: {}\n\nPreview:\nline 0 of the build\n...\n</persisted-output>",
        file.display()
    );
    let call = transcripts::tool_line(&id, 2, "Bash", serde_json::json!({"command": "build"}));
    let call_id = serde_json::from_str::<Value>(&call).expect("JSON")["message"]["content"][0]["id"].clone();
    let result = serde_json::json!({
        "type": "user", "uuid": "result-1", "timestamp": "2026-11-22T10:00:04.000Z", "sessionId": id,
        "message": {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": preview}]},
    });
    // Named twice, it is written once.
    let again = format!("{result}\n").replace("result-1", "result-2");
    let said = transcripts::prompt_line(&id, 1, "build it") + &call + &format!("{result}\n{again}");
    transcripts::append(&transcript, said);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    for format in ["md", "html"] {
        let page =
            |more: &[&str]| scratch.layer3(&[&["export", &id, "--format", format], more].concat()).output().ok().text();
        for words in ["line 250 of the build", "what no result names"] {
            // A folded text shows its last line too.
            let shown = if format == "html" { 2 } else { 1 };
            assert!((1..=shown).contains(&page(&["--full"]).matches(words).count()), "{format}");
            assert!(!page(&[]).contains(words), "{format}");
        }
    }
    // What cannot be had of it is told.
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let copy = store.join(tests::scratch::PROJECT).join(&id).join("tool-results/toolu_01MAIN.txt");
        fs::write(copy, lines.replace("line 7 ", "line 8 ")).expect("damage a copy");
    }
    let page = scratch.layer3(&["export", &id, "--format", "md", "--full"]).output();
    assert!(page.text().contains("what no result names") && page.text().contains("failed to read"), "{page:?}");
    assert!(page.stderr.contains("toolu_01MAIN.txt"), "{page:?}");
}
