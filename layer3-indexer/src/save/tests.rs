//! Saving: copies, receipts and what becomes of bad sources.

// A test plays the part of Claude Code, of a user and of a failing disk.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use std::path::Path;

use layer1_prebackup::archive::{Archive, SaveReport, TranscriptState};
use layer1_prebackup::claude::transcripts::Reach;
use layer1_prebackup::names::{FileName, SessionId, StoredName};

use super::log::LOG_NAME;
use super::roots::RootKind;
use super::session::verify_copy;
use super::steps::Steps;
use super::*;
use crate::testing::{ID, Scene, answer, prompt};
use crate::transcript::metadata::Metadata;

fn conversation() -> Vec<String> {
    vec![prompt(1, "where is the parser?"), answer(2, "in parse.rs")]
}

fn covered(receipt: &Receipt) -> Vec<(String, bool)> {
    receipt.files.iter().map(|file| (file.path.replace(ID, "ID"), file.covered)).collect()
}

#[test]
fn a_receipt_lists_what_is_stored_and_the_log_says_so() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    scene.write(&scene.transcript().with_extension("").join("subagents/agent-1.jsonl"), &answer(3, "sub"));
    let receipt = scene.receipt(None);
    assert_eq!(covered(&receipt), [("ID.jsonl".to_owned(), true), ("ID/subagents/agent-1.jsonl".to_owned(), true)]);
    assert_eq!((receipt.project.as_str(), receipt.trigger.as_str()), ("proj", "session-end"));
    assert_eq!((receipt.messages_indexed, receipt.warning), (2, None));
    let bytes = fs::read(scene.transcript()).unwrap();
    assert_eq!(receipt.files[0].bytes, bytes.len() as u64);
    assert_eq!(receipt.files[0].blake3, blake3::hash(&bytes).to_hex().as_str());
    let log = fs::read_to_string(scene.places.layer3_store.join(".log").join(LOG_NAME)).unwrap();
    assert_eq!(log, format!("[session-save] ✅ JSONL backed up ({} bytes) - trigger: session-end\n", bytes.len()));
    let metadata: Metadata = serde_json::from_slice(&fs::read(scene.copy().with_extension("json")).unwrap()).unwrap();
    assert_eq!((metadata.first_topic.as_deref(), metadata.messages), (Some("where is the parser?"), 2));
}

#[test]
fn an_absent_or_empty_transcript_is_skipped_and_makes_nothing() {
    let scene = Scene::new();
    let reason = |answer| match answer {
        Answer::Skipped(skipped) => scene.filtered(&skipped.reason).replace(ID, "ID"),
        Answer::Receipt(receipt) => panic!("{receipt:?}"),
    };
    insta::assert_snapshot!(reason(scene.save(None).unwrap()), @"the transcript ~/.claude/projects/-home-dev-proj/ID.jsonl does not exist, and layer 1 has no copy of it");
    scene.write(&scene.transcript(), "");
    insta::assert_snapshot!(reason(scene.save(Some(&[])).unwrap()), @"the transcript ~/.claude/projects/-home-dev-proj/ID.jsonl is empty, and layer 1 has no copy of it");
    assert!(!scene.places.layer3_store.exists());
}

#[test]
fn what_the_source_no_longer_has_comes_from_layer_1_as_an_older_generation() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    scene.layer1_copies();
    // Rewritten, copied by layer 1, and rewritten again before layer 3 saw anything.
    scene.transcribe(&[prompt(1, "second content"), answer(2, "of the same file")]);
    let held = scene.layer1_copies();
    scene.transcribe(&[prompt(9, "third")]);
    let expected = scene.expected(&held);
    let receipt = scene.receipt(Some(&expected));
    assert_eq!(covered(&receipt), [("ID.jsonl".to_owned(), true), ("ID.gen-0001.jsonl".to_owned(), true)]);
    let stored: Vec<String> = scene.stored().iter().map(|line| line.replace(ID, "ID")).collect();
    insta::assert_snapshot!(stored.join("\n"), @r#"
        proj/ID.gen-0001.jsonl: 2 lines
        proj/ID.gen-0002.jsonl: 2 lines
        proj/ID.jsonl: 1 lines
        "#);
    assert_eq!(fs::read(scene.copy()).unwrap(), fs::read(scene.transcript()).unwrap());
    let first = fs::read_to_string(scene.copy().with_file_name(format!("{ID}.gen-0001.jsonl"))).unwrap();
    assert_eq!(first, conversation().concat());
}

