//! What goes by the user's command, and what does not.

use super::*;

fn key() -> SessionKey {
    SessionKey { project: ProjectName::parse("p").unwrap(), id: SessionId::parse("s1").unwrap() }
}

fn rewrite(scene: &Scene, text: &str) {
    fs::write(scene.transcript(), text).unwrap();
    scene.save();
}

/// Generations 1 and 3 are beginnings of the newest content, generation 2 is not.
fn rewritten() -> Scene {
    let scene = Scene::new();
    for text in ["one\n", "else\n", "one\ntwo\n", "other\n", "one\ntwo\nthree\n"] {
        rewrite(&scene, text);
    }
    scene
}

fn all(_: &StoredFile) -> bool {
    true
}

#[test]
fn only_what_another_content_begins_with_is_superseded() {
    let scene = rewritten();
    let found = scene.archive().superseded(&key(), &all).unwrap();
    let found: Vec<_> = found.iter().map(|found| (found.file.path.as_str(), found.by.generation)).collect();
    assert_eq!(found, [("s1.gen-0001.jsonl", 0), ("s1.gen-0003.jsonl", 0)]);
}

#[test]
fn superseded_generations_go_and_nothing_is_missed() {
    let scene = rewritten();
    let archive = scene.archive();
    let files = archive.files(&key()).unwrap();
    let gone = archive.prune_generations(&key(), &files, PruneReason::Superseded).unwrap();
    assert_eq!(
        gone.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
        ["s1.gen-0001.jsonl", "s1.gen-0003.jsonl"]
    );
    assert_eq!(scene.names(), ["p/s1.gen-0002.jsonl", "p/s1.gen-0004.jsonl", "p/s1.jsonl"]);
    scene.is_clean();
    // A number is not given twice, and a save goes on as if nothing had been.
    assert!(!archive.is_behind(&key().id, &scene.transcript()).unwrap());
    rewrite(&scene, "new\n");
    assert_eq!(scene.names(), ["p/s1.gen-0002.jsonl", "p/s1.gen-0004.jsonl", "p/s1.gen-0005.jsonl", "p/s1.jsonl"]);
    scene.is_clean();
}

#[test]
fn of_equal_generations_one_stays() {
    let scene = Scene::new();
    for text in ["same\n", "a\n", "same\n", "b\n"] {
        rewrite(&scene, text);
    }
    let archive = scene.archive();
    archive.prune_generations(&key(), &archive.files(&key()).unwrap(), PruneReason::Superseded).unwrap();
    assert_eq!(scene.names(), ["p/s1.gen-0002.jsonl", "p/s1.gen-0003.jsonl", "p/s1.jsonl"]);
}

#[test]
fn a_generation_stays_where_its_cover_or_itself_is_damaged() {
    for damaged in ["p/s1.jsonl", "p/s1.gen-0001.jsonl"] {
        let scene = Scene::new();
        rewrite(&scene, "one\n");
        rewrite(&scene, "two\n");
        rewrite(&scene, "one\ntwo\n");
        let path = scene.store().join(damaged);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        let archive = scene.archive();
        assert!(archive.superseded(&key(), &all).unwrap().is_empty(), "{damaged}");
        let gone = archive.prune_generations(&key(), &archive.files(&key()).unwrap(), PruneReason::Superseded).unwrap();
        assert!(gone.is_empty(), "{damaged}");
    }
}

#[test]
fn a_named_generation_goes_if_it_is_the_one_that_was_shown() {
    let scene = rewritten();
    let archive = scene.archive();
    let mut files = archive.files(&key()).unwrap();
    files.retain(|file| file.name.generation == 2);
    let others = vec![StoredFile { bytes: 1, ..files[0].clone() }];
    assert!(archive.prune_generations(&key(), &others, PruneReason::Named).unwrap().is_empty());
    assert_eq!(archive.prune_generations(&key(), &files, PruneReason::Named).unwrap().len(), 1);
    assert!(!scene.names().contains(&"p/s1.gen-0002.jsonl".to_owned()));
    scene.is_clean();
    // The newest content is no generation.
    let newest: Vec<_> = archive.files(&key()).unwrap().into_iter().filter(|file| file.name.generation == 0).collect();
    assert!(archive.prune_generations(&key(), &newest, PruneReason::Named).unwrap().is_empty());
}

