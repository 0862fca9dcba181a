//! What is planned, what is carried out, and what a change in between does.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use layer1_prebackup::config::exclude::Exclusions;
use layer1_prebackup::names::ProjectName;

use super::*;
use crate::browse::search::{self, SearchRequest};
use crate::failure::Kind;
use crate::save::rebuild;
use crate::save::verify;
use crate::stores::Layer;
use crate::testing::{ID, RunningClaude, Scene, answer, flip_last_byte, prompt};

/// A session of [`ID`], years old, saved in both stores.
fn saved() -> Scene {
    let scene = Scene::new();
    scene.transcribe(&[prompt(1, "needle"), answer(2, "thread")]);
    age(&scene.transcript());
    both(&scene);
    scene
}

fn both(scene: &Scene) {
    let held = scene.layer1_copies();
    scene.receipt(Some(&scene.expected(&held)));
}

fn age(path: &PathBuf) {
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    fs::File::options().append(true).open(path).unwrap().set_modified(old).unwrap();
}

/// Everything that is older than now: the messages of [`prompt`] are of a fixed date.
fn old() -> PruneRequest {
    PruneRequest { older_than: Some("2100-01-01".to_owned()), ..PruneRequest::default() }
}

fn named() -> PruneRequest {
    PruneRequest { sessions: vec![ID[..10].to_owned()], ..PruneRequest::default() }
}

fn generations() -> PruneRequest {
    PruneRequest { generations: true, ..PruneRequest::default() }
}

fn planned(scene: &Scene, wanted: &PruneRequest) -> (Vec<String>, Vec<String>) {
    let plan = plan(&scene.places, wanted).unwrap();
    let item = |item: &Item| {
        let only = if item.only_copy { "only copy" } else { "safe" };
        format!("{} {} {only}: {}", item.kind, item.path.as_deref().unwrap_or("-"), scene.filtered(&item.why))
    };
    (plan.items.iter().map(item).collect(), plan.kept.iter().map(|kept| scene.filtered(&kept.why)).collect())
}

fn pruned(scene: &Scene, wanted: &PruneRequest) -> Summary {
    let plan = plan(&scene.places, wanted).unwrap();
    carry_out(&scene.places, &LogSink::new(&scene.places, false), &plan).unwrap()
}

/// Every file of both stores that bears the session's id.
fn left(scene: &Scene) -> Vec<String> {
    let mut left = Vec::new();
    let mut pending = vec![scene.places.layer1_store.clone(), scene.places.layer3_store.clone()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.to_str().unwrap().contains(ID) {
                left.push(scene.filtered(path.to_str().unwrap()));
            }
        }
    }
    left.sort();
    left
}

fn is_all_well(scene: &Scene) {
    let report = verify::verify(&scene.places, None).unwrap();
    assert!(report.ok, "{report:?}");
    let layer1 = Archive::open(&scene.places.layer1_store).unwrap().unwrap();
    assert!(layer1.verify(None).unwrap().is_empty());
}

fn hits(scene: &Scene, word: &str) -> usize {
    let search = SearchRequest { query: word.to_owned(), each: Some(true), ..SearchRequest::default() };
    search::search(&scene.places, &search).unwrap().hits.len()
}

#[test]
fn without_a_word_of_what_goes_nothing_is_planned() {
    let scene = saved();
    assert!(plan(&scene.places, &PruneRequest::default()).unwrap_err().to_string().starts_with("choose what goes: "));
}

#[test]
fn a_named_session_goes_from_both_stores_and_the_index() {
    let scene = saved();
    scene.remove_sources();
    assert_eq!(hits(&scene, "needle"), 1);
    let (items, kept) = planned(&scene, &named());
    assert_eq!(items, ["session - only copy: the only copy: Claude Code no longer has it"]);
    assert!(kept.is_empty());
    let summary = pruned(&scene, &named());
    assert_eq!((summary.pruned.len(), summary.failed.len()), (1, 0));
    let lock = |store: &str| format!("~/{store}/.state/sessions/{ID}/lock");
    assert_eq!(left(&scene), [lock(".claude-backup-sessions"), lock(".claude-backup")]);
    assert_eq!(hits(&scene, "needle"), 0);
    is_all_well(&scene);
}