#[test]
fn everything_comes_from_layer_1_when_the_source_is_gone() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    scene.write(&scene.transcript().with_extension("").join("tool-results/1.txt"), "output");
    let held = scene.layer1_copies();
    scene.remove_sources();
    let expected = scene.expected(&held);
    assert!(scene.receipt(Some(&expected)).files.iter().all(|file| file.covered));
    assert_eq!(fs::read_to_string(scene.copy()).unwrap(), conversation().concat());
    // The same through layer 1's own path, as a sweep of its store names it.
    let transcript = held.0.slot(&held.1, &StoredName::newest(FileName::Transcript)).path();
    assert!(matches!(scene.save_as(&transcript, RootKind::Layer1Store, None, None).unwrap(), Answer::Receipt(_)));
}

#[test]
fn what_is_nowhere_is_not_covered_and_does_not_fail_the_rest() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    let name = StoredName::parse(&scene.id(), &format!("{ID}/lost.txt")).unwrap();
    let lost = Expected { name, bytes: 4, blake3: blake3::hash(b"lost") };
    let receipt = scene.receipt(Some(&[lost]));
    assert_eq!(covered(&receipt), [("ID/lost.txt".to_owned(), false)]);
    assert_eq!(fs::read(scene.copy()).unwrap(), fs::read(scene.transcript()).unwrap());
}

#[test]
fn a_copy_that_was_changed_is_not_acknowledged_as_it_is() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    let held = scene.layer1_copies();
    scene.receipt(None);
    let mut damaged = fs::read(scene.copy()).unwrap();
    damaged[30] ^= 1;
    fs::write(scene.copy(), &damaged).unwrap();
    let receipt = scene.receipt(Some(&scene.expected(&held)));
    assert!(receipt.files.iter().all(|file| file.covered), "saved again from the source");
    assert_eq!(fs::read(scene.copy()).unwrap(), fs::read(scene.transcript()).unwrap());
}

#[test]
fn a_mismatch_is_an_error_and_no_receipt() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    scene.receipt(None);
    let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
    let key = archive.find(&scene.id()).unwrap().remove(0);
    let files = archive.files(&key).unwrap();
    let report = |source_bytes| SaveReport {
        key: Some(key.clone()),
        transcript: TranscriptState::Stored,
        source_bytes,
        bytes_added: 0,
        generations_begun: 0,
        read_back: Vec::new(),
        problems: Vec::new(),
        sides_left: 0,
    };
    let short = verify_copy(&archive, &key, &report(1_000_000), &files, &Steps::new(&|_| {})).unwrap_err();
    let mut bytes = fs::read(scene.copy()).unwrap();
    bytes[10] ^= 1;
    fs::write(scene.copy(), bytes).unwrap();
    let flipped = verify_copy(&archive, &key, &report(10), &files, &Steps::new(&|_| {})).unwrap_err();
    fs::write(scene.copy(), "").unwrap();
    let emptied = verify_copy(&archive, &key, &report(10), &files, &Steps::new(&|_| {})).unwrap_err();
    let text = [short, flipped, emptied].map(|error| error.to_string().replace(ID, "ID")).join("\n");
    insta::assert_snapshot!(text, @r#"
        verify the copy of session ID: the transcript had 1000000 bytes when it was opened, the copy has 472; save it again
        verify the copy of session ID: ID.jsonl does not hash to what was recorded (472 bytes); `layer3-indexer verify ID` tells more
        verify the copy of session ID: ID.jsonl does not hash to what was recorded (472 bytes); `layer3-indexer verify ID` tells more
        "#);
}

#[test]
fn an_index_that_cannot_be_opened_is_a_warning() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    fs::create_dir_all(scene.places.index.join("in-the-way")).unwrap();
    let receipt = scene.receipt(None);
    assert_eq!(covered(&receipt), [("ID.jsonl".to_owned(), true)]);
    assert!(receipt.warning.unwrap().starts_with("stored but not indexed: "));
}

#[test]
fn a_session_whose_records_are_all_unknown_is_receipted_and_found_again() {
    let scene = Scene::new();
    scene.write(&scene.transcript(), "{\"type\":\"brand-new\",\"x\":1}\n{\"type\":\"another\"}\n");
    assert!(scene.receipt(None).files.iter().all(|file| file.covered));
    let sessions = crate::browse::list::list(&scene.places, &Default::default()).unwrap().sessions;
    assert_eq!(sessions.len(), 1);
}

