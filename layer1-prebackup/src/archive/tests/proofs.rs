//! What counts as proof: before a content is called covered, healed, whole or superseded, and before one is
//! called damaged.

use super::super::ledger::{Entry, Record};
use super::compress::{is_well, key, old};
use super::edges::{commit, findings, first, newest, saved};
use super::*;

const COPY: &str = "p/s1.jsonl";
const FIRST: &str = "p/s1.gen-0001.jsonl";
const PACKED: &str = "p/s1.jsonl.zst";

fn all(_: &StoredFile) -> bool {
    true
}

fn distrust(scene: &Scene, name: &StoredName) {
    let record = scene.archive().ledger(&key()).unwrap().record(name).cloned().unwrap();
    let record = Record { verification: Verification::Unverified, ..record };
    commit(&scene.archive(), &[Entry::Commit(name.clone(), Box::new(record))]);
}

fn spoil_ledger(scene: &Scene) {
    let path = scene.store().join(".state/sessions/s1/p.ledger");
    let mut text = fs::read(&path).unwrap();
    text[20] ^= 1;
    fs::write(&path, text).unwrap();
}

fn lose_ledger(scene: &Scene) {
    fs::remove_file(scene.store().join(".state/sessions/s1/p.ledger")).unwrap();
}

/// Compresses the newest content.
fn compress(scene: &Scene, level: i32) {
    let file = scene.archive().compressible(&key()).unwrap().remove(0);
    assert!(scene.archive().compress(&key(), &file, level).unwrap().is_some());
}

#[test]
fn what_is_covered_is_read_and_what_cannot_be_is_not() {
    let scene = saved(&["one\ntwo\n", "other\n"]);
    let covers = |text: &str| {
        let (bytes, hash) = (text.len() as u64, blake3::hash(text.as_bytes()));
        scene.archive().covers(&key(), &FileName::Transcript, bytes, &hash).unwrap()
    };
    for (text, expected) in [
        ("one\ntwo\n", true),
        ("one\n", true),
        ("", true),
        ("other\n", true),
        ("one\nxxx\n", false),
        ("one\ntwo\nx", false),
    ] {
        assert_eq!(covers(text), expected, "{text:?}");
    }
    // Shorter than recorded, or gone.
    fs::write(scene.store().join(FIRST), "one\n").unwrap();
    assert_eq!([covers("one\n"), covers("one\ntwo\n"), covers("other\n")], [true, false, true]);
    fs::remove_file(scene.store().join(FIRST)).unwrap();
    assert_eq!([covers("one\n"), covers("other\n")], [false, true]);
}

#[test]
fn what_nobody_proved_is_lacking_whatever_is_recorded_of_it() {
    let scene = saved(&["one\n"]);
    let files = scene.archive().files(&key()).unwrap();
    let lacks = || scene.archive().lacking(Some(&key()), &files).unwrap().len();
    assert_eq!(lacks(), 0);
    distrust(&scene, &newest());
    assert_eq!(lacks(), 1);
}

#[test]
fn older_contents_are_taken_over_behind_a_longer_newest_one_in_whatever_order() {
    let scene = saved(&["1\n", "22\n", "a longer one\n"]);
    let files = scene.archive().files(&key()).unwrap();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [2, 1, 0]] {
        let other = Scene::new();
        let files: Vec<_> = order.iter().map(|at| files[*at].clone()).collect();
        for answer in other.archive().replicate(&key(), &scene.archive(), &key(), &files, &|_| {}).unwrap() {
            answer.unwrap();
        }
        assert_eq!(other.content(COPY), b"a longer one\n", "{order:?}");
        let mut older = [other.content(FIRST), other.content("p/s1.gen-0002.jsonl")];
        older.sort();
        assert_eq!(older, [b"1\n".to_vec(), b"22\n".to_vec()], "{order:?}");
        other.is_clean();
    }
}

#[test]
fn a_repair_takes_the_bytes_from_wherever_they_begin_something() {
    // Generation 1 is a beginning of the newest content.
    for (rel, planted, only) in [
        (FIRST, "onf\n", ""),
        (COPY, "one\ntwo\nand more that nobody wrote", ""),
        (FIRST, "one\nmore", "p/s1.gen-0002.jsonl"),
    ] {
        let scene = saved(&["one\n", "x\n", "one\ntwo\n"]);
        fs::remove_file(scene.transcript()).unwrap();
        let before = scene.tree();
        fs::write(scene.store().join(rel), planted).unwrap();
        if !only.is_empty() {
            // Nobody else has the bytes: what stands there begins with them.
            fs::write(scene.store().join(COPY), "gone\n").unwrap();
        }
        let repairs = scene.archive().repair(None, None).unwrap();
        assert!(repairs.iter().any(|repair| repair.healed), "{rel} {repairs:?}");
        let mut after = scene.tree();
        if !only.is_empty() {
            after.retain(|(name, _)| name != COPY);
        }
        assert!(after.iter().all(|file| before.contains(file)), "{rel}");
        assert_eq!(fs::read_to_string(scene.store().join(".state/damaged").join(rel)).unwrap(), planted);
    }
}

