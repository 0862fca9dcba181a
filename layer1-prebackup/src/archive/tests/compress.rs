//! Compressed contents: every reader gets the plain bytes, and no instant has neither form whole.

use super::*;
use std::io::Read;

pub(super) fn key() -> SessionKey {
    SessionKey { project: ProjectName::parse("p").unwrap(), id: SessionId::parse("s1").unwrap() }
}

fn first() -> StoredName {
    StoredName { file: FileName::Transcript, generation: 1 }
}

pub(super) fn old() -> String {
    (0..200).map(|n| format!("{{\"n\":{n},\"text\":\"an old line that says the same again\"}}\n")).collect()
}

/// Two older contents and a newest one.
fn rewritten() -> Scene {
    let scene = Scene::new();
    for text in [old(), format!("{}more\n", old()), "new\n".repeat(50)] {
        fs::write(scene.transcript(), text).unwrap();
        scene.save();
    }
    // The second begins with the first, so it grew.
    assert_eq!(scene.names(), ["p/s1.gen-0001.jsonl", "p/s1.jsonl"]);
    fs::write(scene.transcript(), "newest\n").unwrap();
    scene.save();
    scene
}

/// Compresses older contents; the newest one is the matter of `newest`.
fn compress(scene: &Scene) -> Vec<u64> {
    let archive = scene.archive();
    let files = archive.compressible(&key()).unwrap();
    let older = files.iter().filter(|file| file.name.generation > 0);
    older.filter_map(|file| archive.compress(&key(), file, 9).unwrap()).collect()
}

pub(super) fn plain_bytes(scene: &Scene, name: &StoredName) -> Vec<u8> {
    let mut bytes = Vec::new();
    scene.archive().slot(&key(), name).open().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

pub(super) fn is_well(scene: &Scene) {
    let findings = scene.archive().verify(None).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    assert!(scene.archive().quick_check(&key()).unwrap().findings.is_empty());
}

/// A second store with the same contents.
fn other(scene: &Scene) -> Archive {
    let other = Archive::create(&scene.dir.path().join("other")).unwrap();
    let files = scene.archive().files(&key()).unwrap();
    for answer in other.replicate(&key(), &scene.archive(), &key(), &files, &|_| {}).unwrap() {
        answer.unwrap();
    }
    other
}

#[test]
fn older_transcripts_are_compressed_and_read_as_they_were() {
    let scene = rewritten();
    let before = scene.archive().files(&key()).unwrap();
    let compressed = compress(&scene);
    assert_eq!(scene.names(), ["p/s1.gen-0001.jsonl.zst", "p/s1.gen-0002.jsonl.zst", "p/s1.jsonl"]);
    let older = before.iter().filter(|file| file.name.generation > 0);
    assert!(compressed.iter().zip(older).all(|(done, file)| *done < file.bytes / 2), "{compressed:?}");
    let after = scene.archive().files(&key()).unwrap();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before.path, before.bytes, before.blake3), (&after.path, after.bytes, after.blake3));
        let bytes = plain_bytes(&scene, &after.name);
        assert_eq!((bytes.len() as u64, blake3::hash(&bytes)), (after.bytes, after.blake3));
        let on_disk = if after.name.generation > 0 { format!("{}.zst", after.path) } else { after.path.clone() };
        assert_eq!(fs::metadata(scene.store().join("p").join(on_disk)).unwrap().len(), after.disk_bytes);
    }
    is_well(&scene);
    assert!(compress(&scene).is_empty(), "a second run has nothing to do");
    // It goes on as if nothing had been.
    fs::write(scene.transcript(), "again\n").unwrap();
    scene.save();
    assert!(scene.names().contains(&"p/s1.gen-0003.jsonl".to_owned()));
    is_well(&scene);
    // Any program that knows the format reads it.
    let raw = scene.content("p/s1.gen-0001.jsonl.zst");
    assert_eq!(zstd::decode_all(&raw[..]).unwrap(), plain_bytes(&scene, &first()));
}

#[test]
fn side_files_stay_as_they_are() {
    let scene = Scene::new();
    let side = scene.transcript().with_extension("").join("tool-results/a.txt");
    fs::create_dir_all(side.parent().unwrap()).unwrap();
    fs::write(scene.transcript(), old()).unwrap();
    for text in ["x".repeat(9000), "y".repeat(9000)] {
        fs::write(&side, text).unwrap();
        scene.save();
    }
    assert!(compress(&scene).is_empty());
    assert_eq!(scene.names(), ["p/s1.gen-0001/tool-results/a.txt", "p/s1.jsonl", "p/s1/tool-results/a.txt"]);
}