#[test]
fn a_session_without_activity_is_receipted_and_makes_no_row() {
    let scene = Scene::new();
    scene.write(&scene.transcript(), "{\"type\":\"mode\",\"mode\":\"normal\"}\n{\"type\":\"permission-mode\"}\n");
    let receipt = scene.receipt(None);
    assert_eq!((receipt.messages_indexed, receipt.files.len()), (0, 1));
    let sessions = crate::browse::list::list(&scene.places, &Default::default()).unwrap().sessions;
    assert!(sessions.is_empty());
}

#[test]
fn the_same_id_under_two_projects_is_kept_apart() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    scene.receipt(None);
    let other = scene.transcript_in("-home-dev-other", ID);
    scene.write(&other, &prompt(7, "another conversation").replace("/dev/proj", "/dev/other"));
    // Even if the caller names the folder that the first one has.
    for project in [None, Some("proj")] {
        assert!(matches!(scene.save_as(&other, RootKind::Claude, project, None).unwrap(), Answer::Receipt(_)));
    }
    scene.receipt(None);
    let stored: Vec<String> = scene.stored().iter().map(|line| line.replace(ID, "ID")).collect();
    insta::assert_snapshot!(stored.join("\n"), @r#"
        other/ID.jsonl: 1 lines
        proj/ID.jsonl: 2 lines
        "#);
}

#[test]
fn growth_costs_no_generation_and_unchanged_metadata_is_not_rewritten() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    scene.receipt(None);
    let mut file = fs::OpenOptions::new().append(true).open(scene.transcript()).unwrap();
    file.write_all(prompt(3, "more").as_bytes()).unwrap();
    assert_eq!(scene.receipt(None).messages_indexed, 3);
    let written = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let metadata = scene.copy().with_extension("json");
    let before = written(&metadata);
    assert_eq!(covered(&scene.receipt(None)).len(), 1);
    assert_eq!(written(&metadata), before);
}

#[test]
fn entries_of_other_sessions_are_refused() {
    let id = SessionId::parse("abc").unwrap();
    let entry = |path: &str, generation, blake3: &str| ExpectedEntry {
        path: path.to_owned(),
        generation,
        bytes: 1,
        blake3: blake3.to_owned(),
    };
    let hash = "0".repeat(64);
    assert!(entry("abc.jsonl", 0, &hash).parse(&id).is_ok());
    assert!(entry("abc.gen-0001/x/y", 1, &hash).parse(&id).is_ok());
    let refused: Vec<String> = [
        entry("abd.jsonl", 0, &hash),
        entry("abc/../x", 0, &hash),
        entry("abc.jsonl", 1, &hash),
        entry("abc.jsonl", 0, "xyz"),
    ]
    .iter()
    .map(|entry| entry.parse(&id).unwrap_err().to_string())
    .collect();
    insta::assert_snapshot!(refused.join("\n"), @r#"
        use stored path "abd.jsonl": it must be SESSION.jsonl, SESSION/…, SESSION.gen-NNNN.jsonl or SESSION.gen-NNNN/…, without ".."
        use stored path "abc/../x": it must be SESSION.jsonl, SESSION/…, SESSION.gen-NNNN.jsonl or SESSION.gen-NNNN/…, without ".."
        use the expected entry "abc.jsonl": its path is of generation 0, the entry says 1
        use the expected entry "abc.jsonl": its blake3 must be 64 hexadecimal digits
        "#);
}

#[test]
fn what_the_user_excluded_is_refused_unless_it_waits_for_a_receipt() {
    let mut scene = Scene::new();
    let (id, transcript) = (scene.id(), scene.transcript());
    let name = StoredName::newest(FileName::Transcript);
    let held = [Expected { name, bytes: 1, blake3: blake3::hash(b"x") }];
    let none: [Expected; 0] = [];
    for is_excluded in [false, true] {
        if is_excluded {
            let globs = ["**/*.jsonl".to_owned()];
            scene.places.policy.exclude =
                layer1_prebackup::config::exclude::Exclusions::new(&globs, &scene.places.home);
        }
        for (expected, waits) in [(None, false), (Some(&none[..]), false), (Some(&held[..]), true)] {
            let request = Request { expected, ..Request::of(&id, &transcript, RootKind::Claude) };
            let answer = request::refused_by_settings(&scene.places, &request);
            assert_eq!(answer.is_some(), is_excluded && !waits, "{expected:?}");
        }
    }
}

#[test]
fn layer_1s_store_that_cannot_be_asked_is_a_warning_unless_all_comes_from_it() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    let held = scene.layer1_copies();
    let copy = held.0.slot(&held.1, &StoredName::newest(FileName::Transcript)).path();
    fs::write(scene.places.layer1_store.join(".state/store.json"), r#"{"format": 99, "store_id": "x"}"#).unwrap();
    let warning = scene.receipt(None).warning.unwrap();
    assert!(warning.starts_with("layer 1's store could not be asked: "), "{warning}");
    assert!(scene.save_as(&copy, RootKind::Layer1Store, None, None).is_err());
}

#[test]
fn a_save_without_a_reason_is_one_by_hand() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    let (id, transcript) = (scene.id(), scene.transcript());
    for (trigger, expected) in [(None, "manual"), (Some(""), "manual"), (Some("stop"), "stop")] {
        let request = Request { trigger, ..Request::of(&id, &transcript, RootKind::Claude) };
        let Answer::Receipt(receipt) =
            save(&scene.places, &LogSink::new(&scene.places, false), &request, &|_| {}).unwrap()
        else {
            panic!("it was skipped")
        };
        assert_eq!(receipt.trigger, expected);
    }
}

