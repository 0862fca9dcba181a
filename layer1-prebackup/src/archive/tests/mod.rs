//! The archive's promises on real files: deltas, generations, identity, repair after a crash.

// A test plays the part of Claude Code, of a user and of a failing disk.
#![allow(clippy::disallowed_methods)]

mod compress;
mod newest;
mod retention;
mod strangers;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::paths::{Form, STORE_FILE};
use super::*;
use crate::fs::counted;
use crate::names::{FileName, ProjectName, SessionId, StoredName};

mod edges;
mod known_damage;
mod mark;
mod proofs;
mod seen;
mod synced_folders;

/// A source and a store in a scratch directory.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        Scene { dir: tempfile::tempdir().unwrap() }
    }

    fn transcript_in(&self, slug: &str) -> PathBuf {
        let path = self.dir.path().join("projects").join(slug).join("s1.jsonl");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn transcript(&self) -> PathBuf {
        self.transcript_in("-p")
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn archive(&self) -> Archive {
        Archive::create(&self.store()).unwrap()
    }

    fn save_from(&self, transcript: &Path, compare: Compare) -> SaveReport {
        let id = SessionId::of_transcript(transcript).unwrap();
        let progress = |_| {};
        let request =
            SaveRequest { id: &id, transcript, project: None, cwd: Some("/home/p"), compare, progress: &progress };
        let report = self.archive().save(&request).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        report
    }

    fn save(&self) -> SaveReport {
        self.save_from(&self.transcript(), Compare::Windows)
    }

    /// Every content below the store's visible names, as (path, bytes).
    fn tree(&self) -> Vec<(String, Vec<u8>)> {
        let mut tree = Vec::new();
        let mut pending = vec![self.store()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let rel = path.strip_prefix(self.store()).unwrap().to_str().unwrap().to_owned();
                if rel.starts_with('.') {
                    continue;
                }
                if path.is_dir() {
                    pending.push(path);
                } else {
                    tree.push((rel, fs::read(&path).unwrap()));
                }
            }
        }
        tree.sort();
        tree
    }

    fn tree_or_nothing(&self) -> Vec<(String, Vec<u8>)> {
        if self.store().exists() { self.tree() } else { Vec::new() }
    }

    fn names(&self) -> Vec<String> {
        self.tree().into_iter().map(|(name, _)| name).collect()
    }

    fn content(&self, rel: &str) -> Vec<u8> {
        fs::read(self.store().join(rel)).unwrap()
    }

    /// Length of the session's lock: 1 is clean.
    fn mark(&self) -> u64 {
        fs::metadata(self.store().join(".state/sessions/s1/lock")).unwrap().len()
    }

    /// What an action syncs, relative to the store.
    fn synced(&self, action: impl FnOnce()) -> Vec<String> {
        counted::take();
        action();
        let store = self.store();
        let relative = |path: PathBuf| path.strip_prefix(&store).unwrap_or(&path).to_string_lossy().into_owned();
        counted::take().into_iter().map(relative).collect()
    }

    fn is_clean(&self) {
        let findings = self.archive().verify(None).unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        for key in self.archive().sessions().unwrap() {
            for file in self.archive().files(&key).unwrap() {
                let bytes = fs::read(self.archive().slot(&key, &file.name).path()).unwrap();
                assert_eq!(blake3::hash(&bytes), file.blake3, "{}", file.path);
            }
            let state = self.store().join(".state/sessions").join(key.id.as_str());
            let mut left: Vec<_> =
                fs::read_dir(state).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            left.retain(|name| name != "lock" && !name.ends_with(".ledger"));
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

fn append(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// Takes one content over from another store.
fn replicate(to: &Archive, key: &SessionKey, from: &Archive, content: &StoredFile) -> Result<(), ArchiveError> {
    to.replicate(key, from, key, std::slice::from_ref(content), &|_| {}).unwrap().remove(0)
}

#[test]
fn a_save_says_what_it_read_back_from_the_first_byte_to_the_last() {
    let scene = Scene::new();
    let whole = |content: &str| vec![(FileName::Transcript, content.len() as u64, blake3::hash(content.as_bytes()))];
    let save = |compare| scene.save_from(&scene.transcript(), compare).read_back;
    fs::write(scene.transcript(), "one\n").unwrap();
    assert_eq!(save(Compare::Windows), whole("one\n"));
    // Of what was there before it read two windows, no more, or all.
    assert_eq!(save(Compare::Windows), []);
    assert_eq!(save(Compare::Whole), whole("one\n"));
    append(&scene.transcript(), b"two\n");
    assert_eq!(save(Compare::Windows), []);
    append(&scene.transcript(), b"three\n");
    assert_eq!(save(Compare::Whole), whole("one\ntwo\nthree\n"));
    // Damage is set aside, and what was read back is the new one.
    fs::write(scene.store().join("p/s1.jsonl"), "one\ntwx\nthree\n").unwrap();
    let report = scene.save_from(&scene.transcript(), Compare::Whole);
    assert_eq!((report.read_back, report.generations_begun), (whole("one\ntwo\nthree\n"), 0));
    fs::write(scene.transcript(), "another\n").unwrap();
    assert_eq!(save(Compare::Windows), whole("another\n"));
}

#[test]
fn what_was_unpacked_from_nothing_or_proven_by_nobody_is_not_said_to_be_read_back() {
    let scene = Scene::new();
    fs::write(scene.transcript(), "one\n".repeat(1000)).unwrap();
    scene.save();
    let content = scene.archive().compressible(&compress::key()).unwrap().remove(0);
    assert!(scene.archive().compress(&compress::key(), &content, 3).unwrap().is_some());
    assert_eq!(scene.save_from(&scene.transcript(), Compare::Whole).read_back, []);
    let scene = Scene::new();
    fs::write(scene.transcript(), "one\ntwo\n").unwrap();
    scene.save();
    fs::remove_file(scene.store().join(".state/sessions/s1/p.ledger")).unwrap();
    // The source is shorter now, so nothing proves what lies there.
    fs::write(scene.transcript(), "one\n").unwrap();
    let report = scene.save_from(&scene.transcript(), Compare::Whole);
    assert_eq!(report.read_back, [(FileName::Transcript, 4, blake3::hash(b"one\n"))]);
}

#[test]
fn a_save_says_how_long_the_source_was_whatever_came_of_it() {
    let scene = Scene::new();
    for (content, generations) in [("one\n", 0), ("one\n", 0), ("one\ntwo\n", 0), ("another\n", 1), ("an", 1)] {
        fs::write(scene.transcript(), content).unwrap();
        let report = scene.save();
        assert_eq!((report.source_bytes, report.generations_begun), (content.len() as u64, generations), "{content:?}");
    }
}

#[test]
fn a_copy_grows_by_its_delta_and_a_second_run_writes_nothing() {
    let scene = Scene::new();
    let path = scene.transcript();
    let mut whole: Vec<u8> = Vec::new();
    for n in 0..40 {
        let delta = format!("{{\"n\":{n},\"pad\":\"{}\"}}\n", "x".repeat(n * 97)).into_bytes();
        append(&path, &delta);
        whole.extend(&delta);
        assert_eq!(scene.save().bytes_added, delta.len() as u64);
        assert_eq!(scene.content("p/s1.jsonl"), whole);
    }
    let ledger = scene.store().join(".state/sessions/s1/p.ledger");
    let before = fs::read(&ledger).unwrap();
    assert_eq!(scene.save().bytes_added, 0);
    assert_eq!(scene.save_from(&path, Compare::Whole).bytes_added, 0);
    assert_eq!(fs::read(&ledger).unwrap(), before);
    assert_eq!(scene.names(), ["p/s1.jsonl"]);
    let mode = |rel: &str| fs::metadata(scene.store().join(rel)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("p/s1.jsonl"), mode("p"), mode(".state/sessions/s1/p.ledger")), (0o600, 0o700, 0o600));
    scene.is_clean();
}

#[test]
fn a_source_that_changed_begins_a_generation() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("shrunken", |path| fs::write(path, "one\n").unwrap()),
        ("rewritten to the same size", |path| fs::write(path, "one\ntw0\n").unwrap()),
        ("emptied", |path| fs::write(path, "").unwrap()),
        ("replaced by rename", |path| {
            fs::write(path.with_extension("x"), "another and longer one\n").unwrap();
            fs::rename(path.with_extension("x"), path).unwrap();
        }),
    ];
    for (what, change) in changes {
        for compare in [Compare::Windows, Compare::Whole] {
            let scene = Scene::new();
            let path = scene.transcript();
            fs::write(&path, "one\ntwo\n").unwrap();
            scene.save();
            change(&path);
            assert_eq!(scene.save_from(&path, compare).generations_begun, 1, "{what}");
            assert_eq!(scene.content("p/s1.gen-0001.jsonl"), b"one\ntwo\n", "{what}");
            assert_eq!(scene.content("p/s1.jsonl"), fs::read(&path).unwrap(), "{what}");
            assert_eq!(scene.save_from(&path, compare).generations_begun, 0, "{what}");
            scene.is_clean();
        }
    }
}

#[test]
fn another_file_with_the_same_beginning_begins_none() {
    let scene = Scene::new();
    let path = scene.transcript();
    fs::write(&path, "one\n").unwrap();
    scene.save();
    for content in ["one\n", "one\ntwo\n"] {
        fs::write(path.with_extension("x"), content).unwrap();
        fs::rename(path.with_extension("x"), &path).unwrap();
        assert_eq!(scene.save().generations_begun, 0);
        assert_eq!(scene.content("p/s1.jsonl"), content.as_bytes());
    }
    assert_eq!(scene.names(), ["p/s1.jsonl"]);
    scene.is_clean();
}

#[test]
fn side_files_follow_the_same_rules_each_with_its_own_generations() {
    let scene = Scene::new();
    let path = scene.transcript();
    fs::write(&path, "one\n").unwrap();
    let side = path.with_extension("").join("subagents/agent-1.jsonl");
    fs::create_dir_all(side.parent().unwrap()).unwrap();
    fs::write(&side, "side\n").unwrap();
    fs::write(side.with_extension("lock"), "").unwrap();
    scene.save();
    append(&side, b"more\n");
    scene.save();
    fs::write(&side, "rewritten\n").unwrap();
    scene.save();
    fs::remove_dir_all(path.with_extension("")).unwrap();
    scene.save();
    assert_eq!(scene.names(), ["p/s1.gen-0001/subagents/agent-1.jsonl", "p/s1.jsonl", "p/s1/subagents/agent-1.jsonl"]);
    assert_eq!(scene.content("p/s1.gen-0001/subagents/agent-1.jsonl"), b"side\nmore\n");
    assert_eq!(scene.content("p/s1/subagents/agent-1.jsonl"), b"rewritten\n");
    scene.is_clean();
}

#[test]
fn a_source_that_goes_takes_nothing_along() {
    let scene = Scene::new();
    let path = scene.transcript();
    assert_eq!(scene.save().transcript, TranscriptState::Absent);
    fs::write(&path, "").unwrap();
    assert_eq!(scene.save().transcript, TranscriptState::Empty);
    assert!(scene.names().is_empty());
    assert!(scene.archive().sessions().unwrap().is_empty());
    fs::write(&path, "one\n").unwrap();
    scene.save();
    fs::remove_file(&path).unwrap();
    assert_eq!(scene.save().transcript, TranscriptState::Absent);
    assert_eq!(scene.content("p/s1.jsonl"), b"one\n");
    scene.is_clean();
}

#[test]
fn the_folder_is_named_by_the_first_cwd_and_stays() {
    let scene = Scene::new();
    let path = scene.transcript();
    append(&path, b"{\"type\":\"mode\"}\n{\"cwd\":\"/home/first\"}\n{\"cwd\":\"/home/second\"}\n");
    scene.save();
    let moved = scene.transcript_in("-other");
    fs::rename(&path, &moved).unwrap();
    append(&moved, b"{\"cwd\":\"/home/third\"}\n");
    scene.save_from(&moved, Compare::Windows);
    assert_eq!(scene.names(), ["first/s1.jsonl"]);
    scene.is_clean();
}

#[test]
fn two_sources_of_one_id_are_two_sessions_unless_one_begins_the_other() {
    let scene = Scene::new();
    let (one, two, copy) = (scene.transcript(), scene.transcript_in("-q"), scene.transcript_in("-r"));
    fs::write(&one, "{\"cwd\":\"/home/p\"}\none\n").unwrap();
    fs::write(&two, "{\"cwd\":\"/srv/p\"}\ntwo\n").unwrap();
    fs::write(&copy, "{\"cwd\":\"/home/p\"}\n").unwrap();
    for _ in 0..2 {
        for path in [&one, &two, &copy] {
            assert_eq!(scene.save_from(path, Compare::Whole).generations_begun, 0);
        }
    }
    assert_eq!(scene.names(), ["p/s1.jsonl", "p~2/s1.jsonl"]);
    assert_eq!(scene.content("p~2/s1.jsonl"), fs::read(&two).unwrap());
    assert_eq!(scene.archive().find(&SessionId::parse("s1").unwrap()).unwrap().len(), 2);
    scene.is_clean();
}

#[test]
fn an_append_that_was_cut_off_is_undone() {
    let scene = Scene::new();
    let path = scene.transcript();
    fs::write(&path, "one\n").unwrap();
    scene.save();
    append(&path, b"two\n");
    append(&scene.store().join("p/s1.jsonl"), b"tw");
    scene.save();
    assert_eq!(scene.tree(), [("p/s1.jsonl".to_owned(), b"one\ntwo\n".to_vec())]);
    scene.is_clean();
}

#[test]
fn what_somebody_else_did_to_a_copy_is_a_generation_where_it_goes_on_and_else_set_aside_as_damaged() {
    for (planted, kept) in [
        ("one\nforeign\n", "p/s1.gen-0001.jsonl"),
        ("on", ".state/damaged/p/s1.jsonl"),
        ("ONE\n", ".state/damaged/p/s1.jsonl"),
        ("o and n\ne\n", ".state/damaged/p/s1.jsonl"),
        ("", ".state/damaged/p/s1.jsonl"),
    ] {
        let scene = Scene::new();
        let path = scene.transcript();
        fs::write(&path, "one\n").unwrap();
        scene.save();
        fs::write(scene.store().join("p/s1.jsonl"), planted).unwrap();
        append(&path, b"two\n");
        scene.save();
        assert_eq!(scene.content("p/s1.jsonl"), b"one\ntwo\n");
        assert_eq!(scene.content(kept), planted.as_bytes());
        assert_eq!(scene.names().len(), if kept.starts_with("p/") { 2 } else { 1 }, "{planted:?}");
        scene.is_clean();
    }
}

#[test]
fn a_rotation_that_was_cut_off_is_finished() {
    use super::ledger::{Entry, Intent};
    use super::session::{OpenSession, SessionLock};
    for renamed in [false, true] {
        let scene = Scene::new();
        let path = scene.transcript();
        fs::write(&path, "one\n").unwrap();
        let key = scene.save().key.unwrap();
        let archive = scene.archive();
        let lock = SessionLock::wait(&archive, &key.id).unwrap();
        let mut session = OpenSession::open(&archive, key.clone(), lock).unwrap();
        session.commit(&[Entry::Begin(FileName::Transcript, Intent::Rotate { to: 1 })]).unwrap();
        drop(session);
        if renamed {
            fs::rename(scene.store().join("p/s1.jsonl"), scene.store().join("p/s1.gen-0001.jsonl")).unwrap();
        }
        fs::write(scene.store().join(".state/sessions/s1/new"), "half").unwrap();
        fs::write(&path, "new\n").unwrap();
        scene.save();
        assert_eq!(scene.names(), ["p/s1.gen-0001.jsonl", "p/s1.jsonl"]);
        assert_eq!(scene.content("p/s1.gen-0001.jsonl"), b"one\n");
        assert_eq!(scene.content("p/s1.jsonl"), b"new\n");
        scene.is_clean();
    }
}

#[test]
fn lost_bookkeeping_is_rebuilt_and_proven_by_the_source() {
    let scene = Scene::new();
    let path = scene.transcript();
    fs::write(&path, "one\n").unwrap();
    scene.save();
    fs::remove_dir_all(scene.store().join(".state")).unwrap();
    let kinds: Vec<_> = scene.archive().verify(None).unwrap().into_iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [FindingKind::BookkeepingLost]);
    append(&path, b"two\n");
    scene.save();
    assert_eq!(scene.tree(), [("p/s1.jsonl".to_owned(), b"one\ntwo\n".to_vec())]);
    scene.is_clean();
}

