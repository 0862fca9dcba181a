//! Newest contents that are compressed: whoever goes on with them loses nothing, whenever a run is killed.

use super::compress::{is_well, key, old, plain_bytes};
use super::*;

const PLAIN: &str = "p/s1.jsonl";
const PACKED: &str = "p/s1.jsonl.zst";

fn newest() -> StoredName {
    StoredName::newest(FileName::Transcript)
}

/// Compresses all that may be; how many were.
fn compress(scene: &Scene) -> usize {
    let archive = scene.archive();
    let files = archive.compressible(&key()).unwrap();
    files.iter().filter_map(|file| archive.compress(&key(), file, 9).unwrap()).count()
}

/// A session whose one content is compressed.
fn compressed() -> Scene {
    let scene = Scene::new();
    fs::write(scene.transcript(), old()).unwrap();
    scene.save();
    assert_eq!((compress(&scene), scene.names()), (1, vec![PACKED.to_owned()]));
    scene
}

fn put(scene: &Scene, rel: &str, bytes: &[u8]) {
    fs::write(scene.store().join(rel), bytes).unwrap();
}

fn take(scene: &Scene, rel: &str) {
    fs::remove_file(scene.store().join(rel)).unwrap();
}

fn flip(scene: &Scene, rel: &str) {
    let mut bytes = scene.content(rel);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    put(scene, rel, &bytes);
}

fn ledger_path(scene: &Scene) -> PathBuf {
    scene.store().join(".state/sessions/s1/p.ledger")
}

/// The source goes on, is saved, and lies in the store to the last byte, plain and alone.
fn goes_on(scene: &Scene) {
    append(&scene.transcript(), b"{\"more\":1}\n");
    scene.save();
    assert_eq!(scene.names(), [PLAIN]);
    assert!(scene.content(PLAIN) == fs::read(scene.transcript()).unwrap());
    scene.is_clean();
}

#[test]
fn the_newest_content_is_compressed_and_read_as_it_was() {
    let scene = compressed();
    is_well(&scene);
    assert!(plain_bytes(&scene, &newest()) == old().into_bytes());
    let mut ranges = scene.archive().slot(&key(), &newest()).ranges().unwrap();
    let mut bytes = [0; 20];
    ranges.read_exact_at(1000, &mut bytes).unwrap();
    assert!(bytes[..] == old().as_bytes()[1000..1020]);
    let archive = scene.archive();
    assert_eq!(archive.sessions().unwrap(), [key()]);
    assert!(archive.slot(&key(), &newest()).place().ends_with(PACKED));
    let file = archive.files(&key()).unwrap().remove(0);
    assert_eq!((file.path.as_str(), file.bytes), ("s1.jsonl", old().len() as u64));
    assert_eq!(file.disk_bytes, scene.content(PACKED).len() as u64);
    assert!(archive.covers(&key(), &FileName::Transcript, file.bytes, &file.blake3).unwrap());
    assert_eq!(compress(&scene), 0, "a second run has nothing to do");
}

#[test]
fn a_source_that_did_not_change_leaves_it_as_it_is_and_unread() {
    let scene = compressed();
    let (before, ledger) = (scene.tree(), fs::read(ledger_path(&scene)).unwrap());
    assert!(!scene.archive().is_behind(&key().id, &scene.transcript()).unwrap());
    assert_eq!(scene.save().bytes_added, 0);
    assert_eq!(scene.save_from(&scene.transcript(), Compare::Whole).bytes_added, 0);
    assert_eq!((scene.tree(), fs::read(ledger_path(&scene)).unwrap()), (before, ledger));
    // A turn's event looks at lengths alone: other bytes are for `verify`.
    flip(&scene, PACKED);
    let before = scene.tree();
    scene.save();
    assert_eq!(scene.tree(), before);
    assert_eq!(scene.archive().verify(None).unwrap()[0].kind, FindingKind::Damaged);
}

#[test]
fn a_source_of_another_identity_and_the_same_bytes_leaves_it_compressed() {
    let scene = compressed();
    let before = scene.tree();
    fs::write(scene.transcript().with_extension("x"), old()).unwrap();
    fs::rename(scene.transcript().with_extension("x"), scene.transcript()).unwrap();
    assert!(scene.archive().is_behind(&key().id, &scene.transcript()).unwrap());
    assert_eq!(scene.save().bytes_added, 0);
    assert!(!scene.archive().is_behind(&key().id, &scene.transcript()).unwrap());
    assert_eq!(scene.tree(), before);
    is_well(&scene);
}