/// Layer 1's copy of a transcript, as its hook makes it.
fn copied(scene: &Scene, transcript: &Path) {
    let id = scene.id();
    let request = layer1_prebackup::archive::SaveRequest {
        id: &id,
        transcript,
        project: None,
        cwd: None,
        compare: layer1_prebackup::archive::Compare::Whole,
        progress: &|_| {},
    };
    Archive::create(&scene.places.layer1_store).unwrap().save(&request).unwrap();
}

#[test]
fn of_two_sessions_of_one_id_each_gets_its_own_older_contents_from_layer_1() {
    let scene = Scene::new();
    let paths = ["one", "two"].map(|name| scene.transcript_in(&format!("-home-dev-{name}"), ID));
    for round in ["first", "second"] {
        for (path, name) in paths.iter().zip(["one", "two"]) {
            scene.write(path, &prompt(1, &format!("{round} {name}")).replace("dev/proj", &format!("dev/{name}")));
            copied(&scene, path);
        }
    }
    for path in &paths {
        scene.save_as(path, RootKind::Claude, None, None).unwrap();
    }
    let each = [
        "one/ID.gen-0001.jsonl: 1 lines",
        "one/ID.jsonl: 1 lines",
        "two/ID.gen-0001.jsonl: 1 lines",
        "two/ID.jsonl: 1 lines",
    ];
    let stored = || -> Vec<String> { scene.stored().iter().map(|line| line.replace(ID, "ID")).collect() };
    assert_eq!(stored(), each);
    for name in ["one", "two"] {
        let older = fs::read_to_string(scene.places.layer3_store.join(format!("{name}/{ID}.gen-0001.jsonl"))).unwrap();
        assert!(older.contains(&format!("first {name}")), "{older}");
    }
    // A third one, of which layer 1 has nothing, gets nothing of theirs.
    let third = scene.transcript_in("-home-dev-three", ID);
    scene.write(&third, &prompt(1, "third").replace("dev/proj", "dev/three"));
    scene.save_as(&third, RootKind::Claude, None, None).unwrap();
    let mut all = each.to_vec();
    all.insert(2, "three/ID.jsonl: 1 lines");
    assert_eq!(stored(), all);
}

#[test]
fn a_transcript_that_was_moved_gets_the_older_contents_that_layer_1_has_of_it() {
    let scene = Scene::new();
    for text in ["first", "second"] {
        scene.transcribe(&[prompt(1, text)]);
        scene.layer1_copies();
    }
    let moved = scene.transcript_in("-elsewhere", ID);
    scene.write(&moved, &prompt(1, "second"));
    fs::remove_file(scene.transcript()).unwrap();
    scene.save_as(&moved, RootKind::Claude, None, None).unwrap();
    let stored: Vec<String> = scene.stored().iter().map(|line| line.replace(ID, "ID")).collect();
    assert_eq!(stored, ["proj/ID.gen-0001.jsonl: 1 lines", "proj/ID.jsonl: 1 lines"]);
    // The lock says that the names of all metadata are synced.
    assert_eq!(fs::metadata(scene.places.layer3_store.join(".state/metadata.lock")).unwrap().len(), 1);
}

