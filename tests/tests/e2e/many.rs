//! Many conversations: what did not change costs a look at its status, and whatever changed is noticed all the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tests::binaries::{LAYER1, LAYER2, LAYER3};
use tests::scratch::{PROJECT, Scratch};
use tests::stores::assert_saved_twice;
use tests::strace::{self, Traced};
use tests::transcripts;
use tests::waiting::{DELIVERY, await_until};

use crate::product::install_hooks;

/// Of fewer nothing is kept.
const SESSIONS: u32 = 220;
/// So long files rest before their status is believed.
const REST: Duration = Duration::from_secs(4);

/// Many conversations in both copies, looked at once after all of them had rested.
fn looked_at() -> Scratch {
    let scratch = Scratch::new();
    for n in 1..=SESSIONS {
        transcripts::make_conversation(&scratch, &transcripts::made_id(n), 1);
    }
    let agent = agent_of(&scratch, 9);
    transcripts::append(&agent, transcripts::prompt_line(&transcripts::made_id(9), 0, "of a subagent"));
    scratch.layer3(&["import"]).output().ok();
    scratch.layer1(&["sweep"]).output().ok();
    let newest = [scratch.layer1_store(), scratch.layer3_store()].map(|store| newest_below(&store));
    let has_rested = |changed: &SystemTime| changed.elapsed().is_ok_and(|age| age > REST);
    await_until("the copies rest", DELIVERY, || newest.iter().all(has_rested));
    start(&scratch);
    for seen in seen_of(&scratch) {
        assert!(seen.exists(), "{}", seen.display());
    }
    scratch
}

/// What a start of Claude Code does.
fn start(scratch: &Scratch) {
    scratch.layer1(&["sweep", "--quiet"]).output().ok().unworried();
    scratch.layer2(&["drain"]).output().ok();
}

/// Where it is kept what was seen of the first copy, and of the second.
fn seen_of(scratch: &Scratch) -> [PathBuf; 2] {
    [".state/seen", ".outbox/.seen"].map(|seen| scratch.layer1_store().join(seen))
}

fn agent_of(scratch: &Scratch, n: u32) -> PathBuf {
    scratch.slug_dir().join(transcripts::made_id(n)).join("subagents/agent-1.jsonl")
}

fn newest_below(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).expect("list a store").map(|entry| entry.expect("list a store"));
    let changed = |path: &Path| path.symlink_metadata().and_then(|meta| meta.modified()).expect("look at a file");
    let newest = |path: PathBuf| if path.is_dir() { newest_below(&path).max(changed(&path)) } else { changed(&path) };
    entries.map(|entry| newest(entry.path())).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

#[test]
fn what_did_not_change_is_neither_opened_nor_read() {
    if !strace::is_here("what_did_not_change_is_neither_opened_nor_read") {
        return;
    }
    let scratch = looked_at();
    // Where they are, status asks whether they run.
    install_hooks(&scratch);
    // Beside what each opens for itself there is no room for one of each conversation.
    for (program, args, opened_max, statuses_max) in [
        (LAYER1, &["sweep", "--quiet"][..], 100, 2),
        (LAYER2, &["drain"], 150, 2),
        (LAYER3, &["status", "--json"], 300, 5),
    ] {
        let calls = "open,openat,?openat2,?stat,?lstat,newfstatat,statx";
        let trace = Traced::new(&scratch, calls, &[], program, args).output();
        // A call that another thread's interrupts in the trace has two lines.
        let of =
            |call: &str| trace.lines.iter().filter(|line| line.contains(call) && !line.contains(" resumed>")).count();
        let (opened, asked) = (of(" open"), of("stat"));
        println!("{program}: {opened} opens, {asked} statuses of {SESSIONS} conversations");
        assert!(opened < opened_max, "{program} opened {opened} files");
        assert!(asked < statuses_max * SESSIONS as usize + 300, "{program} asked for {asked} statuses");
    }
}

/// A finding as far as it does not tell the time.
fn findings(scratch: &Scratch) -> Vec<[String; 3]> {
    let status = scratch.layer3(&["status", "--json"]).output().json();
    let of = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let findings = status["findings"].as_array().expect("findings").iter();
    findings.map(|finding| ["kind", "session_id", "where"].map(|name| of(finding, name))).collect()
}

