//! What the version before wrote is read and gone on with, byte for byte: stores, index, outbox, receipts,
//! settings and hooks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::binaries;
use tests::run::Run;
use tests::scratch::Scratch;
use tests::stores::{assert_saved_twice, files_of_both};
use tests::transcripts::{self, INTERACTIVE, SUBAGENT, answer_line, made_id};
use tests::version_before::{self, COMPRESSED, PENDING, REWRITTEN, WITHOUT_TRANSCRIPT};

use crate::product::{assert_verified, chain_delivered, drain, found_in, pending};

/// What counts other records than before: with those that only wait to be sent, and the messages of the conversation alone.
const SAYS_MORE: [&str; 2] = ["timestamp_start", "messages"];

/// Asserts that each field that was answered before is answered as before; there may be more.
#[track_caller]
fn assert_answers(what: &str, before: &Value, now: &Value) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (name, before) in before.iter().filter(|(name, _)| !SAYS_MORE.contains(&name.as_str())) {
                assert_answers(&format!("{what}.{name}"), before, now.get(name).unwrap_or(&Value::Null));
            }
        }
        (Value::Array(before), Value::Array(now)) if before.len() == now.len() => {
            before.iter().zip(now).for_each(|(before, now)| assert_answers(what, before, now));
        }
        _ => assert_eq!(before, now, "{what}"),
    }
}

/// An answer without what marks old text as such, which the version before did not do.
fn unmarked(answer: &mut Value) {
    match answer {
        Value::Object(fields) => fields.values_mut().for_each(unmarked),
        Value::Array(items) => items.iter_mut().for_each(unmarked),
        Value::String(text) if text.contains("\n│ ") => {
            let lines = text.split('\n').filter(|line| !line.starts_with("[an earlier conversation; "));
            *text = lines.map(|line| line.strip_prefix("│ ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
        }
        _ => {}
    }
}

/// Whether a file tells what was said or promised: no log, no lock, no index, no list of what it lacks.
fn is_record(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_lock = name == "lock" || name.ends_with(".lock") || name.ends_with(".turnstile");
    let is_index = name.starts_with("sessions.db") || name == "to-index";
    !is_lock && !is_index && !path.iter().any(|part| part == ".log")
}

fn records(scratch: &Scratch) -> BTreeMap<PathBuf, blake3::Hash> {
    files_of_both(scratch).into_iter().filter(|(path, _)| is_record(path)).collect()
}

fn ledgers(scratch: &Scratch, id: &str) -> Vec<Vec<u8>> {
    let stores = [scratch.layer1_store(), scratch.layer3_store()];
    stores
        .map(|store| fs::read(store.join(".state/sessions").join(id).join("proj.ledger")).unwrap_or_default())
        .to_vec()
}

/// The files that a ledger says something of.
fn recorded_of(ledger: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(ledger);
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.get(17..)?).ok());
    lines.filter_map(|line| Some(line.get("path")?.to_string())).collect()
}

fn xtask(scratch: &Scratch, args: &[&str]) -> String {
    scratch.at_home(Run::new(binaries::xtask())).args(args).output().ok().text()
}

#[test]
fn its_stores_and_index_are_read_as_before_and_nothing_of_them_changes() {
    let scratch = version_before::lay_out();
    let before = files_of_both(&scratch);
    assert_eq!(pending(&scratch).len(), 1);
    assert_verified(&scratch);
    // An index of another version is made again from the copies, once, and that is said.
    found_in(&scratch, "dunlin");
    let mut answers = version_before::answers(&scratch);
    unmarked(&mut answers);
    // What a rewriting lost is told by now: its messages are there, with other words.
    let shown = &mut answers["show-rewritten"];
    let notes = std::mem::replace(&mut shown["notes"], Value::Array(Vec::new()));
    let note = notes[0].as_str().expect("a note").to_owned();
    assert!(note.starts_with("it lost 2 messages that version 1 has"), "{note}");
    shown["text"] = shown["text"].as_str().expect("a text").replace(&format!("[{note}]\n"), "").into();
    assert_answers("answers", &version_before::recorded_answers(), &answers);
    let records: BTreeMap<_, _> = before.into_iter().filter(|(path, _)| is_record(path)).collect();
    assert_eq!(self::records(&scratch), records);
    let status = scratch.layer1(&["status"]).output();
    assert!(status.text().contains(&made_id(WITHOUT_TRANSCRIPT)[..8]), "what events said is told: {status:#?}");
}

