//! What was seen of sessions is believed only of files that are the same by their status.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::compress::key;
use super::*;
use crate::claude::survey::{FoundTranscript, survey};

const COPY: &str = "p/s1.jsonl";
const LEDGER: &str = ".state/sessions/s1/p.ledger";
const SIDE: &str = "s1/subagents/agent-1.jsonl";

/// A saved session with a side file, and what was seen of it.
fn seen() -> (Scene, Seen) {
    let scene = Scene::new();
    fs::write(scene.transcript(), "one\n").unwrap();
    let side = scene.transcript().with_file_name(SIDE);
    fs::create_dir_all(side.parent().unwrap()).unwrap();
    fs::write(side, "agent\n").unwrap();
    scene.save();
    see(&scene, Duration::ZERO);
    let seen = kept(&scene);
    (scene, seen)
}

fn see(scene: &Scene, rest: Duration) {
    let (found, archive) = (found(scene), scene.archive());
    let status = found.status(None);
    assert!(!archive.is_behind_found(&found).unwrap());
    // A file counts as rested before the moment in which it is looked at.
    std::iter::repeat_with(crate::log::now_ms).find(|now| *now > changed_ms(&scene.store().join(LEDGER)) + 1);
    Seen::keep(&scene.store(), SEEN, archive.see_all_rested(&|_| status.as_ref(), rest));
}

fn changed_ms(path: &Path) -> u64 {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.ctime() * 1000 + stat.ctime_nsec() / 1_000_000) as u64
}

fn kept(scene: &Scene) -> Seen {
    Seen::read(&scene.store(), SEEN, scene.archive().store_id())
}

fn found(scene: &Scene) -> FoundTranscript {
    survey([scene.dir.path().join("projects")]).0.remove(0)
}

/// What holds of what was seen: that the ledger is the same, that the contents are well, that the source is saved.
fn holds(scene: &Scene, seen: &Seen) -> [bool; 3] {
    let archive = scene.archive();
    let Some(session) = seen.find(&archive, "s1") else { return [false; 3] };
    let source = scene.transcript();
    [true, session.is_well(&archive), source.exists() && session.is_saved(&found(scene), &source)]
}

/// Writes until the status of the file is another: within one tick of the clock it would be the same.
fn overwrite(path: &Path, text: &str) {
    let before = fs::symlink_metadata(path).unwrap();
    while fs::symlink_metadata(path).unwrap().ctime_nsec() == before.ctime_nsec() {
        fs::write(path, text).unwrap();
    }
}

#[test]
fn what_nobody_touched_is_known_by_its_status() {
    let (scene, seen) = seen();
    assert_eq!(holds(&scene, &seen), [true; 3]);
    let archive = scene.archive();
    let looked = archive.look_by(seen).unwrap();
    assert_eq!(looked.sessions, [key()]);
    let (session, check) = (looked.seen(&key()).unwrap(), archive.quick_check(&key()).unwrap());
    assert_eq!((session.files, session.versions, session.disk_bytes), (2, 0, 10));
    assert_eq!(session.source(), Some(scene.transcript()));
    assert_eq!((session.contents, session.source_modified_ms), (check.contents, check.source_modified_ms));
    assert_eq!(Some(session.committed_ms), check.files.iter().map(|file| file.committed_ms).max());
    assert!(session.contents.is_some() && session.has_subagents && !session.has_older);
}

/// Each change, by whomever, and what no longer holds then. What does not hold is looked at as if nothing was kept.
#[test]
fn every_change_of_a_file_is_seen_by_its_status() {
    type Change = fn(&Scene);
    let changes: [(&str, Change, [bool; 3]); 14] = [
        (
            "a save",
            |s| {
                append(&s.transcript(), b"two\n");
                s.save();
            },
            [false; 3],
        ),
        (
            "a ledger of the same length",
            |s| {
                let text = fs::read_to_string(s.store().join(LEDGER)).unwrap().replace("4", "5");
                overwrite(&s.store().join(LEDGER), &text);
            },
            [false; 3],
        ),
        ("a ledger that is gone", |s| fs::remove_file(s.store().join(LEDGER)).unwrap(), [false; 3]),
        (
            "a ledger put back",
            |s| {
                let text = fs::read(s.store().join(LEDGER)).unwrap();
                fs::remove_file(s.store().join(LEDGER)).unwrap();
                fs::write(s.store().join(LEDGER), text).unwrap();
            },
            [false; 3],
        ),
        ("a copy of the same length", |s| overwrite(&s.store().join(COPY), "ons\n"), [true, false, true]),
        ("a copy cut short", |s| overwrite(&s.store().join(COPY), ""), [true, false, true]),
        ("a copy that is gone", |s| fs::remove_file(s.store().join(COPY)).unwrap(), [true, false, true]),
        (
            "a copy with a second name",
            |s| {
                fs::hard_link(s.store().join(COPY), s.store().join("p/link")).unwrap();
            },
            [true, false, true],
        ),
        ("a side file's copy", |s| overwrite(&s.store().join("p").join(SIDE), "other\n"), [true, false, true]),
        ("more of the source", |s| append(&s.transcript(), b"two\n"), [true, true, false]),
        ("a source of the same length", |s| overwrite(&s.transcript(), "two\n"), [true, true, false]),
        ("a side file", |s| fs::write(s.transcript().with_file_name("s1/new"), "").unwrap(), [true, true, false]),
        ("no side file", |s| fs::remove_file(s.transcript().with_file_name(SIDE)).unwrap(), [true, true, false]),
        (
            "plans",
            |s| {
                let plans = s.dir.path().join("plans");
                fs::create_dir(&plans).unwrap();
                fs::write(plans.join("calm-blue-fox.md"), "").unwrap();
            },
            [true, true, false],
        ),
    ];
    for (what, change, expected) in changes {
        let (scene, seen) = seen();
        change(&scene);
        assert_eq!(holds(&scene, &seen), expected, "{what}");
    }
}