/// What `status` says where nothing was seen before.
fn findings_of_all(scratch: &Scratch) -> Vec<[String; 3]> {
    let seen = seen_of(scratch);
    seen.iter().for_each(|seen| fs::rename(seen, seen.with_extension("aside")).expect("move it away"));
    let findings = findings(scratch);
    seen.iter().for_each(|seen| fs::rename(seen.with_extension("aside"), seen).expect("move it back"));
    findings
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("read a file");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("damage a file");
}

#[test]
fn whatever_changes_is_noticed_as_if_nothing_had_been_seen_before() {
    let scratch = looked_at();
    let id = transcripts::made_id;
    let copy = |store: PathBuf, n| store.join(PROJECT).join(format!("{}.jsonl", id(n)));
    let ledgers = |store: PathBuf, n| store.join(".state/sessions").join(id(n));
    let ledger = |store: PathBuf, n| ledgers(store, n).join(format!("{PROJECT}.ledger"));
    let (first, second) = (|| scratch.layer1_store(), || scratch.layer3_store());
    let kinds = |n: u32| -> Vec<String> {
        let found = findings(&scratch).into_iter().filter(|[_, session, _]| *session == id(n));
        found.map(|[kind, ..]| kind).collect()
    };
    type Change<'a> = &'a dyn Fn(u32);
    let changes: [(&str, Change, &str); 9] = [
        ("a copy cut short", &|n| fs::write(copy(first(), n), "").unwrap(), "damaged-copy"),
        ("a copy that is gone", &|n| fs::remove_file(copy(second(), n)).unwrap(), "damaged-copy"),
        ("a damaged ledger", &|n| flip(&ledger(first(), n)), "damaged-copy"),
        ("a ledger that is gone", &|n| fs::remove_file(ledger(second(), n)).unwrap(), "damaged-copy"),
        ("one more prompt", &|n| transcripts::append(&scratch.transcript(&id(n)), "{}\n"), "not-saved"),
        ("a transcript that is gone", &|n| fs::remove_file(scratch.transcript(&id(n))).unwrap(), "vanished"),
        (
            "another text of the same length and time",
            &|n| {
                let path = scratch.transcript(&id(n));
                let modified = fs::metadata(&path).and_then(|meta| meta.modified()).unwrap();
                flip(&path);
                fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(modified)).unwrap();
            },
            "not-saved",
        ),
        (
            "a conversation that one store lost",
            &|n| {
                fs::remove_file(copy(second(), n)).unwrap();
                fs::remove_dir_all(ledgers(second(), n)).unwrap();
            },
            "",
        ),
        ("a subagent's file that is gone", &|n| fs::remove_file(agent_of(&scratch, n)).unwrap(), "vanished"),
    ];
    let mut known = findings(&scratch);
    assert_eq!(known, findings_of_all(&scratch));
    for (n, (what, change, kind)) in (1..).zip(changes) {
        change(n);
        let found = findings(&scratch);
        assert_eq!(found, findings_of_all(&scratch), "{what}");
        assert!(found != known, "{what} was not noticed: {found:?}");
        assert!(kind.is_empty() || kinds(n).contains(&kind.to_owned()), "{what}: {:?}", kinds(n));
        known = found;
    }
    assert!(known.iter().any(|[kind, ..]| kind == "one-copy"), "{known:?}");

    // What a start makes good it makes good of these too, and tells of nothing else.
    start(&scratch);
    for n in [5, 7, 8] {
        assert_saved_twice(&scratch, &scratch.transcript(&id(n)));
    }
    let left = findings(&scratch);
    assert_eq!(left, findings_of_all(&scratch));
    assert!(!left.iter().any(|[kind, ..]| kind == "one-copy" || kind == "not-saved"), "{left:?}");
    scratch.layer3(&["verify", "--repair"]).output();
    scratch.layer1(&["verify", "--repair"]).output();
    scratch.layer3(&["verify"]).output().ok();
}

#[test]
fn a_forgotten_conversation_is_not_named_by_what_was_seen() {
    let scratch = looked_at();
    let id = transcripts::made_id(3);
    fs::remove_file(scratch.transcript(&id)).expect("delete the transcript");
    let forgotten = scratch.layer3(&["forget", &id, "--yes"]).output().ok();
    assert!(!forgotten.text().contains("still"), "{forgotten:?}");
    assert!(seen_of(&scratch).iter().all(|seen| !seen.exists()));
}