#[test]
fn a_rebuilt_hash_does_not_bless_a_flipped_bit() {
    let scene = Scene::new();
    let path = scene.transcript();
    fs::write(&path, "one\n").unwrap();
    scene.save();
    fs::remove_dir_all(scene.store().join(".state")).unwrap();
    fs::write(scene.store().join("p/s1.jsonl"), "onf\n").unwrap();
    scene.save();
    assert_eq!(scene.content("p/s1.jsonl"), b"one\n");
    assert_eq!(scene.content("p/s1.gen-0001.jsonl"), b"onf\n");
    let kinds: Vec<_> = scene.archive().verify(None).unwrap().into_iter().map(|f| (f.path, f.kind)).collect();
    assert_eq!(kinds, [("s1.gen-0001.jsonl".to_owned(), FindingKind::Unverified)]);
}

#[test]
fn verify_finds_a_flipped_bit_anywhere_and_a_missing_file() {
    let scene = Scene::new();
    let path = scene.transcript();
    fs::write(&path, "x".repeat(20_000)).unwrap();
    scene.save();
    fs::write(&path, "y".repeat(300)).unwrap();
    scene.save();
    for rel in ["p/s1.jsonl", "p/s1.gen-0001.jsonl"] {
        let good = scene.content(rel);
        for at in (0..good.len()).step_by(149) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(scene.store().join(rel), bad).unwrap();
            let findings = scene.archive().verify(None).unwrap();
            assert_eq!(findings.len(), 1, "{rel} {at}");
            assert_eq!(findings[0].kind, FindingKind::Damaged, "{rel} {at}");
        }
        fs::remove_file(scene.store().join(rel)).unwrap();
        assert_eq!(scene.archive().verify(None).unwrap()[0].kind, FindingKind::Missing);
        fs::write(scene.store().join(rel), good).unwrap();
    }
    scene.is_clean();
}

