//! What was found damaged is known until it is found good, put right, or gone.

use super::compress::key;
use super::edges::saved;
use super::*;

const COPY: &str = "p/s1.jsonl";

/// Damages a content without changing its length, where a quick look does not look.
fn damage(scene: &Scene, rel: &str) {
    let path = scene.store().join(rel);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
}

fn long(n: usize) -> String {
    format!("{n}{}\n", "x".repeat(20_000))
}

fn verify(scene: &Scene, only: Option<&SessionKey>) {
    let archive = scene.archive();
    let found = archive.verify(only).unwrap();
    archive.note_damage(only, &found, "threefold verify").unwrap();
}

fn known(scene: &Scene) -> Vec<String> {
    let known = scene.archive().known_damage().unwrap();
    assert!(known.iter().all(|known| known.by == "threefold verify" && known.at_ms > 0), "{known:?}");
    known.into_iter().map(|known| known.finding.path).collect()
}

fn is_noted(scene: &Scene) -> bool {
    scene.store().join(".state/damage.json").exists()
}

/// Two versions, of which the newest is damaged, and a verification has found that.
fn damaged() -> Scene {
    let scene = saved(&[&long(1), &long(2)]);
    verify(&scene, None);
    assert!(!is_noted(&scene), "nothing is noted where all is well");
    damage(&scene, COPY);
    assert!(scene.archive().quick_check(&key()).unwrap().findings.is_empty(), "a quick look must not see it");
    verify(&scene, None);
    assert_eq!(known(&scene), ["s1.jsonl"]);
    scene
}

#[test]
fn what_was_found_is_known_until_a_verification_finds_it_good() {
    let scene = damaged();
    let since = scene.archive().known_damage().unwrap()[0].at_ms;
    for only in [Some(key()), None] {
        verify(&scene, only.as_ref());
        assert_eq!(
            (known(&scene), scene.archive().known_damage().unwrap()[0].at_ms),
            (vec!["s1.jsonl".to_owned()], since)
        );
    }
    // It is the disk's error that came and went.
    damage(&scene, COPY);
    verify(&scene, Some(&key()));
    assert_eq!(known(&scene), Vec::<String>::new());
    assert!(!is_noted(&scene));
}

#[test]
fn a_save_that_does_not_read_it_leaves_it_known_and_one_that_does_puts_it_right() {
    let scene = damaged();
    let healed = fs::read(scene.transcript()).unwrap();
    scene.save();
    append(&scene.transcript(), b"and more\n");
    scene.save();
    assert_eq!(known(&scene), ["s1.jsonl"]);
    scene.save_from(&scene.transcript(), Compare::Whole);
    assert_eq!(known(&scene), Vec::<String>::new());
    assert!(scene.content(COPY).starts_with(&healed) && !is_noted(&scene));
}

#[test]
fn a_damaged_content_that_becomes_an_older_one_stays_known_under_its_new_name() {
    for compare in [Compare::Windows, Compare::Whole] {
        let scene = damaged();
        fs::write(scene.transcript(), long(3)).unwrap();
        scene.save_from(&scene.transcript(), compare);
        assert_eq!(known(&scene), ["s1.gen-0002.jsonl"], "{compare:?}");
        // What is known of it is what is found.
        let found = scene.archive().verify(None).unwrap();
        assert_eq!(found.iter().map(|found| found.path.as_str()).collect::<Vec<_>>(), ["s1.gen-0002.jsonl"]);
        scene.save_from(&scene.transcript(), Compare::Whole);
        assert_eq!(known(&scene), ["s1.gen-0002.jsonl"]);
    }
}

#[test]
fn what_is_healed_or_gone_is_known_no_more() {
    let scene = damaged();
    scene.archive().repair(None, None).unwrap();
    assert!(known(&scene).is_empty() && !is_noted(&scene));
    let scene = damaged();
    fs::remove_file(scene.transcript()).unwrap();
    assert!(scene.archive().repair(None, None).unwrap().iter().all(|repair| !repair.healed));
    assert_eq!(known(&scene), ["s1.jsonl"]);
    scene.archive().forget_session(&key(), || Ok::<_, ArchiveError>(())).unwrap();
    assert!(known(&scene).is_empty() && !is_noted(&scene));
}

#[test]
fn notes_that_cannot_be_used_are_told_and_made_anew_by_a_verification_of_all() {
    let scene = damaged();
    let path = scene.store().join(".state/damage.json");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert!(scene.archive().known_damage().is_err());
    let archive = scene.archive();
    let found = archive.verify(Some(&key())).unwrap();
    // The notes of others would be lost.
    assert!(archive.note_damage(Some(&key()), &found, "threefold verify").is_err());
    // A save does not depend on it.
    append(&scene.transcript(), b"more\n");
    scene.save();
    verify(&scene, None);
    assert_eq!(known(&scene), ["s1.jsonl"]);
    // What stood there is kept, whatever it was.
    let aside = |n: &str| path.with_file_name(format!(".damage.json.not-ours{n}"));
    assert_eq!(fs::read_to_string(aside("")).unwrap(), good[..good.len() / 2]);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(known(&scene).is_empty());
    verify(&scene, None);
    assert!(known(&scene) == ["s1.jsonl"] && aside(".2").is_dir());
    let newer = r#"{"format":2,"damage":[]}"#;
    fs::write(&path, newer).unwrap();
    assert!(matches!(archive.note_damage(None, &found, "x"), Err(ArchiveError::NewerFormat { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
}