#[test]
fn a_job_and_a_receipt_go_with_the_session() {
    let scene = saved();
    scene.remove_sources();
    let outbox = scene.places.outbox();
    fs::create_dir_all(outbox.join("receipts")).unwrap();
    let by_source = blake3::hash(scene.transcript().to_str().unwrap().as_bytes()).to_hex();
    let by_project = blake3::hash(b"proj").to_hex();
    let names = [format!("{ID}@proj"), format!("{ID}@.{}", &by_project[..16])];
    for name in &names {
        fs::write(outbox.join(format!("{name}.json")), "{}").unwrap();
        fs::write(outbox.join(format!("receipts/{name}.json")), "{}").unwrap();
    }
    // Another session's job, and one by a source that is not known to be this session's.
    let others = [format!("{ID}@other.json"), format!("{ID}@.{}.json", &by_source[..16])];
    for name in &others {
        fs::write(outbox.join(name), "{}").unwrap();
    }
    pruned(&scene, &named());
    let mut jobs: Vec<String> =
        fs::read_dir(&outbox).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    jobs.retain(|name| name.ends_with(".json"));
    jobs.sort();
    let mut expected = others.to_vec();
    expected.sort();
    assert_eq!(jobs, expected);
    assert_eq!(fs::read_dir(outbox.join("receipts")).unwrap().count(), 0);
}

#[test]
fn nothing_goes_while_a_delivery_is_under_way() {
    let scene = saved();
    scene.remove_sources();
    fs::create_dir(scene.places.outbox()).unwrap();
    let _deliverer = pending_delivery::keep_deliverers_out(&scene.places, Duration::ZERO).unwrap();
    let busy = pending_delivery::keep_deliverers_out(&scene.places, Duration::ZERO);
    assert!(busy.unwrap_err().to_string().contains("another program has held it"));
}

#[test]
fn the_only_copy_does_not_go_by_its_age_alone() {
    let scene = saved();
    scene.remove_sources();
    let (items, kept) = planned(&scene, &old());
    assert!(items.is_empty());
    assert_eq!(kept, ["the only copy: Claude Code no longer has it; --only-copies lets it go"]);
    assert!(pruned(&scene, &old()).pruned.is_empty());
    assert_eq!(hits(&scene, "needle"), 1);
    let wanted = PruneRequest { only_copies: true, ..old() };
    assert_eq!(pruned(&scene, &wanted).pruned.len(), 1);
    assert_eq!(hits(&scene, "needle"), 0);
}

#[test]
fn what_the_next_sweep_would_save_again_stays_unless_it_is_named() {
    let scene = saved();
    for wanted in [old(), PruneRequest { only_copies: true, ..old() }] {
        let (items, kept) = planned(&scene, &wanted);
        assert!(items.is_empty());
        assert_eq!(
            kept,
            [format!(
                "Claude Code still has ~/.claude/projects/-home-dev-proj/{ID}.jsonl; the next sweep would save it again"
            )]
        );
    }
    let plan = plan(&scene.places, &named()).unwrap();
    assert!(!plan.items[0].only_copy);
    assert!(
        plan.items[0].note.as_ref().unwrap().ends_with("stays where it is, and the next sweep saves the session again")
    );
    let before = fs::read(scene.transcript()).unwrap();
    assert_eq!(pruned(&scene, &named()).pruned.len(), 1);
    assert_eq!(fs::read(scene.transcript()).unwrap(), before);
    both(&scene);
    assert_eq!(hits(&scene, "needle"), 1);
    is_all_well(&scene);
}

#[test]
fn an_excluded_session_goes_by_its_age_while_its_source_has_every_byte() {
    let mut scene = saved();
    scene.places.policy.exclude = Exclusions::new(&["proj".to_owned()], &scene.places.home);
    let (items, _) = planned(&scene, &old());
    assert_eq!(
        items,
        [format!("session - safe: Claude Code has every byte of it: ~/.claude/projects/-home-dev-proj/{ID}.jsonl")]
    );
    // The source loses a byte after the plan was shown: nothing goes.
    let plan = plan(&scene.places, &old()).unwrap();
    let whole = fs::read(scene.transcript()).unwrap();
    fs::write(scene.transcript(), &whole[..whole.len() - 1]).unwrap();
    let summary = carry_out(&scene.places, &LogSink::new(&scene.places, false), &plan).unwrap();
    assert_eq!((summary.pruned.len(), summary.failed.len()), (0, 1));
    let (items, kept) = planned(&scene, &old());
    assert!(items.is_empty());
    assert!(kept[0].starts_with("the only copy of some of it"), "{kept:?}");
    fs::write(scene.transcript(), &whole).unwrap();
    assert_eq!(pruned(&scene, &old()).pruned.len(), 1);
}