#[test]
fn a_source_that_changed_without_being_written_is_told_apart_and_not_saved() {
    use super::ledger::Entry;
    use super::session::{OpenSession, SessionLock};
    let scene = Scene::new();
    let path = scene.transcript();
    fs::write(&path, "one\n").unwrap();
    scene.save();
    scene.is_clean();
    fs::write(&path, "onf\n").unwrap();
    let diverged = |archive: &Archive| archive.verify(None).unwrap().remove(0);
    let archive = scene.archive();
    let finding = diverged(&archive);
    assert_eq!((finding.kind, finding.save.as_deref()), (FindingKind::SourceDiverged, Some(&*path)));
    // As if the medium had lost a bit: nothing but the bytes differs from what was recorded.
    let key = archive.sessions().unwrap().remove(0);
    let lock = SessionLock::wait(&archive, &key.id).unwrap();
    let mut session = OpenSession::open(&archive, key, lock).unwrap();
    let name = StoredName::newest(FileName::Transcript);
    let mut record = session.ledger.record(&name).cloned().unwrap();
    record.source = Some(crate::claude::transcripts::Identity::of(&rustix::fs::stat(&path).unwrap()));
    session.commit(&[Entry::Commit(name, Box::new(record))]).unwrap();
    drop(session);
    let finding = diverged(&archive);
    assert_eq!((finding.kind, finding.save), (FindingKind::SourceDiverged, None));
    assert!(finding.detail.contains("the copy is right"), "{}", finding.detail);
    fs::remove_file(&path).unwrap();
    scene.is_clean();
}

