//! The clean mark of a session's lock: what it spares, and when it is not there.

use std::cell::Cell;

use super::super::ledger::Entry;
use super::super::session::{OpenSession, SessionLock};
use super::*;

const LEDGER: &str = ".state/sessions/s1/p.ledger";
const COPY: &str = "p/s1.jsonl";

impl Scene {
    /// A run that is killed after it committed something and before it was done.
    fn kill_after_a_commit(&self, key: &SessionKey) {
        let archive = self.archive();
        let lock = SessionLock::wait(&archive, &key.id).unwrap();
        let mut session = OpenSession::open(&archive, key.clone(), lock).unwrap();
        session.commit(&[Entry::Source(self.transcript())]).unwrap();
    }
}

fn saved() -> (Scene, SessionKey) {
    let scene = Scene::new();
    fs::write(scene.transcript(), "one\n").unwrap();
    let key = scene.save().key.unwrap();
    (scene, key)
}

#[test]
fn after_a_run_that_finished_nothing_is_synced_but_what_is_new() {
    let (scene, key) = saved();
    assert_eq!(scene.mark(), 1);
    append(&scene.transcript(), b"two\n");
    assert_eq!(scene.synced(|| drop(scene.save())), [COPY, LEDGER]);
    assert_eq!(scene.synced(|| drop(scene.save())), [""; 0]);
    assert_eq!(scene.synced(|| scene.archive().checkpoint(&key.id).unwrap()), [""; 0]);
    assert_eq!(scene.mark(), 1);
    scene.is_clean();
}

#[test]
fn what_a_killed_run_left_is_synced_before_it_is_believed() {
    let (scene, key) = saved();
    // The second is the recovery of the first, and killed as well.
    for _ in 0..2 {
        scene.kill_after_a_commit(&key);
        assert_eq!(scene.mark(), 0);
    }
    assert_eq!(scene.synced(|| drop(scene.save())), [LEDGER, "p", ".state/sessions/s1"]);
    assert_eq!(scene.mark(), 1);
    scene.kill_after_a_commit(&key);
    // A sweep sees to all of it as well, whenever that was, and nobody has to again.
    let ledger = fs::File::options().write(true).open(scene.store().join(LEDGER)).unwrap();
    ledger.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3600)).unwrap();
    let by_a_sweep = scene.synced(|| scene.archive().checkpoint(&key.id).unwrap());
    assert_eq!((by_a_sweep, scene.mark()), (vec![LEDGER.into(), "p".into(), ".state/sessions/s1".into()], 1));
    assert_eq!(scene.synced(|| drop(scene.save())), [""; 0]);
}

#[test]
fn the_mark_is_gone_before_the_first_byte_is_written() {
    let (scene, key) = saved();
    let seen = Cell::new(0);
    let look = |_| {
        seen.set(seen.get() + 1);
        let copy = fs::metadata(scene.store().join(COPY)).unwrap().len();
        assert!(copy == 4 || scene.mark() == 0, "{copy} bytes, and the mark stands");
    };
    append(&scene.transcript(), &vec![b'x'; 3 * crate::fs::COPY_BYTES]);
    let (transcript, archive) = (scene.transcript(), scene.archive());
    let request = SaveRequest {
        id: &key.id,
        transcript: &transcript,
        project: None,
        cwd: None,
        compare: Compare::Windows,
        progress: &look,
    };
    archive.save(&request).unwrap();
    assert!(seen.get() > 3);
    assert_eq!(scene.mark(), 1);
}