#[test]
fn a_live_session_is_never_pruned() {
    let scene = saved();
    let sessions = scene.places.claude_dir.join("sessions");
    fs::create_dir_all(&sessions).unwrap();
    let live = sessions.join("1.json");
    let claude = RunningClaude::start();
    fs::write(&live, format!("{{\"pid\":{},\"sessionId\":\"{ID}\"}}", claude.pid())).unwrap();
    scene.remove_sources();
    let wanted = PruneRequest { only_copies: true, ..old() };
    let (items, kept) = planned(&scene, &wanted);
    assert!(items.is_empty());
    assert!(kept[0].contains("it is live"), "{kept:?}");
    let (items, kept) = planned(&scene, &generations());
    assert!(items.is_empty() && kept[0].contains("it is live"));
    let refused = plan(&scene.places, &named());
    assert!(refused.unwrap_err().is(Kind::Live));
    // It came to life after the plan was shown.
    let text = fs::read(&live).unwrap();
    fs::write(&live, "{}").unwrap();
    let plan = plan(&scene.places, &named()).unwrap();
    fs::write(&live, text).unwrap();
    let summary = carry_out(&scene.places, &LogSink::new(&scene.places, false), &plan).unwrap();
    assert!(summary.failed[0].why.contains("it is live"), "{:?}", summary.failed);
    assert_eq!(hits(&scene, "needle"), 1);
}

#[test]
fn the_newest_sessions_stay() {
    let scene = saved();
    let other = scene.transcript_in("-home-dev-proj", "bbbbbbbb-0000-4000-8000-000000000002");
    // By its last message it is the newer one.
    scene.write(&other, &prompt(50, "newer"));
    age(&other);
    scene.save_as(&other, crate::save::roots::RootKind::Claude, None, None).unwrap();
    scene.remove_sources();
    let wanted = PruneRequest { keep_last: Some(1), only_copies: true, ..PruneRequest::default() };
    let plan = plan(&scene.places, &wanted).unwrap();
    assert_eq!(plan.items.iter().map(|item| item.session_id.as_str()).collect::<Vec<_>>(), [ID]);
    // Not older than its last message.
    let wanted = PruneRequest {
        older_than: Some("2026-11-22T10:00:02Z".to_owned()),
        only_copies: true,
        ..PruneRequest::default()
    };
    assert!(planned(&scene, &wanted).0.is_empty());
    let elsewhere = PruneRequest { project: Some("other".to_owned()), only_copies: true, ..old() };
    assert!(planned(&scene, &elsewhere).0.is_empty());
}

#[test]
fn what_was_saved_again_meanwhile_stays_whole_in_both_stores() {
    let scene = saved();
    let plan = plan(&scene.places, &named()).unwrap();
    scene.transcribe(&[prompt(1, "needle"), answer(2, "thread"), prompt(3, "more")]);
    scene.receipt(None);
    let summary = carry_out(&scene.places, &LogSink::new(&scene.places, false), &plan).unwrap();
    assert_eq!(summary.failed[0].why, "it is not as it was shown any more; look again");
    let key = SessionKey { project: ProjectName::parse("proj").unwrap(), id: scene.id() };
    let layer1 = Archive::open(&scene.places.layer1_store).unwrap().unwrap();
    assert_eq!(layer1.files(&key).unwrap().len(), 1);
    assert_eq!(hits(&scene, "more"), 1);
}