#[test]
fn a_session_goes_on_and_every_byte_is_there() {
    for compare in [Compare::Windows, Compare::Whole] {
        let scene = compressed();
        append(&scene.transcript(), b"one more\n");
        assert_eq!(scene.save_from(&scene.transcript(), compare).bytes_added, 9);
        goes_on(&scene);
        // And is compressed again.
        assert_eq!((compress(&scene), scene.names()), (1, vec![PACKED.to_owned()]));
        is_well(&scene);
        goes_on(&scene);
    }
}

#[test]
fn a_rewritten_source_makes_a_generation_of_it_without_unpacking() {
    let scene = compressed();
    let packed = scene.content(PACKED);
    fs::write(scene.transcript(), "anew\n").unwrap();
    assert_eq!(scene.save().generations_begun, 1);
    assert_eq!(scene.names(), ["p/s1.gen-0001.jsonl.zst", PLAIN]);
    assert!(scene.content("p/s1.gen-0001.jsonl.zst") == packed);
    is_well(&scene);
}

#[test]
fn a_rotation_that_was_cut_off_is_finished() {
    let scene = compressed();
    let before = fs::read(ledger_path(&scene)).unwrap();
    fs::write(scene.transcript(), "anew\n").unwrap();
    scene.save();
    // What was written up to the intent, and the rename behind it.
    let after = fs::read(ledger_path(&scene)).unwrap();
    let intent = after[before.len()..].split_inclusive(|byte| *byte == b'\n').next().unwrap().len();
    fs::write(ledger_path(&scene), &after[..before.len() + intent]).unwrap();
    take(&scene, PLAIN);
    scene.save();
    assert_eq!(scene.names(), ["p/s1.gen-0001.jsonl.zst", PLAIN]);
    is_well(&scene);
    // The same before the rename.
    fs::write(ledger_path(&scene), &after[..before.len() + intent]).unwrap();
    fs::rename(scene.store().join("p/s1.gen-0001.jsonl.zst"), scene.store().join(PACKED)).unwrap();
    take(&scene, PLAIN);
    scene.save();
    assert_eq!(scene.names(), ["p/s1.gen-0001.jsonl.zst", PLAIN]);
    is_well(&scene);
}

#[test]
fn what_a_killed_run_of_compress_leaves_is_read_goes_on_and_is_finished() {
    let whole = compressed();
    let packed = whole.content(PACKED);
    type Left<'a> = &'a dyn Fn(&Scene);
    let states: [(&str, Left); 4] = [
        ("recorded", &|scene| take(scene, PACKED)),
        ("put in place", &|_| {}),
        ("put in place, the plain one damaged since", &|scene| flip(scene, PLAIN)),
        ("put in place, and damaged since", &|scene| flip(scene, PACKED)),
    ];
    for (what, left) in states {
        let make = || {
            let scene = compressed();
            put(&scene, PLAIN, old().as_bytes());
            left(&scene);
            scene
        };
        let (scene, is_plain_whole) = (make(), !what.contains("plain one damaged"));
        assert!(scene.content(PLAIN).len() == old().len());
        if is_plain_whole {
            is_well(&scene);
            assert!(plain_bytes(&scene, &newest()) == old().into_bytes(), "{what}");
            assert_eq!(compress(&scene), 1, "{what}");
            assert_eq!(scene.names(), [PACKED], "{what}");
            assert!(scene.content(PACKED) == packed, "{what}");
        } else {
            // Nobody else has the bytes.
            fs::remove_file(scene.transcript()).unwrap();
            let repairs = scene.archive().repair(None, None).unwrap();
            assert!(repairs.len() == 1 && repairs[0].healed, "{repairs:?}");
        }
        is_well(&scene);
        assert!(plain_bytes(&scene, &newest()) == old().into_bytes(), "{what}");
        // The source goes on before anybody finished it.
        let scene = make();
        append(&scene.transcript(), b"more\n");
        scene.save_from(&scene.transcript(), Compare::Whole);
        assert!(scene.content(PLAIN) == fs::read(scene.transcript()).unwrap(), "{what}");
        assert!(!scene.store().join(PACKED).exists(), "{what}");
        is_well(&scene);
        // Or was rewritten.
        let scene = make();
        fs::write(scene.transcript(), "anew\n").unwrap();
        scene.save_from(&scene.transcript(), Compare::Whole);
        let first = StoredName { file: FileName::Transcript, generation: 1 };
        assert!(plain_bytes(&scene, &first) == old().into_bytes(), "{what}");
        assert!(!scene.store().join(PACKED).exists(), "{what}");
        is_well(&scene);
    }
}

