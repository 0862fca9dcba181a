//! What is told of a store at its edges: lengths, names, killed runs, bookkeeping that lies.

use super::super::ledger::{Entry, Intent};
use super::super::session::{OpenSession, SessionLock};
use super::compress::{key, old, plain_bytes};
use super::*;

const COPY: &str = "p/s1.jsonl";
const FIRST: &str = "p/s1.gen-0001.jsonl";

pub(super) fn newest() -> StoredName {
    StoredName::newest(FileName::Transcript)
}

pub(super) fn first() -> StoredName {
    StoredName { file: FileName::Transcript, generation: 1 }
}

pub(super) fn saved(contents: &[&str]) -> Scene {
    let scene = Scene::new();
    for content in contents {
        fs::write(scene.transcript(), content).unwrap();
        scene.save();
    }
    scene
}

/// Writes entries as a run does that is killed then.
pub(super) fn commit(archive: &Archive, entries: &[Entry]) {
    let lock = SessionLock::wait(archive, &key().id).unwrap();
    OpenSession::open(archive, key(), lock).unwrap().commit(entries).unwrap();
}

pub(super) fn findings(scene: &Scene) -> Vec<(String, FindingKind)> {
    scene.archive().verify(None).unwrap().into_iter().map(|found| (found.path, found.kind)).collect()
}

fn try_save(scene: &Scene, transcript: &Path, progress: &dyn Fn(u64)) -> Result<SaveReport, ArchiveError> {
    let (id, compare) = (key().id, Compare::Windows);
    let request = SaveRequest { id: &id, transcript, project: None, cwd: None, compare, progress };
    scene.archive().save(&request)
}

#[test]
fn a_source_of_several_commits_is_copied_whole_at_first_and_anew() {
    let scene = Scene::new();
    let text = |seed: u32| (0..655_360_u32).flat_map(|n| (n ^ seed).to_le_bytes()).collect::<Vec<u8>>();
    for (seed, generations) in [(0, 0), (1, 1)] {
        fs::write(scene.transcript(), text(seed)).unwrap();
        let report = scene.save();
        assert_eq!((report.bytes_added, report.generations_begun), (2_621_440, generations));
        assert_eq!(report.read_back, [(FileName::Transcript, 2_621_440, blake3::hash(&text(seed)))]);
        assert!(scene.content(COPY) == text(seed));
    }
    assert!(scene.content(FIRST) == text(0));
    // Each part is committed by itself, so that a run that is cut off has got somewhere.
    let ledger = fs::read_to_string(scene.store().join(".state/sessions/s1/p.ledger")).unwrap();
    let lengths: Vec<bool> =
        [1 << 20, 2 << 20, 2_621_440].iter().map(|bytes| ledger.contains(&format!("\"bytes\":{bytes},"))).collect();
    assert_eq!(lengths, [true; 3]);
    scene.is_clean();
}

#[test]
fn a_source_that_shrinks_while_it_is_read_is_looked_at_again() {
    let scene = Scene::new();
    let path = scene.transcript();
    fs::write(&path, vec![b'x'; 3 * crate::fs::COPY_BYTES]).unwrap();
    let shrink = |_| fs::write(&path, "short\n").unwrap();
    let id = key().id;
    let request = SaveRequest {
        id: &id,
        transcript: &path,
        project: None,
        cwd: Some("/home/p"),
        compare: Compare::Windows,
        progress: &shrink,
    };
    assert_eq!(scene.archive().save(&request).unwrap().source_bytes, 6);
    assert_eq!(scene.content(COPY), b"short\n");
    scene.is_clean();
}

#[test]
fn another_file_that_differs_in_the_middle_alone_begins_a_generation() {
    let scene = saved(&[&"x".repeat(20_000)]);
    let path = scene.transcript();
    let mut other = vec![b'x'; 20_000];
    other[10_000] = b'y';
    fs::write(path.with_extension("x"), &other).unwrap();
    fs::rename(path.with_extension("x"), &path).unwrap();
    assert_eq!(scene.save().generations_begun, 1);
    assert!(scene.content(COPY) == other);
}

#[test]
fn a_copy_of_another_length_is_mended_although_its_source_did_not_change() {
    for planted in ["one\ntwo\nthree\n", "one\n", ""] {
        let scene = saved(&["one\ntwo\n"]);
        fs::write(scene.store().join(COPY), planted).unwrap();
        scene.save();
        assert_eq!(scene.content(COPY), b"one\ntwo\n", "{planted:?}");
        scene.is_clean();
    }
    // A link whose target's name is as long as the copy is none.
    let scene = saved(&["one\n"]);
    fs::remove_file(scene.store().join(COPY)).unwrap();
    std::os::unix::fs::symlink("four", scene.store().join(COPY)).unwrap();
    scene.save();
    assert_eq!(scene.content(COPY), b"one\n");
    scene.is_clean();
}

