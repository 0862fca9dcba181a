//! Stores that somebody else changed: copies under other names, and what can be no file of ours.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::super::ledger::{Entry, Ledger};
use super::compress::key;
use super::edges::saved;
use super::*;
use crate::fs::{Dir, platform};

/// Everything below the store, folders left out.
fn files(store: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![store.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files
}

/// The names that a sync service, an editor or `cp` gives a copy.
fn copies_of(path: &Path) -> Vec<PathBuf> {
    let [name, stem] = [path.file_name(), path.file_stem()].map(|part| part.unwrap().to_str().unwrap());
    let ending = path.extension().map_or(String::new(), |ending| format!(".{}", ending.to_str().unwrap()));
    [
        format!("{stem} (conflicted copy 2026-11-28){ending}"),
        format!("{stem}.sync-conflict-20261128-101010-ABCDEFG{ending}"),
        format!("{stem} 2{ending}"),
        format!("{stem}.bak{ending}"),
        format!("{name}.bak"),
        format!("{name}~"),
        format!(".{name}.icloud"),
        format!("~{name}.tmp"),
        format!("._{name}"),
    ]
    .map(|name| path.with_file_name(name))
    .to_vec()
}

fn with_side_file() -> Scene {
    let scene = saved(&["one\n", "other\n"]);
    fs::create_dir_all(scene.transcript().with_extension("")).unwrap();
    fs::write(scene.transcript().with_extension("").join("agent-1.jsonl"), "side\n").unwrap();
    scene.save();
    scene
}

#[test]
fn copies_of_everything_are_nobodys_and_the_conversation_goes_on() {
    let scene = with_side_file();
    let archive = scene.archive();
    let held = |archive: &Archive| archive.files(&key()).unwrap().into_iter().map(|file| file.path).collect::<Vec<_>>();
    let before = held(&archive);
    for file in files(&scene.store()) {
        copies_of(&file).iter().for_each(|copy| assert!(fs::copy(&file, copy).is_ok()));
    }
    for folder in ["p", ".state/sessions/s1"] {
        let (from, to) = (scene.store().join(folder), scene.store().join(format!("{folder} 2")));
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    assert_eq!(archive.sessions().unwrap(), [key()]);
    assert_eq!(archive.find(&key().id).unwrap(), [key()]);
    assert_eq!(held(&archive), before);
    assert_eq!(archive.verify(None).unwrap().len(), 0);
    let strangers = archive.look_by(Seen::default()).unwrap().strangers;
    for named in ["p/s1 2.jsonl", "p/s1.sync-conflict-20261128-101010-ABCDEFG.jsonl", "p 2/s1.jsonl", "p/s1.jsonl.bak"]
    {
        assert!(strangers.contains(&PathBuf::from(named)), "{named}: {strangers:?}");
    }
    assert!(strangers.contains(&PathBuf::from(".state/sessions/s1/p 2.ledger")), "{strangers:?}");
    assert!(!strangers.iter().any(|path| path.ends_with("s1.jsonl") && path.starts_with("p/")), "{strangers:?}");
    let text = "other\nmore\n";
    fs::write(scene.transcript(), text).unwrap();
    scene.save();
    assert_eq!(scene.content("p/s1.jsonl"), text.as_bytes());
    // Nor is it lost with what is recorded.
    fs::remove_dir_all(scene.store().join(".state/sessions/s1")).unwrap();
    assert!(archive.sessions().unwrap().contains(&key()));
}

#[test]
fn of_what_a_damaged_ledger_may_have_said_nothing_is_taken_for_a_copy() {
    let scene = with_side_file();
    let folder = scene.transcript().with_extension("");
    fs::write(folder.join("agent-1-2.jsonl"), "another side\n").unwrap();
    scene.save();
    let ledger = scene.store().join(".state/sessions/s1/p.ledger");
    let damage = |line: &str| if line.contains("agent-1-2") { "x\n".to_owned() } else { format!("{line}\n") };
    let damaged: String = fs::read_to_string(&ledger).unwrap().lines().map(damage).collect();
    fs::write(&ledger, damaged).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    fs::write(scene.transcript(), "other\nmore\n").unwrap();
    scene.save();
    let held: Vec<String> = scene.archive().files(&key()).unwrap().into_iter().map(|file| file.path).collect();
    assert!(held.contains(&"s1/agent-1-2.jsonl".to_owned()), "{held:?}");
}

#[test]
fn a_project_whose_folder_was_renamed_with_its_ledgers_is_gone_on_with() {
    let scene = with_side_file();
    let rename = |from: &str, to: &str| fs::rename(scene.store().join(from), scene.store().join(to)).unwrap();
    rename("p", "q 2");
    rename(".state/sessions/s1/p.ledger", ".state/sessions/s1/q 2.ledger");
    let renamed = SessionKey::parse("q 2", "s1").unwrap();
    let archive = scene.archive();
    assert_eq!((archive.sessions().unwrap(), archive.verify(None).unwrap().len()), (vec![renamed.clone()], 0));
    fs::write(scene.transcript(), "other\nmore\n").unwrap();
    assert_eq!(scene.save().key.unwrap(), renamed);
    assert_eq!(
        (scene.content("q 2/s1.jsonl"), archive.look_by(Seen::default()).unwrap().strangers.len()),
        (b"other\nmore\n".to_vec(), 0)
    );
}

/// Of what is called a copy, people are told to delete it.
#[test]
fn what_is_left_of_a_conversation_under_another_name_is_no_copy() {
    for (from, to) in [("p", "q"), ("p/s1.jsonl", "p/s1.bak.jsonl"), ("p/s1.jsonl", "p/s1.jsonl.bak")] {
        let scene = saved(&["one\n"]);
        let [from, to] = [from, to].map(|name| scene.store().join(name));
        fs::rename(&from, &to).unwrap();
        let strangers = scene.archive().look_by(Seen::default()).unwrap().strangers;
        assert!(strangers.is_empty(), "{to:?}: {strangers:?}");
        let findings = scene.archive().verify(None).unwrap();
        assert!(findings.iter().any(|finding| finding.kind == FindingKind::Missing), "{findings:?}");
        // With the original in its place it is one.
        scene.save();
        fs::write(scene.transcript(), "one\ntwo\n").unwrap();
        scene.save();
        assert_eq!(scene.archive().look_by(Seen::default()).unwrap().strangers.len(), 1, "{to:?}");
    }
}

#[test]
fn without_any_ledger_every_transcript_is_a_session() {
    let scene = saved(&["one\n"]);
    fs::copy(scene.store().join("p/s1.jsonl"), scene.store().join("p/s1.bak.jsonl")).unwrap();
    assert_eq!(scene.archive().sessions().unwrap(), [key()]);
    fs::remove_dir_all(scene.store().join(".state")).unwrap();
    assert_eq!(scene.archive().sessions().unwrap().len(), 2);
}

#[test]
fn what_stands_in_the_place_of_a_content_or_a_ledger_costs_that_alone_and_is_mended() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    type Plant<'a> = &'a dyn Fn(&Path);
    let plants: [(&str, Plant<'_>); 7] = [
        ("link", &|at| symlink(&secret, at).unwrap()),
        ("zeros", &|at| symlink("/dev/zero", at).unwrap()),
        ("name", &|at| fs::hard_link(&secret, at).unwrap()),
        ("fifo", &|at| platform::make_fifo(at)),
        ("folder", &|at| fs::create_dir(at).unwrap()),
        ("holes", &|at| fs::File::create(at).unwrap().set_len(1 << 40).unwrap()),
        ("socket", &|at| drop(std::os::unix::net::UnixListener::bind(at).unwrap())),
    ];
    for place in [
        "p/s1.jsonl",
        "p/s1/agent-1.jsonl",
        ".state/sessions/s1/p.ledger",
        ".state/sessions/s1/lock",
        ".state/sessions/s1/new",
    ] {
        for (what, plant) in plants {
            let told = format!("{what} at {place}");
            let scene = with_side_file();
            fs::write(&secret, "SECRET").unwrap();
            let at = scene.store().join(place);
            let _ = fs::remove_file(&at);
            plant(&at);
            // Looking costs nothing but the entry.
            let archive = scene.archive();
            assert_eq!(archive.sessions().unwrap(), [key()], "{told}");
            assert!(archive.quick_check(&key()).is_ok() && archive.files(&key()).is_ok(), "{told}");
            archive.verify(None).unwrap();
            // And the next save goes on.
            fs::write(scene.transcript(), "other\nmore\n").unwrap();
            scene.save();
            fs::write(scene.transcript(), "other\nmore\nand more\n").unwrap();
            scene.save();
            assert_eq!(scene.content("p/s1.jsonl"), b"other\nmore\nand more\n", "{told}");
            let repairs = archive.repair(None, None).unwrap();
            // What a lost ledger said of an older content has nobody to prove it.
            let is_lost = place.ends_with("ledger");
            assert!(repairs.iter().all(|repair| repair.healed || is_lost), "{told}: {repairs:?}");
            assert_eq!(scene.content("p/s1/agent-1.jsonl"), b"side\n", "{told}");
            assert_eq!(scene.content("p/s1.gen-0001.jsonl"), b"one\n", "{told}");
            assert_eq!(fs::read(&secret).unwrap(), b"SECRET", "{told}");
            let copied: Vec<PathBuf> = files(&scene.store())
                .into_iter()
                .filter(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.nlink() == 1))
                .filter(|path| path.metadata().unwrap().len() == 6 && fs::read(path).unwrap() == b"SECRET")
                .collect();
            assert!(copied.is_empty(), "{told}: {copied:?}");
        }
    }
}

#[test]
fn a_source_that_lies_nowhere_near_is_not_opened() {
    let scene = saved(&["one\n"]);
    let projects = vec![scene.transcript().parent().unwrap().parent().unwrap().to_owned()];
    fs::write(scene.transcript(), "another\n").unwrap();
    let diverged = |archive: Archive| archive.verify(None).unwrap().iter().any(|finding| finding.save.is_some());
    assert!(diverged(scene.archive()) && diverged(scene.archive().with_sources_in(projects)));
    assert!(!diverged(scene.archive().with_sources_in(vec![scene.store()])));
    // Nor is it what heals.
    fs::write(scene.transcript(), "one\n").unwrap();
    fs::remove_file(scene.store().join("p/s1.jsonl")).unwrap();
    assert!(!scene.archive().with_sources_in(vec![scene.store()]).repair(None, None).unwrap()[0].healed);
    assert!(scene.archive().repair(None, None).unwrap()[0].healed);
}

/// A tool that looks for duplicates, or `cp -al`, gives files a second name. What is exactly as recorded stays readable,
/// which may be the only copy there is; nothing is written under the other name; and the name alone is no damage.
#[test]
fn what_has_a_second_name_is_read_where_it_proves_itself_and_never_written_to() {
    let scene = with_side_file();
    let all = scene.archive().files(&key()).unwrap();
    let id = scene.archive().store_id().to_owned();
    assert_eq!(all.len(), 3);
    let content = |name: &StoredName| fs::read(scene.archive().slot(&key(), name).path()).unwrap();
    let before: Vec<Vec<u8>> = all.iter().map(|file| content(&file.name)).collect();
    let beside = tempfile::tempdir_in(scene.store().parent().unwrap()).unwrap();
    let others: Vec<PathBuf> = (0..).map(|n: u32| beside.path().join(n.to_string())).take(20).collect();
    let linked: Vec<(PathBuf, Vec<u8>)> = files(&scene.store())
        .iter()
        .zip(&others)
        .filter(|(file, _)| !file.ends_with("lock") && !file.ends_with("store.lock"))
        .map(|(file, other)| {
            fs::hard_link(file, other).unwrap();
            (other.clone(), fs::read(other).unwrap())
        })
        .collect();
    assert!(linked.len() >= 4, "{linked:?}");
    let source = fs::read(scene.transcript()).unwrap();
    fs::remove_file(scene.transcript()).unwrap();
    let archive = Archive::open(&scene.store()).unwrap().unwrap();
    assert_eq!(archive.store_id(), id);
    assert_eq!(archive.sessions().unwrap(), [key()]);
    for (file, before) in all.iter().zip(&before) {
        let mut read = Vec::new();
        let mut opened = archive.slot(&key(), &file.name).open().unwrap();
        std::io::Read::read_to_end(&mut opened, &mut read).unwrap();
        assert_eq!(&read, before, "{:?}", file.name);
    }
    let looked = archive.quick_check(&key()).unwrap();
    assert!(looked.has_other_names && looked.findings.is_empty(), "{looked:?}");
    assert!(archive.verify(None).unwrap().is_empty() && archive.repair(None, None).unwrap().is_empty());
    // It goes on, whole, and the versions with it.
    fs::write(scene.transcript(), [&source[..], b"more\n"].concat()).unwrap();
    scene.save();
    let newest = StoredName::newest(FileName::Transcript);
    assert_eq!(content(&newest), fs::read(scene.transcript()).unwrap());
    assert_eq!(scene.archive().files(&key()).unwrap().len(), 3);
    for (other, before) in linked {
        assert_eq!(fs::read(&other).unwrap(), before, "{}", other.display());
    }
    // What is not as recorded is not read, whoever's it is.
    let at = scene.archive().slot(&key(), &all[1].name).path();
    fs::remove_file(&at).unwrap();
    fs::write(beside.path().join("secret"), "SECRET").unwrap();
    fs::hard_link(beside.path().join("secret"), &at).unwrap();
    assert!(scene.archive().slot(&key(), &all[1].name).open().is_err());
}

/// A tool that links equal files makes one file of two: a copy that is also the transcript, or the other copy, is none.
#[test]
fn what_is_one_file_with_the_transcript_or_the_other_copy_is_told_and_gets_a_file_of_its_own() {
    let (scene, second) = (saved(&["one\n"]), saved(&["one\n"]));
    let (copy, of_second) = (scene.store().join("p/s1.jsonl"), second.store().join("p/s1.jsonl"));
    let relink = |from: &Path, to: &Path| {
        fs::remove_file(to).unwrap();
        fs::hard_link(from, to).unwrap();
    };
    let is_alone = |path: &Path| path.metadata().unwrap().nlink() == 1;
    let told = |findings: Vec<Finding>| findings.iter().any(|finding| finding.detail.contains("one file with"));
    // With the transcript: by the name of either.
    relink(&scene.transcript(), &copy);
    assert!(told(scene.archive().verify(None).unwrap()) && told(scene.archive().quick_check(&key()).unwrap().findings));
    assert!(scene.archive().repair(None, None).unwrap()[0].healed && is_alone(&copy));
    relink(&copy, &scene.transcript());
    append(&scene.transcript(), b"");
    scene.save();
    assert!(is_alone(&copy) && scene.content("p/s1.jsonl") == b"one\n");
    // With the other copy, which is no other one then.
    relink(&of_second, &copy);
    let (first, other) = (scene.archive(), second.archive());
    assert!(first.verify(None).unwrap().is_empty());
    assert!(told(first.one_file_with(&other, &key()).unwrap()));
    assert!(first.repair(None, Some(&other)).unwrap()[0].healed && is_alone(&copy));
    assert!(first.one_file_with(&other, &key()).unwrap().is_empty());
}

/// A look at every session costs one listing of their folder, not one for each; and a folder that changes is listed anew.
#[test]
fn a_folder_is_listed_once_for_all_of_its_sessions_and_anew_when_it_changes() {
    let scene = saved(&["one\n"]);
    for n in 0..300 {
        fs::write(scene.store().join(format!("p/n{n}.jsonl")), "{").unwrap();
    }
    let folder = fs::File::open(scene.store().join("p")).unwrap();
    folder.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(60)).unwrap();
    let archive = scene.archive();
    // It has not rested: a change within the same tick would not be seen.
    archive.verify(None).unwrap();
    assert!(archive.listings.made.get() > 300);
    archive.listings.rest.set(std::time::Duration::ZERO);
    archive.listings.made.set(0);
    let findings = archive.verify(None).unwrap();
    assert_eq!((findings.len(), archive.listings.made.get()), (300, 1));
    fs::remove_file(scene.store().join("p/n7.jsonl")).unwrap();
    fs::write(scene.store().join("p/n8.gen-0001.jsonl"), "[").unwrap();
    assert_eq!(archive.verify(None).unwrap().len(), 300);
    for key in archive.sessions().unwrap() {
        archive.files(&key).unwrap();
        archive.quick_check(&key).unwrap();
    }
    assert_eq!(archive.listings.made.get(), 2);
}