#[test]
fn what_the_caller_holds_is_found_in_layer_1_under_whichever_name_it_has_by_then_and_damage_there_is_told_once() {
    for is_damaged in [false, true] {
        let scene = Scene::new();
        scene.transcribe(&conversation());
        let expected = scene.expected(&scene.layer1_copies());
        // Rewritten and shorter meanwhile: what the caller holds is an older content there.
        scene.transcribe(&[prompt(1, "x")]);
        let (archive, key) = scene.layer1_copies();
        if is_damaged {
            let first = StoredName { generation: 1, ..StoredName::newest(FileName::Transcript) };
            fs::write(archive.slot(&key, &first).path(), "damaged").unwrap();
        } else {
            scene.remove_sources();
        }
        let receipt = scene.receipt(Some(&expected));
        assert_eq!(covered(&receipt), [("ID.jsonl".to_owned(), !is_damaged)]);
        let warning = receipt.warning.unwrap_or_default();
        assert_eq!(
            warning.matches("could not be taken over from layer 1's store").count(),
            usize::from(is_damaged),
            "{warning}"
        );
    }
}

#[test]
fn a_save_that_compares_long_versions_goes_on_telling_how_far_it_is() {
    let scene = Scene::new();
    let long = prompt(1, &"long ".repeat(400_000));
    scene.transcribe(&[long.clone(), answer(2, "yes")]);
    scene.receipt(None);
    scene.transcribe(&[prompt(9, "stub")]);
    let told = std::cell::RefCell::new(Vec::new());
    let (id, transcript) = (scene.id(), scene.transcript());
    let request = Request { trigger: Some("stop"), ..Request::of(&id, &transcript, RootKind::Claude) };
    let journal = LogSink::new(&scene.places, false);
    session::save(&scene.places, &journal, &request, &|done| told.borrow_mut().push(done)).unwrap();
    let told = told.take();
    let widest = told.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    let last = *told.last().unwrap();
    assert!(told.is_sorted() && widest <= 8 << 20 && last > 2 * long.len() as u64, "{last} of {}", long.len());
}

/// Whatever keeps one save from being indexed, or takes it out of the index again: the index knows that it lacks it, and
/// whoever asks it next has it.
#[test]
fn an_index_that_lacks_a_conversation_knows_it_and_is_filled_by_whoever_needs_it() {
    type Hinder<'a> = &'a dyn Fn(&Scene, &dyn Fn());
    let hinders: [(&str, Hinder); 6] = [
        ("another program holds the index", &|scene, save| {
            let beside = scene.places.index.with_file_name(".sessions.db.turnstile");
            let _held = layer1_prebackup::fs::Lock::wait(&beside).unwrap();
            crate::index::with_patience(std::time::Duration::from_millis(20), save);
        }),
        ("an older index is put back", &|scene, save| {
            let aside = scene.places.home.join("aside");
            fs::create_dir(&aside).unwrap();
            for path in index_files(scene) {
                fs::copy(&path, aside.join(path.file_name().unwrap())).unwrap();
            }
            save();
            index_files(scene).iter().for_each(|path| fs::remove_file(path).unwrap());
            for entry in fs::read_dir(&aside).unwrap() {
                let path = entry.unwrap().path();
                fs::copy(&path, scene.places.layer3_store.join(path.file_name().unwrap())).unwrap();
            }
        }),
        ("a folder is in its place", &|scene, save| {
            let aside = scene.places.home.join("aside");
            fs::rename(&scene.places.index, &aside).unwrap();
            fs::create_dir(&scene.places.index).unwrap();
            save();
            fs::remove_dir(&scene.places.index).unwrap();
            fs::rename(aside, &scene.places.index).unwrap();
        }),
        ("the list of what is owed is lost", &|scene, save| {
            save();
            fs::remove_file(scene.places.layer3_store.join(".state/to-index")).unwrap();
        }),
        ("index and list are put back together", &put_back_together),
        ("the list of what is owed is something else", &|scene, save| {
            save();
            fs::write(scene.places.layer3_store.join(".state/to-index"), vec![b'x'; 10_000]).unwrap();
        }),
    ];
    for (what, hinder) in hinders {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "the first one")]);
        scene.save(None).unwrap();
        let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
        let is_incomplete =
            || crate::index::Index::open_read_only(&scene.places.index).unwrap().unwrap().is_incomplete(&archive);
        assert!(!is_incomplete().unwrap(), "{what}");
        let transcript = scene.transcript_in("-home-dev-proj", "other");
        scene.write(&transcript, &prompt(2, "a zebrafinch"));
        hinder(&scene, &|| {
            scene.save_as(&transcript, RootKind::Claude, None, None).unwrap();
        });
        assert!(is_incomplete().unwrap(), "{what}");
        let mut notes = Vec::new();
        let count = |index: &crate::index::Index| index.counts();
        let counts = rebuild::ask(&scene.places, &archive, &mut notes, count).unwrap();
        assert_eq!((counts.sessions, notes), (2, Vec::new()), "{what}");
        assert!(!is_incomplete().unwrap(), "{what}: it is filled once");
        let index = crate::index::Index::open_read_only(&scene.places.index).unwrap().unwrap();
        assert_eq!(index.unindexed(&archive).unwrap(), 0, "{what}");
    }
}