#[test]
fn what_nobody_proves_is_not_called_healed_and_not_changed() {
    let (proven, unproven) = (true, false);
    // What the other store has under the same name, and whether its record is proven.
    for (theirs, is_proven, healed, after) in [
        ("", proven, false, "one\n"),
        ("two\n", unproven, false, "one\n"),
        ("two and more\n", proven, false, "one\n"),
        ("two\n", proven, true, "two\n"),
        ("one\n", unproven, true, "one\n"),
    ] {
        let (scene, other) = (saved(&["one\n"]), saved(&[theirs]));
        fs::remove_file(scene.transcript()).unwrap();
        lose_ledger(&scene);
        if !is_proven {
            lose_ledger(&other);
        }
        let repairs = scene.archive().repair(None, Some(&other.archive())).unwrap();
        assert_eq!(repairs.iter().map(|repair| repair.healed).collect::<Vec<_>>(), [healed], "{theirs:?} {repairs:?}");
        assert_eq!(scene.content(COPY), after.as_bytes(), "{theirs:?}");
        assert_eq!(findings(&scene).is_empty(), healed, "{theirs:?}");
    }
}

#[test]
fn a_gap_is_filled_from_the_folder_of_the_same_name_first() {
    let id = key().id;
    let save = |scene: &Scene, project: &str, text: &str| {
        let (project, transcript) = (ProjectName::parse(project).unwrap(), scene.transcript());
        fs::write(&transcript, text).unwrap();
        let request = SaveRequest {
            id: &id,
            transcript: &transcript,
            project: Some(&project),
            cwd: None,
            compare: Compare::Windows,
            progress: &|_| {},
        };
        scene.archive().save(&request).unwrap();
    };
    let (scene, other) = (Scene::new(), Scene::new());
    for text in ["one\n", "two\n", "newest\n"] {
        save(&scene, "q", text);
    }
    save(&other, "p", "of another project\n");
    save(&other, "q", "right\n");
    let key = SessionKey::parse("q", "s1").unwrap();
    let archive = scene.archive();
    let lock = session::SessionLock::wait(&archive, &id).unwrap();
    session::OpenSession::open(&archive, key, lock).unwrap().commit(&[Entry::Gone(first())]).unwrap();
    fs::remove_file(scene.store().join("q/s1.gen-0001.jsonl")).unwrap();
    archive.repair(None, Some(&other.archive())).unwrap();
    assert_eq!(scene.content("q/s1.gen-0001.jsonl"), b"right\n");
}

#[test]
fn what_is_set_aside_goes_only_where_all_else_is_whole_and_proven() {
    type Spoil = fn(&Scene);
    let spoils: [(&str, Spoil, usize); 6] = [
        ("nothing", |_| {}, 1),
        ("the ledger", spoil_ledger, 0),
        ("a proof", |scene| distrust(scene, &newest()), 0),
        ("a content", |scene| fs::write(scene.store().join(FIRST), "0ne\n").unwrap(), 0),
        ("a content's end", |scene| fs::write(scene.store().join(FIRST), "one\nx").unwrap(), 0),
        (
            "a generation, with its record",
            |scene| {
                commit(&scene.archive(), &[Entry::Gone(first())]);
                fs::remove_file(scene.store().join(FIRST)).unwrap();
            },
            0,
        ),
    ];
    for (what, spoil, count) in spoils {
        let scene = saved(&["one\n", "other\n", "third\n"]);
        fs::write(scene.store().join(COPY), "bad").unwrap();
        scene.archive().repair(None, None).unwrap();
        spoil(&scene);
        assert_eq!(scene.archive().healed_quarantine(&key()).unwrap().len(), count, "{what}");
    }
}

#[test]
fn a_content_is_superseded_by_one_that_is_proven_and_stays_and_the_newest_by_none() {
    let by = |scene: &Scene| -> Vec<(u32, u32)> {
        let found = scene.archive().superseded(&key(), &all).unwrap();
        found.iter().map(|found| (found.file.name.generation, found.by.generation)).collect()
    };
    // The newest content covers first, then the latest generation.
    let contents = ["a\n", "z\n", "a\nx\n", "a\nc\n"];
    assert_eq!(by(&saved(&contents)), [(1, 0)]);
    let scene = saved(&contents);
    distrust(&scene, &newest());
    assert_eq!(by(&scene), [(1, 3)]);
    // A source that shrank: the newest content is a beginning of an older one.
    assert_eq!(by(&saved(&["a\nb\n", "a\n"])), []);
    // One that is gone covers nothing, is covered by nothing, and keeps nobody from the rest.
    let scene = saved(&contents);
    fs::remove_file(scene.store().join("p/s1.gen-0002.jsonl")).unwrap();
    fs::remove_file(scene.store().join(COPY)).unwrap();
    assert_eq!(by(&scene), [(1, 3)]);
}