#[test]
fn verify_names_a_generation_that_is_gone_with_its_record() {
    use super::session::{OpenSession, SessionLock};
    let scene = Scene::new();
    for content in ["one\n", "other\n", "third\n"] {
        fs::write(scene.transcript(), content).unwrap();
        scene.save();
    }
    let archive = scene.archive();
    let key = archive.sessions().unwrap().remove(0);
    fs::remove_file(scene.store().join("p/s1.gen-0001.jsonl")).unwrap();
    fs::remove_dir_all(scene.store().join(".state/sessions")).unwrap();
    // The bookkeeping is made anew from what is left.
    let lock = SessionLock::wait(&archive, &key.id).unwrap();
    drop(OpenSession::open(&archive, key, lock).unwrap());
    scene.save();
    let findings = archive.verify(None).unwrap();
    let gap = |finding: &Finding| finding.kind == FindingKind::GenerationGap && finding.path == "s1.gen-0001.jsonl";
    assert!(findings.iter().any(gap), "{findings:?}");
}

#[test]
fn a_damaged_copy_is_replaced_from_its_source_at_the_next_whole_comparison() {
    let scene = Scene::new();
    let path = scene.transcript();
    fs::write(&path, "x".repeat(20_000)).unwrap();
    scene.save();
    let mut bad = scene.content("p/s1.jsonl");
    bad[10_000] ^= 1;
    fs::write(scene.store().join("p/s1.jsonl"), &bad).unwrap();
    scene.save_from(&path, Compare::Whole);
    assert_eq!(scene.content("p/s1.jsonl"), fs::read(&path).unwrap());
    assert_eq!(scene.content(".state/damaged/p/s1.jsonl"), bad);
    assert_eq!(scene.names(), ["p/s1.jsonl"]);
    scene.is_clean();
}