#[test]
fn older_contents_of_side_files_go_with_their_folders() {
    let scene = Scene::new();
    let side = scene.transcript().with_extension("").join("subagents/agent-a.jsonl");
    fs::create_dir_all(side.parent().unwrap()).unwrap();
    for text in ["1\n", "x\n", "1\n2\n"] {
        fs::write(&side, text).unwrap();
        rewrite(&scene, "t\n");
    }
    let archive = scene.archive();
    archive.prune_generations(&key(), &archive.files(&key()).unwrap(), PruneReason::Superseded).unwrap();
    assert_eq!(scene.names(), ["p/s1.gen-0002/subagents/agent-a.jsonl", "p/s1.jsonl", "p/s1/subagents/agent-a.jsonl"]);
    assert!(!scene.store().join("p/s1.gen-0001").exists());
    scene.is_clean();
}

/// Everything that may lie in a store of one session, and what must stay of another.
fn with_leftovers() -> Scene {
    let scene = rewritten();
    let other = scene.transcript().with_file_name("s1.found.jsonl");
    fs::write(other.clone(), "other\n").unwrap();
    scene.save_from(&other, Compare::Windows);
    let store = scene.store();
    for path in [
        "p/s1.json",
        "p/s1.found-2.json",
        "p/s1.events.jsonl",
        "p/s1.jsonl.official",
        ".state/damaged/p/s1.jsonl",
        ".state/damaged/p/s1.gen-0001.jsonl.2",
        ".state/damaged/p/s1.ledger.0123abcd",
        ".state/damaged/p/s1/a/b",
        ".state/journal/s1.jsonl",
        "p/s1.found.json",
        "p/s1.found.events.jsonl",
        ".state/damaged/p/s1.found.jsonl",
        ".state/damaged/p/s1.found/a",
        ".state/journal/s1.found.jsonl",
    ] {
        let path = store.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    scene
}

fn is_gone(scene: &Scene) {
    let mut left = Vec::new();
    let mut pending = vec![scene.store()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path.clone());
            }
            left.push(path.strip_prefix(scene.store()).unwrap().to_str().unwrap().to_owned());
        }
    }
    left.retain(|path| path.contains("s1"));
    left.sort();
    assert_eq!(
        left,
        [
            ".state/damaged/p/s1.found",
            ".state/damaged/p/s1.found.jsonl",
            ".state/damaged/p/s1.found/a",
            ".state/journal/s1.found.jsonl",
            ".state/sessions/s1",
            ".state/sessions/s1.found",
            ".state/sessions/s1.found/lock",
            ".state/sessions/s1.found/p.ledger",
            ".state/sessions/s1/lock",
            "p/s1.found.events.jsonl",
            "p/s1.found.json",
            "p/s1.found.jsonl",
        ]
    );
}

fn prune_session(scene: &Scene) -> Result<bool, ArchiveError> {
    let archive = scene.archive();
    archive.prune_session(&key(), &archive.files(&key())?, || Ok(()))
}

#[test]
fn a_session_goes_with_all_that_is_its_own_and_nothing_else() {
    let scene = with_leftovers();
    assert!(prune_session(&scene).unwrap());
    is_gone(&scene);
    assert!(scene.archive().verify(None).unwrap().is_empty());
    assert!(!scene.archive().sessions().unwrap().contains(&key()));
}

#[test]
fn a_session_that_changed_since_it_was_shown_stays() {
    let scene = rewritten();
    let archive = scene.archive();
    let shown = archive.files(&key()).unwrap();
    append(&scene.transcript(), b"four\n");
    scene.save();
    let before = scene.tree();
    assert!(!archive.prune_session::<ArchiveError, ()>(&key(), &shown, || panic!("nothing goes")).unwrap());
    assert_eq!(scene.tree(), before);
}

#[test]
fn what_no_record_names_was_not_shown_and_stays() {
    let scene = rewritten();
    fs::write(scene.store().join("p/s1.gen-0009.jsonl"), "a stranger's").unwrap();
    let before = scene.tree();
    assert!(matches!(prune_session(&scene), Err(ArchiveError::Damaged { .. })));
    assert_eq!(scene.tree(), before);
}

