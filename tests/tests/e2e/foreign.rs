//! Something else in the place of a folder or file of ours; files of ours that have further names; stores and transcripts
//! that a mount makes one.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use layer1_prebackup::fs::platform::make_fifo;
use layer1_prebackup::fs::{Dir, Lock};
use serde_json::Value;
use tests::run::Run;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::assert_saved_twice;
use tests::transcripts::{append, made_id, make_conversation, prompt_line, session_end};
use tests::tree;

use crate::product::{assert_verified, chain, chain_delivered, drain, text};

/// What can stand in the place of something. A file stands where a folder belongs, or where nothing need be.
const KINDS: [&str; 5] = ["file", "folder", "fifo", "link", "socket"];

/// Places in the first store (1) and the second (3), a set at a time: none lies in another. What ends with a slash is a
/// folder; `ID` is the conversation's.
const PLACES: [&[(u8, &str)]; 6] = [
    &[
        (1, ".outbox/"),
        (1, ".log/"),
        (1, ".state/sessions/ID/"),
        (1, ".state/damage.json"),
        (3, ".state/sessions/"),
        (3, "sessions.db-wal"),
    ],
    &[
        (1, "proj/"),
        (1, ".outbox/receipts/"),
        (1, ".state/sessions/ID/lock"),
        (1, ".state/store.lock"),
        (1, ".log/layer1.log"),
        (1, ".state/journal/"),
        (3, "proj/"),
        (3, ".state/to-index"),
        (3, ".state/metadata.lock"),
        (3, "sessions.db-shm"),
        (3, ".state/damage.json"),
    ],
    &[
        (1, ".state/sessions/ID/proj.ledger"),
        (1, ".outbox/outbox.lock"),
        (3, ".state/sessions/ID/proj.ledger"),
        (3, "sessions.db-sums"),
        (3, ".sessions.db.turnstile"),
        (3, ".log/"),
    ],
    &[
        (1, ".state/"),
        (1, ".outbox/ID@proj.json"),
        (3, ".state/sessions/ID/lock"),
        (3, "sessions.db-journal"),
        (3, "proj/ID/"),
    ],
    &[
        (1, ".outbox/deliver.lock"),
        (1, ".outbox/receipts/ID@proj.json"),
        (1, "proj/ID/subagents/"),
        (1, ".state/seen"),
        (3, ".state/"),
        (3, "sessions.db"),
    ],
    // The bookkeeping says what belongs into these.
    &[
        (1, "proj/ID/"),
        (1, "proj/ID.jsonl"),
        (1, ".outbox/damaged/"),
        (1, ".state/damaged/"),
        (3, "proj/ID/subagents/"),
        (3, "proj/ID.jsonl"),
    ],
];

/// Files of ours that are there, and what need not be there but is ours by its name.
const MAY_BE_ANY_FILE: [&str; 3] = [".state/damage.json", ".outbox/ID@proj.json", "sessions.db-journal"];

#[test]
fn whatever_is_in_the_place_of_a_file_or_folder_of_ours_is_told_and_what_is_printed_puts_it_right() {
    for places in PLACES {
        for kind in KINDS {
            for is_used in [true, false] {
                check(places, kind, is_used);
            }
        }
    }
}