#[test]
fn what_a_killed_run_of_a_save_leaves_is_read_and_finished() {
    type Left<'a> = &'a dyn Fn(&Scene);
    let states: [(&str, Left); 4] = [
        ("unpacked aside", &|scene| put(scene, ".state/sessions/s1/new", &old().as_bytes()[..3000])),
        ("put in place", &|scene| put(scene, PLAIN, old().as_bytes())),
        ("the compressed one is gone", &|scene| {
            put(scene, PLAIN, old().as_bytes());
            take(scene, PACKED);
        }),
        ("appended to, and not committed", &|scene| {
            put(scene, PLAIN, format!("{}{{\"mo", old()).as_bytes());
            take(scene, PACKED);
        }),
    ];
    for (what, left) in states {
        let scene = compressed();
        left(&scene);
        assert!(plain_bytes(&scene, &newest()).starts_with(old().as_bytes()), "{what}");
        if !what.contains("appended") {
            is_well(&scene);
        }
        goes_on(&scene);
    }
}

#[test]
fn a_damaged_one_is_never_built_on() {
    // The source has all of it: what is damaged is set aside, and nothing is asked for any more.
    let scene = compressed();
    flip(&scene, PACKED);
    let damaged = scene.content(PACKED);
    goes_on(&scene);
    assert!(scene.content(".state/damaged/p/s1.jsonl.zst") == damaged);
    assert_eq!(scene.archive().healed_quarantine(&key()).unwrap().len(), 1);
    // It has not: the damaged one keeps its record, so that `verify` goes on asking for those bytes.
    let scene = compressed();
    let other = Archive::create(&scene.dir.path().join("other")).unwrap();
    let files = scene.archive().files(&key()).unwrap();
    other.replicate(&key(), &scene.archive(), &key(), &files, &|_| {}).unwrap().remove(0).unwrap();
    flip(&scene, PACKED);
    fs::write(scene.transcript(), "anew\n").unwrap();
    assert_eq!(scene.save().generations_begun, 1);
    assert_eq!(scene.names(), ["p/s1.gen-0001.jsonl.zst", PLAIN]);
    let findings = scene.archive().verify(None).unwrap();
    assert_eq!((findings.len(), findings[0].path.as_str()), (1, "s1.gen-0001.jsonl"));
    assert!(scene.archive().repair(None, Some(&other)).unwrap().iter().all(|repair| repair.healed));
    is_well(&scene);
    assert!(scene.content("p/s1.gen-0001.jsonl") == old().into_bytes());
}

#[test]
fn one_that_is_gone_is_missed_and_healed_from_the_source() {
    let scene = compressed();
    take(&scene, PACKED);
    assert_eq!(scene.archive().verify(None).unwrap()[0].kind, FindingKind::Missing);
    assert_eq!(scene.archive().quick_check(&key()).unwrap().findings[0].kind, FindingKind::Missing);
    goes_on(&scene);
}

#[test]
fn a_repair_heals_it_from_the_source() {
    let scene = compressed();
    flip(&scene, PACKED);
    assert!(scene.archive().repair(None, None).unwrap().iter().all(|repair| repair.healed));
    assert_eq!(scene.names(), [PLAIN]);
    is_well(&scene);
    goes_on(&scene);
}

#[test]
fn lost_bookkeeping_is_made_again_from_it() {
    for lose_all in [false, true] {
        let scene = compressed();
        match lose_all {
            false => fs::remove_file(ledger_path(&scene)).unwrap(),
            true => fs::remove_dir_all(scene.store().join(".state")).unwrap(),
        }
        let archive = scene.archive();
        assert_eq!((archive.sessions().unwrap(), archive.find(&key().id).unwrap()), (vec![key()], vec![key()]));
        let file = archive.files(&key()).unwrap().remove(0);
        assert_eq!((file.bytes, file.verification), (old().len() as u64, Verification::Unverified));
        goes_on(&scene);
    }
    // The same, and no source goes on: a repair proves it by the other store's.
    let scene = compressed();
    fs::remove_file(ledger_path(&scene)).unwrap();
    scene.save();
    is_well(&scene);
    assert_eq!(scene.names(), [PACKED]);
    // Found there and adopted, as the first version's contents are.
    fs::remove_file(ledger_path(&scene)).unwrap();
    scene.archive().record_found(&key()).unwrap();
    is_well(&scene);
    goes_on(&scene);
}