#[test]
fn what_does_not_become_smaller_stays_plain() {
    let scene = Scene::new();
    for text in ["a", "b"] {
        fs::write(scene.transcript(), text).unwrap();
        scene.save();
    }
    assert!(compress(&scene).is_empty());
    assert_eq!(scene.names(), ["p/s1.gen-0001.jsonl", "p/s1.jsonl"]);
    scene.is_clean();
}

#[test]
fn a_damaged_content_is_not_compressed() {
    let scene = rewritten();
    let path = scene.store().join("p/s1.gen-0001.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    compress(&scene);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(!scene.store().join("p/s1.gen-0001.jsonl.zst").exists());
    assert_eq!(scene.archive().verify(None).unwrap()[0].kind, FindingKind::Damaged);
}

#[test]
fn a_flipped_bit_anywhere_in_a_compressed_file_is_found_and_healed() {
    let scene = rewritten();
    let other = other(&scene);
    compress(&scene);
    let path = scene.store().join("p/s1.gen-0001.jsonl.zst");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        let findings = scene.archive().verify(None).unwrap();
        let found: Vec<_> = findings.iter().map(|found| (found.path.as_str(), found.kind)).collect();
        assert_eq!(found, [("s1.gen-0001.jsonl", FindingKind::Damaged)], "{at}");
    }
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(scene.archive().verify(None).unwrap().len(), 1);
    assert_eq!(scene.archive().quick_check(&key()).unwrap().findings.len(), 1);
    assert!(scene.archive().repair(None, Some(&other)).unwrap().iter().all(|repair| repair.healed));
    // The damaged file is kept aside; the healed one is plain until the next run compresses it.
    assert!(scene.store().join(".state/damaged/p/s1.gen-0001.jsonl.zst").exists());
    assert_eq!(scene.content("p/s1.gen-0001.jsonl"), plain_bytes(&scene, &first()));
    is_well(&scene);
    assert_eq!(scene.archive().healed_quarantine(&key()).unwrap().len(), 1);
    assert_eq!(compress(&scene).len(), 1);
    is_well(&scene);
}

#[test]
fn a_compressed_file_that_is_gone_is_missed_and_healed() {
    let scene = rewritten();
    let other = other(&scene);
    compress(&scene);
    fs::remove_file(scene.store().join("p/s1.gen-0001.jsonl.zst")).unwrap();
    assert_eq!(scene.archive().verify(None).unwrap()[0].kind, FindingKind::Missing);
    scene.archive().repair(None, Some(&other)).unwrap();
    is_well(&scene);
}

#[test]
fn whatever_a_killed_run_leaves_is_read_and_finished() {
    let scene = rewritten();
    let plain = fs::read(scene.store().join("p/s1.gen-0001.jsonl")).unwrap();
    // Renamed into place and not recorded; as good as any other bytes that stand there.
    compress(&scene);
    let packed = scene.content("p/s1.gen-0001.jsonl.zst");
    let scene = rewritten();
    for leftover in [b"torn".to_vec(), packed] {
        fs::write(scene.store().join("p/s1.gen-0001.jsonl.zst"), leftover).unwrap();
        is_well(&scene);
        assert_eq!(plain_bytes(&scene, &first()), plain);
    }
    assert_eq!(compress(&scene).len(), 2);
    is_well(&scene);
    // Recorded, and the plain file still there.
    fs::write(scene.store().join("p/s1.gen-0001.jsonl"), &plain).unwrap();
    is_well(&scene);
    assert_eq!(compress(&scene).len(), 1);
    assert!(!scene.names().contains(&"p/s1.gen-0001.jsonl".to_owned()));
    // The same, and the compressed one is damaged: it is made again before the plain one goes.
    fs::write(scene.store().join("p/s1.gen-0001.jsonl"), &plain).unwrap();
    fs::write(scene.store().join("p/s1.gen-0001.jsonl.zst"), "bad").unwrap();
    is_well(&scene);
    assert_eq!(compress(&scene).len(), 1);
    assert_eq!(plain_bytes(&scene, &first()), plain);
    is_well(&scene);
}

#[test]
fn lost_bookkeeping_is_made_again_from_compressed_files() {
    let scene = rewritten();
    let other = other(&scene);
    compress(&scene);
    let before = scene.archive().files(&key()).unwrap();
    fs::remove_file(scene.store().join(".state/sessions/s1/p.ledger")).unwrap();
    assert_eq!(scene.archive().sessions().unwrap(), [key()]);
    let after = scene.archive().files(&key()).unwrap();
    let told = |files: &[StoredFile]| -> Vec<_> {
        files.iter().map(|file| (file.path.clone(), file.bytes, file.blake3, file.disk_bytes)).collect()
    };
    assert_eq!(told(&before), told(&after));
    scene.archive().repair(None, Some(&other)).unwrap();
    is_well(&scene);
}