#[test]
fn a_removal_that_was_begun_counts_as_gone_and_is_finished() {
    let begun = || {
        let scene = with_leftovers();
        let archive = scene.archive();
        let shown = archive.files(&key()).unwrap();
        let killed = || Err::<(), _>(ArchiveError::Shrank { path: "killed".into() });
        let stopped = archive.prune_session(&key(), &shown, killed);
        assert!(stopped.is_err());
        assert!(archive.is_being_pruned(&key()).unwrap());
        assert!(archive.files(&key()).unwrap().is_empty());
        assert!(archive.quick_check(&key()).unwrap().findings.is_empty());
        assert!(archive.verify(None).unwrap().is_empty());
        // A repair leaves it to the command that began it.
        assert!(archive.repair(None, None).unwrap().is_empty());
        assert!(archive.is_being_pruned(&key()).unwrap());
        scene
    };
    let scene = begun();
    assert!(prune_session(&scene).unwrap());
    is_gone(&scene);
    // A source that is still there is saved as if it had never been.
    let scene = begun();
    assert!(scene.archive().is_behind(&key().id, &scene.transcript()).unwrap());
    scene.save();
    assert_eq!(scene.content("p/s1.jsonl"), b"one\ntwo\nthree\n");
    assert!(!scene.names().contains(&"p/s1.gen-0001.jsonl".to_owned()));
    scene.is_clean();
}

#[test]
fn set_asides_go_where_everything_is_whole() {
    let scene = rewritten();
    let archive = scene.archive();
    let damaged = scene.store().join("p/s1.jsonl");
    fs::write(&damaged, "bad").unwrap();
    assert!(archive.repair(None, None).unwrap().iter().all(|repair| repair.healed));
    let asides = archive.healed_quarantine(&key()).unwrap();
    assert_eq!(
        asides.iter().map(|aside| aside.path.to_str().unwrap()).collect::<Vec<_>>(),
        [".state/damaged/p/s1.jsonl"]
    );
    let whole = fs::read(&damaged).unwrap();
    fs::write(&damaged, "bad again").unwrap();
    assert!(archive.healed_quarantine(&key()).unwrap().is_empty());
    assert!(archive.prune_quarantine(&key(), &asides).unwrap().is_empty());
    fs::write(&damaged, whole).unwrap();
    assert_eq!(archive.prune_quarantine(&key(), &asides).unwrap(), asides);
    assert!(archive.healed_quarantine(&key()).unwrap().is_empty());
    assert!(!scene.store().join(".state/damaged/p/s1.jsonl").exists());
    scene.is_clean();
}

#[test]
fn folders_that_a_killed_run_emptied_go_too() {
    let scene = rewritten();
    fs::create_dir_all(scene.store().join("p/s1/subagents/a")).unwrap();
    fs::create_dir_all(scene.store().join("p/s1.gen-0001")).unwrap();
    assert!(prune_session(&scene).unwrap());
    assert_eq!(fs::read_dir(scene.store().join("p")).unwrap().count(), 0);
    assert!(scene.archive().sessions().unwrap().is_empty());
}

#[test]
fn generations_that_count_as_gone_are_unlinked_by_whoever_comes_next() {
    let scene = rewritten();
    let archive = scene.archive();
    let name = StoredName { file: FileName::Transcript, generation: 1 };
    let lock = session::SessionLock::wait(&archive, &key().id).unwrap();
    let mut session = session::OpenSession::open(&archive, key(), lock).unwrap();
    session.commit(&[ledger::Entry::Prune(name)]).unwrap();
    drop(session);
    assert!(archive.has_unfinished_removals(&key()).unwrap());
    assert!(archive.verify(None).unwrap().is_empty());
    assert!(scene.names().contains(&"p/s1.gen-0001.jsonl".to_owned()));
    archive.prune_generations(&key(), &[], PruneReason::Superseded).unwrap();
    assert!(!archive.has_unfinished_removals(&key()).unwrap());
    assert!(!scene.names().contains(&"p/s1.gen-0001.jsonl".to_owned()));
    scene.is_clean();
}