#[test]
fn an_append_that_was_cut_off_is_undone_however_long_it_is() {
    for behind in [1, crate::fs::COPY_BYTES, crate::fs::COPY_BYTES + 1, 600_000] {
        for last in [b'x', b'y'] {
            let scene = saved(&["one\n"]);
            append(&scene.transcript(), &vec![b'x'; 700_000]);
            let mut left = vec![b'x'; behind];
            left[behind - 1] = last;
            append(&scene.store().join(COPY), &left);
            // Where the source has other bytes, somebody else's are kept.
            assert_eq!(scene.save().generations_begun, u32::from(last == b'y'), "{behind}");
            assert!(scene.content(COPY) == fs::read(scene.transcript()).unwrap(), "{behind}");
            scene.is_clean();
        }
    }
}

#[test]
fn of_two_files_of_one_session_the_shorter_is_no_news_and_one_that_differs_is() {
    let scene = saved(&["one\ntwo\nthree\n"]);
    let second = scene.transcript_in("-q");
    for (content, generations) in [("one\ntwo\n", 0), ("", 0), ("one\ntwo\nthree\nfour\n", 0), ("one\n2\n", 1)] {
        fs::write(&second, content).unwrap();
        let report = scene.save_from(&second, Compare::Windows);
        assert_eq!(report.generations_begun, generations, "{content:?}");
    }
    assert_eq!(scene.names(), [FIRST, COPY]);
    assert_eq!(scene.content(COPY), b"one\n2\n");
}

#[test]
fn a_rotation_that_was_cut_off_goes_on_asking_for_bytes_that_are_nowhere_else() {
    // What stands there when it is renamed, what is found of it afterwards, and the length that is recorded.
    let damaged = [("s1.gen-0001.jsonl".to_owned(), FindingKind::Damaged)];
    for (copy, found, bytes, verification) in [
        ("one\ntwo\n", &damaged[..0], 8, Verification::Written),
        ("one\ntwo\nthr", &damaged[..0], 11, Verification::Found),
        ("one\ntw0\n", &damaged[..], 8, Verification::Written),
        ("one\ntw0\nthr", &damaged[..], 8, Verification::Written),
        ("one\n", &damaged[..], 8, Verification::Written),
    ] {
        let scene = saved(&["one\ntwo\n"]);
        commit(&scene.archive(), &[Entry::Begin(FileName::Transcript, Intent::Rotate { to: 1 })]);
        fs::remove_file(scene.store().join(COPY)).unwrap();
        fs::write(scene.store().join(FIRST), copy).unwrap();
        fs::write(scene.transcript(), "another and longer one\n").unwrap();
        scene.save();
        assert_eq!((scene.content(FIRST), findings(&scene)), (copy.as_bytes().to_vec(), found.to_vec()), "{copy:?}");
        let told = scene.archive().files(&key()).unwrap().remove(1);
        assert_eq!((told.bytes, told.verification, told.disk_bytes), (bytes, verification, bytes), "{copy:?}");
    }
}

#[test]
fn a_content_that_a_killed_run_made_plain_again_is_rotated_and_told_as_plain() {
    for killed in [false, true] {
        let scene = saved(&[&old()]);
        let file = scene.archive().compressible(&key()).unwrap().remove(0);
        assert!(scene.archive().compress(&key(), &file, 9).unwrap().is_some());
        fs::remove_file(scene.store().join("p/s1.jsonl.zst")).unwrap();
        fs::write(scene.store().join(COPY), old()).unwrap();
        if killed {
            commit(&scene.archive(), &[Entry::Begin(FileName::Transcript, Intent::Rotate { to: 1 })]);
            fs::rename(scene.store().join(COPY), scene.store().join(FIRST)).unwrap();
        }
        fs::write(scene.transcript(), "anew\n").unwrap();
        scene.save();
        assert_eq!(scene.names(), [FIRST, COPY]);
        let told = scene.archive().files(&key()).unwrap().remove(1);
        assert_eq!((told.name.clone(), told.disk_bytes), (first(), old().len() as u64), "{killed}");
        assert!(plain_bytes(&scene, &first()) == old().into_bytes());
        assert_eq!(findings(&scene), []);
    }
}