#[test]
fn any_prune_finishes_a_removal_that_was_begun() {
    for layer in [Layer::One, Layer::Three] {
        let scene = saved();
        scene.remove_sources();
        let store = match layer {
            Layer::One => &scene.places.layer1_store,
            Layer::Three => &scene.places.layer3_store,
        };
        let archive = Archive::open(store).unwrap().unwrap();
        let key = archive.find(&scene.id()).unwrap().remove(0);
        let killed = || Err::<(), _>(layer1_prebackup::archive::ArchiveError::Shrank { path: "killed".into() });
        assert!(archive.prune_session(&key, &archive.files(&key).unwrap(), killed).is_err());
        is_all_well(&scene);
        let summary = pruned(&scene, &PruneRequest { project: Some("other".to_owned()), ..generations() });
        assert_eq!(summary.pruned.len(), 1, "{layer:?}");
        assert_eq!(left(&scene).len(), 2, "{layer:?}: {:?}", left(&scene));
        assert_eq!(hits(&scene, "needle"), 0);
        is_all_well(&scene);
    }
}

#[test]
fn a_save_in_flight_writes_no_metadata_of_a_session_that_is_gone() {
    let scene = saved();
    let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
    let key = archive.find(&scene.id()).unwrap().remove(0);
    let metadata = save::metadata_file::metadata_path(&archive, &key);
    assert!(metadata.exists());
    // It has its rows still, as those have that a save put in again.
    let untold = || Ok::<_, Failure>(());
    assert!(archive.prune_session(&key, &archive.files(&key).unwrap(), untold).unwrap());
    let index = Index::open(&scene.places.index).unwrap();
    assert!(index.session(&key).unwrap().is_some());
    save::write_metadata(&index, &archive, &key).unwrap();
    assert!(!metadata.exists());
    assert!(crate::save::metadata_file::write_all_metadata(&index, &archive, &[key]).is_empty());
    assert!(!metadata.exists());
}

/// A save has looked whether the store still has the session, and is about to write.
#[test]
fn a_removal_waits_for_metadata_that_is_being_written_and_takes_it_along() {
    let scene = saved();
    scene.remove_sources();
    let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
    let key = archive.find(&scene.id()).unwrap().remove(0);
    let lock = save::lock_metadata(&archive).unwrap();
    std::thread::scope(|threads| {
        let removal = threads.spawn(|| pruned(&scene, &named()));
        // It has begun, and stands before the lock.
        while !archive.is_being_pruned(&key).unwrap() {
            assert!(!removal.is_finished(), "it did not wait");
            std::thread::yield_now();
        }
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(10));
            assert!(!removal.is_finished(), "it did not wait");
        }
        fs::write(save::metadata_file::metadata_path(&archive, &key), "{}").unwrap();
        drop(lock);
        assert_eq!(removal.join().unwrap().pruned.len(), 1);
    });
    assert_eq!(left(&scene).into_iter().filter(|path| !path.ends_with("/lock")).collect::<Vec<_>>(), [""; 0]);
    is_all_well(&scene);
}

/// Three contents in both stores: the first is the beginning of the last, the second is nothing's.
fn rewritten() -> Scene {
    let scene = Scene::new();
    for lines in [vec![prompt(1, "one")], vec![prompt(2, "apart")], vec![prompt(1, "one"), answer(3, "three")]] {
        scene.transcribe(&lines);
        both(&scene);
    }
    scene
}

#[test]
fn superseded_generations_go_from_both_stores_and_every_word_stays_findable() {
    let scene = rewritten();
    let safe = format!("generation {ID}.gen-0001.jsonl safe: {ID}.jsonl begins with all of it");
    assert_eq!(planned(&scene, &generations()).0, [safe.clone(), safe]);
    assert_eq!(pruned(&scene, &generations()).pruned.len(), 2);
    assert_eq!(planned(&scene, &generations()), (Vec::new(), Vec::new()));
    for word in ["one", "apart", "three"] {
        assert_eq!(hits(&scene, word), 1, "{word}");
    }
    is_all_well(&scene);
    // Neither the next save nor an import brings back what went.
    both(&scene);
    crate::save::import::import(&scene.places, &LogSink::new(&scene.places, false), &|_| {}).unwrap();
    assert!(!left(&scene).iter().any(|path| path.contains("gen-0001")), "{:?}", left(&scene));
    is_all_well(&scene);
}

