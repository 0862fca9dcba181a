//! What is synced of a store's folders when something new is put below them.

use super::super::ledger::Entry;
use super::super::session::{OpenSession, SessionLock};
use super::*;

const STATE: &str = ".state/sessions/s1";

/// A second session, of the project of the first.
fn second(scene: &Scene) -> PathBuf {
    let path = scene.transcript().with_file_name("s2.jsonl");
    fs::write(&path, "{\"cwd\":\"/home/p\"}\n").unwrap();
    path
}

fn saved() -> (Scene, SessionKey) {
    let scene = Scene::new();
    fs::write(scene.transcript(), "one\n").unwrap();
    let key = scene.save().key.unwrap();
    (scene, key)
}

fn add_side(scene: &Scene, rel: &str) {
    let side = scene.transcript().with_extension("").join(rel);
    fs::create_dir_all(side.parent().unwrap()).unwrap();
    fs::write(side, "side").unwrap();
}

#[test]
fn the_first_session_of_a_new_store_syncs_each_name_on_the_way() {
    let scene = Scene::new();
    fs::write(scene.transcript(), "one\n").unwrap();
    drop(scene.archive());
    let synced = scene.synced(|| drop(scene.save()));
    let ledger = format!("{STATE}/.p.ledger.tmp");
    assert_eq!(synced, [".state", ".state/sessions", &format!("{STATE}/new"), "", "p", &ledger, STATE]);
}

#[test]
fn a_new_session_of_a_known_project_syncs_the_store_once_and_its_own() {
    let (scene, _) = saved();
    let second = second(&scene);
    let synced = scene.synced(|| drop(scene.save_from(&second, Compare::Windows)));
    let state = ".state/sessions/s2";
    let expected =
        [".state", ".state/sessions", &format!("{state}/new"), "", "p", &format!("{state}/.p.ledger.tmp"), state];
    assert_eq!(synced, expected);
}

#[test]
fn sessions_that_are_saved_through_one_archive_share_what_was_seen_to() {
    let (scene, _) = saved();
    let archive = scene.archive();
    let save = |n: u32| {
        let transcript = scene.transcript().with_file_name(format!("s{n}.jsonl"));
        fs::write(&transcript, "{\"cwd\":\"/home/p\"}\n").unwrap();
        let id = SessionId::of_transcript(&transcript).unwrap();
        let request = SaveRequest {
            id: &id,
            transcript: &transcript,
            project: None,
            cwd: None,
            compare: Compare::Windows,
            progress: &|_| {},
        };
        archive.save(&request).unwrap();
    };
    save(2);
    let synced = scene.synced(|| save(3));
    let state = ".state/sessions/s3";
    assert_eq!(synced, [".state/sessions", &format!("{state}/new"), "p", &format!("{state}/.p.ledger.tmp"), state]);
}

#[test]
fn a_clean_mark_says_nothing_of_a_folder_that_another_session_made() {
    let (scene, key) = saved();
    // A killed run of another session made the folder and no more; ours ended clean, and goes there now.
    fs::create_dir(scene.store().join("q")).unwrap();
    assert_eq!(scene.mark(), 1);
    let id = key.id.clone();
    let (transcript, project) = (scene.transcript(), ProjectName::parse("q").unwrap());
    let request = SaveRequest {
        id: &id,
        transcript: &transcript,
        project: Some(&project),
        cwd: None,
        compare: Compare::Windows,
        progress: &|_| {},
    };
    let synced = scene.synced(|| drop(scene.archive().save(&request).unwrap()));
    assert!(synced.iter().position(|dir| dir.is_empty()) < synced.iter().position(|dir| dir == "q"), "{synced:?}");
    assert!(synced.contains(&String::new()), "{synced:?}");
}

#[test]
fn a_folder_is_known_by_a_proven_content_and_by_nothing_less() {
    let (scene, _) = saved();
    add_side(&scene, "subagents/a.jsonl");
    let ledger = format!("{STATE}/p.ledger");
    let new = format!("{STATE}/new");
    // The folder of the project is known, those below it are made.
    assert_eq!(scene.synced(|| drop(scene.save())), [&new, "p", "p/s1", "p/s1/subagents", &ledger]);
    add_side(&scene, "subagents/b.jsonl");
    assert_eq!(scene.synced(|| drop(scene.save())), [&new, "p/s1/subagents", &ledger]);
    // As a killed run leaves it: made, and nothing committed in it.
    fs::create_dir(scene.store().join("p/s1/results")).unwrap();
    add_side(&scene, "results/c.txt");
    assert_eq!(scene.synced(|| drop(scene.save())), [&new, "p/s1", "p/s1/results", &ledger]);
    // Removed, and made again by a killed run of another session: what the ledger says is not there.
    fs::remove_dir_all(scene.store().join("p")).unwrap();
    fs::create_dir(scene.store().join("p")).unwrap();
    append(&scene.transcript(), b"two\n");
    let synced = scene.synced(|| drop(scene.save()));
    assert_eq!(synced[..3], [&new, "", "p"]);
    scene.is_clean();
}

#[test]
fn an_unproven_record_is_no_reason_to_know_a_folder() {
    let (scene, key) = saved();
    fs::remove_dir_all(scene.store().join(".state/sessions")).unwrap();
    let archive = scene.archive();
    let lock = SessionLock::wait(&archive, &key.id).unwrap();
    let mut session = OpenSession::open(&archive, key, lock).unwrap();
    let name = StoredName::newest(FileName::Transcript);
    let record = session.ledger.record(&name).cloned().unwrap();
    assert_eq!(record.verification, Verification::Unverified);
    session.commit(&[Entry::Commit(name.clone(), Box::new(record))]).unwrap();
    assert_eq!(scene.synced(|| drop(session.create_dir_of(&name).unwrap())), [""]);
    assert_eq!(scene.synced(|| drop(session.create_dir_of(&name).unwrap())), [""; 0]);
}

#[test]
fn a_store_that_a_killed_run_made_is_synced_up_to_the_root_once() {
    let (scene, _) = saved();
    let lock = scene.store().join(".state/store.lock");
    assert_eq!(fs::metadata(&lock).unwrap().len(), 1);
    fs::write(&lock, "").unwrap();
    // However long ago that was, even a session that is clean and has nothing new waits for it.
    let store = fs::File::options().write(true).open(scene.store().join(".state/store.json")).unwrap();
    store.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3600)).unwrap();
    let synced = scene.synced(|| drop(scene.save()));
    assert_eq!(synced[..2], [".state", ""]);
    assert!(synced.contains(&scene.dir.path().to_string_lossy().into_owned()), "{synced:?}");
    assert_eq!(fs::metadata(&lock).unwrap().len(), 1);
    assert_eq!(scene.synced(|| drop(scene.save())), [""; 0]);
}

#[test]
fn a_store_that_is_being_made_is_not_called_made_by_another() {
    let (scene, _) = saved();
    let lock = scene.store().join(".state/store.lock");
    fs::write(&lock, "").unwrap();
    let held = crate::fs::Lock::wait(&lock).unwrap();
    assert_eq!(scene.synced(|| drop(scene.save()))[..2], [".state", ""]);
    assert_eq!(fs::metadata(&lock).unwrap().len(), 0);
    drop(held);
}