#[test]
fn what_it_left_in_the_outbox_is_delivered_and_what_has_a_receipt_is_not_again() {
    let scratch = version_before::lay_out();
    let before = records(&scratch);
    assert_eq!(found_in(&scratch, "dunlin"), [""; 0]);
    drain(&scratch);
    assert_eq!(found_in(&scratch, "dunlin"), [made_id(PENDING)]);
    assert_saved_twice(&scratch, &scratch.transcript(&made_id(PENDING)));
    let of_pending = |path: &Path| path.to_string_lossy().contains(&made_id(PENDING));
    let kept = |records: BTreeMap<PathBuf, blake3::Hash>| -> BTreeMap<_, _> {
        records.into_iter().filter(|(path, _)| !of_pending(path)).collect()
    };
    assert_eq!(kept(records(&scratch)), kept(before), "nothing else is written");
    assert_verified(&scratch);
}

#[test]
fn every_session_of_its_goes_on() {
    let scratch = version_before::lay_out();
    let ids = [INTERACTIVE.to_owned(), SUBAGENT.to_owned(), made_id(REWRITTEN), made_id(COMPRESSED), made_id(PENDING)];
    for (turn, id) in (90..).zip(&ids) {
        let before = ledgers(&scratch, id);
        let transcript = scratch.transcript(id);
        transcripts::append(&transcript, answer_line(id, turn, &format!("guillemot{turn} flies on")));
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        assert_saved_twice(&scratch, &transcript);
        assert_eq!(found_in(&scratch, &format!("guillemot{turn}")), [id.as_str()]);
        // Written anew once, with what it says and whose it is.
        for (before, now) in before.iter().zip(ledgers(&scratch, id)).filter(|(before, _)| !before.is_empty()) {
            let (said, says) = (recorded_of(before), recorded_of(&now));
            assert!(said.is_subset(&says), "{id}: {:?} is gone", said.difference(&says));
            assert!(String::from_utf8_lossy(&now).lines().next().is_some_and(|first| first.contains(id.as_str())));
        }
    }
    let mut older = scratch.layer3(&["show", &made_id(REWRITTEN), "--generation", "1", "--json"]).output().ok().json();
    unmarked(&mut older);
    assert_answers("show-older.text", &version_before::recorded_answers()["show-older"]["text"], &older["text"]);
    assert_verified(&scratch);
}

#[test]
fn every_session_of_its_is_restored_byte_for_byte() {
    let scratch = version_before::lay_out();
    drain(&scratch);
    for id in [INTERACTIVE.to_owned(), SUBAGENT.to_owned(), made_id(REWRITTEN), made_id(COMPRESSED), made_id(PENDING)] {
        let transcript = scratch.transcript(&id);
        let whole = fs::read(&transcript).expect("read a transcript");
        fs::remove_file(&transcript).expect("lose a transcript");
        let _ = fs::remove_dir_all(transcript.with_extension("")); // Most have no side files.
        scratch.layer3(&["restore", &id]).output().ok();
        assert_eq!(fs::read(&transcript).expect("it is restored"), whole, "{id}");
        assert_saved_twice(&scratch, &transcript);
    }
    let older = made_id(REWRITTEN);
    scratch.layer3(&["restore", &older, "--generation", "1", "--force"]).output().ok();
    let restored = fs::read_to_string(scratch.transcript(&older)).expect("it is restored");
    assert_eq!(restored, version_before::conversation(REWRITTEN, "albatross"));
}

#[test]
fn its_hooks_are_told_from_the_users_own_and_installed_again_or_taken_away() {
    let scratch = version_before::lay_out();
    let settings = scratch.claude_dir().join("settings.json");
    let before = fs::read_to_string(&settings).expect("read the settings");
    let status = scratch.layer3(&["status", "--json"]).output().json();
    let kinds: Vec<_> =
        status["findings"].as_array().expect("findings").iter().map(|finding| &finding["kind"]).collect();
    assert!(!kinds.iter().any(|kind| kind.to_string().contains("hook")), "{kinds:?}");
    xtask(&scratch, &["install", "--binaries", binaries::folder().to_str().expect("UTF-8")]);
    let upgraded = fs::read_to_string(&settings).expect("read the settings");
    let of_ours = |text: &str| text.lines().filter(|line| line.contains(binaries::LAYER1)).count();
    assert_eq!(of_ours(&upgraded) + 1, of_ours(&before), "in place, and none on PostCompact: {upgraded}");
    assert!(!upgraded.contains("PostCompact") && !upgraded.contains("/home/.claude/hooks"), "{upgraded}");
    xtask(&scratch, &["install", "--binaries", binaries::folder().to_str().expect("UTF-8")]);
    assert_eq!(fs::read_to_string(&settings).expect("read the settings"), upgraded, "nothing to change");
    xtask(&scratch, &["uninstall"]);
    assert_eq!(fs::read_to_string(&settings).expect("read the settings"), version_before::own_settings());
    assert!(!scratch.claude_dir().join("skills/search-sessions").exists(), "its skills go too");
    assert!(!scratch.claude_dir().join("hooks").join(binaries::LAYER1).exists(), "and the programs");
}