#[test]
fn what_is_taken_in_is_stored_once() {
    let scene = saved(&["one\ntwo\n"]);
    let archive = scene.archive();
    let other = scene.dir.path().join("other.jsonl");
    let tree = |names: &[(&str, &str)]| {
        names.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect::<Vec<_>>()
    };
    // Of what is there, of its beginning, and of nothing, there is nothing to take in.
    for content in ["one\ntwo\n", "one\n", ""] {
        fs::write(&other, content).unwrap();
        archive.take_in(&key(), &other, TakenInAs::Older).unwrap();
        archive.take_in(&key(), &other, TakenInAs::Newest).unwrap();
        assert_eq!(scene.tree(), tree(&[(COPY, "one\ntwo\n")]), "{content:?}");
    }
    fs::remove_file(&other).unwrap();
    archive.take_in(&key(), &other, TakenInAs::Newest).unwrap();
    for (content, taken_in) in [("older\n", TakenInAs::Older), ("newer\n", TakenInAs::Newest)] {
        for _ in 0..2 {
            fs::write(&other, content).unwrap();
            archive.take_in(&key(), &other, taken_in).unwrap();
            assert_eq!(fs::read_to_string(&other).unwrap(), content);
        }
    }
    let all = [(FIRST, "older\n"), ("p/s1.gen-0002.jsonl", "one\ntwo\n"), (COPY, "newer\n")];
    assert_eq!(scene.tree(), tree(&all));
    assert_eq!(findings(&scene), [("s1.jsonl".to_owned(), FindingKind::SourceDiverged)][..0]);
}

#[test]
fn a_quick_look_tells_lengths_and_windows_apart_and_nothing_more() {
    let text = "x".repeat(20_000);
    let mut end = text.clone().into_bytes();
    end[19_999] = b'y';
    let mut middle = text.clone().into_bytes();
    middle[10_000] = b'y';
    let longer = [text.as_bytes(), b"more"].concat();
    type Case<'a> = (&'a str, Option<&'a [u8]>, Option<FindingKind>);
    let cases: [Case<'_>; 8] = [
        (COPY, Some(text.as_bytes()), None),
        (COPY, Some(&longer), None),
        (COPY, Some(&middle), None),
        (COPY, Some(&end), Some(FindingKind::Damaged)),
        (COPY, Some(&text.as_bytes()[..19_999]), Some(FindingKind::Damaged)),
        (COPY, None, Some(FindingKind::Missing)),
        ("p/s1/side", Some(b"SIDE"), None),
        ("p/s1/side", Some(b"sid"), Some(FindingKind::Damaged)),
    ];
    for (rel, planted, expected) in cases {
        let scene = Scene::new();
        let side = scene.transcript().with_extension("").join("side");
        fs::create_dir_all(side.parent().unwrap()).unwrap();
        fs::write(&side, "side").unwrap();
        fs::write(scene.transcript(), &text).unwrap();
        scene.save();
        match planted {
            Some(bytes) => fs::write(scene.store().join(rel), bytes).unwrap(),
            None => fs::remove_file(scene.store().join(rel)).unwrap(),
        }
        let look = scene.archive().quick_check(&key()).unwrap();
        assert_eq!(look.findings.iter().map(|found| found.kind).collect::<Vec<_>>(), Vec::from_iter(expected), "{rel}");
        assert_eq!((look.files.len(), look.source), (2, Some(scene.transcript())));
        let modified = fs::metadata(scene.transcript()).unwrap().modified().unwrap();
        let modified_ms = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        assert_eq!(look.source_modified_ms.map(u128::from), Some(modified_ms));
    }
    // Compressed, its length is what can be seen.
    let scene = saved(&[&old()]);
    let file = scene.archive().compressible(&key()).unwrap().remove(0);
    scene.archive().compress(&key(), &file, 9).unwrap();
    let packed = scene.content("p/s1.jsonl.zst");
    for (bytes, count) in [(packed.clone(), 0), (packed[1..].to_vec(), 1), ([&packed[..], b"x"].concat(), 1)] {
        fs::write(scene.store().join("p/s1.jsonl.zst"), &bytes).unwrap();
        assert_eq!(scene.archive().quick_check(&key()).unwrap().findings.len(), count, "{}", bytes.len());
    }
}