/// `is_used`: hooks and a drain come by before anybody looks.
#[track_caller]
fn check(places: &[(u8, &str)], kind: &str, is_used: bool) {
    let scratch = Scratch::new();
    let id = made_id(1);
    let transcript = make_conversation(&scratch, &id, 3);
    append(&transcript.with_extension("").join("subagents/agent-1.jsonl"), "{\"side\":1}\n");
    chain_delivered(&scratch, &session_end(&transcript));
    let mut planted = Vec::new();
    for (layer, place) in places {
        let is_folder = place.ends_with('/');
        if kind == "folder" && is_folder || kind == "file" && !is_folder && !MAY_BE_ANY_FILE.contains(place) {
            continue;
        }
        let store = if *layer == 1 { scratch.layer1_store() } else { scratch.layer3_store() };
        let at = store.join(place.trim_end_matches('/').replace("ID", &id));
        plant(&scratch, kind, &at, planted.len());
        planted.push(at);
    }
    let what = format!("{kind}, used: {is_used}: {planted:#?}");
    if is_used {
        append(&transcript, prompt_line(&id, 90, "and went on"));
        chain(&scratch, &session_end(&transcript));
        drain(&scratch);
    }
    let told = status(&scratch);
    for at in &planted {
        let is_ours_again = fs::symlink_metadata(at)
            .map_or(true, |meta| meta.is_file() && kind != "file" || meta.is_dir() && kind != "folder");
        let path = at.display().to_string();
        // The index is told by its name, and a folder of contents by the files in it.
        let name = at.file_name().unwrap().to_string_lossy().into_owned();
        let is_named =
            told.to_string().contains(&path) || name.starts_with("sessions.db") && told.to_string().contains(&name);
        assert!(is_named || is_used && is_ours_again || kind == "file", "{path} is not named; {what}\n{told:#}");
    }
    for _ in 0..3 {
        for command in printed(&status(&scratch), &what) {
            scratch.at_home(Run::new("/bin/sh")).args(["-c", &command]).output();
        }
        scratch.await_no_process(crate::product::DELIVERY);
    }
    let left = printed(&status(&scratch), &what);
    assert!(left.is_empty(), "{left:?}; {what}\n{:#}", status(&scratch));
    // The index alone is not needed to be told: any search makes it again.
    scratch.layer3(&["search", "--all", "needle"]).output().ok();
    for verified in [scratch.layer1(&["verify"]).output(), scratch.layer3(&["verify"]).output()] {
        assert_eq!(verified.code, Some(0), "{verified:?}; {what}");
    }
    assert_saved_twice(&scratch, &transcript);
    let before = fs::read(&transcript).unwrap();
    fs::remove_dir_all(scratch.slug_dir()).unwrap();
    scratch.layer3(&["restore", &id]).output().ok();
    assert_eq!(fs::read(&transcript).unwrap(), before, "{what}");
    let files: Vec<PathBuf> = tree::all(scratch.root()).into_keys().map(|path| scratch.root().join(path)).collect();
    for (n, at) in planted.iter().enumerate() {
        let (words, target) = (words(n), elsewhere(&scratch, n));
        let is_kept = match kind {
            "file" | "folder" => files.iter().any(|path| {
                fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
                    && fs::read(path).is_ok_and(|bytes| bytes == words.as_bytes())
            }),
            "link" => {
                fs::read_to_string(target.join("inside")).unwrap() == words
                    && files.iter().any(|path| fs::read_link(path).is_ok_and(|to| to == target))
            }
            _ => true,
        };
        assert!(is_kept, "{} is lost; {what}", at.display());
    }
}

fn words(n: usize) -> String {
    format!("words of somebody's, {n}.")
}

fn elsewhere(scratch: &Scratch, n: usize) -> PathBuf {
    scratch.beside(&format!("elsewhere-{n}"))
}

fn plant(scratch: &Scratch, kind: &str, at: &Path, n: usize) {
    match fs::symlink_metadata(at) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(at).unwrap(),
        Ok(_) => fs::remove_file(at).unwrap(),
        Err(_) => drop(Dir::create(at.parent().unwrap()).unwrap()),
    }
    match kind {
        "file" => fs::write(at, words(n)).unwrap(),
        "folder" => fs::create_dir(at).and_then(|()| fs::write(at.join("inside"), words(n))).unwrap(),
        "fifo" => make_fifo(at),
        "link" => {
            let target = elsewhere(scratch, n);
            fs::create_dir(&target).and_then(|()| fs::write(target.join("inside"), words(n))).unwrap();
            symlink(target, at).unwrap();
        }
        _ => {
            // The path of a socket may be too long: it is made elsewhere.
            let made = scratch.beside("s");
            drop(UnixListener::bind(&made).unwrap());
            fs::rename(made, at).unwrap();
        }
    }
}

fn status(scratch: &Scratch) -> Value {
    scratch.layer3(&["status", "--json"]).output().json()
}

/// The commands that status prints for what needs a person, each once. Nothing is installed here.
#[track_caller]
fn printed(status: &Value, what: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for found in status["findings"].as_array().unwrap() {
        let kind = text(found, "kind");
        if found["needs_person"] == true && !kind.starts_with("hook") && !kind.starts_with("mcp") {
            let command = found["mend"].as_str().unwrap_or_else(|| panic!("no command: {found:#}; {what}"));
            if !commands.iter().any(|known| known == command) {
                commands.push(command.to_owned());
            }
        }
    }
    commands
}