#[test]
fn every_kind_of_write_takes_the_mark_away() {
    type Write = fn(&mut OpenSession<'_>, &StoredName);
    let writes: [(&str, Write); 6] = [
        ("commit", |session, _| session.commit(&[Entry::Source("/x".into())]).unwrap()),
        ("temporary file", |session, _| drop(session.create_temp().unwrap())),
        ("removal", |session, _| session.remove_temp().unwrap()),
        ("folder", |session, name| drop(session.create_dir_of(name).unwrap())),
        ("append", |session, name| drop(session.open_for_writing(name).unwrap())),
        ("rotation", |session, name| {
            let record = session.ledger.record(name).cloned().unwrap();
            session.rotate(&name.file, record).unwrap();
        }),
    ];
    for (write, write_one) in writes {
        let (scene, key) = saved();
        let archive = scene.archive();
        let open = || {
            let lock = SessionLock::wait(&archive, &key.id).unwrap();
            OpenSession::open(&archive, key.clone(), lock).unwrap()
        };
        drop(open());
        assert_eq!(scene.mark(), 1, "{write}: opening wrote");
        let mut session = open();
        write_one(&mut session, &StoredName::newest(FileName::Transcript));
        assert_eq!(scene.mark(), 0, "{write}");
        session.finish();
        assert_eq!(scene.mark(), 1, "{write}");
    }
}

#[test]
fn a_run_in_which_something_failed_does_not_end_clean() {
    let (scene, _) = saved();
    let side = scene.transcript().with_extension("").join("title.json");
    fs::create_dir_all(side.parent().unwrap()).unwrap();
    // It does not fit on the disk.
    fs::File::create(&side).unwrap().set_len(1 << 42).unwrap();
    let save = || {
        let (id, transcript) = (SessionId::parse("s1").unwrap(), scene.transcript());
        let request = SaveRequest {
            id: &id,
            transcript: &transcript,
            project: None,
            cwd: None,
            compare: Compare::Windows,
            progress: &|_| {},
        };
        append(&transcript, b"more\n");
        scene.archive().save(&request).unwrap().problems.len()
    };
    assert_eq!((save(), scene.mark()), (1, 0));
    fs::write(&side, "title").unwrap();
    assert_eq!((save(), scene.mark()), (0, 1));
    scene.is_clean();
}

#[test]
fn a_lock_is_marked_for_every_project_of_its_session() {
    let (scene, key) = saved();
    let second = scene.transcript_in("-q");
    fs::write(&second, "other\n").unwrap();
    let other = scene.save_from(&second, Compare::Windows).key.unwrap();
    assert_eq!((key.project.as_str(), other.project.as_str()), ("p", "p~2"));
    scene.kill_after_a_commit(&other);
    let synced = scene.synced(|| drop(scene.save()));
    assert_eq!(synced, [LEDGER, "p", ".state/sessions/s1/p~2.ledger", "p~2", ".state/sessions/s1"]);
    assert_eq!(scene.mark(), 1);
}

#[test]
fn what_was_cut_off_is_undone_whatever_an_old_mark_says() {
    // As after a loss of power that took the new mark and left the bytes.
    let (scene, key) = saved();
    append(&scene.store().join(COPY), b"two\n");
    fs::write(scene.store().join(".state/sessions/s1/new"), "half").unwrap();
    append(&scene.transcript(), b"two\nthree\n");
    assert_eq!(scene.mark(), 1);
    scene.save();
    assert_eq!(scene.content(COPY), b"one\ntwo\nthree\n");
    assert_eq!(scene.archive().find(&key.id).unwrap(), [key]);
    scene.is_clean();
}

#[test]
fn verify_repair_syncs_what_a_killed_repair_put_in_place_and_ends_clean() {
    let (scene, key) = saved();
    scene.kill_after_a_commit(&key);
    let synced = scene.synced(|| drop(scene.archive().repair(None, None).unwrap()));
    assert_eq!(synced[..3], [LEDGER, "p", ".state/sessions/s1"]);
    assert_eq!(scene.mark(), 1);
    fs::write(scene.store().join(COPY), "onf\n").unwrap();
    assert!(scene.archive().repair(None, None).unwrap().iter().all(|repair| repair.healed));
    assert_eq!(scene.mark(), 1);
    scene.is_clean();
}

#[test]
fn removing_and_compressing_take_the_mark_away_and_end_clean() {
    let (scene, key) = saved();
    for text in ["other\n".repeat(50), "another\n".repeat(50)] {
        fs::write(scene.transcript(), text).unwrap();
        scene.save();
    }
    let archive = scene.archive();
    let mut files = archive.compressible(&key).unwrap();
    files.retain(|file| file.name.generation > 0);
    assert_eq!(files.len(), 2);
    let packed = files.iter().filter_map(|file| archive.compress(&key, file, 9).unwrap());
    assert_eq!((packed.count(), scene.mark()), (1, 1), "one is too short to become smaller");
    assert_eq!(archive.prune_generations(&key, &files[..1], PruneReason::Named).unwrap().len(), 1);
    assert_eq!(scene.mark(), 1);
    // Whoever is killed from here on leaves a lock that is not clean.
    let within = Cell::new(1);
    let note = || {
        within.set(scene.mark());
        Ok::<(), ArchiveError>(())
    };
    assert!(archive.prune_session(&key, &archive.files(&key).unwrap(), note).unwrap());
    assert_eq!((within.get(), scene.mark()), (0, 1));
    assert_eq!(scene.names(), [""; 0]);
}

#[test]
fn what_a_killed_run_left_of_another_project_of_the_id_is_synced_too() {
    let (scene, key) = saved();
    let second = scene.transcript_in("-q");
    fs::write(&second, "two\n").unwrap();
    scene.save_from(&second, Compare::Windows);
    let lock = scene.store().join(".state/sessions/s1/lock");
    fs::write(&lock, "").unwrap();
    let synced = scene.synced(|| drop(scene.save()));
    assert_eq!(synced, [LEDGER, "p", ".state/sessions/s1/p~2.ledger", "p~2", ".state/sessions/s1"]);
    assert_eq!(scene.mark(), 1);
    // One that cannot be read is told of by its own runs, and until then the lock is not marked.
    let newer = Path::new(".state/sessions/s1/p~2.ledger");
    let text = fs::read_to_string(scene.store().join(newer)).unwrap();
    let line = "{\"format\":9}";
    let line = format!("{} {line}\n", &blake3::hash(line.as_bytes()).to_hex()[..16]);
    fs::write(scene.store().join(newer), format!("{text}{line}")).unwrap();
    fs::write(&lock, "").unwrap();
    append(&scene.transcript(), b"more\n");
    scene.save();
    assert_eq!((scene.mark(), scene.content(COPY)), (0, b"one\nmore\n".to_vec()));
    assert_eq!(key.project.as_str(), "p");
}