#[test]
fn a_damaged_ledger_leaves_what_was_removed_removed_and_asks_for_what_it_names() {
    let scene = saved(&["one\n", "other\n", "third\n"]);
    let archive = scene.archive();
    commit(&archive, &[Entry::Prune(first())]);
    let path = scene.store().join(".state/sessions/s1/p.ledger");
    let mut text = fs::read(&path).unwrap();
    text[20] ^= 1;
    fs::write(&path, text).unwrap();
    fs::write(scene.store().join("p/s1.gen-0002.jsonl"), "0ther\n").unwrap();
    let told: Vec<_> = archive.files(&key()).unwrap().into_iter().map(|file| (file.path, file.blake3)).collect();
    let expected = [("s1.jsonl", "third\n"), ("s1.gen-0002.jsonl", "other\n")];
    assert_eq!(told, expected.map(|(path, text)| (path.to_owned(), blake3::hash(text.as_bytes()))));
}

#[test]
fn a_store_that_lost_its_bookkeeping_is_adopted_or_shown_as_it_is() {
    let scene = saved(&["one\n"]);
    let id = scene.archive().store_id().to_owned();
    type Opened = Result<Option<Archive>, ArchiveError>;
    let id_of = |opened: Opened| opened.unwrap().map(|archive| archive.store_id().to_owned());
    assert_eq!(id_of(Archive::open_or_adopt(&scene.store())), Some(id.clone()));
    assert_eq!(id_of(Archive::open_as_found(&scene.store())), Some(id.clone()));
    fs::remove_dir_all(scene.store().join(".state")).unwrap();
    assert_eq!(id_of(Archive::open(&scene.store())), None);
    assert_eq!(id_of(Archive::open_as_found(&scene.store())), Some(String::new()));
    assert!(!scene.store().join(".state").exists());
    let adopted = id_of(Archive::open_or_adopt(&scene.store())).unwrap();
    assert!(adopted.len() == 32 && adopted != id, "{adopted}");
    assert_eq!(id_of(Archive::open(&scene.store())), Some(adopted));
    // Where no project lies, nothing is stored and none is made.
    let bare = scene.dir.path().join("bare");
    for _ in 0..2 {
        assert_eq!(id_of(Archive::open_or_adopt(&bare)), None);
        assert_eq!(id_of(Archive::open_as_found(&bare)), None);
        fs::create_dir_all(&bare).unwrap();
        fs::write(bare.join("a-log"), "x").unwrap();
    }
    assert!(!bare.join(".state").exists());
}

#[test]
fn taking_over_refuses_what_is_not_as_recorded() {
    for planted in ["onf\n", "on", ""] {
        let (scene, other) = (saved(&["one\n"]), Scene::new());
        let file = scene.archive().files(&key()).unwrap().remove(0);
        fs::write(scene.store().join(COPY), planted).unwrap();
        let refused = replicate(&other.archive(), &key(), &scene.archive(), &file);
        assert!(matches!(refused, Err(ArchiveError::Damaged { .. })), "{planted:?} {refused:?}");
        assert!(other.names().is_empty());
    }
}

#[test]
fn windows_that_were_recorded_wrongly_are_told_and_recorded_anew() {
    let scene = saved(&["one\n"]);
    let archive = scene.archive();
    let mut record = archive.ledger(&key()).unwrap().record(&newest()).cloned().unwrap();
    let right = std::mem::take(&mut record.windows);
    commit(&archive, &[Entry::Commit(newest(), Box::new(record))]);
    assert_eq!(findings(&scene), [("s1.jsonl".to_owned(), FindingKind::BookkeepingLost)]);
    assert!(archive.repair(None, None).unwrap()[0].healed);
    assert_eq!(archive.ledger(&key()).unwrap().record(&newest()).unwrap().windows, right);
    scene.is_clean();
}

#[test]
fn a_gap_is_filled_with_what_the_other_store_has_of_the_same_file_and_nobody_here() {
    let scene = saved(&["one\n", "other\n"]);
    let side = scene.transcript().with_extension("").join("side");
    fs::create_dir_all(side.parent().unwrap()).unwrap();
    for content in ["1\n", "2\n", "3\n"] {
        fs::write(&side, content).unwrap();
        scene.save();
    }
    fs::write(scene.transcript(), "third\n").unwrap();
    scene.save();
    let other = Scene::new();
    let files = scene.archive().files(&key()).unwrap();
    for answer in other.archive().replicate(&key(), &scene.archive(), &key(), &files, &|_| {}).unwrap() {
        answer.unwrap();
    }
    let before = scene.tree();
    let of_side = StoredName { file: FileName::Side("side".into()), generation: 1 };
    for (name, rel) in [(first(), FIRST), (of_side, "p/s1.gen-0001/side")] {
        commit(&scene.archive(), &[Entry::Gone(name)]);
        fs::remove_file(scene.store().join(rel)).unwrap();
    }
    assert_eq!(findings(&scene).len(), 2);
    // Nobody has it.
    assert!(scene.archive().repair(None, None).unwrap().iter().all(|repair| !repair.healed));
    assert!(scene.archive().repair(None, Some(&other.archive())).unwrap().iter().all(|repair| repair.healed));
    assert_eq!(scene.tree(), before);
    scene.is_clean();
}