#[test]
fn without_bookkeeping_a_damaged_one_keeps_nobody_from_saving() {
    let scene = compressed();
    flip(&scene, PACKED);
    fs::remove_file(ledger_path(&scene)).unwrap();
    assert!(scene.archive().files(&key()).unwrap().is_empty());
    assert!(!scene.archive().verify(None).unwrap().is_empty());
    assert!(scene.archive().repair(None, None).unwrap().iter().any(|repair| !repair.healed));
    let damaged = scene.content(PACKED);
    append(&scene.transcript(), b"more\n");
    scene.save();
    assert!(scene.content(PLAIN) == fs::read(scene.transcript()).unwrap());
    assert!(scene.content(PACKED) == damaged, "nobody knows whose it is");
    is_well(&scene);
}

#[test]
fn a_file_of_another_beside_the_plain_one_is_never_read_and_stays() {
    let scene = Scene::new();
    fs::write(scene.transcript(), old()).unwrap();
    scene.save();
    put(&scene, PACKED, b"somebody's own");
    is_well(&scene);
    let archive = scene.archive();
    let file = archive.compressible(&key()).unwrap().remove(0);
    let error = archive.compress(&key(), &file, 9).unwrap_err().to_string();
    assert!(error.contains("s1.jsonl.zst") && error.contains("move it away"), "{error}");
    append(&scene.transcript(), b"more\n");
    scene.save();
    fs::remove_file(ledger_path(&scene)).unwrap();
    append(&scene.transcript(), b"and more\n");
    scene.save();
    assert!(scene.content(PLAIN) == fs::read(scene.transcript()).unwrap());
    assert_eq!(scene.content(PACKED), b"somebody's own");
    is_well(&scene);
}

#[test]
fn a_session_that_the_store_lags_behind_stays_plain() {
    let scene = Scene::new();
    fs::write(scene.transcript(), old()).unwrap();
    scene.save();
    let file = scene.archive().compressible(&key()).unwrap().remove(0);
    append(&scene.transcript(), b"more\n");
    assert!(scene.archive().compressible(&key()).unwrap().is_empty());
    assert!(scene.archive().compress(&key(), &file, 9).unwrap().is_none());
    assert_eq!(scene.names(), [PLAIN]);
    // One that is gone has nothing that the store lacks.
    fs::remove_file(scene.transcript()).unwrap();
    assert!(scene.archive().compress(&key(), &file, 9).unwrap().is_some());
    is_well(&scene);
}

#[test]
fn another_store_takes_it_over_and_goes_on_with_it() {
    let scene = compressed();
    let other = Archive::create(&scene.dir.path().join("other")).unwrap();
    let take_over = || {
        let files = scene.archive().files(&key()).unwrap();
        for answer in other.replicate(&key(), &scene.archive(), &key(), &files, &|_| {}).unwrap() {
            answer.unwrap();
        }
    };
    take_over();
    // That one compresses too, and this one goes on.
    let file = other.compressible(&key()).unwrap().remove(0);
    assert!(other.compress(&key(), &file, 9).unwrap().is_some());
    take_over();
    assert!(scene.dir.path().join("other").join(PACKED).exists());
    goes_on(&scene);
    take_over();
    let copy = scene.dir.path().join("other").join(PLAIN);
    assert!(fs::read(copy).unwrap() == fs::read(scene.transcript()).unwrap());
    assert!(other.verify(None).unwrap().is_empty());
}

#[test]
fn older_contents_are_pruned_for_it_and_it_goes_with_its_session() {
    let scene = Scene::new();
    for text in [old(), "apart\n".repeat(40), old() + "more\n"] {
        fs::write(scene.transcript(), text).unwrap();
        scene.save();
    }
    compress(&scene);
    assert!(scene.names().iter().all(|name| name.ends_with(".zst")));
    let archive = scene.archive();
    let gone = archive.prune_generations(&key(), &archive.files(&key()).unwrap(), PruneReason::Superseded).unwrap();
    assert_eq!(gone.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["s1.gen-0001.jsonl"]);
    is_well(&scene);
    archive.prune_session::<ArchiveError, ()>(&key(), &archive.files(&key()).unwrap(), || Ok(())).unwrap();
    assert!(scene.names().is_empty());
}

#[test]
fn two_projects_of_one_id_are_told_apart_by_it() {
    let scene = compressed();
    // The same conversation from another folder, whose source is gone: it begins alike.
    let moved = scene.transcript_in("-moved");
    fs::rename(scene.transcript(), &moved).unwrap();
    append(&moved, b"more\n");
    scene.save_from(&moved, Compare::Windows);
    assert_eq!(scene.names(), [PLAIN]);
    is_well(&scene);
}