#[test]
fn settings_that_are_no_file_are_told_with_a_command_that_puts_them_right() {
    for (kind, n) in KINDS[1..].iter().zip(0..) {
        let scratch = Scratch::new();
        let transcript = make_conversation(&scratch, &made_id(1), 1);
        for (at, n) in [(".config/threefold/config.toml", 2 * n), (".claude/settings.json", 2 * n + 1)] {
            plant(&scratch, kind, &scratch.home().join(at), n);
        }
        chain(&scratch, &session_end(&transcript));
        scratch.await_no_process(crate::product::DELIVERY);
        let said = scratch.layer3(&["status"]).output().stderr;
        let command = said.trim().rsplit_once(": mv ").unwrap_or_else(|| panic!("{said}")).1;
        let sh = |command: &str| scratch.at_home(Run::new("/bin/sh")).args(["-c", command]).output().ok();
        sh(&format!("mv {command}"));
        let told = status(&scratch);
        let unreadable = |told: &Value| {
            let found =
                told["findings"].as_array().unwrap().iter().find(|found| found["kind"] == "settings-unreadable");
            found.map(|found| text(found, "mend"))
        };
        sh(&unreadable(&told).unwrap_or_else(|| panic!("{told:#}")));
        assert_eq!(unreadable(&status(&scratch)), None, "{kind}");
        assert_saved_twice(&scratch, &transcript);
    }
}

/// Another process holds the lock that all writers of the index pass, and hangs.
#[test]
fn a_lock_that_another_process_holds_is_waited_for_once_by_a_command_that_comes_by_it_twice() {
    let scratch = Scratch::new();
    let transcript = make_conversation(&scratch, &made_id(1), 3);
    chain_delivered(&scratch, &session_end(&transcript));
    let turnstile = scratch.layer3_store().join(".sessions.db.turnstile");
    let held = Lock::try_now(&turnstile).unwrap();
    assert!(held.is_some());
    // It is waited for 10 s: once fits in this, twice does not.
    scratch.layer3(&["verify", "--repair"]).limit(Duration::from_secs(19)).output().ok();
    drop(held);
}