fn index_files(scene: &Scene) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(&scene.places.layer3_store).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

/// As from a copy of both: none of them knows that they are old.
fn put_back_together(scene: &Scene, save: &dyn Fn()) {
    let mut paths = index_files(scene);
    paths.push(scene.places.layer3_store.join(".state/to-index"));
    let kept: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    save();
    index_files(scene).iter().for_each(|path| fs::remove_file(path).unwrap());
    paths.iter().zip(kept).for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
}

/// What is saved next is added to the list that was put back, and makes up for the rest.
#[test]
fn an_index_that_was_put_back_with_its_list_is_filled_by_the_next_save_or_search() {
    let scene = Scene::new();
    scene.transcribe(&[prompt(1, "the first one")]);
    scene.save(None).unwrap();
    let transcript = scene.transcript_in("-home-dev-proj", "other");
    scene.write(&transcript, &prompt(2, "a zebrafinch"));
    put_back_together(&scene, &|| {
        scene.save_as(&transcript, RootKind::Claude, None, None).unwrap();
    });
    scene.transcribe(&[prompt(1, "the first one"), prompt(3, "and more")]);
    scene.save(None).unwrap();
    let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
    let counts = rebuild::ask(&scene.places, &archive, &mut Vec::new(), |index| index.counts()).unwrap();
    assert_eq!((counts.sessions, counts.messages), (2, 3));
}

/// Who reads does not wait for ever for who writes, and says what is missing.
#[test]
fn a_reader_of_an_index_that_cannot_be_filled_says_how_much_it_lacks() {
    let scene = Scene::new();
    scene.transcribe(&[prompt(1, "the first one")]);
    scene.save(None).unwrap();
    let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
    let _held = layer1_prebackup::fs::Lock::wait(&scene.places.index.with_file_name(".sessions.db.turnstile")).unwrap();
    for id in ["other", "third"] {
        let transcript = scene.transcript_in("-home-dev-proj", id);
        scene.write(&transcript, &prompt(2, "a zebrafinch"));
        let save = || scene.save_as(&transcript, RootKind::Claude, None, None);
        crate::index::with_patience(std::time::Duration::from_millis(20), save).unwrap();
    }
    let mut notes = Vec::new();
    let counts = rebuild::ask(&scene.places, &archive, &mut notes, crate::index::Index::counts).unwrap();
    assert_eq!(counts.sessions, 1);
    assert!(notes.len() == 1 && notes[0].starts_with("2 conversations are not indexed yet"), "{notes:?}");
}