#[test]
fn a_damaged_copy_with_an_append_that_was_cut_off_keeps_its_record_where_nobody_else_has_the_bytes() {
    for (behind, damaged, findings) in [("", true, 1), ("thr", true, 1), ("thr", false, 0)] {
        let scene = Scene::new();
        fs::write(scene.transcript(), "one\ntwo\n").unwrap();
        scene.save();
        let copy = if damaged { "one\ntw0\n" } else { "one\ntwo\n" };
        fs::write(scene.store().join("p/s1.jsonl"), format!("{copy}{behind}")).unwrap();
        fs::write(scene.transcript(), "another and longer one\n").unwrap();
        scene.save_from(&scene.transcript(), Compare::Whole);
        assert_eq!(scene.content("p/s1.gen-0001.jsonl"), format!("{copy}{behind}").as_bytes());
        let found: Vec<_> = scene.archive().verify(None).unwrap().into_iter().map(|f| (f.path, f.kind)).collect();
        assert_eq!(found.len(), findings, "{behind:?} {damaged}: {found:?}");
        assert!(
            found.iter().all(|found| *found == ("s1.gen-0001.jsonl".to_owned(), FindingKind::Damaged)),
            "{found:?}"
        );
    }
}

#[test]
fn a_copy_that_is_gone_is_made_again_and_one_that_cannot_be_is_asked_for() {
    let scene = Scene::new();
    let path = scene.transcript();
    fs::write(&path, "one\n").unwrap();
    scene.save();
    fs::remove_file(scene.store().join("p/s1.jsonl")).unwrap();
    append(&path, b"two\n");
    scene.save();
    scene.is_clean();
    fs::remove_file(scene.store().join("p/s1.jsonl")).unwrap();
    fs::write(&path, "other\n").unwrap();
    scene.save();
    let findings: Vec<_> = scene.archive().verify(None).unwrap().into_iter().map(|f| (f.path, f.kind)).collect();
    assert_eq!(findings, [("s1.gen-0001.jsonl".to_owned(), FindingKind::Missing)]);
}

#[test]
fn another_store_takes_over_every_generation_in_order() {
    let scene = Scene::new();
    let path = scene.transcript();
    for content in ["one\n", "other\n", "third\n"] {
        fs::write(&path, content).unwrap();
        scene.save();
    }
    let first = scene.archive();
    let key = first.sessions().unwrap().remove(0);
    let other = Scene::new();
    let second = other.archive();
    let mut files = first.files(&key).unwrap();
    files.rotate_left(1);
    for _ in 0..2 {
        for file in &files {
            replicate(&second, &key, &first, file).unwrap();
            assert!(second.covers(&key, &file.name.file, file.bytes, &file.blake3).unwrap());
        }
    }
    assert_eq!(other.tree(), scene.tree());
    assert_ne!(first.store_id(), second.store_id());
    other.is_clean();
}

#[test]
fn taking_over_refuses_damage() {
    let scene = Scene::new();
    let path = scene.transcript();
    fs::write(&path, "one\n").unwrap();
    let key = scene.save().key.unwrap();
    let first = scene.archive();
    let file = first.files(&key).unwrap().remove(0);
    fs::write(scene.store().join("p/s1.jsonl"), "onf\n").unwrap();
    let other = Scene::new();
    let refused = replicate(&other.archive(), &key, &first, &file);
    assert!(matches!(refused, Err(ArchiveError::Damaged { .. })), "{refused:?}");
    assert!(other.names().is_empty());
}

#[test]
fn what_is_behind_is_told_without_reading() {
    let scene = Scene::new();
    let path = scene.transcript();
    let id = SessionId::parse("s1").unwrap();
    let is_behind = || scene.archive().is_behind(&id, &path).unwrap();
    assert!(!is_behind());
    fs::write(&path, "one\n").unwrap();
    assert!(is_behind());
    scene.save();
    assert!(!is_behind());
    fs::create_dir_all(path.with_extension("")).unwrap();
    fs::write(path.with_extension("").join("custom-title.json"), "{}").unwrap();
    assert!(is_behind());
    scene.save();
    assert!(!is_behind());
}

#[test]
fn a_second_file_of_the_same_content_is_not_behind_while_the_first_one_is_there() {
    let scene = Scene::new();
    let (path, id) = (scene.transcript(), SessionId::parse("s1").unwrap());
    fs::write(&path, "one\n").unwrap();
    fs::create_dir_all(path.with_extension("")).unwrap();
    fs::write(path.with_extension("").join("custom-title.json"), "{}").unwrap();
    scene.save();
    let second = scene.dir.path().join("other/projects/-p/s1.jsonl");
    fs::create_dir_all(second.with_extension("")).unwrap();
    let is_behind = || scene.archive().is_behind(&id, &second).unwrap();
    assert!(!is_behind(), "it is not there");
    fs::write(&second, "one\n").unwrap();
    fs::write(second.with_extension("").join("custom-title.json"), "{}").unwrap();
    assert!(!is_behind());
    fs::write(second.with_extension("").join("custom-title.json"), "{\"a\":1}").unwrap();
    assert!(is_behind(), "its side file is another");
    fs::write(second.with_extension("").join("custom-title.json"), "{}").unwrap();
    for other in ["two\n", "one\ntwo\n", "on"] {
        fs::write(&second, other).unwrap();
        assert!(is_behind(), "{other:?}");
    }
    // One that moved is to be saved: its source is recorded then.
    fs::write(&second, "one\n").unwrap();
    fs::remove_file(&path).unwrap();
    assert!(is_behind());
}