#[test]
fn a_snapshot_of_hard_links_is_no_damage_and_nothing_is_written_into_it() {
    let scratch = Scratch::new();
    let id = made_id(1);
    let transcript = make_conversation(&scratch, &id, 3);
    append(&transcript.with_extension("").join("subagents/agent-1.jsonl"), "{\"side\":1}\n");
    chain_delivered(&scratch, &session_end(&transcript));
    for n in 0..3 {
        let snapshots = [scratch.layer1_store(), scratch.layer3_store()].map(|store| {
            let to = scratch.beside(&format!("{}-{n}", store.file_name().unwrap().to_string_lossy()));
            assert!(Command::new("cp").arg("-al").args([&store, &to]).status().unwrap().success());
            (tree::all(&to), to)
        });
        let told = status(&scratch);
        assert!(printed(&told, "hard links").is_empty(), "{told:#}");
        assert_verified(&scratch);
        append(&transcript, prompt_line(&id, 90 + n, "and went on"));
        append(&transcript.with_extension("").join("subagents/agent-1.jsonl"), "{\"side\":2}\n");
        chain_delivered(&scratch, &session_end(&transcript));
        scratch.layer3(&["search", "--all", "went"]).output().ok();
        assert_verified(&scratch);
        assert_saved_twice(&scratch, &transcript);
        for (before, snapshot) in snapshots {
            assert_eq!(tree::all(&snapshot), before, "{}", snapshot.display());
        }
        // Nothing piles up.
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            let odd = |path: &PathBuf| {
                ["not-ours", "damaged/", "set-aside"].iter().any(|odd| path.to_string_lossy().contains(odd))
            };
            let left: Vec<PathBuf> = tree::all(&store).into_keys().filter(odd).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

#[test]
fn two_copies_that_a_tool_made_one_file_are_told_and_made_two_again() {
    let scratch = Scratch::new();
    let id = made_id(1);
    let transcript = make_conversation(&scratch, &id, 3);
    chain_delivered(&scratch, &session_end(&transcript));
    let [one, three] =
        [scratch.layer1_store(), scratch.layer3_store()].map(|s| s.join(format!("{PROJECT}/{id}.jsonl")));
    fs::remove_file(&three).and_then(|()| fs::hard_link(&one, &three)).unwrap();
    assert_eq!(scratch.layer3(&["verify"]).output().code, Some(1));
    for command in printed(&status(&scratch), "one file") {
        scratch.at_home(Run::new("/bin/sh")).args(["-c", &command]).output();
    }
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_ne!(inode(&one), inode(&three));
    assert_verified(&scratch);
    assert!(printed(&status(&scratch), "one file").is_empty());
}

/// Claude Code's `projects` and a store, or a folder of one, are the same folder: by a link, or mounted one over the other.
#[test]
fn nothing_of_ours_is_written_among_transcripts_that_lie_in_a_store_by_a_link_or_a_mount() {
    for store in [".claude-backup-sessions", ".claude-backup"] {
        for below in ["", ".log", ".state", ".outbox", PROJECT, "sub/deeper"] {
            for how in ["link", "mount", "mounted in"] {
                one_folder(store, below, how);
            }
        }
    }
}

/// Said once a mount is there.
const MOUNTED: &str = "it is mounted";

fn mounted(from: &Path, to: &Path) -> String {
    format!("mount --bind '{}' '{}' && echo '{MOUNTED}' >&2 && ", from.display(), to.display())
}

#[track_caller]
fn one_folder(store: &str, below: &str, how: &str) {
    let scratch = Scratch::new();
    let id = made_id(1);
    let transcript = make_conversation(&scratch, &id, 2);
    let (projects, folder) = (scratch.claude_dir().join("projects"), scratch.home().join(store).join(below));
    Dir::create(&folder).unwrap();
    let before = tree::all(&projects);
    let (kept, mount) = match how {
        "mounted in" => (projects.clone(), mounted(&projects, &folder)),
        _ => {
            let slug = scratch.slug_dir();
            fs::rename(&slug, folder.join(slug.file_name().unwrap())).unwrap();
            if how == "link" {
                fs::remove_dir(&projects).and_then(|()| symlink(&folder, &projects)).unwrap();
            }
            (folder.clone(), if how == "link" { String::new() } else { mounted(&folder, &projects) })
        }
    };
    let before_it_all = tree::all(&kept);
    let event = session_end(&transcript);
    let [layer1, layer2, layer3] =
        ["layer1-prebackup", "layer2-save-client", "layer3-indexer"].map(|p| scratch.program(p));
    let (layer1, layer2, layer3) = (layer1.display(), layer2.display(), layer3.display());
    let hooks = format!(
        "{mount}{chain}; {start}; for verb in sweep status 'verify --repair'; do '{layer1}' $verb; done; \
         '{layer2}' drain --foreground; '{layer2}' pending; for verb in status doctor 'verify --repair' import rebuild; do \
         '{layer3}' $verb; done; '{layer3}' serve < /dev/null; true",
        chain = scratch.chain_command("").replace("{ ", &format!("{{ echo '{event}' | ")),
        start = scratch.start_command(),
    );
    let mut run = scratch.at_home(Run::new("/usr/bin/unshare"));
    if mount.is_empty() {
        run = scratch.at_home(Run::new("/bin/sh")).args(["-c", &hooks]);
    } else {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: {how} {store}/{below}: only root mounts");
            return;
        }
        run = run.args(["-m", "/bin/sh", "-c", &hooks]);
    }
    let said = run.output();
    scratch.await_no_process(crate::product::DELIVERY);
    let is_mounted = said.stderr.lines().next() == Some(MOUNTED);
    assert_eq!(is_mounted, how != "link", "{how} {store}/{below}: {said:?}");
    let refused = String::from_utf8_lossy(&said.stdout).into_owned() + &said.stderr;
    assert!(refused.contains("where Claude Code keeps its transcripts"), "{how} {store}/{below} is told: {said:?}");
    // And it costs no copy: what cannot be used is not.
    let name = format!("{id}.jsonl");
    let is_elsewhere = |path: &PathBuf| path.ends_with(&name) && !scratch.root().join(path).starts_with(&kept);
    let copies = tree::all(scratch.root()).into_keys().filter(is_elsewhere).count();
    assert!(copies > 0, "{how} {store}/{below} is saved: {said:?}");
    assert_eq!(tree::all(&kept), before_it_all, "{how} {store}/{below}: {said:?}");
    assert!(before.keys().all(|path| kept.join(path).exists()), "{how} {store}/{below}");
    assert!(!said.timed_out);
}