/// The server's answer says what is stored, and comes although the index cannot be written.
#[test]
fn a_receipt_does_not_wait_for_the_index() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    scene.save(None).unwrap();
    let held = layer1_prebackup::fs::Lock::wait(&scene.places.index.with_file_name(".sessions.db.turnstile")).unwrap();
    let journal = LogSink::new(&scene.places, false);
    let later = later::Later::start(&scene.places, &journal);
    let transcript = scene.transcript_in("-home-dev-proj", "other");
    scene.write(&transcript, &prompt(2, "a zebrafinch"));
    let id = SessionId::parse("other").unwrap();
    let request = Request::of(&id, &transcript, RootKind::Claude);
    let saved = save_and_index_later(&scene.places, &journal, &later, &request, &|_| {}).unwrap();
    let Answer::Receipt(receipt) = saved else { panic!("{saved:?}") };
    assert!(receipt.files.iter().all(|file| file.covered) && receipt.messages_indexed == 0, "{receipt:?}");
    assert!(receipt.warning.is_some_and(|warning| warning.contains("still being indexed")));
    drop(held);
    later.finish();
    let index = crate::index::Index::open_read_only(&scene.places.index).unwrap().unwrap();
    assert_eq!(index.counts().unwrap().sessions, 2);
}

/// The client may end the server, or the machine may stop, as soon as the receipt is there.
#[test]
fn what_is_not_indexed_when_its_receipt_is_given_is_on_the_list_of_what_is_owed() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    scene.save(None).unwrap();
    let journal = LogSink::new(&scene.places, false);
    let save = |later: &later::Later, name: &str| {
        let transcript = scene.transcript_in("-home-dev-proj", name);
        scene.write(&transcript, &prompt(2, "a zebrafinch"));
        let id = SessionId::parse(name).unwrap();
        let request = Request::of(&id, &transcript, RootKind::Claude);
        let saved = save_and_index_later(&scene.places, &journal, later, &request, &|_| {}).unwrap();
        assert!(matches!(saved, Answer::Receipt(_)), "{saved:?}");
    };
    let list = || fs::read_to_string(scene.places.layer3_store.join(".state/to-index")).unwrap();
    // The one that indexes is held up with another session.
    let held = layer1_prebackup::fs::Lock::wait(&scene.places.index.with_file_name(".sessions.db.turnstile")).unwrap();
    let later = later::Later::start(&scene.places, &journal);
    save(&later, "second");
    save(&later, "third");
    assert!(list().contains("/third\t"), "{}", list());
    drop(held);
    later.finish();
    // There is none any more, as where no thread is to be had.
    save(&later, "fourth");
    assert!(list().contains("/fourth\t"), "{}", list());
    let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
    let index = crate::index::Index::open_read_only(&scene.places.index).unwrap().unwrap();
    assert_eq!(index.unindexed(&archive).unwrap(), 1);
    assert!(index.is_incomplete(&archive).unwrap());
}

/// What could not be read when the index was filled is told until it can be, and indexed then.
#[test]
fn a_conversation_that_could_not_be_read_for_the_index_stays_owed_to_it() {
    for is_rebuilt in [false, true] {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "the first one")]);
        scene.save(None).unwrap();
        let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
        let transcript = scene.transcript_in("-home-dev-proj", "other");
        scene.write(&transcript, &prompt(2, "a zebrafinch"));
        let turnstile = scene.places.index.with_file_name(".sessions.db.turnstile");
        let held = layer1_prebackup::fs::Lock::wait(&turnstile).unwrap();
        let save = || scene.save_as(&transcript, RootKind::Claude, None, None);
        crate::index::with_patience(std::time::Duration::from_millis(20), save).unwrap();
        drop(held);
        let copy = scene.copy().with_file_name("other.jsonl");
        let bytes = fs::read(&copy).unwrap();
        fs::write(&copy, vec![b'x'; bytes.len()]).unwrap();
        if is_rebuilt {
            let rebuilt = rebuild::rebuild(&scene.places, &|_, _| {}).unwrap();
            assert_eq!(rebuilt.failed.len(), 1, "{rebuilt:?}");
        }
        let ask = || {
            let mut notes = Vec::new();
            let counts = rebuild::ask(&scene.places, &archive, &mut notes, crate::index::Index::counts).unwrap();
            (counts.messages, notes)
        };
        for _ in 0..2 {
            let (messages, notes) = ask();
            assert_eq!(messages, 1);
            assert!(notes.len() == 1 && notes[0].contains("other could not be indexed"), "{notes:?}");
        }
        fs::write(&copy, bytes).unwrap();
        assert_eq!(ask(), (2, Vec::new()));
        let index = crate::index::Index::open_read_only(&scene.places.index).unwrap().unwrap();
        assert!(!index.is_incomplete(&archive).unwrap());
    }
}