#[test]
fn a_session_of_which_compressed_files_alone_are_left_is_found() {
    let scene = rewritten();
    compress(&scene);
    fs::remove_dir_all(scene.store().join(".state/sessions")).unwrap();
    fs::remove_file(scene.store().join("p/s1.jsonl")).unwrap();
    fs::remove_file(scene.store().join("p/s1.gen-0002.jsonl.zst")).unwrap();
    assert_eq!(scene.archive().sessions().unwrap(), [key()]);
    assert_eq!(scene.archive().find(&key().id).unwrap(), [key()]);
}

#[test]
fn another_store_takes_over_and_is_covered_by_compressed_contents() {
    let scene = rewritten();
    compress(&scene);
    let other = other(&scene);
    let wanted = scene.archive().files(&key()).unwrap();
    for file in &wanted {
        assert!(other.covers(&key(), &file.name.file, file.bytes, &file.blake3).unwrap());
        assert!(scene.archive().covers(&key(), &file.name.file, file.bytes, &file.blake3).unwrap());
    }
    assert!(other.verify(None).unwrap().is_empty());
}

#[test]
fn compressed_generations_are_pruned_in_either_form() {
    let scene = Scene::new();
    for text in [old(), "apart\n".repeat(40), old() + "more\n", "end\n".repeat(40)] {
        fs::write(scene.transcript(), text).unwrap();
        scene.save();
    }
    compress(&scene);
    let archive = scene.archive();
    let gone = archive.prune_generations(&key(), &archive.files(&key()).unwrap(), PruneReason::Superseded).unwrap();
    assert_eq!(gone.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["s1.gen-0001.jsonl"]);
    assert_eq!(scene.names(), ["p/s1.gen-0002.jsonl.zst", "p/s1.gen-0003.jsonl.zst", "p/s1.jsonl"]);
    is_well(&scene);
    archive.prune_session::<ArchiveError, ()>(&key(), &archive.files(&key()).unwrap(), || Ok(())).unwrap();
    assert!(scene.names().is_empty());
}

#[test]
fn a_store_that_cannot_be_written_is_read_all_the_same() {
    let scene = rewritten();
    compress(&scene);
    fs::set_permissions(scene.store(), fs::Permissions::from_mode(0o500)).unwrap();
    let bytes = plain_bytes(&scene, &first());
    fs::set_permissions(scene.store(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(bytes == format!("{}more\n", old()).into_bytes());
    let (archive, key, first) = (scene.archive(), key(), first());
    let slot = archive.slot(&key, &first);
    let packed = slot.open_as(Form::Compressed).unwrap().unwrap();
    let (memory, x) = (crate::fs::platform::memory_file().unwrap(), Path::new("x"));
    slot.unpack_into(&packed, &memory, x).unwrap();
    assert_eq!(crate::fs::stat_of(&memory, Path::new("x")).unwrap().st_size as usize, bytes.len());
}

#[test]
fn a_full_disk_leaves_the_plain_file() {
    let scene = rewritten();
    let archive = scene.archive().leaving_free(u64::MAX);
    let files = archive.compressible(&key()).unwrap();
    assert!(matches!(archive.compress(&key(), &files[0], 9), Err(ArchiveError::Floor { .. })));
    assert!(scene.names().contains(&"p/s1.gen-0001.jsonl".to_owned()));
    is_well(&scene);
}

#[test]
fn a_file_of_another_at_the_place_of_a_compressed_one_stays() {
    let scene = rewritten();
    let foreign = scene.store().join("p/s1.gen-0001.jsonl.zst");
    fs::write(&foreign, "somebody's own").unwrap();
    let archive = scene.archive();
    let file = archive.compressible(&key()).unwrap().remove(1);
    let error = archive.compress(&key(), &file, 9).unwrap_err().to_string();
    assert!(error.contains("s1.gen-0001.jsonl.zst") && error.contains("move it away"), "{error}");
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "somebody's own");
    let plain = plain_bytes(&scene, &first());
    assert!(plain == scene.content("p/s1.gen-0001.jsonl"));
    fs::rename(&foreign, scene.dir.path().join("moved")).unwrap();
    assert!(archive.compress(&key(), &file, 9).unwrap().is_some());
    assert!(plain_bytes(&scene, &first()) == plain);
    is_well(&scene);
}