/// The middle of a file with another byte, written in place.
fn flip_the_middle(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_turn_reads_two_windows_and_a_whole_comparison_all() {
    for (of_source, ledger) in [(true, true), (false, true), (false, false)] {
        for compare in [Compare::Windows, Compare::Whole] {
            let scene = saved(&[&"x".repeat(20_000)]);
            let path = if of_source { scene.transcript() } else { scene.store().join(COPY) };
            flip_the_middle(&path);
            if !ledger {
                // What the remaining lines say is a claim, so a turn reads all of it too.
                let path = scene.store().join(".state/sessions/s1/p.ledger");
                let mut text = fs::read(&path).unwrap();
                text[20] ^= 1;
                fs::write(&path, text).unwrap();
            }
            append(&scene.transcript(), b"more");
            let begun = scene.save_from(&scene.transcript(), compare).generations_begun;
            let is_noticed = compare == Compare::Whole || !ledger;
            // What the ledger proves to be damaged is no version.
            let is_damage = !of_source && ledger;
            let is_aside = scene.store().join(".state/damaged").join(COPY).exists();
            let expected = (u32::from(is_noticed && !is_damage), is_noticed && is_damage);
            assert_eq!((begun, is_aside), expected, "{of_source} {ledger} {compare:?}");
        }
    }
}

#[test]
fn a_generation_takes_a_number_that_nobody_has() {
    let scene = saved(&["one\n"]);
    for number in 1..4 {
        fs::write(scene.store().join(format!("p/s1.gen-000{number}.jsonl")), "a stranger's").unwrap();
    }
    fs::write(scene.transcript(), "other\n").unwrap();
    scene.save();
    assert_eq!(scene.content("p/s1.gen-0004.jsonl"), b"one\n");
    assert_eq!(scene.content(FIRST), b"a stranger's");
}

#[test]
fn what_was_found_is_recorded_once_and_nothing_that_is_known_is_touched() {
    let scene = saved(&["one\n"]);
    let path = scene.store().join(".state/sessions/s1/p.ledger");
    let mut text = fs::read(&path).unwrap();
    for is_damaged in [false, true] {
        if is_damaged {
            text[20] ^= 1;
            fs::write(&path, &text).unwrap();
        }
        scene.archive().record_found(&key()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), text);
    }
}