/// What is put in a file's place between the check of its path and the look at it is not stored for a model; what
/// layer 1 copied at a hook is, whatever stands there.
#[test]
fn what_takes_the_place_of_a_checked_file_is_not_stored_for_a_model() {
    const SECRET: &str = "{\"cwd\":\"/home/dev/proj\",\"secret\":\"canary\"}\n";
    type Swap = fn(&Scene, &Path);
    let foreign: [(&str, Swap); 8] = [
        ("the transcript becomes a link", |scene, secret| {
            fs::remove_file(scene.transcript()).unwrap();
            symlink(secret.join("a.jsonl"), scene.transcript()).unwrap();
        }),
        ("the transcript becomes a second name", |scene, secret| {
            fs::remove_file(scene.transcript()).unwrap();
            fs::hard_link(secret.join("a.jsonl"), scene.transcript()).unwrap();
        }),
        ("the project's folder becomes a link", |scene, secret| {
            let folder = scene.transcript().parent().unwrap().to_owned();
            fs::rename(&folder, secret.join("moved")).unwrap();
            symlink(secret, folder).unwrap();
        }),
        ("a side file is a second name", |scene, secret| {
            let place = scene.transcript().with_extension("").join("tool-results/x.txt");
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::hard_link(secret.join("a.jsonl"), place).unwrap();
        }),
        ("the session's own folder is a link", |scene, secret| {
            symlink(secret, scene.transcript().with_extension("")).unwrap();
        }),
        ("a name beside it is a second name", |scene, secret| {
            fs::hard_link(secret.join("a.jsonl"), scene.transcript().with_extension("jsonl.bak")).unwrap();
        }),
        ("a task list is a link", |scene, secret| {
            let tasks = scene.places.claude_dir.join("tasks");
            fs::create_dir_all(&tasks).unwrap();
            symlink(secret, tasks.join(ID)).unwrap();
        }),
        ("the memory is a link", |scene, secret| {
            symlink(secret, scene.transcript().with_file_name("memory")).unwrap();
        }),
    ];
    for (what, swap) in foreign {
        for layer1_copied in [false, true] {
            let scene = Scene::new();
            scene.transcribe(&conversation());
            let secret = scene.places.claude_dir.with_file_name("secret");
            for name in ["a.jsonl".to_owned(), format!("{ID}.jsonl")] {
                scene.write(&secret.join(name), SECRET);
            }
            if layer1_copied {
                scene.layer1_copies();
            }
            let roots = roots::Roots::resolve(&scene.places, &[]);
            let checked = roots.check(&scene.id(), &scene.transcript()).unwrap();
            swap(&scene, &secret);
            let id = scene.id();
            let request = Request { reach: Reach::Plain, ..Request::of(&id, &checked.path, checked.root) };
            let answer = save(&scene.places, &LogSink::new(&scene.places, false), &request, &|_| {});
            let stored = files_below(&scene.places.layer3_store);
            let holds = |bytes: &Vec<u8>| bytes.windows(6).any(|window| window == b"canary");
            assert!(!stored.iter().any(holds), "{what}: a foreign file is stored: {answer:?}");
            let is_there = stored.iter().any(|bytes| *bytes == conversation().concat().into_bytes());
            let is_transcript = what.starts_with("the transcript") || what.starts_with("the project");
            assert_eq!(is_there, layer1_copied || !is_transcript, "{what}, {layer1_copied}: {answer:?}");
            assert_eq!(answer.is_ok(), is_there, "{what}: {answer:?}");
        }
    }
}

fn files_below(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let all = entries.flat_map(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => files_below(&entry.path()),
        _ => vec![fs::read(entry.path()).unwrap()],
    });
    all.collect()
}

#[test]
fn a_list_of_what_is_owed_that_is_somebody_elses_file_too_is_not_written_to() {
    let scene = Scene::new();
    scene.transcribe(&conversation());
    scene.receipt(None);
    let list = scene.places.layer3_store.join(".state/to-index");
    let other = scene.places.claude_dir.join("other");
    fs::write(&other, "somebody's\n").unwrap();
    let _ = fs::remove_file(&list);
    fs::hard_link(&other, &list).unwrap();
    scene.transcribe(&[conversation(), vec![prompt(3, "more")]].concat());
    let receipt = scene.receipt(None);
    assert_eq!((receipt.messages_indexed, receipt.warning), (3, None));
    assert_eq!(fs::read_to_string(&other).unwrap(), "somebody's\n");
}