#[test]
fn a_full_disk_leaves_it_compressed_and_whole() {
    let scene = compressed();
    append(&scene.transcript(), b"more\n");
    let (transcript, progress) = (scene.transcript(), |_| {});
    let (id, compare) = (key().id, Compare::Windows);
    let request =
        SaveRequest { id: &id, transcript: &transcript, project: None, cwd: None, compare, progress: &progress };
    assert!(matches!(scene.archive().leaving_free(u64::MAX).save(&request), Err(ArchiveError::Floor { bytes: 5, .. })));
    assert_eq!(scene.names(), [PACKED]);
    is_well(&scene);
    goes_on(&scene);
}

#[test]
fn an_older_program_refuses_a_store_that_has_one() {
    let format = |scene: &Scene| fs::read_to_string(scene.store().join(STORE_FILE)).unwrap();
    let scene = Scene::new();
    fs::write(scene.transcript(), old()).unwrap();
    scene.save();
    let before = format(&scene);
    assert!(before.contains("\"format\":1,"), "{before}");
    // Before anything of it is in place: what fails afterwards leaves the store refused, not misread.
    put(&scene, PACKED, b"somebody's own");
    let file = scene.archive().compressible(&key()).unwrap().remove(0);
    assert!(scene.archive().compress(&key(), &file, 9).is_err());
    assert_eq!(format(&scene), before.replace("\"format\":1,", "\"format\":2,"), "the id stays");
    take(&scene, PACKED);
    assert_eq!(compress(&scene), 1);
    // A store whose bookkeeping is lost is not taken for one of the older form.
    fs::remove_dir_all(scene.store().join(".state")).unwrap();
    scene.archive();
    assert!(format(&scene).contains("\"format\":2,"));
    // Older contents alone need nothing newer.
    let scene = Scene::new();
    for text in [old(), "new\n".to_owned()] {
        fs::write(scene.transcript(), text).unwrap();
        scene.save();
    }
    let file = scene.archive().compressible(&key()).unwrap().remove(1);
    assert!(scene.archive().compress(&key(), &file, 9).unwrap().is_some());
    assert!(format(&scene).contains("\"format\":1,"));
}

/// What a small side file says at first and then; whether the older content is kept as a generation.
const REPLACED: [(&str, &str, &str, bool); 7] = [
    ("agent-1.meta.json", r#"{"agentType":"x"}"#, r#"{"agentType":"x","endedAt":"now"}"#, false),
    ("custom-title.json", r#"{"customTitle":"A","n":[1]}"#, r#"{"n":[1,2],"customTitle":"A"}"#, false),
    ("custom-title.json", r#"{"customTitle":"A"}"#, r#"{"customTitle":"B"}"#, true),
    ("agent-1.meta.json", r#"{"a":1,"b":2}"#, r#"{"b":2}"#, true),
    ("torn.json", r#"{"a":1,"b"#, r#"{"b":3,"a":1}"#, true),
    ("journal.jsonl", r#"{"a":1}"#, r#"{ "a":1,"b":2}"#, true),
    ("notes.txt", r#"{"a":1}"#, r#"{ "a":1,"b":2}"#, true),
];

#[test]
fn a_small_side_file_whose_new_content_says_all_of_the_old_one_begins_no_generation() {
    for (name, first, then, is_kept) in REPLACED {
        for drops in [true, false] {
            let scene = Scene::new();
            fs::write(scene.transcript(), b"{}\n").unwrap();
            let side = scene.transcript().with_extension("").join(name);
            fs::create_dir_all(side.parent().unwrap()).unwrap();
            let save = |content: &str| {
                fs::write(&side, content).unwrap();
                let (archive, id) = (scene.archive(), SessionId::parse("s1").unwrap());
                archive.drop_superseded(drops);
                let (transcript, compare, progress) = (&scene.transcript(), Compare::Windows, &|_| {});
                let request =
                    SaveRequest { id: &id, transcript, project: None, cwd: Some("/home/p"), compare, progress };
                archive.save(&request).unwrap().generations_begun
            };
            save(first);
            let expected = u32::from(is_kept || !drops);
            assert_eq!(save(then), expected, "{name}: {then}");
            let contents: Vec<_> = scene.tree().into_iter().filter(|(path, _)| path.ends_with(name)).collect();
            assert_eq!(contents.len() as u32, 1 + expected, "{contents:?}");
            assert!(contents.iter().any(|(_, bytes)| bytes == then.as_bytes()));
            assert_eq!(scene.archive().verify(None).unwrap().len(), 0, "{name}");
            // And on, with what differs.
            assert_eq!(save(r#"{"another":"content"}"#), 1);
            assert_eq!(scene.archive().verify(None).unwrap().len(), 0, "{name}");
        }
    }
}