#[test]
fn a_store_of_a_newer_format_is_refused_and_left_alone() {
    let scene = saved(&["one\n"]);
    let path = scene.store().join(STORE_FILE);
    let text = fs::read_to_string(&path).unwrap().replace("\"format\":1,", "\"format\":3,");
    fs::write(&path, &text).unwrap();
    for opened in [Archive::open(&scene.store()), Archive::create(&scene.store()).map(Some)] {
        assert!(matches!(opened, Err(ArchiveError::NewerFormat { format: 3, .. })), "{opened:?}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    // One that cannot be read is made anew.
    fs::write(&path, "{").unwrap();
    assert_eq!(scene.archive().store_id().len(), 32);
}

#[test]
fn what_was_set_aside_before_keeps_its_name() {
    let scene = saved(&["one\n"]);
    for _ in 0..3 {
        fs::write(scene.store().join(COPY), "onf\n").unwrap();
        assert!(scene.archive().repair(None, None).unwrap()[0].healed);
    }
    let aside = fs::read_dir(scene.store().join(".state/damaged/p")).unwrap();
    let mut aside: Vec<_> = aside.map(|entry| entry.unwrap().file_name()).collect();
    aside.sort();
    assert_eq!(aside, ["s1.jsonl", "s1.jsonl.2", "s1.jsonl.3"]);
}

#[test]
fn what_is_behind_is_told_whoever_bears_the_id() {
    let scene = Scene::new();
    let id = key().id;
    let is_behind = |path: &Path| scene.archive().is_behind(&id, path).unwrap();
    let (one, two, three) = (scene.transcript(), scene.transcript_in("-q"), scene.transcript_in("-r"));
    fs::write(&one, "").unwrap();
    assert!(!is_behind(&one), "nothing is to be saved of an empty one");
    fs::write(&one, "one\n").unwrap();
    fs::write(&two, "two\n").unwrap();
    scene.save_from(&one, Compare::Windows);
    assert!(is_behind(&two), "another file of the only session");
    scene.save_from(&two, Compare::Windows);
    fs::write(&three, "").unwrap();
    assert_eq!([&one, &two, &three].map(|path| is_behind(path)), [false; 3]);
    fs::write(&three, "three\n").unwrap();
    assert!(is_behind(&three));
    // One that is gone has nothing new, wherever it was.
    let scene = saved(&["one\n"]);
    fs::remove_file(scene.transcript()).unwrap();
    assert!(!scene.archive().is_behind(&id, &scene.transcript_in("-elsewhere")).unwrap());
    // Of a ledger that is damaged nothing is believed.
    let scene = saved(&["one\n"]);
    let path = scene.store().join(".state/sessions/s1/p.ledger");
    let mut text = fs::read(&path).unwrap();
    text[20] ^= 1;
    fs::write(&path, text).unwrap();
    assert!(scene.archive().is_behind(&id, &scene.transcript()).unwrap());
}

#[test]
fn sessions_of_one_id_are_told_apart_by_their_sources() {
    let scene = Scene::new();
    let slugs = ["-p", "-q", "-r"];
    for slug in slugs {
        fs::write(scene.transcript_in(slug), format!("{slug}\n")).unwrap();
        scene.save_from(&scene.transcript_in(slug), Compare::Windows);
    }
    assert_eq!(scene.names(), ["p/s1.jsonl", "p~2/s1.jsonl", "p~3/s1.jsonl"]);
    let project_of = |slug: &str| {
        let of = scene.archive().session_of(&key().id, &scene.transcript_in(slug)).unwrap();
        of.map(|key| key.project.as_str().to_owned())
    };
    let told = ["-p", "-q", "-r", "-s"].map(project_of);
    assert_eq!(told, ["p", "p~2", "p~3", ""].map(|project| (!project.is_empty()).then(|| project.to_owned())));
    // The only one is meant by any path.
    let scene = saved(&["one\n"]);
    assert_eq!(scene.archive().session_of(&key().id, Path::new("/elsewhere")).unwrap(), Some(key()));
}

#[test]
fn a_transcript_that_was_moved_and_rewritten_goes_on_in_its_folder() {
    let scene = saved(&["one\ntwo\n"]);
    let moved = scene.transcript_in("-elsewhere");
    fs::rename(scene.transcript(), &moved).unwrap();
    fs::write(&moved, "one\n").unwrap();
    assert_eq!(scene.save_from(&moved, Compare::Windows).generations_begun, 1);
    assert_eq!(scene.names(), [FIRST, COPY]);
    assert_eq!(scene.archive().source_of(&key()).unwrap(), Some(moved));
}

#[test]
fn of_two_files_of_one_session_the_one_that_brought_the_last_bytes_is_its_source() {
    let scene = saved(&["one\ntwo\n"]);
    let second = scene.transcript_in("-q");
    for (content, is_source) in [("one\n", false), ("one\ntwo\n", false), ("one\ntwo\nthree\n", true)] {
        fs::write(&second, content).unwrap();
        scene.save_from(&second, Compare::Windows);
        let expected = if is_source { second.clone() } else { scene.transcript() };
        assert_eq!(scene.archive().source_of(&key()).unwrap(), Some(expected), "{content:?}");
    }
}

#[test]
fn a_report_adds_up_what_was_done_about_each_file() {
    let scene = Scene::new();
    let side = scene.transcript().with_extension("").join("side");
    fs::create_dir_all(side.parent().unwrap()).unwrap();
    for (transcript, file, added, begun) in
        [("one\n", "side", 8, 0), ("other\n", "SIDE!", 11, 2), ("other\n", "SIDE!?", 1, 0)]
    {
        fs::write(scene.transcript(), transcript).unwrap();
        fs::write(&side, file).unwrap();
        let report = scene.save();
        assert_eq!((report.bytes_added, report.generations_begun), (added, begun), "{file}");
    }
}

#[test]
fn a_full_disk_keeps_nobody_from_what_needs_no_room() {
    let scene = saved(&["one\n"]);
    let (transcript, id) = (scene.transcript(), key().id);
    let save = |floor: u64| {
        let (project, cwd, compare) = (None, None, Compare::Windows);
        let request = SaveRequest { id: &id, transcript: &transcript, project, cwd, compare, progress: &|_| {} };
        scene.archive().leaving_free(floor).save(&request).map(|report| report.bytes_added)
    };
    append(&transcript, b"two\n");
    let refused = save(u64::MAX);
    assert!(matches!(refused, Err(ArchiveError::Floor { bytes: 4, floor: u64::MAX, .. })), "{refused:?}");
    assert_eq!(save(1).unwrap(), 4);
    fs::write(&transcript, "").unwrap();
    assert_eq!(save(u64::MAX).unwrap(), 0);
    assert_eq!(scene.content(FIRST), b"one\ntwo\n");
}

/// A second name of a copy is what a file system that folds names shows for another spelling of it.
#[test]
fn a_side_file_whose_name_leads_to_anothers_copy_is_refused_and_costs_nothing() {
    for (one, other) in [("Notes.txt", "notes.txt"), ("caf\u{e9}.txt", "cafe\u{301}.txt"), ("Deep/a.txt", "deep/a.txt")]
    {
        let scene = saved(&["{\"cwd\":\"/p\"}\n"]);
        let write = |name: &str, text: &str| {
            let path = scene.transcript().with_extension("").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(one, "one\n");
        scene.save();
        let place = |name: &str| scene.store().join("p/s1").join(name);
        fs::create_dir_all(place(other).parent().unwrap()).unwrap();
        fs::hard_link(place(one), place(other)).unwrap();
        counted::count_no_names();
        write(other, "another\n");
        write("third.txt", "third\n");
        for _ in 0..2 {
            let report = try_save(&scene, &scene.transcript(), &|_| {}).unwrap();
            let said = report.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            assert!(
                said.contains(&format!("s1/{one} lies in its place")) && said.contains("rename one of them"),
                "{said}"
            );
            assert_eq!((report.problems.len(), report.generations_begun), (1, 0));
        }
        assert_eq!(
            (scene.content(&format!("p/s1/{one}")), scene.content("p/s1/third.txt")),
            (b"one\n".into(), b"third\n".into())
        );
    }
}

/// A copy that was begun and cannot be finished would leave no room for any other, whatever the user wants left free.
#[test]
fn a_copy_that_cannot_fit_is_not_begun() {
    let grow = |path: &Path| {
        let room = crate::fs::platform::disk::room(path.parent().unwrap()).unwrap();
        let file = fs::File::options().create(true).append(true).open(path).unwrap();
        // No byte of it is on the disk.
        file.set_len(file.metadata().unwrap().len() + room.free + (1 << 30)).unwrap();
    };
    type Change<'a> = &'a dyn Fn(&Scene);
    let changes: [(&str, bool, Change); 3] = [
        ("its first copy", false, &|scene| {
            fs::write(scene.transcript(), "{\"cwd\":\"/home/p\"}\n").unwrap();
            grow(&scene.transcript());
        }),
        ("it grew", true, &|scene| grow(&scene.transcript())),
        ("it is another one", true, &|scene| {
            fs::write(scene.transcript(), "changed\n").unwrap();
            grow(&scene.transcript());
        }),
    ];
    for (what, was_saved, change) in changes {
        let scene = if was_saved { saved(&["one\n"]) } else { Scene::new() };
        let before = if was_saved { scene.tree() } else { Vec::new() };
        change(&scene);
        let refused = try_save(&scene, &scene.transcript(), &|_| {}).unwrap_err();
        assert!(refused.is_disk_full() && refused.to_string().contains("No space left on device"), "{what}: {refused}");
        assert_eq!(scene.tree(), before, "{what}");
        // What fits is saved all the same.
        fs::write(scene.transcript(), "one\ntwo\n").unwrap();
        let side = scene.transcript().with_extension("").join("tool-results/large.txt");
        fs::create_dir_all(side.parent().unwrap()).unwrap();
        grow(&side);
        let report = try_save(&scene, &scene.transcript(), &|_| {}).unwrap();
        assert_eq!(scene.content(COPY), b"one\ntwo\n", "{what}");
        assert!(report.problems.len() == 1 && report.problems[0].is_disk_full(), "{what}: {:?}", report.problems);
    }
}

/// A first copy that was killed between its rename and its commit, and whose source is another one by then: nobody was
/// told of it, so it is a note, is kept, and is none of `verify`'s findings ever.
#[test]
fn what_a_killed_first_copy_left_is_no_finding() {
    let killed = || {
        let scene = Scene::new();
        let archive = scene.archive();
        drop(SessionLock::wait(&archive, &key().id).unwrap());
        fs::create_dir(scene.store().join("p")).unwrap();
        fs::write(scene.store().join(COPY), "left\n").unwrap();
        scene
    };
    let kinds = |scene: &Scene| -> Vec<FindingKind> { findings(scene).into_iter().map(|(_, kind)| kind).collect() };
    for content in ["left\nand more\n", "another one\n"] {
        let scene = killed();
        assert_eq!(kinds(&scene), [FindingKind::NotAcknowledged]);
        assert!(scene.archive().quick_check(&key()).unwrap().findings.is_empty());
        fs::write(scene.transcript(), content).unwrap();
        scene.save();
        assert_eq!(scene.content(COPY), content.as_bytes());
        assert_eq!(kinds(&scene), [], "{content}");
        if content.starts_with("another") {
            assert_eq!(scene.content(FIRST), b"left\n");
        }
    }
    let scene = killed();
    assert!(scene.archive().repair(None, None).unwrap().iter().all(|repair| repair.healed));
    assert_eq!((kinds(&scene), scene.content(COPY)), (vec![], b"left\n".to_vec()));
    // Bookkeeping that was lost is one: what lies there was acknowledged.
    for lost in [".state/sessions/s1", ".state/sessions/s1/p.ledger"] {
        let scene = saved(&["one\n"]);
        let path = scene.store().join(lost);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        assert_eq!(kinds(&scene), [FindingKind::BookkeepingLost], "{lost}");
    }
}

/// However many side files there are, each save goes on where the one before stopped, and the transcript does not wait.
#[test]
fn side_files_that_take_too_long_are_left_to_the_next_save() {
    let scene = Scene::new();
    fs::write(scene.transcript(), "one\n").unwrap();
    let sides = scene.transcript().with_extension("").join("tool-results");
    fs::create_dir_all(&sides).unwrap();
    for n in 0..5 {
        fs::write(sides.join(format!("{n}.txt")), format!("result {n}\n")).unwrap();
    }
    let (id, transcript) = (key().id, scene.transcript());
    let request = |compare| SaveRequest {
        id: &id,
        transcript: &transcript,
        project: None,
        cwd: Some("/home/p"),
        compare,
        progress: &|_| {},
    };
    let in_a_hurry = |compare| {
        let archive = scene.archive();
        archive.leave_sides_after(std::time::Instant::now());
        archive.save(&request(compare)).unwrap().sides_left
    };
    assert_eq!(in_a_hurry(Compare::Windows), 4);
    assert_eq!(scene.content(COPY), b"one\n");
    // One that changes all the time keeps none of the others from being saved.
    for left in [4, 3, 2, 1] {
        fs::write(sides.join("0.txt"), format!("{left} changes\n")).unwrap();
        assert_eq!(in_a_hurry(Compare::Whole), left);
    }
    assert_eq!((in_a_hurry(Compare::Windows), in_a_hurry(Compare::Windows)), (0, 0));
    assert!(!scene.archive().is_behind(&id, &scene.transcript()).unwrap());
    assert_eq!(scene.content("p/s1/tool-results/0.txt"), b"1 changes\n");
    scene.is_clean();
}

/// Each folder costs a look at all above it, so one that lies in very many is told of and not looked into.
#[test]
fn folders_in_folders_without_end_are_not_followed() {
    let scene = Scene::new();
    fs::write(scene.transcript(), "one\n").unwrap();
    let mut folder = scene.transcript().with_extension("");
    let shallow = folder.join("a/b/c/found.txt");
    fs::create_dir_all(shallow.parent().unwrap()).unwrap();
    fs::write(&shallow, "found\n").unwrap();
    for _ in 0..120 {
        folder.push("d");
        fs::create_dir_all(&folder).unwrap();
    }
    fs::write(folder.join("lost.txt"), "lost\n").unwrap();
    scene.save();
    assert_eq!(scene.content("p/s1/a/b/c/found.txt"), b"found\n");
    let (transcripts, _) = crate::claude::survey::survey([scene.dir.path().join("projects")]);
    let told = transcripts[0].passed_over();
    assert!(told.len() == 1 && told[0].why.contains("too many folders"), "{told:?}");
    assert!(!scene.archive().is_behind_found(&transcripts[0]).unwrap());
}