#[test]
fn a_link_in_the_place_of_a_copy_is_not_followed() {
    let scene = Scene::new();
    let path = scene.transcript();
    fs::write(&path, "one\n").unwrap();
    scene.save();
    let outside = scene.dir.path().join("outside");
    fs::write(&outside, "one\n").unwrap();
    fs::remove_file(scene.store().join("p/s1.jsonl")).unwrap();
    std::os::unix::fs::symlink(&outside, scene.store().join("p/s1.jsonl")).unwrap();
    append(&path, b"two\n");
    let id = SessionId::parse("s1").unwrap();
    let request = SaveRequest {
        id: &id,
        transcript: &path,
        project: None,
        cwd: None,
        compare: Compare::Windows,
        progress: &|_| {},
    };
    // It is put aside as it stands, and a copy takes its place.
    assert!(scene.archive().save(&request).unwrap().problems.is_empty());
    assert_eq!(fs::read(&outside).unwrap(), b"one\n");
    assert_eq!(scene.content("p/s1.jsonl"), b"one\ntwo\n");
    assert!(fs::symlink_metadata(scene.store().join(".state/damaged/p/s1.jsonl")).unwrap().is_symlink());
}

/// A store with two generations and a side file, and a second store that took everything over.
fn two_stores() -> (Scene, Scene, SessionKey) {
    let (scene, other) = (Scene::new(), Scene::new());
    let path = scene.transcript();
    let side = path.with_extension("").join("x/side.json");
    fs::create_dir_all(side.parent().unwrap()).unwrap();
    fs::write(&side, "side").unwrap();
    for content in ["one\n", "other\n"] {
        fs::write(&path, content).unwrap();
        scene.save();
    }
    let key = scene.archive().sessions().unwrap().remove(0);
    for file in scene.archive().files(&key).unwrap().iter().rev() {
        replicate(&other.archive(), &key, &scene.archive(), file).unwrap();
    }
    (scene, other, key)
}

#[test]
fn repair_heals_from_the_source_and_from_the_other_store_and_keeps_what_it_replaced() {
    for rel in ["p/s1.jsonl", "p/s1.gen-0001.jsonl", "p/s1/x/side.json"] {
        for with_source in [true, false] {
            let (scene, other, _) = two_stores();
            if !with_source {
                fs::remove_dir_all(scene.dir.path().join("projects")).unwrap();
            }
            let good = scene.content(rel);
            let mut bad = good.clone();
            bad[1] ^= 8;
            fs::write(scene.store().join(rel), &bad).unwrap();
            let repairs = scene.archive().repair(None, Some(&other.archive())).unwrap();
            assert_eq!(repairs.len(), 1, "{repairs:?}");
            assert!(repairs[0].healed, "{repairs:?}");
            assert_eq!(scene.content(rel), good);
            assert_eq!(fs::read(scene.store().join(".state/damaged").join(rel)).unwrap(), bad);
            fs::remove_file(scene.store().join(rel)).unwrap();
            assert!(scene.archive().repair(None, Some(&other.archive())).unwrap()[0].healed);
            scene.is_clean();
            assert!(scene.archive().repair(None, Some(&other.archive())).unwrap().is_empty());
        }
    }
}

#[test]
fn repair_without_any_proof_says_so_and_changes_nothing() {
    let (scene, _, _) = two_stores();
    let rel = "p/s1.gen-0001.jsonl";
    fs::write(scene.store().join(rel), "onf\n").unwrap();
    let before = scene.tree();
    let repairs = scene.archive().repair(None, None).unwrap();
    assert!(!repairs[0].healed);
    assert_eq!(scene.tree(), before);
    assert_eq!(scene.archive().verify(None).unwrap()[0].kind, FindingKind::Damaged);
}

#[test]
fn lost_bookkeeping_is_proven_by_the_other_store() {
    let (scene, other, _) = two_stores();
    fs::remove_dir_all(scene.dir.path().join("projects")).unwrap();
    let before = scene.tree();
    fs::remove_dir_all(scene.store().join(".state")).unwrap();
    let flipped = scene.store().join("p/s1.jsonl");
    fs::write(&flipped, "otHer\n").unwrap();
    let repairs = scene.archive().repair(None, Some(&other.archive())).unwrap();
    assert_eq!(repairs.len(), 3, "{repairs:?}");
    assert!(repairs.iter().all(|repair| repair.healed), "{repairs:?}");
    assert_eq!(scene.tree(), before);
    scene.is_clean();
}

#[test]
fn a_damaged_ledger_is_found_and_proven_again() {
    let (scene, other, _) = two_stores();
    let path = scene.store().join(".state/sessions/s1/p.ledger");
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(37) {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let before = scene.tree();
        assert!(!scene.archive().verify(None).unwrap().is_empty(), "{at}");
        scene.archive().repair(None, Some(&other.archive())).unwrap();
        assert_eq!(scene.tree(), before, "{at}");
        scene.is_clean();
    }
}