#[test]
fn only_what_was_asked_for_goes_and_a_named_one_closes_the_gaps() {
    let archive_of = |scene: &Scene| (scene.archive(), scene.archive().files(&key()).unwrap());
    let contents = ["a\n", "x\n", "a\nb\n", "y\n", "a\nb\nc\n"];
    let scene = saved(&contents);
    let (archive, mut files) = archive_of(&scene);
    files.retain(|file| file.name.generation == 1);
    assert_eq!(archive.prune_generations(&key(), &files, PruneReason::Superseded).unwrap().len(), 1);
    assert!(scene.store().join("p/s1.gen-0003.jsonl").exists());
    for (grounds, gaps) in [(PruneReason::Superseded, 1), (PruneReason::Named, 0)] {
        let scene = saved(&contents);
        let gap = StoredName { generation: 2, ..newest() };
        commit(&scene.archive(), &[Entry::Gone(gap)]);
        fs::remove_file(scene.store().join("p/s1.gen-0002.jsonl")).unwrap();
        let (archive, mut files) = archive_of(&scene);
        files.retain(|file| file.name.generation == 1);
        assert_eq!(archive.prune_generations(&key(), &files, grounds).unwrap().len(), 1);
        assert_eq!(findings(&scene).len(), gaps, "{grounds:?}");
    }
}

#[test]
fn of_two_sessions_of_one_id_the_journal_stays_for_the_other() {
    let scene = Scene::new();
    for slug in ["-p", "-q"] {
        fs::write(scene.transcript_in(slug), format!("{slug}\n")).unwrap();
        scene.save_from(&scene.transcript_in(slug), Compare::Windows);
    }
    let journal = scene.store().join(".state/journal/s1.jsonl");
    fs::create_dir_all(journal.parent().unwrap()).unwrap();
    fs::write(&journal, "x").unwrap();
    let archive = scene.archive();
    for (project, is_kept) in [("p", true), ("p~2", false)] {
        let key = SessionKey::parse(project, "s1").unwrap();
        assert!(archive.prune_session::<ArchiveError, ()>(&key, &archive.files(&key).unwrap(), || Ok(())).unwrap());
        assert_eq!(journal.exists(), is_kept, "{project}");
    }
}

#[test]
fn bytes_behind_the_recorded_end_are_told_and_no_damage() {
    let scene = saved(&["one\n"]);
    append(&scene.store().join(COPY), b"more");
    assert_eq!(findings(&scene), [("s1.jsonl".to_owned(), FindingKind::BookkeepingLost)]);
}

#[test]
fn a_compressed_file_is_the_one_that_was_recorded_not_only_one_with_the_same_bytes() {
    // The same content, packed otherwise.
    let otherwise = saved(&[&old()]);
    compress(&otherwise, 1);
    let otherwise = otherwise.content(PACKED);
    let scene = saved(&[&old()]);
    compress(&scene, 19);
    let packed = scene.content(PACKED);
    assert!(packed != otherwise);
    fs::write(scene.store().join(PACKED), &otherwise).unwrap();
    assert_eq!(findings(&scene), [("s1.jsonl".to_owned(), FindingKind::Damaged)]);
    // A whole comparison replaces it.
    scene.save_from(&scene.transcript(), Compare::Whole);
    is_well(&scene);
    // Beside the plain one it is made again; the one that was recorded is kept as it is.
    for (planted, level, after) in [(&otherwise, 19, &packed), (&packed, 1, &packed)] {
        let scene = saved(&[&old()]);
        compress(&scene, 19);
        fs::write(scene.store().join(COPY), old()).unwrap();
        fs::write(scene.store().join(PACKED), planted).unwrap();
        compress(&scene, level);
        assert!(scene.content(PACKED) == *after);
        assert_eq!(scene.names(), [PACKED]);
        is_well(&scene);
    }
}

#[test]
fn nothing_is_compressed_that_is_empty_or_behind_its_source() {
    let scene = saved(&["one\ntwo\n", ""]);
    let names = |scene: &Scene| -> Vec<u32> {
        scene.archive().compressible(&key()).unwrap().iter().map(|file| file.name.generation).collect()
    };
    assert_eq!(names(&scene), [1]);
    let scene = saved(&["one\n"]);
    assert_eq!(names(&scene), [0]);
    fs::write(scene.transcript(), "two\n").unwrap();
    assert_eq!(names(&scene), [0; 0]);
}