#[test]
fn generations_of_a_named_session_that_nothing_else_has_go_only_if_that_is_said_too() {
    let scene = rewritten();
    let (items, kept) = planned(&scene, &PruneRequest { generations: true, ..named() });
    assert!(items.len() == 2 && items.iter().all(|item| item.contains(" safe: ")), "{items:?}");
    let stays =
        format!("{ID}.gen-0002.jsonl: no content that stays in this store begins with it; --only-copies lets it go");
    assert_eq!(kept, [stays.clone(), stays]);
    let wanted = PruneRequest { generations: true, only_copies: true, ..named() };
    let (items, _) = planned(&scene, &wanted);
    let alone = format!("generation {ID}.gen-0002.jsonl only copy: no content that stays in this store begins with it");
    assert_eq!((items.len(), &items[1]), (4, &alone));
    assert_eq!(planned(&scene, &PruneRequest { keep_last: Some(1), ..wanted.clone() }).0.len(), 2);
    assert_eq!(planned(&scene, &PruneRequest { older_than: Some("1d".to_owned()), ..wanted.clone() }).0.len(), 0);
    assert_eq!(pruned(&scene, &wanted).pruned.len(), 4);
    assert_eq!((hits(&scene, "one"), hits(&scene, "apart")), (1, 0));
    is_all_well(&scene);
    both(&scene);
    assert_eq!(scene.stored(), [format!("proj/{ID}.jsonl: 2 lines")]);
}

#[test]
fn what_makes_a_generation_safe_does_not_go_with_it() {
    let scene = Scene::new();
    let (one, two) = (prompt(1, "one"), answer(2, "two"));
    for lines in [vec![one.clone()], vec![prompt(3, "x")], vec![one, two], vec![prompt(4, "y")]] {
        scene.transcribe(&lines);
        both(&scene);
    }
    let safe = format!("generation {ID}.gen-0001.jsonl safe: {ID}.gen-0003.jsonl begins with all of it");
    assert_eq!(planned(&scene, &generations()).0, [safe.clone(), safe.clone()]);
    assert_eq!(planned(&scene, &PruneRequest { generations: true, ..named() }).0, [safe.clone(), safe]);
    // With what nothing else has, the third goes too, and with it the last copy of the first.
    let (items, _) = planned(&scene, &PruneRequest { generations: true, only_copies: true, ..named() });
    assert_eq!(items.iter().filter(|item| item.contains("only copy")).count(), 6, "{items:?}");
    let (items, _) =
        planned(&scene, &PruneRequest { generations: true, only_copies: true, keep_last: Some(1), ..named() });
    assert_eq!(items.iter().filter(|item| item.contains("only copy")).count(), 2, "{items:?}");
}

#[test]
fn a_generation_is_proven_again_before_it_goes() {
    let scene = rewritten();
    let plan = plan(&scene.places, &generations()).unwrap();
    flip_last_byte(&scene.copy());
    let summary = carry_out(&scene.places, &LogSink::new(&scene.places, false), &plan).unwrap();
    assert_eq!(summary.pruned.iter().map(|item| item.store).collect::<Vec<_>>(), [Some(Layer::One)]);
    assert_eq!(summary.failed.len(), 1);
    assert!(left(&scene).contains(&format!("~/.claude-backup/proj/{ID}.gen-0001.jsonl")));
}

#[test]
fn what_a_repair_set_aside_goes_once_all_is_whole() {
    let scene = saved();
    flip_last_byte(&scene.copy());
    verify::repair(&scene.places, &LogSink::new(&scene.places, false), None).unwrap();
    let wanted = PruneRequest { damaged: true, ..PruneRequest::default() };
    let aside = format!(".state/damaged/proj/{ID}.jsonl");
    assert_eq!(
        planned(&scene, &wanted).0,
        [format!("set-aside {aside} safe: what it was is repaired, and all of the session verifies")]
    );
    assert!(planned(&scene, &PruneRequest { older_than: Some("1d".to_owned()), ..wanted.clone() }).0.is_empty());
    assert_eq!(pruned(&scene, &wanted).pruned.len(), 1);
    assert!(!scene.places.layer3_store.join(aside).exists());
    is_all_well(&scene);
}

#[test]
fn a_dry_run_of_a_store_without_bookkeeping_writes_nothing() {
    let scene = saved();
    let state = scene.places.layer3_store.join(".state/store.json");
    layer1_prebackup::fs::remove_file(&state).unwrap();
    plan(&scene.places, &PruneRequest { dry_run: true, ..old() }).unwrap();
    assert!(!state.exists());
    assert!(rebuild::store(&scene.places).is_ok());
}