#[test]
fn what_cannot_be_opened_is_a_finding_and_the_rest_is_verified() {
    let (scene, _, _) = two_stores();
    let folder = scene.store().join("p/s1/x");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "a file in the place of a folder").unwrap();
    fs::write(scene.store().join("p/s1.gen-0001.jsonl"), "onf\n").unwrap();
    let findings: Vec<_> = scene.archive().verify(None).unwrap().into_iter().map(|f| (f.path, f.kind)).collect();
    let expected = [
        ("s1.gen-0001.jsonl".to_owned(), FindingKind::Damaged),
        ("s1/x/side.json".to_owned(), FindingKind::Damaged),
        ("s1/x".to_owned(), FindingKind::BookkeepingLost),
    ];
    assert_eq!(findings, expected);
}

#[test]
fn a_rebuilt_record_covers_nothing_until_the_other_store_proves_it() {
    for is_newest_first in [true, false] {
        let (scene, other, key) = two_stores();
        fs::remove_dir_all(other.store().join(".state")).unwrap();
        let mut files = scene.archive().files(&key).unwrap();
        if !is_newest_first {
            files.reverse();
        }
        for file in files {
            let covers = || other.archive().covers(&key, &file.name.file, file.bytes, &file.blake3).unwrap();
            assert!(!covers());
            replicate(&other.archive(), &key, &scene.archive(), &file).unwrap();
            assert!(covers());
        }
        other.is_clean();
    }
}

#[test]
fn a_taken_over_generation_whose_commit_was_cut_off_is_proven_by_the_next() {
    use super::ledger::{Entry, Intent};
    use super::session::{OpenSession, SessionLock};
    for renamed in [false, true] {
        let (scene, other, key) = two_stores();
        let archive = other.archive();
        let lock = SessionLock::wait(&archive, &key.id).unwrap();
        let mut session = OpenSession::open(&archive, key.clone(), lock).unwrap();
        session.commit(&[Entry::Begin(FileName::Transcript, Intent::Add { to: 2 })]).unwrap();
        drop(session);
        if renamed {
            fs::write(other.store().join("p/s1.gen-0002.jsonl"), "third\n").unwrap();
        }
        for content in ["third\n", "other\n"] {
            fs::write(scene.transcript(), content).unwrap();
            scene.save();
        }
        for file in scene.archive().files(&key).unwrap() {
            replicate(&archive, &key, &scene.archive(), &file).unwrap();
        }
        assert_eq!(other.content("p/s1.gen-0002.jsonl"), b"third\n");
        other.is_clean();
    }
}

#[test]
fn a_source_that_shrank_is_saved_under_any_spelling_of_its_path() {
    let scene = Scene::new();
    let path = scene.transcript();
    let spelled = scene.dir.path().join("link/-p/s1.jsonl");
    std::os::unix::fs::symlink(scene.dir.path().join("projects"), scene.dir.path().join("link")).unwrap();
    fs::write(&path, "one\ntwo\n").unwrap();
    scene.save();
    for content in ["one\n", "o\n"] {
        fs::write(&path, content).unwrap();
        assert_eq!(scene.save_from(&spelled, Compare::Windows).generations_begun, 1);
        assert_eq!(scene.content("p/s1.jsonl"), content.as_bytes());
        fs::write(&path, "one\ntwo\n").unwrap();
        scene.save();
    }
    scene.is_clean();
}

/// What may happen to a source, and when it is saved.
#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Truncate(u8),
    Rewrite(u8),
    Replace(u8),
    Delete,
    /// A killed run: some of the source's next bytes stand after the committed ones.
    CutOffAppend(u8),
    /// A killed run: the temporary file of a new content is still there.
    LeftoverTemp,
    LostLedger,
    Save,
    SaveWhole,
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    use proptest::prelude::*;
    prop_oneof![
        4 => any::<u8>().prop_map(Step::Append),
        1 => any::<u8>().prop_map(Step::Truncate),
        1 => any::<u8>().prop_map(Step::Rewrite),
        1 => any::<u8>().prop_map(Step::Replace),
        1 => Just(Step::Delete),
        1 => any::<u8>().prop_map(Step::CutOffAppend),
        1 => Just(Step::LeftoverTemp),
        1 => Just(Step::LostLedger),
        4 => Just(Step::Save),
        2 => Just(Step::SaveWhole),
    ]
}