#[test]
fn a_plan_that_the_transcript_names_is_one_of_its_files() {
    let scene = Scene::new();
    let plan = scene.dir.path().join("plans/calm-blue-fox.md");
    fs::create_dir(plan.parent().unwrap()).unwrap();
    fs::write(plan.with_file_name("other.md"), "").unwrap();
    fs::write(scene.transcript(), "{\"slug\":\"calm-blue-fox\"}\n").unwrap();
    scene.save();
    see(&scene, Duration::ZERO);
    let seen = kept(&scene);
    assert_eq!(holds(&scene, &seen), [true; 3]);
    fs::write(&plan, "").unwrap();
    assert_eq!(holds(&scene, &seen), [true, true, false]);
}

#[test]
fn nothing_is_believed_of_what_had_not_rested_or_is_not_clear() {
    let (scene, _) = seen();
    see(&scene, Duration::from_secs(60));
    assert_eq!(holds(&scene, &kept(&scene)), [false; 3]);
    // A run that was killed: nobody knows what of it is on the disk.
    see(&scene, Duration::ZERO);
    assert_eq!(holds(&scene, &kept(&scene)), [true; 3]);
    fs::write(scene.store().join(".state/sessions/s1/lock"), "").unwrap();
    see(&scene, Duration::ZERO);
    assert_eq!(holds(&scene, &kept(&scene)), [false; 3]);
    // A subagent's file that is gone is told by whoever looks.
    let (scene, _) = super::seen::seen();
    fs::remove_file(scene.transcript().with_file_name(SIDE)).unwrap();
    see(&scene, Duration::ZERO);
    assert_eq!(holds(&scene, &kept(&scene)), [true, true, false]);
}

#[test]
fn what_is_damaged_of_another_store_or_old_says_nothing() {
    let (scene, _) = seen();
    let text = fs::read(scene.store().join(SEEN)).unwrap();
    let archive = scene.archive();
    for at in 0..text.len() {
        let mut flipped = text.clone();
        flipped[at] ^= 1;
        fs::write(scene.store().join(SEEN), flipped).unwrap();
        assert!(kept(&scene).find(&archive, "s1").is_none(), "byte {at}");
    }
    for bytes in 0..text.len() {
        fs::write(scene.store().join(SEEN), &text[..bytes]).unwrap();
        assert!(kept(&scene).find(&archive, "s1").is_none(), "{bytes} bytes");
    }
    fs::write(scene.store().join(SEEN), &text).unwrap();
    assert!(kept(&scene).find(&archive, "s1").is_some());
    assert!(Seen::read(&scene.store(), SEEN, "another").find(&archive, "s1").is_none());
    let (day, now) = (24 * 60 * 60 * 1000, crate::log::now_ms());
    let at = |now_ms| Seen::of(text.clone(), archive.store_id(), now_ms).is_some();
    assert_eq!([now, now + day / 2, now + day, now - day].map(at), [true, true, false, false]);
    Seen::forget(&scene.store()).unwrap();
    assert!(!scene.store().join(SEEN).exists());
}

#[test]
fn a_full_look_is_due_where_many_were_never_looked_at() {
    let (scene, seen) = seen();
    let archive = scene.archive();
    let is_due = |sessions: u32| {
        (0..sessions).for_each(|n| fs::create_dir_all(scene.store().join(format!(".state/sessions/n{n}"))).unwrap());
        (seen.is_due(&archive), Seen::default().is_due(&archive))
    };
    assert_eq!([1, 199, 200, 201].map(is_due), [(false, false), (false, false), (false, true), (true, true)]);
}

/// Whoever goes through all of them in their order is told of the next one without a search, anybody else of any.
#[test]
fn a_session_is_found_in_whatever_order_they_are_asked_for() {
    let scene = Scene::new();
    for (slug, id) in [("-p", "s1"), ("-p", "s2"), ("-q", "s2"), ("-p", "s3"), ("-p", "s4")] {
        let transcript = scene.transcript_in(slug).with_file_name(format!("{id}.jsonl"));
        fs::write(&transcript, format!("{slug} {id}\n")).unwrap();
        scene.save_from(&transcript, Compare::Windows);
    }
    let last = changed_ms(&scene.store().join(".state/sessions/s4/p.ledger"));
    std::iter::repeat_with(crate::log::now_ms).find(|now| *now > last + 1);
    let archive = scene.archive();
    Seen::keep(&scene.store(), SEEN, archive.see_all_rested(&|_| None, Duration::ZERO));
    let seen = kept(&scene);
    for order in
        [["s1", "s2", "s3", "s4"], ["s4", "s3", "s2", "s1"], ["s3", "s3", "s2", "s5"], ["s0", "s1", "s2", "s2"]]
    {
        for id in order {
            let found = seen.find(&archive, id);
            // Two bear the id s2: each is looked at.
            assert_eq!(found.is_some(), ["s1", "s3", "s4"].contains(&id), "{id} of {order:?}");
            assert!(found.is_none_or(|found| found.project() == "p"));
        }
    }
    let looked = archive.look_by(kept(&scene)).unwrap();
    assert_eq!((looked.sessions.len(), &looked.sessions), (5, &archive.sessions().unwrap()));
    assert!(looked.strangers.is_empty() && !looked.is_full_look_due(), "{looked:?}");
    assert_eq!(["s1", "s2", "s3", "s4"].map(|id| looked.is_seen(id)), [true, false, true, true]);
}