#[test]
fn folders_in_folders_without_end_cost_a_look_at_those_that_may_be_ours() {
    let scene = with_side_file();
    let mut at = scene.store().join("p/s1");
    for _ in 0..300 {
        at.push("d");
        fs::create_dir(&at).unwrap();
    }
    fs::write(at.join("leaf"), "x").unwrap();
    let started = std::time::Instant::now();
    assert!(scene.archive().verify(None).unwrap().is_empty());
    assert!(scene.archive().repair(None, None).unwrap().is_empty());
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
}

/// Whatever stands where tombstones would: conversations go on to be saved, and a new one finds its place.
#[test]
fn what_stands_in_the_place_of_the_tombstones_stops_no_save() {
    let outside = tempfile::tempdir().unwrap();
    type Plant<'a> = &'a dyn Fn(&Path);
    let plants: [Plant<'_>; 4] = [
        &|at| fs::write(at, "x").unwrap(),
        &|at| symlink(outside.path(), at).unwrap(),
        &|at| symlink("/nowhere", at).unwrap(),
        &|at| platform::make_fifo(at),
    ];
    for plant in plants {
        let scene = saved(&["one\n"]);
        plant(&scene.store().join(".state/forgotten"));
        fs::write(scene.transcript(), "one\ntwo\n").unwrap();
        scene.save();
        assert_eq!(scene.content("p/s1.jsonl"), b"one\ntwo\n");
        let archive = scene.archive();
        assert!(archive.has_lost_tombstones() && archive.all_forgotten().unwrap().is_empty());
        archive.note_forgotten(&key().id, &Forgotten::new(&key().id, 1)).unwrap();
        assert!(archive.is_forgotten(&key().id).unwrap() && !archive.has_lost_tombstones());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

/// Each session asks for all of its id.
#[test]
fn of_one_id_no_more_ledgers_are_looked_at_than_a_few_and_among_them_what_is_stored() {
    let scene = with_side_file();
    let archive = scene.archive();
    let state = Dir::open(&scene.store().join(".state/sessions/s1")).unwrap().unwrap();
    let planted: Vec<SessionKey> = (0..300).map(|n| SessionKey::parse(&format!("a{n:03}"), "s1").unwrap()).collect();
    for key in &planted {
        Ledger::default().write(&state, key, &[Entry::Source("/nowhere/s1.jsonl".into())]).unwrap();
    }
    let looked = archive.look_by(Seen::default()).unwrap();
    assert_eq!((looked.sessions.as_slice(), looked.strangers.len()), (&[key()][..], planted.len()));
    assert_eq!(archive.find(&key().id).unwrap(), [key()]);
    assert!(archive.stands(&key()).unwrap() && !archive.is_moved(&key()).unwrap());
    assert_eq!(archive.files(&key()).unwrap().len(), 3);
    // Moved away as a whole, it comes back.
    fs::rename(scene.store().join("p"), scene.store().join("q")).unwrap();
    assert!(archive.is_moved(&SessionKey::parse("q", "s1").unwrap()).unwrap());
    let sessions = archive.sessions().unwrap();
    assert!(sessions.len() <= 257, "{}", sessions.len());
}