fn take(scene: &Scene, step: &Step, acknowledged: &mut Vec<Vec<u8>>) {
    let path = scene.transcript();
    let text = |seed: u8| format!("{seed}:{}\n", "x".repeat(usize::from(seed) * 5)).into_bytes();
    let copy = scene.store().join("p/s1.jsonl");
    match step {
        Step::Append(seed) => append(&path, &text(*seed)),
        Step::Truncate(seed) => {
            let bytes = fs::read(&path).unwrap_or_default();
            fs::write(&path, &bytes[..bytes.len() * usize::from(*seed) / 255]).unwrap();
        }
        Step::Rewrite(seed) => fs::write(&path, text(*seed)).unwrap(),
        Step::Replace(seed) => {
            fs::write(path.with_extension("x"), text(*seed)).unwrap();
            fs::rename(path.with_extension("x"), &path).unwrap();
        }
        Step::Delete => drop(fs::remove_file(&path)),
        Step::CutOffAppend(seed) => {
            let (source, stored) = (fs::read(&path).unwrap_or_default(), fs::read(&copy).unwrap_or_default());
            if copy.exists() && source.starts_with(&stored) {
                let rest = &source[stored.len()..];
                append(&copy, &rest[..rest.len() * usize::from(*seed) / 255]);
            }
        }
        Step::LeftoverTemp if scene.store().join(".state/sessions/s1").exists() => {
            fs::write(scene.store().join(".state/sessions/s1/new"), "half").unwrap();
        }
        Step::LeftoverTemp => {}
        Step::LostLedger => drop(fs::remove_dir_all(scene.store().join(".state/sessions"))),
        Step::Save | Step::SaveWhole => {
            let compare = if matches!(step, Step::Save) { Compare::Windows } else { Compare::Whole };
            if scene.save_from(&path, compare).transcript == TranscriptState::Stored {
                let source = fs::read(&path).unwrap();
                assert_eq!(fs::read(&copy).unwrap(), source, "the newest copy equals the source");
                acknowledged.push(source);
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 40, ..Default::default() })]
    #[test]
    fn whatever_happens_every_acknowledged_byte_stays(
        steps in proptest::collection::vec(step(), 1..25),
    ) {
        let scene = Scene::new();
        let mut acknowledged = Vec::new();
        for step in &steps {
            take(&scene, step, &mut acknowledged);
            let stored: Vec<Vec<u8>> = scene.tree_or_nothing().into_iter().map(|(_, bytes)| bytes).collect();
            for content in &acknowledged {
                let is_kept = stored.iter().any(|bytes| bytes.starts_with(content));
                proptest::prop_assert!(is_kept, "{} bytes were lost by {step:?}", content.len());
            }
        }
        if scene.store().exists() {
            let worse = |finding: &Finding| finding.kind == FindingKind::Damaged || finding.kind == FindingKind::Missing;
            let findings = scene.archive().verify(None).unwrap();
            proptest::prop_assert!(!findings.iter().any(worse), "{findings:?}");
        }
    }
}

#[test]
fn ids_that_differ_in_case_alone_are_refused_where_the_file_system_folds_them() {
    let scene = Scene::new();
    fs::write(scene.transcript(), b"{}\n").unwrap();
    scene.save();
    // A file system that folds case finds the one's bookkeeping under the other's name.
    let state = scene.store().join(".state/sessions");
    fs::create_dir(state.join("S1")).unwrap();
    fs::copy(state.join("s1/p.ledger"), state.join("S1/p.ledger")).unwrap();
    let other = scene.transcript().with_file_name("S1.jsonl");
    fs::write(&other, b"{\"other\":1}\n").unwrap();
    let id = SessionId::of_transcript(&other).unwrap();
    let (before, progress) = (scene.tree(), |_| {});
    let request = SaveRequest {
        id: &id,
        transcript: &other,
        project: None,
        cwd: Some("/home/p"),
        compare: Compare::Windows,
        progress: &progress,
    };
    let error = scene.archive().save(&request).unwrap_err();
    assert!(matches!(&error, ArchiveError::SpelledAlike { other, .. } if other == "s1"), "{error}");
    assert_eq!(scene.tree(), before);
}

#[test]
fn a_transcript_is_copied_whatever_lies_beside_it_and_what_lies_beside_it_whatever_it_is() {
    let scene = Scene::new();
    let transcript = scene.transcript();
    fs::write(&transcript, "one\n").unwrap();
    let (own, beside) = (transcript.with_file_name("s1"), transcript.with_file_name("s1 2.jsonl"));
    std::os::unix::fs::symlink("s1", &own).unwrap();
    fs::write(&beside, "two\n").unwrap();
    let id = SessionId::of_transcript(&transcript).unwrap();
    let save = || {
        let (cwd, compare) = (Some("/home/p"), Compare::Windows);
        let request = SaveRequest { id: &id, transcript: &transcript, project: None, cwd, compare, progress: &|_| {} };
        scene.archive().save(&request)
    };
    let report = save().unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    let held = |rel: &str| fs::read_to_string(scene.store().join(rel)).unwrap();
    assert_eq!((held("p/s1.jsonl").as_str(), held("p/s1/.beside/s1 2.jsonl").as_str()), ("one\n", "two\n"));
    fs::remove_file(&transcript).unwrap();
    fs::create_dir(&transcript).unwrap();
    fs::write(&beside, "two\nthree\n").unwrap();
    assert!(save().is_err());
    assert_eq!((held("p/s1.jsonl").as_str(), held("p/s1/.beside/s1 2.jsonl").as_str()), ("one\n", "two\nthree\n"));
}

#[test]
fn what_is_left_of_a_conversation_whose_transcript_is_gone_is_kept() {
    let scene = Scene::new();
    let transcript = scene.transcript_in("-p").with_file_name("5b3d80da-3868-4fbe-b063-0aa144649138.jsonl");
    let agent = transcript.with_extension("").join("subagents/agent-1.jsonl");
    fs::create_dir_all(agent.parent().unwrap()).unwrap();
    let id = SessionId::of_transcript(&transcript).unwrap();
    assert!(!scene.archive().is_behind(&id, &transcript).unwrap());
    fs::write(&agent, "{\"cwd\":\"/w/proj\"}\n").unwrap();
    assert!(scene.archive().is_behind(&id, &transcript).unwrap());
    assert_eq!(scene.save_from(&transcript, Compare::Windows).key.unwrap().project.as_str(), "proj");
    assert!(!scene.archive().is_behind(&id, &transcript).unwrap());
    assert!(scene.archive().verify(None).unwrap().is_empty());
    let key = scene.archive().sessions().unwrap().remove(0);
    assert_eq!(scene.archive().source_of(&key).unwrap(), Some(transcript));
}
